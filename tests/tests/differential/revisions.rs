use kv_core::{Commit, Cursor, Entry, Error, Expected, Listing, Revision};

use super::answer::{Answer, Refusal, Row, Wanted};

/// What a store calls its commits.
#[derive(Debug)]
pub(crate) struct Revisions {
    /// By the number of the commit.
    known: Vec<Revision>,
}

/// A revision that no store gives out.
const NEVER: Revision = Revision::new(u64::MAX);

/// The number of a commit that the model does not have.
const UNHEARD_OF: usize = usize::MAX;

impl Revisions {
    pub(crate) fn new() -> Self {
        let known = vec![Revision::ZERO];
        Self { known }
    }

    /// Notes the revision of the commit `number`, if it is the next one and above all others.
    pub(crate) fn note(&mut self, number: usize, revision: Revision) {
        if number == self.known.len() && self.known.last() < Some(&revision) {
            self.known.push(revision);
        }
    }

    pub(crate) fn of(&self, wanted: Wanted) -> Revision {
        match wanted {
            Wanted::Commit(number) => self.known[number],
            Wanted::Never => NEVER,
        }
    }

    fn number(&self, revision: Revision) -> usize {
        let number = self.known.binary_search(&revision);
        number.unwrap_or(UNHEARD_OF)
    }

    fn wanted(&self, revision: Revision) -> Wanted {
        match revision {
            NEVER => Wanted::Never,
            revision => Wanted::Commit(self.number(revision)),
        }
    }

    pub(crate) fn committed(&self, commit: &Commit) -> Answer {
        let numbers = |revisions: &[Option<Revision>]| {
            let numbers = revisions.iter().map(|at| at.map(|at| self.number(at)));
            numbers.collect()
        };
        Answer::Committed {
            commit: self.number(commit.revision),
            previous: numbers(&commit.previous),
            current: numbers(&commit.current),
        }
    }

    pub(crate) fn found(&self, entry: Option<&Entry>) -> Answer {
        Answer::Found(entry.map(|entry| self.row(entry)))
    }

    pub(crate) fn listed(&self, listing: &Listing) -> Answer {
        let after = |cursor: &Cursor| cursor.after().map(|key| key.as_str().to_owned());
        Answer::Listed {
            commit: self.number(listing.revision),
            rows: listing
                .entries
                .iter()
                .map(|entry| self.row(entry))
                .collect(),
            more: listing.cursor.as_ref().map(after),
        }
    }

    fn row(&self, entry: &Entry) -> Row {
        Row {
            key: entry.key.as_str().to_owned(),
            value: entry.value.clone(),
            commit: self.number(entry.revision),
            expires_at: entry.expires_at,
        }
    }

    pub(crate) fn refused(&self, error: &Error) -> Answer {
        Answer::Refused(match error {
            Error::AlreadyExists { key, actual } => Refusal::AlreadyExists {
                key: key.as_str().to_owned(),
                actual: self.number(*actual),
            },
            Error::Conflict {
                key,
                expected,
                actual,
            } => Refusal::Conflict {
                key: key.as_str().to_owned(),
                expected: match expected {
                    Expected::Exists => None,
                    Expected::At(revision) => Some(self.wanted(*revision)),
                },
                actual: actual.map(|actual| self.number(actual)),
            },
            // The limit itself is each store's own.
            Error::TooLarge { what, actual, .. } => Refusal::TooLarge {
                what: *what,
                actual: *actual,
            },
            Error::ZeroTtl { key } => Refusal::ZeroTtl {
                key: key.as_str().to_owned(),
            },
            Error::BucketExists { .. } => Refusal::BucketExists,
            Error::NotFound { .. } => Refusal::NotFound,
            Error::Unavailable { .. } => Refusal::Unavailable,
            Error::Compacted { .. } => Refusal::Compacted,
            other => Refusal::Other(format!("{other:?}")),
        })
    }
}
