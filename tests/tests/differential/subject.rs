use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

    /// Lets the store flush and merge what it has put off, if it does.
    async fn maintain(&self) {}

    async fn finish(self) {}

    /// Asserts that what was tried has gone through all that the store does beside its answers.
    fn check_coverage() {}
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

/// A bucket in an API server, opened in turn with parts so small that a few commits are flushed and
/// merged, and with those of usual size.
pub(crate) struct Bucket<P> {
    place: P,
    clock: ManualClock,
    opened: AtomicUsize,
}

/// The most objects that a bucket was spread over.
static MOST_OBJECTS: AtomicUsize = AtomicUsize::new(0);

pub(crate) type OnFake = Bucket<Fake>;
pub(crate) type OnReal = Bucket<Real>;

impl<P: Place> Bucket<P> {
    async fn new(clock: ManualClock) -> Self {
        Self {
            place: P::new().await,
            clock,
            opened: AtomicUsize::new(0),
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        let buckets = Buckets::config_maps(self.place.client(), self.place.namespace());
        let buckets = buckets.with_clock(self.clock.clone());
        let buckets = match self.opened.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => buckets.with_tiny_parts(),
            _ => buckets,
        };
        Ok(Arc::new(buckets.open("bucket", mode).await?))
    }

    async fn maintain(&self, time: Duration) {
        tokio::time::sleep(time).await;
        let objects = self.place.objects().await.len();
        MOST_OBJECTS.fetch_max(objects, Ordering::Relaxed);
    }
}

fn check_that_there_were_segments() {
    let most = MOST_OBJECTS.load(Ordering::Relaxed);
    assert!(most > 5, "no bucket had more than {most} objects");
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

    async fn maintain(&self) {
        self.maintain(Duration::from_millis(5)).await;
    }

    fn check_coverage() {
        check_that_there_were_segments();
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

    async fn maintain(&self) {
        self.maintain(Duration::from_millis(50)).await;
    }

    async fn finish(self) {
        self.place.finish().await;
    }

    fn check_coverage() {
        check_that_there_were_segments();
    }
}
