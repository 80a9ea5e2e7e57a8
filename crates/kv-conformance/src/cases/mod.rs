//! The cases, in groups. Each is a sentence of the contract: its name says it, its messages too.
//!
//! [`suite!`](crate::suite) makes a test of each. A case can be run by itself on a harness, too.

pub mod basics;
pub mod buckets;
pub mod concurrency;
pub mod conditions;
pub mod errors;
pub mod expiry;
pub mod hygiene;
pub mod keys;
pub mod limits;
pub mod list;
pub mod reads;
pub mod transactions;
pub mod values;
pub mod watch;
pub mod watch_gaps;
