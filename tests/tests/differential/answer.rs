use std::time::SystemTime;

use kv_core::{Bound, Bytes};

/// What a step answers, in words that do not depend on the store: a revision is told as the number
/// of its commit, the first being 1, and 0 where nothing was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Committed {
        commit: usize,
        previous: Vec<Option<usize>>,
        current: Vec<Option<usize>>,
    },
    Found(Option<Row>),
    Listed {
        commit: usize,
        rows: Vec<Row>,
        /// The key behind which more is left; `None` within: more is left behind nothing.
        more: Option<Option<String>>,
    },
    Refused(Refusal),
}

/// An entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) commit: usize,
    pub(crate) expires_at: Option<SystemTime>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.value.first().copied().unwrap_or_default();
        write!(
            f,
            "{:?} = {} bytes from {first:#x} of commit {}, until {:?}",
            self.key,
            self.value.len(),
            self.commit,
            self.expires_at
        )
    }
}

/// The kind of an error, with what it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    AlreadyExists {
        key: String,
        actual: usize,
    },
    /// A key that must exist, or, with a commit, must be at it.
    Conflict {
        key: String,
        expected: Option<Wanted>,
        actual: Option<usize>,
    },
    TooLarge {
        what: Bound,
        actual: u64,
    },
    ZeroTtl {
        key: String,
    },
    BucketExists,
    NotFound,
    Unavailable,
    Compacted,
    /// What no step should bring about.
    Other(String),
}

/// A revision that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Commit(usize),
    Never,
}
