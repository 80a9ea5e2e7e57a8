//! A [`KvStore`](kv_core::KvStore) in memory: the reference reading of the contract, and the fake
//! that applications use in their unit tests.
//!
//! It keeps every promise of the contract but one: nothing outlives the process. Watch and expiry
//! work, on a clock that a test can move:
//!
//! ```
//! use std::time::Duration;
//! use kv_core::{ManualClock, prelude::*};
//! use kv_memory::MemoryStore;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let clock = ManualClock::default();
//! let store = MemoryStore::with_clock(clock.clone());
//! store.put_expiring("session", "anna", Duration::from_secs(60)).await?;
//! assert!(store.get("session").await?.is_some());
//! clock.advance(Duration::from_secs(60));
//! assert!(store.get("session").await?.is_none());
//! # Ok::<(), Error>(())
//! # }).unwrap();
//! ```
//!
//! Clones of a store are handles on one bucket. [`MemoryBuckets`] holds several buckets by name,
//! for code that opens and creates them.
//!
//! # Limits
//!
//! Those of the contract: keys of 1,024 bytes, values of 16 MiB, transactions of 1,024 operations.
//! A bucket holds what fits in memory, unless [`MemoryBuckets::with_bucket_bytes`] sets a bound on
//! its keys and values, to test how an application meets a full bucket.

mod bucket;
mod buckets;
mod store;

pub use buckets::MemoryBuckets;
pub use store::MemoryStore;
