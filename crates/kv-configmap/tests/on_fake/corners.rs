//! Corners of the protocol: answers that are hidden, late, or not the API server's own, and buckets
//! that come and go meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::prelude::*;
use kv_core::{GetOptions, OpenMode, Outcome};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::Service as _;

use crate::{BUCKET, LATE, NAMESPACE, buckets, late_read, noise, open, open_single, under_way};

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

async fn cached(store: &ConfigMapStore, name: &str) -> Option<String> {
    let options = GetOptions::default().with_consistency(Consistency::Cached);
    let entry = store
        .get_opts(&key(name), options)
        .await
        .expect("an answer");
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).expect("text"))
}

async fn increment(store: &ConfigMapStore) -> Result<Revision, Error> {
    store
        .modify("count", |old| {
            let count: u64 = old.map_or(0, |entry| {
                String::from_utf8_lossy(&entry.value)
                    .parse()
                    .expect("a number")
            });
            Some((count + 1).to_string())
        })
        .await
}

async fn count(server: &FakeApiServer) -> String {
    let entry = open(server)
        .await
        .get("count")
        .await
        .expect("an answer")
        .expect("a count");
    String::from_utf8(entry.value.to_vec()).expect("text")
}

/// As kube's client is by default.
fn retrying(server: &FakeApiServer) -> Buckets {
    use kube::client::retry::RetryPolicy;
    use tower::retry::RetryLayer;
    let service = tower::ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .service(server.service());
    Buckets::config_maps(kube::Client::new(service, NAMESPACE), NAMESPACE)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hides_a_504_behind_a_refused_connection_does_not_double() {
    let server = FakeApiServer::new();
    let store = retrying(&server)
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap();
    increment(&store).await.unwrap();
    server.inject(Fault::gateway_timeout().applied().on(Verb::Update));
    server.inject(Fault::refuse_connection().on(Verb::Update));
    let done = increment(&store).await;
    let count = count(&server).await;
    assert_eq!(count, "2", "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hides_a_504_behind_a_403_is_not_told_as_not_applied() {
    let server = FakeApiServer::new();
    let store = retrying(&server)
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap();
    increment(&store).await.unwrap();
    server.inject(Fault::gateway_timeout().applied().on(Verb::Update));
    server.inject(Fault::forbidden().on(Verb::Update));
    let done = increment(&store).await;
    let applied = count(&server).await == "2";
    if let Err(error) = done {
        assert!(
            !applied || error.outcome() == Outcome::Unknown,
            "applied, and told: {error:?}"
        );
    }
}

/// The batch is broken up while it waits, and what is left of it is decided about again.
#[tokio::test(start_paused = true)]
async fn what_a_client_has_hidden_is_found_after_a_neighbour_gave_up() {
    let server = FakeApiServer::new();
    let store = retrying(&server)
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap();
    let first = store.put("k", "1").await.unwrap();
    server.inject(Fault::gateway_timeout().applied().on(Verb::Update));
    server.inject(Fault::refuse_connection().on(Verb::Update).times(60));
    let (one, other) = (store.clone(), store.clone());
    let stays = tokio::spawn(async move { one.update("k", "2", first).await });
    let leaves = tokio::spawn(async move { other.put("other", "1").await });
    sleep(Duration::from_secs(5)).await;
    assert!(!server.faults_are_spent(), "both still wait");
    leaves.abort();
    let updated = stays.await.unwrap();
    assert!(updated.is_ok(), "it was applied, and told: {updated:?}");
}

#[tokio::test(start_paused = true)]
async fn a_teardown_whose_answer_is_lost_does_not_delete_a_bucket_made_anew() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "old").await.unwrap();
    let teardown = |store: ConfigMapStore| async move { store.teardown().await };
    let fault = Fault::answer_never();
    let torn = under_way(&server, &store, Verb::Delete, fault, teardown).await;
    let other = open(&server).await;
    assert!(
        other.get("k").await.unwrap().is_none(),
        "the teardown has happened"
    );
    other.put("k", "anew").await.unwrap();
    torn.await.unwrap().unwrap();
    let found = open(&server).await.get("k").await.unwrap();
    assert_eq!(found.unwrap().value, "anew");
}

#[tokio::test(start_paused = true)]
async fn open_create_whose_answer_is_lost_knows_its_own_bucket() {
    let server = FakeApiServer::new();
    server.inject(Fault::reset_after_apply().on(Verb::Create));
    let opened = buckets(&server).open(BUCKET, OpenMode::Create).await;
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_read_does_not_bring_a_torn_down_bucket_back_into_the_cache() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    let revision = open(&server).await.put("k", "newer").await.unwrap();
    let reader = late_read(&server, &store).await;
    store.teardown().await.unwrap();
    assert_eq!(cached(&store, "k").await, None);
    reader.await.unwrap().unwrap();
    let at_least = GetOptions::default().with_consistency(Consistency::AtLeast(revision));
    let at_least = store.get_opts(&key("k"), at_least).await.unwrap();
    assert_eq!(cached(&store, "k").await, None, "the cache went backwards");
    assert!(at_least.is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_teardown_beside_a_put_cached_reads_find_nothing() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    server.set_latency(Duration::from_millis(10));
    let (torn, put) = tokio::join!(store.teardown(), store.put("l", "value"));
    torn.unwrap();
    put.unwrap();
    assert!(server.get(Kind::ConfigMap, NAMESPACE, BUCKET).is_none());
    assert_eq!(cached(&store, "k").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_put_is_not_lost_where_a_finalizer_delays_the_deletion() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "old").await.unwrap();
    let finalizers = |value: serde_json::Value| {
        let set = |object: &mut serde_json::Value| object["metadata"]["finalizers"] = value;
        server
            .edit(Kind::ConfigMap, NAMESPACE, BUCKET, set)
            .unwrap();
    };
    finalizers(json!(["example.com/hook"]));
    let torn = store.teardown().await;
    let seen = store.get("k").await.map(|entry| entry.is_some());
    let put = store.put("l", "acknowledged").await;
    finalizers(json!([]));
    let found = open(&server).await.get("l").await.unwrap();
    assert!(
        torn.is_err() || !matches!(seen, Ok(true)),
        "torn down, and still there"
    );
    assert!(
        put.is_err() || found.is_some(),
        "acknowledged and lost: {put:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_put_into_a_bucket_that_somebody_deletes_with_a_finalizer() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "old").await.unwrap();
    let finalizers = |value: serde_json::Value| {
        let set = |object: &mut serde_json::Value| object["metadata"]["finalizers"] = value;
        server
            .edit(Kind::ConfigMap, NAMESPACE, BUCKET, set)
            .unwrap();
    };
    finalizers(json!(["foregroundDeletion"]));
    server.delete(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
    let put = store.put("l", "acknowledged").await;
    finalizers(json!([]));
    let found = open(&server).await.get("l").await.unwrap();
    assert!(
        put.is_err() || found.is_some(),
        "acknowledged and lost: {put:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_long_retry_after_does_not_stop_a_bucket_for_as_long() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    for verb in [Verb::Update, Verb::Get] {
        server.inject(Fault::too_many_requests(3_600).on(verb));
        let call = async |n: u32| match verb {
            Verb::Update => store.put("k", n.to_string()).await.map(|_| ()),
            _ => store.get("k").await.map(|_| ()),
        };
        let started = Instant::now();
        let next = call(1).await;
        assert!(
            next.is_ok(),
            "{verb}: {next:?} after {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_deadline_is_no_panic() {
    let server = FakeApiServer::new();
    let opened = buckets(&server)
        .with_deadline(Duration::MAX)
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await;
    opened.unwrap().put("k", "v").await.unwrap();
}

/// The fake server behind a proxy that answers in its place while `on`.
fn behind_proxy(
    server: &FakeApiServer,
    code: u16,
    header: Option<(&'static str, &'static str)>,
    body: &'static str,
    on: Arc<AtomicBool>,
) -> Buckets {
    let inner = server.service();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let mut inner = inner.clone();
        let on = on.clone();
        async move {
            if !on.load(Ordering::SeqCst) {
                use http_body_util::BodyExt as _;
                let (parts, body) = inner.call(request).await?.into_parts();
                let body = kube::client::Body::from(body.collect().await?.to_bytes());
                return Ok::<_, kv_fake_apiserver::BoxError>(http::Response::from_parts(
                    parts, body,
                ));
            }
            let mut answer = http::Response::builder().status(code);
            if let Some((name, value)) = header {
                answer = answer.header(name, value);
            }
            Ok(answer.body(kube::client::Body::from(body.as_bytes().to_vec()))?)
        }
    });
    Buckets::config_maps(kube::Client::new(service, NAMESPACE), NAMESPACE)
}

#[tokio::test(start_paused = true)]
async fn an_endless_retry_after_is_no_panic() {
    let server = FakeApiServer::new();
    let on = Arc::new(AtomicBool::new(true));
    let longest = Some(("retry-after", "18446744073709551615"));
    let buckets = behind_proxy(&server, 429, longest, "", on);
    let opened = tokio::spawn(async move { buckets.open(BUCKET, OpenMode::Create).await }).await;
    assert!(opened.expect("no panic").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_404_that_is_not_the_api_servers_is_not_an_empty_bucket() {
    let server = FakeApiServer::new();
    let on = Arc::new(AtomicBool::new(false));
    let buckets = behind_proxy(&server, 404, None, "404 page not found\n", on.clone());
    let store = buckets.open(BUCKET, OpenMode::OpenOrCreate).await.unwrap();
    store.put("k", "value").await.unwrap();
    on.store(true, Ordering::SeqCst);
    let read = store.get("k").await;
    let torn = store.teardown().await;
    assert!(
        !matches!(read, Ok(None)),
        "a key that is there is told as missing"
    );
    assert!(torn.is_err(), "nothing was deleted");
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_was_idle_while_many_others_wrote_can_put() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    for number in 0..129 {
        open(&server)
            .await
            .put("others", number.to_string())
            .await
            .unwrap();
    }
    let put = store.put("k", "next").await;
    assert!(put.is_ok(), "{put:?}");
}

#[tokio::test(start_paused = true)]
async fn at_least_of_a_revision_of_a_bucket_that_was_torn_down_is_answered() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let revision = store.put("k", "value").await.unwrap();
    store.teardown().await.unwrap();
    let anew = buckets(&server)
        .open(BUCKET, OpenMode::Create)
        .await
        .unwrap();
    let options = GetOptions::default().with_consistency(Consistency::AtLeast(revision));
    let read = anew.get_opts(&key("k"), options).await;
    assert!(matches!(read, Ok(None)), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_teardown_whose_outcome_is_open_says_so() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    server.inject(Fault::answer_never().on(Verb::Delete));
    server.inject(Fault::hang().on(Verb::Delete).always());
    let error = store.teardown().await.unwrap_err();
    assert!(
        server.get(Kind::ConfigMap, NAMESPACE, BUCKET).is_none(),
        "it was applied"
    );
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn already_exists_is_not_said_of_a_state_that_a_late_read_brought_back() {
    for _ in 0..40 {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("other", "value").await.unwrap();
        let other = open(&server).await;
        other.put("k", "value").await.unwrap();
        let begun = Instant::now();
        let reader = late_read(&server, &store).await;
        other.teardown().await.unwrap();
        sleep_until(begun + LATE - Duration::from_millis(1)).await;
        // From here on there is no bucket, so that the key is absent.
        let created = store.create("k", "anew").await;
        assert!(created.is_ok(), "{created:?}");
        reader.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_refused_makes_no_bucket() {
    let server = FakeApiServer::new();
    let store = open_single(&server).await;
    store.teardown().await.unwrap();
    let transaction = (0..3u64).fold(Transaction::new(), |transaction, n| {
        transaction.put(key(&n.to_string()), noise(n, 500_000))
    });
    let full = store.commit(transaction).await;
    assert!(matches!(full, Err(Error::BucketFull { .. })), "{full:?}");
    assert!(
        server.get(Kind::ConfigMap, NAMESPACE, BUCKET).is_none(),
        "nothing is written"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_that_give_up_do_not_hold_up_others() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "v").await.unwrap();
    server.set_latency(Duration::from_millis(5));
    for n in 0..200u64 {
        let put = store.put("k", n.to_string());
        let _ = timeout(Duration::from_millis(n % 7), put).await;
    }
    let started = Instant::now();
    store.put("k", "last").await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(cached(&store, "k").await.as_deref(), Some("last"));
}
