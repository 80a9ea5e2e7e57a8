use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use kv_configmap::{Buckets, ConfigMapStore};
use kv_conformance::Harness;
use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};

use crate::Place;

/// What a bucket holds that is filled.
const SMALL_BUCKET_BYTES: u64 = 1024 * 1024;

/// Which buckets are examined.
pub trait Suite: Send + Sync + 'static {
    /// Where.
    type Place: Place;

    /// The name in the report.
    const NAME: &'static str;

    /// Buckets of the kind in question.
    fn buckets(place: &Self::Place) -> Buckets;
}

/// Examines buckets in an API server.
#[derive(Debug)]
pub struct BucketHarness<S: Suite> {
    place: S::Place,
    clock: ManualClock,
    suite: PhantomData<fn(S)>,
}

impl<S: Suite> BucketHarness<S> {
    /// A handle with a client, a committer and a cache of its own, as in another process.
    async fn open_apart(&self, name: &str, mode: OpenMode) -> Result<ConfigMapStore> {
        self.buckets().open(name, mode).await
    }

    fn buckets(&self) -> Buckets {
        let buckets = S::buckets(&self.place).with_clock(self.clock.clone());
        buckets.without_write_budget()
    }
}

#[async_trait]
impl<S: Suite> Harness for BucketHarness<S> {
    const NAME: &'static str = S::NAME;

    async fn new() -> Self {
        let place = S::Place::new().await;
        Self {
            place,
            clock: ManualClock::default(),
            suite: PhantomData,
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.open_apart("bucket", mode).await?))
    }

    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.open_apart("other", mode).await?))
    }

    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
        let opened = self.open_apart("bucket", OpenMode::OpenOrCreate).await;
        Some(Arc::new(opened.expect("the bucket opens")))
    }

    async fn open_small(&self) -> Result<Arc<dyn KvStore>> {
        let buckets = self.buckets().with_bucket_bytes(SMALL_BUCKET_BYTES);
        let opened = buckets.open("bucket", OpenMode::OpenOrCreate).await;
        Ok(Arc::new(opened?))
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn leftovers(&self) -> Vec<String> {
        self.place.objects().await
    }

    async fn finish(self) {
        self.place.finish().await;
    }
}
