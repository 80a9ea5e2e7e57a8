//! The plain verbs on one key.

use kv_core::{KvStore, KvStoreExt, Revision, Transaction};

use crate::Place;
use crate::support::{
    Untouched, entry_of, everything, key, open, put, reopen, revision_of, value_of,
};

/// A key that was never put is `None`, not empty bytes.
pub async fn missing_is_none(h: &dyn Place) {
    let store = open(h).await;
    assert_eq!(
        entry_of(&store, "missing").await,
        None,
        "a missing key is None"
    );
    put(&store, "there", "").await;
    assert_eq!(
        entry_of(&store, "missing").await,
        None,
        "also beside another key"
    );
}

/// A bucket to which nothing was committed is empty and at revision zero.
pub async fn a_new_bucket_is_empty_and_at_revision_zero(h: &dyn Place) {
    let store = open(h).await;
    let all = everything(&store).await;
    assert!(all.entries.is_empty(), "a new bucket has no entries");
    assert_eq!(all.revision, Revision::ZERO, "nothing was ever committed");
}

/// A get returns what a put stored: key, value, revision, and no expiry.
pub async fn a_put_is_read_back(h: &dyn Place) {
    let store = open(h).await;
    let revision = put(&store, "k", "v").await;
    assert!(revision > Revision::ZERO, "the first commit is above zero");
    let entry = entry_of(&store, "k")
        .await
        .expect("an acknowledged put is seen");
    assert_eq!(entry.key, key("k"));
    assert_eq!(entry.value, "v");
    assert_eq!(
        entry.revision, revision,
        "the entry has the revision of its commit"
    );
    assert_eq!(entry.expires_at, None, "a plain put never expires");
}

/// Empty bytes are a value.
pub async fn an_empty_value_is_not_missing(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "").await;
    assert_eq!(
        value_of(&store, "k").await.as_deref(),
        Some(&b""[..]),
        "empty is a value"
    );
    let store = reopen(h, store).await;
    assert_eq!(
        value_of(&store, "k").await.as_deref(),
        Some(&b""[..]),
        "also after a reopen"
    );
}

/// The last put wins.
pub async fn an_overwrite_replaces_the_value(h: &dyn Place) {
    let store = open(h).await;
    for value in ["first", "a second that is longer", "3"] {
        put(&store, "k", value).await;
        assert_eq!(
            value_of(&store, "k").await.unwrap(),
            value,
            "the last put wins"
        );
    }
    assert_eq!(
        everything(&store).await.entries.len(),
        1,
        "one key is one entry"
    );
}

/// Each commit has a higher revision than all before.
pub async fn revisions_grow_with_every_commit(h: &dyn Place) {
    let store = open(h).await;
    let mut last = Revision::ZERO;
    for (name, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "1"), ("c", "1")] {
        let revision = put(&store, name, value).await;
        assert!(revision > last, "{revision} must be above {last}");
        last = revision;
    }
    assert_eq!(
        revision_of(&store).await,
        last,
        "the bucket is at its last commit"
    );
}

/// A put of one key leaves the revision of every other.
pub async fn a_put_leaves_the_revisions_of_other_keys(h: &dyn Place) {
    let store = open(h).await;
    let revision = put(&store, "a", "1").await;
    put(&store, "b", "1").await;
    assert_eq!(entry_of(&store, "a").await.unwrap().revision, revision);
}

/// A delete removes the key, and says that it was there.
pub async fn a_delete_removes(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    put(&store, "other", "v").await;
    assert!(store.delete("k").await.unwrap(), "the key was there");
    assert_eq!(
        entry_of(&store, "k").await,
        None,
        "a deleted key is missing"
    );
    assert!(entry_of(&store, "other").await.is_some(), "other keys stay");
}

/// A delete is a commit with a revision of its own.
pub async fn a_delete_has_a_revision(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "k", "v").await;
    let commit = store
        .commit(Transaction::new().delete(key("k")))
        .await
        .unwrap();
    assert!(
        commit.revision > at,
        "a delete that removes something is a commit"
    );
    assert_eq!(commit.previous, [Some(at)], "it tells what it removed");
    assert_eq!(commit.current, [None], "and that nothing is left");
    assert_eq!(revision_of(&store).await, commit.revision);
}

/// A delete of a missing key says so.
pub async fn a_delete_of_a_missing_key_says_so(h: &dyn Place) {
    let store = open(h).await;
    assert!(
        !store.delete("k").await.unwrap(),
        "there was nothing in the empty bucket"
    );
    put(&store, "k", "v").await;
    assert!(store.delete("k").await.unwrap());
    assert!(
        !store.delete("k").await.unwrap(),
        "the second delete finds nothing"
    );
}

/// A delete of a missing key writes nothing and returns the revision that the bucket is at.
pub async fn a_delete_of_a_missing_key_writes_nothing(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "there", "v").await;
    let before = Untouched::since(&store).await;
    let commit = store
        .commit(Transaction::new().delete(key("missing")))
        .await
        .unwrap();
    assert_eq!(
        commit.revision, at,
        "nothing was written: the revision is the bucket's"
    );
    assert_eq!((commit.previous, commit.current), (vec![None], vec![None]));
    before.assert(&store, "a delete of a missing key").await;
}

/// A deleted key does not come back when the store is opened again.
pub async fn a_deleted_key_stays_gone_after_a_reopen(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "gone", "v").await;
    put(&store, "kept", "v").await;
    store.delete("gone").await.unwrap();
    let store = reopen(h, store).await;
    assert_eq!(
        entry_of(&store, "gone").await,
        None,
        "a deleted key never returns"
    );
    assert!(
        entry_of(&store, "kept").await.is_some(),
        "its neighbour stays"
    );
}

/// What was acknowledged is there when the store is opened again, revision and all.
pub async fn a_put_survives_a_reopen(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "old").await;
    put(&store, "k", "new").await;
    let before = everything(&store).await;
    let store = reopen(h, store).await;
    let after = everything(&store).await;
    assert_eq!(after.entries, before.entries, "acknowledged means stored");
    assert_eq!(
        after.revision, before.revision,
        "the bucket is where it was"
    );
}

/// Revisions go on growing after a reopen.
pub async fn revisions_grow_across_a_reopen(h: &dyn Place) {
    let store = open(h).await;
    let before = put(&store, "k", "1").await;
    let store = reopen(h, store).await;
    assert!(
        put(&store, "k", "2").await > before,
        "no revision is given out twice"
    );
}

/// A put of what is stored already keeps the revision of the entry.
pub async fn an_unchanged_put_keeps_the_revision(h: &dyn Place) {
    let store = open(h).await;
    let revision = put(&store, "k", "v").await;
    let again = put(&store, "k", "v").await;
    assert_eq!(
        again, revision,
        "the put returns the revision that the entry has"
    );
    assert_eq!(entry_of(&store, "k").await.unwrap().revision, revision);
}

/// A put of what is stored already makes no commit, and answers with the bucket's revision.
pub async fn an_unchanged_put_writes_nothing(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "k", "v").await;
    let newest = put(&store, "later", "v").await;
    let before = Untouched::since(&store).await;
    let commit = store
        .commit(Transaction::new().put(key("k"), "v"))
        .await
        .unwrap();
    assert_eq!(
        commit.revision, newest,
        "no commit: the revision is the bucket's"
    );
    assert_eq!(commit.previous, [Some(old)]);
    assert_eq!(
        commit.current,
        [Some(old)],
        "the entry stays at its old revision"
    );
    before.assert(&store, "an unchanged put").await;
}

/// An unchanged put writes nothing also on a handle that has not read the key.
pub async fn an_unchanged_put_through_another_handle_writes_nothing(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    let before = Untouched::since(&store).await;
    let other = open(h).await;
    put(&other, "k", "v").await;
    before.assert(&other, "an unchanged put").await;
}

/// A value that goes away and comes back is a new entry each time.
pub async fn a_delete_then_a_put_is_a_new_entry(h: &dyn Place) {
    let store = open(h).await;
    let first = put(&store, "k", "v").await;
    store.delete("k").await.unwrap();
    let second = put(&store, "k", "v").await;
    assert!(second > first, "the new entry has a new revision");
    assert_eq!(value_of(&store, "k").await.unwrap(), "v");
}

/// `get_many` answers for each key, in the order given, also for missing and repeated ones.
pub async fn get_many_keeps_the_order(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "a", "1").await;
    put(&store, "b", "2").await;
    let found = store.get_many(["b", "missing", "a", "b"]).await.unwrap();
    let values: Vec<_> = found
        .iter()
        .map(|entry| entry.as_ref().map(|entry| &entry.value[..]))
        .collect();
    assert_eq!(values, [Some(&b"2"[..]), None, Some(b"1"), Some(b"2")]);
    let nothing = store.get_many(Vec::<&str>::new()).await.unwrap();
    assert!(nothing.is_empty(), "no keys, no answers");
}

/// `modify` makes, changes and removes an entry.
pub async fn modify_makes_changes_and_removes(h: &dyn Place) {
    let store = open(h).await;
    let absent = |old: Option<&kv_core::Entry>| old.is_none().then_some("made");
    let made = store.modify("k", absent).await.unwrap();
    assert_eq!(entry_of(&store, "k").await.unwrap().revision, made);
    let append = |old: Option<&kv_core::Entry>| Some([&old.unwrap().value[..], b"!"].concat());
    let changed = store.modify("k", append).await.unwrap();
    assert!(changed > made);
    assert_eq!(value_of(&store, "k").await.unwrap(), "made!");
    store.modify("k", |_| None::<&str>).await.unwrap();
    assert_eq!(entry_of(&store, "k").await, None, "None removes the entry");
}
