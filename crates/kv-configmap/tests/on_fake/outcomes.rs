//! Writes whose outcome is in doubt, and servers that do not answer: nothing that was acknowledged
//! is lost, nothing is applied twice, and what cannot be known is said.

use std::time::Duration;

use kv_configmap::ConfigMapStore;
use kv_core::prelude::*;
use kv_core::{OpenMode, Outcome};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
use tokio::time::Instant;

use crate::{BUCKET, NAMESPACE, buckets, object, open, put_meeting};

async fn increment(store: &impl KvStore) -> Result<Revision, Error> {
    store
        .modify("count", |old| {
            let count = old.map_or(0, |entry| {
                String::from_utf8_lossy(&entry.value)
                    .parse::<u64>()
                    .expect("a number")
            });
            Some((count + 1).to_string())
        })
        .await
}

async fn count(store: &impl KvStore) -> u64 {
    let entry = store.get("count").await.expect("a read").expect("a count");
    String::from_utf8_lossy(&entry.value)
        .parse()
        .expect("a number")
}

/// What can happen to a write so that its outcome is unknown, or so that it has to wait.
fn faults() -> Vec<(&'static str, Fault)> {
    let soon = Duration::from_millis(40);
    let late = Duration::from_secs(12);
    vec![
        ("refused", Fault::refuse_connection()),
        ("reset before", Fault::reset_before_apply()),
        ("reset after", Fault::reset_after_apply()),
        ("truncated", Fault::truncated_body()),
        ("late answer", Fault::late_answer(Duration::from_secs(5))),
        ("no answer, applied", Fault::answer_never()),
        ("no answer, not applied", Fault::hang()),
        ("zombie", Fault::zombie(soon)),
        ("zombie after the retry", Fault::zombie(late)),
        ("409", Fault::conflict()),
        ("429", Fault::too_many_requests(1)),
        ("429 in plain text", Fault::too_many_requests_text()),
        ("500", Fault::etcd_timeout()),
        ("500, applied", Fault::etcd_timeout().applied()),
        ("502", Fault::bad_gateway()),
        ("502, applied", Fault::bad_gateway().applied()),
        ("503 shutting down", Fault::shutting_down()),
        ("503 in plain text", Fault::unavailable_text()),
        (
            "503 in plain text, applied",
            Fault::unavailable_text().applied(),
        ),
        ("504", Fault::gateway_timeout()),
        ("504, applied", Fault::gateway_timeout().applied()),
        (
            "504, applied later",
            Fault::gateway_timeout().applied_later(soon),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_increment_is_applied_once_whatever_happens_to_its_write() {
    for (name, fault) in faults() {
        for times in 1..=2 {
            let server = FakeApiServer::new();
            let store = open(&server).await;
            increment(&store).await.unwrap();
            server.inject(fault.clone().on(Verb::Update).times(times));
            let incremented = increment(&store).await;
            assert!(incremented.is_ok(), "{name} x {times}: {incremented:?}");
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(count(&open(&server).await).await, 2, "{name} x {times}");
            increment(&store).await.unwrap();
            assert_eq!(count(&open(&server).await).await, 3, "{name} x {times}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn increments_of_two_writers_add_up_whatever_happens_to_their_writes() {
    for (name, fault) in faults() {
        let server = FakeApiServer::new();
        let (one, two) = (open(&server).await, open(&server).await);
        server.set_latency(Duration::from_millis(1));
        for skip in [1, 4, 9] {
            server.inject(fault.clone().on(Verb::Update).skip(skip));
        }
        let run = async |store: &ConfigMapStore| {
            for _ in 0..10 {
                increment(store)
                    .await
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        };
        tokio::join!(run(&one), run(&two));
        assert_eq!(count(&open(&server).await).await, 20, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_and_openings_wait_out_what_passes() {
    for (name, fault) in faults().into_iter().filter(|(name, _)| *name != "409") {
        let server = FakeApiServer::new();
        open(&server).await.put("k", "value").await.unwrap();
        server.inject(fault.clone().on(Verb::Get).times(2));
        let opened = buckets(&server).open(BUCKET, OpenMode::Open).await;
        let store = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        server.inject(fault.clone().on(Verb::Get).times(2));
        let read = store.get("k").await;
        assert!(
            read.unwrap_or_else(|error| panic!("{name}: {error}"))
                .is_some(),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_made_once_whatever_happens_to_the_request() {
    for (name, fault) in faults() {
        let server = FakeApiServer::new();
        server.inject(fault.on(Verb::Create));
        let opened = buckets(&server).open(BUCKET, OpenMode::OpenOrCreate).await;
        let store = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        store.put("k", "value").await.unwrap();
        assert!(
            open(&server).await.get("k").await.unwrap().is_some(),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_teardown_is_completed_whatever_happens_to_the_request() {
    for (name, fault) in faults() {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("k", "value").await.unwrap();
        server.inject(fault.on(Verb::Delete));
        store
            .teardown()
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            server.get(Kind::ConfigMap, NAMESPACE, BUCKET).is_none(),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_conflicts_ends_with_the_deadline() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.inject(Fault::conflict().on(Verb::Update).always());
    let started = Instant::now();
    let error = store.put("k", "value").await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    server.calm();
    store.put("k", "value").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_told_within_the_deadline() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.inject(Fault::refuse_connection().always());
    let started = Instant::now();
    let error = store.put("k", "value").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(error.is_retryable());
    assert!(
        error.to_string().contains("configmap default/approvals"),
        "{error}"
    );
    let error = store.get("k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let opened = buckets(&server)
        .with_deadline(Duration::from_secs(2))
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await;
    assert!(matches!(opened, Err(Error::Unavailable { .. })));
    assert_eq!(started.elapsed().as_secs(), 62);
    server.calm();
    let started = Instant::now();
    store.put("k", "value").await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "the first write after an outage"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_leaves_a_write_indeterminate_within_the_deadline() {
    for fault in [Fault::hang(), Fault::answer_never()] {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        server.inject(fault.always());
        let started = Instant::now();
        let error = store.put("k", "value").await.unwrap_err();
        assert!(matches!(error, Error::Indeterminate { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(!error.is_retryable());
        let error = store.get("k").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(started.elapsed().as_secs(), 60);
        server.calm();
        store.put("k", "other").await.unwrap();
        assert_eq!(
            open(&server).await.get("k").await.unwrap().unwrap().value,
            "other"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_of_a_write_that_was_given_up_cannot_undo_a_later_one() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.inject(
        Fault::zombie(Duration::from_secs(90))
            .on(Verb::Update)
            .always(),
    );
    let error = store.put("k", "zombie").await.unwrap_err();
    assert!(matches!(error, Error::Indeterminate { .. }), "{error:?}");
    server.calm();
    store.put("k", "later").await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(
        open(&server).await.get("k").await.unwrap().unwrap().value,
        "later"
    );
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_says_so_and_waits_as_long_as_it_is_told() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.inject(Fault::too_many_requests(7).on(Verb::Update));
    let started = Instant::now();
    store.put("k", "value").await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 7);
    server.inject(Fault::too_many_requests(50).on(Verb::Update).always());
    let error = store.put("k", "other").await.unwrap_err();
    let Error::Throttled { retry_after, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(50)));
    server.calm();
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "value");
}

/// A put that is applied and not answered. The committer sends it again after 10 s; `meanwhile`
/// happens before that.
async fn unanswered_put(
    server: &FakeApiServer,
    store: &ConfigMapStore,
    meanwhile: impl AsyncFnOnce(),
) -> Result<Revision, Error> {
    let put = put_meeting(server, store, Fault::answer_never(), "k", "unanswered").await;
    meanwhile().await;
    put.await.expect("no panic")
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_write_that_others_have_built_on_is_found_by_its_batch_id() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let put = unanswered_put(&server, &store, async || {
        for number in 0..100 {
            open(&server)
                .await
                .put("others", number.to_string())
                .await
                .unwrap();
        }
    });
    let revision = put.await.unwrap();
    let entry = open(&server).await.get("k").await.unwrap().unwrap();
    assert_eq!(
        (entry.value.as_ref(), entry.revision),
        (b"unanswered".as_slice(), revision)
    );
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_fell_out_of_the_table_says_that_it_cannot_know() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    let put = unanswered_put(&server, &store, async || {
        for number in 0..129 {
            open(&server)
                .await
                .put("others", number.to_string())
                .await
                .unwrap();
        }
    });
    let error = put.await.unwrap_err();
    assert!(matches!(error, Error::Indeterminate { .. }), "{error:?}");
    store.put("k", "next").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_ran_into_a_teardown_is_indeterminate() {
    for made_anew in [false, true] {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("k", "value").await.unwrap();
        let put = unanswered_put(&server, &store, async || {
            server.delete(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
            if made_anew {
                open(&server).await.put("k", "anew").await.unwrap();
            }
        });
        let error = put.await.unwrap_err();
        assert!(matches!(error, Error::Indeterminate { .. }), "{error:?}");
        let found = open(&server)
            .await
            .get("k")
            .await
            .unwrap()
            .map(|entry| entry.value);
        assert_eq!(found.as_deref(), made_anew.then_some(b"anew".as_slice()));
        store.put("k", "next").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_write_over_a_restored_backup_is_indeterminate() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "backup").await.unwrap();
    let backup = object(&server)["binaryData"].clone();
    store.put("k", "after the backup").await.unwrap();
    let put = unanswered_put(&server, &store, async || {
        server
            .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
                object["binaryData"] = backup;
            })
            .unwrap();
    });
    let error = put.await.unwrap_err();
    assert!(matches!(error, Error::Indeterminate { .. }), "{error:?}");
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "backup");
    let before = store.get("k").await.unwrap().unwrap().revision;
    assert!(store.put("k", "next").await.unwrap() > before);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_leaves_a_store_that_works_and_an_outcome_that_can_be_read() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "before").await.unwrap();
    server.set_latency(Duration::from_millis(10));
    for wait in [0, 5, 15] {
        let put = store.put("k", format!("dropped after {wait}"));
        let _ = tokio::time::timeout(Duration::from_millis(wait), put).await;
        store.put("next", wait.to_string()).await.unwrap();
        let value = store.get("k").await.unwrap().unwrap().value;
        let cold = open(&server).await.get("k").await.unwrap().unwrap().value;
        assert_eq!(value, cold);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_tries_again_by_itself_does_no_harm() {
    use kube::client::retry::RetryPolicy;
    use tower::ServiceBuilder;
    use tower::retry::RetryLayer;

    let server = FakeApiServer::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .service(server.service());
    let client = kube::Client::new(service, NAMESPACE);
    let store = kv_configmap::Buckets::config_maps(client, NAMESPACE)
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap();
    increment(&store).await.unwrap();
    for expected in 2..6 {
        server.inject(Fault::gateway_timeout().applied().on(Verb::Update).times(1));
        increment(&store).await.unwrap();
        assert_eq!(count(&store).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn many_writers_under_chaos_lose_nothing_and_double_nothing() {
    for seed in 0..20 {
        let server = FakeApiServer::with_seed(seed);
        let stores = [
            open(&server).await,
            open(&server).await,
            open(&server).await,
        ];
        increment(&stores[0]).await.unwrap();
        server.chaos(seed, 0.2);
        let mut certain = 1;
        let mut doubtful = 0;
        let workers = stores.map(|store| {
            tokio::spawn(async move {
                let (mut certain, mut doubtful) = (0, 0);
                for _ in 0..15 {
                    match increment(&store).await {
                        Ok(_) => certain += 1,
                        Err(error) if error.outcome() == Outcome::Unknown => doubtful += 1,
                        Err(_) => {}
                    }
                }
                (certain, doubtful)
            })
        });
        for worker in workers {
            let (yes, perhaps) = worker.await.unwrap();
            certain += yes;
            doubtful += perhaps;
        }
        server.calm();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let count = count(&open(&server).await).await;
        assert!(
            (certain..=certain + doubtful).contains(&count),
            "seed {seed}: {certain} acknowledged, {doubtful} in doubt, {count} counted"
        );
    }
}
