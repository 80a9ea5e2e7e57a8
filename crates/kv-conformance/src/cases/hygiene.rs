//! What is left in the service after a teardown: nothing.

use kv_core::{KvStore, KvStoreExt};

use crate::Place;
use crate::support::{everything, fill, noise, numbered, open, open_other, put, reopen};

async fn assert_nothing_left(h: &dyn Place) {
    let left = h.leftovers().await;
    assert!(
        left.is_empty(),
        "a teardown removes everything of ours, left: {left:?}"
    );
}

/// A teardown of a bucket that was never written leaves nothing.
pub async fn nothing_is_left_of_an_empty_bucket(h: &dyn Place) {
    let store = open(h).await;
    store.teardown().await.unwrap();
    assert_nothing_left(h).await;
}

/// A teardown leaves nothing of many entries.
pub async fn nothing_is_left_of_many_entries(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, &numbered("k", 1_100)).await;
    store.teardown().await.unwrap();
    assert_nothing_left(h).await;
}

/// A teardown leaves nothing of large values, nor of those that they replaced.
pub async fn nothing_is_left_of_large_values(h: &dyn Place) {
    let store = open(h).await;
    let size = store.limits().value_bytes.min(200_000);
    for round in 0..3 {
        put(&store, "a", noise(round, size)).await;
        put(&store, "b", noise(100 + round, size / 2)).await;
    }
    store.delete("a").await.unwrap();
    store.teardown().await.unwrap();
    assert_nothing_left(h).await;
}

/// A handle that wrote nothing of it can tear a bucket down.
pub async fn nothing_is_left_after_another_handle_tears_down(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, &numbered("k", 20)).await;
    put(
        &store,
        "large",
        noise(1, store.limits().value_bytes.min(200_000)),
    )
    .await;
    let other = reopen(h, store).await;
    other.teardown().await.unwrap();
    assert_nothing_left(h).await;
}

/// A bucket that was torn down, made anew and torn down again leaves nothing.
pub async fn nothing_is_left_of_a_bucket_made_anew(h: &dyn Place) {
    let store = open(h).await;
    for round in 0..3 {
        fill(&store, &numbered(&format!("round {round}/"), 10)).await;
        store.teardown().await.unwrap();
    }
    assert_nothing_left(h).await;
}

/// Reads after a teardown make nothing.
pub async fn reads_after_a_teardown_make_nothing(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    store.teardown().await.unwrap();
    store.get("k").await.unwrap();
    everything(&store).await;
    assert!(!store.delete("k").await.unwrap());
    assert_nothing_left(h).await;
}

/// Each of two buckets leaves nothing, and only a teardown of both leaves nothing at all.
pub async fn nothing_is_left_of_two_buckets(h: &dyn Place) {
    let (one, other) = (open(h).await, open_other(h).await);
    fill(&one, &numbered("k", 10)).await;
    fill(&other, &numbered("k", 10)).await;
    one.teardown().await.unwrap();
    assert!(
        !h.leftovers().await.is_empty(),
        "the other bucket is still there"
    );
    other.teardown().await.unwrap();
    assert_nothing_left(h).await;
}
