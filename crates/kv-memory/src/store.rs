use std::sync::Arc;

use async_trait::async_trait;
use kv_core::{
    Clock, Commit, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing, Result,
    SystemClock, Transaction, Usage, WatchOptions, WatchStore, WatchStream,
};

use crate::bucket::Bucket;

/// A store in memory. Clones are handles on one bucket; see the [crate page](crate).
#[derive(Clone, Debug)]
pub struct MemoryStore {
    bucket: Arc<Bucket>,
}

impl MemoryStore {
    /// An empty store on the clock of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// An empty store on a clock of the caller's.
    #[must_use]
    pub fn with_clock(clock: impl Clock + 'static) -> Self {
        let bucket = Bucket::new("default", Arc::new(clock), None);
        bucket.create();
        Self::on(Arc::new(bucket))
    }

    pub(crate) fn on(bucket: Arc<Bucket>) -> Self {
        Self { bucket }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl KvStore for MemoryStore {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let GetOptions { consistency } = options;
        self.bucket.check_reached(consistency)?;
        Ok(self
            .bucket
            .replica
            .snapshot()
            .get(key, &*self.bucket.clock)
            .cloned())
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        self.bucket.check_reached(options.consistency)?;
        self.bucket.replica.page(&options)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        self.bucket.commit(&transaction)
    }

    async fn teardown(&self) -> Result<()> {
        self.bucket.teardown();
        Ok(())
    }

    fn limits(&self) -> Limits {
        self.bucket.limits()
    }

    async fn usage(&self) -> Result<Usage> {
        let snapshot = self.bucket.replica.snapshot();
        Ok(Usage {
            entries: snapshot.len() as u64,
            bytes: snapshot.bytes(),
            limit: self.bucket.limits().bucket_bytes,
            revision: snapshot.revision(),
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl WatchStore for MemoryStore {
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
        Ok(self.bucket.replica.watch(options))
    }
}
