use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number of a commit: it grows with every commit of a bucket and never repeats, even when
/// the bucket is deleted and made again. Gaps mean nothing.
///
/// Each [`Entry`](crate::Entry) carries the revision of the commit that last wrote it, and a
/// condition such as [`require_at`](crate::Transaction::require_at) compares against it.
///
/// In text formats such as JSON a revision is a string, because it can pass 2^53, beyond which
/// many JSON readers round numbers.
///
/// # Example
///
/// ```
/// use kv_core::Revision;
///
/// let revision: Revision = "4611".parse()?;
/// assert!(revision > Revision::ZERO);
/// assert_eq!(revision.to_string(), "4611");
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Before every commit: what a bucket reports to which nothing was ever committed.
    pub const ZERO: Self = Self(0);

    /// A revision from its number. Backends make revisions; applications pass on what they got.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Revision {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_every_digit() {
        let revision = Revision::new(u64::MAX);
        let json = serde_json::to_string(&revision).unwrap();
        assert_eq!(json, "\"18446744073709551615\"");
        assert_eq!(serde_json::from_str::<Revision>(&json).unwrap(), revision);
        assert!(serde_json::from_str::<Revision>("\"-1\"").is_err());
    }
}
