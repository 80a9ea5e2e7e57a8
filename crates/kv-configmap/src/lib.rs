//! A [`KvStore`](kv_core::KvStore) in the ConfigMaps or Secrets of a Kubernetes cluster: what an
//! application remembers is kept in the Kubernetes API, and nobody runs a database.
//!
//! ```no_run
//! use kv_configmap::Buckets;
//! use kv_core::{OpenMode, prelude::*};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = kube::Client::try_default().await?;
//! let buckets = Buckets::config_maps(client, "default");
//! let store = buckets.open("approvals", OpenMode::OpenOrCreate).await?;
//! store.put("deployments/web", "approved").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **Any number of writers**, in any number of processes: every write is conditional on the
//!   version of the object that it was decided on, and a writer that was slower decides again.
//! - **One request a put**: a put on a bucket that nobody else has changed is one request; a
//!   linearizable get is one, a get with [`Consistency::Cached`](kv_core::Consistency::Cached)
//!   none. Puts that wait at the same time share a write, and gets a read.
//! - **Exactly once**: a write whose answer was lost is sent again as it was, and found by its
//!   batch id in the head if it had been applied.
//! - **Durable**: acknowledged means stored in the cluster's etcd.
//!
//! # Limits
//!
//! | what | limit |
//! |---|---|
//! | bucket | 1,036,288 bytes after compression, 98.8 % of a ConfigMap |
//! | value | 1,024,000 bytes |
//! | key | 1,024 bytes |
//! | transaction | 1,024 operations |
//! | bucket name | 200 characters, an RFC 1123 subdomain |
//! | raw data of a bucket | 64 MiB |
//!
//! The store has no [`WatchStore`](kv_core::WatchStore).
//!
//! # Permissions
//!
//! `get`, `update` and `create` on `configmaps` (or `secrets`), and `delete` for teardown. A role
//! that names the one object (`resourceNames`) is enough for all but `create`, which Kubernetes
//! cannot restrict by name.
//!
//! # Cached reads
//!
//! [`Consistency::Cached`](kv_core::Consistency::Cached) answers from what the store knows, which
//! its own commits and its other reads renew. Nothing renews it in the background.
//!
//! # Clocks
//!
//! Time decides about expiry only. An entry whose time has come is absent for every process whose
//! clock says so, and is reclaimed by the next commit of any of them; from then on it is gone for
//! everybody. On one handle time never goes back. A process that starts with a clock that was set
//! back sees expired entries again that no commit has reclaimed.
//!
//! # The client
//!
//! kube's client tries requests again by itself on 429, 503 and 504, writes included, unless
//! `Config::default_retry` is `false`. The store finds a write by its batch id also behind such a
//! client, but prefers `false`: it knows better which request to repeat, and for how long. Three
//! cases are safe only with `false`. In each the client hides an answer of 503 or 504 to a write
//! that was applied. Where a bucket is torn down and made anew meanwhile, or 128 other writers
//! commit meanwhile, the write can be applied again; and a caller who gives up while later requests
//! are refused is told `Unavailable`, though the first one was applied.

mod api;
mod attempt;
mod buckets;
mod budget;
mod check;
mod committer;
mod describe;
mod engine;
mod failure;
mod follower;
mod handle;
mod known;
mod lifecycle;
mod maintainer;
mod name;
mod object;
mod reader;
mod repair;
mod report;
mod resource;
mod shared;
mod store;
mod waiting;

pub use buckets::Buckets;
pub use report::{
    CheckReport, ForeignObject, HeadReport, Lost, Orphan, Readable, Revisions, SegmentReport,
    SegmentState,
};
pub use store::ConfigMapStore;
