//! Memory with something around it.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use kv_conformance::{Harness, Lack};
use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};
use kv_memory::MemoryStore;

use crate::plain::Memory;

/// What is put around each handle.
#[async_trait]
pub(crate) trait Wrap: Send + Sync + 'static {
    const NAME: &'static str;
    const LACKS: &'static [Lack] = &[];

    fn wrap(store: MemoryStore) -> Arc<dyn KvStore>;

    fn wrap_watch(store: MemoryStore) -> Option<Arc<dyn WatchStore>>;

    /// What of a bucket that is there belongs to the wrapped store.
    async fn leftovers(store: MemoryStore) -> Vec<String> {
        vec![format!("{store:?}")]
    }
}

pub(crate) struct Wrapped<W> {
    memory: Memory,
    wrap: PhantomData<fn(W)>,
}

#[async_trait]
impl<W: Wrap> Harness for Wrapped<W> {
    const NAME: &'static str = W::NAME;
    const LACKS: &'static [Lack] = W::LACKS;

    async fn new() -> Self {
        Self {
            memory: Memory::new().await,
            wrap: PhantomData,
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        self.memory.bucket(mode).map(W::wrap)
    }

    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        self.memory.other(mode).map(W::wrap)
    }

    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
        W::wrap_watch(self.memory.bucket(OpenMode::OpenOrCreate).ok()?)
    }

    async fn open_small(&self) -> Result<Arc<dyn KvStore>> {
        self.memory.small().map(W::wrap)
    }

    fn clock(&self) -> &ManualClock {
        self.memory.clock()
    }

    async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for store in self.memory.existing() {
            left.extend(W::leftovers(store).await);
        }
        left
    }
}
