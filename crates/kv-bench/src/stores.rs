//! Buckets to measure on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::OpenMode;
use kv_core::prelude::*;

use crate::data::{entry_key, key, noise, transactions};
use crate::drive::{Samples, drive};
use crate::rounds::Side;

/// The size of the values that are put.
pub(crate) const VALUE_BYTES: usize = 100;

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

/// A new bucket that stores about so many bytes, in values of 1 KiB that nobody can compress, or of
/// 100 bytes where it is small.
pub(crate) async fn of_size(
    buckets: &Buckets,
    name: &str,
    bytes: u64,
) -> anyhow::Result<Arc<ConfigMapStore>> {
    let value_bytes = if bytes < 1024 * 1024 {
        VALUE_BYTES
    } else {
        1024
    };
    let entries = bytes / (value_bytes as u64 + 30);
    filled(buckets, name, entries, move |number| {
        noise(number, value_bytes)
    })
    .await
}

/// Waits for the flushes and merges of what was written.
pub(crate) async fn settle(store: &ConfigMapStore) -> anyhow::Result<()> {
    // A put makes a flush that is due begin where it has been given up.
    store.put("settled", "").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// Puts one entry, new bytes each time, under one of 1,000 keys of the bucket.
pub(crate) async fn put(store: &impl KvStore, task: usize, number: u64) -> anyhow::Result<()> {
    let seed = (task as u64) << 40 | number;
    store
        .put(entry_key(seed % 1_000), noise(rand::random(), VALUE_BYTES))
        .await?;
    Ok(())
}

/// Puts from so many tasks for the time of a turn.
pub(crate) async fn puts<S: KvStore + 'static>(
    store: Arc<S>,
    tasks: usize,
    turn: Duration,
) -> anyhow::Result<Samples> {
    drive(tasks, turn, move |task, number| {
        let store = store.clone();
        async move {
            // Each task has keys of its own.
            let key = key(format!("task-{task}/{}", number % 100));
            store.put(key, noise(rand::random(), VALUE_BYTES)).await?;
            Ok(())
        }
    })
    .await
}

/// Sequential puts as a side.
pub(crate) fn put_side<'a, S: KvStore + 'static>(
    name: impl Into<String>,
    store: &Arc<S>,
    turn: Duration,
) -> Side<'a> {
    let store = store.clone();
    Side::new(name, move || {
        let store = store.clone();
        drive(1, turn, move |task, number| {
            let store = store.clone();
            async move { put(&*store, task, number).await }
        })
    })
}

/// Refuses a measurement on less than was wanted.
pub(crate) async fn ensure_entries(store: &impl KvStore, entries: u64) -> anyhow::Result<()> {
    let found = store.usage().await?.entries;
    ensure!(found >= entries, "{found} entries, not {entries}");
    Ok(())
}
