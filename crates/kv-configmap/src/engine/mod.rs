//! The bucket engine: bytes and decisions in, bytes and decisions out. It knows no network, no
//! clock and no chance; whoever calls it brings these.

mod block;
mod decode;
mod envelope;
mod head;
mod propose;
mod proto;
mod tail;
mod time;
mod version;
mod writers;

#[cfg(test)]
mod tests;

pub(crate) use decode::DecodeError;
pub(crate) use head::{BucketId, CAPACITY, FORMAT, Head};
pub(crate) use propose::{Proposal, Write, propose};
pub(crate) use version::ResourceVersion;
pub(crate) use writers::{BatchId, Resolution};
