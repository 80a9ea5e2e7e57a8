//! What the journals of all clients say, held against what is stored.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use kv_conformance::history::{self, Action, Call};
use kv_conformance::journal::{self, Attempt, machine_nanos};
use kv_conformance::workload::{Fate, Transfer, counter, set};
use kv_core::{Entry, Key};
use kv_tests::chaos::{self, HISTORIES, Noted, SET, accounts};
use serde::de::DeserializeOwned;

/// How the calls of clients ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Writes that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Writes that were refused, or failed for sure.
    pub(crate) not_applied: u64,
    /// Writes that were called `Indeterminate`, or not answered before their client was killed.
    pub(crate) unknown: u64,
    /// Calls in histories, reads as well.
    pub(crate) calls: u64,
    /// The calls in the shortest history.
    pub(crate) shortest: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.not_applied += other.not_applied;
        self.unknown += other.unknown;
        self.calls += other.calls;
        self.shortest = match self.shortest {
            0 => other.shortest,
            shortest => shortest.min(other.shortest),
        };
    }

    fn count<B>(&mut self, attempts: &[Attempt<B, Fate>]) {
        for attempt in attempts {
            *match attempt.end.as_ref().map(|end| end.result) {
                Some(Fate::Applied) => &mut self.acknowledged,
                Some(Fate::NotApplied) => &mut self.not_applied,
                None => &mut self.unknown,
            } += 1;
        }
    }

    fn count_calls(&mut self, history: &[Call]) {
        self.calls += history.len() as u64;
        for call in history {
            *match call.action {
                Action::Read(_) => continue,
                Action::Refused(_) => &mut self.not_applied,
                _ if call.returned.is_some() => &mut self.acknowledged,
                _ => &mut self.unknown,
            } += 1;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acknowledged,
            not_applied,
            unknown,
            calls,
            shortest,
        } = self;
        write!(
            f,
            "{acknowledged} writes acknowledged, {not_applied} not applied, {unknown} unknown, \
             {calls} calls in histories of at least {shortest}"
        )
    }
}

/// Judges the journals in a folder by what was stored after the last call.
pub(crate) fn judge(folder: &Path, entries: &[Entry]) -> Result<Counts, String> {
    let now = machine_nanos();
    let mut counts = Counts::default();
    let said = |violation: &dyn fmt::Display| violation.to_string();

    let transfers: Vec<Attempt<Transfer, Fate>> = read(folder, Noted::Bank)?;
    let balances = accounts().check_snapshot(&under(entries, accounts().prefix()));
    let balances = balances.map_err(|found| said(&found))?;
    let balances = balances.ok_or("all accounts are gone")?;
    let explained = accounts().check_transfers(&balances, &transfers);
    explained.map_err(|found| said(&found))?;
    counts.count(&transfers);

    let adds: Vec<Attempt<Vec<Key>, Fate>> = read(folder, Noted::Set)?;
    set::check(&adds, now, &under(entries, SET)).map_err(|found| said(&found))?;
    counts.count(&adds);

    let additions: Vec<Attempt<u64, Fate>> = read(folder, Noted::Counter)?;
    let value = number(entries, &chaos::counter())?;
    counter::check(&additions, now, Some(now), value).map_err(|found| said(&found))?;
    counts.count(&additions);

    for number in 0..HISTORIES {
        counts.add(&judge_history(folder, number)?);
    }
    Ok(counts)
}

fn judge_history(folder: &Path, number: usize) -> Result<Counts, String> {
    let history = history::read(journals(folder, Noted::History(number)));
    let history = history.map_err(|error| error.to_string())?;
    let explained = history::check(&history);
    explained.map_err(|keys| format!("no order explains what was read of {keys:?}"))?;
    let mut counts = Counts::default();
    counts.count_calls(&history);
    counts.shortest = counts.calls;
    Ok(counts)
}

fn under(entries: &[Entry], prefix: &str) -> Vec<Entry> {
    let entries = entries.iter();
    let is_under = |entry: &&Entry| entry.key.as_str().starts_with(prefix);
    entries.filter(is_under).cloned().collect()
}

fn number(entries: &[Entry], key: &Key) -> Result<u64, String> {
    let Some(entry) = entries.iter().find(|entry| entry.key == *key) else {
        return Ok(0);
    };
    let text = String::from_utf8_lossy(&entry.value);
    text.parse()
        .map_err(|_| format!("{key:?} holds no number but {text:?}"))
}

fn journals(folder: &Path, noted: Noted) -> impl Iterator<Item = BufReader<File>> {
    let files = noted.files_in(folder).into_iter();
    files.map(|path| BufReader::new(File::open(path).expect("a journal")))
}

fn read<B: DeserializeOwned, E: DeserializeOwned>(
    folder: &Path,
    noted: Noted,
) -> Result<Vec<Attempt<B, E>>, String> {
    let attempts: io::Result<_> = journal::read(journals(folder, noted));
    attempts.map_err(|error| error.to_string())
}

/// How many calls have ended so far in the shortest history. Each line of a journal is a beginning
/// or an end.
pub(crate) fn shortest_history(folder: &Path) -> u64 {
    let lines = |path: &PathBuf| {
        let text = std::fs::read(path).unwrap_or_default();
        text.iter().filter(|byte| **byte == b'\n').count() as u64
    };
    let calls = |number| {
        let files = Noted::History(number).files_in(folder);
        files.iter().map(lines).sum::<u64>() / 2
    };
    (0..HISTORIES).map(calls).min().unwrap_or(0)
}
