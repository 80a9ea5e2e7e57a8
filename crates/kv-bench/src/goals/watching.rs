//! How long a watcher waits for what was put.

use std::time::Duration;

use kv_core::prelude::*;

use super::{Report, time};
use crate::data::key;
use crate::drive::Samples;
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::raw::RawMap;
use crate::rounds::{Effort, Side, interleave};
use crate::stores::create;
use crate::worker::timestamp;
use crate::workers::Running;

/// Goal 9: from a put in one process to its event in another.
pub(super) async fn latency(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    // Short turns: what is compared is less than what the machine's speed changes by.
    let events = 40;
    let effort = Effort {
        rounds: env.effort.rounds * 4,
        ..env.effort
    };
    let store = create(&env.buckets()?, "watched").await?;
    store.put("stamp", "0").await?;
    let raw = RawMap::create(env.client()?, &env.namespace, "raw-watched").await?;
    let task = |name: &str| vec![name.to_owned(), format!("--events={events}")];
    let mut sides = [
        Side::new("ours", || async {
            let mut watcher = Running::start(env, "watched", &task("watch"))?;
            watcher.ready().await?;
            for _ in 0..events {
                store.put(key("stamp"), timestamp()).await?;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            watcher.found().await
        }),
        Side::new("raw watch", || async {
            let mut watcher = Running::start(env, "raw-watched", &task("watch-raw"))?;
            watcher.ready().await?;
            for _ in 0..events {
                raw.patch(0, timestamp().into_bytes()).await?;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            watcher.found().await
        }),
    ];
    let measured = interleave(effort, &mut sides).await?;
    let [ours, theirs] = [0, 1].map(|side| measured.median(side, Samples::p50));
    let more = measured.difference(0, 1, Samples::p50) / 1_000.0;
    let what = "p50 from a put to its event in another process, more than a raw watch";
    let finding = Finding::ratio(9, what, more, Bound::AtMost(0.5)).figure("ms");
    report.findings.push(
        finding
            .side("ours", time(ours))
            .side("raw watch", time(theirs)),
    );
    Ok(())
}
