use std::fmt;

use crate::{Entry, Key, Revision};

/// Entries of one snapshot, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision of the snapshot.
    pub revision: Revision,
    /// Where to go on, if more is left: hand it to
    /// [`ListOptions::with_cursor`](crate::ListOptions::with_cursor).
    pub cursor: Option<Cursor>,
}

/// A place in a [`Listing`]: a snapshot, and the last key that was taken from it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor {
    snapshot: Revision,
    after: Option<Key>,
}

impl Cursor {
    /// A cursor into the snapshot of that revision, behind the key `after`. Backends and wrappers
    /// make cursors; applications pass on what they got.
    #[must_use]
    pub fn new(snapshot: Revision, after: Option<Key>) -> Self {
        Self { snapshot, after }
    }

    /// The revision of the snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Revision {
        self.snapshot
    }

    /// The last key that was taken; `None`: nothing was.
    #[must_use]
    pub fn after(&self) -> Option<&Key> {
        self.after.as_ref()
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({} after {:?})", self.snapshot, self.after)
    }
}
