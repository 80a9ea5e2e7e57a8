use async_trait::async_trait;

use crate::{
    Commit, Entry, Error, GetOptions, Key, KvStore, Limits, ListOptions, Listing, Result,
    Transaction, Usage, WatchOptions, WatchStore, WatchStream,
};

/// A store that reads through another one and refuses to write.
///
/// # Example
///
/// ```
/// use kv_core::{ReadOnlyStore, prelude::*};
/// use kv_memory::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let store = MemoryStore::new();
/// store.put("foo", "hello").await?;
/// let view = ReadOnlyStore::new(store);
/// assert!(view.get("foo").await?.is_some());
/// assert!(matches!(view.put("foo", "bye").await, Err(Error::Unsupported { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadOnlyStore<T> {
    inner: T,
}

impl<T> ReadOnlyStore<T> {
    /// A view of `inner`.
    #[must_use]
    pub fn new(inner: T) -> Self {
        Self { inner }
    }

    /// The store behind the view.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.inner
    }
}

fn refused(what: &str) -> Error {
    Error::Unsupported {
        store: "a read-only view".to_owned(),
        what: what.to_owned(),
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: KvStore> KvStore for ReadOnlyStore<T> {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.inner.get_opts(key, options).await
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        self.inner.list_opts(options).await
    }

    async fn commit(&self, _: Transaction) -> Result<Commit> {
        Err(refused("commits"))
    }

    async fn teardown(&self) -> Result<()> {
        Err(refused("teardown"))
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: WatchStore> WatchStore for ReadOnlyStore<T> {
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
        self.inner.watch(options).await
    }
}
