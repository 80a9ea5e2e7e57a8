use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use kv_core::{
    Clock, Commit, Consistency, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing,
    Result, Transaction, Usage, WatchOptions, WatchStore, WatchStream,
};

use crate::handle::Handle;

/// A bucket in ConfigMaps or Secrets, as the [`Buckets`](crate::Buckets) says from which it was
/// opened. Clones are handles on the same bucket; see the [crate page](crate).
#[derive(Clone)]
pub struct ConfigMapStore {
    handle: Arc<Handle>,
}

impl ConfigMapStore {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { handle }
    }
}

impl fmt::Debug for ConfigMapStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigMapStore({})", self.handle.shared.api.describe())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl KvStore for ConfigMapStore {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let GetOptions { consistency } = options;
        let known = self.handle.state(consistency).await?;
        let clock = &*self.handle.shared.clock;
        Ok(known
            .present()
            .and_then(|present| present.head.snapshot().get(key, clock).cloned()))
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        let consistency = match &options.cursor {
            // The snapshot is kept here or nowhere.
            Some(_) => Consistency::Cached,
            None => options.consistency,
        };
        let snapshot = self.handle.state(consistency).await?.snapshot();
        let shared = &self.handle.shared;
        shared.cursors.page(&snapshot, &options, shared.clock.now())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        self.handle.commit(transaction).await
    }

    async fn teardown(&self) -> Result<()> {
        self.handle.teardown().await
    }

    fn limits(&self) -> Limits {
        self.handle.limits
    }

    async fn usage(&self) -> Result<Usage> {
        let known = self.handle.fresh().await?;
        let snapshot = known.snapshot();
        let bytes = known
            .present()
            .map_or(0, |present| present.head.live_bytes());
        Ok(Usage {
            entries: snapshot.len() as u64,
            bytes,
            limit: self.handle.limits.bucket_bytes,
            revision: snapshot.revision(),
        })
    }
}

#[async_trait]
impl WatchStore for ConfigMapStore {
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
        self.handle.followed().await?;
        // What has been acknowledged by now is part of what the watch begins with.
        self.handle.fresh().await?;
        let handle = self.handle.clone();
        let events = self.handle.shared.replica.watch(options);
        // The stream keeps the bucket open.
        let events = events.map(move |event| {
            let _ = &handle;
            event
        });
        Ok(events.boxed())
    }
}
