//! Calls that overlap: what is known never goes back, and what was told stays true.

use std::time::Duration;

use futures::future::try_join_all;
use kv_core::prelude::*;
use kv_core::{GetOptions, OpenMode, Outcome};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    BUCKET, LATE, NAMESPACE, buckets, late_read, noise, object, open, open_single, put_meeting,
};

/// Reads share requests, but only those that begin after them.
#[tokio::test(start_paused = true)]
async fn a_read_is_never_answered_from_a_request_that_began_before_it() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "old").await.unwrap();
    // Carried out at once, so that it sees the old value; answered when the new one is in place.
    let early = late_read(&server, &store).await;
    open_without_reset(&server)
        .await
        .put("k", "new")
        .await
        .unwrap();
    let read = store.get("k").await.unwrap().unwrap();
    assert_eq!(read.value, "new");
    early.await.unwrap().unwrap();
}

/// A deletion has the uid as its precondition.
#[tokio::test(start_paused = true)]
async fn a_teardown_deletes_the_bucket_that_it_looked_at_and_no_other() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "old").await.unwrap();
    server.set_latency(Duration::from_millis(10));
    // The metadata is read at 10 ms, the deletion is carried out at 20 ms.
    let (torn, ()) = tokio::join!(store.teardown(), async {
        sleep(Duration::from_millis(15)).await;
        server.delete(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
        server
            .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
                object["data"] = serde_json::json!({ "somebody": "else's" });
            })
            .unwrap();
    });
    torn.unwrap();
    assert_eq!(object(&server)["data"]["somebody"], "else's");
}

/// What a write publishes does not replace a newer state that a read has found meanwhile.
#[tokio::test(start_paused = true)]
async fn a_late_answer_to_a_write_does_not_take_the_cache_back() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "first").await.unwrap();
    let fault = Fault::late_answer(LATE);
    let put = put_meeting(&server, &store, fault, "k", "second").await;
    open_without_reset(&server)
        .await
        .put("k", "third")
        .await
        .unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "third");
    put.await.unwrap().unwrap();
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    let cached = store
        .get_opts(&Key::new("k").unwrap(), cached)
        .await
        .unwrap();
    assert_eq!(cached.unwrap().value, "third");
}

/// The same with a teardown in the place of the other write.
#[tokio::test(start_paused = true)]
async fn a_late_answer_to_a_write_does_not_bring_a_torn_down_bucket_back() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "first").await.unwrap();
    let fault = Fault::late_answer(LATE);
    let put = put_meeting(&server, &store, fault, "k", "second").await;
    store.teardown().await.unwrap();
    put.await.unwrap().unwrap();
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    assert!(
        store
            .get_opts(&Key::new("k").unwrap(), cached)
            .await
            .unwrap()
            .is_none()
    );
}

/// What its caller was told is not applied must not be sent any more.
#[tokio::test(start_paused = true)]
async fn a_put_that_was_told_as_not_applied_is_never_applied() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "before").await.unwrap();
    // The committer is busy for longer than the deadline of those who wait behind it.
    let fault = Fault::hang().times(3);
    let first = put_meeting(&server, &store, fault, "other", "1").await;
    let gave_up = store.put("k", "gave up").await;
    let error = gave_up.unwrap_err();
    let _ = first.await.unwrap();
    sleep(Duration::from_secs(120)).await;
    let value = open_without_reset(&server)
        .await
        .get("k")
        .await
        .unwrap()
        .unwrap()
        .value;
    if error.outcome() == Outcome::NotApplied {
        assert_eq!(value, "before", "{error:?}");
    }
}

/// The same, where one of a batch has given up between two attempts.
#[tokio::test(start_paused = true)]
async fn of_a_batch_that_waits_those_who_gave_up_are_left_out() {
    let server = FakeApiServer::new();
    let patient = buckets(&server)
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap();
    patient.put("k", "before").await.unwrap();
    let fault = Fault::too_many_requests(20);
    let early = put_meeting(&server, &patient, fault, "early", "1").await;
    let dropped = patient.put("k", "dropped");
    let _ = timeout(Duration::from_secs(1), dropped).await;
    early.await.unwrap().unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(patient.get("k").await.unwrap().unwrap().value, "before");
}

/// Nothing is sent for callers who have all given up, whatever keeps their batch waiting.
#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_waits_for_is_not_sent_again() {
    let in_doubt = Fault::reset_before_apply().on(Verb::Update);
    let throttled = Fault::too_many_requests(1).on(Verb::Update);
    let unreadable = Fault::bad_gateway().on(Verb::Get);
    let conflict = Fault::conflict().on(Verb::Update);
    for (name, faults) in [
        ("in doubt", vec![in_doubt]),
        ("throttled", vec![throttled]),
        ("after a conflict", vec![unreadable, conflict]),
    ] {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("k", "before").await.unwrap();
        for fault in faults {
            server.inject(fault.always());
        }
        let both = async { tokio::join!(store.put("k", "1"), store.put("l", "2")) };
        let both = timeout(Duration::from_secs(2), both).await;
        assert!(both.is_err(), "{name}: {both:?}");
        let sent = server.requests().len();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(server.requests().len(), sent, "{name}");
        server.calm();
        assert_eq!(store.get("k").await.unwrap().unwrap().value, "before");
        store.put("k", "next").await.unwrap();
    }
}

/// Nor is a bucket made for them.
#[tokio::test(start_paused = true)]
async fn no_bucket_is_made_for_a_batch_that_nobody_waits_for() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.teardown().await.unwrap();
    server.inject(Fault::refuse_connection().on(Verb::Create).always());
    let put = timeout(Duration::from_secs(2), store.put("k", "value")).await;
    assert!(put.is_err(), "{put:?}");
    let sent = server.requests().len();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.requests().len(), sent);
    server.calm();
    store.put("k", "next").await.unwrap();
}

/// The version of a large bucket is looked at before it is served from memory.
#[tokio::test(start_paused = true)]
async fn a_read_of_a_large_bucket_sees_what_others_wrote() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("large", noise(1, 200_000)).await.unwrap();
    open_without_reset(&server)
        .await
        .put("k", "new")
        .await
        .unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "new");
}

/// Of two reads that overlap the one that saw more stays.
#[tokio::test(start_paused = true)]
async fn a_late_read_does_not_take_the_cache_back() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "first").await.unwrap();
    open_without_reset(&server)
        .await
        .put("k", "second")
        .await
        .unwrap();
    let early = late_read(&server, &store).await;
    open_without_reset(&server)
        .await
        .put("k", "third")
        .await
        .unwrap();
    // The committer meets a conflict and reads, while the reader still waits.
    store.put("mine", "1").await.unwrap();
    let seen = early.await.unwrap().unwrap().unwrap();
    assert_eq!(seen.value, "third");
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    let cached = store
        .get_opts(&Key::new("k").unwrap(), cached)
        .await
        .unwrap();
    assert_eq!(cached.unwrap().value, "third");
}

/// That a bucket was missing is not believed once it has been made.
#[tokio::test(start_paused = true)]
async fn a_late_404_does_not_take_the_cache_back() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.teardown().await.unwrap();
    let early = late_read(&server, &store).await;
    store.put("k", "value").await.unwrap();
    early.await.unwrap().unwrap();
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    let cached = store
        .get_opts(&Key::new("k").unwrap(), cached)
        .await
        .unwrap();
    assert_eq!(cached.expect("our own acknowledged write").value, "value");
}

/// On a bucket that is missing a verdict needs a fresh look, too.
#[tokio::test]
async fn nothing_to_delete_is_not_said_of_a_bucket_that_another_has_made() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.teardown().await.unwrap();
    open_without_reset(&server)
        .await
        .put("k", "value")
        .await
        .unwrap();
    assert!(store.delete("k").await.unwrap());
}

/// A 409 that is not about our base decides nothing about a write in doubt.
#[tokio::test(start_paused = true)]
async fn a_409_while_the_base_is_in_place_decides_nothing() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "before").await.unwrap();
    // Applied after a minute; meanwhile a 409 as a quota controller's.
    server.inject(
        Fault::gateway_timeout()
            .applied_later(Duration::from_millis(200))
            .on(Verb::Update),
    );
    server.inject(Fault::conflict().on(Verb::Update));
    let key = Key::new("k").unwrap();
    let revision = store.get("k").await.unwrap().unwrap().revision;
    let update = Transaction::new()
        .require_at(&key, revision)
        .put(&key, "mine");
    server.inject(Fault::hang().on(Verb::Update).times(1));
    let updated = store.commit(update).await;
    assert!(updated.is_ok(), "{updated:?}");
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "mine");
}

/// Whoever is in has the newest base, and would go on without end.
#[tokio::test(start_paused = true)]
async fn writers_that_compete_take_turns() {
    let server = FakeApiServer::new();
    server.set_latency(Duration::from_millis(2));
    let end = Instant::now() + Duration::from_secs(5);
    let mut writers = Vec::new();
    for writer in 0..16 {
        let store = open_without_reset(&server).await;
        writers.push(async move {
            let mut puts: u64 = 0;
            while Instant::now() < end {
                store.put(format!("{writer}"), puts.to_string()).await?;
                puts += 1;
            }
            Ok::<_, Error>(puts)
        });
    }
    let mut puts = try_join_all(writers).await.unwrap();
    puts.sort_unstable();
    let mean = puts.iter().sum::<u64>() / 16;
    // One alone would have 2,500. The turns are drawn at random, so that the slowest of all says
    // little; without turns the first has 2,485, and each other one.
    assert!(puts[8] >= mean / 4 && mean >= 80, "{puts:?}");
}

async fn open_without_reset(server: &FakeApiServer) -> kv_configmap::ConfigMapStore {
    let opened = buckets(server).open(BUCKET, OpenMode::OpenOrCreate).await;
    opened.expect("the bucket opens")
}

/// a transaction that does not fit does not fail its neighbours.
#[tokio::test(start_paused = true)]
async fn one_that_does_not_fit_does_not_fail_those_that_do() {
    let server = FakeApiServer::new();
    let store = open_single(&server).await;
    store.put("k", "before").await.unwrap();
    server.set_latency(Duration::from_millis(5));
    let large = |n: u64| store.put(format!("large {n}"), noise(n, 500_000));
    let (busy, one, two, three, small) = tokio::join!(
        store.put("busy", "1"),
        large(1),
        large(2),
        large(3),
        store.put("small", "1")
    );
    busy.unwrap();
    one.unwrap();
    two.unwrap();
    assert!(matches!(three, Err(Error::BucketFull { .. })), "{three:?}");
    small.unwrap();
}
