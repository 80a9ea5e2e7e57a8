use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kv_core::{Clock, Error, OpenMode, Result, SystemClock};

use crate::MemoryStore;
use crate::bucket::Bucket;

/// Buckets by name, in memory. Clones share the buckets.
///
/// # Example
///
/// ```
/// use kv_core::{Error, OpenMode};
/// use kv_memory::MemoryBuckets;
///
/// let buckets = MemoryBuckets::new();
/// assert!(matches!(buckets.open("approvals", OpenMode::Open), Err(Error::NotFound { .. })));
/// buckets.open("approvals", OpenMode::Create)?;
/// buckets.open("approvals", OpenMode::Open)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBuckets {
    buckets: Arc<Mutex<HashMap<String, Arc<Bucket>>>>,
    clock: Arc<dyn Clock>,
    bucket_bytes: Option<u64>,
}

impl MemoryBuckets {
    /// No buckets yet, on the clock of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// No buckets yet, on a clock of the caller's.
    #[must_use]
    pub fn with_clock(clock: impl Clock + 'static) -> Self {
        Self {
            buckets: Arc::default(),
            clock: Arc::new(clock),
            bucket_bytes: None,
        }
    }

    /// Bounds the bytes of keys and values of each bucket that is opened from now on.
    #[must_use]
    pub fn with_bucket_bytes(mut self, bytes: u64) -> Self {
        self.bucket_bytes = Some(bytes);
        self
    }

    /// Opens the bucket `name`, creates it, or whichever is needed, as `mode` says.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] and [`Error::BucketExists`].
    pub fn open(&self, name: &str, mode: OpenMode) -> Result<MemoryStore> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Bucket::new(name, self.clock.clone(), self.bucket_bytes)));
        match (mode, bucket.exists()) {
            (OpenMode::Open, false) => Err(Error::NotFound {
                what: bucket.to_string(),
            }),
            (OpenMode::Create, true) => Err(Error::BucketExists {
                store: bucket.to_string(),
            }),
            _ => {
                bucket.create();
                Ok(MemoryStore::on(bucket.clone()))
            }
        }
    }
}

impl Default for MemoryBuckets {
    fn default() -> Self {
        Self::new()
    }
}
