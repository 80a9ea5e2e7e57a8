use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Entry, Key, KvStore, Result, Revision};

/// A store that tells of commits as they happen. A separate trait, so that the lack of it shows
/// when compiling.
///
/// # What a watcher sees
///
/// 1. With [`WatchStart::Snapshot`], first all entries at one revision, also of an empty bucket.
/// 2. Then one [`WatchEvent::Changes`] for each commit that touches the prefix: in the order of
///    the revisions, complete, none twice and none left out.
/// 3. A consumer that is too slow, a start that is too old, and a bucket that is torn down, give a
///    new [`WatchEvent::Snapshot`] whose [`SnapshotReason`] says why. It replaces everything seen
///    before: nothing is lost silently.
/// 4. Entries whose time has come give [`WatchEvent::Expired`], also those whose time had come
///    before their commit was told: directly after it.
/// 5. Dropping the stream ends the watch. A slow consumer never delays writers.
#[async_trait]
pub trait WatchStore: KvStore {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// The failures of the service.
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream>;
}

/// The events of one watch. It ends when the store is closed.
pub type WatchStream = BoxStream<'static, Result<WatchEvent>>;

/// What to [`watch`](WatchStore::watch).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Only keys that begin with this text; empty: all keys.
    pub prefix: String,
    /// Where to begin.
    pub start: WatchStart,
}

impl WatchOptions {
    /// Options that watch the keys beginning with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// Sets [`WatchOptions::start`].
    #[must_use]
    pub fn with_start(mut self, start: WatchStart) -> Self {
        self.start = start;
        self
    }
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchStart {
    /// With a snapshot, then the commits after it.
    #[default]
    Snapshot,
    /// With the first commit after this revision.
    After(Revision),
    /// With the next commit.
    Now,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// All entries at one revision, in place of everything told before.
    Snapshot {
        /// Why there is a snapshot.
        reason: SnapshotReason,
        /// The revision of the snapshot.
        revision: Revision,
        /// The entries under the prefix, in the order of their keys.
        entries: Vec<Entry>,
    },
    /// What one commit changed.
    Changes {
        /// The revision of the commit.
        revision: Revision,
        /// The changes under the prefix, in the order of their keys; at least one.
        changes: Vec<Change>,
    },
    /// Entries whose time has come. No commit, hence no revision of its own. After a start with
    /// [`WatchStart::After`] an expiry may be told again that an earlier watch has told.
    Expired {
        /// The revision of the last commit before.
        revision: Revision,
        /// The keys under the prefix, at least one.
        keys: Vec<Key>,
    },
}

/// Why a watcher got a [`WatchEvent::Snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotReason {
    /// It asked for one.
    Requested,
    /// The store no longer has the commits after the revision it asked for.
    Compacted,
    /// It fell behind further than the store keeps commits.
    Lagged,
    /// The bucket was torn down.
    Teardown,
}

/// What a commit did to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has a new entry.
    Put(Entry),
    /// The key is gone.
    Delete(Key),
}

impl Change {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete(key) => key,
        }
    }
}
