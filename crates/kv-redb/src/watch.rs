//! What watchers of a file are told: every commit, once it is on the disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use kv_core::backend::{Record, Replica, Snapshot, SnapshotSource};
use kv_core::{Bytes, Change, Entry, Result, Revision, SystemClock};
use tokio::task::spawn_blocking;

use crate::failure;
use crate::file::File;

/// The recent history of a file. What is in the file is not kept in memory, but for the last
/// commits, and the keys that expire once somebody watches.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) replica: Arc<Replica>,
    published: Mutex<Published>,
}

/// What has been told. Whoever holds it makes a change and tells of it, so that watchers hear of
/// changes in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Published {
    replica: Arc<Replica>,
    /// The entries that expire, without their values. `None`: nobody has watched yet.
    expiring: Option<Snapshot>,
}

impl Default for History {
    fn default() -> Self {
        // Each watch brings the clock of its handle.
        let replica = Arc::new(Replica::new(Snapshot::default(), Arc::new(SystemClock)));
        let published = Published {
            replica: replica.clone(),
            expiring: None,
        };
        Self {
            replica,
            published: Mutex::new(published),
        }
    }
}

impl History {
    /// Waits until nobody else changes the file.
    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Published {
    /// Begins with a file whose last commit is `revision`.
    pub(crate) fn begin(&self, revision: Revision) {
        self.replica.skip_to(nothing_at(revision));
    }

    /// Tells of commits that are on the disk.
    pub(crate) fn commits(&mut self, records: Vec<Record>) {
        let Some(last) = records.last() else {
            return;
        };
        let state = match &mut self.expiring {
            None => nothing_at(last.revision),
            Some(expiring) => {
                records.iter().for_each(|record| apply(expiring, record));
                expiring.clone()
            }
        };
        let records = records.into_iter().map(Arc::new);
        self.replica.publish(state, records.collect());
    }

    /// Tells of a teardown, before which `last` was the highest revision.
    pub(crate) fn teardown(&mut self, last: Revision) {
        if let Some(expiring) = &mut self.expiring {
            *expiring = Snapshot::default();
        }
        self.replica.reset(Snapshot::default(), last);
    }

    /// Whether the entries that expire have to be read first.
    pub(crate) fn lacks_expiring(&self) -> bool {
        self.expiring.is_none()
    }

    /// Takes over the entries that expire in the state of the last commit.
    pub(crate) fn load_expiring(&mut self, expiring: Snapshot) {
        self.replica.replace(expiring.clone());
        self.expiring = Some(expiring);
    }
}

fn nothing_at(revision: Revision) -> Snapshot {
    Snapshot::new(revision, [])
}

fn apply(expiring: &mut Snapshot, record: &Record) {
    for (_, key) in &record.reclaimed {
        expiring.unload(key);
    }
    for change in &record.changes {
        match change {
            Change::Put(entry) if entry.expires_at.is_some() => expiring.load(Entry {
                value: Bytes::new(),
                ..entry.clone()
            }),
            Change::Put(_) | Change::Delete(_) => expiring.unload(change.key()),
        }
    }
    expiring.loaded_through(record.revision);
}

/// A file that stays open as long as it is watched.
#[derive(Debug)]
pub(crate) struct Watched(pub(crate) Arc<File>);

#[async_trait::async_trait]
impl SnapshotSource for Watched {
    async fn entries(&self, prefix: &str, now: SystemTime) -> Result<(Revision, Vec<Entry>)> {
        let (file, prefix) = (self.0.clone(), prefix.to_owned());
        spawn_blocking(move || file.entries(&prefix, now))
            .await
            .map_err(|error| failure::task(&self.0.name, &error))?
    }
}
