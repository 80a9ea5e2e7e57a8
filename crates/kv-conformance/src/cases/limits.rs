//! What a store accepts, and how full a bucket is.

use kv_core::{Error, KvStore, KvStoreExt, Limits, Result, Transaction, Usage};

use crate::Place;
use crate::support::{
    Store, Untouched, entry_of, everything, fill, key, noise, open, put, reopen, value_of,
};

/// A size of which some fill a small bucket.
pub(crate) fn part_of(store: &dyn KvStore) -> usize {
    let limits = store.limits();
    let room = limits
        .bucket_bytes
        .expect("the bucket has a bound, unless a lack is declared");
    usize::try_from(room / 8).unwrap().min(limits.value_bytes)
}

/// A bucket into which no further value of [`part_of`] its size goes, and how many did.
async fn full(h: &dyn Place) -> (Store, u64) {
    let store = h.open_small().await.expect("the bucket opens");
    let size = part_of(&store);
    for count in 0..1_000 {
        match store.put(format!("k{count}"), noise(count, size)).await {
            Ok(_) => {}
            Err(Error::BucketFull { .. }) => return (store, count),
            Err(other) => panic!("a full bucket is BucketFull, got {other:?}"),
        }
    }
    panic!("a small bucket is full some time");
}

fn figures<T>(result: Result<T>) -> (u64, u64) {
    match result.map(|_| ()) {
        Err(Error::BucketFull {
            needed, available, ..
        }) => (needed, available),
        other => panic!("the bucket must be full, got {other:?}"),
    }
}

async fn usage(store: &dyn KvStore) -> Usage {
    store
        .usage()
        .await
        .expect("usage is known, unless a lack is declared")
}

/// The limits are within those of the contract, are sensible, and do not change.
pub async fn limits_are_stated(h: &dyn Place) {
    let store = open(h).await;
    let limits = store.limits();
    let Limits {
        key_bytes,
        value_bytes,
        transaction_operations,
        bucket_bytes,
    } = limits;
    assert!((64..=Limits::CONTRACT.key_bytes).contains(&key_bytes));
    assert!((1_024..=Limits::CONTRACT.value_bytes).contains(&value_bytes));
    assert!((16..=Limits::CONTRACT.transaction_operations).contains(&transaction_operations));
    assert_ne!(bucket_bytes, Some(0), "something fits");
    put(&store, "k", "v").await;
    assert_eq!(
        open(h).await.limits(),
        limits,
        "every handle states the same"
    );
}

/// The usage of an empty bucket is nothing.
pub async fn an_empty_bucket_uses_nothing(h: &dyn Place) {
    let store = open(h).await;
    let usage = usage(&store).await;
    assert_eq!(usage.entries, 0);
    assert_eq!(
        usage.limit,
        store.limits().bucket_bytes,
        "the limit is that of the store"
    );
}

/// Usage counts entries and bytes, and follows every commit.
pub async fn usage_follows_every_commit(h: &dyn Place) {
    let store = open(h).await;
    let empty = usage(&store).await;
    fill(&store, &["a", "b"]).await;
    let revision = put(&store, "large", noise(1, 20_000)).await;
    let fuller = usage(&store).await;
    assert_eq!((fuller.entries, fuller.revision), (3, revision));
    assert!(
        fuller.bytes >= empty.bytes + 20_000,
        "incompressible bytes count in full"
    );
    store.delete("large").await.unwrap();
    let lighter = usage(&store).await;
    assert_eq!(lighter.entries, 2);
    assert!(lighter.bytes < fuller.bytes, "a delete makes room");
    assert_eq!(
        usage(&open(h).await).await,
        lighter,
        "every handle tells the same"
    );
}

/// What writes nothing changes no figure of the usage.
pub async fn usage_stays_where_nothing_is_written(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    let before = usage(&store).await;
    put(&store, "k", "v").await;
    store.delete("missing").await.unwrap();
    store.create("k", "w").await.unwrap_err();
    store.commit(Transaction::new()).await.unwrap();
    assert_eq!(usage(&store).await, before);
}

/// After a teardown nothing is used.
pub async fn usage_after_a_teardown_is_nothing(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, &["a", "b"]).await;
    store.teardown().await.unwrap();
    assert_eq!(usage(&store).await.entries, 0);
}

/// A put into a full bucket is refused, and nothing is written.
pub async fn a_full_bucket_refuses_and_writes_nothing(h: &dyn Place) {
    let (store, _) = full(h).await;
    let before = Untouched::since(&store).await;
    let size = part_of(&store);
    let (needed, available) = figures(store.put("more", noise(9_999, size)).await);
    assert!(
        needed > available,
        "{needed} bytes are needed and {available} left"
    );
    assert!(needed >= size as u64, "incompressible bytes count in full");
    before.assert(&store, "a put into a full bucket").await;
}

/// What the refusal says is left is left.
pub async fn what_is_left_can_be_used(h: &dyn Place) {
    let (store, _) = full(h).await;
    let size = part_of(&store);
    let (needed, available) = figures(store.put("more", noise(9_999, size)).await);
    let over = usize::try_from(needed - available).unwrap();
    // A store that compresses cannot tell to the byte what another value would take.
    let slack = 64;
    if let Some(fits) = size.checked_sub(over + slack) {
        put(&store, "more", noise(9_999, fits)).await;
        let more = noise(7_777, over + 2 * slack);
        figures(store.put("one more", more).await);
    }
}

/// A transaction that does not fit as a whole is not applied in part.
pub async fn a_transaction_into_a_full_bucket_is_all_or_none(h: &dyn Place) {
    let (store, _) = full(h).await;
    let size = part_of(&store);
    let change = Transaction::new()
        .put(key("small"), "v")
        .put(key("more"), noise(9_999, size))
        .put(key("more too"), noise(8_888, size));
    figures(store.commit(change).await);
    assert_eq!(
        entry_of(&store, "small").await,
        None,
        "not even what would fit"
    );
}

/// After a delete a full bucket takes as much again.
pub async fn after_a_delete_it_fits_again(h: &dyn Place) {
    let (store, count) = full(h).await;
    let size = part_of(&store);
    assert!(
        store.delete(format!("k{}", count / 2)).await.unwrap(),
        "a delete needs no room"
    );
    put(&store, "new", noise(9_999, size)).await;
    figures(store.put("more", noise(8_888, size)).await);
    let all = everything(&store).await.entries;
    assert_eq!(all.len() as u64, count);
}

/// A full bucket takes what needs no more room: smaller values, and deletes beside puts.
pub async fn a_full_bucket_takes_what_needs_no_more_room(h: &dyn Place) {
    let (store, _) = full(h).await;
    put(&store, "k0", "small").await;
    let size = part_of(&store);
    let swap = Transaction::new()
        .delete(key("k1"))
        .put(key("swapped"), noise(9_999, size));
    store
        .commit(swap)
        .await
        .expect("it takes no more room than it gives back");
    assert_eq!(value_of(&store, "k0").await.unwrap(), "small");
}

/// What filled a bucket is all there after the refusal.
pub async fn a_full_bucket_keeps_everything(h: &dyn Place) {
    let (store, count) = full(h).await;
    assert!(
        count >= 4,
        "some values of an eighth of the bound fit, got {count}"
    );
    let size = part_of(&store);
    for i in 0..count {
        let value = value_of(&store, &format!("k{i}"))
            .await
            .expect("it was acknowledged");
        assert!(value == noise(i, size), "k{i} is as it was put");
    }
}

/// Usage never passes its limit, and says so when the bucket is full.
pub async fn usage_stays_within_the_limit(h: &dyn Place) {
    let (store, count) = full(h).await;
    let usage = usage(&store).await;
    let limit = usage.limit.expect("the bucket has a bound");
    assert_eq!(usage.entries, count);
    assert!(
        usage.bytes <= limit,
        "{} of {limit} bytes are used",
        usage.bytes
    );
    assert!(
        usage.bytes >= count * part_of(&store) as u64,
        "incompressible bytes count in full"
    );
    let (_, available) = figures(store.put("more", noise(9_999, part_of(&store))).await);
    // A backend may have tidied up in between.
    assert!(
        available <= limit - usage.bytes + limit / 100,
        "what is left is what is not used"
    );
}

/// A bucket that was emptied takes everything again.
pub async fn an_emptied_bucket_takes_everything_again(h: &dyn Place) {
    let store = open(h).await;
    let size = store.limits().value_bytes.min(100_000);
    for round in 0..6 {
        for i in 0..3 {
            put(&store, &format!("k{i}"), noise(round * 3 + i, size)).await;
        }
        let deletes = (0..3).fold(Transaction::new(), |t, i| t.delete(key(format!("k{i}"))));
        store.commit(deletes).await.expect("a delete needs no room");
    }
    let store = reopen(h, store).await;
    assert!(everything(&store).await.entries.is_empty());
}
