//! What etcd has to keep.

use std::time::Duration;

use futures::future::try_join_all;
use kv_configmap::Buckets;
use kv_core::prelude::*;

use super::{Report, size};
use crate::data::{VALUE_BYTES, contents, document, entry_key};
use crate::drive::repeat;
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::server::Stored;
use crate::stores::{create, filled, of_size, put, settle};

/// Goal 10: the bytes that etcd writes for a put.
pub(super) async fn written(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    // Enough for the last merge not to matter; many at once are soon done. A merge is put off by a second.
    let (puts, together, for_merges) = match env.effort.is_quick {
        true => (800, 20_000, Duration::from_millis(1_500)),
        false => (10_000, 40_000, Duration::from_secs(2)),
    };
    let each = |bucket: &'static str, buckets: Buckets, tasks: u64, puts: u64| async move {
        // Compactions take as much as puts have taken before them.
        let (store, entries) = of_size(&buckets, bucket, 1024 * 1024).await?;
        // For merges that were put off; so it is afterwards.
        tokio::time::sleep(for_merges).await;
        let before = env.servers.put_bytes().await?;
        let task = |_| repeat(puts / tasks, |_| put(&*store, entries));
        try_join_all((0..tasks).map(task)).await?;
        settle(&store).await?;
        tokio::time::sleep(for_merges).await;
        anyhow::Ok((env.servers.put_bytes().await? - before) / (puts / tasks * tasks) as f64)
    };
    // Short from the first byte, and there is never a wait: a wait would have more puts share a write.
    let short = || anyhow::Ok(env.buckets()?.with_write_budget(u64::MAX, 0));
    let sequential = each("written", env.buckets()?, 1, puts).await?;
    let sequential_short = each("written-short", short()?, 1, puts).await?;
    let unlimited = each("written-together", env.buckets()?, 64, together).await?;
    let short = each("written-together-short", short()?, 64, together).await?;

    let k8s_kv = written_by_k8s_kv(env).await?;
    let what = format!("bytes to etcd for a {VALUE_BYTES}-byte put, sequential, bucket of 1 MiB");
    let finding = Finding::ratio(10, &what, sequential, Bound::AtMost(10_240.0));
    report.findings.push(
        finding
            .figure("B")
            .count_within(4_000.0..=9_000.0)
            .side("k8s-kv", size(k8s_kv)),
    );
    let what = format!("{what}, while the write budget is short");
    let finding = Finding::ratio(10, what, sequential_short, Bound::AtMost(4_096.0)).figure("B");
    report
        .findings
        .push(finding.count_within(1_000.0..=4_096.0));
    // How many puts share a write depends on the machine.
    let what = format!(
        "bytes to etcd for a {VALUE_BYTES}-byte put, 64 tasks, bucket of 1 MiB, while the write budget is short"
    );
    let finding = Finding::ratio(10, what, short, Bound::AtMost(400.0)).figure("B");
    report
        .findings
        .push(finding.count_within(VALUE_BYTES as f64..=400.0));
    let what = "the same without a write budget";
    let finding = Finding::ratio(10, what, unlimited, Bound::None).figure("B");
    report
        .findings
        .push(finding.count_within(VALUE_BYTES as f64..=1_000.0));
    Ok(())
}

/// The same for a put of k8s-kv into a bucket of its usual end, a mebibyte in base64.
async fn written_by_k8s_kv(env: &Environment) -> anyhow::Result<f64> {
    const ENTRIES: u64 = 7_000;
    let bucket = "written-k8s-kv";
    env.go.fill(bucket, contents(ENTRIES)).await?;
    let before = env.servers.put_bytes().await?;
    let turn = env.effort.turn.max(Duration::from_secs(1));
    let theirs = env.go.k8s_kv(bucket, ENTRIES, 1, turn).await?;
    Ok((env.servers.put_bytes().await? - before) / theirs.calls as f64)
}

/// Goal 11: how many documents fit into a mebibyte of etcd.
pub(super) async fn density(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    // About what k8s-kv's bucket holds at most.
    let entries = 3_000;
    let content = (0..entries).map(|number| (entry_key(number).to_string(), document(number)));
    env.go.fill("density-k8s-kv", content).await?;
    let bulk = filled(&env.buckets()?, "density-bulk", entries, document).await?;
    // As an application would write them: one after the other.
    let single = create(&env.buckets()?, "density-single").await?;
    for number in 0..entries {
        single.put(entry_key(number), document(number)).await?;
    }
    settle(&single).await?;
    let (servers, namespace) = (env.servers.clone(), env.namespace.clone());
    report.removed_later(async move {
        let stored = async |bucket: &str| {
            let prefix = format!("/registry/configmaps/{namespace}/density-{bucket}");
            servers.stored(&prefix).await
        };
        let theirs = stored("k8s-kv").await?;
        let bulk_stored = stored("bulk").await?;
        let single_stored = stored("single").await?;
        drop((bulk, single));
        Ok(vec![
            denser("written in bulk", entries, bulk_stored, theirs),
            denser("put one by one", entries, single_stored, theirs),
        ])
    });
    Ok(())
}

fn denser(how: &str, entries: u64, ours: Stored, theirs: Stored) -> Finding {
    let what = format!("{entries} JSON documents {how}: entries per MiB to k8s-kv's");
    let figure = |stored: Stored| {
        let per_mib = entries as f64 * 1_048_576.0 / stored.bytes as f64;
        let (bytes, objects) = (size(stored.bytes as f64), stored.objects);
        format!("{per_mib:.0} entries/MiB, {bytes} in {objects} objects")
    };
    let ratio = theirs.bytes as f64 / ours.bytes as f64;
    Finding::ratio(11, what, ratio, Bound::AtLeast(1.3))
        .count_within(1.28..=3.0)
        .side("ours", figure(ours))
        .side("k8s-kv", figure(theirs))
}
