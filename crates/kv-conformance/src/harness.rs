use std::sync::Arc;

use async_trait::async_trait;
use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};

use crate::Lack;

/// How the suite gets at a backend: what its author writes. See the [crate page](crate).
///
/// Every case makes a harness of its own, so that cases can run side by side.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// The name of the suite in the report: letters, digits and dashes.
    const NAME: &'static str;

    /// What the backend lacks. The cases that need it assert the lack instead: an ability that is
    /// declared as lacking and is there fails them.
    const LACKS: &'static [Lack] = &[];

    /// How many commits a watcher can be behind, at most, before it gets a snapshot. The cases
    /// that make a watcher lag write a few more than that, one by one.
    const WATCH_HISTORY: usize = 1_024;

    /// Makes a fresh place in the service in which there is no bucket yet.
    async fn new() -> Self;

    /// Opens another handle on the bucket of this harness, always the same bucket, as `mode` says.
    ///
    /// Handles should share as little as two processes would: each has its own cache. When all of
    /// them are dropped, the next one must read what was stored, not what was remembered.
    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>>;

    /// Opens a handle on another bucket of the same service, always the same other one.
    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>>;

    /// Opens, or creates and opens, the bucket of this harness through a handle that can watch;
    /// `None` where [`Lack::Watch`] is declared.
    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>>;

    /// Opens, or creates and opens, a bucket that a few MiB fill: its
    /// [`Limits::bucket_bytes`](kv_core::Limits::bucket_bytes) is set unless
    /// [`Lack::BucketLimit`] is declared. By default the bucket of this harness.
    async fn open_small(&self) -> Result<Arc<dyn KvStore>> {
        self.open(OpenMode::OpenOrCreate).await
    }

    /// The clock of every handle of this harness, which the cases on expiry move.
    fn clock(&self) -> &ManualClock;

    /// The names of what the buckets of this harness still have in the service, asked of the
    /// service itself and not of a handle. Empty after a teardown.
    async fn leftovers(&self) -> Vec<String>;

    /// Cleans up, also after a case that failed.
    async fn finish(self) {}
}
