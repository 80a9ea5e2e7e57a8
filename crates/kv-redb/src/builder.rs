use std::path::PathBuf;
use std::sync::Arc;

use kv_core::backend::ForwardClock;
use kv_core::{Clock, Limits, OpenMode, Result, SystemClock};

use crate::RedbStore;
use crate::failure;
use crate::file::File;
use crate::open;

/// How to open a [`RedbStore`]; made by [`RedbStore::builder`].
///
/// # Example
///
/// ```
/// use kv_core::{ManualClock, OpenMode, prelude::*};
/// use kv_redb::RedbStore;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("cache.redb");
/// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
/// let store = RedbStore::builder(&path)
///     .with_clock(ManualClock::default())
///     .with_bucket_bytes(4)
///     .open(OpenMode::Create)
///     .await?;
/// store.put("abc", "d").await?;
/// assert!(matches!(store.put("e", "f").await, Err(Error::BucketFull { .. })));
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RedbBuilder {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

impl RedbBuilder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            clock: Arc::new(SystemClock),
            limits: Limits::CONTRACT,
        }
    }

    /// Takes the time from a clock of the caller's. Handles on one file may have different clocks.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Bounds the bytes of keys and values that commits through this handle, and through its
    /// clones, may leave in the bucket.
    #[must_use]
    pub fn with_bucket_bytes(mut self, bytes: u64) -> Self {
        self.limits.bucket_bytes = Some(bytes);
        self
    }

    /// Opens the bucket in the file, creates it, or whichever is needed, as `mode` says. A file is
    /// created, its directory is not.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`](kv_core::Error::NotFound) where there is no bucket to open, and
    ///   where there is no directory to create the file in.
    /// - [`Error::BucketExists`](kv_core::Error::BucketExists) where there is one to create.
    /// - [`Error::Unavailable`](kv_core::Error::Unavailable) while another process holds the file.
    /// - [`Error::Foreign`](kv_core::Error::Foreign) where the file is none that this crate made;
    ///   it keeps every byte.
    /// - [`Error::Corrupt`](kv_core::Error::Corrupt) where the file is damaged.
    /// - [`Error::Unsupported`](kv_core::Error::Unsupported) where a newer version made the file.
    /// - [`Error::Forbidden`](kv_core::Error::Forbidden) where the file system says so.
    pub async fn open(self, mode: OpenMode) -> Result<RedbStore> {
        let Self {
            path,
            clock,
            limits,
        } = self;
        let name = open::name(&path);
        let file = tokio::task::spawn_blocking(move || File::open(&path, mode))
            .await
            .map_err(|error| failure::task(&name, &error))??;
        let clock = Arc::new(ForwardClock::new(clock));
        Ok(RedbStore::new(file, clock, limits))
    }
}
