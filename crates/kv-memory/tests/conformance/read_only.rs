//! A memory store read through a view that cannot write.

use std::sync::Arc;

use async_trait::async_trait;
use kv_core::{
    Commit, Entry, Error, GetOptions, Key, KvStore, KvStoreExt, Limits, ListOptions, Listing,
    ReadOnlyStore, Result, Revision, Transaction, Usage, WatchOptions, WatchStore, WatchStream,
};
use kv_memory::MemoryStore;

use crate::wrapped::{Wrap, Wrapped};

/// Reads through the view and writes beside it, so that the whole suite applies.
struct BesideView {
    store: MemoryStore,
    view: ReadOnlyStore<MemoryStore>,
}

impl BesideView {
    fn new(store: MemoryStore) -> Self {
        let view = ReadOnlyStore::new(store.clone());
        Self { store, view }
    }
}

#[async_trait]
impl KvStore for BesideView {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.view.get_opts(key, options).await
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        self.view.list_opts(options).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        self.store.commit(transaction).await
    }

    async fn teardown(&self) -> Result<()> {
        self.store.teardown().await
    }

    fn limits(&self) -> Limits {
        self.view.limits()
    }

    async fn usage(&self) -> Result<Usage> {
        self.view.usage().await
    }
}

#[async_trait]
impl WatchStore for BesideView {
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
        self.view.watch(options).await
    }
}

struct View;

impl Wrap for View {
    const NAME: &'static str = "memory-read-only";

    fn wrap(store: MemoryStore) -> Arc<dyn KvStore> {
        Arc::new(BesideView::new(store))
    }

    fn wrap_watch(store: MemoryStore) -> Option<Arc<dyn WatchStore>> {
        Some(Arc::new(BesideView::new(store)))
    }
}

kv_conformance::suite!(Wrapped<View>);

fn refused<T>(result: Result<T>) {
    let error = result.map(|_| ()).expect_err("it must be refused");
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
}

#[tokio::test]
async fn a_view_refuses_every_write() {
    let store = MemoryStore::new();
    let at = store.put("k", "v").await.unwrap();
    let view = ReadOnlyStore::new(store.clone());
    refused(view.put("k", "w").await);
    refused(view.put("k", "v").await);
    refused(view.create("new", "v").await);
    refused(view.update("k", "w", at).await);
    refused(view.update("k", "w", Revision::ZERO).await);
    refused(view.delete("k").await);
    refused(view.delete("missing").await);
    refused(view.delete_at("k", at).await);
    refused(view.modify("k", |_| Some("w")).await);
    refused(view.commit(Transaction::new()).await);
    refused(view.teardown().await);
    let entry = store.get("k").await.unwrap().unwrap();
    assert_eq!((entry.revision, &entry.value[..]), (at, &b"v"[..]));
}

#[tokio::test]
async fn a_view_of_a_part_refuses_as_well() {
    let store = MemoryStore::new();
    let view = kv_core::PrefixStore::new(ReadOnlyStore::new(&store), "part/").unwrap();
    store.put("part/k", "v").await.unwrap();
    refused(view.put("k", "w").await);
    refused(view.teardown().await);
    assert!(view.get("k").await.unwrap().is_some());
}
