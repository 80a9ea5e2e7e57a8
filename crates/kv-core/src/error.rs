use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{Bound, Key, Revision};

/// What every call of a store returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of an [`Error`], shared by all callers whom one failure reached.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call failed. A variant exists where a caller would act differently.
///
/// A message names the key, the limit or the store and what to do next; it never shows a value
/// and never repeats its `source()`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a key.
    #[error("invalid key: {reason}")]
    InvalidKey {
        /// The rule that it breaks.
        reason: &'static str,
    },

    /// The name of a bucket or a namespace that the backend cannot hold.
    #[error("invalid name {name:?}: {reason}")]
    InvalidName {
        /// The name as it was given.
        name: String,
        /// The rule that it breaks.
        reason: String,
    },

    /// A time to live of nothing.
    #[error("time to live of {key:?} is zero: give at least a millisecond, or delete the key")]
    ZeroTtl {
        /// The key that was to expire.
        key: Key,
    },

    /// A key, a value, a transaction or a time to live is over its limit.
    #[error("{what}{} is too large: {actual} {}, the limit is {limit}", of_key(.key.as_ref()), .what.unit())]
    TooLarge {
        /// Which limit.
        what: Bound,
        /// The key whose value is too large, where there is one.
        key: Option<Key>,
        /// The size that was given.
        actual: u64,
        /// The size that is allowed.
        limit: u64,
    },

    /// The bucket has no room for the transaction.
    #[error(
        "{store} is full: the transaction needs {needed} bytes and {available} are left; \
         delete entries or use another bucket"
    )]
    BucketFull {
        /// The bucket.
        store: String,
        /// How many bytes the transaction would add.
        needed: u64,
        /// How many are left.
        available: u64,
    },

    /// A key that had to be absent is there.
    #[error("key {key:?} already exists, at revision {actual}")]
    AlreadyExists {
        /// The key.
        key: Key,
        /// The revision it has.
        actual: Revision,
    },

    /// A key is not as a condition expected it.
    #[error("conflict at key {key:?}: expected {expected}, {}", found(.actual.as_ref()))]
    Conflict {
        /// The key.
        key: Key,
        /// What the condition asked for.
        expected: Expected,
        /// What is there; `None`: nothing.
        actual: Option<Revision>,
    },

    /// The bucket was to be created and is there.
    #[error("{store} already exists; open it instead")]
    BucketExists {
        /// The bucket.
        store: String,
    },

    /// A bucket, or what holds it, must exist and does not.
    #[error("{what} does not exist; create it first")]
    NotFound {
        /// What is missing.
        what: String,
    },

    /// An object of that name was made by somebody else. It was not touched.
    #[error("{object} was not made by this store ({reason}); choose another name or remove it")]
    Foreign {
        /// The object.
        object: String,
        /// What shows that it is foreign.
        reason: String,
    },

    /// Stored bytes are damaged.
    #[error("{object} is damaged: {reason}; restore it from a backup or tear it down")]
    Corrupt {
        /// The damaged object or entry.
        object: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The caller has no right to do it.
    #[error("{store} does not permit it: {reason}")]
    Forbidden {
        /// The store.
        store: String,
        /// What the service said.
        reason: String,
    },

    /// The service asks callers to slow down. Nothing was applied.
    #[error("{store} asks to slow down{}", after(.retry_after.as_ref()))]
    Throttled {
        /// The store.
        store: String,
        /// How long to wait, where it says so.
        retry_after: Option<Duration>,
    },

    /// The service did not answer, or cannot serve now. Nothing was applied.
    #[error("{store} is unavailable: {reason}")]
    Unavailable {
        /// The store.
        store: String,
        /// What was tried, and for how long.
        reason: String,
        /// The last failure.
        source: Option<Source>,
    },

    /// It cannot be known whether the transaction was applied. Read the keys to find out.
    #[error("{store} may or may not have applied the transaction: {reason}; read the keys to know")]
    Indeterminate {
        /// The store.
        store: String,
        /// Why it cannot be known.
        reason: String,
        /// The last failure.
        source: Option<Source>,
    },

    /// The revision is older than what the store still has. Start from a new snapshot.
    #[error("revision {requested} is compacted; start again from revision {current}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// What the store is at.
        current: Revision,
    },

    /// The store lacks the ability.
    #[error("{store} does not support {what}")]
    Unsupported {
        /// The store.
        store: String,
        /// The ability.
        what: String,
    },

    /// The store was closed, or the runtime that it lives on is shutting down.
    #[error("{store} is closed; open it again")]
    Closed {
        /// The store.
        store: String,
    },

    /// The service failed in a way that no other variant describes.
    #[error("{store} failed: {reason}")]
    Backend {
        /// The store.
        store: String,
        /// What it was doing.
        reason: String,
        /// The failure.
        source: Option<Source>,
    },
}

/// What a failed condition had asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key at exactly this revision.
    At(Revision),
    /// The key at any revision.
    Exists,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(revision) => write!(f, "revision {revision}"),
            Self::Exists => f.write_str("the key to exist"),
        }
    }
}

/// Whether a failed transaction can have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not applied and never will be.
    NotApplied,
    /// It may have been applied.
    Unknown,
}

impl Error {
    /// Whether a condition failed: read again, decide again, commit again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::AlreadyExists { .. } | Self::Conflict { .. })
    }

    /// Whether the same call, unchanged, can succeed a little later and is safe to repeat.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }

    /// Whether the transaction behind this error can have been applied.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Indeterminate { .. } | Self::Backend { .. } => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn of_key(key: Option<&Key>) -> String {
    key.map(|key| format!(" of {key:?}")).unwrap_or_default()
}

fn found(actual: Option<&Revision>) -> String {
    actual.map_or_else(
        || "found nothing".to_owned(),
        |revision| format!("found revision {revision}"),
    )
}

fn after(retry_after: Option<&Duration>) -> String {
    retry_after
        .map(|wait| format!("; try again in {wait:?}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fits_in_a_result_that_is_passed_by_value() {
        assert!(size_of::<Error>() <= 96, "{}", size_of::<Error>());
    }

    #[test]
    fn a_conflict_names_the_key_what_was_expected_and_what_is_there() {
        let key = Key::new("a/b").unwrap();
        let missing = Error::Conflict {
            key: key.clone(),
            expected: Expected::Exists,
            actual: None,
        };
        assert_eq!(
            missing.to_string(),
            "conflict at key \"a/b\": expected the key to exist, found nothing"
        );
        let stale = Error::Conflict {
            key,
            expected: Expected::At(Revision::new(3)),
            actual: Some(Revision::new(4)),
        };
        assert_eq!(
            stale.to_string(),
            "conflict at key \"a/b\": expected revision 3, found revision 4"
        );
    }
}
