use std::fmt;

use crate::{Key, Revision};

/// What a store accepts, known before any call.
///
/// What is over a limit is refused with [`Error::TooLarge`](crate::Error::TooLarge) or
/// [`Error::BucketFull`](crate::Error::BucketFull), and nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key, in bytes.
    pub key_bytes: usize,
    /// The largest value, in bytes.
    pub value_bytes: usize,
    /// The most operations of one transaction; as many conditions may come with them.
    pub transaction_operations: usize,
    /// The most a bucket holds, in bytes as [`Usage::bytes`] counts them; `None`: as much as
    /// there is room.
    pub bucket_bytes: Option<u64>,
}

impl Limits {
    /// The limits of the contract: a backend may stay below them where its service forces it to.
    pub const CONTRACT: Self = Self {
        key_bytes: Key::MAX_BYTES,
        value_bytes: 16 * 1024 * 1024,
        transaction_operations: 1_024,
        bucket_bytes: None,
    };
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The number of entries.
    pub entries: u64,
    /// The bytes that count against [`Limits::bucket_bytes`]; each backend says on its page
    /// whether these are compressed bytes.
    pub bytes: u64,
    /// The limit, `None` where there is none.
    pub limit: Option<u64>,
    /// The revision that these figures describe.
    pub revision: Revision,
}

/// The bound that an [`Error::TooLarge`](crate::Error::TooLarge) reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// [`Limits::key_bytes`].
    Key,
    /// [`Limits::value_bytes`].
    Value,
    /// [`Limits::transaction_operations`], counting operations.
    Operations,
    /// [`Limits::transaction_operations`], counting conditions.
    Conditions,
    /// The longest time to live, in milliseconds: [`Transaction::MAX_TTL`](crate::Transaction::MAX_TTL).
    Ttl,
}

impl Bound {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Key | Self::Value => "bytes",
            Self::Operations => "operations",
            Self::Conditions => "conditions",
            Self::Ttl => "ms",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
            Self::Operations | Self::Conditions => "transaction",
            Self::Ttl => "time to live",
        })
    }
}
