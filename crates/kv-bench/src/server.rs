//! What the servers say of themselves.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::environment::Places;

/// etcd's metrics, and the time that the processes have spent.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    etcd_url: String,
    apiserver: u32,
    etcd: u32,
}

/// What etcd has of some objects.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

impl Servers {
    pub(crate) fn new(places: &Places) -> Self {
        Self {
            etcd_url: places.etcd.clone(),
            apiserver: places.apiserver_pid,
            etcd: places.etcd_pid,
        }
    }

    /// What etcd tells of itself.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let url = format!("{}/metrics", self.etcd_url);
        let text = tokio::task::spawn_blocking(move || {
            ureq::get(&url).call()?.body_mut().read_to_string()
        });
        text.await?.context("etcd did not tell its metrics")
    }

    /// The bytes of keys and values that were put into etcd since its start.
    pub(crate) async fn put_bytes(&self) -> anyhow::Result<f64> {
        let text = self.metrics().await?;
        let name = "etcd_debugging_mvcc_total_put_size_in_bytes";
        let bytes = sum_of(&text, name, &[]);
        ensure!(bytes > 0.0, "etcd has no metric {name}");
        Ok(bytes)
    }

    /// The bytes of keys and values that etcd has now under a prefix, and how many these are. An object is
    /// there as the API server stores it, with all of its metadata.
    ///
    /// <https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>
    pub(crate) async fn stored(&self, prefix: &str) -> anyhow::Result<Stored> {
        let url = format!("{}/v3/kv/range", self.etcd_url);
        // Ends before the first key that does not begin with the prefix.
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().context("a prefix")? += 1;
        let request = serde_json::json!({
            "key": BASE64_STANDARD.encode(prefix),
            "range_end": BASE64_STANDARD.encode(end),
        });
        let range = tokio::task::spawn_blocking(move || {
            ureq::post(&url)
                .send(request.to_string())?
                .body_mut()
                .read_to_vec()
        });
        let range: Range = serde_json::from_slice(&range.await?.context("etcd was not read")?)?;
        let mut stored = Stored::default();
        for pair in &range.kvs {
            stored.objects += 1;
            for part in [&pair.key, &pair.value] {
                stored.bytes += BASE64_STANDARD.decode(part)?.len() as u64;
            }
        }
        ensure!(stored.objects > 0, "etcd has nothing under {prefix}");
        Ok(stored)
    }

    /// The seconds of processor time of both servers.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        Ok(cpu_seconds(&self.apiserver.to_string())? + cpu_seconds(&self.etcd.to_string())?)
    }
}

/// Adds up the metrics of a name that have all of these labels.
pub(crate) fn sum_of(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = metrics.lines().filter_map(|line| {
        let (found, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let has_all = labels.iter().all(|label| found.contains(label));
        let is_whole = found.is_empty() || found.starts_with('{');
        (is_whole && has_all).then(|| value.parse::<f64>().ok())?
    });
    lines.sum()
}

/// The seconds of processor time of a process: its id, or `self`.
pub(crate) fn cpu_seconds(process: &str) -> anyhow::Result<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let path = PathBuf::from(format!("/proc/{process}/stat"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // The name, in brackets, may hold anything.
    let (_, fields) = text.rsplit_once(')').context("no fields")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.get(index).context("too few fields")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}

/// A line of this process's status, in bytes: `VmRSS`, what it holds now; `VmHWM`, the most it has held.
pub(crate) fn memory_bytes(name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    Ok(kib.with_context(|| format!("no {name}"))?.parse::<u64>()? * 1024)
}
