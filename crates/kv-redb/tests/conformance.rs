//! The suite of the contract on a file.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kv_conformance::Harness;
use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};
use kv_redb::{RedbBuilder, RedbStore};
use tempfile::TempDir;

/// How much the small bucket holds.
const SMALL: u64 = 256 * 1024;

const BUCKETS: [&str; 2] = ["bucket.redb", "other.redb"];

/// A directory with a file for each bucket.
struct Files {
    directory: TempDir,
    clock: ManualClock,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn builder(&self, name: &str) -> RedbBuilder {
        RedbStore::builder(self.path(name)).with_clock(self.clock.clone())
    }
}

#[async_trait]
impl Harness for Files {
    const NAME: &'static str = "redb";

    async fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("there is a directory for temporary files"),
            clock: ManualClock::default(),
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.builder(BUCKETS[0]).open(mode).await?))
    }

    async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
        Ok(Arc::new(self.builder(BUCKETS[1]).open(mode).await?))
    }

    async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
        let opened = self.builder(BUCKETS[0]).open(OpenMode::OpenOrCreate).await;
        Some(Arc::new(opened.expect("the bucket opens")))
    }

    async fn open_small(&self) -> Result<Arc<dyn KvStore>> {
        let small = self.builder("small.redb").with_bucket_bytes(SMALL);
        Ok(Arc::new(small.open(OpenMode::OpenOrCreate).await?))
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// A teardown leaves the file, which remembers the revision, but no bucket in it.
    async fn leftovers(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.directory.path()).expect("the directory is there");
        let names = files.map(|file| file.expect("it can be listed").file_name());
        let mut left = Vec::new();
        for name in names.map(|name| name.to_string_lossy().into_owned()) {
            let is_empty = BUCKETS.contains(&name.as_str())
                && self.builder(&name).open(OpenMode::Open).await.is_err();
            if !is_empty {
                left.push(name);
            }
        }
        left
    }
}

kv_conformance::suite!(Files);
