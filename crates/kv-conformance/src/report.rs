use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::{Case, Lack};

/// The variable that names the directory of the reports.
const DIRECTORY: &str = "KV_CONFORMANCE_REPORT";

/// Notes that a case has passed: one line in `<suite>.tsv` with the suite, the case, and either
/// `ran` or the lack that it asserted. Does nothing unless the variable is set.
pub(crate) fn note(suite: &str, case: &Case, lack: Option<Lack>) {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let how = lack.map_or_else(|| "ran".to_owned(), |lack| format!("lack:{lack:?}"));
    let Case { group, name, .. } = case;
    let path = Path::new(&directory).join(format!("{suite}.tsv"));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    // One write for a line, so that the lines of processes side by side do not mix.
    file.and_then(|mut file| {
        file.write_all(format!("{suite}\t{group}::{name}\t{how}\n").as_bytes())
    })
    .unwrap_or_else(|error| panic!("cannot write the report {}: {error}", path.display()));
}
