//! Many writers of one bucket.

use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::prelude::*;

use super::{Report, rate};
use crate::data::noise;
use crate::drive::Samples;
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::page::Curve;
use crate::rounds::{Measured, Side, interleave, median};
use crate::stores::{create, puts};
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
            move || puts(store.clone(), tasks, turn)
        };
        let mut sides = vec![
            Side::new("ours", ours(&with)),
            Side::new("etcd", || env.go.etcd(tasks, turn)),
        ];
        if tasks == 64 {
            sides.push(Side::new("k8s-kv", || {
                env.go.k8s_kv("tasks-k8s-kv", 64, turn)
            }));
            sides.push(Side::new("ours, within its write budget", ours(&within)));
        }
        let measured = interleave(env.effort, &mut sides).await?;
        for (side, curve) in curves.iter_mut().enumerate() {
            curve
                .points
                .push((tasks as f64, measured.median(side, Samples::rate)));
        }
        report.findings.extend(judge(tasks, &measured));
    }
    report.curves.extend(curves);
    Ok(())
}

fn judge(tasks: usize, measured: &Measured) -> Vec<Finding> {
    let figure = |side: usize| rate(measured.median(side, Samples::rate));
    let ratio = |side: usize| measured.ratio(0, side, Samples::rate);
    let to_etcd = |wanted: f64| {
        let what = format!("puts/s of {tasks} tasks to etcd's");
        Finding::ratio(4, what, ratio(1), Bound::AtLeast(wanted))
            .side("ours", figure(0))
            .side("etcd", figure(1))
    };
    match tasks {
        64 => {
            let what = "puts/s of 64 tasks to k8s-kv's";
            let to_k8s_kv = Finding::ratio(4, what, ratio(2), Bound::AtLeast(60.0))
                .side("ours", figure(0))
                .side("k8s-kv", figure(2))
                .side("ours, within its budget", figure(3));
            vec![to_k8s_kv, to_etcd(1.0)]
        }
        512 => vec![to_etcd(2.0)],
        _ => Vec::new(),
    }
}

/// Goal 5: processes that know nothing of each other.
pub(super) async fn processes(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let turn = env.effort.turn * 2;
    let content = (0..40).map(|number| (format!("key {number}"), noise(number, 100)));
    env.go.fill("processes-k8s-kv", content).await?;
    let mut fairness = Vec::new();
    let (mut ours, mut theirs, mut within) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..env.effort.rounds {
        let bucket = format!("processes-{round}");
        let found = our_processes(env, &bucket, turn, false).await?;
        fairness.push(slowest_to_mean(&found));
        ours.push(total(&found));
        theirs.push(total(&their_processes(env, turn).await?));
        within.push(total(
            &our_processes(env, &format!("{bucket}-budget"), turn, true).await?,
        ));
    }
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
    let what = format!("puts/s of {PROCESSES} processes to k8s-kv's with a retry loop");
    let figure = |rates: Vec<f64>| rate(median(rates.into_iter()));
    let ratio = Finding::ratio(5, what, median(ratios), Bound::AtLeast(20.0));
    report.findings.push(
        ratio
            .side("ours", figure(ours))
            .side("k8s-kv", figure(theirs))
            .side("ours, within their budgets", figure(within)),
    );
    let what = "slowest of the processes to their mean";
    let fairness = median(fairness.into_iter());
    report
        .findings
        .push(Finding::ratio(5, what, fairness, Bound::AtLeast(0.25)));
    Ok(())
}

async fn our_processes(
    env: &Environment,
    bucket: &str,
    turn: Duration,
    has_budget: bool,
) -> anyhow::Result<Vec<Samples>> {
    let store = create(&env.buckets()?, bucket).await?;
    let found = worker::put_processes(env, bucket, PROCESSES, turn, has_budget).await?;
    // Each counts up under its own key, with no gap: what is stored last is what it has put.
    for (number, samples) in found.iter().enumerate() {
        let stored = store.get(&worker::counter_key(number)).await?;
        let stored = stored.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let acknowledged = samples.requests.to_string();
        ensure!(
            stored.as_deref() == Some(&acknowledged),
            "process {number}: {acknowledged} puts were acknowledged, {stored:?} is stored"
        );
    }
    Ok(found)
}

async fn their_processes(env: &Environment, turn: Duration) -> anyhow::Result<Vec<Samples>> {
    let process = |number| env.go.k8s_kv_process("processes-k8s-kv", number, turn);
    try_join_all((0..PROCESSES).map(process)).await
}

fn total(found: &[Samples]) -> f64 {
    found.iter().map(Samples::rate).sum()
}

fn slowest_to_mean(found: &[Samples]) -> f64 {
    let slowest = found
        .iter()
        .map(Samples::rate)
        .fold(f64::INFINITY, f64::min);
    slowest / (total(found) / found.len() as f64)
}

fn budgeted(env: &Environment) -> anyhow::Result<Buckets> {
    Ok(Buckets::config_maps(env.client()?, &env.namespace))
}
