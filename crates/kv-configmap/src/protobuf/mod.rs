//! Data travels as protobuf, which takes the server and its clients less than JSON with base64 in
//! it. The messages here have only the fields that are needed: what is written goes as JSON where
//! its metadata has anything else, and what was read is read once more as JSON.

mod messages;
mod read;
mod write;

pub(crate) use messages::Status;
pub(crate) use read::{Told, object, segment, segments, status, told, version};
pub(crate) use write::{head_body, offer_body, segment_body};

/// The media type.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
