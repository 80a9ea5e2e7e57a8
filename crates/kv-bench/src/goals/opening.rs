//! What it takes to open a bucket.

use std::collections::BTreeMap;

use anyhow::ensure;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};

use super::{Report, size, time};
use crate::data::{document, entry_key};
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::opened::{LABEL, Opened, encode};
use crate::rounds::median;
use crate::stores::filled;
use crate::workers::Running;

const ENTRIES: u64 = 10_000;

/// Goal 13: opening next to fetching and decoding the same entries by hand, and the memory.
pub(super) async fn opening(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    let raw_bytes: usize = (0..ENTRIES)
        .map(|number| document(number).len() + entry_key(number).as_str().len())
        .sum();
    filled(&env.buckets()?, "opened", ENTRIES, document).await?;
    store_by_hand(env, "opened-by-hand").await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..env.effort.more_rounds().rounds {
        // Nobody always comes after the other.
        for is_ours in [round % 2 == 0, round % 2 != 0] {
            let (all, bucket, task) = match is_ours {
                true => (&mut ours, "opened", "open"),
                false => (&mut theirs, "opened-by-hand", "open-raw"),
            };
            let opened = open(env, bucket, task).await?;
            let entries = opened.entries;
            ensure!(entries >= ENTRIES, "{task} found {entries} entries");
            all.push(opened);
        }
    }
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| ours.micros as f64 / theirs.micros as f64);
    let micros = |all: &[Opened]| time(median(all.iter().map(|one| one.micros as f64)));
    let what = format!("opening {ENTRIES} entries to fetching and decoding them by hand");
    let finding = Finding::ratio(13, what, median(ratios), Bound::AtMost(1.5));
    report.findings.push(
        finding
            .side("ours", micros(&ours))
            .side("by hand", micros(&theirs)),
    );
    let held = |all: &[Opened]| median(all.iter().map(|one| one.held_bytes as f64));
    let peak = |all: &[Opened]| median(all.iter().map(|one| one.peak_bytes as f64));
    let what = format!(
        "memory of an open bucket to its raw data ({})",
        size(raw_bytes as f64)
    );
    let finding = Finding::ratio(13, what, held(&ours) / raw_bytes as f64, Bound::AtMost(2.5));
    report.findings.push(
        finding
            .side("ours", size(held(&ours)))
            .side("ours, at its peak", size(peak(&ours)))
            .side("by hand", size(held(&theirs))),
    );
    Ok(())
}

pub(super) async fn open(env: &Environment, bucket: &str, task: &str) -> anyhow::Result<Opened> {
    Running::start_lean(env, bucket, &[task.to_owned()])?
        .found()
        .await
}

/// The same entries, compressed in objects of about half a mebibyte.
async fn store_by_hand(env: &Environment, name: &str) -> anyhow::Result<()> {
    const AN_OBJECT: u64 = 2_500;
    let maps: Api<ConfigMap> = Api::namespaced(env.client()?, &env.namespace);
    for index in 0..ENTRIES / AN_OBJECT {
        let numbers = index * AN_OBJECT..(index + 1) * AN_OBJECT;
        let entries = numbers.map(|number| (entry_key(number).to_string(), document(number)));
        let stored = zstd::encode_all(&encode(entries)[..], 3)?;
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{index}")),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), name.to_owned())])),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([("data".to_owned(), ByteString(stored))])),
            ..ConfigMap::default()
        };
        maps.create(&PostParams::default(), &object).await?;
    }
    Ok(())
}
