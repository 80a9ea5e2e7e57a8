//! The API server is away for a while: what is known can still be read, and when it is back, the
//! next write succeeds at once.

use std::time::Duration;

use futures::StreamExt;
use kv_configmap::ConfigMapStore;
use kv_core::prelude::*;
use kv_core::{GetOptions, WatchEvent, WatchOptions, WatchStream};
use kv_fake_apiserver::{FakeApiServer, Fault, Verb};
use tokio::time::{Instant, sleep, timeout};

use crate::open;

const OUTAGE: Duration = Duration::from_secs(120);

/// In what ways a server can be away, each for every request. With the last ones nobody is told.
fn outages() -> Vec<(&'static str, Fault)> {
    vec![
        ("refused", Fault::refuse_connection()),
        ("reset", Fault::reset_before_apply()),
        ("500", Fault::etcd_timeout()),
        ("502", Fault::bad_gateway()),
        ("503 of a proxy", Fault::unavailable_text()),
        ("503 shutting down", Fault::shutting_down()),
        ("504", Fault::gateway_timeout()),
        ("429", Fault::too_many_requests(1)),
        ("silent", Fault::hang()),
    ]
}

async fn cached(store: &ConfigMapStore) -> String {
    let options = GetOptions::default().with_consistency(Consistency::Cached);
    let key = Key::new("k").expect("a key");
    let read = timeout(Duration::ZERO, store.get_opts(&key, options)).await;
    let entry = read
        .expect("at once")
        .expect("an answer")
        .expect("an entry");
    String::from_utf8(entry.value.to_vec()).expect("text")
}

async fn put_is_soon_done(store: &ConfigMapStore, value: &str, outage: &str) -> Revision {
    let back = Instant::now();
    let put = store.put("k", value.to_owned()).await;
    let took = back.elapsed();
    assert!(took < Duration::from_secs(1), "{outage}: {took:?}");
    put.unwrap_or_else(|error| panic!("{outage}: {error}"))
}

async fn next(events: &mut WatchStream) -> WatchEvent {
    let event = timeout(Duration::from_secs(600), events.next()).await;
    event
        .expect("in time")
        .expect("it goes on")
        .expect("no error")
}

#[tokio::test(start_paused = true)]
async fn cached_reads_go_on_during_an_outage_and_the_first_write_after_it_succeeds_at_once() {
    for (outage, fault) in outages() {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("k", "before").await.unwrap();
        assert_eq!(cached(&store).await, "before");
        server.inject(fault.always());
        server.cut_watches();
        let begun = Instant::now();
        let error = store.put("k", "during").await.unwrap_err();
        let is_told = match outage == "silent" {
            true => matches!(error, Error::Indeterminate { .. }),
            false => error.is_retryable() || matches!(error, Error::Indeterminate { .. }),
        };
        assert!(is_told, "{outage}: {error:?}");
        store.get("k").await.unwrap_err();
        while begun.elapsed() < OUTAGE {
            assert_eq!(cached(&store).await, "before", "{outage}");
            sleep(Duration::from_millis(700)).await;
        }
        server.calm();
        put_is_soon_done(&store, "after", outage).await;
        assert_eq!(cached(&store).await, "after", "{outage}");
    }
}

/// Who has waited since before the end need not wait longer; but for a request that is never
/// answered, which takes 10 s to be given up.
#[tokio::test(start_paused = true)]
async fn a_write_that_waits_for_the_end_of_an_outage_is_done_within_a_second_of_it() {
    for (outage, fault) in outages().into_iter().filter(|(name, _)| *name != "silent") {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("k", "before").await.unwrap();
        server.inject(fault.always());
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.put("waits", "1").await }
        });
        sleep(Duration::from_secs(20)).await;
        assert!(!waiting.is_finished(), "{outage}");
        server.calm();
        let back = Instant::now();
        put_is_soon_done(&store, "after", outage).await;
        waiting.await.unwrap().unwrap();
        let took = back.elapsed();
        assert!(took <= Duration::from_secs(1), "{outage}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_after_an_outage_with_what_others_have_written() {
    for (outage, fault) in outages() {
        let server = FakeApiServer::new();
        let (store, other) = (open(&server).await, open(&server).await);
        store.put("k", "before").await.unwrap();
        let mut events = store.watch(WatchOptions::default()).await.unwrap();
        assert!(matches!(
            next(&mut events).await,
            WatchEvent::Snapshot { .. }
        ));
        server.inject(fault.always());
        server.cut_watches();
        sleep(OUTAGE).await;
        server.calm();
        let revision = put_is_soon_done(&other, "after", outage).await;
        match next(&mut events).await {
            WatchEvent::Changes { revision: told, .. } => assert_eq!(told, revision, "{outage}"),
            event => panic!("{outage}: {event:?}"),
        }
        assert_eq!(cached(&store).await, "after", "{outage}");
    }
}

/// As a proxy does that allows no streams.
#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_is_not_begun_again_at_once() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.inject(Fault::watch_closed(0).on(Verb::Watch).always());
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    store
        .get_opts(&Key::new("k").unwrap(), cached)
        .await
        .unwrap();
    sleep(Duration::from_secs(60)).await;
    let requests = server.requests();
    let watches = requests
        .iter()
        .filter(|one| one.verb == Verb::Watch)
        .count();
    // The waits are drawn at random below 250 ms.
    assert!((60..1_200).contains(&watches), "{watches}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_whose_connection_breaks_goes_on_where_it_was() {
    let server = FakeApiServer::new();
    let (store, other) = (open(&server).await, open(&server).await);
    let mut events = store.watch(WatchOptions::default()).await.unwrap();
    next(&mut events).await;
    sleep(Duration::from_secs(5)).await;
    server.reset_requests();
    server.cut_watches();
    let revision = other.put("k", "value").await.unwrap();
    let told = next(&mut events).await;
    assert!(
        matches!(&told, WatchEvent::Changes { revision: told, .. } if *told == revision),
        "{told:?}"
    );
    let requests = server.requests().into_iter().map(|request| request.verb);
    let reads: Vec<_> = requests.filter(|verb| *verb != Verb::Update).collect();
    assert_eq!(reads, [Verb::Watch]);
}
