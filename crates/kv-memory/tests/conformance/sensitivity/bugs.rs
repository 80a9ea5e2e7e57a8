//! The bugs, each as some store has had it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;
use kv_core::{
    Commit, Cursor, Entry, GetOptions, Key, KvStore, ListOptions, Listing, Operation, Result,
    Revision, Transaction, WatchEvent,
};
use kv_memory::MemoryStore;

use super::broken::Bug;

/// A missing key reads as empty bytes.
#[derive(Default)]
pub(super) struct EmptyForMissing;

#[async_trait]
impl Bug for EmptyForMissing {
    async fn get(&self, store: &MemoryStore, key: &Key, how: GetOptions) -> Result<Option<Entry>> {
        let empty = || Entry {
            key: key.clone(),
            value: "".into(),
            revision: Revision::ZERO,
            expires_at: None,
        };
        Ok(store.get_opts(key, how).await?.or_else(|| Some(empty())))
    }
}

/// A delete changes what the handle shows, and is never stored.
#[derive(Default)]
pub(super) struct DeleteInMemoryOnly {
    deleted: Mutex<BTreeSet<Key>>,
}

#[async_trait]
impl Bug for DeleteInMemoryOnly {
    async fn get(&self, store: &MemoryStore, key: &Key, how: GetOptions) -> Result<Option<Entry>> {
        let found = store.get_opts(key, how).await?;
        Ok(found.filter(|entry| {
            !self
                .deleted
                .lock()
                .expect("no holder panics")
                .contains(&entry.key)
        }))
    }

    async fn commit(&self, store: &MemoryStore, transaction: Transaction) -> Result<Commit> {
        let mut puts = Transaction::new();
        for operation in transaction.operations() {
            match operation {
                Operation::Put { .. } => puts = puts.with_operation(operation.clone()),
                Operation::Delete { key } => {
                    self.deleted
                        .lock()
                        .expect("no holder panics")
                        .insert(key.clone());
                }
            }
        }
        store.commit(puts).await
    }
}

/// A put of what is stored already is written again.
#[derive(Default)]
pub(super) struct UnchangedPutWrites;

#[async_trait]
impl Bug for UnchangedPutWrites {
    async fn commit(&self, store: &MemoryStore, transaction: Transaction) -> Result<Commit> {
        if !transaction.conditions().is_empty() {
            return store.commit(transaction).await;
        }
        let keys = transaction.operations().iter().map(Operation::key);
        let deletes = keys.fold(Transaction::new(), Transaction::delete);
        store.commit(deletes).await?;
        store.commit(transaction).await
    }
}

/// A bucket that is made anew begins at the first revision again.
#[derive(Default)]
pub(super) struct RevisionsStartOver;

#[async_trait]
impl Bug for RevisionsStartOver {
    async fn teardown(&self, _: MemoryStore) -> Result<MemoryStore> {
        Ok(MemoryStore::new())
    }
}

/// A handle reads a key once and remembers it until it writes it.
#[derive(Default)]
pub(super) struct StaleCache {
    seen: Mutex<BTreeMap<Key, Option<Entry>>>,
}

#[async_trait]
impl Bug for StaleCache {
    async fn get(&self, store: &MemoryStore, key: &Key, how: GetOptions) -> Result<Option<Entry>> {
        let found = store.get_opts(key, how).await?;
        let mut seen = self.seen.lock().expect("no holder panics");
        Ok(seen.entry(key.clone()).or_insert(found).clone())
    }
}

/// Keys are stored in lower case.
#[derive(Default)]
pub(super) struct LossyKeys;

#[async_trait]
impl Bug for LossyKeys {
    async fn commit(&self, store: &MemoryStore, transaction: Transaction) -> Result<Commit> {
        let lower = |operation: &Operation| match operation.clone() {
            Operation::Put { key, value, ttl } => Operation::Put {
                key: Key::new(key.as_str().to_lowercase()).expect("a legal key"),
                value,
                ttl,
            },
            delete @ Operation::Delete { .. } => delete,
        };
        let operations = transaction.operations().iter().map(lower);
        let lossy = operations.fold(Transaction::new(), Transaction::with_operation);
        store.commit(lossy).await
    }
}

/// A list returns all keys whatever the prefix.
#[derive(Default)]
pub(super) struct PrefixIgnored;

#[async_trait]
impl Bug for PrefixIgnored {
    async fn list(&self, store: &MemoryStore, options: ListOptions) -> Result<Listing> {
        let prefix = String::new();
        store.list_opts(ListOptions { prefix, ..options }).await
    }
}

/// A list begins with the key that it should begin after.
#[derive(Default)]
pub(super) struct StartIncluded;

#[async_trait]
impl Bug for StartIncluded {
    async fn list(&self, store: &MemoryStore, options: ListOptions) -> Result<Listing> {
        let start = options.start_after.clone();
        let mut listing = store.list_opts(options).await?;
        if let Some(key) = start {
            let first = store.get_opts(&key, GetOptions::default()).await?;
            listing.entries.splice(0..0, first);
        }
        Ok(listing)
    }
}

/// A list without a limit returns a thousand entries and says nothing of the rest.
#[derive(Default)]
pub(super) struct HiddenCap;

#[async_trait]
impl Bug for HiddenCap {
    async fn list(&self, store: &MemoryStore, options: ListOptions) -> Result<Listing> {
        let mut listing = store.list_opts(options).await?;
        listing.entries.truncate(1_000);
        Ok(listing)
    }
}

/// A cursor goes on in what is there now, under the revision of the first page.
#[derive(Default)]
pub(super) struct PagesFromNow;

#[async_trait]
impl Bug for PagesFromNow {
    async fn list(&self, store: &MemoryStore, mut options: ListOptions) -> Result<Listing> {
        let Some(cursor) = options.cursor.take() else {
            return store.list_opts(options).await;
        };
        options.start_after = cursor.after().cloned();
        let mut listing = store.list_opts(options).await?;
        listing.revision = cursor.snapshot();
        let after = listing.cursor.and_then(|cursor| cursor.after().cloned());
        listing.cursor = after.map(|after| Cursor::new(listing.revision, Some(after)));
        Ok(listing)
    }
}

/// Conditions are not looked at: the last writer wins.
#[derive(Default)]
pub(super) struct ConditionsIgnored;

#[async_trait]
impl Bug for ConditionsIgnored {
    async fn commit(&self, store: &MemoryStore, transaction: Transaction) -> Result<Commit> {
        let (_, operations) = transaction.into_parts();
        let operations = operations.into_iter();
        let bare = operations.fold(Transaction::new(), Transaction::with_operation);
        // Time for another writer to come between.
        tokio::task::yield_now().await;
        store.commit(bare).await
    }
}

/// Operations are stored one by one, the conditions with the last of them.
#[derive(Default)]
pub(super) struct TornTransactions;

#[async_trait]
impl Bug for TornTransactions {
    async fn commit(&self, store: &MemoryStore, transaction: Transaction) -> Result<Commit> {
        let (conditions, mut operations) = transaction.into_parts();
        let last = operations.pop();
        let mut whole = Commit {
            revision: Revision::ZERO,
            previous: Vec::new(),
            current: Vec::new(),
        };
        let mut parts: Vec<Transaction> = operations
            .into_iter()
            .map(|operation| Transaction::new().with_operation(operation))
            .collect();
        let conditions = conditions.into_iter();
        let end = conditions.fold(Transaction::new(), Transaction::with_condition);
        parts.push(last.into_iter().fold(end, Transaction::with_operation));
        for part in parts {
            let commit = store.commit(part).await?;
            whole.revision = commit.revision;
            whole.previous.extend(commit.previous);
            whole.current.extend(commit.current);
            tokio::task::yield_now().await;
        }
        Ok(whole)
    }
}

/// Every commit is told twice.
#[derive(Default)]
pub(super) struct EventsTwice;

impl Bug for EventsTwice {
    fn tell(event: WatchEvent) -> Vec<WatchEvent> {
        match event {
            WatchEvent::Changes { .. } => vec![event.clone(), event],
            other => vec![other],
        }
    }
}

/// Some commits are not told.
#[derive(Default)]
pub(super) struct EventsLost;

impl Bug for EventsLost {
    fn tell(event: WatchEvent) -> Vec<WatchEvent> {
        match event {
            WatchEvent::Changes { revision, .. } if revision.get() % 5 == 2 => vec![],
            other => vec![other],
        }
    }
}

/// Each change of a commit is told by itself.
#[derive(Default)]
pub(super) struct EventsTorn;

impl Bug for EventsTorn {
    fn tell(event: WatchEvent) -> Vec<WatchEvent> {
        match event {
            WatchEvent::Changes { revision, changes } => {
                let alone = |change| WatchEvent::Changes {
                    revision,
                    changes: vec![change],
                };
                changes.into_iter().map(alone).collect()
            }
            other => vec![other],
        }
    }
}
