//! Memory with a place for a bug at every door.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use kv_conformance::Harness;
use kv_core::{
    Commit, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing, ManualClock, OpenMode,
    Result, Transaction, Usage, WatchEvent, WatchOptions, WatchStore, WatchStream,
};
use kv_memory::MemoryStore;

use crate::plain::Memory;

/// What is wrong with a store: by default nothing. Each handle has a bug of its own.
#[async_trait]
pub(super) trait Bug: Default + Send + Sync + 'static {
    async fn get(&self, store: &MemoryStore, key: &Key, how: GetOptions) -> Result<Option<Entry>> {
        store.get_opts(key, how).await
    }

    async fn list(&self, store: &MemoryStore, options: ListOptions) -> Result<Listing> {
        store.list_opts(options).await
    }

    async fn commit(&self, store: &MemoryStore, transaction: Transaction) -> Result<Commit> {
        store.commit(transaction).await
    }

    /// What the handle goes on with after a teardown.
    async fn teardown(&self, store: MemoryStore) -> Result<MemoryStore> {
        store.teardown().await.map(|()| store)
    }

    fn tell(event: WatchEvent) -> Vec<WatchEvent> {
        vec![event]
    }
}

/// No bug.
#[derive(Default)]
pub(super) struct Faithful;

impl Bug for Faithful {}

struct Handle<B> {
    store: Mutex<MemoryStore>,
    bug: B,
}

impl<B: Bug> Handle<B> {
    fn new(store: MemoryStore) -> Self {
        Self {
            store: Mutex::new(store),
            bug: B::default(),
        }
    }

    fn store(&self) -> MemoryStore {
        self.store.lock().expect("no holder panics").clone()
    }
}

#[async_trait]
impl<B: Bug> KvStore for Handle<B> {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.bug.get(&self.store(), key, options).await
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        self.bug.list(&self.store(), options).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        self.bug.commit(&self.store(), transaction).await
    }

    async fn teardown(&self) -> Result<()> {
        let next = self.bug.teardown(self.store()).await?;
        *self.store.lock().expect("no holder panics") = next;
        Ok(())
    }

    fn limits(&self) -> Limits {
        self.store().limits()
    }

    async fn usage(&self) -> Result<Usage> {
        self.store().usage().await
    }
}

#[async_trait]
impl<B: Bug> WatchStore for Handle<B> {
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
        let events = self.store().watch(options).await?;
        let told = events.flat_map(|event| {
            let told = B::tell(event.expect("memory does not fail"));
            futures::stream::iter(told.into_iter().map(Ok))
        });
        Ok(told.boxed())
    }
}

pub(super) struct Broken<B> {
    memory: Memory,
    bug: PhantomData<fn(B)>,
}

#[async_trait]
impl<B: Bug> Harness for Broken<B> {
    const NAME: &'static str = "broken";

    async fn new() -> Self {
        Self {
            memory: Memory::new().await,
            bug: PhantomData,
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(Handle::<B>::new(self.memory.bucket(mode)?)))
    }

    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(Handle::<B>::new(self.memory.other(mode)?)))
    }

    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
        let store = self.memory.bucket(OpenMode::OpenOrCreate).ok()?;
        Some(Arc::new(Handle::<B>::new(store)))
    }

    fn clock(&self) -> &ManualClock {
        self.memory.clock()
    }

    async fn leftovers(&self) -> Vec<String> {
        self.memory.leftovers().await
    }
}
