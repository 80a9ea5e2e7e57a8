//! Verdicts need a state as new as the call; and handles that share nothing see each other.

use kv_core::prelude::*;
use kv_core::{GetOptions, OpenMode};
use kv_fake_apiserver::{FakeApiServer, Kind, Verb};

use crate::{BUCKET, NAMESPACE, buckets, open, verbs};

#[tokio::test]
async fn already_exists_is_not_said_of_a_key_that_another_handle_has_deleted() {
    let server = FakeApiServer::new();
    let (one, two) = (open(&server).await, open(&server).await);
    one.put("k", "value").await.unwrap();
    two.get("k").await.unwrap();
    one.delete("k").await.unwrap();
    two.create("k", "again").await.unwrap();
    assert_eq!(one.get("k").await.unwrap().unwrap().value, "again");
}

#[tokio::test]
async fn nothing_to_do_is_not_said_of_a_value_that_another_handle_has_changed() {
    let server = FakeApiServer::new();
    let (one, two) = (open(&server).await, open(&server).await);
    two.put("k", "value").await.unwrap();
    one.put("k", "changed").await.unwrap();
    two.put("k", "value").await.unwrap();
    assert_eq!(one.get("k").await.unwrap().unwrap().value, "value");
    one.put("gone", "value").await.unwrap();
    assert!(two.delete("gone").await.unwrap());
}

#[tokio::test]
async fn a_conflict_is_not_said_on_a_stale_state() {
    let server = FakeApiServer::new();
    let (one, two) = (open(&server).await, open(&server).await);
    two.get("k").await.unwrap();
    let revision = one.put("k", "value").await.unwrap();
    two.update("k", "updated", revision).await.unwrap();
    let stale = one.update("k", "lost", revision).await.unwrap_err();
    assert!(stale.is_conflict(), "{stale:?}");
    assert_eq!(one.get("k").await.unwrap().unwrap().value, "updated");
}

#[tokio::test]
async fn a_handle_catches_up_after_a_conflict_and_loses_nothing() {
    let server = FakeApiServer::new();
    let (one, two) = (open(&server).await, open(&server).await);
    for number in 0..50 {
        one.put(format!("one {number}"), "value").await.unwrap();
        two.put(format!("two {number}"), "value").await.unwrap();
    }
    let entries = open(&server).await.list("").await.unwrap();
    assert_eq!(entries.len(), 100);
}

#[tokio::test]
async fn handles_of_one_buckets_share_what_they_know() {
    let server = FakeApiServer::new();
    let buckets = buckets(&server);
    let one = buckets.open(BUCKET, OpenMode::OpenOrCreate).await.unwrap();
    let two = buckets.clone().open(BUCKET, OpenMode::Open).await.unwrap();
    one.put("k", "value").await.unwrap();
    server.reset_requests();
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    assert!(
        two.get_opts(&Key::new("k").unwrap(), cached)
            .await
            .unwrap()
            .is_some()
    );
    two.put("l", "value").await.unwrap();
    one.put("m", "value").await.unwrap();
    assert_eq!(
        verbs(&server),
        [Verb::Update, Verb::Update],
        "no conflicts between them"
    );
}

#[tokio::test]
async fn an_edit_of_the_labels_by_others_is_no_lost_update() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    for number in 0..5 {
        server
            .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
                object["metadata"]["labels"]["edit"] = number.to_string().into();
            })
            .unwrap();
        let revision = store.put("k", number.to_string()).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().revision, revision);
    }
}

#[tokio::test]
async fn revisions_grow_when_a_bucket_is_deleted_behind_our_back_and_made_again() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let mut last = store.put("k", "value").await.unwrap();
    for _ in 0..5 {
        server.delete(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
        let next = open(&server).await.put("k", "value").await.unwrap();
        assert!(next > last);
        let next_here = store.put("k", "here").await.unwrap();
        assert!(next_here > next);
        last = next_here;
    }
}

#[tokio::test]
async fn cached_reads_know_what_their_handle_was_told() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let cached = GetOptions::default().with_consistency(Consistency::Cached);
    for number in 0..20 {
        let revision = store.put("k", number.to_string()).await.unwrap();
        let entry = store
            .get_opts(&Key::new("k").unwrap(), cached.clone())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(entry.revision, revision);
    }
    store.teardown().await.unwrap();
    let entry = store
        .get_opts(&Key::new("k").unwrap(), cached)
        .await
        .unwrap();
    assert!(entry.is_none());
}
