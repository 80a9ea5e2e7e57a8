use std::fmt;

use kv_core::Revision;

use crate::engine::{DecodeError, Examined, Range, Survey};

/// What [`Buckets::check`](crate::Buckets::check) has found out about a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The head, or why it cannot be read.
    pub head: Result<HeadReport, String>,
    /// The segments that the head names, those of older commits first. Where the head cannot be
    /// read: the segments that carry the label of its bucket.
    pub segments: Vec<SegmentReport>,
    /// What can be read, in spite of the damage where there is some.
    pub readable: Readable,
    /// The segments of this bucket that its head does not name. They take room and do no harm: a
    /// writer has died, or is just about to have them named.
    pub orphans: Vec<Orphan>,
    /// Objects that are none of this bucket, though they are named as its segments are.
    pub foreign: Vec<ForeignObject>,
    /// Why the objects could not be listed: `orphans` and `foreign` are unknown then.
    pub unlisted: Option<String>,
}

/// A head that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadReport {
    /// The version of the format.
    pub format: u32,
    /// The last commit.
    pub revision: Revision,
    /// The compressed bytes of the data in the head and in the segments that it names.
    pub stored_bytes: u64,
    /// About how many of them have not been overwritten or deleted; `None`: damage hides it.
    pub live_bytes: Option<u64>,
    /// Why nothing can be written, where that is so.
    pub frozen: Option<String>,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentReport {
    /// The name of the object.
    pub name: String,
    /// How many bytes it has, or should have.
    pub bytes: u64,
    /// The commits whose changes it holds, or a part of them; `None`: only the head knows.
    pub revisions: Option<Revisions>,
    /// What state it is in.
    pub state: SegmentState,
}

/// What state a segment is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// It is as it was written.
    Whole,
    /// It is as it was written, but its owner is not the head that names it, so that the cluster
    /// will remove it.
    Doomed,
    /// There is no such object.
    Missing,
    /// It is not as it was written.
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
}

/// What can be read of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readable {
    /// How many entries, expired ones included that no commit has reclaimed.
    pub entries: u64,
    /// How many of them are the newest of their key for certain. The others are older than
    /// something that was lost, which may have changed or removed them.
    pub certain: u64,
    /// The commits whose changes can be read.
    pub revisions: Vec<Revisions>,
    /// The commits whose changes cannot all be read.
    pub lost: Vec<Lost>,
}

/// Commits whose changes cannot all be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// Which commits.
    pub revisions: Revisions,
    /// Why.
    pub reason: String,
}

/// Commits that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revisions {
    /// The commit before the first; zero: there is none.
    pub after: Revision,
    /// The last commit.
    pub through: Revision,
}

/// A segment of the bucket that its head does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// The name of the object.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Whether it holds commits after the last one of the head, which is then an older one that
    /// somebody has put back.
    pub is_newer: bool,
}

/// An object that is named as a segment of the bucket and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignObject {
    /// The name of the object.
    pub name: String,
    /// Why it is none.
    pub reason: String,
}

impl CheckReport {
    /// Whether everything can be read, now and later, and written. Orphans and foreign objects do
    /// not count.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_whole = |segment: &SegmentReport| segment.state == SegmentState::Whole;
        self.head.as_ref().is_ok_and(|head| head.frozen.is_none())
            && self.segments.iter().all(is_whole)
            && self.readable.lost.is_empty()
            && !self.is_head_outdated()
    }

    /// Whether there are commits after the last one of the head.
    #[must_use]
    pub fn is_head_outdated(&self) -> bool {
        self.orphans.iter().any(|orphan| orphan.is_newer)
    }
}

impl fmt::Display for Revisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after {
            Revision::ZERO => write!(f, "up to {}", self.through),
            after => write!(f, "after {after}, up to {}", self.through),
        }
    }
}

impl SegmentReport {
    pub(crate) fn new(name: String, examined: &Examined, is_doomed: bool) -> Self {
        let state = match &examined.damage {
            Some(DecodeError::MissingSegment(_)) => SegmentState::Missing,
            Some(damage) => SegmentState::Damaged {
                reason: damage.to_string(),
            },
            None if is_doomed => SegmentState::Doomed,
            None => SegmentState::Whole,
        };
        Self {
            name,
            bytes: u64::from(examined.segment.bytes),
            revisions: examined.range.map(Revisions::from),
            state,
        }
    }
}

impl From<&Survey> for Readable {
    fn from(survey: &Survey) -> Self {
        let lost = survey.lost.iter().map(|(range, damage)| Lost {
            revisions: Revisions::from(*range),
            reason: damage.to_string(),
        });
        Self {
            entries: survey.entries(),
            certain: survey.certain(),
            revisions: survey
                .readable
                .iter()
                .copied()
                .map(Revisions::from)
                .collect(),
            lost: lost.collect(),
        }
    }
}

impl From<Range> for Revisions {
    fn from(range: Range) -> Self {
        let Range { after, through } = range;
        Self { after, through }
    }
}
