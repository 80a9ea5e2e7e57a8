//! Several tasks, several handles.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kv_core::{Entry, Error, Key, KvStore, KvStoreExt, Result, Revision, Transaction};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::Place;
use crate::history::{self, Recorder};
use crate::support::{
    Store, entry_of, everything, fill, key, names, numbered, open, open_other, put, together,
    value_of,
};

fn number(entry: Option<&Entry>) -> u64 {
    entry.map_or(0, |entry| {
        let text = std::str::from_utf8(&entry.value).expect("a number was put");
        text.parse().expect("a number was put")
    })
}

async fn increment(store: &dyn KvStore) -> Result<Revision> {
    store
        .modify("counter", |old| Some((number(old) + 1).to_string()))
        .await
}

/// Runs `tasks` tasks, spread over the handles, that each add one `times` times.
async fn assert_increments_add_up(handles: &[Store], tasks: usize, times: usize) {
    let done = together(tasks, |i| {
        let store = handles[i % handles.len()].clone();
        async move {
            for _ in 0..times {
                increment(&store).await.expect("an increment gets through");
            }
        }
    });
    done.await;
    for store in handles {
        let sum = number(entry_of(store, "counter").await.as_ref());
        assert_eq!(
            sum,
            (tasks * times) as u64,
            "no increment is lost, none counted twice"
        );
    }
}

/// Increments of a hundred tasks add up.
pub async fn increments_add_up(h: &dyn Place) {
    assert_increments_add_up(&[open(h).await], 100, 10).await;
}

/// Increments through two handles, each with a cache of its own, add up.
pub async fn increments_through_two_handles_add_up(h: &dyn Place) {
    assert_increments_add_up(&[open(h).await, open(h).await], 8, 10).await;
}

/// Increments by a bare read, change and conditional write add up: who loses is told.
pub async fn hand_made_increments_add_up(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let done = together(4, |i| {
        let store = handles[i % 2].clone();
        async move {
            let mut added = 0;
            while added < 5 {
                let old = entry_of(&store, "counter").await;
                let new = (number(old.as_ref()) + 1).to_string();
                let result = match old {
                    Some(old) => store.update("counter", new, old.revision).await,
                    None => store.create("counter", new).await,
                };
                match result {
                    Ok(_) => added += 1,
                    Err(error) => assert!(error.is_conflict(), "got {error:?}"),
                }
            }
        }
    });
    done.await;
    assert_eq!(number(entry_of(&handles[0], "counter").await.as_ref()), 20);
}

/// Of two writers that read, change and write, the second is told that the first was there.
pub async fn an_update_is_never_lost(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    put(&one, "k", "old").await;
    let seen_by_one = entry_of(&one, "k").await.unwrap();
    let seen_by_other = entry_of(&other, "k").await.unwrap();
    one.update("k", "one", seen_by_one.revision)
        .await
        .expect("it is the first");
    let second = other.update("k", "other", seen_by_other.revision).await;
    crate::support::conflict(
        second,
        "k",
        Some(entry_of(&one, "k").await.unwrap().revision),
    );
    assert_eq!(
        value_of(&other, "k").await.unwrap(),
        "one",
        "the first update stays"
    );
}

/// Plain puts of different keys through handles with caches of their own are all kept.
pub async fn sixteen_handles_put_side_by_side(h: &dyn Place) {
    let mut handles = Vec::new();
    for _ in 0..16 {
        handles.push(open(h).await);
    }
    let done = together(16, |i| {
        let store = handles[i].clone();
        async move {
            for round in 0..4 {
                put(&store, &format!("by/{i:02}/{round}"), format!("{i}")).await;
            }
        }
    });
    done.await;
    drop(handles);
    let store = open(h).await;
    let all = everything(&store).await.entries;
    assert_eq!(all.len(), 64, "every acknowledged put is there");
    let matches = |entry: &Entry| entry.key.as_str()[3..5].parse::<u8>().unwrap().to_string();
    assert!(
        all.iter().all(|entry| entry.value == matches(entry)),
        "each with its own value"
    );
}

/// Commits side by side each get a revision of their own.
pub async fn revisions_are_given_out_once(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let done = together(40, |i| {
        let store = handles[i % 2].clone();
        async move { put(&store, &format!("k{i}"), "v").await }
    });
    let mut revisions = done.await;
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 40, "no two commits share a revision");
}

/// Of many that create a key at the same time, exactly one succeeds.
pub async fn one_of_many_creates_succeeds(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let done = together(12, |i| {
        let store = handles[i % 2].clone();
        async move { store.create("k", i.to_string()).await }
    });
    let results = done.await;
    let winners: Vec<usize> = (0..12).filter(|i| results[*i].is_ok()).collect();
    assert_eq!(winners.len(), 1, "a key is created once");
    assert_eq!(
        value_of(&handles[0], "k").await.unwrap(),
        winners[0].to_string()
    );
    let lost = results.iter().filter_map(|result| result.as_ref().err());
    for error in lost {
        assert!(
            matches!(error, Error::AlreadyExists { .. }),
            "got {error:?}"
        );
    }
}

/// Of many that delete a key at the same time, exactly one is told that it was there.
pub async fn one_of_many_deletes_finds_the_key(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    put(&handles[0], "k", "v").await;
    let done = together(8, |i| {
        let store = handles[i % 2].clone();
        async move { store.delete("k").await.expect("a delete succeeds") }
    });
    let found = done.await.into_iter().filter(|found| *found).count();
    assert_eq!(found, 1, "a key is deleted once");
}

/// A delete beside a put of another key never takes the put with it, not even where the bucket
/// would be empty.
pub async fn a_delete_never_takes_a_put_with_it(h: &dyn Place) {
    let (one, other) = (open(h).await, open(h).await);
    for round in 0..8 {
        put(&one, "old", "v").await;
        let name = format!("new-{round}");
        let (deleted, added) = futures::join!(one.delete("old"), other.put(&name, "v"));
        deleted.expect("a delete succeeds");
        added.expect("a put succeeds");
        assert!(
            entry_of(&one, &name).await.is_some(),
            "an acknowledged put stays"
        );
        assert!(other.delete(&name).await.unwrap());
    }
}

/// Tasks that put, read and delete keys of their own never disturb each other.
pub async fn tasks_with_keys_of_their_own_are_undisturbed(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let done = together(8, |i| {
        let store = handles[i % 2].clone();
        async move {
            let name = format!("task/{i}");
            for round in 0..4 {
                let value = format!("{i} in round {round}");
                put(&store, &name, value.clone()).await;
                assert_eq!(value_of(&store, &name).await.unwrap(), value);
                assert!(store.delete(&name).await.unwrap(), "it was there");
                assert_eq!(entry_of(&store, &name).await, None);
            }
        }
    });
    done.await;
    assert!(everything(&handles[0]).await.entries.is_empty());
}

/// Two buckets used side by side in one process do not mix.
pub async fn two_buckets_side_by_side_do_not_mix(h: &dyn Place) {
    let buckets = [open(h).await, open_other(h).await];
    let done = together(8, |i| {
        let (store, own) = (buckets[i % 2].clone(), format!("bucket {}", i % 2));
        async move { fill(&store, &numbered(&format!("{own}/{i}/"), 5)).await }
    });
    done.await;
    for (i, store) in buckets.iter().enumerate() {
        let all = everything(store).await.entries;
        assert_eq!(all.len(), 20);
        let own = format!("bucket {i}/");
        assert!(
            all.iter()
                .all(|entry| entry.value.starts_with(own.as_bytes()))
        );
    }
}

/// Transfers between accounts keep their sum in every snapshot.
pub async fn transfers_keep_the_sum(h: &dyn Place) {
    const ACCOUNTS: usize = 4;
    let handles = [open(h).await, open(h).await];
    let names = numbered("account/", ACCOUNTS);
    let open_accounts = |t: Transaction, name: &String| t.put(key(name), "100");
    let opening = names.iter().fold(Transaction::new(), open_accounts);
    handles[0]
        .commit(opening)
        .await
        .expect("a transaction succeeds");
    let done = together(4, |i| {
        let (store, names) = (handles[i % 2].clone(), names.clone());
        async move {
            for round in 0..6 {
                transfer(&store, &names[i], &names[(i + 1 + round % 3) % ACCOUNTS]).await;
                let all = store.list("account/").await.expect("a list succeeds");
                let sum: u64 = all.iter().map(|entry| number(Some(entry))).sum();
                assert_eq!(
                    sum,
                    100 * ACCOUNTS as u64,
                    "no snapshot shows half a transfer"
                );
            }
        }
    });
    done.await;
}

/// Moves one from an account to another, as often as it takes.
async fn transfer(store: &dyn KvStore, from: &str, to: &str) {
    loop {
        let (source, target) = (entry_of(store, from).await, entry_of(store, to).await);
        let (source, target) = (source.expect("an account"), target.expect("an account"));
        let left = number(Some(&source)).checked_sub(1);
        let left = left.expect("an account is emptied by half a transfer, and by no whole one");
        let change = Transaction::new()
            .require_at(&source.key, source.revision)
            .require_at(&target.key, target.revision)
            .put(&source.key, left.to_string())
            .put(&target.key, (number(Some(&target)) + 1).to_string());
        match store.commit(change).await {
            Ok(_) => return,
            Err(error) => assert!(error.is_conflict(), "got {error:?}"),
        }
    }
}

/// The calls of several tasks, through handles with caches of their own, have an order that
/// explains every answer.
pub async fn histories_are_linearizable(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let recorder = Arc::new(Recorder::default());
    let done = together(8, |i| {
        let (store, recorder) = (handles[i % 2].clone(), recorder.clone());
        async move {
            let mut choice = StdRng::seed_from_u64(i as u64);
            for _ in 0..25 {
                let name = key(format!("k{}", choice.random_range(0..3)));
                random_call(&recorder, &store, &name, choice.random_range(0..5)).await;
            }
        }
    });
    done.await;
    let history = recorder.history();
    let wrong = history::check(&history);
    assert_eq!(
        wrong,
        Ok(()),
        "no order explains what was read: {history:#?}"
    );
}

async fn random_call(recorder: &Recorder, store: &dyn KvStore, name: &Key, choice: u8) {
    let read = recorder.get(store, name).await.expect("a read succeeds");
    let written = match (choice, read) {
        (0, _) => recorder.put(store, name).await,
        (1, _) => recorder.delete(store, name).await,
        (2, Some(read)) => recorder.remove(store, &read).await,
        (3, _) => Ok(()),
        (_, read) => recorder.replace(store, name, read.as_ref()).await,
    };
    let refused = |error: &Error| error.is_conflict();
    assert!(
        written.as_ref().err().is_none_or(refused),
        "got {written:?}"
    );
}

/// A future that is dropped half-way applies its transaction whole or not at all, and the store
/// stays usable.
pub async fn a_dropped_future_leaves_the_store_usable(h: &dyn Place) {
    let store = open(h).await;
    let pair = |value: String| {
        Transaction::new()
            .put(key("a"), value.clone())
            .put(key("b"), value)
    };
    for polls in 0..6_u64 {
        let mut commit = store.commit(pair(polls.to_string()));
        // Dropped before it is polled, after one poll, and after some time.
        let pending = polls > 0 && commit.as_mut().now_or_never().is_none();
        if pending && polls > 1 {
            let _ = tokio::time::timeout(Duration::from_micros(300 * polls), commit).await;
        } else {
            drop(commit);
        }
        let all = everything(&store).await.entries;
        assert!(
            all.is_empty() || all[0].value == all[1].value,
            "all or nothing"
        );
    }
    let done = store
        .commit(pair("last".to_owned()))
        .await
        .expect("the store stays usable");
    let all = everything(&store).await.entries;
    assert_eq!(names(&all), ["a", "b"]);
    assert!(
        all.iter()
            .all(|entry| entry.value == "last" && entry.revision == done.revision)
    );
}

/// A teardown beside puts leaves a bucket that works.
pub async fn a_teardown_beside_puts_leaves_a_bucket_that_works(h: &dyn Place) {
    let handles = [open(h).await, open(h).await];
    let done = together(8, |i| {
        let store = handles[i % 2].clone();
        async move {
            if i == 3 {
                store.teardown().await.map(|()| Revision::ZERO)
            } else {
                store.put(format!("k{i}"), "v").await
            }
        }
    });
    for result in done.await {
        result.expect("neither disturbs the other");
    }
    let revision = put(&handles[0], "after", "v").await;
    let all = everything(&handles[1]).await;
    assert_eq!(all.revision, revision);
    assert!(all.entries.iter().all(|entry| entry.revision <= revision));
    assert!(entry_of(&handles[1], "after").await.is_some());
}
