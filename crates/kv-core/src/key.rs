use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Bound, Error, Result};

/// The name of an entry: non-empty UTF-8 text of at most [`Key::MAX_BYTES`] bytes.
///
/// A key is checked once, when it is made; every function that takes a `Key` can rely on it.
/// Nothing else is restricted: slashes, dots, control characters and all of Unicode are legal,
/// and text is kept as it was given, so that the composed and the decomposed form of `é` are two
/// keys. Keys are ordered by their bytes.
///
/// Cloning copies a pointer.
///
/// # Example
///
/// ```
/// use kv_core::Key;
///
/// let key = Key::new("deployments/web")?;
/// assert_eq!(key.as_str(), "deployments/web");
/// assert!(Key::new("").is_err());
/// assert!(Key::new("a/b")? < Key::new("a0")?);
/// # Ok::<(), kv_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

impl Key {
    /// The longest key, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 1_024;

    /// Checks `text` and makes a key of it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] for the empty text, [`Error::TooLarge`] above [`Key::MAX_BYTES`].
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::InvalidKey {
                reason: "a key has at least one byte",
            });
        }
        if text.len() > Self::MAX_BYTES {
            return Err(Error::TooLarge {
                what: Bound::Key,
                key: None,
                actual: text.len() as u64,
                limit: Self::MAX_BYTES as u64,
            });
        }
        Ok(Self(text))
    }

    /// The text of the key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

// Sound because `str` orders, compares and hashes as `Key` does.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.as_str().to_owned()
    }
}

impl TryFrom<&str> for Key {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Key {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&String> for Key {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        Self::new(text.as_str())
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_key_fits_and_one_byte_more_does_not() {
        assert!(Key::new("k".repeat(Key::MAX_BYTES - 1)).is_ok());
        assert!(Key::new("k".repeat(Key::MAX_BYTES)).is_ok());
        let error = Key::new("k".repeat(Key::MAX_BYTES + 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "key is too large: 1025 bytes, the limit is 1024"
        );
    }

    #[test]
    fn the_limit_counts_bytes_and_not_characters() {
        assert!(Key::new("é".repeat(512)).is_ok());
        assert!(Key::new("é".repeat(513)).is_err());
    }

    #[test]
    fn serde_checks_what_it_reads() {
        assert!(serde_json::from_str::<Key>("\"\"").is_err());
        let key: Key = serde_json::from_str("\"a/b\"").unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"a/b\"");
    }

    proptest! {
        #[test]
        fn order_is_the_order_of_the_bytes(a in "\\PC{1,8}", b in "\\PC{1,8}") {
            let (left, right) = (Key::new(a.as_str()).unwrap(), Key::new(b.as_str()).unwrap());
            prop_assert_eq!(left.cmp(&right), a.as_bytes().cmp(b.as_bytes()));
        }
    }
}
