//! The bucket engine: bytes and decisions in, bytes and decisions out. It knows no network, no
//! clock and no chance; whoever calls it brings these.

mod assemble;
mod block;
mod decode;
mod edit;
mod envelope;
mod fields;
mod fold;
mod group;
mod head;
mod layout;
mod maintain;
mod manifest;
mod offer;
mod outcome;
mod propose;
mod proto;
mod run;
mod segment;
mod state;
mod survey;
mod tail;
mod time;
mod version;
mod writers;

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod forged_tests;
#[cfg(test)]
mod forwarding_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod tests;

pub(crate) use assemble::{Encoded, History, Segments};
pub(crate) use decode::DecodeError;
pub(crate) use edit::Edit;
pub(crate) use envelope::format_of;
pub(crate) use fields::{Content, fields};
pub(crate) use head::{BucketId, CAPACITY, FORMAT, Head};
pub(crate) use layout::{Layout, MOST_BUCKET_BYTES};
pub(crate) use maintain::{Job, Round, flush, merge};
pub(crate) use offer::Offer;
pub(crate) use propose::{Forwarded, Proposal, Request, Write, propose};
pub(crate) use run::SegmentRef;
pub(crate) use segment::{NewSegment, SegmentId};
pub(crate) use state::Range;
pub(crate) use survey::{Examined, Survey, newest_commit_in, survey_without_head};
pub(crate) use version::ResourceVersion;
pub(crate) use writers::{BatchId, Resolution};
