//! What a watch promises, as small checks of what a watcher was told.
//!
//! They are the checks of etcd's robustness tests, of which [`ordered`], [`unique`], [`atomic`],
//! [`reliable`] and [`resumable`] fit the contract. The sixth, *bookmarkable*, is about progress
//! notices, which the contract does not have.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Change, Entry, Key, Revision, WatchEvent};

/// A commit that was acknowledged, as its writer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its revision.
    pub revision: Revision,
    /// What it changed, in the order of the keys.
    pub changes: Vec<Change>,
}

impl Written {
    /// The commit as a watcher of `prefix` must be told of it; `None`: not at all.
    fn under(&self, prefix: &str) -> Option<(Revision, Vec<Change>)> {
        let matches = |change: &&Change| change.key().as_str().starts_with(prefix);
        let changes: Vec<Change> = self.changes.iter().filter(matches).cloned().collect();
        (!changes.is_empty()).then_some((self.revision, changes))
    }
}

/// The commits among the events, each with its changes.
pub fn commits(events: &[WatchEvent]) -> impl Iterator<Item = (Revision, &[Change])> {
    events.iter().filter_map(|event| match event {
        WatchEvent::Changes { revision, changes } => Some((*revision, &changes[..])),
        _ => None,
    })
}

/// **Ordered**: revisions never go down, and keys within a commit go up.
///
/// # Panics
///
/// Where they do not.
pub fn ordered(events: &[WatchEvent]) {
    assert!(
        commits(events).is_sorted_by_key(|(revision, _)| revision),
        "commits are told in the order of their revisions: {events:?}"
    );
    for (revision, changes) in commits(events) {
        let in_order = changes.is_sorted_by(|a, b| a.key() < b.key());
        assert!(
            in_order,
            "the changes of {revision} are in the order of their keys"
        );
        assert!(!changes.is_empty(), "an event tells of at least one change");
    }
}

/// **Unique**: no commit is told twice, neither after a snapshot that contains it.
///
/// # Panics
///
/// Where one is.
pub fn unique(events: &[WatchEvent]) {
    let mut last = None;
    let mut told = BTreeSet::new();
    for event in events {
        match event {
            WatchEvent::Snapshot { revision, .. } => last = Some(*revision),
            WatchEvent::Changes { revision, .. } => {
                assert!(
                    told.insert(*revision),
                    "commit {revision} is told twice: {events:?}"
                );
                assert!(
                    last.is_none_or(|last| *revision > last),
                    "{revision} is in the snapshot"
                );
            }
            WatchEvent::Expired { .. } => {}
        }
    }
}

/// **Atomic**: a commit is told whole, in one event, exactly as it was written.
///
/// # Panics
///
/// Where one is torn or differs.
pub fn atomic(events: &[WatchEvent], prefix: &str, written: &[Written]) {
    let written: BTreeMap<Revision, Vec<Change>> = written
        .iter()
        .filter_map(|commit| commit.under(prefix))
        .collect();
    for (revision, changes) in commits(events) {
        let expected = written.get(&revision).map(Vec::as_slice);
        assert_eq!(
            Some(changes),
            expected,
            "commit {revision} is told as it was written"
        );
    }
}

/// **Reliable**: every commit after `start` that touches the prefix is told.
///
/// # Panics
///
/// Where one is missing.
pub fn reliable(events: &[WatchEvent], prefix: &str, start: Revision, written: &[Written]) {
    let told: BTreeSet<Revision> = commits(events).map(|(revision, _)| revision).collect();
    for (revision, _) in written.iter().filter_map(|commit| commit.under(prefix)) {
        let expected = revision <= start || told.contains(&revision);
        assert!(expected, "commit {revision} is not told, only {told:?}");
    }
}

/// **Resumable**: a watch after the last commit of `first` goes on where that one stopped, so
/// that both together are one watch.
///
/// # Panics
///
/// Where they are not.
pub fn resumable(
    first: &[WatchEvent],
    resumed: &[WatchEvent],
    prefix: &str,
    start: Revision,
    written: &[Written],
) {
    let both = [first, resumed].concat();
    ordered(&both);
    unique(&both);
    atomic(&both, prefix, written);
    reliable(&both, prefix, start, written);
}

/// What a watcher knows that does as it is told, beginning with nothing.
#[must_use]
pub fn replay(events: &[WatchEvent]) -> Vec<Entry> {
    let mut state: BTreeMap<Key, Entry> = BTreeMap::new();
    for event in events {
        match event {
            WatchEvent::Snapshot { entries, .. } => {
                let entries = entries.iter().cloned();
                state = entries.map(|entry| (entry.key.clone(), entry)).collect();
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => state.insert(entry.key.clone(), entry.clone()),
                        Change::Delete(key) => state.remove(key),
                    };
                }
            }
            WatchEvent::Expired { keys, .. } => state.retain(|key, _| !keys.contains(key)),
        }
    }
    state.into_values().collect()
}
