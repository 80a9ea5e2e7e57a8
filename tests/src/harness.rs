use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use kv_configmap::Buckets;
use kv_conformance::{Harness, Lack};
use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};

use crate::Place;

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
    async fn open_apart(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        let buckets = S::buckets(&self.place).with_clock(self.clock.clone());
        Ok(Arc::new(buckets.open(name, mode).await?))
    }
}

#[async_trait]
impl<S: Suite> Harness for BucketHarness<S> {
    const NAME: &'static str = S::NAME;
    const LACKS: &'static [Lack] = &[Lack::Watch];

    async fn new() -> Self {
        let place = S::Place::new().await;
        Self {
            place,
            clock: ManualClock::default(),
            suite: PhantomData,
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        self.open_apart("bucket", mode).await
    }

    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        self.open_apart("other", mode).await
    }

    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
        None
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
