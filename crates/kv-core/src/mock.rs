//! A mock of the trait, made by `mockall`.
//!
//! # When a mock is right, and when memory is
//!
//! Use `kv_memory::MemoryStore` to test what an application does with a store that works: it keeps
//! the whole contract, so that the test reads as the application does and goes on passing when the
//! application is rewritten. Use the mock to test what the application does when the store
//! *fails*, which memory does not do on demand:
//!
//! ```
//! use kv_core::mock::MockKvStore;
//! use kv_core::prelude::*;
//!
//! /// Remembers a vote, or says that the voter should try again.
//! async fn vote(store: &impl KvStore, name: &str) -> Result<&'static str, Error> {
//!     match store.create(format!("votes/{name}"), "yes").await {
//!         Ok(_) => Ok("counted"),
//!         Err(error) if error.is_retryable() => Ok("try again"),
//!         Err(error) => Err(error),
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut store = MockKvStore::new();
//! store.expect_commit().times(1).returning(|_| {
//!     Err(Error::Throttled { store: "a mock".into(), retry_after: None })
//! });
//! assert_eq!(vote(&store, "anna").await.unwrap(), "try again");
//! # });
//! ```

use async_trait::async_trait;

use crate::{
    Commit, Entry, GetOptions, Key, KvStore, Limits, ListOptions, Listing, Result, Transaction,
    Usage,
};

mockall::mock! {
    /// A [`KvStore`] that answers what a test expects of it.
    #[derive(Debug)]
    pub KvStore {}

    #[async_trait]
    impl KvStore for KvStore {
        async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>>;
        async fn list_opts(&self, options: ListOptions) -> Result<Listing>;
        async fn commit(&self, transaction: Transaction) -> Result<Commit>;
        async fn teardown(&self) -> Result<()>;
        fn limits(&self) -> Limits;
        async fn usage(&self) -> Result<Usage>;
    }
}
