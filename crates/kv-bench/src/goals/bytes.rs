//! What etcd has to keep.

use std::time::Duration;

use futures::future::try_join_all;
use kv_configmap::Buckets;
use kv_core::prelude::*;

use super::{Report, size};
use crate::data::{document, entry_key};
use crate::drive::repeat;
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::stores::{VALUE_BYTES, create, filled, of_size, put, settle};

/// Goal 10: the bytes that etcd writes for a put.
pub(super) async fn written(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    // Enough for the last merge not to matter; many at once are soon done.
    let (puts, together) = match env.effort.is_quick {
        true => (1_000, 20_000),
        false => (10_000, 40_000),
    };
    let each = |bucket: &'static str, buckets: Buckets, tasks: u64, puts: u64| async move {
        // Compactions take as much as puts have taken before them.
        let (store, entries) = of_size(&buckets, bucket, 1024 * 1024).await?;
        // For merges that were put off; so it is afterwards.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = env.servers.put_bytes().await?;
        let task = |_| repeat(puts / tasks, |_| put(&*store, entries));
        try_join_all((0..tasks).map(task)).await?;
        settle(&store).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        anyhow::Ok((env.servers.put_bytes().await? - before) / (puts / tasks * tasks) as f64)
    };
    let sequential = each("written", env.buckets()?, 1, puts).await?;
    let unlimited = each("written-together", env.buckets()?, 64, together).await?;
    // Short from the first byte, and there is never a wait: a wait would have more puts share a write.
    let short = env.buckets()?.with_write_budget(u64::MAX, 0);
    let short = each("written-short", short, 64, together).await?;

    let what = format!("bytes to etcd for a {VALUE_BYTES}-byte put, sequential, bucket of 1 MiB");
    let finding = Finding::ratio(10, what, sequential, Bound::AtMost(10_240.0));
    report.findings.push(
        finding
            .figure("B")
            .count_within(Bound::AtMost(9_000.0))
            .side("k8s-kv", "the whole bucket"),
    );
    // How many puts share a write depends on the machine.
    let what = format!(
        "bytes to etcd for a {VALUE_BYTES}-byte put, 64 tasks, bucket of 1 MiB, while the write budget is short"
    );
    let finding = Finding::ratio(10, what, short, Bound::AtMost(400.0)).figure("B");
    report
        .findings
        .push(finding.count_within(Bound::AtMost(500.0)));
    let what = "the same without a write budget";
    let finding = Finding::ratio(10, what, unlimited, Bound::None).figure("B");
    report
        .findings
        .push(finding.count_within(Bound::AtMost(1_000.0)));
    Ok(())
}

/// Goal 11: how many documents fit into a mebibyte of etcd.
pub(super) async fn density(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    // About what k8s-kv's bucket holds at most.
    let entries = 3_000;
    let content = (0..entries).map(|number| (entry_key(number).to_string(), document(number)));
    let theirs = env.go.fill("density-k8s-kv", content).await? as f64;
    let store = filled(&env.buckets()?, "density", entries, document).await?;
    let bulk = store.usage().await?.bytes as f64;
    // As an application would write them: one after the other.
    let grown = create(&env.buckets()?, "density-grown").await?;
    for number in 0..entries {
        grown.put(entry_key(number), document(number)).await?;
    }
    settle(&grown).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let single = grown.usage().await?.bytes as f64;
    let per_mib = |bytes: f64| format!("{:.0} entries/MiB", entries as f64 * 1_048_576.0 / bytes);
    for (what, ours) in [("written in bulk", bulk), ("put one by one", single)] {
        let what = format!("{entries} JSON documents {what}: entries per MiB to k8s-kv's");
        let finding = Finding::ratio(11, what, theirs / ours, Bound::AtLeast(1.3));
        report.findings.push(
            finding
                .count_within(Bound::AtLeast(1.25))
                .side("ours", format!("{}, {}", per_mib(ours), size(ours)))
                .side("k8s-kv", format!("{}, {}", per_mib(theirs), size(theirs))),
        );
    }
    Ok(())
}
