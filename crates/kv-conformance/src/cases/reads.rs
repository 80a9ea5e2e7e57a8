//! How new an answer is: linearizable, at least, cached.

use std::time::Duration;

use kv_core::{Consistency, Entry, Error, GetOptions, KvStore, KvStoreExt, ListOptions, Revision};

use crate::Place;
use crate::support::{entry_of, everything, key, listing, names, open, put, value_of};

async fn get(store: &dyn KvStore, name: &str, consistency: Consistency) -> Option<Entry> {
    let options = GetOptions { consistency };
    store
        .get_opts(&key(name), options)
        .await
        .expect("a read succeeds")
}

/// A read that begins after a commit was acknowledged, to anybody, sees it.
pub async fn a_commit_is_seen_by_every_handle(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    for round in 0..5 {
        let value = format!("{round}");
        put(&one, "k", value.clone()).await;
        assert_eq!(value_of(&other, "k").await.unwrap(), value, "a get sees it");
        let all = everything(&other).await;
        assert_eq!(all.entries[0].value, value, "and so does a list");
    }
}

/// A handle that has seen a key sees that another handle deleted it.
pub async fn a_delete_is_seen_by_every_handle(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    put(&one, "k", "v").await;
    assert!(entry_of(&other, "k").await.is_some());
    one.delete("k").await.unwrap();
    assert_eq!(entry_of(&other, "k").await, None, "a get finds it gone");
    assert!(
        everything(&other).await.entries.is_empty(),
        "and so does a list"
    );
}

/// A read at least at a revision sees that commit, through any handle.
pub async fn at_least_sees_the_revision(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    for value in ["1", "2", "3"] {
        let revision = put(&one, "k", value).await;
        let wanted = Consistency::AtLeast(revision);
        assert_eq!(get(&other, "k", wanted).await.unwrap().value, value);
        let options = ListOptions::default().with_consistency(wanted);
        let all = listing(&other, options).await;
        assert_eq!(all.entries[0].value, value);
        assert!(
            all.revision >= revision,
            "the listing is as new as was asked for"
        );
    }
}

/// A read at least at an old revision succeeds.
pub async fn at_least_an_old_revision_is_reached(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "k", "1").await;
    let new = put(&store, "k", "2").await;
    for revision in [Revision::ZERO, old, new] {
        let entry = get(&store, "k", Consistency::AtLeast(revision))
            .await
            .unwrap();
        assert!(entry.revision >= revision);
    }
}

/// A read at least at a revision that never comes is `Unavailable`: it does not hang.
pub async fn at_least_a_revision_that_never_comes_is_unavailable(h: &dyn Place) {
    let store = open(h).await;
    let last = put(&store, "k", "v").await;
    let consistency = Consistency::AtLeast(Revision::new(last.get() + 1_000_000));
    let name = key("k");
    let read = store.get_opts(&name, GetOptions { consistency });
    let read = tokio::time::timeout(Duration::from_secs(120), read).await;
    let result = read.expect("the read must give up in time");
    assert!(
        matches!(result, Err(Error::Unavailable { .. })),
        "got {result:?}"
    );
    assert_eq!(
        value_of(&store, "k").await.unwrap(),
        "v",
        "the store stays usable"
    );
}

/// A read at least at a revision from before a teardown finds what is there now: first nothing,
/// then what is in the bucket that was made anew. One that was not given out is still `Unavailable`.
pub async fn at_least_a_revision_from_before_a_teardown_finds_what_is_there(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    put(&one, "k", "1").await;
    let old = Consistency::AtLeast(put(&one, "k", "2").await);
    one.teardown().await.unwrap();
    for store in [&one, &other] {
        assert_eq!(get(store, "k", old).await, None);
        let options = ListOptions::default().with_consistency(old);
        assert!(listing(store, options).await.entries.is_empty());
    }
    let anew = open(h).await;
    assert_eq!(get(&anew, "k", old).await, None, "nor in a new bucket");
    let new = put(&anew, "l", "3").await;
    for store in [&one, &other, &anew] {
        assert_eq!(get(store, "k", old).await, None);
        let entry = get(store, "l", Consistency::AtLeast(new)).await;
        assert_eq!(entry.unwrap().value, "3");
        let consistency = Consistency::AtLeast(Revision::new(new.get() + (1 << 40)));
        let result = store.get_opts(&key("l"), GetOptions { consistency }).await;
        let is_unavailable = matches!(result, Err(Error::Unavailable { .. }));
        assert!(is_unavailable, "got {result:?}");
    }
}

/// A cached read never misses what its own handle has written.
pub async fn a_cached_read_sees_the_writes_of_its_handle(h: &dyn Place) {
    let store = open(h).await;
    for value in ["1", "2", "3"] {
        put(&store, "k", value).await;
        assert_eq!(
            get(&store, "k", Consistency::Cached).await.unwrap().value,
            value
        );
        let options = ListOptions::default().with_consistency(Consistency::Cached);
        assert_eq!(listing(&store, options).await.entries[0].value, value);
    }
    store.delete("k").await.unwrap();
    assert_eq!(
        get(&store, "k", Consistency::Cached).await,
        None,
        "nor what it deleted"
    );
}

/// A cached read never goes back behind what its handle has shown.
pub async fn a_cached_read_never_goes_back(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    for value in ["1", "2", "3"] {
        let revision = put(&one, "k", value).await;
        assert_eq!(value_of(&other, "k").await.unwrap(), value);
        let cached = get(&other, "k", Consistency::Cached)
            .await
            .expect("it was shown");
        assert!(
            cached.revision >= revision,
            "the handle has shown revision {revision}"
        );
    }
}

/// A cached read of a handle that was just opened shows no key that was never there, and at most
/// what is.
pub async fn a_cached_read_shows_only_what_was_committed(h: &dyn Place) {
    let writer = open(h).await;
    let revision = put(&writer, "k", "v").await;
    let reader = open(h).await;
    assert_eq!(get(&reader, "missing", Consistency::Cached).await, None);
    if let Some(entry) = get(&reader, "k", Consistency::Cached).await {
        assert_eq!((entry.revision, &entry.value[..]), (revision, &b"v"[..]));
    }
}

/// What a get returns is what a list returns.
pub async fn get_and_list_agree(h: &dyn Place) {
    let store = open(h).await;
    crate::support::fill(&store, &["a", "b", "c"]).await;
    put(&store, "b", "changed").await;
    let all = everything(&store).await;
    assert_eq!(names(&all.entries), ["a", "b", "c"]);
    for entry in all.entries {
        assert_eq!(store.get(&entry.key).await.unwrap(), Some(entry));
    }
}
