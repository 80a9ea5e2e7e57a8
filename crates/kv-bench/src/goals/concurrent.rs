//! Many writers of one bucket.

use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::prelude::*;

use super::{Report, rate};
use crate::data::{fresh_noise, noise};
use crate::drive::{Samples, drive};
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::manager::Manager;
use crate::page::Curve;
use crate::raw::RawMap;
use crate::rounds::{Measured, Side, interleave, median};
use crate::stores::{VALUE_BYTES, create, puts};
use crate::times::ServerTimes;
use crate::worker;

const PROCESSES: usize = 16;

/// Goal 4: tasks that share a handle.
pub(super) async fn tasks(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let turn = env.effort.turn;
    let content = (0..100).map(|number| (format!("key {number}"), noise(number, 100)));
    env.go.fill("tasks-k8s-kv", content).await?;
    let mut curves = [Curve::throughput("this store"), Curve::throughput("etcd")];
    for tasks in [1, 8, 64, 512] {
        let with = create(&env.buckets()?, &format!("tasks-{tasks}")).await?;
        let within = create(&budgeted(env)?, &format!("tasks-{tasks}-budget")).await?;
        let ours = |store: &std::sync::Arc<ConfigMapStore>| {
            let store = store.clone();
            move || puts(store.clone(), tasks as u64 * 100, tasks, turn)
        };
        let mut sides = vec![
            Side::new("ours", ours(&with)),
            Side::new("etcd", || env.go.etcd(tasks, turn)),
        ];
        if tasks >= 64 {
            let name = format!("tasks-{tasks}-raw");
            let raw = RawMap::create(env.client()?, &env.namespace, &name).await?;
            sides.push(Side::new("a raw PUT of all values", move || {
                let raw = raw.clone();
                drive(1, turn, move |_, _| {
                    let (raw, values) = (raw.clone(), fresh_noise(tasks * VALUE_BYTES));
                    async move { raw.put(values.to_vec()).await }
                })
            }));
        }
        if tasks == 64 {
            sides.push(Side::new("k8s-kv", || async {
                // A put of theirs takes about a second.
                let turn = turn.max(Duration::from_secs(4));
                let found = env.go.k8s_kv("tasks-k8s-kv", 64, turn).await?;
                Ok(found.samples)
            }));
            sides.push(Side::new("ours, within its burst", ours(&within)));
        }
        let effort = match tasks {
            64.. => env.effort.doubled(),
            _ => env.effort,
        };
        let measured = interleave(effort, &mut sides).await?;
        for (side, curve) in curves.iter_mut().enumerate() {
            curve
                .points
                .push((tasks as f64, measured.median(side, Samples::rate)));
        }
        report.findings.extend(judge(tasks, &measured));
        if tasks >= 64 {
            report
                .findings
                .push(time_of_writes(env, ours(&with), tasks).await?);
        }
    }
    report.curves.extend(curves);
    beside_a_manager(env, report).await
}

/// Both while a controller manager takes its part of the processors, which it has of us only.
async fn beside_a_manager(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let Some(_manager) = Manager::start(env).await? else {
        return Ok(());
    };
    let turn = env.effort.turn;
    for tasks in [64, 512] {
        let store = create(&env.buckets()?, &format!("tasks-{tasks}-managed")).await?;
        let mut sides = [
            Side::new("ours", || {
                puts(store.clone(), tasks as u64 * 100, tasks, turn)
            }),
            Side::new("etcd", || env.go.etcd(tasks, turn)),
        ];
        let measured = interleave(env.effort, &mut sides).await?;
        let what = format!("puts/s of {tasks} tasks to etcd's, beside a controller manager");
        let ratio = measured.ratio(0, 1, Samples::rate);
        report.findings.push(
            Finding::ratio(4, what, ratio, Bound::None)
                .side("ours", rate(measured.median(0, Samples::rate)))
                .side("etcd", rate(measured.median(1, Samples::rate))),
        );
    }
    Ok(())
}

/// Where the time goes that the puts of all tasks take together.
async fn time_of_writes<F>(
    env: &Environment,
    mut turn: impl FnMut() -> F,
    tasks: usize,
) -> anyhow::Result<Finding>
where
    F: Future<Output = anyhow::Result<Samples>>,
{
    let before = ServerTimes::now(env).await?;
    let samples = turn().await?;
    let times = ServerTimes::now(env).await?.sides_since(before);
    let what = format!("time of one put of each of {tasks} tasks, on the average");
    let mean = tasks as f64 * 1e3 / samples.rate();
    let finding = Finding::ratio(4, what, mean, Bound::None).figure("ms");
    Ok(finding.sides(times))
}

fn judge(tasks: usize, measured: &Measured) -> Vec<Finding> {
    let figure = |side: usize| rate(measured.median(side, Samples::rate));
    let ratio = |side: usize| measured.ratio(0, side, Samples::rate);
    let to_etcd = |wanted: f64| {
        // About the most that can share one write after the other through this API server.
        let most = tasks as f64 * measured.median(2, Samples::rate);
        let of_etcd = tasks as f64 * measured.ratio(2, 1, Samples::rate);
        let what = format!("puts/s of {tasks} tasks to etcd's");
        Finding::ratio(4, what, ratio(1), Bound::AtLeast(wanted))
            .side("ours", figure(0))
            .side("etcd", figure(1))
            .side(
                format!("{tasks} in each raw PUT"),
                format!("{} ({of_etcd:.2}x)", rate(most)),
            )
    };
    match tasks {
        64 => {
            let what = "puts/s of 64 tasks to k8s-kv's";
            let to_k8s_kv = Finding::ratio(4, what, ratio(3), Bound::AtLeast(60.0))
                .side("ours", figure(0))
                .side("k8s-kv", figure(3))
                .side("ours, within its burst", figure(4));
            vec![to_k8s_kv, to_etcd(1.0)]
        }
        512 => vec![to_etcd(2.0)],
        _ => Vec::new(),
    }
}

/// Goal 5: processes that know nothing of each other.
pub(super) async fn processes(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let content = (0..40).map(|number| (format!("key {number}"), noise(number, 100)));
    env.go.fill("processes-k8s-kv", content).await?;
    for tasks in [1, 8] {
        let mut rounds = Vec::new();
        for round in 0..env.effort.rounds {
            rounds.push(Round::measure(env, round, tasks).await?);
        }
        report.findings.extend(Round::judge(&rounds, tasks));
    }
    Ok(())
}

/// A turn of each side, one after the other.
struct Round {
    ours: Crowd,
    within_budget: Crowd,
    k8s_kv: Crowd,
    /// Puts a second of a process that is alone.
    alone: f64,
    /// The same of processes that have one of them write for all, by hand.
    combined: Option<f64>,
}

/// What processes have put side by side.
struct Crowd {
    /// Puts a second, of each process.
    rates: Vec<f64>,
    conflicts_a_put: f64,
}

impl Round {
    async fn measure(env: &Environment, round: usize, tasks: usize) -> anyhow::Result<Self> {
        let bucket = format!("processes-{tasks}-{round}");
        let within = format!("{bucket}-budget");
        let turn = env.effort.turn * 2;
        let alone = ours(env, &format!("{bucket}-alone"), (1, tasks), turn, false).await?;
        let combined = match tasks {
            1 => Some(worker::put_combined(env, &bucket, PROCESSES, turn).await?),
            _ => None,
        };
        // Each process has to have had several turns.
        let ours_turn = turn * 2;
        Ok(Self {
            ours: ours(env, &bucket, (PROCESSES, tasks), ours_turn, false).await?,
            k8s_kv: theirs(env, tasks, turn).await?,
            within_budget: ours(env, &within, (PROCESSES, tasks), turn, true).await?,
            alone: alone.total(),
            combined,
        })
    }

    fn judge(rounds: &[Self], tasks: usize) -> [Finding; 2] {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure));
        let side = |crowd: fn(&Self) -> &Crowd| {
            let total = median(rounds.iter().map(|round| crowd(round).total()));
            let conflicts = median(rounds.iter().map(|round| crowd(round).conflicts_a_put));
            format!("{} with {conflicts:.2} conflicts a put", rate(total))
        };
        let who = match tasks {
            1 => format!("{PROCESSES} processes, one put at a time each"),
            _ => format!("{PROCESSES} processes of {tasks} tasks"),
        };
        // In a short turn they may not get a single put through.
        let to_theirs = of(|round| round.ours.total() / round.k8s_kv.total().max(0.1));
        let limit = |figure: fn(&Self) -> Option<f64>| {
            let figures = rounds
                .iter()
                .filter_map(|round| Some((round, figure(round)?)));
            let to_theirs = figures
                .clone()
                .map(|(round, figure)| figure / round.k8s_kv.total().max(0.1));
            let found = rate(median(figures.map(|(_, figure)| figure)));
            format!("{found} ({:.1}x)", median(to_theirs))
        };
        let what = format!("puts/s of {who}, to k8s-kv's with a retry loop");
        let faster = Finding::ratio(5, what, to_theirs, Bound::AtLeast(20.0))
            .side("ours", side(|round| &round.ours))
            .side("k8s-kv", side(|round| &round.k8s_kv))
            .side(
                "ours, within their bursts",
                side(|round| &round.within_budget),
            )
            .side("ours, one process alone", limit(|round| Some(round.alone)));
        let faster = match tasks {
            1 => faster.side(
                "one writing for all, by hand",
                limit(|round| round.combined),
            ),
            _ => faster,
        };
        let slowest = of(|round| round.ours.slowest_to_mean());
        let what = format!("slowest of {who}, to their mean");
        let theirs = of(|round| round.k8s_kv.slowest_to_mean());
        let fair = Finding::ratio(5, what, slowest, Bound::AtLeast(0.25))
            .side("k8s-kv", format!("{theirs:.2}x"));
        [faster, fair]
    }
}

impl Crowd {
    fn new(samples: Vec<&Samples>, conflicts: u64, puts: u64) -> Self {
        Self {
            rates: samples.into_iter().map(Samples::rate).collect(),
            conflicts_a_put: conflicts as f64 / puts as f64,
        }
    }

    fn total(&self) -> f64 {
        self.rates.iter().sum()
    }

    fn slowest_to_mean(&self) -> f64 {
        let slowest = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = self.total() / self.rates.len() as f64;
        if mean > 0.0 { slowest / mean } else { 0.0 }
    }
}

async fn ours(
    env: &Environment,
    bucket: &str,
    (processes, tasks): (usize, usize),
    turn: Duration,
    has_budget: bool,
) -> anyhow::Result<Crowd> {
    let store = create(&env.buckets()?, bucket).await?;
    let found = worker::put_processes(env, bucket, processes, tasks, turn, has_budget).await?;
    // Each task counts up under its own key: what is stored last is what it has put.
    for (number, process) in found.iter().enumerate() {
        for (task, count) in process.counts.iter().enumerate() {
            let stored = store.get(&worker::counter_key(number, task)).await?;
            let stored = stored.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
            ensure!(
                stored.unwrap_or_else(|| "0".to_owned()) == count.to_string(),
                "process {number} had {count} puts acknowledged, and they are not all there"
            );
        }
    }
    let conflicts: u64 = found.iter().map(|process| process.conflicts).sum();
    let puts: u64 = found.iter().flat_map(|process| &process.counts).sum();
    let samples = found.iter().map(|process| &process.samples).collect();
    Ok(Crowd::new(samples, conflicts, puts))
}

async fn theirs(env: &Environment, tasks: usize, turn: Duration) -> anyhow::Result<Crowd> {
    let process = |number| {
        env.go
            .k8s_kv_process("processes-k8s-kv", number, tasks, turn)
    };
    let found = try_join_all((0..PROCESSES).map(process)).await?;
    let conflicts: u64 = found.iter().map(|process| process.conflicts).sum();
    let puts: u64 = found.iter().map(|process| process.calls).sum();
    let samples = found.iter().map(|process| &process.samples).collect();
    Ok(Crowd::new(samples, conflicts, puts))
}

fn budgeted(env: &Environment) -> anyhow::Result<Buckets> {
    Ok(Buckets::config_maps(env.client()?, &env.namespace))
}
