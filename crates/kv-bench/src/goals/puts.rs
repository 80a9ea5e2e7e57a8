//! One writer: what a put costs.

use std::sync::Arc;
use std::time::Duration;

use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::OpenMode;
use kv_memory::MemoryStore;
use kv_redb::RedbStore;

use super::{Report, USED_UP, rate, size, time};
use crate::counting::Counts;
use crate::data::{VALUE_BYTES, contents, entry_value, fresh_noise};
use crate::drive::{Samples, drive, repeat};
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::page::Curve;
use crate::raw::RawMap;
use crate::rounds::{Effort, Side, interleave};
use crate::stores::{SIZES, create, filled, of_size, put, put_side, settle};
use crate::times::ServerTimes;

/// Goal 1: a put is one request, and hardly more with flushes, merges and sweeps.
pub(super) async fn requests(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let puts = if env.effort.is_quick { 1_500 } else { 10_000 };
    let (buckets, counter) = env.counted_buckets()?;
    let store = create(&buckets, "requests").await?;
    // A bucket is small until its first flush.
    put(&*store, puts).await?;
    counter.take();
    repeat(20, |_| put(&*store, puts)).await?;
    let alone = counter.take().requests() as f64 / 20.0;

    let times = ServerTimes::now(env).await?;
    let before = Spent::now(env)?;
    let samples = repeat(puts, |_| put(&*store, puts)).await?;
    settle(&store).await?;
    let (client, server) = before.each(env, puts)?;
    let times = ServerTimes::now(env).await?.sides_since(times);

    let entries = 40;
    env.go.fill("requests-k8s-kv", contents(entries)).await?;
    let before = Spent::now(env)?;
    let theirs = env
        .go
        .k8s_kv("requests-k8s-kv", entries, 1, env.effort.turn);
    let theirs = theirs.await?;
    let (_, their_server) = before.each(env, theirs.calls)?;
    let their_client = theirs.cpu_seconds * 1e6 / theirs.calls as f64;

    let what = "requests for an uncontended put";
    let finding = Finding::ratio(1, what, alone, Bound::AtMost(1.0)).figure("requests");
    let their_requests = theirs.requests as f64 / theirs.calls as f64;
    report.findings.push(
        finding
            // On a slow machine the puts take a second, after which a writer looks for others.
            .count_within(1.0..=1.1)
            .side("k8s-kv", format!("{their_requests:.0}")),
    );
    let processors = [
        ("client CPU", client),
        ("server CPU", server),
        ("k8s-kv client CPU", their_client),
        ("k8s-kv server CPU", their_server),
    ];
    report.removed_later(async move {
        let counts = counter.take();
        drop(store);
        let [requests, bytes] = all_included(puts, &counts);
        let sides = processors.map(|(side, micros)| (side.to_owned(), time(micros)));
        Ok(vec![requests.sides(sides.into()), bytes])
    });
    let what = format!("time of each of these {puts} puts, on the average");
    let mean = samples.seconds * 1e3 / puts as f64;
    let finding = Finding::ratio(1, what, mean, Bound::None).figure("ms");
    report.findings.push(finding.sides(times));
    Ok(())
}

/// What so many puts have needed, with the flushes and merges of what they had written.
fn all_included(puts: u64, counts: &Counts) -> [Finding; 2] {
    let each = |count: u64| count as f64 / puts as f64;
    let what = format!("requests a put over {puts} puts, all included");
    let requests = Finding::ratio(1, what, each(counts.requests()), Bound::AtMost(1.2))
        .figure("requests")
        .count_within(1.0..=1.1)
        .side("by verb", counts.by_verb(puts));
    let what = "bytes sent in bodies for each of these, all included";
    let bytes = Finding::ratio(1, what, each(counts.body_bytes), Bound::None)
        .figure("B")
        .count_within(4_000.0..=8_000.0);
    [requests, bytes]
}

/// Seconds of processor time spent so far.
struct Spent {
    client: f64,
    server: f64,
}

impl Spent {
    fn now(env: &Environment) -> anyhow::Result<Self> {
        Ok(Self {
            client: crate::server::cpu_seconds("self")?,
            server: env.servers.cpu_seconds()?,
        })
    }

    /// What each of so many calls has taken since, in microseconds: the client, and the servers.
    fn each(self, env: &Environment, calls: u64) -> anyhow::Result<(f64, f64)> {
        let now = Self::now(env)?;
        let each = |seconds: f64| seconds * 1e6 / calls as f64;
        Ok((
            each(now.client - self.client),
            each(now.server - self.server),
        ))
    }
}

/// Goal 2: a put next to a raw patch, and at buckets of several sizes.
pub(super) async fn flatness(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let effort = env.effort.finer();
    let turn = effort.turn;
    let raw = RawMap::create(env.client()?, &env.namespace, "raw-patch").await?;
    let mut sides = vec![patch_side(raw, turn)];
    for bytes in SIZES {
        let (store, entries) = of_size(&env.buckets()?, &format!("flat-{bytes}"), bytes).await?;
        sides.push(put_side(size(bytes as f64), &store, entries, turn));
    }
    let secrets = Buckets::secrets(env.client()?, &env.namespace).without_write_budget();
    let (secret, entries) = of_size(&secrets, "flat-secret", SIZES[0]).await?;
    sides.push(put_side("Secret", &secret, entries, turn));
    let read_modify_write = RawMap::create(env.client()?, &env.namespace, "raw-put").await?;
    sides.push(Side::new("raw GET + PUT", move || {
        let raw = read_modify_write.clone();
        drive(1, turn, move |_, number| {
            let raw = raw.clone();
            let value = fresh_noise(VALUE_BYTES).to_vec();
            async move { raw.read_modify_write(number, value).await }
        })
    }));
    let folder = tempfile::tempdir()?;
    let file = RedbStore::open(folder.path().join("kv.redb"), OpenMode::Create).await?;
    sides.push(put_side("file (fsync)", &Arc::new(file), entries, turn));
    let memory = Arc::new(MemoryStore::new());
    sides.push(put_side("memory", &memory, entries, turn));

    let measured = interleave(effort, &mut sides).await?;
    let p50 = |side: usize| time(measured.median(side, Samples::p50));
    let to_patch = measured.ratio(1, 0, Samples::p50);
    let mut finding = Finding::ratio(
        2,
        "put p50 to a raw 1 KiB PATCH",
        to_patch,
        Bound::AtMost(1.15),
    )
    .side("ours, 64 KiB", p50(1))
    .side("raw PATCH", p50(0));
    for side in 4..sides.len() {
        finding = finding.side(&measured.names[side], p50(side));
    }
    report.findings.push(finding);
    for (index, bytes) in SIZES.into_iter().enumerate().skip(1) {
        let what = format!("put p50 at {} to that at 64 KiB", size(bytes as f64));
        let ratio = measured.ratio(index + 1, 1, Samples::p50);
        let finding = Finding::ratio(2, what, ratio, Bound::AtMost(1.2));
        let ours = format!("ours, {}", size(bytes as f64));
        report.findings.push(
            finding
                .side(ours, p50(index + 1))
                .side("ours, 64 KiB", p50(1)),
        );
    }
    Ok(())
}

fn patch_side<'a>(raw: RawMap, turn: Duration) -> Side<'a> {
    Side::new("raw 1 KiB PATCH", move || {
        let raw = raw.clone();
        drive(1, turn, move |_, number| {
            let (raw, value) = (raw.clone(), fresh_noise(VALUE_BYTES));
            async move { raw.patch(number, value.to_vec()).await }
        })
    })
}

/// Goal 3: the rate of sequential puts next to k8s-kv's, in buckets of the same content.
pub(super) async fn next_to_k8s_kv(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let turn = env.effort.turn;
    // A put of theirs takes up to a quarter of a second: their rate is not to be of a few.
    let effort = Effort {
        turn: turn.max(Duration::from_secs(1)),
        ..env.effort.more_rounds()
    };
    let turn = effort.turn;
    let cases = [
        (40, "5 KiB", 1.8),
        (730, "100 KiB", 6.0),
        // In base64, as it is stored. They add to it, and an object holds a mebibyte.
        (7_000, "1 MB", 40.0),
    ];
    let mut curves = [Curve::latency("this store"), Curve::latency("k8s-kv")];
    for (entries, name, wanted) in cases {
        let bucket = format!("next-{entries}");
        let k8s_kv = format!("{bucket}-k8s-kv");
        let stored = env.go.fill(&k8s_kv, contents(entries)).await?;
        let ours = filled(&env.buckets()?, &bucket, entries, entry_value).await?;
        let raw = RawMap::create(env.client()?, &env.namespace, &format!("{bucket}-raw")).await?;
        let used_up = used_up(env, &format!("{bucket}-used-up"), entries).await?;
        let mut sides = [
            put_side("ours", &ours, entries, turn),
            Side::new("k8s-kv", || async {
                let theirs = env.go.k8s_kv(&k8s_kv, entries, 1, turn).await?;
                Ok(theirs.samples)
            }),
            patch_side(raw, turn),
            put_side(USED_UP, &used_up, entries, turn),
        ];
        let measured = interleave(effort, &mut sides).await?;
        let what = format!(
            "puts/s to k8s-kv's, bucket of {name} (its {})",
            size(stored as f64)
        );
        let with_ratio = |side| {
            let found = rate(measured.median(side, Samples::rate));
            let to_theirs = measured.ratio(side, 1, Samples::rate);
            format!("{found} ({to_theirs:.1}x)")
        };
        let finding = Finding::ratio(
            3,
            what,
            measured.ratio(0, 1, Samples::rate),
            Bound::AtLeast(wanted),
        );
        report.findings.push(
            finding
                .side("ours", rate(measured.median(0, Samples::rate)))
                .side("k8s-kv", rate(measured.median(1, Samples::rate)))
                .side("a raw PATCH", with_ratio(2))
                .side(USED_UP, with_ratio(3)),
        );
        for (side, curve) in curves.iter_mut().enumerate() {
            curve
                .points
                .push((stored as f64, measured.median(side, Samples::p50) / 1_000.0));
        }
    }
    report.curves.extend(curves);
    Ok(())
}

/// The same bucket, filled in no time, for puts where the write budget is used up.
async fn used_up(
    env: &Environment,
    bucket: &str,
    entries: u64,
) -> anyhow::Result<Arc<ConfigMapStore>> {
    drop(filled(&env.buckets()?, bucket, entries, entry_value).await?);
    let buckets = env.buckets_used_up()?;
    Ok(Arc::new(buckets.open(bucket, OpenMode::Open).await?))
}
