use std::sync::Arc;

use futures::StreamExt;
use kv_core::{
    Bytes, Change, Commit, Entry, KvStore, Operation, Revision, SnapshotReason, Transaction,
    WatchEvent, WatchOptions, WatchStart, WatchStore, WatchStream,
};

use crate::Place;
use crate::support::{PATIENCE, key};
use crate::watching::Written;

pub(crate) type Watchable = Arc<dyn WatchStore>;

/// A handle that can watch.
pub(crate) async fn watchable(h: &dyn Place) -> Watchable {
    let store = h.open_watch().await;
    store.expect("the store can watch, unless a lack is declared")
}

/// One watch, whose events are awaited with patience.
pub(crate) struct Feed(WatchStream);

impl Feed {
    pub(crate) async fn new(store: &dyn WatchStore, options: WatchOptions) -> Self {
        Self(store.watch(options).await.expect("a watch begins"))
    }

    /// A watch of all keys.
    pub(crate) async fn from(store: &dyn WatchStore, start: WatchStart) -> Self {
        Self::new(store, WatchOptions::default().with_start(start)).await
    }

    /// A watch that begins with a snapshot, of which it hands out the rest.
    pub(crate) async fn after_snapshot(store: &dyn WatchStore) -> Self {
        let mut feed = Self::from(store, WatchStart::Snapshot).await;
        let first = feed.next().await;
        assert!(
            matches!(first, WatchEvent::Snapshot { .. }),
            "first a snapshot, got {first:?}"
        );
        feed
    }

    pub(crate) async fn next(&mut self) -> WatchEvent {
        let event = tokio::time::timeout(PATIENCE, self.0.next()).await;
        let event = event.expect("an event comes in time");
        event
            .expect("a watch goes on while the store is open")
            .expect("a watch does not fail")
    }

    /// All events up to the one that tells of `last`.
    pub(crate) async fn until(&mut self, last: Revision) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let reached = match &event {
                WatchEvent::Snapshot { revision, .. } | WatchEvent::Changes { revision, .. } => {
                    *revision >= last
                }
                WatchEvent::Expired { .. } => false,
            };
            events.push(event);
            if reached {
                return events;
            }
        }
    }

    /// Asserts that the next event is exactly the commit of that revision.
    pub(crate) async fn expect_commit(&mut self, revision: Revision) -> Vec<Change> {
        match self.next().await {
            WatchEvent::Changes {
                revision: told,
                changes,
            } => {
                assert_eq!(told, revision, "the next event is the next commit");
                changes
            }
            other => panic!("the commit {revision} comes next, got {other:?}"),
        }
    }
}

/// Commits a transaction that changes each of its keys once, and tells what it changed.
pub(crate) async fn write(store: &dyn KvStore, transaction: Transaction) -> Written {
    let operations = transaction.operations().to_vec();
    let commit = store
        .commit(transaction)
        .await
        .expect("a transaction succeeds");
    written(operations, &commit)
}

fn written(operations: Vec<Operation>, commit: &Commit) -> Written {
    let revision = commit.revision;
    let mut changes: Vec<Change> = operations
        .into_iter()
        .map(|operation| match operation {
            Operation::Put { key, value, .. } => Change::Put(Entry {
                key,
                value,
                revision,
                expires_at: None,
            }),
            Operation::Delete { key } => Change::Delete(key),
        })
        .collect();
    changes.sort_by(|a, b| a.key().cmp(b.key()));
    Written { revision, changes }
}

/// Asserts that the event is a snapshot for that reason, and returns what it tells.
pub(crate) fn snapshot(event: WatchEvent, why: SnapshotReason) -> (Revision, Vec<Entry>) {
    match event {
        WatchEvent::Snapshot {
            reason,
            revision,
            entries,
        } if reason == why => (revision, entries),
        other => panic!("a snapshot comes, {why:?}, got {other:?}"),
    }
}

/// A transaction of one put.
pub(crate) fn put_of(name: &str, value: impl Into<Bytes>) -> Transaction {
    Transaction::new().put(key(name), value)
}
