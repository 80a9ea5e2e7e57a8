//! A [`KvStore`](kv_core::KvStore) in one file on disk, through the embedded database
//! [`redb`](https://docs.rs/redb): for laptops, tests, edge devices and single-process services.
//!
//! ```
//! use kv_core::{OpenMode, prelude::*};
//! use kv_redb::RedbStore;
//!
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("approvals.redb");
//! # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
//! let store = RedbStore::open(&path, OpenMode::OpenOrCreate).await?;
//! store.put("deployments/web", "approved").await?;
//! drop(store);
//!
//! let store = RedbStore::open(&path, OpenMode::Open).await?;
//! assert_eq!(store.get("deployments/web").await?.unwrap().value, "approved");
//! # Ok::<(), Error>(())
//! # }).unwrap();
//! ```
//!
//! # What the file promises
//!
//! - **Durable**: a commit is acknowledged once it is on the disk (`fsync`). Transactions that
//!   wait at the same time share one write to the disk; one that fails does not fail the others.
//! - **Safe when killed**: a file is made whole under another name and then given its own, and
//!   every later change is one step. A process killed at any moment leaves the last commit or the
//!   one before it, never a part of one.
//! - **One process**: a second process is refused with
//!   [`Error::Unavailable`](kv_core::Error::Unavailable) for as long as the first has the file
//!   open. Within a process, opening a path again gives another handle on the same bucket.
//! - **Nothing foreign is touched**: a file that this crate did not make is refused with
//!   [`Error::Foreign`](kv_core::Error::Foreign) and keeps every byte. That goes for an empty file,
//!   too, and for the databases of other users of redb, even for one that needs a repair.
//! - **Damage is found**: opening checks every page of the file and reports
//!   [`Error::Corrupt`](kv_core::Error::Corrupt). It therefore takes time in proportion to the
//!   size of the file. Where the process was killed, damage to what the last commit wrote cannot be
//!   told from a commit that the kill cut short: the file then opens as the commit before left it.
//!
//! # Teardown
//!
//! A teardown empties the file and shrinks it, but leaves the file in place: it remembers the last
//! revision, so that a bucket made there again goes on with higher ones, and it keeps a process
//! that has the file open on the same file as everybody who opens it afterwards. To
//! [`OpenMode::Open`](kv_core::OpenMode::Open) such a file holds no bucket.
//!
//! # Limits
//!
//! - Keys of 1,024 bytes, values of 16 MiB, transactions of 1,024 operations, as in the contract.
//! - The bucket holds what fits on the disk, unless [`RedbBuilder::with_bucket_bytes`] bounds its
//!   keys and values.
//! - Cursors: the snapshots of the last 16 unfinished listings are kept, each for 4,096 commits;
//!   then [`Error::Compacted`](kv_core::Error::Compacted). Until then the space of what was
//!   overwritten since cannot be used again.
//! - A watch keeps the file open. The last 1,024 commits, at most 32 MiB of them, are kept in memory for
//!   watchers that are behind, and from the first watch on also the keys that expire. Whoever opens
//!   the file anew can resume a watch only after the last commit.
//! - After a failure of the disk the store answers [`Error::Closed`](kv_core::Error::Closed) until
//!   all handles on it are dropped and it is opened again.
//! - An expired entry that no commit has reclaimed yet comes back if the process is started again
//!   with a clock that was set back. Each commit reclaims up to 1,024 of them.
//! - A runtime of tokio is needed: reads and writes run on its blocking threads.

mod builder;
mod create;
mod failure;
mod file;
mod held_back;
mod open;
mod queue;
mod read;
mod registry;
mod snapshots;
mod store;
mod tables;
mod watch;
mod write;

pub use builder::RedbBuilder;
pub use store::RedbStore;
