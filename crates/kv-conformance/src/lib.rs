//! The contract in executable form: one suite that every backend passes.
//!
//! A behaviour of a store is promised once there is a case for it here. A backend sits the whole
//! examination, and so does every wrapper: about 230 cases, none skipped.
//!
//! # To examine a backend
//!
//! Add `kv-conformance`, `async-trait` and `kv-core` to its dev-dependencies, and write one file
//! in its directory `tests`: a [`Harness`], which tells how to make a fresh place and to open
//! handles in it, and one line, [`suite!`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use kv_conformance::Harness;
//! use kv_core::{KvStore, ManualClock, OpenMode, Result, WatchStore};
//! use kv_memory::MemoryBuckets;
//!
//! struct Memory {
//!     clock: ManualClock,
//!     buckets: MemoryBuckets,
//! }
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     const NAME: &'static str = "memory";
//!
//!     async fn new() -> Self {
//!         let clock = ManualClock::default();
//!         let buckets = MemoryBuckets::with_clock(clock.clone());
//!         Self { clock, buckets }
//!     }
//!
//!     async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
//!         Ok(Arc::new(self.buckets.open("bucket", mode)?))
//!     }
//!
//!     async fn open_other(&self, mode: OpenMode) -> Result<Arc<dyn KvStore>> {
//!         Ok(Arc::new(self.buckets.open("other", mode)?))
//!     }
//!
//!     async fn open_watch(&self) -> Option<Arc<dyn WatchStore>> {
//!         let store = self.buckets.open("bucket", OpenMode::OpenOrCreate);
//!         Some(Arc::new(store.expect("memory has room")))
//!     }
//!
//!     async fn open_small(&self) -> Result<Arc<dyn KvStore>> {
//!         let small = self.buckets.clone().with_bucket_bytes(256 * 1024);
//!         Ok(Arc::new(small.open("small", OpenMode::OpenOrCreate)?))
//!     }
//!
//!     fn clock(&self) -> &ManualClock {
//!         &self.clock
//!     }
//!
//!     async fn leftovers(&self) -> Vec<String> {
//!         let names = ["bucket", "other"].into_iter();
//!         let there = names.filter(|name| self.buckets.open(name, OpenMode::Open).is_ok());
//!         there.map(str::to_owned).collect()
//!     }
//! }
//!
//! kv_conformance::suite!(Memory);
//! # fn main() {
//! #     kv_conformance::run::<Memory>("basics", "missing_is_none");
//! # }
//! ```
//!
//! `cargo test` then shows one test for each case, by name, and a failure says which sentence of
//! the contract is broken. Where to begin: `cargo test basics`, then `conditions`, `transactions`,
//! and the rest.
//!
//! - What the backend cannot do it declares in [`Harness::LACKS`]. The cases that need it then
//!   assert that the ability is refused, as [`Lack`] says; they do not pass in silence.
//! - Every case has a harness of its own, and nothing that it does depends on another case. Cases
//!   run side by side, so that a harness that shares a service gives each its own place in it.
//! - No case sleeps. Time belongs to [`Harness::clock`].
//! - A backend that needs a server puts `#[ignore]` on every test:
//!   `suite!(#[ignore = "needs a server"] Server);`.
//!
//! # Beyond the suite
//!
//! What shows only under load, with faults, or over processes that are killed, is for a test of
//! your own to bring about. The checks are here: [`workload`] drives clients and holds them to an
//! invariant, [`history`] decides whether their calls are linearizable, [`watching`] checks what
//! watchers were told, and [`journal`] keeps what clients did where it outlives them.
//!
//! # The report
//!
//! Where the environment variable `KV_CONFORMANCE_REPORT` names a directory, each case that
//! passes adds a line to `<suite>.tsv` there: the suite, the case, and `ran` or `lack:` with the
//! lack that it asserted. [`CASES`] is what such a file must contain.

#![allow(
    clippy::unwrap_used,
    reason = "to panic where a call fails is what a test library is for"
)]

pub mod cases;
pub mod history;
pub mod journal;
pub mod watching;
pub mod workload;

mod feed;
mod harness;
mod hostile;
mod lack;
mod list;
mod listed;
mod place;
mod report;
mod run;
mod suite;
mod support;
mod violation;

pub use harness::Harness;
pub use hostile::HOSTILE_KEYS;
pub use lack::Lack;
pub use listed::{CASES, Case, assert_every_case_is_listed};
pub use place::Place;
pub use run::{run, run_and_report};
pub use violation::{Failure, Violation};
