//! What the contract leaves to the backend, and the short way through it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

use std::time::Duration;

use futures::StreamExt;
use kv_core::{
    Consistency, Cursor, GetOptions, Key, ManualClock, OpenMode, SnapshotReason, WatchEvent,
    WatchOptions, WatchStart, WatchStream, prelude::*,
};
use kv_redb::RedbStore;
use tempfile::TempDir;

async fn store_in(directory: &TempDir) -> RedbStore {
    RedbStore::open(directory.path().join("kv.redb"), OpenMode::OpenOrCreate)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_was_stored_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let builder = RedbStore::builder(directory.path().join("kv.redb")).with_clock(clock.clone());
    let store = builder.clone().open(OpenMode::Create).await.unwrap();
    let all_bytes: Vec<u8> = (0..=255).collect();
    store.put("bytes", all_bytes.clone()).await.unwrap();
    store
        .put_expiring("short", "x", Duration::from_secs(60))
        .await
        .unwrap();
    let last = store.put("empty", "").await.unwrap();
    let before = store.list("").await.unwrap();
    let usage = store.usage().await.unwrap();
    drop(store);

    let store = builder.clone().open(OpenMode::Open).await.unwrap();
    assert_eq!(store.list("").await.unwrap(), before);
    assert_eq!(store.usage().await.unwrap(), usage);
    assert_eq!(store.get("bytes").await.unwrap().unwrap().value, all_bytes);
    clock.advance(Duration::from_secs(60));
    assert!(store.get("short").await.unwrap().is_none());
    assert!(store.put("empty", "no more").await.unwrap() > last);
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.entries, usage.bytes), (2, 256 + 5 + 7 + 5));
    let error = builder.open(OpenMode::Create).await.unwrap_err();
    assert!(matches!(error, Error::BucketExists { .. }), "{error}");
}

#[tokio::test]
async fn two_handles_of_one_process_share_the_file_by_whatever_path() {
    let directory = tempfile::tempdir().unwrap();
    let first = store_in(&directory).await;
    let detour = directory.path().join(".").join("kv.redb");
    let second = RedbStore::open(&detour, OpenMode::Open).await.unwrap();
    first.put("k", "first").await.unwrap();
    assert_eq!(second.get("k").await.unwrap().unwrap().value, "first");
    drop(first);
    second.put("k", "second").await.unwrap();
    drop(second);
    let third = store_in(&directory).await;
    assert_eq!(third.get("k").await.unwrap().unwrap().value, "second");
}

/// Closing takes a while; who opens at that moment must wait, and not hear that "another process"
/// holds the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_opened_and_closed_by_many_tasks_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.redb");
    let tasks = (0..8).map(|task| {
        let path = path.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let store = RedbStore::open(&path, OpenMode::OpenOrCreate)
                    .await
                    .unwrap();
                store.put(format!("{task}/{round}"), "x").await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(store_in(&directory).await.list("").await.unwrap().len(), 80);
}

#[tokio::test]
async fn a_teardown_leaves_a_small_file_without_a_bucket_that_remembers_the_revision() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.redb");
    let store = store_in(&directory).await;
    for key in 0..8 {
        store.put(format!("{key}"), vec![7; 1 << 20]).await.unwrap();
    }
    let last = store.put("last", "").await.unwrap();
    let full = std::fs::metadata(&path).unwrap().len();
    store.teardown().await.unwrap();
    store.teardown().await.unwrap();
    assert!(store.list("").await.unwrap().is_empty());
    drop(store);
    let torn_down = std::fs::metadata(&path).unwrap().len();
    assert!(full > 8 << 20 && torn_down < 2 << 20, "{full} {torn_down}");

    let error = RedbStore::open(&path, OpenMode::Open).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let store = RedbStore::open(&path, OpenMode::Create).await.unwrap();
    assert!(store.put("k", "v").await.unwrap() > last);
    store.teardown().await.unwrap();
    let again = store.put("k", "v").await.unwrap();
    assert!(again.get() > last.get() + 2, "a teardown takes a revision");
    RedbStore::open(&path, OpenMode::Open).await.unwrap();
}

#[tokio::test]
async fn pages_of_one_cursor_are_one_snapshot_until_it_is_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_in(&directory).await;
    for key in ["a", "b", "c"] {
        store.put(key, "old").await.unwrap();
    }
    let options = ListOptions::default().with_limit(1);
    let page = store.list_opts(options.clone()).await.unwrap();
    let cursor = page.cursor.unwrap();
    store.put("b", "new").await.unwrap();
    store.delete("c").await.unwrap();
    let rest = ListOptions::default().with_cursor(cursor.clone());
    let rest = store.list_opts(rest).await.unwrap();
    let values: Vec<_> = rest.entries.iter().map(|entry| &entry.value[..]).collect();
    assert_eq!(values, [b"old", b"old"]);
    assert_eq!(rest.revision, page.revision);

    for value in 0..16 {
        store.put("a", value.to_string()).await.unwrap();
        store.list_opts(options.clone()).await.unwrap();
    }
    let options = ListOptions::default().with_cursor(cursor);
    let error = store.list_opts(options).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { .. }), "{error}");
    let unknown = Cursor::new(Revision::new(9_999), None);
    let options = ListOptions::default().with_cursor(unknown);
    assert!(store.list_opts(options).await.is_err());
}

#[tokio::test]
async fn a_revision_from_elsewhere_cannot_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_in(&directory).await;
    let last = store.put("k", "v").await.unwrap();
    let at_least =
        |revision| GetOptions::default().with_consistency(Consistency::AtLeast(revision));
    let key = Key::new("k").unwrap();
    assert!(store.get_opts(&key, at_least(last)).await.is_ok());
    let next = Revision::new(last.get() + 1);
    let error = store.get_opts(&key, at_least(next)).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

/// All of them are written together, so that the ones that fail could fail the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_fails_does_not_fail_its_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::builder(directory.path().join("kv.redb"))
        .with_bucket_bytes(10_000)
        .open(OpenMode::Create)
        .await
        .unwrap();
    store.put("taken", "").await.unwrap();
    let commits = (0..300).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            match task % 3 {
                0 => store.create("taken", "again").await,
                1 => store.put("huge", vec![0; 20_000]).await,
                _ => store.create(format!("{task}"), "fine").await,
            }
        })
    });
    let mut revisions = std::collections::BTreeSet::new();
    for (task, commit) in commits.collect::<Vec<_>>().into_iter().enumerate() {
        match (task % 3, commit.await.unwrap()) {
            (0, Err(Error::AlreadyExists { .. })) | (1, Err(Error::BucketFull { .. })) => {}
            (2, Ok(revision)) => assert!(revisions.insert(revision), "each has its own revision"),
            (_, other) => panic!("task {task}: {other:?}"),
        }
    }
    assert_eq!(revisions.len(), 100);
    assert_eq!(store.list("").await.unwrap().len(), 101);
}

#[tokio::test]
async fn a_full_bucket_takes_what_makes_it_smaller() {
    let directory = tempfile::tempdir().unwrap();
    let builder = RedbStore::builder(directory.path().join("kv.redb"));
    let roomy = builder.clone().open(OpenMode::Create).await.unwrap();
    roomy.put("k", "123456789").await.unwrap();
    let small = builder
        .with_bucket_bytes(5)
        .open(OpenMode::Open)
        .await
        .unwrap();
    let error = small.put("k", "1234567890").await.unwrap_err();
    let Error::BucketFull {
        needed, available, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((needed, available), (1, 0));
    small.put("k", "12345678").await.unwrap();
    assert_eq!(small.usage().await.unwrap().limit, Some(5));
}

#[tokio::test]
async fn what_has_expired_is_reclaimed_by_a_later_commit() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let store = RedbStore::builder(directory.path().join("kv.redb"))
        .with_clock(clock.clone())
        .open(OpenMode::Create)
        .await
        .unwrap();
    for batch in 0..2 {
        let keys = (0..1_000).map(|key| Key::new(format!("{batch}/{key}")).unwrap());
        let many = keys.fold(Transaction::new(), |many, key| {
            many.put_expiring(key, "x", Duration::from_millis(5))
        });
        store.commit(many).await.unwrap();
    }
    clock.advance(Duration::from_millis(5));
    assert!(store.list("").await.unwrap().is_empty());
    assert_eq!(store.usage().await.unwrap().entries, 2_000);
    store.put("a", "").await.unwrap();
    assert_eq!(store.usage().await.unwrap().entries, 2_000 - 1_024 + 1);
    store.put("a", "b").await.unwrap();
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.entries, usage.bytes), (1, 2));
}

#[tokio::test]
async fn nothing_shows_a_value() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_in(&directory).await;
    store.put("k", "canary").await.unwrap();
    let refusal = store.create("k", "canary").await.unwrap_err();
    let text = format!("{store:?} {refusal:?} {refusal}");
    assert!(
        text.contains("kv.redb") && !text.contains("canary"),
        "{text}"
    );
}

/// A handle must outlive the runtime it was opened on.
#[test]
fn a_handle_works_on_a_second_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let store = runtime().block_on(async {
        let store = store_in(&directory).await;
        store.put("k", "1").await.unwrap();
        store
    });
    runtime().block_on(async {
        store.put("k", "2").await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().value, "2");
    });
}

async fn told(watch: &mut WatchStream) -> WatchEvent {
    let event = tokio::time::timeout(Duration::from_secs(20), watch.next());
    event.await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_watch_of_a_file_that_is_opened_again_knows_what_expires_and_where_it_can_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let builder = RedbStore::builder(directory.path().join("kv.redb")).with_clock(clock.clone());
    let store = builder.clone().open(OpenMode::Create).await.unwrap();
    let minute = Duration::from_secs(60);
    let first = store.put_expiring("before", "v", minute).await.unwrap();
    let last = store.put_expiring("gone", "v", minute).await.unwrap();
    drop(store);

    let store = builder.open(OpenMode::Open).await.unwrap();
    let from = |start| WatchOptions::default().with_start(start);
    // What is committed before the first watch begins counts as well.
    store.delete("gone").await.unwrap();
    store.put_expiring("after", "v", minute * 2).await.unwrap();
    let mut old = store.watch(from(WatchStart::After(first))).await.unwrap();
    match told(&mut old).await {
        WatchEvent::Snapshot {
            reason, entries, ..
        } => {
            assert_eq!((reason, entries.len()), (SnapshotReason::Compacted, 2));
        }
        other => panic!("{other:?}"),
    }
    let mut resumed = store.watch(from(WatchStart::After(last))).await.unwrap();
    for _ in 0..2 {
        let event = told(&mut resumed).await;
        assert!(matches!(event, WatchEvent::Changes { .. }), "{event:?}");
    }
    for expected in ["before", "after"] {
        clock.advance(minute);
        for watch in [&mut old, &mut resumed] {
            match told(watch).await {
                WatchEvent::Expired { keys, .. } => assert_eq!(keys, [Key::new(expected).unwrap()]),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_watch_keeps_the_file_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = store_in(&directory).await;
    let mut watch = store.watch(WatchOptions::default()).await.unwrap();
    drop(store);
    assert!(matches!(
        told(&mut watch).await,
        WatchEvent::Snapshot { .. }
    ));
    let again = store_in(&directory).await;
    let put = again.put("k", "v").await.unwrap();
    match told(&mut watch).await {
        WatchEvent::Changes { revision, .. } => assert_eq!(revision, put),
        other => panic!("{other:?}"),
    }
}
