//! The report of the conformance suites: which cases ran on which backend.
//!
//! Each case appends a line to `SUITE.tsv` in a folder: the suite, the case, and `ran` or
//! `lack:ABILITY`, separated by tabs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Context as _;

/// Names the folder to the tests.
pub(crate) const REPORT_VARIABLE: &str = "KV_CONFORMANCE_REPORT";

/// The cases of each suite.
#[derive(Debug, Default)]
pub(crate) struct Report {
    suites: BTreeMap<String, BTreeMap<String, Outcome>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Ran,
    Lack(String),
}

impl Report {
    /// Reads all files of the folder.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let unreadable = || format!("the report in {} can't be read", folder.display());
        let mut report = Self::default();
        for entry in std::fs::read_dir(folder).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "tsv") {
                let text = std::fs::read_to_string(&path).with_context(unreadable)?;
                for line in text.lines() {
                    report
                        .add(line)
                        .with_context(|| format!("in {}: {line:?}", path.display()))?;
                }
            }
        }
        Ok(report)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.suites.is_empty()
    }

    fn add(&mut self, line: &str) -> anyhow::Result<()> {
        let mut fields = line.split('\t');
        let (Some(suite), Some(case), Some(outcome), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            anyhow::bail!("a line of the report has three fields");
        };
        let outcome = match outcome.strip_prefix("lack:") {
            Some(ability) => Outcome::Lack(ability.to_owned()),
            None if outcome == "ran" => Outcome::Ran,
            None => anyhow::bail!("the third field is `ran` or `lack:ABILITY`"),
        };
        self.suites
            .entry(suite.to_owned())
            .or_default()
            .insert(case.to_owned(), outcome);
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .suites
            .keys()
            .map(String::len)
            .max()
            .unwrap_or(0)
            .max("conformance".len());
        writeln!(out, "{:<width$}  cases    ran  lacks", "conformance")?;
        let (mut all, mut all_ran) = (0, 0);
        for (suite, cases) in &self.suites {
            let ran = cases
                .values()
                .filter(|outcome| **outcome == Outcome::Ran)
                .count();
            let lacking = cases.len() - ran;
            write!(
                out,
                "{suite:<width$}  {:>5}  {ran:>5}  {lacking:>5}",
                cases.len()
            )?;
            let abilities = lacks(cases);
            if abilities.is_empty() {
                writeln!(out)?;
            } else {
                writeln!(
                    out,
                    "  {}",
                    abilities.into_iter().collect::<Vec<_>>().join(", ")
                )?;
            }
            all += cases.len();
            all_ran += ran;
        }
        write!(
            out,
            "{:<width$}  {all:>5}  {all_ran:>5}  {:>5}",
            "total",
            all - all_ran
        )
    }
}

fn lacks(cases: &BTreeMap<String, Outcome>) -> BTreeSet<&str> {
    cases
        .values()
        .filter_map(|outcome| match outcome {
            Outcome::Ran => None,
            Outcome::Lack(ability) => Some(ability.as_str()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_once_and_lacks_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "memory.tsv",
            "memory\tput\tran\nmemory\tget\tran\nmemory\tput\tran\n",
        );
        write(
            "redb.tsv",
            "redb\tput\tran\nredb\twatch\tlack:watch\nredb\tresume\tlack:watch\n",
        );
        write("notes.txt", "not a report");
        let report = Report::read(folder.path()).unwrap();
        assert_eq!(
            report.to_string(),
            "conformance  cases    ran  lacks\n\
             memory           2      2      0\n\
             redb             3      1      2  watch\n\
             total            5      3      2"
        );
    }

    #[test]
    fn a_line_of_another_form_is_an_error() {
        for line in [
            "memory\tput",
            "memory\tput\tskipped",
            "memory\tput\tran\tfast",
        ] {
            assert!(Report::default().add(line).is_err(), "{line:?}");
        }
    }
}
