//! Memory as it is.

use std::sync::Arc;

use async_trait::async_trait;
use kv_conformance::Harness;
use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};
use kv_memory::{MemoryBuckets, MemoryStore};

/// How much the small bucket holds.
const SMALL: u64 = 256 * 1024;

pub(crate) struct Memory {
    buckets: MemoryBuckets,
    clock: ManualClock,
}

impl Memory {
    pub(crate) fn bucket(&self, mode: OpenMode) -> Result<MemoryStore> {
        self.buckets.open("bucket", mode)
    }

    pub(crate) fn other(&self, mode: OpenMode) -> Result<MemoryStore> {
        self.buckets.open("other", mode)
    }

    pub(crate) fn small(&self) -> Result<MemoryStore> {
        let buckets = self.buckets.clone().with_bucket_bytes(SMALL);
        buckets.open("small", OpenMode::OpenOrCreate)
    }

    /// The buckets that are there.
    pub(crate) fn existing(&self) -> Vec<MemoryStore> {
        let open = [self.bucket(OpenMode::Open), self.other(OpenMode::Open)];
        open.into_iter().flatten().collect()
    }
}

#[async_trait]
impl Harness for Memory {
    const NAME: &'static str = "memory";

    async fn new() -> Self {
        let clock = ManualClock::default();
        Self {
            buckets: MemoryBuckets::with_clock(clock.clone()),
            clock,
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.bucket(mode)?))
    }

    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.other(mode)?))
    }

    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
        Some(Arc::new(self.bucket(OpenMode::OpenOrCreate).ok()?))
    }

    async fn open_small(&self) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.small()?))
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn leftovers(&self) -> Vec<String> {
        let stores = self.existing().into_iter();
        stores.map(|store| format!("{store:?}")).collect()
    }
}

kv_conformance::suite!(Memory);
