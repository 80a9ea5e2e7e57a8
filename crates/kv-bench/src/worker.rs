//! Processes of their own: several writers of a bucket, a watcher, and one that opens a bucket, whose
//! memory is nobody else's.
//!
//! A worker says `ready` when it has opened the bucket, begins at a line on its standard input, and
//! prints what it has found as a line of JSON.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, WatchEvent as KubeEvent, WatchParams};
use kv_configmap::Buckets;
use kv_core::prelude::*;
use kv_core::{
    Change, Clock as _, GetOptions, OpenMode, SystemClock, WatchEvent, WatchOptions, WatchStart,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::combined::Combined;
use crate::counting::{Counter, counted_client};
use crate::data::{VALUE_BYTES, fresh_noise};
use crate::drive::{Samples, drive};
use crate::environment::{config, used_up};
use crate::opened::Opened;
use crate::server::memory_bytes;

#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    namespace: String,
    #[arg(long)]
    bucket: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Count up, each task under a key of its own
    Put {
        #[arg(long)]
        number: usize,
        #[arg(long)]
        tasks: usize,
        #[arg(long)]
        millis: u64,
        /// The write budget, which there is none of else
        #[arg(long)]
        is_used_up: bool,
    },
    /// Put by hand, where the first of all processes writes for all
    PutCombined {
        #[arg(long)]
        number: usize,
        #[arg(long)]
        millis: u64,
    },
    /// Tell how old each value is when its event comes
    Watch {
        #[arg(long)]
        events: usize,
    },
    /// The same with a watch on one object, by hand
    WatchRaw {
        #[arg(long)]
        events: usize,
    },
    /// Open the bucket and read all of it
    Open,
    /// Fetch and decode the bucket's objects by hand
    OpenRaw,
}

/// The key under which a task of a process counts.
pub(crate) fn counter_key(number: usize, task: usize) -> Key {
    crate::data::key(format!("process-{number}/{task}"))
}

/// What it puts there: the count, in the first bytes of a value of the usual size.
fn counted_value(count: u64) -> Vec<u8> {
    let mut value = count.to_be_bytes().to_vec();
    value.extend(fresh_noise(VALUE_BYTES - value.len()));
    value
}

/// How far it has counted that put this.
pub(crate) fn counted(value: &[u8]) -> Option<u64> {
    value.first_chunk().copied().map(u64::from_be_bytes)
}

/// What a process has put.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct CountedUp {
    pub(crate) samples: Samples,
    /// How far each task has counted.
    pub(crate) counts: Vec<u64>,
    pub(crate) conflicts: u64,
}

/// A value that tells when it was made.
pub(crate) fn timestamp() -> String {
    micros_now().to_string()
}

fn age(value: &[u8]) -> Option<u64> {
    let made: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(micros_now().saturating_sub(made))
}

/// Since 1970: all processes of a machine agree about it.
fn micros_now() -> u64 {
    let since = SystemClock.now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_micros() as u64
}

impl Worker {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let (client, counter) = counted_client(config(&self.kubeconfig).await?)?;
        let buckets = Buckets::config_maps(client.clone(), &self.namespace);
        match self.task {
            Task::Put {
                number,
                tasks,
                millis,
                is_used_up,
            } => {
                let buckets = match is_used_up {
                    true => used_up(buckets),
                    false => buckets.without_write_budget(),
                };
                let store = buckets.open(&self.bucket, OpenMode::Open).await?;
                store.get(&counter_key(number, 0)).await?;
                wait_for_begin().await?;
                let turn = Duration::from_millis(millis);
                tell(&count_up(store, &counter, number, tasks, turn).await?)
            }
            Task::PutCombined { number, millis } => {
                let maps = Api::namespaced(client, &self.namespace);
                let process = Combined::create(maps, self.bucket, number).await?;
                wait_for_begin().await?;
                tell(&process.put(Duration::from_millis(millis)).await?)
            }
            Task::Watch { events } => {
                let store = buckets.open(&self.bucket, OpenMode::Open).await?;
                watch(&store, events).await
            }
            Task::WatchRaw { events } => {
                let maps = Api::namespaced(client, &self.namespace);
                watch_raw(&maps, &self.bucket, events).await
            }
            Task::Open => open(&buckets, &self.bucket).await,
            Task::OpenRaw => open_raw(client, &self.namespace, &self.bucket).await,
        }
    }
}

async fn count_up(
    store: impl KvStore + Clone + 'static,
    counter: &Counter,
    number: usize,
    tasks: usize,
    turn: Duration,
) -> anyhow::Result<CountedUp> {
    let counts: Arc<[AtomicU64]> = (0..tasks).map(|_| AtomicU64::new(0)).collect();
    let counted = counts.clone();
    let put = move |task: usize, call: u64| {
        let (store, counts, count) = (store.clone(), counted.clone(), call + 1);
        async move {
            store
                .put(&counter_key(number, task), counted_value(count))
                .await?;
            counts[task].store(count, Ordering::Relaxed);
            Ok(())
        }
    };
    Ok(CountedUp {
        samples: drive(tasks, turn, put).await?,
        counts: counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect(),
        conflicts: counter.take().conflicts,
    })
}

async fn watch(store: &impl WatchStore, events: usize) -> anyhow::Result<()> {
    let options = WatchOptions::default().with_start(WatchStart::Now);
    let mut stream = store.watch(options).await?;
    println!("ready");
    let mut samples = Samples::default();
    while samples.micros.len() < events {
        let event = stream.next().await.context("the watch has ended")??;
        let WatchEvent::Changes { changes, .. } = event else {
            continue;
        };
        let values = changes.iter().filter_map(|change| match change {
            Change::Put(entry) => age(&entry.value),
            Change::Delete(_) => None,
        });
        samples.micros.extend(values);
    }
    tell(&samples)
}

async fn watch_raw(maps: &Api<ConfigMap>, name: &str, events: usize) -> anyhow::Result<()> {
    let version = maps.get(name).await?.metadata.resource_version;
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
    let stream = maps
        .watch(&parameters, &version.unwrap_or_default())
        .await?;
    let mut stream = stream.boxed();
    println!("ready");
    let mut samples = Samples::default();
    while samples.micros.len() < events {
        let event = stream.next().await.context("the watch has ended")??;
        let KubeEvent::Modified(object) = event else {
            continue;
        };
        let data = object.binary_data.unwrap_or_default();
        // Each patch changes this key.
        samples
            .micros
            .extend(data.get("key-0").and_then(|value| age(&value.0)));
    }
    tell(&samples)
}

async fn open(buckets: &Buckets, bucket: &str) -> anyhow::Result<()> {
    let before = memory_bytes("VmRSS")?;
    let start = Instant::now();
    let store = buckets.open(bucket, OpenMode::Open).await?;
    let cached = GetOptions::default().with_consistency(kv_core::Consistency::Cached);
    let _ = store.get_opts(&crate::data::entry_key(0), cached).await?;
    let took = start.elapsed();
    let entries = store.usage().await?.entries;
    tell_opened(took, entries, before).await
}

async fn open_raw(client: Client, namespace: &str, bucket: &str) -> anyhow::Result<()> {
    let before = memory_bytes("VmRSS")?;
    let start = Instant::now();
    let entries = crate::opened::by_hand(client, namespace, bucket).await?;
    tell_opened(start.elapsed(), entries.len() as u64, before).await
}

async fn tell_opened(took: Duration, entries: u64, before: u64) -> anyhow::Result<()> {
    // What the allocator has to give back, it has given back by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tell(&Opened {
        micros: took.as_micros() as u64,
        entries,
        held_bytes: memory_bytes("VmRSS")?.saturating_sub(before),
        peak_bytes: memory_bytes("VmHWM")?.saturating_sub(before),
    })
}

async fn wait_for_begin() -> anyhow::Result<()> {
    println!("ready");
    let mut line = String::new();
    BufReader::new(tokio::io::stdin())
        .read_line(&mut line)
        .await?;
    Ok(())
}

fn tell(found: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}
