use bytes::{Bytes, BytesMut};
use kv_core::{Key, Revision};
use prost::Message;

use super::fields::elements;
use super::head::{from_proto, to_proto};
use super::manifest::SEGMENTS;
use super::segment::{self, NewSegment, Purpose, SEGMENT_RAW_BYTES, SegmentId, Target};
use super::state::Item;
use super::{BucketId, DecodeError, proto};

/// More than any run takes that names no more segments than it may.
const ENCODED_BYTES: usize = 16 * SEGMENTS;

/// What some successive commits have left, sorted by key, in one or more segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The last of the commits; the first is the one after the last of the run before.
    pub(crate) revision: Revision,
    /// The state that it was written from. A key that was absent there is not in the run.
    pub(super) written_at: Revision,
    /// The size before compression.
    pub(super) raw_bytes: u64,
    pub(crate) segments: Vec<SegmentRef>,
}

/// A segment as a manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRef {
    pub(crate) id: SegmentId,
    /// The size as it is stored.
    pub(crate) bytes: u32,
}

impl Run {
    pub(super) fn stored_bytes(&self) -> u64 {
        self.segments.iter().map(|one| u64::from(one.bytes)).sum()
    }

    pub(super) fn to_proto(&self) -> proto::Run {
        proto::Run {
            revision: self.revision.get(),
            written_after: self.written_at.get() - self.revision.get(),
            raw_bytes: self.raw_bytes,
            segments: self.segments.iter().map(|one| one.id.0).collect(),
            segment_bytes: self.segments.iter().map(|one| one.bytes).collect(),
        }
    }

    /// Reads the run of a commit.
    pub(super) fn decode(encoded: Bytes) -> Result<proto::Run, DecodeError> {
        if encoded.len() > ENCODED_BYTES {
            return Err(content("a run names too many segments"));
        }
        proto::Run::decode(encoded).map_err(|error| content(&error.to_string()))
    }

    pub(super) fn from_proto(run: &proto::Run) -> Result<Self, DecodeError> {
        if run.segments.is_empty() || run.segments.len() != run.segment_bytes.len() {
            let reason = format!("the run {} names no segments, or no sizes", run.revision);
            return Err(DecodeError::Content(reason));
        }
        if run.raw_bytes > run.segments.len() as u64 * SEGMENT_RAW_BYTES as u64 {
            let (revision, bytes) = (run.revision, run.raw_bytes);
            let reason = format!("the run {revision} has more than its segments: {bytes} bytes");
            return Err(DecodeError::Content(reason));
        }
        let parts = run.segments.iter().zip(&run.segment_bytes);
        let segments = parts.map(|(id, bytes)| SegmentRef {
            id: SegmentId(*id),
            bytes: *bytes,
        });
        Ok(Self {
            revision: Revision::new(run.revision),
            written_at: Revision::new(run.revision.saturating_add(run.written_after)),
            raw_bytes: run.raw_bytes,
            segments: segments.collect(),
        })
    }
}

/// Writes `items`, which the commits up to `revision` have left in the state `written_at`. `None`:
/// there are none.
///
/// The entries of a large commit do not tell their revision, so that the segments serve also where
/// the commit is decided about again.
pub(super) fn write(
    target: &Target,
    revision: Revision,
    written_at: Revision,
    items: &[Item],
) -> Option<(Run, Vec<NewSegment>)> {
    let of = (target.purpose == Purpose::Commit).then_some(revision);
    let raw = encode(items, of);
    let segments = segment::write(target, &raw);
    let run = describe(revision, written_at, &raw, &segments)?;
    Some((run, segments))
}

fn describe(
    revision: Revision,
    written_at: Revision,
    raw: &[u8],
    segments: &[NewSegment],
) -> Option<Run> {
    let reference = |new: &NewSegment| SegmentRef {
        id: new.id,
        bytes: new.bytes.len() as u32,
    };
    (!segments.is_empty()).then(|| Run {
        revision,
        written_at,
        raw_bytes: raw.len() as u64,
        segments: segments.iter().map(reference).collect(),
    })
}

/// Encodes items; those of the commit `of` do not tell their revision.
pub(super) fn encode(items: &[Item], of: Option<Revision>) -> Vec<u8> {
    let entry = |item: &Item| {
        let mut entry = to_proto(item);
        if of.is_some() {
            entry.revision = 0;
        }
        entry
    };
    let entries = items.iter().map(entry).collect();
    proto::Entries { entries }.encode_to_vec()
}

/// Reads a run out of its segments.
pub(super) fn read(
    bucket: BucketId,
    run: &Run,
    segments: &impl Fn(SegmentId) -> Option<Bytes>,
) -> Result<Vec<Item>, DecodeError> {
    let mut parts = Vec::new();
    let mut bytes = 0;
    for SegmentRef { id, .. } in &run.segments {
        let stored = segments(*id).ok_or(DecodeError::MissingSegment(*id))?;
        let part = segment::read(bucket, *id, &stored);
        let part = part.map_err(|error| DecodeError::Segment(*id, error.to_string()))?;
        bytes += part.len() as u64;
        parts.push(part);
    }
    if bytes != run.raw_bytes {
        let reason = format!(
            "the run {} has {bytes} bytes, not {}",
            run.revision, run.raw_bytes
        );
        return Err(DecodeError::Content(reason));
    }
    let raw = match parts.len() {
        1 => parts.remove(0),
        _ => concat(&parts, bytes),
    };
    entries(raw, run.revision).collect()
}

fn concat(parts: &[Bytes], bytes: u64) -> Bytes {
    let mut whole = BytesMut::with_capacity(bytes as usize);
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

/// Reads entries, one at a time so that a bad one is refused before there is memory for the
/// others. They have to be in order; `of` stands for a revision that is left out.
pub(super) fn entries(raw: Bytes, of: Revision) -> impl Iterator<Item = Result<Item, DecodeError>> {
    let mut last = None::<(Key, Revision)>;
    elements(raw).map(move |element| {
        let item = read_entry(element?, of)?;
        let place = (item.key().clone(), item.revision());
        if last.as_ref().is_some_and(|last| *last >= place) {
            return Err(content("the entries are not in order"));
        }
        last = Some(place);
        Ok(item)
    })
}

fn read_entry(encoded: Bytes, of: Revision) -> Result<Item, DecodeError> {
    let entry = proto::Entry::decode(encoded);
    let mut entry = entry.map_err(|error| content(&error.to_string()))?;
    if entry.revision == 0 {
        entry.revision = of.get();
    }
    from_proto(entry)
}

fn content(reason: &str) -> DecodeError {
    DecodeError::Content(reason.to_owned())
}
