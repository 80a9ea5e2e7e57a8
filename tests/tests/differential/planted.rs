//! Stores with planted bugs, each of which the steps must find and boil down: a comparison that
//! finds none proves nothing.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kv_core::{
    Commit, Condition, Consistency, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing,
    ManualClock, OpenMode, Operation, Result, Transaction, Usage,
};
use kv_memory::{MemoryBuckets, MemoryStore};

use super::difference;
use super::subject::Subject;

/// What is wrong with a store.
trait Bug: Send + Sync + 'static {
    /// Changes a transaction on its way in.
    fn commit(transaction: Transaction) -> Transaction {
        transaction
    }

    /// Changes what is asked for.
    fn list(options: ListOptions) -> ListOptions {
        options
    }

    /// Whether a cached read answers what it first answered.
    const REMEMBERS: bool = false;
}

struct Buggy<B> {
    buckets: MemoryBuckets,
    bug: PhantomData<B>,
}

struct BuggyStore<B> {
    store: MemoryStore,
    answered: Mutex<HashMap<Key, Option<Entry>>>,
    bug: PhantomData<B>,
}

#[async_trait]
impl<B: Bug> Subject for Buggy<B> {
    const NAME: &'static str = "buggy";

    async fn new(clock: ManualClock) -> Self {
        Self {
            buckets: MemoryBuckets::with_clock(clock),
            bug: PhantomData,
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(BuggyStore::<B> {
            store: self.buckets.open("bucket", mode)?,
            answered: Mutex::default(),
            bug: PhantomData,
        }))
    }
}

#[async_trait]
impl<B: Bug> KvStore for BuggyStore<B> {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let is_cached = options.consistency == Consistency::Cached;
        let found = self.store.get_opts(key, options).await?;
        if !is_cached || !B::REMEMBERS {
            return Ok(found);
        }
        let mut answered = self.answered.lock().expect("nobody panics with it");
        Ok(answered.entry(key.clone()).or_insert(found).clone())
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        self.store.list_opts(B::list(options)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        self.store.commit(B::commit(transaction)).await
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

fn rebuilt(
    conditions: impl IntoIterator<Item = Condition>,
    operations: impl IntoIterator<Item = Operation>,
) -> Transaction {
    let conditions = conditions.into_iter();
    let transaction = conditions.fold(Transaction::new(), Transaction::with_condition);
    operations
        .into_iter()
        .fold(transaction, Transaction::with_operation)
}

/// A transaction of several operations forgets its deletes.
struct ForgetsDeletes;

impl Bug for ForgetsDeletes {
    fn commit(transaction: Transaction) -> Transaction {
        let (conditions, mut operations) = transaction.into_parts();
        if operations.len() > 2 {
            operations.retain(|operation| matches!(operation, Operation::Put { .. }));
        }
        rebuilt(conditions, operations)
    }
}

/// That a key must exist is not checked.
struct IgnoresExists;

impl Bug for IgnoresExists {
    fn commit(transaction: Transaction) -> Transaction {
        let (mut conditions, operations) = transaction.into_parts();
        conditions.retain(|condition| !matches!(condition, Condition::Exists(_)));
        rebuilt(conditions, operations)
    }
}

/// A time to live is rounded down.
struct RoundsDown;

impl Bug for RoundsDown {
    fn commit(transaction: Transaction) -> Transaction {
        let (conditions, mut operations) = transaction.into_parts();
        for operation in &mut operations {
            if let Operation::Put { ttl: Some(ttl), .. } = operation {
                let rest = ttl.subsec_nanos() % 1_000_000;
                *ttl -= Duration::from_nanos(rest.into());
            }
        }
        rebuilt(conditions, operations)
    }
}

/// The next page comes from what is there now.
struct PagesFromNow;

impl Bug for PagesFromNow {
    fn list(mut options: ListOptions) -> ListOptions {
        if let Some(cursor) = options.cursor.take() {
            options.start_after = cursor.after().cloned().or(options.start_after);
        }
        options
    }
}

/// A prefix ends at a slash.
struct PrefixIsFolder;

impl Bug for PrefixIsFolder {
    fn list(mut options: ListOptions) -> ListOptions {
        if !options.prefix.is_empty() && !options.prefix.ends_with('/') {
            options.prefix.push('/');
        }
        options
    }
}

/// The cache of a handle is never renewed.
struct NeverRenewed;

impl Bug for NeverRenewed {
    const REMEMBERS: bool = true;
}

/// Asserts that a few seeds find the bug, and that so many steps show it.
fn is_found<B: Bug>(most: usize) {
    let report = (0..5).find_map(difference::<Buggy<B>>);
    let report = report.expect("the bug is found");
    let is_step = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
    let steps = report.lines().filter_map(|line| line.strip_prefix("  "));
    let steps = steps.filter(is_step).count();
    assert!(steps <= most, "it takes few steps:\n{report}");
    assert!(report.contains("KV_DIFFERENTIAL_STEPS="), "{report}");
}

#[test]
fn a_forgotten_delete_is_found() {
    is_found::<ForgetsDeletes>(2);
}

#[test]
fn a_condition_that_is_not_checked_is_found() {
    is_found::<IgnoresExists>(1);
}

#[test]
fn a_time_that_is_rounded_down_is_found() {
    is_found::<RoundsDown>(1);
}

#[test]
fn pages_of_two_snapshots_are_found() {
    is_found::<PagesFromNow>(8);
}

#[test]
fn a_prefix_that_knows_separators_is_found() {
    is_found::<PrefixIsFolder>(2);
}

#[test]
fn a_cache_that_is_never_renewed_is_found() {
    is_found::<NeverRenewed>(5);
}
