//! What backends are made of: the rules of the contract as pure code, for those who write a
//! backend. Applications do not need it.
//!
//! - [`evaluate`] decides about one transaction: the only place where conditions, "unchanged is
//!   unwritten" and the order of operations are decided.
//! - [`Snapshot`] is a whole bucket in memory: copied in a moment, read without locks.
//! - [`Replica`] is the newest [`Snapshot`] with its recent history: what watchers need. Where the
//!   entries are not in memory, a [`SnapshotSource`] reads them.
//! - [`Cursors`] keeps the snapshots that pages of a listing come from.
//! - [`Backoff`] spreads those who collided.
//! - [`ForwardClock`] makes of any clock one that never goes back.

mod backoff;
mod cursors;
mod entries;
mod evaluate;
mod forward_clock;
mod replica;
mod snapshot;
mod sorted;

pub use backoff::Backoff;
pub use cursors::Cursors;
pub use evaluate::{Effect, Evaluation, Stored, check_condition, evaluate};
pub use forward_clock::ForwardClock;
pub use replica::{Record, Replica, SnapshotSource};
pub use snapshot::Snapshot;
