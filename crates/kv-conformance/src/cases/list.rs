//! Listings: prefix, start, limit, pages, and that each is one snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use kv_core::{Cursor, Entry, Error, KvStore, KvStoreExt, ListOptions, Revision, Transaction};

use crate::Place;
use crate::support::{Store, everything, fill, key, listing, names, numbered, open, put};

/// The keys that a listing with these options returns.
async fn list(store: &dyn KvStore, options: ListOptions) -> Vec<String> {
    let entries = listing(store, options).await.entries;
    entries.into_iter().map(|entry| entry.key.into()).collect()
}

/// A store that holds these keys.
async fn holding<K: AsRef<str> + Sync>(h: &dyn Place, keys: &[K]) -> Store {
    let store = open(h).await;
    fill(&store, keys).await;
    store
}

/// All pages of `limit` entries, taken with the cursor.
async fn pages(store: &dyn KvStore, options: ListOptions) -> Result<Vec<Vec<Entry>>, Error> {
    let first = store.list_opts(options.clone()).await?;
    let (snapshot, mut cursor) = (first.revision, first.cursor);
    let mut pages = vec![first.entries];
    while let Some(next) = cursor {
        let page = store.list_opts(options.clone().with_cursor(next)).await?;
        assert_eq!(
            page.revision, snapshot,
            "all pages come from the snapshot of the first"
        );
        cursor = page.cursor;
        pages.push(page.entries);
    }
    Ok(pages)
}

fn after(name: &str) -> ListOptions {
    ListOptions::default().with_start_after(key(name))
}

/// An empty bucket lists nothing, and has no more.
pub async fn an_empty_bucket_lists_nothing(h: &dyn Place) {
    let store = open(h).await;
    let all = everything(&store).await;
    assert!(all.entries.is_empty() && all.cursor.is_none());
    let none = listing(&store, ListOptions::default().with_limit(0)).await;
    assert!(none.cursor.is_none(), "no more is left in an empty bucket");
}

/// A list has what was just put and not what was just deleted.
pub async fn a_list_follows_every_commit(h: &dyn Place) {
    let store = holding(h, &["b"]).await;
    put(&store, "a", "1").await;
    assert_eq!(list(&store, ListOptions::default()).await, ["a", "b"]);
    store.delete("b").await.unwrap();
    assert_eq!(list(&store, ListOptions::default()).await, ["a"]);
    put(&store, "a", "2").await;
    assert_eq!(everything(&store).await.entries[0].value, "2");
}

/// The revision of a listing is that of the bucket, and no entry is newer.
pub async fn a_listing_tells_its_revision(h: &dyn Place) {
    let store = holding(h, &["a", "b"]).await;
    let newest = put(&store, "b", "new").await;
    for options in [
        ListOptions::default(),
        ListOptions::prefix("a"),
        ListOptions::prefix("x"),
    ] {
        let found = listing(&store, options).await;
        assert_eq!(found.revision, newest, "a listing is as new as the bucket");
        assert!(found.entries.iter().all(|entry| entry.revision <= newest));
    }
}

/// Without a prefix a list has all keys.
pub async fn an_empty_prefix_is_all(h: &dyn Place) {
    let store = holding(h, &["a", "b/c", "\0", "é"]).await;
    assert_eq!(
        list(&store, ListOptions::prefix("")).await,
        ["\0", "a", "b/c", "é"]
    );
}

/// A prefix is compared byte by byte and knows no separators.
pub async fn a_prefix_knows_no_separators(h: &dyn Place) {
    let store = holding(h, &["fo", "foo", "foo/bar", "foobar", "fop", "g"]).await;
    let found = list(&store, ListOptions::prefix("foo")).await;
    assert_eq!(
        found,
        ["foo", "foo/bar", "foobar"],
        "the key that is the prefix is among them"
    );
    assert_eq!(list(&store, ListOptions::prefix("foo/")).await, ["foo/bar"]);
    assert_eq!(
        list(&store, ListOptions::prefix("foo/b")).await,
        ["foo/bar"]
    );
}

/// A prefix that no key has lists nothing.
pub async fn a_prefix_without_keys_lists_nothing(h: &dyn Place) {
    let store = holding(h, &["a", "c"]).await;
    let long = "x".repeat(2 * store.limits().key_bytes);
    for prefix in ["b", "a/", "ab", "\0", "z", "\u{10ffff}", &long] {
        let found = listing(&store, ListOptions::prefix(prefix)).await;
        assert!(found.entries.is_empty() && found.cursor.is_none());
    }
}

/// A prefix at the end of the order of the keys ends where it should.
pub async fn a_prefix_of_the_last_keys_works(h: &dyn Place) {
    let keys = [
        "\u{10fffe}",
        "\u{10ffff}",
        "\u{10ffff}a",
        "\u{10ffff}\u{10ffff}",
    ];
    let store = holding(h, &keys).await;
    assert_eq!(
        list(&store, ListOptions::prefix("\u{10ffff}")).await,
        keys[1..]
    );
}

/// `start_after` is exclusive.
pub async fn start_after_is_exclusive(h: &dyn Place) {
    let store = holding(h, &["a", "b", "c"]).await;
    assert_eq!(list(&store, after("a")).await, ["b", "c"]);
    assert_eq!(list(&store, after("b")).await, ["c"]);
    assert!(list(&store, after("c")).await.is_empty());
}

/// `start_after` takes a key that is not there.
pub async fn start_after_an_absent_key(h: &dyn Place) {
    let store = holding(h, &["b", "d"]).await;
    assert_eq!(
        list(&store, after("a")).await,
        ["b", "d"],
        "before the first"
    );
    assert_eq!(list(&store, after("c")).await, ["d"], "between");
    assert_eq!(list(&store, after("b\0")).await, ["d"], "right behind one");
    assert!(list(&store, after("e")).await.is_empty(), "after the last");
}

/// `start_after` takes a key that was deleted.
pub async fn start_after_a_deleted_key(h: &dyn Place) {
    let store = holding(h, &["a", "b", "c"]).await;
    store.delete("b").await.unwrap();
    assert_eq!(list(&store, after("b")).await, ["c"]);
}

/// `start_after` works together with a prefix, from before it, in it and behind it.
pub async fn start_after_with_a_prefix(h: &dyn Place) {
    let store = holding(h, &["a", "p/1", "p/2", "p/3", "q"]).await;
    let start = |name| ListOptions::prefix("p/").with_start_after(key(name));
    assert_eq!(
        list(&store, start("a")).await,
        ["p/1", "p/2", "p/3"],
        "before the prefix"
    );
    assert_eq!(list(&store, start("p/1")).await, ["p/2", "p/3"], "in it");
    assert!(list(&store, start("p0")).await.is_empty(), "behind it");
    assert!(list(&store, start("q")).await.is_empty());
}

/// A limit of nothing returns nothing, and the place from which to go on.
pub async fn a_limit_of_nothing_gives_a_cursor(h: &dyn Place) {
    let store = holding(h, &["a", "b"]).await;
    let none = listing(&store, ListOptions::default().with_limit(0)).await;
    assert!(
        none.entries.is_empty(),
        "a limit of nothing returns nothing"
    );
    let cursor = none.cursor.expect("more is left");
    let rest = listing(&store, ListOptions::default().with_cursor(cursor)).await;
    assert_eq!(names(&rest.entries), ["a", "b"]);
    assert_eq!(rest.revision, none.revision);
}

/// A limit returns so many entries, and a cursor only where more is left.
pub async fn a_limit_bounds_the_page(h: &dyn Place) {
    let store = holding(h, &["a", "b", "c"]).await;
    for (limit, expected, more) in [(1, 1, true), (2, 2, true), (3, 3, false), (4, 3, false)] {
        let page = listing(&store, ListOptions::default().with_limit(limit)).await;
        assert_eq!(page.entries.len(), expected, "limit {limit}");
        assert_eq!(
            page.cursor.is_some(),
            more,
            "limit {limit}: a cursor where more is left"
        );
    }
    let all = listing(&store, ListOptions::default().with_limit(usize::MAX)).await;
    assert_eq!(all.entries.len(), 3, "the largest limit is no limit");
}

/// A cursor counts only what the prefix selects.
pub async fn a_cursor_stays_in_the_prefix(h: &dyn Place) {
    let store = holding(h, &["a", "p/1", "p/2", "z"]).await;
    let page = listing(&store, ListOptions::prefix("p/").with_limit(2)).await;
    assert_eq!(names(&page.entries), ["p/1", "p/2"]);
    assert!(page.cursor.is_none(), "nothing is left under the prefix");
    let all = pages(&store, ListOptions::prefix("p/").with_limit(1))
        .await
        .unwrap();
    assert_eq!(all.concat().len(), 2);
}

/// The pages together are the whole, whatever their size.
pub async fn pages_together_are_the_whole(h: &dyn Place) {
    let store = holding(h, &numbered("k", 23)).await;
    let all = everything(&store).await.entries;
    for limit in [1, 2, 5, 22, 23, 24] {
        let pages = pages(&store, ListOptions::default().with_limit(limit))
            .await
            .unwrap();
        let full = pages.len() - 1;
        assert!(
            pages[..full].iter().all(|page| page.len() == limit),
            "pages of {limit} are full"
        );
        assert_eq!(
            pages.concat(),
            all,
            "pages of {limit}: nothing twice, nothing left out"
        );
    }
}

/// Pages begin after `start_after`.
pub async fn pages_begin_after_the_start(h: &dyn Place) {
    let store = holding(h, &["a", "b", "c", "d"]).await;
    let pages = pages(&store, after("a").with_limit(2)).await.unwrap();
    assert_eq!(names(&pages.concat()), ["b", "c", "d"]);
}

/// More keys than any service has in a page are all listed.
pub async fn no_hidden_cap(h: &dyn Place) {
    let keys = numbered("k", 1_026);
    let store = holding(h, &keys).await;
    assert_eq!(
        list(&store, ListOptions::default()).await,
        keys,
        "no default bounds a list"
    );
    let pages = pages(&store, ListOptions::default().with_limit(500))
        .await
        .unwrap();
    assert_eq!(names(&pages.concat()), keys);
}

/// A scan streams every entry under its prefix, in order.
pub async fn a_scan_streams_everything(h: &dyn Place) {
    let keys = numbered("in/", 1_026);
    let store = holding(h, &keys).await;
    fill(&store, &["a", "out"]).await;
    let scanned: Vec<Entry> = store.scan("in/").try_collect().await.unwrap();
    assert_eq!(names(&scanned), keys);
    let nothing: Vec<Entry> = store.scan("none/").try_collect().await.unwrap();
    assert!(nothing.is_empty());
}

/// Pages taken while commits come between are from one snapshot, or the store says that it no
/// longer can.
pub async fn pages_do_not_mix_snapshots(h: &dyn Place) {
    let store = holding(h, &["a", "b", "c", "d"]).await;
    let before = everything(&store).await.entries;
    let options = ListOptions::default().with_limit(2);
    let first = listing(&store, options.clone()).await;
    store.delete("c").await.unwrap();
    put(&store, "bb", "new").await;
    put(&store, "d", "changed").await;
    let cursor = first.cursor.expect("more is left");
    match store.list_opts(options.with_cursor(cursor)).await {
        Ok(second) => {
            assert_eq!(
                [first.entries, second.entries].concat(),
                before,
                "one snapshot"
            );
            assert_eq!(second.revision, first.revision);
        }
        Err(Error::Compacted { requested, current }) => {
            assert_eq!(requested, first.revision, "it says which snapshot is gone");
            assert!(current > requested, "and where to start again");
        }
        Err(other) => panic!("a cursor serves or is compacted, got {other:?}"),
    }
}

/// A cursor serves when its last key is gone, or is compacted: it never starts over.
pub async fn a_cursor_outlives_its_key(h: &dyn Place) {
    let store = holding(h, &["a", "b", "c"]).await;
    let options = ListOptions::default().with_limit(1);
    let first = listing(&store, options.clone()).await;
    store.delete("a").await.unwrap();
    match store
        .list_opts(options.with_cursor(first.cursor.unwrap()))
        .await
    {
        Ok(second) => assert_eq!(names(&second.entries), ["b"]),
        Err(error) => assert!(matches!(error, Error::Compacted { .. }), "got {error:?}"),
    }
}

/// A cursor into a snapshot that never was is `Compacted`.
pub async fn a_cursor_into_nowhere_is_compacted(h: &dyn Place) {
    let store = holding(h, &["a", "b"]).await;
    let nowhere = Cursor::new(Revision::new(u64::MAX), Some(key("a")));
    let result = store
        .list_opts(ListOptions::default().with_cursor(nowhere))
        .await;
    assert!(
        matches!(result, Err(Error::Compacted { .. })),
        "got {result:?}"
    );
}

/// A cursor from before a teardown never mixes the old bucket with the new one.
pub async fn a_cursor_does_not_reach_into_the_next_bucket(h: &dyn Place) {
    let store = holding(h, &["a", "b"]).await;
    let options = ListOptions::default().with_limit(1);
    let first = listing(&store, options.clone()).await;
    store.teardown().await.unwrap();
    put(&store, "c", "new").await;
    match store
        .list_opts(options.with_cursor(first.cursor.unwrap()))
        .await
    {
        Ok(second) => assert_eq!(names(&second.entries), ["b"], "the rest of its snapshot"),
        Err(error) => assert!(matches!(error, Error::Compacted { .. }), "got {error:?}"),
    }
}

/// While a task writes pairs in one transaction each, every listing shows both or none of a pair,
/// each key once, in order.
pub async fn a_listing_is_one_snapshot_while_others_write(h: &dyn Place) {
    let (writer, reader) = (open(h).await, open(h).await);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let stop = stop.clone();
        async move {
            for round in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let value = round.to_string();
                let pair = Transaction::new()
                    .put(key("a"), value.clone())
                    .put(key("z"), value);
                writer.commit(pair).await.expect("a transaction succeeds");
            }
        }
    });
    for _ in 0..20 {
        let all = everything(&reader).await.entries;
        assert!(
            all.is_sorted_by(|a, b| a.key < b.key),
            "each key once, in order"
        );
        if let [a, z] = &all[..] {
            assert_eq!(
                (&a.value, a.revision),
                (&z.value, z.revision),
                "one snapshot"
            );
        } else {
            assert!(all.is_empty(), "a pair is there whole or not at all");
        }
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.expect("the writer succeeds");
}
