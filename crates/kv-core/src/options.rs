use crate::{Cursor, Key, Revision};

/// How new the answer to a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// The read sees every commit that was acknowledged, to anybody, before the read began.
    #[default]
    Linearizable,
    /// The read sees at least the commit of this revision, of which the caller has heard. A handle
    /// that has seen that commit can answer at once. Otherwise, where the bucket was torn down
    /// since, the read finds it empty, or what is in the one that was made anew. While there is a bucket, a revision that was never given out is
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    AtLeast(Revision),
    /// The read answers at once from what the handle knows. It may be behind, but never goes
    /// backwards on one handle and never misses that handle's own acknowledged commits.
    Cached,
}

/// How to [`get_opts`](crate::KvStore::get_opts).
///
/// Backends take the options apart completely (`let GetOptions { consistency } = options;`), so
/// that an option added later cannot be ignored by accident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// How new the answer must be.
    pub consistency: Consistency,
}

impl GetOptions {
    /// Sets [`GetOptions::consistency`].
    #[must_use]
    pub fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }
}

/// What to [`list_opts`](crate::KvStore::list_opts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Only keys that begin with this text; empty: all keys. It is compared byte by byte and
    /// knows no separators: `foo` matches `foo`, `foo/bar` and `foobar`.
    pub prefix: String,
    /// Only keys after this one. The key itself need not exist.
    pub start_after: Option<Key>,
    /// At most this many entries; `None`: all.
    pub limit: Option<usize>,
    /// Go on where an earlier [`Listing`](crate::Listing) stopped, in the same snapshot. The
    /// other options are given again as they were; the consistency does not matter then.
    pub cursor: Option<Cursor>,
    /// How new the answer must be.
    pub consistency: Consistency,
}

impl ListOptions {
    /// Options that list the keys beginning with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// Sets [`ListOptions::start_after`].
    #[must_use]
    pub fn with_start_after(mut self, key: impl Into<Key>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Sets [`ListOptions::limit`].
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets [`ListOptions::cursor`].
    #[must_use]
    pub fn with_cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Sets [`ListOptions::consistency`].
    #[must_use]
    pub fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// The key after which the listing goes on: that of the cursor, or of `start_after`.
    #[must_use]
    pub fn resume_after(&self) -> Option<&Key> {
        let cursor = self.cursor.as_ref().and_then(Cursor::after);
        cursor.max(self.start_after.as_ref())
    }
}

/// What [`open`](crate::OpenMode) does with a bucket that exists, and with one that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenMode {
    /// The bucket must exist: otherwise [`Error::NotFound`](crate::Error::NotFound).
    Open,
    /// The bucket must not exist: otherwise [`Error::BucketExists`](crate::Error::BucketExists).
    Create,
    /// The bucket is created where it does not exist.
    #[default]
    OpenOrCreate,
}
