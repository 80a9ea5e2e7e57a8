//! Calls made for a while, by one or more tasks, and how long each of them took.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

/// What one turn of a side has measured.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Samples {
    /// How long each call took.
    pub(crate) micros: Vec<u64>,
    pub(crate) seconds: f64,
}

impl Samples {
    pub(crate) fn rate(&self) -> f64 {
        self.micros.len() as f64 / self.seconds.max(1e-9)
    }

    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let mut micros = self.micros.clone();
        micros.sort_unstable();
        let last = micros.len().saturating_sub(1);
        let index = (last as f64 * quantile).round() as usize;
        micros.get(index).map_or(f64::NAN, |micros| *micros as f64)
    }
}

/// Has `tasks` tasks call for `turn`, each one call after the other; `call` gets the number of the
/// task and of the call. What ends in the first tenth is dropped as a warm-up.
pub(crate) async fn drive<F>(
    tasks: usize,
    turn: Duration,
    call: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> anyhow::Result<Samples>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let begun = Instant::now();
    let (measured, end) = (begun + turn / 10, begun + turn);
    let tasks = (0..tasks).map(|task| {
        let call = call.clone();
        tokio::spawn(async move {
            let mut micros = Vec::new();
            for number in 0.. {
                let start = Instant::now();
                if start >= end {
                    break;
                }
                call(task, number).await?;
                let now = Instant::now();
                // Also where it began before: else slow calls would count for less than they are.
                if now >= measured && now <= end {
                    micros.push((now - start).as_micros() as u64);
                }
            }
            anyhow::Ok(micros)
        })
    });
    let mut samples = Samples {
        seconds: (end - measured).as_secs_f64(),
        ..Samples::default()
    };
    for micros in try_join_all(tasks).await? {
        samples.micros.extend(micros?);
    }
    Ok(samples)
}

/// Repeats a call so often, one after the other.
pub(crate) async fn repeat<F>(count: u64, call: impl Fn(u64) -> F) -> anyhow::Result<Samples>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let begun = Instant::now();
    let mut samples = Samples::default();
    for number in 0..count {
        let start = Instant::now();
        call(number).await?;
        samples.micros.push(start.elapsed().as_micros() as u64);
    }
    samples.seconds = begun.elapsed().as_secs_f64();
    Ok(samples)
}
