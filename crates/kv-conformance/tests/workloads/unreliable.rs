use std::sync::Mutex;

use async_trait::async_trait;
use kv_core::{
    Commit, Entry, Error, GetOptions, Key, KvStore, Limits, ListOptions, Listing, Operation,
    Result, Transaction, Usage,
};
use kv_memory::MemoryStore;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What is wrong with a store, one time in twenty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing: it only fails as a right store may.
    None,
    /// It acknowledges what it did not write.
    Lost,
    /// It refuses what it wrote, as after a retry that meets its own first attempt.
    RefusedButApplied,
    /// It calls unavailable what it wrote.
    FailedButApplied,
    /// It writes half a transaction.
    Torn,
    /// It does not look at the conditions.
    Unconditional,
    /// It answers with what was there before the last commit.
    Stale,
    /// It puts pages of two snapshots into one listing.
    MixedPages,
}

/// A store in memory that fails often, as a right one may: before a commit, and after it.
pub(crate) struct Unreliable {
    store: MemoryStore,
    bug: Bug,
    chance: Mutex<StdRng>,
    old: Mutex<Option<(Listing, Listing)>>,
}

impl Unreliable {
    pub(crate) fn new(bug: Bug, seed: u64) -> Self {
        Self {
            store: MemoryStore::new(),
            bug,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            old: Mutex::default(),
        }
    }

    fn happens(&self, probability: f64) -> bool {
        self.chance.lock().unwrap().random_bool(probability)
    }

    fn strikes(&self, bug: Bug) -> bool {
        self.bug == bug && self.happens(0.05)
    }

    fn unavailable(&self) -> Error {
        Error::Unavailable {
            store: "unreliable".to_owned(),
            reason: "it is said to be".to_owned(),
            source: None,
        }
    }

    fn indeterminate(&self) -> Error {
        Error::Indeterminate {
            store: "unreliable".to_owned(),
            reason: "no answer came".to_owned(),
            source: None,
        }
    }

    async fn read_old(&self) {
        let now = self.store.list_opts(ListOptions::default()).await.unwrap();
        let mut old = self.old.lock().unwrap();
        let before = old.take().map_or(now.clone(), |(_, newer)| newer);
        *old = Some((before, now));
    }

    /// What was there before the last commit.
    fn old(&self) -> Vec<Entry> {
        let old = self.old.lock().unwrap();
        old.as_ref()
            .map_or(Vec::new(), |(old, _)| old.entries.clone())
    }

    async fn apply(&self, transaction: Transaction) -> Result<Commit> {
        let (conditions, mut operations) = transaction.into_parts();
        if self.strikes(Bug::Torn) && operations.len() > 1 {
            operations.truncate(1);
        }
        let is_checked = !self.strikes(Bug::Unconditional);
        let conditions = conditions.into_iter().filter(|_| is_checked);
        let transaction = conditions.fold(Transaction::new(), Transaction::with_condition);
        let transaction = operations
            .into_iter()
            .fold(transaction, Transaction::with_operation);
        self.store.commit(transaction).await
    }
}

#[async_trait]
impl KvStore for Unreliable {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        tokio::task::yield_now().await;
        if self.happens(0.02) {
            return Err(self.unavailable());
        }
        if self.strikes(Bug::Stale) {
            return Ok(self.old().into_iter().find(|entry| entry.key == *key));
        }
        self.store.get_opts(key, options).await
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        tokio::task::yield_now().await;
        if self.happens(0.02) {
            return Err(self.unavailable());
        }
        let mut listing = self.store.list_opts(options.clone()).await?;
        if self.strikes(Bug::Stale) {
            listing.entries = self.old();
            listing
                .entries
                .retain(|entry| entry.key.as_str().starts_with(&options.prefix));
            listing.cursor = None;
        }
        if self.strikes(Bug::MixedPages) {
            let old = self.old();
            let replaced = listing.entries.first_mut();
            if let Some(entry) = replaced
                && let Some(before) = old.into_iter().find(|old| old.key == entry.key)
            {
                *entry = before;
            }
        }
        Ok(listing)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        tokio::task::yield_now().await;
        if self.happens(0.05) {
            return Err(self.unavailable());
        }
        if self.happens(0.02) {
            return Err(self.indeterminate());
        }
        if self.strikes(Bug::Lost) {
            return Ok(self.store.commit(Transaction::new()).await.unwrap());
        }
        self.read_old().await;
        let operation = transaction.operations()[0].clone();
        let done = self.apply(transaction).await?;
        tokio::task::yield_now().await;
        if self.happens(0.03) {
            return Err(self.indeterminate());
        }
        if self.strikes(Bug::FailedButApplied) {
            return Err(self.unavailable());
        }
        if self.strikes(Bug::RefusedButApplied) {
            let (Operation::Put { key, .. } | Operation::Delete { key }) = operation;
            let actual = done.revision;
            return Err(Error::AlreadyExists { key, actual });
        }
        Ok(done)
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
