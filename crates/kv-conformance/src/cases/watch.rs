//! What a watcher is told.

use kv_core::{
    Change, Entry, KvStore, KvStoreExt, Revision, SnapshotReason, Transaction, WatchEvent,
    WatchOptions, WatchStart,
};

use crate::Place;
use crate::feed::{Feed, put_of, snapshot, watchable, write};
use crate::support::{entry_of, everything, fill, key, names, noise, open, put, together};
use crate::watching::{
    self, History, Written, atomic, bookmarkable, ordered, position, reliable, replay, resumable,
    unique,
};

/// First comes a snapshot of all entries.
pub async fn a_watch_begins_with_a_snapshot(h: &dyn Place) {
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
pub async fn an_empty_bucket_has_a_snapshot(h: &dyn Place) {
    let store = watchable(h).await;
    let mut feed = Feed::from(&store, WatchStart::Snapshot).await;
    let (_, entries) = snapshot(feed.next().await, SnapshotReason::Requested);
    assert!(entries.is_empty());
    let revision = put(&store, "k", "v").await;
    feed.expect_commit(revision).await;
}

/// Then comes each commit: puts with their entries, deletes with their keys.
pub async fn each_commit_is_told(h: &dyn Place) {
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
pub async fn a_transaction_is_one_event(h: &dyn Place) {
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
pub async fn what_writes_nothing_is_not_told(h: &dyn Place) {
    let store = watchable(h).await;
    put(&store, "k", "v").await;
    let mut feed = Feed::after_snapshot(&store).await;
    put(&store, "k", "v").await;
    store.delete("missing").await.unwrap();
    assert!(store.create("k", "w").await.is_err(), "the key is there");
    store.commit(Transaction::new()).await.unwrap();
    let marker = put(&store, "marker", "v").await;
    feed.expect_commit(marker).await;
}

/// An event tells only what changed: not the unchanged part of a transaction.
pub async fn only_what_changed_is_told(h: &dyn Place) {
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
pub async fn commits_of_other_handles_are_told(h: &dyn Place) {
    let store = watchable(h).await;
    let mut feed = Feed::after_snapshot(&store).await;
    let other = open(h).await;
    for i in 0..5 {
        let written = write(&other, put_of("k", i.to_string())).await;
        assert_eq!(feed.expect_commit(written.revision).await, written.changes);
    }
}

/// A watch of a prefix has the snapshot and the changes under it, and nothing else.
pub async fn a_prefix_filters(h: &dyn Place) {
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
pub async fn a_watch_after_a_revision_has_what_comes_after(h: &dyn Place) {
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
pub async fn a_watch_after_the_newest_waits(h: &dyn Place) {
    let store = watchable(h).await;
    let newest = put(&store, "k", "1").await;
    let mut feed = Feed::from(&store, WatchStart::After(newest)).await;
    let next = put(&store, "k", "2").await;
    feed.expect_commit(next).await;
}

/// A watch from now on begins with the next commit.
pub async fn a_watch_from_now_begins_with_the_next_commit(h: &dyn Place) {
    let store = watchable(h).await;
    put(&store, "before", "v").await;
    let mut feed = Feed::from(&store, WatchStart::Now).await;
    let next = put(&store, "after", "v").await;
    feed.expect_commit(next).await;
}

/// A watch that ended can be resumed after the last commit it was told: both are one watch.
pub async fn a_watch_can_be_resumed(h: &dyn Place) {
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
    assert_eq!(position(&first), Some(seen));
    resumable(&first, &resumed, "", start, &History::from(written)).unwrap();
}

/// A watcher that is told nothing, because others change other keys, can be resumed where it was.
pub async fn a_quiet_watch_can_be_resumed(h: &dyn Place) {
    let store = watchable(h).await;
    let start = put(&store, "p/start", "v").await;
    let mut feed = Feed::new(&store, WatchOptions::prefix("p/")).await;
    let first = vec![feed.next().await];
    let mut written = Vec::new();
    for i in 0..h.watch_history() / 2 {
        written.push(write(&store, put_of("q", i.to_string())).await);
    }
    drop(feed);
    assert_eq!(position(&first), Some(start), "nothing else was told");
    let after = WatchOptions::prefix("p/").with_start(WatchStart::After(start));
    let mut feed = Feed::new(&store, after).await;
    written.push(write(&store, put_of("p/next", "v")).await);
    let resumed = vec![feed.next().await];
    resumable(&first, &resumed, "p/", start, &History::from(written)).unwrap();
}

/// A consumer that never reads delays nobody.
pub async fn a_consumer_that_never_reads_delays_nobody(h: &dyn Place) {
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
pub async fn a_dropped_watch_disturbs_nobody(h: &dyn Place) {
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
pub async fn two_watchers_are_told_the_same(h: &dyn Place) {
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
pub async fn a_watch_beside_writers_is_complete(h: &dyn Place) {
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
    let history = History::from(written);
    ordered(&events).unwrap();
    unique(&events).unwrap();
    atomic(&events, "", &history).unwrap();
    reliable(&events, "", Revision::ZERO, &history).unwrap();
    bookmarkable(&events, "", Revision::ZERO, &history).unwrap();
    assert_eq!(replay(&events), everything(&store).await.entries);
}

/// A watch of a prefix beside writers is complete for its prefix.
pub async fn a_watch_of_a_prefix_beside_writers_is_complete(h: &dyn Place) {
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
    let history = History::from(written);
    ordered(&events).unwrap();
    unique(&events).unwrap();
    atomic(&events, "p/", &history).unwrap();
    let start = match &events[0] {
        WatchEvent::Snapshot { revision, .. } => *revision,
        other => panic!("first a snapshot, got {other:?}"),
    };
    reliable(&events, "p/", start, &history).unwrap();
    let told: Vec<Entry> = replay(&events);
    assert_eq!(names(&told), ["p/last"]);
}

/// A large value is told whole.
pub async fn a_large_value_is_told_whole(h: &dyn Place) {
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
pub async fn a_revision_from_a_watch_serves(h: &dyn Place) {
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
pub async fn what_was_told_can_be_read(h: &dyn Place) {
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
