use std::sync::Arc;

use async_trait::async_trait;
use kv_configmap::Buckets;
use kv_core::{KvStore, ManualClock, OpenMode, Result};
use kv_memory::MemoryBuckets;
use kv_redb::RedbStore;
use kv_tests::{Fake, Place, Real};
use tempfile::TempDir;

/// A store to try.
#[async_trait]
pub(crate) trait Subject: Sized + Send + Sync {
    const NAME: &'static str;

    /// Makes a fresh place without a bucket, on that clock.
    async fn new(clock: ManualClock) -> Self;

    /// Opens another handle on the bucket, which shares no more with the others than the handle
    /// of another process, where that is possible.
    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>>;

    /// Tells the store to flush and merge now what it has put off, if it does.
    async fn maintain(&self, _store: &dyn KvStore) {}

    async fn finish(self) {}
}

pub(crate) struct Memory(MemoryBuckets);

#[async_trait]
impl Subject for Memory {
    const NAME: &'static str = "memory";

    async fn new(clock: ManualClock) -> Self {
        Self(MemoryBuckets::with_clock(clock))
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.0.open("bucket", mode)?))
    }
}

pub(crate) struct Redb {
    directory: TempDir,
    clock: ManualClock,
}

#[async_trait]
impl Subject for Redb {
    const NAME: &'static str = "redb";

    async fn new(clock: ManualClock) -> Self {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        Self { directory, clock }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        let path = self.directory.path().join("bucket.redb");
        let store = RedbStore::builder(path).with_clock(self.clock.clone());
        Ok(Arc::new(store.open(mode).await?))
    }
}

/// A bucket in an API server.
pub(crate) struct Bucket<P> {
    place: P,
    clock: ManualClock,
}

pub(crate) type OnFake = Bucket<Fake>;
pub(crate) type OnReal = Bucket<Real>;

impl<P: Place> Bucket<P> {
    async fn new(clock: ManualClock) -> Self {
        let place = P::new().await;
        Self { place, clock }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        let buckets = Buckets::config_maps(self.place.client(), self.place.namespace());
        let buckets = buckets.with_clock(self.clock.clone());
        Ok(Arc::new(buckets.open("bucket", mode).await?))
    }
}

#[async_trait]
impl Subject for OnFake {
    const NAME: &'static str = "configmaps_on_fake";

    async fn new(clock: ManualClock) -> Self {
        Self::new(clock).await
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        self.open(mode).await
    }
}

#[async_trait]
impl Subject for OnReal {
    const NAME: &'static str = "configmaps_on_real";

    async fn new(clock: ManualClock) -> Self {
        Self::new(clock).await
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        self.open(mode).await
    }

    async fn finish(self) {
        self.place.finish().await;
    }
}
