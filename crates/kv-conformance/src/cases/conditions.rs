//! Conditions, one by one, each both ways.

use kv_core::{Error, Expected, KvStore, KvStoreExt, Revision, Transaction};

use crate::Place;
use crate::support::{
    Untouched, already_exists, conflict, entry_of, key, open, put, revision_of, together, value_of,
};

/// `create` stores a value under a key that is absent.
pub async fn create_of_an_absent_key_succeeds(h: &dyn Place) {
    let store = open(h).await;
    let revision = store.create("k", "v").await.unwrap();
    assert_eq!(entry_of(&store, "k").await.unwrap().revision, revision);
}

/// `create` of a key that is there is `AlreadyExists`, with its revision.
pub async fn create_of_an_existing_key_is_refused(h: &dyn Place) {
    let store = open(h).await;
    let revision = put(&store, "k", "v").await;
    let before = Untouched::since(&store).await;
    already_exists(store.create("k", "w").await, "k", revision);
    already_exists(store.create("k", "v").await, "k", revision);
    before.assert(&store, "a refused create").await;
}

/// `create` succeeds again after a delete.
pub async fn create_after_a_delete_succeeds(h: &dyn Place) {
    let store = open(h).await;
    let first = store.create("k", "1").await.unwrap();
    store.delete("k").await.unwrap();
    let second = store
        .create("k", "2")
        .await
        .expect("the key is absent again");
    assert!(second > first);
}

/// `update` at the entry's revision stores the value.
pub async fn update_at_the_right_revision_succeeds(h: &dyn Place) {
    let store = open(h).await;
    let first = put(&store, "k", "1").await;
    let second = store.update("k", "2", first).await.unwrap();
    assert!(second > first);
    let third = store
        .update("k", "3", second)
        .await
        .expect("the new revision serves");
    assert_eq!(entry_of(&store, "k").await.unwrap().revision, third);
    assert_eq!(value_of(&store, "k").await.unwrap(), "3");
}

/// `update` at an older revision is a conflict, and leaves value and revision.
pub async fn update_at_a_stale_revision_is_a_conflict(h: &dyn Place) {
    let store = open(h).await;
    let stale = put(&store, "k", "1").await;
    let newer = put(&store, "k", "2").await;
    let before = Untouched::since(&store).await;
    conflict(store.update("k", "3", stale).await, "k", Some(newer));
    before.assert(&store, "a conflict").await;
}

/// `update` at a revision that is not reached yet is a conflict.
pub async fn update_at_a_future_revision_is_a_conflict(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "k", "1").await;
    let future = Revision::new(at.get() + 1);
    conflict(store.update("k", "2", future).await, "k", Some(at));
    conflict(store.update("k", "2", Revision::ZERO).await, "k", Some(at));
}

/// `update` of a missing key is a conflict that found nothing.
pub async fn update_of_a_missing_key_is_a_conflict(h: &dyn Place) {
    let store = open(h).await;
    conflict(store.update("k", "v", Revision::ZERO).await, "k", None);
    let other = put(&store, "other", "v").await;
    conflict(store.update("k", "v", other).await, "k", None);
    assert_eq!(entry_of(&store, "k").await, None, "nothing is written");
}

/// A conflict tells what was expected.
pub async fn a_conflict_tells_what_was_expected(h: &dyn Place) {
    let store = open(h).await;
    let wanted = Revision::new(7);
    let at = store.update("k", "v", wanted).await;
    assert!(
        matches!(&at, Err(Error::Conflict { expected: Expected::At(at), .. }) if *at == wanted),
        "got {at:?}"
    );
    let exists = store
        .commit(Transaction::new().require_exists(key("k")))
        .await;
    assert!(
        matches!(
            &exists,
            Err(Error::Conflict {
                expected: Expected::Exists,
                ..
            })
        ),
        "got {exists:?}"
    );
}

/// `require_exists` holds for a key at any revision and fails for a missing one.
pub async fn require_exists_both_ways(h: &dyn Place) {
    let store = open(h).await;
    let change = || {
        Transaction::new()
            .require_exists(key("k"))
            .put(key("k"), "new")
    };
    conflict(store.commit(change()).await, "k", None);
    assert_eq!(entry_of(&store, "k").await, None, "nothing is written");
    put(&store, "k", "old").await;
    store.commit(change()).await.expect("the key exists");
    assert_eq!(value_of(&store, "k").await.unwrap(), "new");
}

/// `delete_at` the entry's revision removes it.
pub async fn delete_at_the_right_revision_succeeds(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "k", "v").await;
    assert!(
        store.delete_at("k", at).await.unwrap() > at,
        "the delete is a commit"
    );
    assert_eq!(entry_of(&store, "k").await, None);
}

/// `delete_at` an older revision is a conflict, and so is one of a missing key.
pub async fn delete_at_a_stale_revision_is_a_conflict(h: &dyn Place) {
    let store = open(h).await;
    let stale = put(&store, "k", "1").await;
    let newer = put(&store, "k", "2").await;
    conflict(store.delete_at("k", stale).await, "k", Some(newer));
    assert_eq!(value_of(&store, "k").await.unwrap(), "2", "the entry stays");
    store.delete("k").await.unwrap();
    conflict(store.delete_at("k", newer).await, "k", None);
}

/// The revision of one key does not serve for another.
pub async fn a_revision_serves_for_its_own_key_only(h: &dyn Place) {
    let store = open(h).await;
    let a = put(&store, "a", "v").await;
    let b = put(&store, "b", "v").await;
    conflict(store.update("b", "w", a).await, "b", Some(b));
    conflict(store.update("a", "w", b).await, "a", Some(a));
}

/// A write of one key does not spoil the revision of another.
pub async fn a_revision_holds_while_other_keys_change(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "k", "1").await;
    for i in 0..5 {
        put(&store, "other", format!("{i}")).await;
    }
    store
        .update("k", "2", at)
        .await
        .expect("the entry was not written since");
}

/// The revision of an entry that was deleted and made again is a new one.
pub async fn a_revision_never_returns(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "k", "v").await;
    store.delete("k").await.unwrap();
    let new = put(&store, "k", "v").await;
    conflict(store.update("k", "w", old).await, "k", Some(new));
    conflict(store.delete_at("k", old).await, "k", Some(new));
}

/// The revision of an entry that was deleted and made again through other handles is a new one.
pub async fn a_revision_never_returns_through_other_handles(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "k", "v").await;
    let other = open(h).await;
    other.delete("k").await.unwrap();
    drop(other);
    let new = put(&open(h).await, "k", "v").await;
    conflict(store.update("k", "w", old).await, "k", Some(new));
}

/// A revision from a list serves as one from a get does.
pub async fn a_revision_from_a_list_serves(h: &dyn Place) {
    let store = open(h).await;
    crate::support::fill(&store, &["a", "b"]).await;
    for entry in store.list("").await.unwrap() {
        store
            .update(&entry.key, "new", entry.revision)
            .await
            .expect("the entry is at it");
    }
}

/// A revision survives its way through text.
pub async fn a_revision_serves_after_its_way_through_text(h: &dyn Place) {
    let store = open(h).await;
    let text = put(&store, "k", "v").await.to_string();
    let revision = text.parse().expect("a revision reads what it printed");
    store
        .update("k", "w", revision)
        .await
        .expect("it is the same revision");
}

/// Conditions are checked also where nothing would be written.
pub async fn conditions_are_checked_where_nothing_changes(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "k", "v").await;
    already_exists(store.create("k", "v").await, "k", at);
    conflict(store.update("k", "v", Revision::ZERO).await, "k", Some(at));
    let check = Transaction::new()
        .require_exists(key("missing"))
        .delete(key("gone"));
    conflict(store.commit(check).await, "missing", None);
}

/// A condition that holds, with nothing to write, answers with the bucket's revision.
pub async fn conditions_without_operations_write_nothing(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "k", "v").await;
    let newest = put(&store, "other", "v").await;
    let check = Transaction::new()
        .require_at(key("k"), at)
        .require_exists(key("other"))
        .require_absent(key("missing"));
    let commit = store.commit(check).await.unwrap();
    assert_eq!(commit.revision, newest);
    assert!(commit.previous.is_empty() && commit.current.is_empty());
    assert_eq!(revision_of(&store).await, newest);
}

/// `update` with what is stored already succeeds at the right revision and keeps it.
pub async fn an_unchanged_update_keeps_the_revision(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "k", "v").await;
    assert_eq!(store.update("k", "v", at).await.unwrap(), at);
    store
        .update("k", "w", at)
        .await
        .expect("the entry was not written since");
}

/// A handle with an old cache decides on what is stored.
pub async fn conditions_are_decided_on_what_is_stored(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    let old = put(&one, "k", "1").await;
    assert!(entry_of(&other, "k").await.is_some());
    let new = put(&one, "k", "2").await;
    conflict(other.update("k", "3", old).await, "k", Some(new));
    other
        .update("k", "3", new)
        .await
        .expect("the revision is right");
    one.delete("k").await.unwrap();
    other.create("k", "4").await.expect("the key is absent");
}

/// `modify` under contention loses no change.
pub async fn modify_under_contention_loses_nothing(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let done = together(10, |i| {
        let store = handles[i % 2].clone();
        async move {
            let add = |old: Option<&kv_core::Entry>| {
                let mut names = old.map_or_else(Vec::new, |entry| entry.value.to_vec());
                names.push(b'a' + u8::try_from(i).unwrap());
                Some(names)
            };
            store.modify("k", add).await
        }
    });
    done.await
        .into_iter()
        .for_each(|result| assert!(result.is_ok(), "{result:?}"));
    let mut names = value_of(&handles[0], "k").await.unwrap().to_vec();
    names.sort_unstable();
    assert_eq!(names, b"abcdefghij", "each change is there, once");
}

/// Where the closure of `try_modify` refuses, nothing is written and its error comes back.
pub async fn a_refusal_of_try_modify_writes_nothing(h: &dyn Place) {
    #[derive(Debug)]
    enum Failure {
        Refused,
        Store(#[expect(dead_code, reason = "shown by Debug where the case fails")] Error),
    }
    impl From<Error> for Failure {
        fn from(error: Error) -> Self {
            Self::Store(error)
        }
    }
    let store = open(h).await;
    put(&store, "k", "v").await;
    let before = Untouched::since(&store).await;
    let refuse = |_: Option<&kv_core::Entry>| Err::<Option<&str>, _>(Failure::Refused);
    let result = store.try_modify("k", refuse).await;
    assert!(matches!(result, Err(Failure::Refused)), "got {result:?}");
    before.assert(&store, "a refused change").await;
}
