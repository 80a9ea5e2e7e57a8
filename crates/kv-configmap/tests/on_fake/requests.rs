//! What is asked of the API server, and above all what is not.

use std::time::Duration;

use futures::future::join_all;
use kv_core::prelude::*;
use kv_core::{GetOptions, OpenMode, Revision};
use kv_fake_apiserver::{FakeApiServer, Verb};

use crate::{BUCKET, buckets, noise, object, open, open_single, open_tiny, verbs, version};

#[tokio::test]
async fn an_uncontended_put_is_one_request() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    for number in 0..20 {
        server.reset_requests();
        store.put(format!("k{number}"), "value").await.unwrap();
        assert_eq!(verbs(&server), [Verb::Update]);
    }
}

#[tokio::test]
async fn a_put_asks_for_the_metadata_only() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    assert!(server.requests()[0].metadata_only);
    assert!(
        server.requests()[0]
            .query
            .contains("fieldValidation=Ignore")
    );
}

/// Time stands still: once a second a writer without a pause looks for others.
#[tokio::test(start_paused = true)]
async fn a_put_stays_one_request_while_the_bucket_grows_and_is_folded() {
    let server = FakeApiServer::new();
    let store = open_single(&server).await;
    for number in 0..300 {
        let value = noise(number, 500);
        server.reset_requests();
        store.put(format!("k{number}"), value).await.unwrap();
        assert_eq!(verbs(&server), [Verb::Update]);
    }
}

#[tokio::test]
async fn a_cached_read_is_no_request() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    server.reset_requests();
    let key = Key::new("k").unwrap();
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    assert!(store.get_opts(&key, cached).await.unwrap().is_some());
    let cached = ListOptions::default().with_consistency(Consistency::Cached);
    assert_eq!(store.list_opts(cached).await.unwrap().entries.len(), 1);
    assert_eq!(verbs(&server), []);
}

#[tokio::test]
async fn a_read_at_least_at_our_own_revision_is_no_request() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let revision = store.put("k", "value").await.unwrap();
    server.reset_requests();
    let options = GetOptions::default().with_consistency(Consistency::AtLeast(revision));
    assert!(
        store
            .get_opts(&Key::new("k").unwrap(), options)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(verbs(&server), []);
}

#[tokio::test]
async fn a_linearizable_read_is_one_request_also_of_a_large_bucket() {
    let server = FakeApiServer::new();
    let store = open_single(&server).await;
    store.put("small", "value").await.unwrap();
    server.reset_requests();
    store.get("small").await.unwrap();
    assert_eq!(verbs(&server), [Verb::Get]);

    store.put("large", noise(1, 200_000)).await.unwrap();
    server.reset_requests();
    store.get("small").await.unwrap();
    store.list("").await.unwrap();
    assert_eq!(verbs(&server), [Verb::Get, Verb::Get]);
    let only_metadata = server
        .requests()
        .iter()
        .all(|request| request.metadata_only);
    assert!(only_metadata, "what is known already is not fetched again");
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_share_a_request() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    server.set_latency(Duration::from_millis(5));
    server.reset_requests();
    let reads = join_all((0..100).map(|_| store.get("k"))).await;
    assert!(reads.into_iter().all(|read| read.unwrap().is_some()));
    assert!(
        verbs(&server).len() <= 2,
        "{} requests",
        verbs(&server).len()
    );
}

#[tokio::test(start_paused = true)]
async fn puts_that_wait_share_a_write_and_get_revisions_of_their_own() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.set_latency(Duration::from_millis(5));
    let puts = join_all((0..64).map(|number| store.put(format!("k{number}"), "value"))).await;
    let mut revisions: Vec<Revision> = puts.into_iter().map(|put| put.unwrap()).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 64);
    assert!(
        verbs(&server).len() <= 3,
        "{} requests",
        verbs(&server).len()
    );
}

/// Callers that need a moment before they come again would split into some that wait while the others
/// write, and stay so.
#[tokio::test(start_paused = true)]
async fn who_is_answered_shares_the_next_write_though_not_all_come_at_once() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    server.set_latency(Duration::from_millis(5));
    let puts = |caller: usize| {
        let store = store.clone();
        async move {
            for number in 0..20 {
                let key = format!("{caller}");
                store.put(key, format!("{number}")).await.unwrap();
                for _ in 0..caller {
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    join_all((0..32).map(|caller| tokio::spawn(puts(caller)))).await;
    assert_eq!(updates(&server), 20);
}

#[tokio::test(start_paused = true)]
async fn a_flush_rides_on_a_put() {
    let server = FakeApiServer::new();
    let store = open_tiny(&server).await;
    server.set_latency(Duration::from_millis(5));
    server.reset_requests();
    for number in 0..100 {
        store
            .put(format!("k{number}"), noise(number, 50))
            .await
            .unwrap();
    }
    assert_eq!(updates(&server), 100, "{:?}", verbs(&server));
    assert!(verbs(&server).contains(&Verb::Create), "there was a flush");
}

fn updates(server: &FakeApiServer) -> usize {
    let verbs = verbs(server);
    verbs.iter().filter(|verb| **verb == Verb::Update).count()
}

#[tokio::test]
async fn an_unchanged_put_makes_no_new_version() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    let before = version(&server);
    server.reset_requests();
    store.put("k", "value").await.unwrap();
    assert_eq!(version(&server), before);
    assert_eq!(
        verbs(&server),
        [Verb::Get],
        "the verdict is confirmed by one read"
    );
}

#[tokio::test]
async fn a_delete_of_a_missing_key_makes_no_new_version() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    let before = version(&server);
    server.reset_requests();
    assert!(!store.delete("missing").await.unwrap());
    assert_eq!(version(&server), before);
    assert_eq!(verbs(&server), [Verb::Get]);
}

#[tokio::test]
async fn a_modify_is_one_request() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("votes", "1").await.unwrap();
    server.reset_requests();
    store.modify("votes", |_| Some("2")).await.unwrap();
    assert_eq!(verbs(&server), [Verb::Update]);
}

#[tokio::test]
async fn to_open_a_bucket_is_one_request_and_to_make_it_two() {
    let server = FakeApiServer::new();
    let first = buckets(&server)
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap();
    assert_eq!(verbs(&server), [Verb::Get, Verb::Create]);
    server.reset_requests();
    let second = buckets(&server).open(BUCKET, OpenMode::Open).await.unwrap();
    assert_eq!(verbs(&server), [Verb::Get]);
    drop((first, second));
}

#[tokio::test]
async fn what_is_refused_for_its_size_is_refused_before_any_request() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let large = vec![0; store.limits().value_bytes + 1];
    assert!(matches!(
        store.put("k", large).await,
        Err(Error::TooLarge { .. })
    ));
    assert!(store.put("", "value").await.is_err());
    let names = ["", "A", "a_b", "-a"].map(str::to_owned);
    for name in names.iter().chain([&"a".repeat(201)]) {
        let opened = buckets(&server).open(name, OpenMode::OpenOrCreate).await;
        assert!(matches!(opened, Err(Error::InvalidName { .. })), "{name}");
    }
    assert_eq!(verbs(&server), []);
}

#[tokio::test]
async fn a_full_bucket_is_told_without_a_write() {
    let server = FakeApiServer::new();
    let store = open_single(&server).await;
    let usable = 1024 * 1024 * 95 / 100;
    store.put("most", noise(1, usable)).await.unwrap();
    let before = version(&server);
    server.reset_requests();
    let full = store.put("more", noise(2, 100_000)).await.unwrap_err();
    let Error::BucketFull {
        needed, available, ..
    } = full
    else {
        panic!("{full:?}")
    };
    assert!(
        (90_000..110_000).contains(&needed) && available < 60_000,
        "{needed} {available}"
    );
    assert_eq!(version(&server), before);
    assert_eq!(verbs(&server), [Verb::Get]);
    store.delete("most").await.unwrap();
    store.put("more", noise(2, 100_000)).await.unwrap();
}

#[tokio::test]
async fn a_person_sees_what_is_in_a_bucket() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let revision = store.put("k", "value").await.unwrap();
    let object = object(&server);
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(annotations["kv-configmap/entries"], "1");
    assert_eq!(annotations["kv-configmap/revision"], revision.to_string());
    assert_eq!(
        annotations["argocd.argoproj.io/ignore-resource-updates"],
        "true"
    );
    assert_eq!(
        object["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "kv-configmap"
    );
    assert_eq!(object["metadata"]["labels"]["kv-configmap/bucket"], BUCKET);
    assert_eq!(object["metadata"]["managedFields"], serde_json::Value::Null);
}
