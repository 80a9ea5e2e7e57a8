//! Entries with a time to live, on a clock that the case moves.

use std::time::{Duration, UNIX_EPOCH};

use kv_core::{Bound, Clock, Error, KvStore, KvStoreExt, Transaction};

use crate::Place;
use crate::support::{
    Store, Untouched, conflict, entry_of, everything, key, names, noise, open, put, reopen,
    value_of,
};

const MINUTE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A store with the key `k`, which lives for a minute.
async fn expiring(h: &dyn Place) -> Store {
    let store = open(h).await;
    store
        .put_expiring("k", "v", MINUTE)
        .await
        .expect("a put succeeds");
    store
}

/// An entry is there until its time, and from then on it is not.
pub async fn an_entry_lives_until_its_time(h: &dyn Place) {
    let store = expiring(h).await;
    h.clock().advance(MINUTE - MILLISECOND);
    assert_eq!(
        value_of(&store, "k").await.unwrap(),
        "v",
        "a millisecond before"
    );
    h.clock().advance(MILLISECOND);
    assert_eq!(
        entry_of(&store, "k").await,
        None,
        "at its time it is absent"
    );
}

/// An entry tells when it expires.
pub async fn an_entry_tells_its_time(h: &dyn Place) {
    let start = h.clock().now();
    let store = expiring(h).await;
    let time = Some(start + MINUTE);
    assert_eq!(entry_of(&store, "k").await.unwrap().expires_at, time);
    assert_eq!(
        everything(&store).await.entries[0].expires_at,
        time,
        "also in a list"
    );
    let store = reopen(h, store).await;
    assert_eq!(
        entry_of(&store, "k").await.unwrap().expires_at,
        time,
        "also after a reopen"
    );
}

/// A list leaves out what has expired, and counts it in no page.
pub async fn a_list_leaves_out_the_expired(h: &dyn Place) {
    let store = expiring(h).await;
    crate::support::fill(&store, &["a", "z"]).await;
    h.clock().advance(MINUTE);
    assert_eq!(names(&everything(&store).await.entries), ["a", "z"]);
    let options = kv_core::ListOptions::default().with_limit(2);
    let page = crate::support::listing(&store, options).await;
    assert_eq!(names(&page.entries), ["a", "z"]);
    assert!(
        page.cursor.is_none(),
        "an expired entry is not left to list"
    );
}

/// To expire is no commit: the bucket stays at its revision.
pub async fn an_expiry_is_no_commit(h: &dyn Place) {
    let store = expiring(h).await;
    let revision = everything(&store).await.revision;
    h.clock().advance(MINUTE);
    assert_eq!(everything(&store).await.revision, revision);
}

/// Every handle finds the entry expired.
pub async fn every_handle_finds_it_expired(h: &dyn Place) {
    let store = expiring(h).await;
    let other = open(h).await;
    assert!(entry_of(&other, "k").await.is_some());
    h.clock().advance(MINUTE);
    assert_eq!(entry_of(&other, "k").await, None);
    assert_eq!(entry_of(&store, "k").await, None);
    let reopened = reopen(h, store).await;
    assert_eq!(
        entry_of(&reopened, "k").await,
        None,
        "nor does it return after a reopen"
    );
}

/// A put without a time to live clears an earlier one, also where the value is the same.
pub async fn a_plain_put_clears_the_expiry(h: &dyn Place) {
    let store = expiring(h).await;
    let old = entry_of(&store, "k").await.unwrap().revision;
    let new = put(&store, "k", "v").await;
    assert!(new > old, "another expiry is a change");
    assert_eq!(entry_of(&store, "k").await.unwrap().expires_at, None);
    h.clock().advance(MINUTE * 2);
    assert_eq!(
        value_of(&store, "k").await.unwrap(),
        "v",
        "it stays for good"
    );
}

/// A put with a time to live gives one to an entry that had none.
pub async fn a_put_can_give_an_expiry(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "k", "v").await;
    let new = store.put_expiring("k", "v", MINUTE).await.unwrap();
    assert!(new > old, "another expiry is a change");
    h.clock().advance(MINUTE);
    assert_eq!(entry_of(&store, "k").await, None);
}

/// A put extends the time.
pub async fn a_put_extends_the_time(h: &dyn Place) {
    let store = expiring(h).await;
    h.clock().advance(MINUTE / 2);
    let old = entry_of(&store, "k").await.unwrap().revision;
    let new = store.put_expiring("k", "v", MINUTE).await.unwrap();
    assert!(new > old, "another expiry is a change");
    h.clock().advance(MINUTE / 2);
    assert!(
        entry_of(&store, "k").await.is_some(),
        "the first time has passed"
    );
    h.clock().advance(MINUTE / 2);
    assert_eq!(entry_of(&store, "k").await, None, "the second has, too");
}

/// A put of the same value for the same time writes nothing.
pub async fn an_unchanged_expiring_put_writes_nothing(h: &dyn Place) {
    let store = expiring(h).await;
    let before = Untouched::since(&store).await;
    store.put_expiring("k", "v", MINUTE).await.unwrap();
    before
        .assert(&store, "a put with the same value and expiry")
        .await;
}

/// An expired key can be created, with a new revision.
pub async fn an_expired_key_can_be_created(h: &dyn Place) {
    let store = expiring(h).await;
    let old = entry_of(&store, "k").await.unwrap().revision;
    assert!(store.create("k", "w").await.is_err(), "it is there");
    h.clock().advance(MINUTE);
    let new = store
        .create("k", "v")
        .await
        .expect("an expired key is absent");
    assert!(new > old, "its revision is new, also with the old value");
    assert_eq!(entry_of(&store, "k").await.unwrap().expires_at, None);
}

/// Every other condition finds an expired key missing.
pub async fn conditions_find_an_expired_key_missing(h: &dyn Place) {
    let store = expiring(h).await;
    let old = entry_of(&store, "k").await.unwrap().revision;
    h.clock().advance(MINUTE);
    conflict(store.update("k", "w", old).await, "k", None);
    conflict(store.delete_at("k", old).await, "k", None);
    let exists = Transaction::new().require_exists(key("k"));
    conflict(store.commit(exists).await, "k", None);
}

/// Operations find an expired key missing, and a delete of it writes nothing.
pub async fn operations_find_an_expired_key_missing(h: &dyn Place) {
    let store = expiring(h).await;
    h.clock().advance(MINUTE);
    let before = Untouched::since(&store).await;
    assert!(
        !store.delete("k").await.unwrap(),
        "there is nothing to delete"
    );
    before.assert(&store, "a delete of an expired key").await;
    let commit = store
        .commit(Transaction::new().put(key("k"), "v"))
        .await
        .unwrap();
    assert_eq!(commit.previous, [None], "nor to replace");
    assert_eq!(
        commit.current,
        [Some(commit.revision)],
        "the put is a new entry"
    );
}

/// `modify` finds an expired key missing.
pub async fn modify_finds_an_expired_key_missing(h: &dyn Place) {
    let store = expiring(h).await;
    h.clock().advance(MINUTE);
    let change = |old: Option<&kv_core::Entry>| Some(if old.is_some() { "old" } else { "new" });
    store.modify("k", change).await.unwrap();
    assert_eq!(value_of(&store, "k").await.unwrap(), "new");
}

/// A clock that is set back brings no expired key back.
pub async fn a_clock_set_back_brings_nothing_back(h: &dyn Place) {
    let store = expiring(h).await;
    let start = h.clock().now();
    h.clock().advance(MINUTE);
    assert_eq!(entry_of(&store, "k").await, None);
    h.clock().set(start);
    assert_eq!(
        entry_of(&store, "k").await,
        None,
        "what has expired stays expired"
    );
    assert!(everything(&store).await.entries.is_empty());
    store.create("k", "new").await.expect("conditions agree");
}

/// A time to live of nothing is refused.
pub async fn a_time_of_nothing_is_refused(h: &dyn Place) {
    let store = open(h).await;
    let result = store.put_expiring("k", "v", Duration::ZERO).await;
    assert!(
        matches!(&result, Err(Error::ZeroTtl { key }) if key.as_str() == "k"),
        "the error names the key, got {result:?}"
    );
    assert_eq!(entry_of(&store, "k").await, None, "nothing is written");
}

/// The longest time to live is accepted, and what is above it refused: nothing overflows.
pub async fn the_longest_time_is_accepted(h: &dyn Place) {
    let store = open(h).await;
    store
        .put_expiring("k", "v", Transaction::MAX_TTL)
        .await
        .expect("it is the longest");
    for over in [Transaction::MAX_TTL + MILLISECOND, Duration::MAX] {
        let result = store.put_expiring("k", "w", over).await;
        assert!(
            matches!(
                result,
                Err(Error::TooLarge {
                    what: Bound::Ttl,
                    ..
                })
            ),
            "{result:?}"
        );
    }
    h.clock().advance(Transaction::MAX_TTL - MILLISECOND);
    assert_eq!(value_of(&store, "k").await.unwrap(), "v");
}

/// A time is rounded up to whole milliseconds.
pub async fn a_time_is_rounded_up(h: &dyn Place) {
    let store = open(h).await;
    store
        .put_expiring("k", "v", Duration::from_nanos(1))
        .await
        .unwrap();
    let entry = entry_of(&store, "k")
        .await
        .expect("it lives for a millisecond");
    let since = entry
        .expires_at
        .unwrap()
        .duration_since(UNIX_EPOCH)
        .unwrap();
    assert_eq!(
        since.subsec_nanos() % 1_000_000,
        0,
        "an expiry is in whole milliseconds"
    );
    assert!(
        entry.expires_at.unwrap() > h.clock().now(),
        "and not in the past"
    );
    h.clock().advance(MILLISECOND);
    assert_eq!(entry_of(&store, "k").await, None);
}

/// Entries with different times go one by one.
pub async fn entries_expire_one_by_one(h: &dyn Place) {
    let store = open(h).await;
    let change = Transaction::new()
        .put_expiring(key("a"), "v", MINUTE * 3)
        .put_expiring(key("b"), "v", MINUTE)
        .put_expiring(key("c"), "v", MINUTE * 2)
        .put(key("d"), "v");
    store.commit(change).await.unwrap();
    for left in [&["a", "c", "d"][..], &["a", "d"], &["d"]] {
        h.clock().advance(MINUTE);
        assert_eq!(names(&everything(&store).await.entries), left);
    }
}

/// A later commit reclaims the room of what has expired, so that a full bucket takes a put again.
pub async fn the_room_of_the_expired_is_reclaimed(h: &dyn Place) {
    let store = h.open_small().await.expect("the bucket opens");
    let size = super::limits::part_of(&store);
    let mut count = 0;
    loop {
        let value = noise(count, size);
        match store.put_expiring(format!("k{count}"), value, MINUTE).await {
            Ok(_) => count += 1,
            Err(error) => {
                assert!(matches!(error, Error::BucketFull { .. }), "got {error:?}");
                break;
            }
        }
        assert!(count < 1_000, "a small bucket is full some time");
    }
    h.clock().advance(MINUTE);
    put(&store, "new", noise(1_000, size)).await;
    assert_eq!(names(&everything(&store).await.entries), ["new"]);
}
