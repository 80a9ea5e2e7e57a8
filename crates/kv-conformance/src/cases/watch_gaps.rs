//! What a watcher is told where the stream of commits breaks: it lagged, its start is too old, the
//! bucket was torn down; and of what expires between commits.

use std::time::Duration;

use kv_core::{
    KvStore, KvStoreExt, Revision, SnapshotReason, Transaction, WatchEvent, WatchStart, WatchStore,
};

use crate::Place;
use crate::feed::{Feed, put_of, snapshot, watchable, write};
use crate::support::{everything, key, names, open, put};
use crate::watching::{ordered, replay, unique};

/// Puts `count` values one by one, each in a commit of its own; returns the last revision.
async fn put_one_by_one(store: &dyn WatchStore, count: usize) -> Revision {
    let mut last = Revision::ZERO;
    for i in 0..count {
        last = store
            .put("churn", i.to_string())
            .await
            .expect("a put succeeds");
    }
    last
}

/// A start that the store no longer has gives a new snapshot that says so.
pub async fn a_start_that_is_too_old_is_compacted(h: &dyn Place) {
    let store = watchable(h).await;
    let old = put(&store, "old", "v").await;
    let last = put_one_by_one(&store, h.watch_history() + 10).await;
    let mut feed = Feed::from(&store, WatchStart::After(old)).await;
    let (revision, entries) = snapshot(feed.next().await, SnapshotReason::Compacted);
    assert_eq!(revision, last);
    assert_eq!(entries, everything(&store).await.entries);
    let next = put(&store, "next", "v").await;
    feed.expect_commit(next).await;
}

/// A consumer that is too slow gets a new snapshot, and is then told as before.
pub async fn a_slow_consumer_gets_a_snapshot(h: &dyn Place) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    put_one_by_one(&store, h.watch_history() + 10).await;
    let last = put(&store, "last", "v").await;
    let events = feed.until(last).await;
    let lagged = |event: &WatchEvent| {
        matches!(
            event,
            WatchEvent::Snapshot {
                reason: SnapshotReason::Lagged,
                ..
            }
        )
    };
    assert!(
        events.iter().any(lagged),
        "a watcher that fell behind is told so"
    );
    ordered(&events).unwrap();
    unique(&events).unwrap();
    assert_eq!(
        replay(&events),
        everything(&store).await.entries,
        "nothing is lost silently"
    );
    let next = put(&store, "next", "v").await;
    feed.expect_commit(next).await;
}

/// A teardown gives an empty snapshot, and the bucket made anew is told as before.
pub async fn a_teardown_gives_a_snapshot(h: &dyn Place) {
    let store = watchable(h).await;
    let before = put(&store, "old", "v").await;
    let mut feed = Feed::after_snapshot(&store).await;
    store.teardown().await.unwrap();
    let (_, entries) = snapshot(feed.next().await, SnapshotReason::Teardown);
    assert!(entries.is_empty(), "nothing is left");
    let anew = write(&store, put_of("new", "v")).await;
    assert!(anew.revision > before);
    assert_eq!(feed.expect_commit(anew.revision).await, anew.changes);
}

/// A teardown and what follows through another handle are told.
pub async fn a_teardown_by_another_handle_is_told(h: &dyn Place) {
    let store = watchable(h).await;
    put(&store, "old", "v").await;
    let mut feed = Feed::after_snapshot(&store).await;
    let other = open(h).await;
    other.teardown().await.unwrap();
    let last = put(&other, "new", "v").await;
    let events = feed.until(last).await;
    let told = |event: &WatchEvent| {
        matches!(
            event,
            WatchEvent::Snapshot {
                reason: SnapshotReason::Teardown,
                ..
            }
        )
    };
    assert!(
        events.iter().any(told),
        "the teardown is told, got {events:?}"
    );
    assert_eq!(names(&replay(&events)), ["new"], "nothing old is left");
}

/// A start from before a teardown gives a new snapshot.
pub async fn a_start_from_before_a_teardown_is_compacted(h: &dyn Place) {
    let store = watchable(h).await;
    let old = put(&store, "old", "v").await;
    store.teardown().await.unwrap();
    let new = put(&store, "new", "v").await;
    let mut feed = Feed::from(&store, WatchStart::After(old)).await;
    let (revision, entries) = snapshot(feed.next().await, SnapshotReason::Compacted);
    assert_eq!((revision, names(&entries)), (new, vec!["new"]));
}

/// An expiry is an event, once for each key, at its time.
pub async fn an_expiry_is_an_event(h: &dyn Place) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    let minute = Duration::from_secs(60);
    let change = Transaction::new()
        .put_expiring(key("a"), "v", minute)
        .put_expiring(key("b"), "v", minute * 2)
        .put(key("c"), "v");
    let put = store.commit(change).await.unwrap().revision;
    feed.expect_commit(put).await;
    for name in ["a", "b"] {
        h.clock().advance(minute);
        match feed.next().await {
            WatchEvent::Expired { revision, keys } => {
                assert_eq!(keys, [key(name)]);
                assert_eq!(revision, put, "an expiry has no revision of its own");
            }
            other => panic!("{name} expires, got {other:?}"),
        }
    }
    let marker = store.put("marker", "v").await.unwrap();
    feed.expect_commit(marker).await;
}

/// An expiry is told before the commit that reclaims the entry or makes the key anew.
pub async fn an_expiry_is_told_before_what_follows(h: &dyn Place) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    store
        .put_expiring("k", "old", Duration::from_secs(60))
        .await
        .unwrap();
    h.clock().advance(Duration::from_secs(60));
    let anew = put(&store, "k", "new").await;
    let events = feed.until(anew).await;
    let expiries = events
        .iter()
        .filter(|event| matches!(event, WatchEvent::Expired { .. }));
    assert_eq!(expiries.count(), 1, "told once, got {events:?}");
    assert!(matches!(
        &events[..],
        [.., WatchEvent::Expired { .. }, WatchEvent::Changes { .. }]
    ));
    assert_eq!(replay(&events), everything(&store).await.entries);
}

/// A snapshot leaves out what has expired.
pub async fn a_snapshot_leaves_out_the_expired(h: &dyn Place) {
    let store = watchable(h).await;
    put(&store, "stays", "v").await;
    store
        .put_expiring("goes", "v", Duration::from_secs(60))
        .await
        .unwrap();
    h.clock().advance(Duration::from_secs(60));
    let mut feed = Feed::from(&store, WatchStart::Snapshot).await;
    let (_, entries) = snapshot(feed.next().await, SnapshotReason::Requested);
    assert_eq!(names(&entries), ["stays"]);
}
