//! What a watch promises, as small checks of what a watcher was told.
//!
//! They are the six checks of etcd's robustness tests:
//!
//! | check | finds |
//! |---|---|
//! | [`ordered`] | a commit after a later one, keys out of order, a snapshot that goes back |
//! | [`unique`] | a commit told twice, or told though a snapshot contains it |
//! | [`atomic`] | a torn commit, a change that nobody made, a value mixed up |
//! | [`reliable`] | a commit that is not told |
//! | [`resumable`] | a gap or an overlap where a second watch goes on after a first |
//! | [`bookmarkable`] | a [`position`] that is ahead of what was told: to resume there loses commits |
//!
//! A bookmark is a progress notice in etcd. Here it is the revision that each event carries, also
//! that of an expiry or a snapshot: a watcher to whom nothing else is told keeps it, and goes on
//! from there.

mod replay;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use kv_core::{Bytes, Change, Revision, WatchEvent};

use crate::Violation;

pub use replay::{Replay, replay};

/// A commit that was acknowledged, as its writer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its revision.
    pub revision: Revision,
    /// What it changed, in the order of the keys.
    pub changes: Vec<Change>,
}

/// What writers know that a watcher can have been told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The commits that were acknowledged.
    pub written: Vec<Written>,
    /// What was to be changed by transactions of unknown outcome, each in the order of the keys.
    /// The revisions of the entries do not matter.
    pub in_doubt: Vec<Vec<Change>>,
}

impl From<Vec<Written>> for History {
    fn from(written: Vec<Written>) -> Self {
        let in_doubt = Vec::new();
        Self { written, in_doubt }
    }
}

/// The part of some changes that a watcher of `prefix` is told.
fn under(prefix: &str, changes: &[Change]) -> Vec<Change> {
    let matches = |change: &&Change| change.key().as_str().starts_with(prefix);
    changes.iter().filter(matches).cloned().collect()
}

impl History {
    /// The acknowledged commits as a watcher of `prefix` must be told of them.
    fn expected(&self, prefix: &str) -> BTreeMap<Revision, Vec<Change>> {
        let told = |commit: &Written| (commit.revision, under(prefix, &commit.changes));
        let commits = self.written.iter().map(told);
        commits.filter(|(_, changes)| !changes.is_empty()).collect()
    }
}

/// The commits among the events, each with its changes.
pub fn commits(events: &[WatchEvent]) -> impl Iterator<Item = (Revision, &[Change])> {
    events.iter().filter_map(|event| match event {
        WatchEvent::Changes { revision, changes } => Some((*revision, &changes[..])),
        _ => None,
    })
}

/// The revision that an event carries.
fn revision(event: &WatchEvent) -> Revision {
    match event {
        WatchEvent::Snapshot { revision, .. }
        | WatchEvent::Changes { revision, .. }
        | WatchEvent::Expired { revision, .. } => *revision,
    }
}

/// The revision after which a watcher goes on that was told these events: that of the last one,
/// however long it has been quiet since. `None`: it was told nothing.
#[must_use]
pub fn position(events: &[WatchEvent]) -> Option<Revision> {
    events.last().map(revision)
}

/// **Ordered**: revisions never go down, and keys within a commit go up.
///
/// # Errors
///
/// The first place where they do not.
pub fn ordered(events: &[WatchEvent]) -> Result<(), Violation> {
    let mut last = Revision::ZERO;
    for event in events {
        let next = revision(event);
        // A bucket that was torn down is at revision zero until it is made anew.
        if !matches!(event, WatchEvent::Snapshot { entries, .. } if entries.is_empty()) {
            Violation::unless(next >= last, || {
                format!("events are in the order of their revisions: {next} comes after {last}")
            })?;
        }
        last = last.max(next);
    }
    commits(events).try_for_each(|(revision, changes)| keys_in_order(revision, changes))
}

fn keys_in_order(revision: Revision, changes: &[Change]) -> Result<(), Violation> {
    Violation::unless(!changes.is_empty(), || {
        format!("an event tells of at least one change: {revision} has none")
    })?;
    let in_order = changes.is_sorted_by(|a, b| a.key() < b.key());
    Violation::unless(in_order, || {
        format!("the changes of {revision} are in the order of their keys, each once")
    })
}

/// **Unique**: no commit is told twice, neither after a snapshot that contains it.
///
/// # Errors
///
/// The first that is.
pub fn unique(events: &[WatchEvent]) -> Result<(), Violation> {
    let mut contained = None;
    let mut told = BTreeSet::new();
    for event in events {
        match event {
            WatchEvent::Snapshot { revision, .. } => contained = Some(*revision),
            WatchEvent::Changes { revision, .. } => {
                Violation::unless(told.insert(*revision), || {
                    format!("commit {revision} is told twice")
                })?;
                Violation::unless(
                    contained.is_none_or(|contained| *revision > contained),
                    || format!("commit {revision} is in the snapshot before it already"),
                )?;
            }
            WatchEvent::Expired { .. } => {}
        }
    }
    Ok(())
}

/// **Atomic**: a commit is told whole, in one event, exactly as it was written. One that nobody
/// was told of is what a transaction of unknown outcome was to do, each at most once.
///
/// # Errors
///
/// The first commit that is torn or differs.
pub fn atomic(events: &[WatchEvent], prefix: &str, history: &History) -> Result<(), Violation> {
    let expected = history.expected(prefix);
    let in_doubt = history.in_doubt.iter();
    let mut in_doubt: Vec<Vec<Change>> = in_doubt.map(|changes| under(prefix, changes)).collect();
    for (revision, changes) in commits(events) {
        let is_right = if let Some(expected) = expected.get(&revision) {
            changes == expected
        } else {
            let place = in_doubt
                .iter()
                .position(|doubted| is_same(doubted, changes));
            place.map(|place| in_doubt.swap_remove(place)).is_some()
        };
        Violation::unless(is_right, || {
            format!("commit {revision} is not told as it was written")
        })?;
    }
    Ok(())
}

/// Whether both do the same, apart from the revision.
fn is_same(one: &[Change], other: &[Change]) -> bool {
    fn stored(change: &Change) -> Option<(&Bytes, Option<SystemTime>)> {
        match change {
            Change::Put(entry) => Some((&entry.value, entry.expires_at)),
            Change::Delete(_) => None,
        }
    }
    let same =
        |(one, other): (&Change, &Change)| one.key() == other.key() && stored(one) == stored(other);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// **Reliable**: every acknowledged commit after `start` that touches the prefix is told, by
/// itself or in a later snapshot.
///
/// # Errors
///
/// The first that is missing.
pub fn reliable(
    events: &[WatchEvent],
    prefix: &str,
    start: Revision,
    history: &History,
) -> Result<(), Violation> {
    let told: BTreeSet<Revision> = commits(events).map(|(revision, _)| revision).collect();
    let snapshots = events
        .iter()
        .filter(|event| matches!(event, WatchEvent::Snapshot { .. }));
    let contained = snapshots.map(revision).max().unwrap_or(start).max(start);
    for missing in history.expected(prefix).into_keys() {
        Violation::unless(missing <= contained || told.contains(&missing), || {
            format!("commit {missing} is not told, only {told:?}")
        })?;
    }
    Ok(())
}

/// **Resumable**: a watch after the [`position`] of `first` goes on where that one stopped, so
/// that both together are one watch.
///
/// # Errors
///
/// The first promise that both together break.
pub fn resumable(
    first: &[WatchEvent],
    resumed: &[WatchEvent],
    prefix: &str,
    start: Revision,
    history: &History,
) -> Result<(), Violation> {
    let both = [first, resumed].concat();
    ordered(&both)?;
    unique(&both)?;
    atomic(&both, prefix, history)?;
    reliable(&both, prefix, start, history)
}

/// **Bookmarkable**: wherever the watch stops, everything up to its [`position`] has been told,
/// so that a watch that is resumed there, however long it was quiet, misses nothing.
///
/// # Errors
///
/// The first commit that is told after an event that claims to be as late, or is not told at all.
pub fn bookmarkable(
    events: &[WatchEvent],
    prefix: &str,
    start: Revision,
    history: &History,
) -> Result<(), Violation> {
    let expected = history.expected(prefix);
    let mut waiting: BTreeSet<Revision> = expected.into_keys().filter(|at| *at > start).collect();
    for event in events {
        let at = revision(event);
        match event {
            WatchEvent::Snapshot { .. } => waiting.retain(|missing| *missing > at),
            WatchEvent::Changes { .. } => {
                waiting.remove(&at);
            }
            WatchEvent::Expired { .. } => {}
        }
        let behind = waiting.first().filter(|missing| **missing <= at);
        Violation::unless(behind.is_none(), || {
            format!("to resume after {at} would lose the commits {behind:?} to it")
        })?;
    }
    Ok(())
}
