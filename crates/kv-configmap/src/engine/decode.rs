use kv_core::Error;

use super::SegmentId;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{bytes} bytes are too few")]
    Short { bytes: usize },
    #[error("it does not begin as it should")]
    Magic,
    #[error("the checksum does not fit")]
    Checksum,
    #[error("format version {found}, this program knows {known} and below")]
    NewerFormat { found: u32, known: u32 },
    #[error("the segment {0} is missing")]
    MissingSegment(SegmentId),
    #[error("the segment {0}: {1}")]
    Segment(SegmentId, String),
    #[error("{0}")]
    Content(String),
}

impl DecodeError {
    /// The error that a caller of the store gets for the object `object`.
    pub(crate) fn into_error(self, object: String) -> Error {
        match self {
            Self::NewerFormat { found, known } => Error::Unsupported {
                store: object,
                what: format!(
                    "format version {found}: this program knows {known} and below, use a newer one"
                ),
            },
            damage => Error::Corrupt {
                object,
                reason: damage.to_string(),
            },
        }
    }
}
