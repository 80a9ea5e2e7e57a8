//! What the cases share, so that each reads as the sentence that it tests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    Entry, Error, Key, KvStore, KvStoreExt, ListOptions, Listing, OpenMode, Result, Revision,
    Transaction,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::Place;

/// How long an awaited event may take: generous, since a loaded machine is no broken store.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Store = Arc<dyn KvStore>;

/// A handle on the bucket of the harness, which is created where it does not exist.
pub(crate) async fn open(h: &dyn Place) -> Store {
    let store = h.open(OpenMode::OpenOrCreate).await;
    store.expect("open or create succeeds on a healthy service")
}

/// A handle on the other bucket of the harness.
pub(crate) async fn open_other(h: &dyn Place) -> Store {
    let store = h.open_other(OpenMode::OpenOrCreate).await;
    store.expect("open or create succeeds on a healthy service")
}

/// What a process sees that starts after the one with this handle has ended.
pub(crate) async fn reopen(h: &dyn Place, store: Store) -> Store {
    drop(store);
    let store = h.open(OpenMode::Open).await;
    store.expect("a bucket that was made can be opened")
}

pub(crate) fn key(text: impl AsRef<str>) -> Key {
    Key::new(text.as_ref()).expect("the suite uses legal keys")
}

/// The value of a key that must be there or must not.
pub(crate) async fn value_of(store: &dyn KvStore, key: &str) -> Option<Bytes> {
    entry_of(store, key).await.map(|entry| entry.value)
}

pub(crate) async fn entry_of(store: &dyn KvStore, key: &str) -> Option<Entry> {
    store.get(key).await.expect("a read succeeds")
}

pub(crate) async fn put(store: &dyn KvStore, key: &str, value: impl Into<Bytes>) -> Revision {
    store.put(key, value).await.expect("a put succeeds")
}

pub(crate) async fn listing(store: &dyn KvStore, options: ListOptions) -> Listing {
    store.list_opts(options).await.expect("a list succeeds")
}

/// All that is in the bucket, and its revision.
pub(crate) async fn everything(store: &dyn KvStore) -> Listing {
    listing(store, ListOptions::default()).await
}

pub(crate) async fn revision_of(store: &dyn KvStore) -> Revision {
    listing(store, ListOptions::default().with_limit(0))
        .await
        .revision
}

/// The keys of entries, to compare with a literal.
pub(crate) fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

/// Puts all keys, each with itself as its value, in as few commits as the limits allow.
pub(crate) async fn fill<K: AsRef<str> + Sync>(store: &dyn KvStore, keys: &[K]) {
    let at_once = store.limits().transaction_operations.min(500);
    for keys in keys.chunks(at_once) {
        let puts = keys.iter().fold(Transaction::new(), |puts, name| {
            puts.put(key(name), name.as_ref().to_owned())
        });
        store.commit(puts).await.expect("a transaction succeeds");
    }
}

/// `count` keys whose order is that of their numbers.
pub(crate) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i:05}")).collect()
}

/// Bytes that no compressor makes smaller, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    Bytes::from(bytes)
}

/// Asserts that a store is as it was when this was taken: its entries and its revision.
#[derive(Debug)]
pub(crate) struct Untouched(Listing);

impl Untouched {
    pub(crate) async fn since(store: &dyn KvStore) -> Self {
        Self(everything(store).await)
    }

    pub(crate) async fn assert(&self, store: &dyn KvStore, by: &str) {
        let now = everything(store).await;
        assert_eq!(now.entries, self.0.entries, "{by} must leave every entry");
        assert_eq!(now.revision, self.0.revision, "{by} must make no commit");
    }
}

/// Runs `count` tasks at the same time and returns their results in order.
pub(crate) async fn together<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for i in 0..count {
        let work = task(i);
        tasks.spawn(async move { (i, work.await) });
    }
    let mut results = Vec::with_capacity(count);
    while let Some(result) = tasks.join_next().await {
        results.push(result.expect("no task of a case panics"));
    }
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Asserts that the call is refused as one that the store cannot do.
pub(crate) fn unsupported<T>(result: Result<T>, what: &str) {
    match result.map(|_| ()) {
        Err(Error::Unsupported { .. }) => {}
        other => panic!("{what} must be unsupported, got {other:?}"),
    }
}

/// Asserts that `at` is refused because `found` is there instead.
pub(crate) fn conflict<T>(result: Result<T>, at: &str, found: Option<Revision>) {
    match result.map(|_| ()) {
        Err(Error::Conflict { key, actual, .. }) => {
            assert_eq!(key.as_str(), at, "a conflict names the key");
            assert_eq!(actual, found, "a conflict tells what is there");
        }
        other => panic!("the condition on {at:?} must be a conflict, got {other:?}"),
    }
}

/// Asserts that `at` is refused because it is there, at `found`.
pub(crate) fn already_exists<T>(result: Result<T>, at: &str, found: Revision) {
    match result.map(|_| ()) {
        Err(Error::AlreadyExists { key, actual }) => {
            assert_eq!(key.as_str(), at, "the error names the key");
            assert_eq!(actual, found, "the error tells the revision that is there");
        }
        other => panic!("the key {at:?} must already exist, got {other:?}"),
    }
}

/// Asserts that the call is refused as over a limit, with these figures.
pub(crate) fn too_large<T>(result: Result<T>, figure: usize, bound: usize) {
    match result.map(|_| ()) {
        Err(Error::TooLarge { actual, limit, .. }) => {
            assert_eq!(actual, figure as u64, "the error tells the actual size");
            assert_eq!(limit, bound as u64, "the error tells the limit");
        }
        other => panic!("{figure} over the limit of {bound} must be too large, got {other:?}"),
    }
}
