//! A pointer to a store is a store.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Commit, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing, Result, Transaction,
    Usage, WatchOptions, WatchStore, WatchStream,
};

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: KvStore + ?Sized> KvStore for $pointer {
            async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
                (**self).get_opts(key, options).await
            }

            async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
                (**self).list_opts(options).await
            }

            async fn commit(&self, transaction: Transaction) -> Result<Commit> {
                (**self).commit(transaction).await
            }

            async fn teardown(&self) -> Result<()> {
                (**self).teardown().await
            }

            fn limits(&self) -> Limits {
                (**self).limits()
            }

            async fn usage(&self) -> Result<Usage> {
                (**self).usage().await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: WatchStore + ?Sized> WatchStore for $pointer {
            async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
                (**self).watch(options).await
            }
        }
    )+};
}

forward!(&T, Box<T>, Arc<T>);
