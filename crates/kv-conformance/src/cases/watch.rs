//! What a watcher is told.

use std::time::Duration;

use kv_core::{
    Change, Entry, KvStore, KvStoreExt, Revision, SnapshotReason, Transaction, WatchEvent,
    WatchOptions, WatchStart, WatchStore,
};

use crate::Harness;
use crate::feed::{Feed, watchable, write};
use crate::support::{entry_of, everything, fill, key, names, noise, open, put, together};
use crate::watching::{self, Written, atomic, ordered, reliable, replay, resumable, unique};

/// Asserts that the event is a snapshot for that reason, and returns what it tells.
fn snapshot(event: WatchEvent, why: SnapshotReason) -> (Revision, Vec<Entry>) {
    match event {
        WatchEvent::Snapshot {
            reason,
            revision,
            entries,
        } if reason == why => (revision, entries),
        other => panic!("a snapshot comes, {why:?}, got {other:?}"),
    }
}

fn put_of(name: &str, value: impl Into<kv_core::Bytes>) -> Transaction {
    Transaction::new().put(key(name), value)
}

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

/// First comes a snapshot of all entries.
pub async fn a_watch_begins_with_a_snapshot<H: Harness>(h: &H) {
    let store = watchable(h).await;
    fill(&store, &["b", "a", "c"]).await;
    let last = put(&store, "b", "new").await;
    let mut feed = Feed::from(&store, WatchStart::Snapshot).await;
    let (revision, entries) = snapshot(feed.next().await, SnapshotReason::Requested);
    assert_eq!(revision, last, "it is as new as the bucket");
    assert_eq!(
        entries,
        everything(&store).await.entries,
        "it is what a list returns"
    );
}

/// First comes a snapshot, also of an empty bucket.
pub async fn an_empty_bucket_has_a_snapshot<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::from(&store, WatchStart::Snapshot).await;
    let (_, entries) = snapshot(feed.next().await, SnapshotReason::Requested);
    assert!(entries.is_empty());
    let revision = put(&store, "k", "v").await;
    feed.expect_commit(revision).await;
}

/// Then comes each commit: puts with their entries, deletes with their keys.
pub async fn each_commit_is_told<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    for change in [
        put_of("k", "1"),
        put_of("k", "2"),
        Transaction::new().delete(key("k")),
    ] {
        let written = write(&store, change).await;
        assert_eq!(feed.expect_commit(written.revision).await, written.changes);
    }
}

/// A commit of several keys is one event, in the order of the keys.
pub async fn a_transaction_is_one_event<H: Harness>(h: &H) {
    let store = watchable(h).await;
    put(&store, "b", "old").await;
    let mut feed = Feed::after_snapshot(&store).await;
    let change = Transaction::new()
        .put(key("c"), "1")
        .delete(key("b"))
        .put(key("a"), "2");
    let written = write(&store, change).await;
    assert_eq!(feed.expect_commit(written.revision).await, written.changes);
}

/// What writes nothing is not told.
pub async fn what_writes_nothing_is_not_told<H: Harness>(h: &H) {
    let store = watchable(h).await;
    put(&store, "k", "v").await;
    let mut feed = Feed::after_snapshot(&store).await;
    put(&store, "k", "v").await;
    store.delete("missing").await.unwrap();
    store.create("k", "w").await.unwrap_err();
    store.commit(Transaction::new()).await.unwrap();
    let marker = put(&store, "marker", "v").await;
    feed.expect_commit(marker).await;
}

/// An event tells only what changed: not the unchanged part of a transaction.
pub async fn only_what_changed_is_told<H: Harness>(h: &H) {
    let store = watchable(h).await;
    put(&store, "same", "v").await;
    let mut feed = Feed::after_snapshot(&store).await;
    let change = put_of("same", "v")
        .put(key("new"), "v")
        .delete(key("missing"));
    let commit = store.commit(change).await.unwrap();
    let changes = feed.expect_commit(commit.revision).await;
    let told: Vec<&str> = changes.iter().map(|change| change.key().as_str()).collect();
    assert_eq!(told, ["new"]);
}

/// Commits of another handle are told as well.
pub async fn commits_of_other_handles_are_told<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    let other = open(h).await;
    for i in 0..5 {
        let written = write(&other, put_of("k", i.to_string())).await;
        assert_eq!(feed.expect_commit(written.revision).await, written.changes);
    }
}

/// A watch of a prefix has the snapshot and the changes under it, and nothing else.
pub async fn a_prefix_filters<H: Harness>(h: &H) {
    let store = watchable(h).await;
    fill(&store, &["a", "p", "p/1", "p0"]).await;
    let mut feed = Feed::new(&store, WatchOptions::prefix("p/")).await;
    let (_, entries) = snapshot(feed.next().await, SnapshotReason::Requested);
    assert_eq!(names(&entries), ["p/1"]);
    put(&store, "other", "v").await;
    store.delete("p").await.unwrap();
    let both = write(&store, put_of("outside", "v").put(key("p/2"), "v")).await;
    let changes = feed.expect_commit(both.revision).await;
    assert_eq!(changes, both.changes[1..], "the part under the prefix");
}

/// A watch after a revision has exactly the commits after it.
pub async fn a_watch_after_a_revision_has_what_comes_after<H: Harness>(h: &H) {
    let store = watchable(h).await;
    put(&store, "before", "v").await;
    let at = put(&store, "at", "v").await;
    let next = write(&store, put_of("after", "v")).await;
    let mut feed = Feed::from(&store, WatchStart::After(at)).await;
    assert_eq!(feed.expect_commit(next.revision).await, next.changes);
    let later = put(&store, "later", "v").await;
    feed.expect_commit(later).await;
}

/// A watch after the newest revision waits for the next commit.
pub async fn a_watch_after_the_newest_waits<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let newest = put(&store, "k", "1").await;
    let mut feed = Feed::from(&store, WatchStart::After(newest)).await;
    let next = put(&store, "k", "2").await;
    feed.expect_commit(next).await;
}

/// A watch from now on begins with the next commit.
pub async fn a_watch_from_now_begins_with_the_next_commit<H: Harness>(h: &H) {
    let store = watchable(h).await;
    put(&store, "before", "v").await;
    let mut feed = Feed::from(&store, WatchStart::Now).await;
    let next = put(&store, "after", "v").await;
    feed.expect_commit(next).await;
}

/// A watch that ended can be resumed after the last commit it was told: both are one watch.
pub async fn a_watch_can_be_resumed<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let start = put(&store, "start", "v").await;
    let mut feed = Feed::from(&store, WatchStart::After(start)).await;
    let mut written = Vec::new();
    for i in 0..6 {
        written.push(write(&store, put_of("k", i.to_string())).await);
    }
    let seen = written[2].revision;
    let first = feed.until(seen).await;
    drop(feed);
    for i in 6..10 {
        written.push(write(&store, put_of("k", i.to_string())).await);
    }
    let mut feed = Feed::from(&store, WatchStart::After(seen)).await;
    let resumed = feed.until(written[9].revision).await;
    resumable(&first, &resumed, "", start, &written);
}

/// A start that the store no longer has gives a new snapshot that says so.
pub async fn a_start_that_is_too_old_is_compacted<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let old = put(&store, "old", "v").await;
    let last = put_one_by_one(&store, H::WATCH_HISTORY + 10).await;
    let mut feed = Feed::from(&store, WatchStart::After(old)).await;
    let (revision, entries) = snapshot(feed.next().await, SnapshotReason::Compacted);
    assert_eq!(revision, last);
    assert_eq!(entries, everything(&store).await.entries);
    let next = put(&store, "next", "v").await;
    feed.expect_commit(next).await;
}

/// A consumer that is too slow gets a new snapshot, and is then told as before.
pub async fn a_slow_consumer_gets_a_snapshot<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    put_one_by_one(&store, H::WATCH_HISTORY + 10).await;
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
    ordered(&events);
    unique(&events);
    assert_eq!(
        replay(&events),
        everything(&store).await.entries,
        "nothing is lost silently"
    );
    let next = put(&store, "next", "v").await;
    feed.expect_commit(next).await;
}

/// A consumer that never reads delays nobody.
pub async fn a_consumer_that_never_reads_delays_nobody<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let idle = Feed::from(&store, WatchStart::Snapshot).await;
    let mut feed = Feed::after_snapshot(&store).await;
    for i in 0..50 {
        let revision = put(&store, "k", noise(i, 1_000)).await;
        feed.expect_commit(revision).await;
    }
    drop(idle);
}

/// A watch that is dropped ends, and takes nothing with it.
pub async fn a_dropped_watch_disturbs_nobody<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut other = Feed::after_snapshot(&store).await;
    drop(Feed::from(&store, WatchStart::Now).await);
    let mut begun = Feed::after_snapshot(&store).await;
    let first = put(&store, "k", "1").await;
    begun.expect_commit(first).await;
    drop(begun);
    let second = put(&store, "k", "2").await;
    other.expect_commit(first).await;
    other.expect_commit(second).await;
}

/// Two watchers are told the same.
pub async fn two_watchers_are_told_the_same<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feeds = [
        Feed::after_snapshot(&store).await,
        Feed::after_snapshot(&store).await,
    ];
    let mut last = Revision::ZERO;
    for i in 0..10 {
        last = put(&store, &format!("k{}", i % 3), i.to_string()).await;
    }
    let first = feeds[0].until(last).await;
    assert_eq!(first, feeds[1].until(last).await);
}

/// While several tasks write through two handles, a watcher is told all of it: ordered, unique,
/// atomic and reliable.
pub async fn a_watch_beside_writers_is_complete<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    let other = open(h).await;
    let done = together(6, |i| {
        let (own, other) = (store.clone(), other.clone());
        async move {
            let mut written: Vec<Written> = Vec::new();
            for round in 0..8 {
                let (name, value) = (format!("p/{i}"), round.to_string());
                let pair = put_of(&name, value.clone()).put(key(format!("q/{i}")), value);
                written.push(if i % 2 == 0 {
                    write(&own, pair).await
                } else {
                    write(&other, pair).await
                });
            }
            written
        }
    });
    let written = done.await.concat();
    let last = written.iter().map(|commit| commit.revision).max().unwrap();
    let events = feed.until(last).await;
    ordered(&events);
    unique(&events);
    atomic(&events, "", &written);
    reliable(&events, "", Revision::ZERO, &written);
    assert_eq!(replay(&events), everything(&store).await.entries);
}

/// A watch of a prefix beside writers is complete for its prefix.
pub async fn a_watch_of_a_prefix_beside_writers_is_complete<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::new(&store, WatchOptions::prefix("p/")).await;
    let done = together(4, |i| {
        let store = store.clone();
        async move {
            let (inside, outside) = (format!("p/{i}"), format!("q/{i}"));
            let first = write(&store, put_of(&inside, "1").put(key(&outside), "1")).await;
            let second = write(&store, put_of(&outside, "2")).await;
            [
                first,
                second,
                write(&store, Transaction::new().delete(key(&inside))).await,
            ]
        }
    });
    let mut written = done.await.concat();
    written.push(write(&store, put_of("p/last", "v")).await);
    let events = feed.until(written.last().unwrap().revision).await;
    ordered(&events);
    unique(&events);
    atomic(&events, "p/", &written);
    let start = match &events[0] {
        WatchEvent::Snapshot { revision, .. } => *revision,
        other => panic!("first a snapshot, got {other:?}"),
    };
    reliable(&events, "p/", start, &written);
    let told: Vec<Entry> = replay(&events);
    assert_eq!(names(&told), ["p/last"]);
}

/// A large value is told whole.
pub async fn a_large_value_is_told_whole<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    let value = noise(1, store.limits().value_bytes.min(200_000));
    let revision = put(&store, "k", value.clone()).await;
    match &feed.expect_commit(revision).await[..] {
        [Change::Put(entry)] => assert!(entry.value == value, "the value is told as it was put"),
        other => panic!("one put was made, got {other:?}"),
    }
}

/// What a watcher was told serves in a condition.
pub async fn a_revision_from_a_watch_serves<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    let at = put(&store, "k", "1").await;
    let events = feed.until(at).await;
    let (revision, _) = watching::commits(&events).next().expect("the put is told");
    store
        .update("k", "2", revision)
        .await
        .expect("the entry is at it");
}

/// What a watcher was told is seen by every read that follows.
pub async fn what_was_told_can_be_read<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let (writer, reader) = (open(h).await, open(h).await);
    let mut feed = Feed::after_snapshot(&store).await;
    for i in 0..5 {
        let value = i.to_string();
        let revision = put(&writer, "k", value.clone()).await;
        feed.expect_commit(revision).await;
        assert_eq!(entry_of(&reader, "k").await.unwrap().value, value);
        assert_eq!(entry_of(&store, "k").await.unwrap().value, value);
    }
}

/// A teardown gives an empty snapshot, and the bucket made anew is told as before.
pub async fn a_teardown_gives_a_snapshot<H: Harness>(h: &H) {
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
pub async fn a_teardown_by_another_handle_is_told<H: Harness>(h: &H) {
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
pub async fn a_start_from_before_a_teardown_is_compacted<H: Harness>(h: &H) {
    let store = watchable(h).await;
    let old = put(&store, "old", "v").await;
    store.teardown().await.unwrap();
    let new = put(&store, "new", "v").await;
    let mut feed = Feed::from(&store, WatchStart::After(old)).await;
    let (revision, entries) = snapshot(feed.next().await, SnapshotReason::Compacted);
    assert_eq!((revision, names(&entries)), (new, vec!["new"]));
}

/// An expiry is an event, once for each key, at its time.
pub async fn an_expiry_is_an_event<H: Harness>(h: &H) {
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
pub async fn an_expiry_is_told_before_what_follows<H: Harness>(h: &H) {
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
pub async fn a_snapshot_leaves_out_the_expired<H: Harness>(h: &H) {
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
