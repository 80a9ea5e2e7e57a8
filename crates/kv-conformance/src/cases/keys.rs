//! Which texts are keys, and that each is a key of its own.

use std::collections::BTreeSet;

use kv_core::{Error, KvStore, KvStoreExt, ListOptions, Transaction};

use crate::support::{
    entry_of, everything, fill, key, listing, names, open, put, reopen, too_large, value_of,
};
use crate::{HOSTILE_KEYS, Place};

/// Puts `keys`, each with itself as its value, and finds each of them, and nothing else, in the
/// order of their bytes, before and after a reopen.
async fn assert_distinct(h: &dyn Place, keys: &[&str]) {
    let mut store = open(h).await;
    fill(&store, keys).await;
    let sorted: BTreeSet<&str> = keys.iter().copied().collect();
    for _ in 0..2 {
        let all = everything(&store).await.entries;
        let in_order: Vec<&str> = sorted.iter().copied().collect();
        assert_eq!(
            names(&all),
            in_order,
            "every key is there, in the order of the bytes"
        );
        for entry in all {
            assert_eq!(
                entry.value,
                entry.key.as_str(),
                "each key has a value of its own"
            );
        }
        store = reopen(h, store).await;
    }
}

/// No two of the hostile keys are taken for one.
pub async fn hostile_keys_are_all_distinct(h: &dyn Place) {
    assert_distinct(h, HOSTILE_KEYS).await;
}

/// Each hostile key can be put, read, conditioned on and deleted by itself.
pub async fn each_hostile_key_works_in_every_verb(h: &dyn Place) {
    let store = open(h).await;
    for name in HOSTILE_KEYS.iter().step_by(5) {
        let created = store.create(*name, "1").await.expect("it is absent");
        store
            .update(*name, "2", created)
            .await
            .expect("it is at that revision");
        assert_eq!(
            value_of(&store, name).await.unwrap(),
            "2",
            "{name:?} is read back"
        );
        assert!(store.delete(*name).await.unwrap(), "{name:?} is deleted");
    }
    assert!(everything(&store).await.entries.is_empty());
}

/// To delete some hostile keys leaves exactly the others.
pub async fn deleting_hostile_keys_leaves_the_others(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, HOSTILE_KEYS).await;
    let (gone, kept): (Vec<_>, Vec<_>) = (0..HOSTILE_KEYS.len()).partition(|i| i % 2 == 0);
    let delete = |deletes: Transaction, i: &usize| deletes.delete(key(HOSTILE_KEYS[*i]));
    store
        .commit(gone.iter().fold(Transaction::new(), delete))
        .await
        .unwrap();
    let left: BTreeSet<&str> = kept.into_iter().map(|i| HOSTILE_KEYS[i]).collect();
    let store = reopen(h, store).await;
    let all = everything(&store).await.entries;
    assert_eq!(names(&all), left.into_iter().collect::<Vec<_>>());
}

/// Each hostile key, as a prefix, lists what begins with it and nothing else.
pub async fn hostile_keys_work_as_prefixes(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, HOSTILE_KEYS).await;
    let sorted: BTreeSet<&str> = HOSTILE_KEYS.iter().copied().collect();
    for prefix in HOSTILE_KEYS {
        let found = listing(&store, ListOptions::prefix(*prefix)).await.entries;
        let expected = sorted
            .iter()
            .copied()
            .filter(|name| name.starts_with(prefix));
        assert_eq!(
            names(&found),
            expected.collect::<Vec<_>>(),
            "prefix {prefix:?}"
        );
    }
}

/// Each hostile key serves as the key to start after.
pub async fn hostile_keys_work_as_a_start(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, HOSTILE_KEYS).await;
    let sorted: BTreeSet<&str> = HOSTILE_KEYS.iter().copied().collect();
    for start in HOSTILE_KEYS.iter().step_by(3) {
        let options = ListOptions::default()
            .with_start_after(key(start))
            .with_limit(3);
        let found = listing(&store, options).await.entries;
        let expected = sorted.iter().copied().filter(|name| name > start).take(3);
        assert_eq!(
            names(&found),
            expected.collect::<Vec<_>>(),
            "after {start:?}"
        );
    }
}

/// Slashes are kept in every position and number.
pub async fn slashes_are_kept(h: &dyn Place) {
    assert_distinct(
        h,
        &[
            "a/b", "/a/b", "a/b/", "a//b", "//a/b", "a/b//", "/", "//", "///",
        ],
    )
    .await;
}

/// Dots mean nothing.
pub async fn dots_mean_nothing(h: &dyn Place) {
    assert_distinct(
        h,
        &[".", "..", "...", "a/..", "../a", "a/../b", "b", "./b", ".b"],
    )
    .await;
}

/// A key that another begins with is a key of its own, and deleting it leaves the other.
pub async fn a_key_can_begin_as_another(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, &["foo", "foo/", "foo/bar", "foobar"]).await;
    store.delete("foo").await.unwrap();
    let all = everything(&store).await.entries;
    assert_eq!(names(&all), ["foo/", "foo/bar", "foobar"]);
}

/// Text is kept as it was given: the composed and the decomposed form are two keys.
pub async fn forms_of_unicode_are_distinct(h: &dyn Place) {
    assert_distinct(
        h,
        &[
            "\u{e9}", "e\u{301}", "\u{c5}", "\u{212b}", "A\u{30a}", "ﬁ", "fi",
        ],
    )
    .await;
}

/// Upper and lower case are different keys.
pub async fn cases_are_distinct(h: &dyn Place) {
    assert_distinct(
        h,
        &["key", "Key", "KEY", "kEY", "straße", "STRASSE", "ß", "ẞ"],
    )
    .await;
}

/// Control characters are legal.
pub async fn control_characters_are_kept(h: &dyn Place) {
    let all: Vec<String> = (0..=0x9f_u8)
        .map(|code| format!("c{}", char::from(code)))
        .collect();
    let keys: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_distinct(h, &keys).await;
}

/// What looks like an escape is not taken for one.
pub async fn escapes_are_kept(h: &dyn Place) {
    let keys = [
        "/", "%2F", "%2f", "%252F", "%25252F", "_2F", "=2F", "\\/", "\\x2F", "%", "%25",
    ];
    assert_distinct(h, &keys).await;
}

/// Every character of ASCII can stand alone, and keeps its place in the order.
pub async fn every_ascii_character_is_a_key(h: &dyn Place) {
    let all: Vec<String> = (0..0x80_u8)
        .map(|code| char::from(code).to_string())
        .collect();
    let keys: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_distinct(h, &keys).await;
}

/// Order is the order of the bytes, not that of a language or of an encoding.
pub async fn order_is_that_of_the_bytes(h: &dyn Place) {
    let store = open(h).await;
    fill(
        &store,
        &[
            "é",
            "z",
            "a0",
            "a/",
            "a",
            "B",
            "a-",
            "a.b",
            "\u{ffff}",
            "\u{10000}",
        ],
    )
    .await;
    let all = everything(&store).await.entries;
    let expected = [
        "B",
        "a",
        "a-",
        "a.b",
        "a/",
        "a0",
        "z",
        "é",
        "\u{ffff}",
        "\u{10000}",
    ];
    assert_eq!(names(&all), expected);
}

/// A key of the longest size, in one-byte and in longer characters, is a key.
pub async fn the_longest_key_fits(h: &dyn Place) {
    let store = open(h).await;
    let most = store.limits().key_bytes;
    let wide = format!("{}{}", "é".repeat(most / 2), "x".repeat(most % 2));
    let longest = ["k".repeat(most), wide, "/".repeat(most), "\0".repeat(most)];
    for name in &longest {
        put(&store, name, "v").await;
    }
    put(&store, &"k".repeat(most - 1), "shorter").await;
    let store = reopen(h, store).await;
    assert_eq!(value_of(&store, &longest[0]).await.unwrap(), "v");
    assert_eq!(
        everything(&store).await.entries.len(),
        5,
        "each is a key of its own"
    );
}

/// A key one byte longer is refused by every verb, with the figures, and nothing is written.
pub async fn a_key_one_byte_too_long_is_refused(h: &dyn Place) {
    let store = open(h).await;
    let most = store.limits().key_bytes;
    let long = "k".repeat(most + 1);
    too_large(store.put(&long, "v").await, most + 1, most);
    too_large(store.create(&long, "v").await, most + 1, most);
    too_large(store.get(&long).await, most + 1, most);
    too_large(store.delete(&long).await, most + 1, most);
    assert!(
        everything(&store).await.entries.is_empty(),
        "nothing is written"
    );
}

/// The empty text is no key, for every verb.
pub async fn the_empty_key_is_refused(h: &dyn Place) {
    fn refused<T>(result: kv_core::Result<T>) {
        let error = result.map(|_| ()).expect_err("the empty text is no key");
        assert!(matches!(error, Error::InvalidKey { .. }), "got {error:?}");
    }
    let store = open(h).await;
    refused(store.get("").await);
    refused(store.put("", "v").await);
    refused(store.create("", "v").await);
    refused(store.update("", "v", kv_core::Revision::ZERO).await);
    refused(store.delete("").await);
    refused(store.modify("", |_| Some("v")).await);
    refused(store.get_many(["a", ""]).await);
    assert!(
        everything(&store).await.entries.is_empty(),
        "nothing is written"
    );
}

/// Wildcards stand for themselves.
pub async fn wildcards_mean_nothing(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, &["abc", "a%", "a_c", "a*"]).await;
    for name in ["a?c", "*", "%", "a.c", "___"] {
        assert_eq!(entry_of(&store, name).await, None, "{name:?} is no pattern");
        let found = listing(&store, ListOptions::prefix(name)).await.entries;
        assert!(found.is_empty(), "{name:?} is no pattern in a prefix");
    }
    let found = listing(&store, ListOptions::prefix("a*")).await.entries;
    assert_eq!(names(&found), ["a*"]);
}
