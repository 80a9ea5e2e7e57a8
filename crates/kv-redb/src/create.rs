use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kv_core::Result;
use redb::Database;

use crate::failure;
use crate::open::settings;
use crate::tables::{ENTRIES, EXPIRIES, FORMAT, FORMAT_FIELD, META, Meta};

/// Makes a file with no bucket in it; `None`: somebody else has just made it.
///
/// The file is made under another name and then linked to its own: nobody ever sees a part of it,
/// so that a process killed here leaves no file that would later be taken for a foreign one.
pub(crate) fn create(path: &Path, name: &str) -> Result<Option<Database>> {
    let unfinished = Unfinished::beside(path);
    let database = settings()
        .create(&unfinished.0)
        .map_err(|error| failure::opening(name, error))?;
    lay_out(&database).map_err(|error| failure::not_applied(name, error))?;
    match fs::hard_link(&unfinished.0, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        linked => linked.map_err(|error| failure::io(name, error))?,
    }
    drop(unfinished);
    sync_directory(path).map_err(|error| failure::io(name, error))?;
    Ok(Some(database))
}

/// Makes the tables of a file with no bucket in it.
pub(crate) fn lay_out(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_FIELD, FORMAT)?;
        Meta::default().save(&mut meta)?;
        transaction.open_table(ENTRIES)?;
        transaction.open_table(EXPIRIES)?;
    }
    transaction.commit()?;
    Ok(())
}

/// The name of the file until it is whole; removed when dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        // At random and not by process id, which is 1 in every container that shares the volume.
        name.push(format!(".{:016x}.new", rand::random::<u64>()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is not there where redb could not make it.
        let _ = fs::remove_file(&self.0);
    }
}

/// A new name is durable only when its directory is.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
