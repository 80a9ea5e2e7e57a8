//! Where the approvals are kept: the only part that knows of backends.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use kube::{Client, Config};
use kv_configmap::Buckets;
use kv_core::{KvStore, OpenMode};
use kv_memory::MemoryBuckets;
use kv_redb::RedbStore;

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Clone, Debug)]
pub(crate) enum Place {
    Memory(MemoryBuckets),
    File(PathBuf),
    ConfigMap { namespace: String, bucket: String },
}

impl Place {
    /// A store of its own, that shares nothing with others but the data.
    pub(crate) async fn open(&self) -> Result<Arc<dyn KvStore>> {
        let mode = OpenMode::OpenOrCreate;
        Ok(match self {
            Self::Memory(buckets) => Arc::new(buckets.open("approvals", mode)?),
            Self::File(path) => Arc::new(RedbStore::open(path, mode).await?),
            Self::ConfigMap { namespace, bucket } => {
                let mut config = Config::infer().await?;
                // The store knows better which request to repeat.
                config.default_retry = false;
                let buckets = Buckets::config_maps(Client::try_from(config)?, namespace);
                Arc::new(buckets.open(bucket, mode).await?)
            }
        })
    }

    /// Whether several processes can have it open at once.
    pub(crate) fn is_for_processes(&self) -> bool {
        matches!(self, Self::ConfigMap { .. })
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory(MemoryBuckets::new())),
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("configmap", name)) => {
                let (namespace, bucket) =
                    name.split_once('/').ok_or("NAMESPACE/BUCKET is missing")?;
                let (namespace, bucket) = (namespace.to_owned(), bucket.to_owned());
                Ok(Self::ConfigMap { namespace, bucket })
            }
            _ => Err("give memory:, file:PATH or configmap:NAMESPACE/BUCKET"),
        }
    }
}
