//! Reads that ask the server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use kv_configmap::ConfigMapStore;
use kv_core::OpenMode;
use kv_core::prelude::*;

use super::{Report, rate, size, time};
use crate::data::{VALUE_BYTES, entry_key, fresh_noise};
use crate::drive::{Samples, drive};
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::raw::RawMap;
use crate::rounds::{Side, interleave};
use crate::stores::{SIZES, of_size};

/// Goal 7: linearizable gets next to a raw one, at buckets of several sizes, and many at once.
pub(super) async fn linearizable(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let effort = env.effort.finer();
    let turn = effort.turn;
    let raw = RawMap::create(env.client()?, &env.namespace, "raw-get").await?;
    let mut sides = vec![raw_side(raw, turn)];
    let mut stores = Vec::new();
    for bytes in SIZES {
        let (store, _) = of_size(&env.buckets()?, &bucket(bytes), bytes).await?;
        sides.push(get_side(size(bytes as f64), &store, 1, turn));
        stores.push(store);
    }
    sides.push(get_side("64 tasks", &stores[0], 64, turn));
    let measured = interleave(effort, &mut sides).await?;
    let p50 = |side: usize| time(measured.median(side, Samples::p50));
    for (index, bytes) in SIZES.into_iter().enumerate() {
        let what = format!("get p50 at {} to a raw 1 KiB GET", size(bytes as f64));
        let ratio = measured.ratio(index + 1, 0, Samples::p50);
        let finding = Finding::ratio(7, what, ratio, Bound::AtMost(1.15));
        report
            .findings
            .push(finding.side("ours", p50(index + 1)).side("raw GET", p50(0)));
    }
    let ratio = measured.ratio(4, 1, Samples::rate);
    let finding = Finding::ratio(
        7,
        "gets/s of 64 tasks to those of one",
        ratio,
        Bound::AtLeast(20.0),
    );
    report.findings.push(
        finding
            .side("64 tasks", rate(measured.median(4, Samples::rate)))
            .side("one", rate(measured.median(1, Samples::rate))),
    );
    if !env.effort.is_quick {
        let finding = while_others_write(env, &stores[0]).await?;
        report.findings.push(finding);
    }
    Ok(())
}

fn bucket(bytes: u64) -> String {
    format!("gets-{bytes}")
}

/// Gets of what is written at the same time: each finds another head, as long as heads are while commits
/// wait in them to be flushed.
async fn while_others_write(
    env: &Environment,
    store: &Arc<ConfigMapStore>,
) -> anyhow::Result<Finding> {
    const BETWEEN_PUTS: Duration = Duration::from_millis(5);
    let effort = env.effort.finer();
    let raw = RawMap::create(env.client()?, &env.namespace, "raw-get-written").await?;
    let buckets = env.buckets()?;
    let writer = buckets.open(&bucket(SIZES[0]), OpenMode::Open).await?;
    let written = raw.clone();
    let writing = tokio::spawn(async move {
        for number in 0.. {
            let value = fresh_noise(VALUE_BYTES);
            writer.put(entry_key(number % 500), value.clone()).await?;
            written.patch(number, value.to_vec()).await?;
            tokio::time::sleep(BETWEEN_PUTS).await;
        }
        anyhow::Ok(())
    });
    let mut sides = [
        get_side("ours", store, 1, effort.turn),
        raw_side(raw, effort.turn),
    ];
    let measured = interleave(effort, &mut sides).await?;
    ensure!(!writing.is_finished(), "who writes meanwhile has failed");
    writing.abort();
    let [ours, theirs] = [0, 1].map(|side| time(measured.median(side, Samples::p50)));
    let what = "get p50 to a raw 1 KiB GET, while somebody else puts";
    let ratio = measured.ratio(0, 1, Samples::p50);
    let finding = Finding::ratio(7, what, ratio, Bound::None);
    Ok(finding.side("ours", ours).side("raw GET", theirs))
}

fn raw_side<'a>(raw: RawMap, turn: Duration) -> Side<'a> {
    Side::new("raw GET", move || {
        let raw = raw.clone();
        drive(1, turn, move |_, _| {
            let raw = raw.clone();
            async move { raw.get().await }
        })
    })
}

fn get_side<'a, S: KvStore + 'static>(
    name: impl Into<String>,
    store: &Arc<S>,
    tasks: usize,
    turn: Duration,
) -> Side<'a> {
    let store = store.clone();
    Side::new(name, move || {
        let store = store.clone();
        drive(tasks, turn, move |_, number| {
            let store = store.clone();
            async move {
                store.get(entry_key(number % 500)).await?;
                Ok(())
            }
        })
    })
}
