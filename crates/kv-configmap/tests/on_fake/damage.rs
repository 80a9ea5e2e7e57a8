//! Objects that somebody has changed, removed or put back by hand while a client has the bucket open:
//! it says so or recovers, and never serves what nobody wrote.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use kv_configmap::{ConfigMapStore, SegmentState};
use kv_core::WatchStream;
use kv_core::prelude::*;
use kv_core::{
    Clock as _, GetOptions, ManualClock, OpenMode, SnapshotReason, WatchEvent, WatchOptions,
};
use kv_fake_apiserver::{FakeApiServer, Kind, Verb};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{BUCKET, NAMESPACE, buckets, name, noise, object, open_tiny, segments};

type Content = BTreeMap<String, Vec<u8>>;

/// Puts entries, each over what was there before, and waits until nothing changes any more.
async fn fill(store: &ConfigMapStore, numbers: std::ops::Range<u64>) -> Content {
    for number in numbers {
        let key = format!("key {}", number % 60);
        store.put(key, noise(number, 60)).await.unwrap();
    }
    sleep(Duration::from_secs(90)).await;
    content(store, Consistency::Linearizable).await.unwrap()
}

async fn content(store: &ConfigMapStore, of: Consistency) -> Result<Content, Error> {
    let options = ListOptions::default().with_consistency(of);
    let entries = store.list_opts(options).await?.entries.into_iter();
    let entry = |entry: kv_core::Entry| (entry.key.as_str().to_owned(), entry.value.to_vec());
    Ok(entries.map(entry).collect())
}

fn put_segment_back(server: &FakeApiServer, segment: &Value, bytes: &Value) {
    let _ = server.delete(Kind::ConfigMap, NAMESPACE, name(segment));
    let written = server.edit(Kind::ConfigMap, NAMESPACE, name(segment), |new| {
        new["binaryData"] = bytes.clone();
        new["immutable"] = json!(true);
        for field in ["labels", "annotations", "ownerReferences"] {
            new["metadata"][field] = segment["metadata"][field].clone();
        }
    });
    written.expect("the server takes it");
}

fn put_head_back(server: &FakeApiServer, head: &Value) {
    let restore = |object: &mut Value| object["binaryData"] = head["binaryData"].clone();
    let written = server.edit(Kind::ConfigMap, NAMESPACE, BUCKET, restore);
    written.expect("the server takes it");
}

async fn opens(server: &FakeApiServer) -> Result<Content, Error> {
    let store = buckets(server).open(BUCKET, OpenMode::Open).await?;
    content(&store, Consistency::Linearizable).await
}

async fn watch(store: &ConfigMapStore) -> WatchStream {
    let mut events = store.watch(WatchOptions::default()).await.unwrap();
    snapshot(&mut events, SnapshotReason::Requested).await;
    events
}

async fn next(events: &mut WatchStream) -> WatchEvent {
    let event = timeout(Duration::from_secs(600), events.next()).await;
    event
        .expect("an event")
        .expect("goes on")
        .expect("no error")
}

async fn snapshot(events: &mut WatchStream, because: SnapshotReason) -> Content {
    match next(events).await {
        WatchEvent::Snapshot {
            reason, entries, ..
        } if reason == because => entries
            .into_iter()
            .map(|entry| (entry.key.as_str().to_owned(), entry.value.to_vec()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// What somebody can do to a segment; `None`: delete it.
fn damages(segment: &Value, other: &Value) -> [(&'static str, Option<Value>); 4] {
    let text = segment["binaryData"]["segment"].as_str().unwrap();
    let half = &text[..text.len() / 8 * 4];
    [
        ("deleted", None),
        ("swapped", Some(other["binaryData"].clone())),
        ("cut", Some(json!({ "segment": half }))),
        ("emptied", Some(json!({}))),
    ]
}

#[tokio::test(start_paused = true)]
async fn who_has_a_bucket_open_goes_on_without_a_segment_and_who_opens_it_is_told() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    let expected = fill(&store, 0..60).await;
    let elsewhere = buckets(&server).with_tiny_parts();
    let elsewhere = elsewhere.open("other", OpenMode::Create).await.unwrap();
    elsewhere.put("key 1", noise(1, 5_000)).await.unwrap();
    let (ours, others): (Vec<_>, Vec<_>) = segments(&server)
        .into_iter()
        .partition(|segment| name(segment).starts_with(BUCKET));
    let segment = &ours[0];
    for (what, damage) in damages(segment, &others[0]) {
        match damage {
            Some(bytes) => put_segment_back(&server, segment, &bytes),
            None => {
                let name = name(segment);
                server.delete(Kind::ConfigMap, NAMESPACE, name).unwrap();
            }
        }
        for consistency in [Consistency::Cached, Consistency::Linearizable] {
            let found = content(&store, consistency).await.unwrap();
            assert!(found == expected, "{what}: not what was there");
        }
        let error = opens(&server).await.unwrap_err();
        let digits = name(segment).rsplit('.').next().unwrap();
        assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(digits), "{what}: {error}");
        let report = buckets(&server).check(BUCKET).await.unwrap();
        let is_damaged = |one: &&kv_configmap::SegmentReport| one.state != SegmentState::Whole;
        let damaged: Vec<_> = report.segments.iter().filter(is_damaged).collect();
        assert!(
            damaged.len() == 1 && damaged[0].name == name(segment),
            "{what}"
        );
        assert!(
            !report.readable.lost.is_empty() && report.readable.entries < 60,
            "{what}"
        );
        put_segment_back(&server, segment, &segment["binaryData"]);
        assert!(
            opens(&server).await.unwrap() == expected,
            "{what}: whole again"
        );
    }
}

/// What was lost is in the memory of the writer, which writes it anew when it merges.
#[tokio::test(start_paused = true)]
async fn a_writer_that_goes_on_mends_what_it_merges() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    fill(&store, 0..60).await;
    for segment in segments(&server) {
        server
            .delete(Kind::ConfigMap, NAMESPACE, name(&segment))
            .unwrap();
    }
    opens(&server).await.unwrap_err();
    let expected = fill(&store, 100..400).await;
    assert!(opens(&server).await.unwrap() == expected);
    assert!(buckets(&server).check(BUCKET).await.unwrap().is_sound());
}

/// So soon that every segment is still there which the older head names.
#[tokio::test(start_paused = true)]
async fn an_older_head_that_is_put_back_is_told_as_a_snapshot_and_takes_new_revisions() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    let old = fill(&store, 0..60).await;
    let (head, mut events) = (object(&server), watch(&store).await);
    let mut last = Revision::ZERO;
    for number in 0..5 {
        last = store.put("later", number.to_string()).await.unwrap();
        assert!(matches!(
            next(&mut events).await,
            WatchEvent::Changes { .. }
        ));
    }
    put_head_back(&server, &head);
    assert!(snapshot(&mut events, SnapshotReason::Lagged).await == old);
    for consistency in [Consistency::Cached, Consistency::Linearizable] {
        assert!(content(&store, consistency).await.unwrap() == old);
    }
    assert!(opens(&server).await.unwrap() == old);
    let revision = store.put("later", "anew").await.unwrap();
    assert!(revision > last, "no revision comes back");
    match next(&mut events).await {
        WatchEvent::Changes {
            revision: told,
            changes,
        } => {
            assert_eq!((told, changes.len()), (revision, 1));
        }
        other => panic!("{other:?}"),
    }
    let stale = store.update("later", "lost", last).await.unwrap_err();
    assert!(stale.is_conflict(), "{stale:?}");
}

/// So late that the segments which the older head names are gone.
#[tokio::test(start_paused = true)]
async fn an_older_head_without_its_segments_is_corrupt_for_everybody_until_it_is_mended() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    fill(&store, 0..60).await;
    let old = object(&server);
    let expected = fill(&store, 100..300).await;
    let whole = object(&server);
    put_head_back(&server, &old);
    let before = server.objects(NAMESPACE);
    let put = store.put("k", "v").await.unwrap_err();
    let read = content(&store, Consistency::Linearizable)
        .await
        .unwrap_err();
    for error in [put, read, opens(&server).await.unwrap_err()] {
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("missing"), "{error}");
    }
    let cached = content(&store, Consistency::Cached).await.unwrap();
    assert!(cached == expected, "cached reads go on");
    server.reset_requests();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(
        server.objects(NAMESPACE),
        before,
        "nothing is written over it"
    );
    let requests = server.requests();
    let is_look = |one: &&kv_fake_apiserver::RequestRecord| {
        one.verb == Verb::Get && one.name.as_deref() == Some(BUCKET)
    };
    let looks = requests.iter().filter(is_look).count();
    assert!(
        (5..60).contains(&looks),
        "it is looked at again, but not all the time: {looks}"
    );
    let report = buckets(&server).check(BUCKET).await.unwrap();
    assert!(report.is_head_outdated() && !report.readable.lost.is_empty());
    put_head_back(&server, &whole);
    assert!(content(&store, Consistency::Linearizable).await.unwrap() == expected);
    store.put("k", "v").await.unwrap();
}

/// As `kubectl replace --force` does: other uid, same content.
#[tokio::test(start_paused = true)]
async fn a_backup_that_is_restored_under_an_open_client_is_what_everybody_sees() {
    const BETWEEN_REQUESTS: Duration = Duration::from_millis(20);
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    let expected = fill(&store, 0..60).await;
    let backup = server.objects(NAMESPACE);
    let mut events = watch(&store).await;
    let last = store.put("later", "lost").await.unwrap();
    assert!(matches!(
        next(&mut events).await,
        WatchEvent::Changes { .. }
    ));
    for object in server.objects(NAMESPACE) {
        server
            .delete(Kind::ConfigMap, NAMESPACE, name(&object))
            .unwrap();
        sleep(BETWEEN_REQUESTS).await;
    }
    for object in &backup {
        let restore = |new: &mut Value| {
            for field in ["binaryData", "immutable"] {
                new[field] = object[field].clone();
            }
            for field in ["labels", "annotations"] {
                new["metadata"][field] = object["metadata"][field].clone();
            }
        };
        server
            .edit(Kind::ConfigMap, NAMESPACE, name(object), restore)
            .unwrap();
        // The head comes first: for a while its segments are missing, and nothing tells that they have come.
        sleep(BETWEEN_REQUESTS).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert!(content(&store, Consistency::Cached).await.unwrap() == expected);
    assert!(opens(&server).await.unwrap() == expected);
    assert!(buckets(&server).check(BUCKET).await.unwrap().is_sound());
    assert!(store.put("later", "anew").await.unwrap() > last);
    assert_eq!(opens(&server).await.unwrap()["later"], b"anew");
    let mut told = Content::new();
    while told.get("later").map(Vec::as_slice) != Some(b"anew") {
        match next(&mut events).await {
            WatchEvent::Snapshot { entries, .. } => {
                let entry =
                    |entry: kv_core::Entry| (entry.key.as_str().to_owned(), entry.value.to_vec());
                told = entries.into_iter().map(entry).collect();
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    let kv_core::Change::Put(entry) = change else {
                        panic!("{change:?}")
                    };
                    told.insert(entry.key.as_str().to_owned(), entry.value.to_vec());
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        told == opens(&server).await.unwrap(),
        "a watcher has the same in the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_deleted_and_made_again_has_an_empty_bucket() {
    let server = FakeApiServer::new();
    server.create_namespace("fleeting");
    let buckets = kv_configmap::Buckets::config_maps(server.client(), "fleeting")
        .without_write_budget()
        .with_tiny_parts();
    let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
    fill(&store, 0..60).await;
    let mut events = watch(&store).await;
    let last = store.put("k", "old").await.unwrap();
    assert!(matches!(
        next(&mut events).await,
        WatchEvent::Changes { .. }
    ));
    server.delete(Kind::Namespace, "", "fleeting").unwrap();
    server.finish_namespaces();
    assert!(
        snapshot(&mut events, SnapshotReason::Teardown)
            .await
            .is_empty()
    );
    let refused = store.put("k", "nowhere").await.unwrap_err();
    assert!(matches!(refused, Error::NotFound { .. }), "{refused:?}");
    assert!(store.get("k").await.unwrap().is_none());
    server.create_namespace("fleeting");
    let revision = store.put("k", "new").await.unwrap();
    assert!(revision > last);
    assert_eq!(content(&store, Consistency::Cached).await.unwrap().len(), 1);
    match next(&mut events).await {
        WatchEvent::Changes { revision: told, .. } => assert_eq!(told, revision),
        other => panic!("{other:?}"),
    }
}

/// A clock is set: on a handle time only goes forward, and what was reclaimed stays gone.
#[tokio::test(start_paused = true)]
async fn clocks_that_jump_decide_about_expiry_and_nothing_else() {
    let server = FakeApiServer::new();
    let clock = ManualClock::default();
    let begin = clock.now();
    let open = async || {
        let buckets = buckets(&server).with_clock(clock.clone());
        buckets.open(BUCKET, OpenMode::OpenOrCreate).await.unwrap()
    };
    let hour = Duration::from_secs(3_600);
    let store = open().await;
    store.put("stays", "1").await.unwrap();
    store.put_expiring("session", "anna", hour).await.unwrap();
    let mut last = store.put_expiring("later", "anna", 3 * hour).await.unwrap();
    let keys = async |store: &ConfigMapStore| {
        let content = content(store, Consistency::Linearizable).await.unwrap();
        content.into_keys().collect::<Vec<_>>()
    };
    clock.set(begin + 2 * hour);
    assert_eq!(keys(&store).await, ["later", "stays"]);
    clock.set(begin - 24 * hour);
    assert_eq!(keys(&store).await, ["later", "stays"], "not on this handle");
    let cold = open().await;
    assert_eq!(
        keys(&cold).await,
        ["later", "session", "stays"],
        "nobody has reclaimed it"
    );
    for at in [
        std::time::UNIX_EPOCH,
        begin + 2 * hour,
        std::time::UNIX_EPOCH - hour,
    ] {
        clock.set(at);
        let revision = store.put("stays", format!("{at:?}")).await.unwrap();
        assert!(revision > last, "revisions do not follow the clock");
        last = revision;
    }
    clock.set(begin);
    assert_eq!(
        keys(&open().await).await,
        ["later", "stays"],
        "it was reclaimed"
    );
    clock.set(begin + 1_000_000 * hour);
    assert_eq!(keys(&store).await, ["stays"]);
    store
        .put_expiring("far", "1", Transaction::MAX_TTL)
        .await
        .unwrap();
    clock.set(begin);
    assert_eq!(keys(&open().await).await, ["far", "stays"]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_never_reads_delays_nobody_and_is_told_that_it_lagged() {
    let server = FakeApiServer::new();
    let (writer, reader) = (open_tiny(&server).await, open_tiny(&server).await);
    let mut events = watch(&reader).await;
    for number in 0..1_500 {
        writer
            .put(format!("key {}", number % 60), noise(number, 60))
            .await
            .unwrap();
    }
    sleep(Duration::from_secs(10)).await;
    let told = snapshot(&mut events, SnapshotReason::Lagged).await;
    assert!(told == content(&writer, Consistency::Linearizable).await.unwrap());
    let revision = writer.put("next", "1").await.unwrap();
    match next(&mut events).await {
        WatchEvent::Changes { revision: told, .. } => assert_eq!(told, revision),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cached_read_goes_on_while_the_head_is_damaged() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    store.put("k", "value").await.unwrap();
    let key = Key::new("k").unwrap();
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    assert!(
        store
            .get_opts(&key, cached.clone())
            .await
            .unwrap()
            .is_some()
    );
    let whole = object(&server);
    let newer = include_bytes!("../golden/head-of-a-newer-format.bin");
    use base64::Engine as _;
    let newer = base64::engine::general_purpose::STANDARD.encode(newer);
    for (head, immutable) in [(newer.as_str(), false), ("AAAA", false), ("", false)] {
        let damage = |object: &mut Value| {
            object["binaryData"]["head"] = json!(head);
            object["immutable"] = json!(immutable);
        };
        server
            .edit(Kind::ConfigMap, NAMESPACE, BUCKET, damage)
            .unwrap();
        sleep(Duration::from_secs(1)).await;
        let read = store.get_opts(&key, cached.clone()).await.unwrap();
        assert_eq!(read.unwrap().value, "value");
        let refused = store.put("k", "other").await.unwrap_err();
        let is_told = matches!(refused, Error::Corrupt { .. } | Error::Unsupported { .. });
        assert!(is_told, "{refused:?}");
    }
    put_head_back(&server, &whole);
    store.put("k", "after").await.unwrap();
    let read = store.get_opts(&key, cached).await.unwrap();
    assert_eq!(read.unwrap().value, "after");
}

/// A backup that was restored beside the bucket, under another name.
#[tokio::test(start_paused = true)]
async fn a_copy_that_is_torn_down_leaves_the_bucket_whole() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    for number in 0..100 {
        let value = noise(number, 60);
        store.put(format!("key {number}"), value).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    let expected = content(&store, Consistency::Linearizable).await.unwrap();
    for original in server.objects(NAMESPACE) {
        let copy = name(&original).replace(BUCKET, "copy");
        let written = server.edit(Kind::ConfigMap, NAMESPACE, &copy, |object| {
            object["binaryData"] = original["binaryData"].clone();
            object["metadata"]["labels"] = original["metadata"]["labels"].clone();
        });
        written.unwrap();
    }
    let copy = buckets(&server).with_tiny_parts();
    let copy = copy.open("copy", OpenMode::Open).await.unwrap();
    assert_eq!(
        content(&copy, Consistency::Linearizable).await.unwrap(),
        expected
    );
    // It sweeps after its first flush.
    for number in 0..40 {
        copy.put("key 1", noise(number, 60)).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    copy.teardown().await.unwrap();
    let store = open_tiny(&server).await;
    assert_eq!(
        content(&store, Consistency::Linearizable).await.unwrap(),
        expected
    );
}
