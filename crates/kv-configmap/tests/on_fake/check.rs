//! What a check finds, and what a repair removes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_configmap::{Buckets, CheckReport, SegmentState};
use kv_core::prelude::*;
use kv_core::{OpenMode, Revision};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Rights, Verb};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{BUCKET, NAMESPACE, buckets, name, noise, object, open_tiny, segments, verbs};

/// Buckets whose parts are so small that a few commits flush and merge.
fn tiny(server: &FakeApiServer) -> Buckets {
    buckets(server).with_tiny_parts()
}

/// A bucket of as many entries, which is no longer changed, with the revision of each key.
async fn filled(server: &FakeApiServer, entries: u64) -> BTreeMap<String, Revision> {
    let store = open_tiny(server).await;
    let mut revisions = BTreeMap::new();
    for number in 0..entries {
        let key = format!("key {number}");
        let revision = store.put(&*key, noise(number, 60)).await.unwrap();
        revisions.insert(key, revision);
    }
    sleep(Duration::from_secs(90)).await;
    revisions
}

async fn check(server: &FakeApiServer) -> CheckReport {
    buckets(server).check(BUCKET).await.expect("a report")
}

fn names(objects: &[Value]) -> Vec<String> {
    objects
        .iter()
        .map(|object| name(object).to_owned())
        .collect()
}

/// Puts an object in the place of one of its name, as `kubectl replace --force` does.
fn put_back(server: &FakeApiServer, object: &Value) {
    let _ = server.delete(Kind::ConfigMap, NAMESPACE, name(object));
    let written = server.edit(Kind::ConfigMap, NAMESPACE, name(object), |new| {
        for field in ["binaryData", "data", "immutable"] {
            new[field] = object[field].clone();
        }
        for field in ["labels", "annotations", "ownerReferences"] {
            new["metadata"][field] = object["metadata"][field].clone();
        }
    });
    written.expect("the server takes it");
}

/// Changes the bytes of a segment behind its back.
fn damage(server: &FakeApiServer, segment: &Value, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = STANDARD
        .decode(segment["binaryData"]["segment"].as_str().unwrap())
        .unwrap();
    change(&mut bytes);
    let mut damaged = segment.clone();
    damaged["binaryData"]["segment"] = json!(STANDARD.encode(bytes));
    put_back(server, &damaged);
}

fn state<'a>(report: &'a CheckReport, segment: &Value) -> &'a SegmentState {
    let mut segments = report.segments.iter();
    let found = segments.find(|found| found.name == name(segment));
    &found.expect("the head names it").state
}

/// Nothing may count as certain that what was lost can have changed.
fn assert_counts(report: &CheckReport, revisions: &BTreeMap<String, Revision>) {
    let lost = |revision: &Revision| {
        let mut lost = report.readable.lost.iter().map(|lost| lost.revisions);
        lost.any(|lost| lost.after < *revision && *revision <= lost.through)
    };
    let last_lost = report
        .readable
        .lost
        .iter()
        .map(|lost| lost.revisions.through);
    let last_lost = last_lost.max().unwrap_or_default();
    let later = revisions.values().filter(|revision| **revision > last_lost);
    assert_eq!(report.readable.certain, later.count() as u64);
    let whole = revisions
        .values()
        .filter(|revision| !lost(revision))
        .count() as u64;
    let entries = report.readable.entries;
    assert!(
        (whole..=revisions.len() as u64).contains(&entries),
        "{entries} of {whole}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sound_bucket_is_found_sound_and_nothing_is_written() {
    let server = FakeApiServer::new();
    let revisions = filled(&server, 100).await;
    server.reset_requests();
    let report = check(&server).await;
    assert!(
        verbs(&server)
            .iter()
            .all(|verb| matches!(verb, Verb::Get | Verb::List))
    );
    assert!(report.is_sound(), "{report:#?}");
    let head = report.head.as_ref().unwrap();
    assert_eq!(head.format, 1);
    assert_eq!(head.revision, *revisions.values().max().unwrap());
    assert!(
        head.live_bytes
            .is_some_and(|live| live > 6_000 && live <= head.stored_bytes)
    );
    let mut named: Vec<_> = report.segments.iter().map(|one| one.name.clone()).collect();
    named.sort();
    assert_eq!(named, names(&segments(&server)));
    assert_eq!(
        (report.readable.entries, report.readable.certain),
        (100, 100)
    );
    let [all] = &report.readable.revisions[..] else {
        panic!("{report:#?}");
    };
    assert_eq!((all.after, all.through), (Revision::ZERO, head.revision));
    assert!(report.orphans.is_empty() && report.foreign.is_empty());
    assert_eq!(buckets(&server).repair(BUCKET).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn an_empty_bucket_and_one_in_secrets_are_found_sound() {
    let server = FakeApiServer::new();
    for buckets in [
        tiny(&server),
        Buckets::secrets(server.client(), NAMESPACE).with_tiny_parts(),
    ] {
        let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        assert!(buckets.check(BUCKET).await.unwrap().is_sound());
        store.put("large", noise(1, 5_000)).await.unwrap();
        let report = buckets.check(BUCKET).await.unwrap();
        assert!(report.is_sound() && report.segments.len() > 1);
        assert_eq!(report.readable.entries, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_missing_is_named_with_the_commits_that_are_lost() {
    let server = FakeApiServer::new();
    let revisions = filled(&server, 100).await;
    for lost in segments(&server) {
        server
            .delete(Kind::ConfigMap, NAMESPACE, name(&lost))
            .unwrap();
        let report = check(&server).await;
        assert!(!report.is_sound());
        assert_eq!(*state(&report, &lost), SegmentState::Missing);
        let whole = report
            .segments
            .iter()
            .filter(|one| one.state == SegmentState::Whole);
        assert_eq!(whole.count(), report.segments.len() - 1);
        assert_eq!(report.readable.lost.len(), 1);
        assert_counts(&report, &revisions);
        assert!(report.head.unwrap().live_bytes.is_none());
        put_back(&server, &lost);
    }
    assert!(check(&server).await.is_sound());
}

#[tokio::test(start_paused = true)]
async fn a_segment_with_other_bytes_is_damaged_wherever_they_come_from() {
    let server = FakeApiServer::new();
    let revisions = filled(&server, 60).await;
    let other = tiny(&server).open("other", OpenMode::Create).await.unwrap();
    other.put("key 1", noise(1, 5_000)).await.unwrap();
    let ours = segments(&server);
    let (others, ours): (Vec<_>, Vec<_>) = ours
        .into_iter()
        .partition(|object| name(object).starts_with("other"));
    let reason = async |segment: &Value| {
        let report = check(&server).await;
        assert!(!report.is_sound());
        assert_counts(&report, &revisions);
        match state(&report, segment) {
            SegmentState::Damaged { reason } => reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    let bytes = |of: &Value| {
        STANDARD
            .decode(of["binaryData"]["segment"].as_str().unwrap())
            .unwrap()
    };
    for swapped in [&others[0], &ours[1]] {
        damage(&server, &ours[0], |stored| *stored = bytes(swapped));
        assert!(
            reason(&ours[0])
                .await
                .contains("not the segment of that name")
        );
    }
    let length = bytes(&ours[0]).len();
    for cut in [0, 1, 15, 16, 17, length / 2, length - 1] {
        damage(&server, &ours[0], |stored| stored.truncate(cut));
        reason(&ours[0]).await;
    }
    for position in [0, 4, 8, 20, length - 1] {
        damage(&server, &ours[0], |stored| stored[position] ^= 0x41);
        reason(&ours[0]).await;
    }
    let mut emptied = ours[0].clone();
    emptied["binaryData"] = json!({ "other": "AAAA" });
    put_back(&server, &emptied);
    reason(&ours[0]).await;
    let refused = buckets(&server).repair(BUCKET).await;
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    put_back(&server, &ours[0]);
    assert!(check(&server).await.is_sound());
}

/// Keeps the head as it is, goes on, and puts it back in its place.
async fn go_on_and_put_the_head_back(server: &FakeApiServer, puts: u64, wait: Duration) {
    let before = object(server);
    let store = open_tiny(server).await;
    for number in 0..puts {
        store
            .put(format!("key {}", number % 60), noise(1_000 + number, 60))
            .await
            .unwrap();
    }
    sleep(wait).await;
    drop(store);
    let restore = |object: &mut Value| object["binaryData"] = before["binaryData"].clone();
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, restore)
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_that_was_put_back_is_found_out_by_the_segments_that_are_newer() {
    let server = FakeApiServer::new();
    filled(&server, 60).await;
    // So soon that no segment is gone yet that the older head names.
    go_on_and_put_the_head_back(&server, 12, Duration::from_secs(10)).await;
    let report = check(&server).await;
    assert!(
        report.is_head_outdated() && !report.is_sound(),
        "{report:#?}"
    );
    assert!(
        report
            .segments
            .iter()
            .all(|one| one.state == SegmentState::Whole)
    );
    assert_eq!(report.readable.entries, 60);
    let before = server.objects(NAMESPACE);
    let refused = buckets(&server).repair(BUCKET).await;
    let Err(Error::Corrupt { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("nothing was removed"), "{reason}");
    assert_eq!(server.objects(NAMESPACE), before);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_was_put_back_after_merges_has_lost_segments() {
    let server = FakeApiServer::new();
    let revisions = filled(&server, 60).await;
    go_on_and_put_the_head_back(&server, 200, Duration::from_secs(90)).await;
    let report = check(&server).await;
    assert!(report.is_head_outdated() && !report.is_sound());
    assert!(
        report
            .segments
            .iter()
            .any(|one| one.state == SegmentState::Missing)
    );
    assert_counts(&report, &revisions);
    let before = server.objects(NAMESPACE);
    buckets(&server).repair(BUCKET).await.unwrap_err();
    assert_eq!(server.objects(NAMESPACE), before);
}

/// Has a writer die after it has made segments, before their head is written.
async fn leave_orphans(server: &FakeApiServer) {
    let store = open_tiny(server).await;
    server.inject(Fault::forbidden().on(Verb::Update).name(BUCKET));
    store.put("orphaned", noise(77, 5_000)).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn orphans_do_no_harm_and_a_repair_removes_them_and_nothing_else() {
    let server = FakeApiServer::new();
    let revisions = filled(&server, 60).await;
    let named = names(&segments(&server));
    leave_orphans(&server).await;
    server
        .edit(
            Kind::ConfigMap,
            NAMESPACE,
            "approvals.0123456789abcdef",
            |object| {
                object["data"] = json!({ "somebody": "else's" });
            },
        )
        .unwrap();
    let mut orphans = names(&segments(&server));
    orphans.retain(|name| !named.contains(name));
    assert!(orphans.len() > 1);

    let report = check(&server).await;
    assert!(report.is_sound(), "{report:#?}");
    let found: Vec<_> = report
        .orphans
        .iter()
        .map(|orphan| orphan.name.clone())
        .collect();
    assert_eq!(found, orphans);
    assert!(
        report
            .orphans
            .iter()
            .all(|orphan| orphan.bytes > 0 && !orphan.is_newer)
    );
    assert_eq!(report.foreign.len(), 1);
    assert!(
        report.foreign[0].reason.contains("managed-by"),
        "{report:#?}"
    );

    let removed = buckets(&server).repair(BUCKET).await.unwrap();
    assert_eq!(removed, report.orphans);
    assert_eq!(names(&segments(&server)), named);
    assert!(
        server
            .get(Kind::ConfigMap, NAMESPACE, "approvals.0123456789abcdef")
            .is_some()
    );
    let after = check(&server).await;
    assert!(after.is_sound() && after.orphans.is_empty());
    assert_eq!(after.readable.entries, revisions.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_repair_takes_nothing_away_from_writers_who_go_on() {
    let server = FakeApiServer::new();
    server.set_latency(Duration::from_millis(2));
    filled(&server, 20).await;
    leave_orphans(&server).await;
    let write = async {
        let stores = [open_tiny(&server).await, open_tiny(&server).await];
        for number in 0..300_u64 {
            let size = if number.is_multiple_of(20) { 3_000 } else { 60 };
            let key = format!("key {}", number % 150);
            stores[number as usize % 2]
                .put(key, noise(number, size))
                .await
                .unwrap();
        }
    };
    let repair = async {
        let mut removed = 0;
        for _ in 0..60 {
            match buckets(&server).repair(BUCKET).await {
                Ok(orphans) => removed += orphans.len(),
                // Under this load a check or a write of the head can come too late.
                Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
            }
            sleep(Duration::from_millis(7)).await;
        }
        removed
    };
    let ((), removed) = tokio::join!(write, repair);
    assert!(removed > 0);
    sleep(Duration::from_secs(90)).await;
    let report = check(&server).await;
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.readable.entries, 150);
    let store = buckets(&server).open(BUCKET, OpenMode::Open).await.unwrap();
    for entry in store.list("").await.unwrap() {
        let key: u64 = entry.key.as_str()[4..].parse().unwrap();
        let number = key + 150;
        let size = if number.is_multiple_of(20) { 3_000 } else { 60 };
        assert!(entry.value == noise(number, size), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_whose_segments_were_taken_for_orphans_makes_them_anew() {
    let server = FakeApiServer::new();
    filled(&server, 20).await;
    let store = open_tiny(&server).await;
    // The segments are made; the head that names them is written a second later.
    server.inject(Fault::too_many_requests(1).on(Verb::Update).name(BUCKET));
    let write = store.put("large", noise(1, 5_000));
    let repair = async {
        sleep(Duration::from_millis(100)).await;
        buckets(&server).repair(BUCKET).await
    };
    let (written, removed) = tokio::join!(write, repair);
    written.unwrap();
    assert!(removed.unwrap().len() > 1);
    assert!(check(&server).await.is_sound());
    let other = open_tiny(&server).await;
    assert!(other.get("large").await.unwrap().unwrap().value == noise(1, 5_000));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_bucket_of_ours_is_an_error_and_no_report() {
    let server = FakeApiServer::new();
    let missing = buckets(&server).check(BUCKET).await;
    assert!(
        matches!(missing, Err(Error::NotFound { .. })),
        "{missing:?}"
    );
    let missing = buckets(&server).repair(BUCKET).await;
    assert!(
        matches!(missing, Err(Error::NotFound { .. })),
        "{missing:?}"
    );
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
            object["data"] = json!({ "somebody": "else's" });
        })
        .unwrap();
    let foreign = buckets(&server).check(BUCKET).await;
    assert!(matches!(foreign, Err(Error::Foreign { .. })), "{foreign:?}");
    let invalid = buckets(&server).check("No Name").await;
    assert!(
        matches!(invalid, Err(Error::InvalidName { .. })),
        "{invalid:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_newer_format_is_nothing_that_can_be_checked() {
    let server = FakeApiServer::new();
    filled(&server, 5).await;
    let newer = include_bytes!("../golden/head-of-a-newer-format.bin");
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
            object["binaryData"]["head"] = json!(STANDARD.encode(newer));
        })
        .unwrap();
    for error in [
        buckets(&server).check(BUCKET).await.unwrap_err(),
        buckets(&server).repair(BUCKET).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_readable_head_its_segments_are_still_looked_at() {
    let server = FakeApiServer::new();
    filled(&server, 60).await;
    let objects = segments(&server);
    damage(&server, &objects[0], |bytes| bytes.truncate(30));
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
            object["binaryData"]["head"] = json!("AAAA");
        })
        .unwrap();
    let report = check(&server).await;
    assert!(
        report
            .head
            .as_ref()
            .is_err_and(|reason| reason.contains("3 bytes")),
        "{report:#?}"
    );
    assert!(!report.is_sound());
    assert!(matches!(
        state(&report, &objects[0]),
        SegmentState::Damaged { .. }
    ));
    let whole = report
        .segments
        .iter()
        .filter(|one| one.state == SegmentState::Whole);
    assert_eq!(whole.count(), objects.len() - 1);
    let readable = &report.readable;
    assert!((1..60).contains(&readable.entries), "{}", readable.entries);
    assert_eq!(readable.certain, 0);
    assert!(report.orphans.is_empty());
    buckets(&server).repair(BUCKET).await.unwrap_err();
    assert_eq!(segments(&server).len(), objects.len());
}

#[tokio::test(start_paused = true)]
async fn segments_whose_owner_is_gone_are_told_before_the_cluster_removes_them() {
    let server = FakeApiServer::new();
    filled(&server, 60).await;
    let head = object(&server);
    put_back(&server, &head);
    let report = check(&server).await;
    assert!(!report.is_sound());
    assert!(
        report
            .segments
            .iter()
            .all(|one| one.state == SegmentState::Doomed)
    );
    assert_eq!(report.readable.certain, 60, "for now");
    assert_eq!(server.collect_garbage(), report.segments.len());
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_takes_no_writes_is_not_sound() {
    let server = FakeApiServer::new();
    filled(&server, 5).await;
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
            object["metadata"]["finalizers"] = json!(["example.com/held"]);
        })
        .unwrap();
    server.delete(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
    let frozen = check(&server).await.head.unwrap().frozen.unwrap();
    assert!(frozen.contains("finalizers"), "{frozen}");
    let server = FakeApiServer::new();
    filled(&server, 5).await;
    let freeze = |object: &mut Value| object["immutable"] = json!(true);
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, freeze)
        .unwrap();
    let report = check(&server).await;
    assert!(!report.is_sound());
    assert!(report.head.unwrap().frozen.unwrap().contains("immutable"));
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_list_is_told_what_else_there_is() {
    let server = FakeApiServer::new();
    filled(&server, 60).await;
    let rights = Rights::new("anna").allow(&[Verb::Get], &["configmaps"]);
    let client = server.client_with_rights(NAMESPACE, rights);
    let report = Buckets::config_maps(client, NAMESPACE)
        .check(BUCKET)
        .await
        .unwrap();
    assert!(
        report
            .unlisted
            .as_ref()
            .is_some_and(|why| why.contains("list")),
        "{report:#?}"
    );
    assert!(report.is_sound());
    assert_eq!(report.readable.entries, 60);
}

/// What a storm leaves of a bucket: objects deleted, cut, changed, and put in each other's place.
fn damage_at_random(server: &FakeApiServer, random: &mut rand::rngs::StdRng) {
    let objects = server.objects(NAMESPACE);
    let pick =
        |random: &mut rand::rngs::StdRng| objects[random.random_range(0..objects.len())].clone();
    let field = |object: &Value| {
        if name(object) == BUCKET {
            "head"
        } else {
            "segment"
        }
    };
    for _ in 0..random.random_range(0..4) {
        let mut object = pick(random);
        let other = pick(random);
        let (ours, others) = (field(&object), field(&other));
        let bytes = |of: &Value, key: &str| {
            STANDARD
                .decode(of["binaryData"][key].as_str().unwrap_or_default())
                .unwrap()
        };
        let mut damaged = bytes(&object, ours);
        match random.random_range(0..4) {
            0 if name(&object) != BUCKET => {
                let _ = server.delete(Kind::ConfigMap, NAMESPACE, name(&object));
                continue;
            }
            1 => damaged.truncate(random.random_range(0..damaged.len())),
            2 => {
                let position = random.random_range(0..damaged.len());
                damaged[position] ^= random.random_range(1..=255);
            }
            _ => damaged = bytes(&other, others),
        }
        object["binaryData"] = json!({ ours: STANDARD.encode(damaged) });
        if name(&object) == BUCKET {
            let restore = |new: &mut Value| new["binaryData"] = object["binaryData"].clone();
            server
                .edit(Kind::ConfigMap, NAMESPACE, BUCKET, restore)
                .unwrap();
        } else {
            put_back(server, &object);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_sound_exactly_where_it_opens() {
    let server = FakeApiServer::new();
    filled(&server, 40).await;
    let whole = server.objects(NAMESPACE);
    let (mut sound, mut damaged) = (0, 0);
    for seed in 0..120 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        damage_at_random(&server, &mut random);
        let opens = buckets(&server).open(BUCKET, OpenMode::Open).await.is_ok();
        let report = check(&server).await;
        assert_eq!(report.is_sound(), opens, "seed {seed}: {report:#?}");
        *(if opens { &mut sound } else { &mut damaged }) += 1;
        for object in &whole {
            match name(object) {
                BUCKET => {
                    let restore =
                        |new: &mut Value| new["binaryData"] = object["binaryData"].clone();
                    server
                        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, restore)
                        .unwrap();
                }
                _ => put_back(&server, object),
            }
        }
    }
    assert!(
        sound > 20 && damaged > 50,
        "{sound} sound, {damaged} damaged"
    );
}
