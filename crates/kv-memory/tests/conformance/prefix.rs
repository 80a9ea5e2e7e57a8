//! A part of a memory store.

use std::sync::Arc;

use async_trait::async_trait;
use kv_conformance::Lack;
use kv_core::{Error, Key, KvStore, KvStoreExt, Limits, PrefixStore, WatchStore};
use kv_memory::MemoryStore;

use crate::wrapped::{Wrap, Wrapped};

const PREFIX: &str = "part/%2F\u{e9}/";

struct Prefix;

fn part(store: MemoryStore) -> PrefixStore<MemoryStore> {
    PrefixStore::new(store, PREFIX).expect("the prefix leaves room")
}

#[async_trait]
impl Wrap for Prefix {
    const NAME: &'static str = "memory-prefix";
    const LACKS: &'static [Lack] = &[Lack::Usage, Lack::BucketRemoval];

    fn wrap(store: MemoryStore) -> Arc<dyn KvStore> {
        Arc::new(part(store))
    }

    fn wrap_watch(store: MemoryStore) -> Option<Arc<dyn WatchStore>> {
        Some(Arc::new(part(store)))
    }

    async fn leftovers(store: MemoryStore) -> Vec<String> {
        let all = store.list("").await.expect("memory does not fail");
        all.into_iter().map(|entry| entry.key.into()).collect()
    }
}

kv_conformance::suite!(Wrapped<Prefix>);

#[tokio::test]
async fn a_part_leaves_the_rest_alone() {
    let store = MemoryStore::new();
    for outside in ["a", "p", "part", "part0", "q"] {
        store.put(outside, "outside").await.unwrap();
    }
    let part = PrefixStore::new(&store, "part").unwrap();
    part.put("k", "inside").await.unwrap();
    let listed = part.list("").await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(
        listed,
        ["0", "k"],
        "the key that is the prefix is not in the part"
    );
    part.teardown().await.unwrap();
    let left = store.list("").await.unwrap();
    let left: Vec<&str> = left.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(left, ["a", "p", "part", "q"]);
}

#[tokio::test]
async fn a_teardown_of_many_entries_takes_several_transactions() {
    let store = MemoryStore::new();
    let part = PrefixStore::new(&store, "part/").unwrap();
    for i in 0..=Limits::CONTRACT.transaction_operations {
        part.put(i.to_string(), "").await.unwrap();
    }
    part.teardown().await.unwrap();
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn errors_name_the_key_as_the_caller_does() {
    let store = MemoryStore::new();
    let part = PrefixStore::new(&store, "part/").unwrap();
    part.put("k", "v").await.unwrap();
    let error = part.create("k", "w").await.unwrap_err();
    assert!(
        matches!(&error, Error::AlreadyExists { key, .. } if key.as_str() == "k"),
        "{error:?}"
    );
    let error = part.get("k".repeat(1_020)).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::TooLarge {
                actual: 1_020,
                limit: 1_019,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_prefix_leaves_room_for_a_key() {
    assert!(PrefixStore::new(MemoryStore::new(), "p".repeat(Key::MAX_BYTES - 1)).is_ok());
    assert!(PrefixStore::new(MemoryStore::new(), "p".repeat(Key::MAX_BYTES)).is_err());
    assert!(PrefixStore::new(MemoryStore::new(), "").is_err());
}
