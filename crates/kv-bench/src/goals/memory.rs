//! Reads that ask nobody.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv_configmap::ConfigMapStore;
use kv_core::backend::Snapshot;
use kv_core::prelude::*;
use kv_core::{Consistency, GetOptions, ListOptions, Revision};

use super::{Report, time};
use crate::data::{entry_key, entry_value};
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::rounds::median;
use crate::stores::filled;

const ENTRIES: u64 = 10_000;
const BATCH: u64 = 1_000;

/// Goals 6 and 8: cached gets next to a map, and listings, while others write.
pub(super) async fn reads(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let (buckets, counter) = env.counted_buckets()?;
    let store = filled(&buckets, "cached", ENTRIES, entry_value).await?;
    let map: BTreeMap<Key, Bytes> = entries().map(|entry| (entry.key, entry.value)).collect();
    // The follower starts with the first cached read.
    cached_gets(&store, &keys()).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;

    counter.take();
    for _ in 0..10 {
        cached_gets(&store, &keys()).await?;
    }
    let requests = counter.take().requests() as f64;
    let quiet = measure(env, &store, &map).await?;

    let writers = Writers::start(&store);
    let busy = measure(env, &store, &map).await?;
    let writes = writers.stop().await?;

    let finding = Finding::ratio(
        6,
        "cached get to a lookup in a BTreeMap",
        quiet.get / quiet.lookup,
        Bound::AtMost(2.0),
    );
    report.findings.push(
        finding
            .side("ours", time(quiet.get))
            .side("BTreeMap", time(quiet.lookup)),
    );
    let what = format!("cached get at {writes:.0} writes/s");
    let finding = Finding::ratio(6, what, busy.get * 1_000.0, Bound::AtMost(500.0)).figure("ns");
    report
        .findings
        .push(finding.side("BTreeMap then", time(busy.lookup)));
    let finding = Finding::ratio(
        6,
        "requests of 10,000 cached gets",
        requests,
        Bound::AtMost(0.0),
    );
    report
        .findings
        .push(finding.figure("requests").count_within(0.0..=0.0));
    let finding = Finding::ratio(
        8,
        "listing of 100, an entry",
        quiet.list * 10.0,
        Bound::AtMost(100.0),
    );
    report.findings.push(finding.figure("ns"));
    let what = format!("a snapshot of {ENTRIES} entries");
    let finding = Finding::ratio(8, what, quiet.snapshot * 1_000.0, Bound::AtMost(100.0));
    report.findings.push(finding.figure("ns"));
    Ok(())
}

/// Microseconds a call.
struct Times {
    get: f64,
    lookup: f64,
    list: f64,
    snapshot: f64,
}

fn keys() -> Vec<Key> {
    let number = |index: u64| index.wrapping_mul(7_919) % ENTRIES;
    (0..BATCH).map(|index| entry_key(number(index))).collect()
}

async fn measure(
    env: &Environment,
    store: &Arc<ConfigMapStore>,
    map: &BTreeMap<Key, Bytes>,
) -> anyhow::Result<Times> {
    let keys = keys();
    let (mut gets, mut lookups) = (Vec::new(), Vec::new());
    let (mut lists, mut snapshots) = (Vec::new(), Vec::new());
    let state = Snapshot::new(Revision::new(1), entries());
    for _ in 0..100 * env.effort.rounds {
        gets.push(cached_gets(store, &keys).await?);
        let start = Instant::now();
        for key in &keys {
            black_box(map.get(black_box(key)).cloned());
        }
        lookups.push(micros_each(start, BATCH));
        lists.push(listings(store).await?);
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(black_box(&state).clone());
        }
        snapshots.push(micros_each(start, BATCH));
        tokio::task::yield_now().await;
    }
    let median = |times: Vec<f64>| median(times.into_iter());
    Ok(Times {
        get: median(gets),
        lookup: median(lookups),
        list: median(lists),
        snapshot: median(snapshots),
    })
}

fn entries() -> impl Iterator<Item = Entry> {
    (0..ENTRIES).map(|number| Entry {
        key: entry_key(number),
        value: entry_value(number),
        revision: Revision::new(1),
        expires_at: None,
    })
}

async fn cached_gets(store: &ConfigMapStore, keys: &[Key]) -> anyhow::Result<f64> {
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    let start = Instant::now();
    for key in keys {
        black_box(store.get_opts(black_box(key), cached.clone()).await?);
    }
    Ok(micros_each(start, keys.len() as u64))
}

async fn listings(store: &ConfigMapStore) -> anyhow::Result<f64> {
    const LISTINGS: u64 = 10;
    let start = Instant::now();
    for number in 0..LISTINGS {
        let options = ListOptions::prefix("deployments/")
            .with_start_after(entry_key(number * 900))
            .with_limit(100)
            .with_consistency(Consistency::Cached);
        black_box(store.list_opts(options).await?);
    }
    Ok(micros_each(start, LISTINGS))
}

fn micros_each(start: Instant, count: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / count as f64
}

/// More than 1,000 puts a second, where the machine is not too slow for it.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<anyhow::Result<u64>>>,
    begun: Instant,
}

impl Writers {
    fn start(store: &Arc<ConfigMapStore>) -> Self {
        const TASKS: u64 = 32;
        let stop = Arc::new(AtomicBool::new(false));
        let task = |task: u64| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(TASKS - TASKS / 8));
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    pace.tick().await;
                    store
                        .put(entry_key(task * 100 + count % 100), entry_value(count))
                        .await?;
                    count += 1;
                }
                Ok(count)
            })
        };
        Self {
            tasks: (0..TASKS).map(task).collect(),
            begun: Instant::now(),
            stop,
        }
    }

    /// Says how many there were a second.
    async fn stop(self) -> anyhow::Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut count = 0;
        for task in self.tasks {
            count += task.await??;
        }
        Ok(count as f64 / seconds)
    }
}
