//! What the servers say of themselves.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::environment::Places;

/// etcd's metrics, and the time that the processes have spent.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    metrics: String,
    apiserver: u32,
    etcd: u32,
}

impl Servers {
    pub(crate) fn new(places: &Places) -> Self {
        Self {
            metrics: format!("{}/metrics", places.etcd),
            apiserver: places.apiserver_pid,
            etcd: places.etcd_pid,
        }
    }

    /// What etcd tells of itself.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let url = self.metrics.clone();
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
