//! Opening, isolating and tearing down buckets.

use kv_core::{Error, KvStore, KvStoreExt, OpenMode};

use crate::Place;
use crate::support::{
    conflict, entry_of, everything, open, open_other, put, revision_of, together, value_of,
};

fn assert_not_found<T>(opened: kv_core::Result<T>) {
    match opened.map(|_| ()) {
        Err(Error::NotFound { .. }) => {}
        other => panic!("a bucket that is not there must be not found, got {other:?}"),
    }
}

fn assert_exists<T>(opened: kv_core::Result<T>) {
    match opened.map(|_| ()) {
        Err(Error::BucketExists { .. }) => {}
        other => panic!("a bucket that is there cannot be created, got {other:?}"),
    }
}

/// To open a bucket that was never made is `NotFound`, and makes none.
pub async fn open_of_a_missing_bucket_is_not_found(h: &dyn Place) {
    assert_not_found(h.open(OpenMode::Open).await);
    assert_not_found(h.open(OpenMode::Open).await);
}

/// A bucket that was created can be opened, before anything is put.
pub async fn a_created_bucket_can_be_opened(h: &dyn Place) {
    h.open(OpenMode::Create)
        .await
        .expect("there is no such bucket yet");
    let store = h.open(OpenMode::Open).await.expect("it was created");
    assert!(everything(&store).await.entries.is_empty(), "it is empty");
}

/// A bucket that is there cannot be created again; nothing in it is touched.
pub async fn create_of_an_existing_bucket_is_refused(h: &dyn Place) {
    let store = h
        .open(OpenMode::Create)
        .await
        .expect("there is no such bucket yet");
    assert_exists(h.open(OpenMode::Create).await);
    put(&store, "k", "v").await;
    assert_exists(h.open(OpenMode::Create).await);
    assert_eq!(
        value_of(&store, "k").await.unwrap(),
        "v",
        "what is there stays"
    );
}

/// `OpenOrCreate` makes a bucket the first time and opens it the second.
pub async fn open_or_create_does_what_is_needed(h: &dyn Place) {
    let first = open(h).await;
    h.open(OpenMode::Open).await.expect("it was created");
    put(&first, "k", "v").await;
    let second = open(h).await;
    assert_eq!(
        value_of(&second, "k").await.unwrap(),
        "v",
        "it was opened and not made anew"
    );
}

/// Of many that open or create at the same time, all succeed and get the same bucket.
pub async fn all_who_open_or_create_at_once_get_one_bucket(h: &dyn Place) {
    let opening = (0..8).map(|_| h.open(OpenMode::OpenOrCreate));
    let handles = futures::future::join_all(opening).await;
    for (i, handle) in handles.iter().enumerate() {
        let store = handle
            .as_ref()
            .expect("both of two who open or create succeed");
        put(store, &format!("by-{i}"), "v").await;
    }
    let store = open(h).await;
    assert_eq!(
        everything(&store).await.entries.len(),
        8,
        "there is one bucket"
    );
}

/// Of two that create at the same time, exactly one succeeds.
pub async fn one_of_those_who_create_at_once_succeeds(h: &dyn Place) {
    let creating = (0..4).map(|_| h.open(OpenMode::Create));
    let (made, refused): (Vec<_>, Vec<_>) = futures::future::join_all(creating)
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!(made.len(), 1, "a bucket is created once");
    refused.into_iter().for_each(assert_exists);
}

/// The same key in two buckets is two entries.
pub async fn two_buckets_are_isolated(h: &dyn Place) {
    let (one, other) = (open(h).await, open_other(h).await);
    put(&one, "k", "1").await;
    assert_eq!(
        entry_of(&other, "k").await,
        None,
        "a put is seen in its own bucket only"
    );
    put(&other, "k", "2").await;
    assert_eq!(value_of(&one, "k").await.unwrap(), "1");
    other.delete("k").await.unwrap();
    assert_eq!(
        value_of(&one, "k").await.unwrap(),
        "1",
        "and so is a delete"
    );
}

/// A teardown of one bucket leaves the other.
pub async fn a_teardown_leaves_the_other_bucket(h: &dyn Place) {
    let (one, other) = (open(h).await, open_other(h).await);
    put(&one, "k", "1").await;
    put(&other, "k", "2").await;
    one.teardown().await.unwrap();
    assert_eq!(
        value_of(&other, "k").await.unwrap(),
        "2",
        "the other bucket stays"
    );
    h.open_other(OpenMode::Open)
        .await
        .expect("and can be opened");
}

/// After a teardown every read finds the bucket empty.
pub async fn reads_after_a_teardown_find_nothing(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    store.teardown().await.unwrap();
    assert_eq!(entry_of(&store, "k").await, None, "a get finds nothing");
    assert!(
        everything(&store).await.entries.is_empty(),
        "a list finds nothing"
    );
    assert!(!store.delete("k").await.unwrap(), "a delete finds nothing");
}

/// A second teardown, and one of a bucket that was never written, are no errors.
pub async fn a_teardown_can_be_repeated(h: &dyn Place) {
    let store = open(h).await;
    store.teardown().await.expect("nothing was written yet");
    put(&store, "k", "v").await;
    store.teardown().await.unwrap();
    store
        .teardown()
        .await
        .expect("a bucket that is not there is no error");
    let other = open(h).await;
    other
        .teardown()
        .await
        .expect("nor is it for another handle");
}

/// After a teardown the bucket is gone: `open` finds none.
pub async fn a_bucket_that_was_torn_down_is_not_found(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    store.teardown().await.unwrap();
    assert_not_found(h.open(OpenMode::Open).await);
    everything(&store).await;
    assert_not_found(h.open(OpenMode::Open).await);
    h.open(OpenMode::Create)
        .await
        .expect("the name is free again");
}

/// The next put after a teardown makes the bucket anew, without anything of the old one.
pub async fn a_put_after_a_teardown_makes_the_bucket_anew(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "old", "v").await;
    store.teardown().await.unwrap();
    put(&store, "new", "v").await;
    let reopened = h
        .open(OpenMode::Open)
        .await
        .expect("the put made the bucket");
    for store in [store, reopened] {
        let all = everything(&store).await;
        assert_eq!(
            crate::support::names(&all.entries),
            ["new"],
            "nothing old comes back"
        );
    }
}

/// Revisions after a teardown are higher than all before.
pub async fn revisions_grow_across_a_teardown(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "1").await;
    let before = put(&store, "k", "2").await;
    store.teardown().await.unwrap();
    let after = put(&store, "k", "2").await;
    assert!(
        after > before,
        "{after} after the teardown must be above {before}"
    );
    assert!(revision_of(&store).await >= after);
}

/// A revision from before a teardown serves for nothing after it.
pub async fn a_revision_from_before_a_teardown_does_not_serve(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "k", "v").await;
    store.teardown().await.unwrap();
    conflict(store.update("k", "w", old).await, "k", None);
    let new = put(&store, "k", "v").await;
    conflict(store.update("k", "w", old).await, "k", Some(new));
}

/// Revisions grow also where a bucket is made anew by a handle that knows nothing of the old one.
pub async fn revisions_grow_across_a_teardown_and_a_new_handle(h: &dyn Place) {
    let store = open(h).await;
    let before = put(&store, "k", "1").await;
    store.teardown().await.unwrap();
    drop(store);
    let store = open(h).await;
    let after = put(&store, "k", "1").await;
    assert!(
        after > before,
        "{after} in the new bucket must be above {before} in the old"
    );
}

/// What one handle tears down, another finds gone.
pub async fn a_teardown_is_seen_by_another_handle(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    put(&one, "k", "v").await;
    assert!(entry_of(&other, "k").await.is_some());
    one.teardown().await.unwrap();
    assert_eq!(
        entry_of(&other, "k").await,
        None,
        "the other handle reads nothing old"
    );
    put(&other, "k", "w").await;
    assert_eq!(
        value_of(&one, "k").await.unwrap(),
        "w",
        "and its put is seen by the first"
    );
}

/// Teardowns at the same time all succeed.
pub async fn teardowns_at_once_all_succeed(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    crate::support::fill(&one, &["a", "b", "c"]).await;
    let handles = [one.clone(), other];
    let results = together(4, |i| {
        let store = handles[i % 2].clone();
        async move { store.teardown().await }
    });
    for result in results.await {
        result.expect("a teardown beside another is no error");
    }
    assert!(everything(&one).await.entries.is_empty());
}
