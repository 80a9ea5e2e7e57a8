//! What changes while a bucket grows.

use std::time::Duration;

use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::OpenMode;
use kv_core::prelude::*;

use super::opening::open;
use super::{Report, size, time};
use crate::data::{document, noise, transactions};
use crate::drive::{Samples, repeat};
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::opened::Opened;
use crate::page::Curve;
use crate::rounds::{interleave, median};
use crate::stores::{create, ensure_entries, put, put_side, settle};

/// What k8s-kv's bucket holds at most.
const K8S_KV_BYTES: f64 = 786_432.0;

/// A bucket, and what puts into it took.
struct Grown {
    entries: u64,
    store: ConfigMapStore,
    samples: Samples,
    bytes: f64,
    opened: Vec<Opened>,
}

/// Goals 12 and 14: from 1,000 to a million entries, and a bucket at its capacity.
pub(super) async fn growth(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let sizes: &[u64] = match env.effort.is_quick {
        true => &[1_000, 10_000],
        false => &[1_000, 10_000, 100_000, 1_000_000],
    };
    let mut points = Vec::new();
    for entries in sizes {
        points.push(grow(env, *entries).await?);
    }
    let puts = if env.effort.is_quick { 100 } else { 600 };
    for _ in 0..env.effort.rounds {
        for point in &mut points {
            point.put(env, puts).await?;
        }
    }
    for point in &mut points {
        for _ in 0..env.effort.rounds {
            let opened = open(env, &bucket(point.entries), "open").await?;
            point.opened.push(opened);
        }
    }
    for point in &points {
        let entries = point.entries;
        let stored = point.store.usage().await?.bytes as f64;
        let what = format!("bucket of {entries} entries, {}", size(stored));
        let finding = Finding::ratio(14, what, point.samples.p50() / 1_000.0, Bound::None);
        report.findings.push(
            finding
                .figure("ms (put p50)")
                .side("p99", time(point.samples.p99()))
                .side("bytes a put", size(point.bytes_a_put()))
                .side("opening", time(point.opening()))
                .side("memory", size(point.memory())),
        );
    }
    report.findings.extend(judge(&points));
    let mut curve = Curve::growth("put p50");
    curve.points = points
        .iter()
        .map(|point| (point.entries as f64, point.samples.p50() / 1_000.0))
        .collect();
    let mut p99 = Curve::growth("put p99");
    p99.points = points
        .iter()
        .map(|point| (point.entries as f64, point.samples.p99() / 1_000.0))
        .collect();
    report.curves.extend([curve, p99]);
    if !env.effort.is_quick {
        report.findings.extend(capacity(env).await?);
    }
    Ok(())
}

fn bucket(entries: u64) -> String {
    format!("growth-{entries}")
}

fn roomy(env: &Environment) -> anyhow::Result<Buckets> {
    Ok(env.buckets()?.with_bucket_bytes(256 * 1024 * 1024))
}

async fn grow(env: &Environment, entries: u64) -> anyhow::Result<Grown> {
    let store = roomy(env)?.open(&bucket(entries), OpenMode::Create).await?;
    let value = |number| {
        let document = document(number);
        document.slice(..document.len().min(100))
    };
    for transaction in transactions(entries, value) {
        store.commit(transaction).await?;
    }
    ensure_entries(&store, entries).await?;
    settle(&store).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(Grown {
        entries,
        store,
        samples: Samples::default(),
        bytes: 0.0,
        opened: Vec::new(),
    })
}

impl Grown {
    fn bytes_a_put(&self) -> f64 {
        self.bytes / self.samples.micros.len() as f64
    }

    /// Microseconds.
    fn opening(&self) -> f64 {
        median(self.opened.iter().map(|one| one.micros as f64))
    }

    /// Bytes that a process holds that has opened it.
    fn memory(&self) -> f64 {
        median(self.opened.iter().map(|one| one.held_bytes as f64))
    }

    async fn put(&mut self, env: &Environment, puts: u64) -> anyhow::Result<()> {
        let before = env.servers.put_bytes().await?;
        let samples = repeat(puts, |_| put(&self.store, self.entries)).await?;
        settle(&self.store).await?;
        self.bytes += env.servers.put_bytes().await? - before;
        self.samples.micros.extend(samples.micros);
        Ok(())
    }
}

/// Something that grows with the logarithm of the entries doubles from a thousand to a million.
fn judge(points: &[Grown]) -> Vec<Finding> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let logarithms = (last.entries as f64).ln() / (first.entries as f64).ln();
    let what = |figure: &str| {
        format!(
            "{figure} at {} entries to that at {}",
            last.entries, first.entries
        )
    };
    let logs = |figure: fn(&Grown) -> f64| -> Vec<(f64, f64)> {
        let log = |point: &Grown| ((point.entries as f64).ln(), figure(point).ln());
        points.iter().map(log).collect()
    };
    let grows = |name: &str, figure: fn(&Grown) -> f64, bound: Bound| {
        let logs = logs(figure);
        let end = &logs[logs.len().saturating_sub(2)..];
        Finding::ratio(14, what(name), figure(last) / figure(first), bound)
            .side("exponent", format!("{:.3}", slope(&logs)))
            .side("of the last step", format!("{:.3}", slope(end)))
    };
    let bound = Bound::AtMost(logarithms);
    vec![
        grows("put p50", |point| point.samples.p50(), Bound::None),
        grows("put p99", |point| point.samples.p99(), bound),
        grows("bytes a put", Grown::bytes_a_put, bound).count_within(0.2..=logarithms),
        grows("opening", Grown::opening, Bound::None),
        grows("memory", Grown::memory, Bound::None),
    ]
}

/// The slope of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |axis: fn(&(f64, f64)) -> f64| points.iter().map(axis).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    over / under
}

/// Goal 12: how much a bucket holds, and that a put then takes as long as at first.
async fn capacity(env: &Environment) -> anyhow::Result<[Finding; 2]> {
    const A_VALUE: usize = 512 * 1024;
    let buckets = env.buckets()?;
    let empty = create(&buckets, "capacity-empty").await?;
    let full = create(&buckets, "capacity").await?;
    let mut number = 0;
    let stored = loop {
        let key = crate::data::key(format!("large/{number}"));
        match full.put(key, noise(number, A_VALUE)).await {
            Ok(_) => number += 1,
            Err(Error::BucketFull { .. }) => break full.usage().await?.bytes as f64,
            Err(error) => return Err(error.into()),
        }
    };
    full.delete("large/0").await?;
    settle(&full).await?;
    let turn = env.effort.turn;
    let mut sides = [
        put_side("full", &full, 1_000, turn),
        put_side("empty", &empty, 1_000, turn),
    ];
    let measured = interleave(env.effort, &mut sides).await?;
    let p50 = |side: usize| time(measured.median(side, Samples::p50));
    let what = "put p50 in a full bucket to that in an empty one";
    let ratio = measured.ratio(0, 1, Samples::p50);
    let flat = Finding::ratio(12, what, ratio, Bound::AtMost(1.2));
    let finding = Finding::ratio(
        12,
        "capacity of a bucket to k8s-kv's",
        stored / K8S_KV_BYTES,
        Bound::AtLeast(64.0),
    );
    let holds = finding
        .count_within(64.0..=100.0)
        .side("ours", size(stored))
        .side("k8s-kv", size(K8S_KV_BYTES));
    Ok([holds, flat.side("full", p50(0)).side("empty", p50(1))])
}

#[cfg(test)]
mod tests {
    use super::slope;

    #[test]
    fn a_line_has_its_slope() {
        let line = [(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)];
        assert!((slope(&line) - 2.0).abs() < 1e-9);
    }
}
