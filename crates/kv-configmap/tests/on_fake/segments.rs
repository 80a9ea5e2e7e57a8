//! Buckets of more than one object: how they grow and shrink, and what they cost.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use futures::StreamExt;
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::prelude::*;
use kv_core::{OpenMode, Outcome, WatchEvent, WatchOptions};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Rights, Verb};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    BUCKET, NAMESPACE, buckets, head_bytes, name, noise, object, open, open_in, open_single,
    open_tiny, segments, verbs,
};

/// Puts one entry after the other, each with a value that nobody can compress.
async fn put_noise(store: &ConfigMapStore, numbers: Range<u64>, seed: u64, bytes: usize) {
    for number in numbers {
        let value = noise(seed + number, bytes);
        let put = store.put(format!("key {number}"), value).await;
        put.expect("a put");
    }
}

async fn content(store: &ConfigMapStore) -> BTreeMap<String, Vec<u8>> {
    let listing = store.list("").await.expect("a listing");
    let entry = |entry: kv_core::Entry| (entry.key.as_str().to_owned(), entry.value.to_vec());
    listing.into_iter().map(entry).collect()
}

/// A head that names what is not there cannot be read any more.
#[tokio::test(start_paused = true)]
async fn a_segment_is_made_only_when_the_server_says_so_of_an_object() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    let pages = Fault::login_page().on(Verb::Create);
    server.inject(pages.times(3));
    for number in 0..60 {
        put_noise(&store, number..number + 1, 0, 200).await;
        sleep(Duration::from_millis(100)).await;
        let read = content(&open_tiny(&server).await).await;
        assert_eq!(read.len() as u64, number + 1);
    }
    assert!(server.faults_are_spent());
    assert!(segments(&server).len() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_grows_over_segments_and_shrinks_into_its_head() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    let mut expected = BTreeMap::new();
    for number in 0..400 {
        let (key, value) = (format!("key {number}"), noise(number, 50));
        store.put(&*key, value.clone()).await.unwrap();
        expected.insert(key, value);
    }
    sleep(Duration::from_secs(60)).await;
    assert!(segments(&server).len() > 5, "{}", segments(&server).len());
    assert!(content(&open_tiny(&server).await).await == expected);
    assert!(
        content(&open(&server).await).await == expected,
        "any layout reads it"
    );
    for number in 0..400 {
        store.delete(format!("key {number}")).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(segments(&server).len(), 0, "all is in the head");
    assert!(content(&open(&server).await).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_put_is_hardly_more_than_one_request_everything_included() {
    let server = FakeApiServer::new();
    let store = open_in(&buckets(&server)).await;
    server.set_latency(Duration::from_millis(2));
    server.reset_requests();
    put_noise(&store, 0..3_000, 0, 100).await;
    sleep(Duration::from_secs(120)).await;
    let requests = verbs(&server).len();
    assert!((3_000..3_300).contains(&requests), "{requests}");
    assert!(segments(&server).len() < 25, "{}", segments(&server).len());
}

#[tokio::test(start_paused = true)]
async fn a_large_value_is_spread_and_takes_its_place_at_once() {
    let server = FakeApiServer::new();
    let store = open_in(&buckets(&server)).await;
    let largest = store.limits().value_bytes;
    assert_eq!(largest, 16 * 1024 * 1024);
    store.put("large", noise(1, largest)).await.unwrap();
    assert!(segments(&server).len() > 30);
    for object in server.objects(NAMESPACE) {
        assert!(object.to_string().len() < 800_000, "{}", name(&object));
    }
    let other = open(&server).await;
    assert!(other.get("large").await.unwrap().unwrap().value == noise(1, largest));
    store.put("large", noise(2, 600_000)).await.unwrap();
    assert_eq!(
        other.get("large").await.unwrap().unwrap().value,
        noise(2, 600_000)
    );
}

#[tokio::test(start_paused = true)]
async fn segments_belong_to_their_head_and_never_change() {
    let server = FakeApiServer::new();
    let store = open_in(&buckets(&server)).await;
    store.put("large", noise(1, 600_000)).await.unwrap();
    let head = server.get(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
    for segment in segments(&server) {
        let metadata = &segment["metadata"];
        assert_eq!(segment["immutable"], true);
        assert_eq!(
            metadata["ownerReferences"][0]["uid"],
            head["metadata"]["uid"]
        );
        assert_eq!(
            metadata["labels"]["app.kubernetes.io/managed-by"],
            "kv-configmap"
        );
        assert_eq!(metadata["annotations"]["kv-configmap/bucket"], BUCKET);
        assert!(name(&segment).starts_with("approvals."));
    }
    assert_eq!(
        head["metadata"]["annotations"]["kv-configmap/segments"],
        "2"
    );
    store.teardown().await.unwrap();
    assert!(
        server.objects(NAMESPACE).is_empty(),
        "a teardown leaves nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bucket_with_segments_does_not_open_as_a_single_object() {
    let server = FakeApiServer::new();
    open_tiny(&server)
        .await
        .put("large", noise(1, 5_000))
        .await
        .unwrap();
    let buckets = buckets(&server).in_single_objects();
    let refused = buckets.open(BUCKET, OpenMode::Open).await;
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_single_object_stays_one() {
    let server = FakeApiServer::new();
    let store = open_single(&server).await;
    put_noise(&store, 0..40, 0, 20_000).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.objects(NAMESPACE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn orphans_of_a_writer_that_died_are_swept_and_nothing_else() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    store.put("kept", noise(1, 5_000)).await.unwrap();
    // The segments are made, the head is never written.
    server.inject(Fault::forbidden().on(Verb::Update).name(BUCKET));
    store.put("orphaned", noise(2, 5_000)).await.unwrap_err();
    let before = segments(&server).len();
    put_noise(&store, 0..40, 0, 60).await;
    sleep(Duration::from_secs(90)).await;
    let named = store.usage().await.unwrap();
    assert_eq!(named.entries, 41);
    let expected = content(&store).await;
    assert!(content(&open(&server).await).await == expected);
    let head = server.get(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
    let count = head["metadata"]["annotations"]["kv-configmap/segments"]
        .as_str()
        .unwrap();
    assert_eq!(
        count,
        segments(&server).len().to_string(),
        "no more than the head names"
    );
    assert!(before > 0);
}

#[tokio::test(start_paused = true)]
async fn where_segments_are_refused_the_head_holds_what_it_can() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    store.put("first", "value").await.unwrap();
    server.inject(Fault::forbidden().on(Verb::Create).always());
    put_noise(&store, 0..300, 0, 100).await;
    let refused = store.put("large", noise(1, 5_000)).await;
    assert!(
        matches!(refused, Err(Error::Forbidden { .. })),
        "{refused:?}"
    );
    assert_eq!(content(&open(&server).await).await.len(), 301);
}

#[tokio::test(start_paused = true)]
async fn a_refused_large_value_does_not_fail_its_neighbours() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    store.put("first", "value").await.unwrap();
    server.inject(Fault::quota_exceeded().on(Verb::Create).always());
    let (one, large, two) = tokio::join!(
        store.put("one", "1"),
        store.put("large", noise(1, 5_000)),
        store.put("two", "2"),
    );
    one.unwrap();
    assert!(large.is_err());
    two.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_every_commit_of_another_process_through_flushes_and_merges() {
    let server = FakeApiServer::new();
    let (writer, reader) = (open_tiny(&server).await, open_tiny(&server).await);
    writer.put("before", "1").await.unwrap();
    let mut events = reader.watch(WatchOptions::default()).await.unwrap();
    let Some(Ok(WatchEvent::Snapshot { entries, .. })) = events.next().await else {
        panic!("a snapshot comes first");
    };
    assert_eq!(entries.len(), 1);
    for number in 0..200 {
        let size = if number % 50 == 0 { 3_000 } else { 50 };
        let revision = writer
            .put(format!("{number}"), noise(number, size))
            .await
            .unwrap();
        match events.next().await {
            Some(Ok(WatchEvent::Changes {
                revision: told,
                changes,
            })) => {
                assert_eq!(told, revision);
                assert_eq!(changes.len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_segment_is_corrupt_and_a_merge_in_between_is_not() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    put_noise(&store, 0..100, 0, 60).await;
    sleep(Duration::from_secs(60)).await;
    let lost = segments(&server)[0].clone();
    server
        .delete(Kind::ConfigMap, NAMESPACE, name(&lost))
        .unwrap();
    let opened = buckets(&server).open(BUCKET, OpenMode::Open).await;
    let Err(Error::Corrupt { reason, .. }) = opened else {
        panic!("{opened:?}");
    };
    assert!(reason.contains(name(&lost)), "{reason}");
    // A handle that knows the state goes on.
    store.put("more", "1").await.unwrap();
}

/// What is overwritten by large commits is named until it is compacted, and a head names so many
/// segments at most.
#[tokio::test(start_paused = true)]
async fn a_put_waits_while_what_was_overwritten_still_fills_the_manifest() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    for number in 0..5 {
        store.put("k", noise(number, 5 << 20)).await.unwrap();
    }
    assert!(open(&server).await.get("k").await.unwrap().unwrap().value == noise(4, 5 << 20));
}

/// What was merged away is still there for a while, and a backup of the head may name it.
#[tokio::test(start_paused = true)]
async fn segments_that_a_restored_head_names_again_are_kept() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    put_noise(&store, 0..100, 0, 60).await;
    sleep(Duration::from_secs(60)).await;
    let (backup, expected) = (object(&server), content(&store).await);
    put_noise(&store, 0..100, 100, 60).await;
    let restore = |object: &mut Value| object["binaryData"] = backup["binaryData"].clone();
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, restore)
        .unwrap();
    assert!(content(&store).await == expected);
    sleep(Duration::from_secs(60)).await;
    assert!(content(&open(&server).await).await == expected);
}

/// Large commits that follow each other make flushes come too late.
#[tokio::test(start_paused = true)]
async fn a_put_into_a_large_bucket_writes_little() {
    let server = FakeApiServer::new();
    let store = open_in(&buckets(&server)).await;
    for commit in 0..10_u64 {
        let mut transaction = Transaction::new();
        for number in commit * 1_000..(commit + 1) * 1_000 {
            let key = Key::new(format!("key {number}")).unwrap();
            transaction = transaction.put(key, noise(number, 100));
        }
        store.commit(transaction).await.unwrap();
    }
    server.set_latency(Duration::from_millis(2));
    server.reset_requests();
    put_noise(&store, 0..5_000, 20_000, 100).await;
    sleep(Duration::from_secs(60)).await;
    let requests = server.requests();
    let bytes: usize = requests.iter().map(|request| request.body_bytes).sum();
    // As the server keeps it: a body is JSON, with the content in base64.
    let stored_bytes_a_put = bytes * 3 / 4 / 5_000;
    assert!(stored_bytes_a_put <= 9 * 1024, "{stored_bytes_a_put} bytes");
}

/// A bucket of some small segments.
async fn filled_with_segments(server: &FakeApiServer) {
    let store = open_tiny(server).await;
    put_noise(&store, 0..100, 0, 50).await;
    // What was merged away is gone by then.
    sleep(Duration::from_secs(60)).await;
    assert!(segments(server).len() > 1, "{}", segments(server).len());
    server.reset_requests();
}

#[tokio::test(start_paused = true)]
async fn a_small_bucket_is_opened_with_two_requests_however_many_segments_it_has() {
    let server = FakeApiServer::new();
    filled_with_segments(&server).await;
    let store = open_in(&buckets(&server)).await;
    assert_eq!(verbs(&server), [Verb::Get, Verb::List]);
    assert_eq!(content(&store).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_list_segments_are_read_one_by_one() {
    let server = FakeApiServer::new();
    filled_with_segments(&server).await;
    let rights = Rights::new("anna").allow(&[Verb::Get], &["configmaps"]);
    let client = server.client_with_rights(NAMESPACE, rights);
    let buckets = Buckets::config_maps(client, NAMESPACE);
    let store = buckets.open(BUCKET, OpenMode::Open).await.unwrap();
    let gets = verbs(&server).into_iter().filter(|verb| *verb == Verb::Get);
    assert_eq!(gets.count(), 1 + segments(&server).len());
    assert_eq!(content(&store).await.len(), 100);
}

fn count(server: &FakeApiServer, verb: Verb) -> usize {
    let verbs = verbs(server);
    verbs.iter().filter(|one| **one == verb).count()
}

/// One failure among many segments is no reason to make or read all of them again.
#[tokio::test(start_paused = true)]
async fn what_was_made_or_read_before_a_failure_is_not_asked_for_again() {
    // How many are under way at a time.
    const UNDER_WAY: usize = 8;
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let busy = || Fault::too_many_requests(1).skip(15);
    server.inject(busy().on(Verb::Create));
    store.put("large", noise(1, 12_000_000)).await.unwrap();
    let made = segments(&server).len();
    assert!(made > 20, "{made}");
    let creates = count(&server, Verb::Create);
    assert!(creates <= made + UNDER_WAY, "{creates} for {made}");

    let reader = open(&server).await;
    server.inject(busy().on(Verb::Get));
    assert!(reader.get("large").await.unwrap().is_some());
    // The head is read, too, and nothing but the head a second time.
    let gets = count(&server, Verb::Get);
    assert!(gets <= made + 3, "{gets} for {made}");
}

/// The server says so where a quota is changed while an object is made.
#[tokio::test(start_paused = true)]
async fn a_conflict_about_a_quota_is_no_refusal_of_a_segment() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.inject(Fault::conflict().on(Verb::Create));
    store.put("large", noise(1, 100_000)).await.unwrap();
    assert_eq!(segments(&server).len(), 1);
}

/// The figures of the documentation: each eight segments wait for the budget, 5 s at most.
#[tokio::test(start_paused = true)]
async fn a_large_transaction_within_the_usual_budget_ends_in_time_or_is_not_applied() {
    let server = FakeApiServer::new();
    let buckets = Buckets::config_maps(server.client(), NAMESPACE);
    let store = open_in(&buckets).await;
    store.put("16 MiB", noise(1, 16 << 20)).await.unwrap();
    store.delete("16 MiB").await.unwrap();
    sleep(Duration::from_secs(300)).await;
    let put = |transaction: Transaction, number: u64| {
        let key = Key::new(format!("12 MiB, {number}")).unwrap();
        transaction.put(key, noise(number, 12 << 20))
    };
    let error = store.commit((0..3).fold(Transaction::new(), put)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(store.usage().await.unwrap().entries, 0);
}

/// Each step of a compaction rewrites one run of these, and what is put meanwhile is flushed.
#[tokio::test(start_paused = true)]
async fn a_head_stays_small_while_its_bucket_is_compacted() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    let key = |number| Key::new(format!("key {number}")).unwrap();
    for first in (0..900).step_by(3) {
        let put = |all: Transaction, number| all.put(key(number), noise(number, 900));
        let all = (first..first + 3).fold(Transaction::new(), put);
        store.commit(all).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    server.set_latency(Duration::from_millis(2));
    let delete = |all: Transaction, number| all.delete(key(number));
    let most = (0..900).filter(|number| number % 3 > 0);
    store
        .commit(most.fold(Transaction::new(), delete))
        .await
        .unwrap();
    for number in 900..1_400 {
        store.put(key(number), noise(number, 60)).await.unwrap();
        let head = head_bytes(&server);
        // 14 KB of them name the segments; 500 puts take 45 KB.
        assert!(head < 25_000, "{head} bytes at {number}");
    }
}

/// A bucket with eight runs, so that the next segments after a flush are those of a merge.
async fn with_a_merge_due(server: &FakeApiServer) -> ConfigMapStore {
    let store = open(server).await;
    let flushes = || segments(server).len();
    for number in 0.. {
        if flushes() == 8 {
            break;
        }
        put_noise(&store, number..number + 1, 0, 1_000).await;
    }
    store
}

/// Puts one entry after the other for so long, and sees that the head stays small.
async fn put_with_small_heads(server: &FakeApiServer, store: &ConfigMapStore, time: Duration) {
    let begun = Instant::now();
    let mut number = 2_000;
    while begun.elapsed() < time {
        put_noise(store, number..number + 1, 0, 1_000).await;
        let head = head_bytes(server);
        assert!(head < 30_000, "{head} bytes at {number}");
        number += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_stays_small_while_a_merge_takes_long() {
    let server = FakeApiServer::new();
    server.set_latency(Duration::from_millis(2));
    let store = with_a_merge_due(&server).await;
    server.inject(Fault::late_answer(Duration::from_secs(5)).on(Verb::Create));
    put_with_small_heads(&server, &store, Duration::from_secs(4)).await;
    assert!(server.faults_are_spent());
    let flushed = segments(&server).len();
    assert!(flushed > 100, "{flushed} segments");
    sleep(Duration::from_secs(60)).await;
    assert!(segments(&server).len() < 30, "{}", segments(&server).len());
}

#[tokio::test(start_paused = true)]
async fn a_head_stays_small_while_segments_are_removed() {
    let server = FakeApiServer::new();
    server.set_latency(Duration::from_millis(2));
    let store = with_a_merge_due(&server).await;
    put_noise(&store, 1_000..1_030, 0, 1_000).await;
    sleep(Duration::from_secs(25)).await;
    server.inject(Fault::late_answer(Duration::from_secs(5)).on(Verb::Delete));
    put_with_small_heads(&server, &store, Duration::from_secs(9)).await;
    assert!(server.faults_are_spent(), "segments were removed");
}

#[tokio::test(start_paused = true)]
async fn what_became_due_during_a_merge_that_failed_is_merged() {
    let server = FakeApiServer::new();
    server.set_latency(Duration::from_millis(2));
    let store = with_a_merge_due(&server).await;
    server.inject(Fault::too_many_requests(3).on(Verb::Create));
    sleep(Duration::from_millis(100)).await;
    assert!(server.faults_are_spent(), "the merge has to wait");
    put_noise(&store, 1_000..1_200, 0, 1_000).await;
    assert!(segments(&server).len() > 20, "there were flushes meanwhile");
    server.inject(Fault::forbidden().on(Verb::Create));
    sleep(Duration::from_secs(60)).await;
    assert!(server.faults_are_spent(), "the merge has failed");
    assert!(segments(&server).len() < 16, "{}", segments(&server).len());
}
