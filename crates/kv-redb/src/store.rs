use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kv_core::backend::ForwardClock;
use kv_core::{
    Clock, Commit, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing, OpenMode, Result,
    Revision, Transaction, Usage, WatchOptions, WatchStore, WatchStream,
};

use crate::RedbBuilder;
use crate::failure;
use crate::file::File;
use crate::queue;
use crate::watch::Watched;
use crate::write::Request;

/// A store in one file. Clones are handles on one bucket; see the [crate page](crate).
///
/// The file is closed, and another process can open it, when the last handle and the last watch
/// are dropped and what they had begun is done.
#[derive(Clone, Debug)]
pub struct RedbStore {
    file: Arc<File>,
    clock: Arc<ForwardClock>,
    limits: Limits,
}

impl RedbStore {
    /// Opens the bucket in the file `path`, creates it, or whichever is needed, as `mode` says, on
    /// the clock of the machine.
    ///
    /// # Errors
    ///
    /// As [`RedbBuilder::open`].
    pub async fn open(path: impl Into<PathBuf>, mode: OpenMode) -> Result<Self> {
        Self::builder(path).open(mode).await
    }

    /// Begins to open the file `path` with settings that are not the usual ones.
    pub fn builder(path: impl Into<PathBuf>) -> RedbBuilder {
        RedbBuilder::new(path.into())
    }

    pub(crate) fn new(file: Arc<File>, clock: Arc<ForwardClock>, limits: Limits) -> Self {
        Self {
            file,
            clock,
            limits,
        }
    }

    /// Runs `work`, which reads or writes the file, where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || work(&file))
            .await
            .map_err(|error| failure::task(&self.file.name, &error))?
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl KvStore for RedbStore {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let GetOptions { consistency } = options;
        let (key, now) = (key.clone(), self.clock.now());
        self.blocking(move |file| file.get(&key, now, consistency))
            .await
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        let now = self.clock.now();
        self.blocking(move |file| file.page(&options, now)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        transaction.check(&self.limits)?;
        let request = Request {
            transaction,
            now: self.clock.now(),
            bucket_bytes: self.limits.bucket_bytes,
        };
        queue::commit(&self.file, request).await
    }

    async fn teardown(&self) -> Result<()> {
        self.blocking(File::teardown).await
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    async fn usage(&self) -> Result<Usage> {
        let limit = self.limits.bucket_bytes;
        let meta = self.blocking(File::meta).await?;
        Ok(Usage {
            entries: meta.entries,
            bytes: meta.bytes,
            limit,
            revision: Revision::new(meta.revision),
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl WatchStore for RedbStore {
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
        self.blocking(File::know_expiring).await?;
        let (source, clock) = (Arc::new(Watched(self.file.clone())), self.clock.clone());
        let replica = &self.file.history.replica;
        Ok(replica.watch_from(source, clock, options))
    }
}
