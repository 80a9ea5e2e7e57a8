//! A memory store whose values go through a codec.

use std::sync::Arc;

use async_trait::async_trait;
use kv_conformance::Lack;
use kv_core::{
    Bytes, Codec, Commit, Entry, Error, GetOptions, Key, KvStore, KvStoreExt, Limits, ListOptions,
    Listing, Operation, Result, Transaction, TypedEntry, TypedStore, Usage, WatchStore,
};
use kv_memory::MemoryStore;

use crate::wrapped::{Wrap, Wrapped};

/// Turns every bit over, so that a value that goes around the codec shows.
struct Flipped;

impl Codec<Vec<u8>> for Flipped {
    fn encode(&self, value: &Vec<u8>) -> Result<Bytes, String> {
        Ok(value.iter().map(|byte| !byte).collect())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.iter().map(|byte| !byte).collect())
    }
}

/// A typed store of bytes, as a store of bytes.
struct Untyped(TypedStore<MemoryStore, Vec<u8>, Flipped>);

impl Untyped {
    fn entry(entry: TypedEntry<Vec<u8>>) -> Entry {
        let TypedEntry {
            key,
            value,
            revision,
            expires_at,
        } = entry;
        Entry {
            key,
            value: value.into(),
            revision,
            expires_at,
        }
    }

    fn operation(&self, operation: Operation) -> Result<Operation> {
        Ok(match operation {
            Operation::Put { key, value, ttl } => Operation::Put {
                key,
                value: self.0.encode(&value.into())?,
                ttl,
            },
            delete @ Operation::Delete { .. } => delete,
        })
    }
}

#[async_trait]
impl KvStore for Untyped {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let found = self.0.get_opts(key, options).await?;
        Ok(found.map(Self::entry))
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        let mut listing = self.0.inner().list_opts(options).await?;
        for entry in &mut listing.entries {
            *entry = Self::entry(self.0.decode(entry.clone())?);
        }
        Ok(listing)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        let (conditions, operations) = transaction.into_parts();
        let mut encoded = conditions
            .into_iter()
            .fold(Transaction::new(), Transaction::with_condition);
        for operation in operations {
            encoded = encoded.with_operation(self.operation(operation)?);
        }
        self.0.inner().commit(encoded).await
    }

    async fn teardown(&self) -> Result<()> {
        self.0.inner().teardown().await
    }

    fn limits(&self) -> Limits {
        self.0.inner().limits()
    }

    async fn usage(&self) -> Result<Usage> {
        self.0.inner().usage().await
    }
}

struct Typed;

impl Wrap for Typed {
    const NAME: &'static str = "memory-typed";
    const LACKS: &'static [Lack] = &[Lack::Watch];

    fn wrap(store: MemoryStore) -> Arc<dyn KvStore> {
        Arc::new(Untyped(TypedStore::with_codec(store, Flipped)))
    }

    fn wrap_watch(_: MemoryStore) -> Option<Arc<dyn WatchStore>> {
        None
    }
}

kv_conformance::suite!(Wrapped<Typed>);

/// Asserts that the entry `bad` is reported as damaged, without its value.
fn corrupt<T>(result: Result<T>) {
    let error = result.map(|_| ()).expect_err("it must be refused");
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("\"bad\""), "it names the key: {text}");
    assert!(!text.contains("canary"), "it shows no value: {text}");
}

#[tokio::test]
async fn what_does_not_decode_is_an_error_that_names_the_key() {
    let store = MemoryStore::new();
    let numbers: TypedStore<_, u64> = TypedStore::new(&store);
    numbers.put("good", &7).await.unwrap();
    for bytes in ["\"canary\"", "canary", "", "-1", "18446744073709551616"] {
        store.put("bad", bytes).await.unwrap();
        corrupt(numbers.get("bad").await);
        corrupt(numbers.list("").await);
        corrupt(numbers.modify("bad", |_| Some(1)).await);
        assert_eq!(
            store.get("bad").await.unwrap().unwrap().value,
            bytes,
            "not overwritten"
        );
    }
    assert_eq!(numbers.get("good").await.unwrap().unwrap().value, 7);
    assert_eq!(numbers.list("good").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_value_that_does_not_encode_writes_nothing() {
    let store = MemoryStore::new();
    let maps: TypedStore<_, std::collections::BTreeMap<(u8, u8), u8>> = TypedStore::new(&store);
    let map = std::iter::once(((1, 2), 3)).collect();
    let error = maps.put("k", &map).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(store.get("k").await.unwrap().is_none());
}

#[tokio::test]
async fn values_of_a_type_come_back_equal() {
    let store = MemoryStore::new();
    let words: TypedStore<_, Vec<Option<String>>> = TypedStore::new(&store);
    for value in [
        vec![],
        vec![None, Some("\u{0}\"é".to_owned())],
        vec![Some(String::new())],
    ] {
        words.put("k", &value).await.unwrap();
        assert_eq!(words.get("k").await.unwrap().unwrap().value, value);
    }
}
