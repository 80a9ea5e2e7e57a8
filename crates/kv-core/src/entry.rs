use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;

use crate::{Key, Revision};

/// A key and what is stored under it.
///
/// `Debug` shows the length of the value and never its bytes, so that an entry in a log gives
/// nothing away. Cloning copies pointers.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name of the entry.
    pub key: Key,
    /// The stored bytes; empty bytes are a value, too.
    pub value: Bytes,
    /// The commit that last wrote the entry.
    pub revision: Revision,
    /// From this time on the entry is absent; `None`: it stays. Whole milliseconds.
    pub expires_at: Option<SystemTime>,
}

impl Entry {
    /// Whether the entry is absent from every read at the time `now`.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("revision", &self.revision)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let entry = Entry {
            key: Key::new("k").unwrap(),
            value: Bytes::from_static(b"canary"),
            revision: Revision::new(7),
            expires_at: None,
        };
        let text = format!("{entry:?}");
        assert!(
            text.contains("6 bytes") && !text.contains("canary"),
            "{text}"
        );
    }
}
