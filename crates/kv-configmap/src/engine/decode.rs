use kv_core::Error;

/// Why bytes are not a head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{bytes} bytes are too few for a head")]
    Short { bytes: usize },
    #[error("it does not begin as a head does")]
    Magic,
    #[error("the checksum does not fit")]
    Checksum,
    #[error("format version {found}, this program knows {known} and below")]
    NewerFormat { found: u32, known: u32 },
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
