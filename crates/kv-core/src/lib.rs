//! A key-value store for applications on Kubernetes, behind one small trait.
//!
//! Applications take `impl KvStore` and call the plain verbs; which backend keeps the data is
//! decided where the program starts:
//!
//! ```
//! use kv_core::prelude::*;
//!
//! async fn approve(store: &impl KvStore, name: &str) -> Result<(), Error> {
//!     store.put(format!("approvals/{name}"), "approved").await?;
//!     for entry in store.list("approvals/").await? {
//!         println!("{} at revision {}", entry.key, entry.revision);
//!     }
//!     Ok(())
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // In a unit test; in production a store of `kv-configmap`, on a laptop one of `kv-redb`.
//! let store = kv_memory::MemoryStore::new();
//! approve(&store, "deployments/web").await.unwrap();
//! # });
//! ```
//!
//! - [`KvStoreExt`] has the verbs: `put`, `get`, `delete`, `list`, `create`, `update`, `modify` …
//! - [`Transaction`] changes many keys, all or none, under conditions.
//! - [`WatchStore`] tells of commits as they happen.
//! - [`PrefixStore`], [`TypedStore`] and [`ReadOnlyStore`] wrap a store.
//! - [`KvStore`] is what a backend implements; its page has the promises. [`backend`] holds the
//!   parts that backends share.
//!
//! # Features
//!
//! - `mock`: the module `mock`, with a `mockall` mock of the trait.

pub mod backend;
pub mod prelude;

mod clock;
mod entry;
mod error;
mod ext;
mod forward;
mod key;
mod limits;
mod listing;
#[cfg(feature = "mock")]
pub mod mock;
mod options;
mod revision;
mod store;
mod transaction;
mod watch;
mod wrappers;

pub use bytes::Bytes;

pub use clock::{Clock, ManualClock, SystemClock};
pub use entry::Entry;
pub use error::{Error, Expected, Outcome, Result, Source};
pub use ext::KvStoreExt;
pub use key::Key;
pub use limits::{Bound, Limits, Usage};
pub use listing::{Cursor, Listing};
pub use options::{Consistency, GetOptions, ListOptions, OpenMode};
pub use revision::Revision;
pub use store::KvStore;
pub use transaction::{Commit, Condition, Operation, Transaction};
pub use watch::{
    Change, SnapshotReason, WatchEvent, WatchOptions, WatchStart, WatchStore, WatchStream,
};
pub use wrappers::{Codec, Json, PrefixStore, ReadOnlyStore, TypedEntry, TypedStore};
