//! Where bytes are limited: many puts at once share a write, which names a segment that holds them,
//! and one put after the other leaves a small head.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use kv_configmap::ConfigMapStore;
use kv_core::prelude::*;
use kv_core::{WatchEvent, WatchOptions};
use kv_fake_apiserver::{FakeApiServer, Fault, Verb};
use tokio::time::{Instant, sleep};

use crate::{BUCKET, buckets, head_bytes, noise, object, open_in, segments, verbs};

/// A handle whose bytes are limited, though none of its writes ever has to wait.
async fn open(server: &FakeApiServer) -> ConfigMapStore {
    let store = open_in(&buckets(server).with_write_budget(u64::MAX, 0)).await;
    server.reset_requests();
    store
}

/// Puts so many values at once that nobody can compress.
async fn put_at_once(store: &ConfigMapStore, round: u64, count: u64) {
    let put = |number| {
        let value = noise(round << 32 | number, 100);
        store.put(format!("{round}/{number}"), value)
    };
    for put in join_all((0..count).map(put)).await {
        put.expect("a put");
    }
}

/// A bucket with one entry, on a server that takes a while to answer, so that puts wait together.
async fn bucket() -> (FakeApiServer, ConfigMapStore) {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("first", "1").await.expect("a put");
    server.set_latency(Duration::from_millis(2));
    server.reset_requests();
    (server, store)
}

/// Puts so many values at once again and again, `pause` apart: the first request of each time.
async fn first_verbs<const TIMES: usize>(
    server: &FakeApiServer,
    store: &ConfigMapStore,
    pause: Duration,
) -> [Verb; TIMES] {
    let mut first = Vec::new();
    for round in 1..=TIMES as u64 {
        server.reset_requests();
        put_at_once(store, round, 45).await;
        first.push(verbs(server)[0]);
        sleep(pause).await;
    }
    first.try_into().expect("as many as there were times")
}

/// What comes after these is a flush.
fn first_two(server: &FakeApiServer) -> Vec<Verb> {
    let mut verbs = verbs(server);
    verbs.truncate(2);
    verbs
}

async fn entries(server: &FakeApiServer) -> u64 {
    let usage = open(server).await.usage().await;
    usage.expect("the bucket can be read").entries
}

fn named(server: &FakeApiServer) -> usize {
    let annotations = &object(server)["metadata"]["annotations"];
    let named = annotations["kv-configmap/segments"].as_str();
    named
        .and_then(|named| named.parse().ok())
        .expect("the head tells how many segments it names")
}

#[tokio::test(start_paused = true)]
async fn puts_at_once_are_one_segment_and_one_small_head() {
    let (server, store) = bucket().await;
    put_at_once(&store, 0, 64).await;
    assert_eq!(verbs(&server), [Verb::Create, Verb::Update]);
    let head = head_bytes(&server);
    assert!(head < 1_000, "{head} bytes");
    assert_eq!(entries(&server).await, 65);
}

#[tokio::test(start_paused = true)]
async fn while_there_is_budget_for_it_they_are_one_request() {
    let (server, _) = bucket().await;
    let limited = buckets(&server).with_write_budget(1, 100_000);
    for (round, buckets) in [(0, buckets(&server)), (1_000, limited)] {
        let store = open_in(&buckets).await;
        for (count, requests) in [
            (64, &[Verb::Update][..]),
            (200, &[Verb::Create, Verb::Update]),
        ] {
            server.reset_requests();
            put_at_once(&store, round + count, count).await;
            // A flush may come afterwards.
            let sent = verbs(&server);
            assert!(sent.starts_with(requests), "{count} puts: {sent:?}");
            sleep(Duration::from_secs(60)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn under_load_heads_stay_small_and_segments_few() {
    let (server, store) = bucket().await;
    let mut largest = 0;
    for round in 0..300 {
        put_at_once(&store, round, 64).await;
        largest = largest.max(head_bytes(&server));
        assert!(named(&server) < 80, "{} segments", named(&server));
    }
    sleep(Duration::from_secs(60)).await;
    assert!(largest < 6_000, "{largest} bytes");
    let requests = verbs(&server).len();
    // A segment, a head, and the removal of the segment when it has been merged.
    assert!((600..1_100).contains(&requests), "{requests} requests");
    assert_eq!(entries(&server).await, 300 * 64 + 1);
    assert_eq!(named(&server), segments(&server).len());
    // What was put off under load is done when it is over.
    assert!(named(&server) < 30, "{} segments", named(&server));
}

/// Few bytes compressed, and many before that.
#[tokio::test(start_paused = true)]
async fn heads_stay_small_where_puts_compress_well() {
    let (server, _) = bucket().await;
    let store = open_in(&buckets(&server)).await;
    let mut largest = 0;
    for round in 0..100_u64 {
        let put = |number| {
            let mut value = noise(round << 32 | number, 200);
            value.resize(1_500, b'x');
            store.put(format!("{round}/{number}"), value)
        };
        for put in join_all((0..64).map(put)).await {
            put.expect("a put");
        }
        largest = largest.max(head_bytes(&server));
    }
    assert!(largest < 10_000, "{largest} bytes");
}

/// Every put writes the head anew.
#[tokio::test(start_paused = true)]
async fn where_bytes_are_limited_one_put_after_the_other_leaves_a_small_head() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let (mut base64, puts) = (0, 300);
    for number in 0..puts {
        let put = store.put(format!("{}", number % 40), noise(number, 100));
        put.await.expect("a put");
        base64 += head_bytes(&server);
    }
    let bytes = base64 / puts as usize / 4 * 3;
    assert!(bytes < 2_300, "{bytes} bytes a head");
    let requests = verbs(&server).len() as u64;
    assert!(requests < puts * 5 / 4, "{requests} requests");
}

/// What cannot leave the head is folded there.
#[tokio::test(start_paused = true)]
async fn where_bytes_are_limited_and_segments_are_refused_the_head_stays_small() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.inject(Fault::quota_exceeded().on(Verb::Create).always());
    let mut largest = 0;
    for number in 0..300 {
        let put = store.put(format!("{}", number % 20), noise(number, 100));
        put.await.expect("a put");
        largest = largest.max(head_bytes(&server) / 4 * 3);
    }
    assert!(largest < 16_000, "{largest} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_each_of_the_puts_that_share_a_write() {
    let server = FakeApiServer::new();
    let (writer, reader) = (open(&server).await, open(&server).await);
    let mut events = reader.watch(WatchOptions::default()).await.unwrap();
    let Some(Ok(WatchEvent::Snapshot { .. })) = events.next().await else {
        panic!("a snapshot comes first");
    };
    server.set_latency(Duration::from_millis(2));
    let writes = tokio::spawn(async move {
        for round in 0..20 {
            put_at_once(&writer, round, 64).await;
        }
    });
    let mut last = Revision::ZERO;
    for number in 0..20 * 64 {
        let Some(Ok(WatchEvent::Changes { revision, changes })) = events.next().await else {
            panic!("the put {number} is told");
        };
        assert!(revision > last);
        assert_eq!(changes.len(), 1);
        last = revision;
    }
    writes.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_segments_are_refused_puts_at_once_stay_in_the_head() {
    let (server, store) = bucket().await;
    server.inject(Fault::quota_exceeded().on(Verb::Create).always());
    put_at_once(&store, 0, 64).await;
    assert_eq!(first_two(&server), [Verb::Create, Verb::Update]);
    assert_eq!(entries(&server).await, 65);
}

#[tokio::test(start_paused = true)]
async fn where_segments_cannot_be_made_for_now_puts_at_once_do_not_wait() {
    let (server, store) = bucket().await;
    server.inject(Fault::shutting_down().on(Verb::Create).always());
    let first = first_verbs(&server, &store, Duration::from_secs(6)).await;
    // The third time it is tried again.
    assert_eq!(first, [Verb::Create, Verb::Update, Verb::Create]);
    assert_eq!(entries(&server).await, 3 * 45 + 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_give_up_do_not_have_segments_made_anew() {
    let (server, store) = bucket().await;
    server.set_latency(Duration::from_millis(100));
    server.reset_requests();
    let impatient = async {
        let put = store.put("impatient", "1");
        let given_up = tokio::time::timeout(Duration::from_millis(50), put).await;
        assert!(given_up.is_err());
    };
    tokio::join!(impatient, put_at_once(&store, 0, 64));
    assert_eq!(first_two(&server), [Verb::Create, Verb::Update]);
    assert_eq!(entries(&server).await, 65);
}

/// A bucket with the segment of puts that were refused.
async fn with_an_orphan() -> FakeApiServer {
    let (server, store) = bucket().await;
    server.inject(Fault::forbidden().on(Verb::Update).name(BUCKET).always());
    let puts = join_all((0..64).map(|number| store.put(format!("{number}"), noise(number, 100))));
    assert!(puts.await.iter().all(Result::is_err));
    server.calm();
    server
}

/// It tells of commits that never came about.
#[tokio::test(start_paused = true)]
async fn a_segment_of_puts_that_were_refused_is_no_damage() {
    let server = with_an_orphan().await;
    let report = buckets(&server).check(BUCKET).await.unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.orphans.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn puts_at_once_wait_as_long_as_the_server_asks_them_to() {
    let (server, store) = bucket().await;
    server.inject(Fault::too_many_requests(2).on(Verb::Create));
    let begun = Instant::now();
    put_at_once(&store, 0, 64).await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(first_two(&server), [Verb::Create, Verb::Update]);
}

/// What takes two requests loses against what takes one.
#[tokio::test(start_paused = true)]
async fn while_others_write_puts_at_once_go_into_the_head() {
    let (server, store) = bucket().await;
    open(&server).await.put("another", "1").await.unwrap();
    // A conflict, after a segment was made in vain.
    put_at_once(&store, 0, 45).await;
    let first = first_verbs(&server, &store, Duration::from_secs(2)).await;
    assert_eq!(first, [Verb::Update, Verb::Create]);
    assert_eq!(entries(&server).await, 2 + 3 * 45);
}

/// What was made for a write that met a conflict is of no use to the next.
#[tokio::test(start_paused = true)]
async fn segments_of_writes_that_met_conflicts_are_removed() {
    let (server, one) = bucket().await;
    let two = open(&server).await;
    for round in 0..20 {
        tokio::join!(
            put_at_once(&one, round, 64),
            put_at_once(&two, 1_000 + round, 64)
        );
        // After a conflict, the commits that share a write go into the head for a while.
        sleep(Duration::from_millis(1_100)).await;
    }
    let verbs = verbs(&server).into_iter();
    let creates = verbs.filter(|verb| *verb == Verb::Create).count();
    assert!(creates > 45, "there were conflicts");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(entries(&server).await, 2 * 20 * 64 + 1);
    // A few may wait for the sweep after the next flush or merge.
    let needless = segments(&server).len() - named(&server);
    assert!(needless <= 3, "{needless} of {creates}");
}

/// A sweep waits for merges and removals, which follow each other as long as there are puts.
#[tokio::test(start_paused = true)]
async fn orphans_are_removed_also_where_a_bucket_is_written_all_the_time() {
    let server = with_an_orphan().await;
    let orphan = segments(&server).remove(0);
    let store = open_in(&buckets(&server)).await;
    // The first sweep has to be begun anew.
    server.inject(Fault::bad_gateway().on(Verb::List));
    let begun = Instant::now();
    let mut round = 0;
    while segments(&server).contains(&orphan) {
        assert!(
            begun.elapsed() < Duration::from_millis(400),
            "{round} rounds"
        );
        put_at_once(&store, round, 120).await;
        round += 1;
    }
    assert!(server.faults_are_spent());
}
