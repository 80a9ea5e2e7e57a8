use std::sync::Arc;

use async_trait::async_trait;
use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};

use crate::Harness;

/// A [`Harness`] as the cases see it: what it makes and not what it is, so that the cases are
/// compiled once and not for each harness. Every harness is one.
#[async_trait]
pub trait Place: Send + Sync {
    /// As [`Harness::open`].
    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>>;

    /// As [`Harness::open_other`].
    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>>;

    /// As [`Harness::open_watch`].
    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>>;

    /// As [`Harness::open_small`].
    async fn open_small(&self) -> Result<Arc<dyn KvStore>>;

    /// As [`Harness::clock`].
    fn clock(&self) -> &ManualClock;

    /// As [`Harness::leftovers`].
    async fn leftovers(&self) -> Vec<String>;

    /// As [`Harness::WATCH_HISTORY`].
    fn watch_history(&self) -> usize;
}

#[async_trait]
impl<H: Harness> Place for H {
    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Harness::open(self, mode).await
    }

    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Harness::open_other(self, mode).await
    }

    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
        Harness::open_watch(self).await
    }

    async fn open_small(&self) -> Result<Arc<dyn KvStore>> {
        Harness::open_small(self).await
    }

    fn clock(&self) -> &ManualClock {
        Harness::clock(self)
    }

    async fn leftovers(&self) -> Vec<String> {
        Harness::leftovers(self).await
    }

    fn watch_history(&self) -> usize {
        H::WATCH_HISTORY
    }
}
