//! Goal 4: tasks that share a handle.

use std::sync::Arc;

use kv_configmap::ConfigMapStore;

use super::{Report, USED_UP, rate};
use crate::data::{VALUE_BYTES, contents, fresh_noise};
use crate::drive::{Samples, drive};
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::manager;
use crate::page::Curve;
use crate::raw::RawMap;
use crate::rounds::{Measured, Side, interleave};
use crate::stores::{create, puts};
use crate::times::ServerTimes;

const K8S_KV: &str = "tasks-k8s-kv";
const K8S_KV_ENTRIES: u64 = 100;

/// So many as goals ask for, and fewer for the chart.
pub(super) async fn tasks(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    env.go.fill(K8S_KV, contents(K8S_KV_ENTRIES)).await?;
    let mut curves = [Curve::throughput("this store"), Curve::throughput("etcd")];
    for tasks in [1, 8, 64, 512] {
        let store = create(&env.buckets()?, &format!("tasks-{tasks}")).await?;
        let measured = match tasks {
            64.. => next_to_all(env, report, tasks, &store).await?,
            _ => {
                let mut sides = [ours(env, "ours", &store, tasks), etcd(env, tasks)];
                interleave(env.effort, &mut sides).await?
            }
        };
        for (side, curve) in curves.iter_mut().enumerate() {
            let median = measured.median(side, Samples::rate);
            curve.points.push((tasks as f64, median));
        }
    }
    report.curves.extend(curves);
    Ok(())
}

/// What the goals are about, with what limits it.
async fn next_to_all(
    env: &Environment,
    report: &mut Report,
    tasks: usize,
    store: &Arc<ConfigMapStore>,
) -> anyhow::Result<Measured> {
    let used_up = format!("tasks-{tasks}-used-up");
    let used_up = create(&env.buckets_used_up()?, &used_up).await?;
    let mut sides = vec![
        ours(env, "ours", store, tasks),
        etcd(env, tasks),
        in_one_put(env, tasks).await?,
        ours(env, USED_UP, &used_up, tasks),
    ];
    if tasks == 64 {
        sides.push(k8s_kv(env));
    }
    let measured = interleave(env.effort.more_rounds(), &mut sides).await?;
    report.findings.extend(judge(tasks, &measured));
    let finding = time_of_writes(env, store, tasks).await?;
    report.findings.push(finding);
    Ok(measured)
}

/// Next to etcd, while a controller manager runs on the same processors.
pub(super) async fn beside_a_manager(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    if !manager::start(env).await? {
        return Ok(());
    }
    for tasks in [64, 512] {
        let store = create(&env.buckets()?, &format!("tasks-{tasks}-manager")).await?;
        let mut sides = [ours(env, "ours", &store, tasks), etcd(env, tasks)];
        let measured = interleave(env.effort.more_rounds(), &mut sides).await?;
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

fn ours<'a>(env: &Environment, name: &str, store: &Arc<ConfigMapStore>, tasks: usize) -> Side<'a> {
    let (store, turn) = (store.clone(), env.effort.turn);
    Side::new(name, move || {
        puts(store.clone(), tasks as u64 * 100, tasks, turn)
    })
}

fn etcd(env: &Environment, tasks: usize) -> Side<'_> {
    Side::new("etcd", move || env.go.etcd(tasks, env.effort.turn))
}

fn k8s_kv(env: &Environment) -> Side<'_> {
    // A put of theirs takes about a second.
    let turn = env.effort.turn * 2;
    Side::new("k8s-kv", move || async move {
        let found = env.go.k8s_kv(K8S_KV, K8S_KV_ENTRIES, 64, turn);
        Ok(found.await?.samples)
    })
}

/// About the most that can share one write after the other through this API server.
async fn in_one_put(env: &Environment, tasks: usize) -> anyhow::Result<Side<'_>> {
    let name = format!("tasks-{tasks}-raw");
    let raw = RawMap::create(env.client()?, &env.namespace, &name).await?;
    let turn = env.effort.turn;
    Ok(Side::new("a raw PUT of all values", move || {
        let raw = raw.clone();
        drive(1, turn, move |_, _| {
            let (raw, values) = (raw.clone(), fresh_noise(tasks * VALUE_BYTES));
            async move { raw.put(values.to_vec()).await }
        })
    }))
}

/// Where the time goes that the puts of all tasks take together.
async fn time_of_writes(
    env: &Environment,
    store: &Arc<ConfigMapStore>,
    tasks: usize,
) -> anyhow::Result<Finding> {
    let before = ServerTimes::now(env).await?;
    let samples = puts(store.clone(), tasks as u64 * 100, tasks, env.effort.turn).await?;
    let times = ServerTimes::now(env).await?.sides_since(before);
    let what = format!("time of one put of each of {tasks} tasks, on the average");
    let mean = tasks as f64 * 1e3 / samples.rate();
    let finding = Finding::ratio(4, what, mean, Bound::None).figure("ms");
    Ok(finding.sides(times))
}

fn judge(tasks: usize, measured: &Measured) -> Vec<Finding> {
    let figure = |side: usize| rate(measured.median(side, Samples::rate));
    let ratio = |one: usize, other: usize| measured.ratio(one, other, Samples::rate);
    let with_ratio = |figure: String, ratio: f64| format!("{figure} ({ratio:.2}x)");
    let to_etcd = |wanted: f64| {
        let most = tasks as f64 * measured.median(2, Samples::rate);
        let what = format!("puts/s of {tasks} tasks to etcd's");
        Finding::ratio(4, what, ratio(0, 1), Bound::AtLeast(wanted))
            .side("ours", figure(0))
            .side("etcd", figure(1))
            .side(
                format!("{tasks} in each raw PUT"),
                with_ratio(rate(most), tasks as f64 * ratio(2, 1)),
            )
            .side(USED_UP, with_ratio(figure(3), ratio(3, 1)))
    };
    match tasks {
        64 => {
            let what = "puts/s of 64 tasks to k8s-kv's";
            let to_k8s_kv = Finding::ratio(4, what, ratio(0, 4), Bound::AtLeast(60.0))
                .side("ours", figure(0))
                .side("k8s-kv", figure(4))
                .side(USED_UP, with_ratio(figure(3), ratio(3, 4)));
            vec![to_k8s_kv, to_etcd(1.0)]
        }
        512 => vec![to_etcd(2.0)],
        _ => Vec::new(),
    }
}
