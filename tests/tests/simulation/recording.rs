//! What writers know of their commits, to hold against what a watcher is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kv_configmap::ConfigMapStore;
use kv_conformance::watching::{History, Written};
use kv_core::{
    Change, Commit, Consistency, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing,
    Operation, Outcome, Result, Revision, Transaction, Usage,
};

/// A store that notes what was committed, by whichever client, and that a handle never goes back.
pub(crate) struct Recording {
    store: ConfigMapStore,
    history: Arc<Mutex<History>>,
    /// The newest revision that this handle has shown or acknowledged.
    newest: Mutex<Revision>,
}

impl Recording {
    pub(crate) fn new(store: ConfigMapStore, history: Arc<Mutex<History>>) -> Self {
        Self {
            store,
            history,
            newest: Mutex::default(),
        }
    }

    /// Looks again and again what the handle knows. Ends when that goes back.
    pub(crate) async fn goes_back(&self) -> String {
        loop {
            let cached = ListOptions::default().with_limit(0);
            let cached = cached.with_consistency(Consistency::Cached);
            let newest = self.newest();
            if let Ok(listing) = self.store.list_opts(cached).await {
                let known = listing.revision;
                if known < newest {
                    return format!("the handle went back from {newest} to {known}");
                }
                self.has_shown(known);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn newest(&self) -> Revision {
        *self.newest.lock().expect("no panic")
    }

    fn has_shown(&self, revision: Revision) {
        let mut newest = self.newest.lock().expect("no panic");
        *newest = revision.max(*newest);
    }
}

/// What a transaction does to each key, in the order of the keys.
fn changes(transaction: &Transaction, commit: Option<&Commit>) -> Vec<Change> {
    let revision = commit.map_or(Revision::ZERO, |commit| commit.revision);
    let mut last = BTreeMap::new();
    for (index, operation) in transaction.operations().iter().enumerate() {
        let is_written = commit.is_none_or(|commit| match operation {
            // What was put as it is keeps its revision, which may be that of the last commit.
            Operation::Put { .. } => commit.previous[index] != commit.current[index],
            Operation::Delete { .. } => commit.previous[index].is_some(),
        });
        let change = match operation {
            Operation::Put { key, value, .. } => Change::Put(Entry {
                key: key.clone(),
                value: value.clone(),
                revision,
                expires_at: None,
            }),
            Operation::Delete { key } => Change::Delete(key.clone()),
        };
        last.insert(operation.key().clone(), is_written.then_some(change));
    }
    last.into_values().flatten().collect()
}

#[async_trait]
impl KvStore for Recording {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let newest = self.newest();
        let found = self.store.get_opts(key, options).await?;
        // An entry of a later commit is as good a proof that this one was seen.
        if let Some(entry) = &found {
            self.has_shown(entry.revision);
        }
        let cached = ListOptions::default().with_limit(0);
        let cached = cached.with_consistency(Consistency::Cached);
        let known = self.store.list_opts(cached).await?.revision;
        assert!(
            known >= newest,
            "the handle went back from {newest} to {known}"
        );
        Ok(found)
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        let newest = self.newest();
        let is_page = options.cursor.is_some();
        let listing = self.store.list_opts(options).await?;
        let shown = listing.revision;
        assert!(
            is_page || shown >= newest,
            "the handle went back from {newest} to {shown}"
        );
        self.has_shown(shown);
        Ok(listing)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        let doubtful = changes(&transaction, None);
        // In doubt until there is an answer: the process may die before.
        let place = {
            let mut history = self.history.lock().expect("no panic");
            history.in_doubt.push(doubtful);
            history.in_doubt.len() - 1
        };
        let committed = self.store.commit(transaction.clone()).await;
        let mut history = self.history.lock().expect("no panic");
        match &committed {
            Ok(commit) => {
                self.has_shown(commit.revision);
                history.in_doubt[place].clear();
                let changes = changes(&transaction, Some(commit));
                let revision = commit.revision;
                if !changes.is_empty() {
                    history.written.push(Written { revision, changes });
                }
            }
            Err(error) if error.outcome() == Outcome::NotApplied => history.in_doubt[place].clear(),
            Err(_) => {}
        }
        committed
    }

    async fn teardown(&self) -> Result<()> {
        self.store.teardown().await
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }

    async fn usage(&self) -> Result<Usage> {
        self.store.usage().await
    }
}
