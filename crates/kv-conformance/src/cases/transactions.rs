//! Many operations, all or none.

use kv_core::{
    Bound, Commit, Error, KvStore, KvStoreExt, ListOptions, Operation, Revision, Transaction,
};

use crate::Place;
use crate::support::{
    Untouched, already_exists, conflict, entry_of, everything, fill, key, listing, names, numbered,
    open, put, reopen, revision_of, together, too_large, value_of,
};

async fn commit(store: &dyn KvStore, transaction: Transaction) -> Commit {
    store
        .commit(transaction)
        .await
        .expect("the transaction is applied")
}

fn deletes<K: AsRef<str>>(keys: &[K]) -> Transaction {
    keys.iter().fold(Transaction::new(), |deletes, name| {
        deletes.delete(key(name))
    })
}

/// All operations of a transaction are applied, at one revision.
pub async fn all_operations_have_one_revision(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "c", "old").await;
    let change = Transaction::new()
        .put(key("a"), "1")
        .put(key("b"), "2")
        .delete(key("c"));
    let done = commit(&store, change).await;
    assert!(done.revision > old);
    assert_eq!(done.previous, [None, None, Some(old)]);
    assert_eq!(
        done.current,
        [Some(done.revision), Some(done.revision), None]
    );
    let all = everything(&store).await;
    assert_eq!(names(&all.entries), ["a", "b"]);
    assert!(
        all.entries
            .iter()
            .all(|entry| entry.revision == done.revision)
    );
}

/// Where one condition fails, nothing of the transaction is applied.
pub async fn a_failed_condition_applies_nothing(h: &dyn Place) {
    let store = open(h).await;
    let at = put(&store, "there", "v").await;
    let before = Untouched::since(&store).await;
    let change = Transaction::new()
        .require_exists(key("there"))
        .require_absent(key("there"))
        .put(key("a"), "1")
        .delete(key("there"));
    already_exists(store.commit(change).await, "there", at);
    before.assert(&store, "a failed condition").await;
}

/// Conditions on several keys must all hold; the one that fails is named.
pub async fn every_condition_must_hold(h: &dyn Place) {
    let store = open(h).await;
    let a = put(&store, "a", "1").await;
    let b = put(&store, "b", "1").await;
    let swap = |at_b| {
        Transaction::new()
            .require_at(key("a"), a)
            .require_at(key("b"), at_b)
            .put(key("a"), "2")
            .put(key("b"), "2")
    };
    conflict(store.commit(swap(a)).await, "b", Some(b));
    assert_eq!(
        value_of(&store, "a").await.unwrap(),
        "1",
        "nothing is applied"
    );
    commit(&store, swap(b)).await;
    assert_eq!(value_of(&store, "b").await.unwrap(), "2");
}

/// A condition can be on a key that the transaction does not change.
pub async fn a_condition_can_guard_another_key(h: &dyn Place) {
    let store = open(h).await;
    let lease = put(&store, "lease", "anna").await;
    let guarded = || Transaction::new().require_at(key("lease"), lease);
    commit(&store, guarded().put(key("work"), "1")).await;
    let taken = put(&store, "lease", "ben").await;
    conflict(
        store.commit(guarded().put(key("work"), "2")).await,
        "lease",
        Some(taken),
    );
    assert_eq!(
        value_of(&store, "work").await.unwrap(),
        "1",
        "who lost the lease cannot write"
    );
}

/// Conditions look at the state before the transaction.
pub async fn conditions_look_at_the_state_before(h: &dyn Place) {
    let store = open(h).await;
    let create = Transaction::new()
        .put(key("k"), "1")
        .require_absent(key("k"))
        .put(key("k"), "2");
    commit(&store, create).await;
    let remove = Transaction::new().delete(key("k")).require_exists(key("k"));
    commit(&store, remove).await;
    assert_eq!(entry_of(&store, "k").await, None);
}

/// Operations on one key apply in order: the last one wins.
pub async fn the_last_operation_on_a_key_wins(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "a", "old").await;
    let change = Transaction::new()
        .put(key("a"), "1")
        .delete(key("a"))
        .put(key("b"), "1")
        .put(key("b"), "2")
        .delete(key("c"))
        .put(key("c"), "3");
    commit(&store, change).await;
    let all = everything(&store).await.entries;
    let values: Vec<_> = all
        .iter()
        .map(|entry| (entry.key.as_str(), &entry.value[..]))
        .collect();
    assert_eq!(values, [("b", &b"2"[..]), ("c", b"3")]);
}

/// Each operation tells what was before the whole transaction, and what is after it.
pub async fn previous_and_current_span_the_whole_transaction(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "a", "old").await;
    let change = Transaction::new()
        .put(key("a"), "1")
        .put(key("b"), "1")
        .put(key("a"), "2")
        .delete(key("b"));
    let done = commit(&store, change).await;
    let new = Some(done.revision);
    assert_eq!(
        done.previous,
        [Some(old), None, Some(old), None],
        "before all of it"
    );
    assert_eq!(done.current, [new, None, new, None], "after all of it");
}

/// A transaction that leaves everything as it was writes nothing.
pub async fn a_transaction_without_effect_writes_nothing(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "a", "v").await;
    let newest = put(&store, "z", "v").await;
    let before = Untouched::since(&store).await;
    let change = Transaction::new()
        .delete(key("a"))
        .put(key("a"), "v")
        .put(key("b"), "1")
        .delete(key("b"))
        .put(key("z"), "v");
    let done = commit(&store, change).await;
    assert_eq!(
        done.revision, newest,
        "no commit: the revision is the bucket's"
    );
    assert_eq!(
        done.current,
        [Some(old), Some(old), None, None, Some(newest)]
    );
    before.assert(&store, "a transaction without effect").await;
}

/// Where only some operations change something, the other entries keep their revisions.
pub async fn unchanged_entries_keep_their_revisions(h: &dyn Place) {
    let store = open(h).await;
    let old = put(&store, "same", "v").await;
    let change = Transaction::new()
        .put(key("same"), "v")
        .put(key("new"), "v");
    let done = commit(&store, change).await;
    assert!(done.revision > old);
    assert_eq!(done.current, [Some(old), Some(done.revision)]);
    assert_eq!(entry_of(&store, "same").await.unwrap().revision, old);
}

/// An empty transaction writes nothing and tells where the bucket is.
pub async fn an_empty_transaction_writes_nothing(h: &dyn Place) {
    let store = open(h).await;
    let done = commit(&store, Transaction::new()).await;
    assert_eq!(done.revision, Revision::ZERO, "nothing was ever committed");
    let at = put(&store, "k", "v").await;
    let done = commit(&store, Transaction::new()).await;
    assert_eq!(done.revision, at);
    assert!(done.previous.is_empty() && done.current.is_empty());
    assert_eq!(revision_of(&store).await, at);
}

/// A transaction can delete, replace and add.
pub async fn a_transaction_can_delete_replace_and_add(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, &["a", "b", "c"]).await;
    let change = Transaction::new()
        .delete(key("a"))
        .put(key("b"), "new")
        .put(key("d"), "d")
        .delete(key("d"))
        .put(key("e"), "e")
        .delete(key("missing"));
    commit(&store, change).await;
    let store = reopen(h, store).await;
    let all = everything(&store).await.entries;
    assert_eq!(names(&all), ["b", "c", "e"]);
    assert_eq!(all[0].value, "new");
}

/// A transaction of the most operations is applied whole.
pub async fn a_transaction_at_the_limit_is_applied(h: &dyn Place) {
    let store = open(h).await;
    let keys = numbered("k", store.limits().transaction_operations);
    let puts = |puts: Transaction, name| puts.put(key(name), "v");
    let done = commit(&store, keys.iter().fold(Transaction::new(), puts)).await;
    assert_eq!(done.current.len(), keys.len());
    let all = everything(&store).await.entries;
    assert_eq!(names(&all), keys);
    commit(&store, deletes(&keys)).await;
    assert!(everything(&store).await.entries.is_empty());
}

/// A transaction of one operation more is refused, with the figures, and nothing is written.
pub async fn a_transaction_over_the_limit_is_refused(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    let before = Untouched::since(&store).await;
    let most = store.limits().transaction_operations;
    let put = Operation::Put {
        key: key("k"),
        value: "new".into(),
        ttl: None,
    };
    let over =
        std::iter::repeat_n(put, most + 1).fold(Transaction::new(), Transaction::with_operation);
    let result = store.commit(over).await;
    assert!(
        matches!(
            result,
            Err(Error::TooLarge {
                what: Bound::Operations,
                ..
            })
        ),
        "got {result:?}"
    );
    too_large(result, most + 1, most);
    before
        .assert(&store, "a transaction that is too large")
        .await;
}

/// As many conditions as operations are checked, and one more is refused.
pub async fn conditions_have_a_limit(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    let most = store.limits().transaction_operations;
    let of = |count| (0..count).fold(Transaction::new(), |t, _| t.require_exists(key("k")));
    commit(&store, of(most)).await;
    let result = store.commit(of(most + 1)).await;
    assert!(
        matches!(
            result,
            Err(Error::TooLarge {
                what: Bound::Conditions,
                ..
            })
        ),
        "got {result:?}"
    );
    too_large(result, most + 1, most);
}

/// Of commits side by side, one that fails does not fail the others, and each gets its own answer.
pub async fn a_failing_neighbour_fails_nobody_else(h: &dyn Place) {
    let store = open(h).await;
    let taken = put(&store, "taken", "v").await;
    let results = together(24, |i| {
        let store = store.clone();
        async move {
            match i % 4 {
                0 => store.create("taken", "mine").await,
                1 => {
                    store
                        .put("large", vec![0; store.limits().value_bytes + 1])
                        .await
                }
                _ => store.put(format!("k{i:02}"), i.to_string()).await,
            }
        }
    });
    for (i, result) in results.await.into_iter().enumerate() {
        match i % 4 {
            0 => already_exists(result, "taken", taken),
            1 => assert!(
                matches!(result, Err(Error::TooLarge { .. })),
                "got {result:?}"
            ),
            _ => {
                let entry = entry_of(&store, &format!("k{i:02}"))
                    .await
                    .expect("it was put");
                assert_eq!(entry.value, i.to_string());
                assert_eq!(
                    entry.revision,
                    result.expect("its neighbours do not matter")
                );
            }
        }
    }
}

/// While transactions write all of a group or delete it, nobody sees a part of one.
pub async fn nobody_sees_a_part(h: &dyn Place) {
    let (writer, reader) = (open(h).await, open(h).await);
    let keys = numbered("group/", 8);
    let writing = tokio::spawn({
        let keys = keys.clone();
        async move {
            for _ in 0..15 {
                fill(&writer, &keys).await;
                commit(&writer, deletes(&keys)).await;
            }
        }
    });
    while !writing.is_finished() {
        let found = listing(&reader, ListOptions::prefix("group/"))
            .await
            .entries;
        assert!(
            found.is_empty() || names(&found) == keys,
            "all or none, not {}",
            found.len()
        );
        let same = found
            .windows(2)
            .all(|pair| pair[0].revision == pair[1].revision);
        assert!(same, "entries of one transaction have one revision");
    }
    writing.await.expect("the writer succeeds");
}

/// Transactions that need the same keys in different orders all get through.
pub async fn crossing_transactions_all_get_through(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let done = together(12, |i| {
        let store = handles[i % 2].clone();
        let (first, second) = if i % 3 == 0 { ("a", "b") } else { ("b", "a") };
        let value = i.to_string();
        let change = Transaction::new()
            .put(key(first), value.clone())
            .put(key(second), value);
        async move { store.commit(change).await }
    });
    for result in done.await {
        result.expect("no condition, no conflict");
    }
    let all = everything(&handles[0]).await.entries;
    assert_eq!(
        all[0].value, all[1].value,
        "the last transaction wrote both"
    );
}
