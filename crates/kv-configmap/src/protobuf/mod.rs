//! What every commit sends and reads travels as protobuf, which takes the server and its clients less than
//! JSON with base64 in it. The messages here have only the fields that are needed. Where the metadata of
//! a head has anything else, the head is written as JSON, and one that was read is read once more as JSON.

mod messages;
mod read;
mod write;

pub(crate) use messages::Status;
pub(crate) use read::{Told, object, segment, segments, status, told, version};
pub(crate) use write::{head_body, offer_body, segment_body};

/// The media type.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
