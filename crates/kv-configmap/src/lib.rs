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
//! A bucket begins as one object, its *head*. When it grows, what it holds moves to further objects,
//! immutable *segments*, which the head names; when it shrinks, it returns into the head.
//!
//! # What it promises
//!
//! - **Any number of writers**, in any number of processes: every write is conditional on the
//!   version of the head that it was decided on, and a writer that was slower decides again. While
//!   several are at work, one of them commits for all, so that they share its writes.
//! - **One request a put**: a put of up to 32 KiB on a bucket that nobody else has changed is one
//!   request; a linearizable get is one, a get with
//!   [`Consistency::Cached`](kv_core::Consistency::Cached) none. Puts that wait at the same time
//!   share a write, or two, and gets a read. What a put sends hardly grows with the bucket.
//! - **Exactly once**: a write whose answer was lost is sent again as it was, and found by its
//!   batch id in the head if it had been applied.
//! - **Durable**: acknowledged means stored in the cluster's etcd.
//! - **Watched**: [`WatchStore`](kv_core::WatchStore) tells of every commit of every process, in
//!   order, or says with a snapshot that some were missed.
//!
//! # Limits
//!
//! | what | limit | in a single object |
//! |---|---|---|
//! | bucket | 64 MiB after compression; [`Buckets::with_bucket_bytes`] sets it, up to 256 MiB | 1,036,288 bytes, 98.8 % of a ConfigMap |
//! | value | 16 MiB | 1,024,000 bytes |
//! | key | 1,024 bytes | the same |
//! | transaction | 1,024 operations | the same |
//! | bucket name | 200 characters, an RFC 1123 subdomain | the same |
//! | raw data of a bucket | 4 times the bucket, at least 256 MiB | 64 MiB |
//! | writes, over time | 256 KiB a second and 4 MiB at once; [`Buckets::with_write_budget`] sets it | the same |
//!
//! What counts against the limit of a bucket, and what [`Usage::bytes`](kv_core::Usage::bytes)
//! tells, is about what is live, after compression. What was overwritten takes room besides, about
//! as much again at most, until it is compacted. All of a bucket is kept in memory, uncompressed.
//!
//! Write many small values in one transaction, or side by side, rather than one after the other:
//! each write of a head counts against the budget.
//!
//! # Permissions
//!
//! On `configmaps` (or `secrets`): `get`, `list`, `create` and `delete`, which have to be for all
//! of the namespace, because the names of segments are not known beforehand; and `update` and
//! `watch`, for which a role that names the head (`resourceNames`) is enough. With Secrets that is
//! the right to read every Secret of the namespace. With `update` and `watch` for all of the
//! namespace, too, processes that write at the same time commit for each other, by way of objects
//! whose names are not known beforehand either; else they take turns.
//!
//! [`Buckets::in_single_objects`] keeps each bucket in its head. For one that exists, a role that
//! names it is then enough, with `get` and `update`, and with `list` and `watch` to follow it. Every
//! program that shares the bucket has to open it so.
//!
//! # Cached reads and watches
//!
//! [`Consistency::Cached`](kv_core::Consistency::Cached) answers at once from what the store knows.
//! The first such read, or the first [`watch`](kv_core::WatchStore::watch), begins to follow the
//! bucket: one watch on the API server, for all handles of one [`Buckets`] on it, renews what is
//! known until the last handle is dropped. Where the server does not allow that, a watch is
//! [`Error::Forbidden`](kv_core::Error::Forbidden), and only the store's own commits and other reads
//! renew what cached reads see. A connection that has died without a word is noticed after 255 s at
//! most.
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
//! client, but prefers `false`: it knows better which request to repeat, and for how long. Four
//! cases are safe only with `false`. In each the client hides an answer of 503 or 504 to a write
//! that was applied. Where a bucket is torn down and made anew meanwhile, or 128 other writers
//! commit meanwhile, the write can be applied again; where later requests are refused until the
//! caller gives up, or the head cannot be read any more, the caller is told an error, though the
//! first request was applied.

mod api;
mod assemble;
mod attempt;
mod buckets;
mod budget;
mod changes;
mod check;
mod committer;
mod contention;
mod describe;
mod engine;
mod failure;
mod follower;
mod forwarding;
mod handle;
#[cfg_attr(
    not(feature = "simulation"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "only a simulation takes hold of them"
    )
)]
mod hooks;
mod known;
mod leader;
mod leading;
mod lifecycle;
mod maintainer;
mod name;
mod object;
mod prepare;
mod protobuf;
mod reader;
mod repair;
mod report;
mod resource;
mod send;
mod shared;
mod store;
mod waiting;

pub use buckets::Buckets;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use hooks::{Bug, CrashPoint, Simulation};
pub use report::{
    CheckReport, ForeignObject, HeadReport, Lost, Orphan, Readable, Revisions, SegmentReport,
    SegmentState,
};
pub use store::ConfigMapStore;
