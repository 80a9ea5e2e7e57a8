//! Buckets to measure on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::OpenMode;
use kv_core::prelude::*;

use crate::data::{VALUE_BYTES, entry_key, fresh_noise, noise, transactions};
use crate::drive::{Samples, drive};
use crate::rounds::Side;

/// A new bucket.
pub(crate) async fn create(buckets: &Buckets, name: &str) -> anyhow::Result<Arc<ConfigMapStore>> {
    Ok(Arc::new(buckets.open(name, OpenMode::Create).await?))
}

/// A new bucket with so many entries.
pub(crate) async fn filled(
    buckets: &Buckets,
    name: &str,
    entries: u64,
    value: impl Fn(u64) -> Bytes,
) -> anyhow::Result<Arc<ConfigMapStore>> {
    let store = create(buckets, name).await?;
    for transaction in transactions(entries, value) {
        store.commit(transaction).await?;
    }
    settle(&store).await?;
    Ok(store)
}

/// The sizes of buckets at which puts and gets are compared, in bytes.
pub(crate) const SIZES: [u64; 3] = [64 * 1024, 1024 * 1024, 16 * 1024 * 1024];

/// A new bucket that stores about so many bytes, in values that nobody can compress, of the size of those
/// that are put, so that it stays as large; of 1 KiB where it has far more than are put. And the number
/// of its entries.
pub(crate) async fn of_size(
    buckets: &Buckets,
    name: &str,
    bytes: u64,
) -> anyhow::Result<(Arc<ConfigMapStore>, u64)> {
    let value_bytes = match bytes {
        ..=1_048_576 => VALUE_BYTES,
        _ => 1024,
    };
    let entries = bytes / (value_bytes as u64 + 30);
    let value = move |number| noise(number, value_bytes);
    Ok((filled(buckets, name, entries, value).await?, entries))
}

/// Waits for the flushes and merges of what was written.
pub(crate) async fn settle(store: &ConfigMapStore) -> anyhow::Result<()> {
    // A put makes a flush that is due begin where it has been given up.
    store.put("settled", "").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// Puts new bytes under any of the first entries.
pub(crate) async fn put(store: &impl KvStore, entries: u64) -> anyhow::Result<()> {
    let key = entry_key(rand::random_range(0..entries));
    store.put(key, fresh_noise(VALUE_BYTES)).await?;
    Ok(())
}

/// Puts from so many tasks for the time of a turn.
pub(crate) async fn puts<S: KvStore + 'static>(
    store: Arc<S>,
    entries: u64,
    tasks: usize,
    turn: Duration,
) -> anyhow::Result<Samples> {
    drive(tasks, turn, move |_, _| {
        let store = store.clone();
        async move { put(&*store, entries).await }
    })
    .await
}

/// Sequential puts as a side.
pub(crate) fn put_side<'a, S: KvStore + 'static>(
    name: impl Into<String>,
    store: &Arc<S>,
    entries: u64,
    turn: Duration,
) -> Side<'a> {
    let store = store.clone();
    Side::new(name, move || puts(store.clone(), entries, 1, turn))
}

/// Refuses a measurement on less than was wanted.
pub(crate) async fn ensure_entries(store: &impl KvStore, entries: u64) -> anyhow::Result<()> {
    let found = store.usage().await?.entries;
    ensure!(found >= entries, "{found} entries, not {entries}");
    Ok(())
}
