use std::fmt;

use bytes::Bytes;
use prost::Message;

use super::block::{self, Effort};
use super::{BucketId, DecodeError, envelope, proto};

/// The most bytes that one segment may hold before compression.
pub(super) const SEGMENT_RAW_BYTES: usize = 8 * 1024 * 1024;

/// Names a segment: a hash of its bytes, which hold a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentId(pub(crate) u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl SegmentId {
    /// Reads it as it is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = u64::from_str_radix(text, 16).ok().map(Self)?;
        Some(id).filter(|id| id.to_string() == text)
    }
}

/// A segment that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewSegment {
    pub(crate) id: SegmentId,
    pub(crate) bytes: Bytes,
}

/// What segments are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What commits have left.
    State,
    /// A large commit that is about to be written.
    Commit,
    /// Several commits that are about to be written, while all their callers wait.
    Group,
}

impl Purpose {
    fn effort(self) -> Effort {
        match self {
            Self::State => Effort::Densest,
            Self::Commit => Effort::Dense,
            Self::Group => Effort::Fast,
        }
    }
}

/// Where a run goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) bucket: BucketId,
    /// Keeps the names of its segments from ever being used again.
    pub(super) nonce: u64,
    /// The most that one segment holds, compressed.
    pub(super) segment_bytes: usize,
    pub(super) purpose: Purpose,
}

impl Target {
    /// A run of what commits have left.
    pub(super) fn of_state(bucket: BucketId, nonce: u64, segment_bytes: usize) -> Self {
        Self {
            bucket,
            nonce,
            segment_bytes,
            purpose: Purpose::State,
        }
    }
}

/// Spreads `raw` over as many segments as it needs.
pub(super) fn write(target: &Target, raw: &[u8]) -> Vec<NewSegment> {
    let limit = target.segment_bytes;
    let mut segments = Vec::new();
    let (mut rest, mut take) = (raw, fits(raw, limit));
    while !rest.is_empty() {
        let length = take.clamp(1, SEGMENT_RAW_BYTES).min(rest.len());
        let (chunk, others) = rest.split_at(length);
        let Some(frame) = block::compress(chunk, target.purpose.effort()) else {
            break;
        };
        let segment = seal(target, segments.len() as u32, frame);
        if segment.bytes.len() > limit && length > limit / 2 {
            take = length / 2;
            continue;
        }
        // The next chunk compresses about as well.
        take = length * limit / segment.bytes.len().max(1) / 32 * 31;
        segments.push(segment);
        rest = others;
    }
    segments
}

/// About how much fits into a segment, to go by its beginning.
fn fits(raw: &[u8], limit: usize) -> usize {
    const BEGINNING: usize = 64 * 1024;
    let beginning = &raw[..raw.len().min(BEGINNING)];
    let stored = block::compress(beginning, Effort::Fast).map_or(0, |block| block.len());
    // What does not compress still fits, with what the segment needs besides.
    (beginning.len() * limit / stored.max(1)).max(limit) / 32 * 31
}

fn seal(target: &Target, number: u32, frame: Bytes) -> NewSegment {
    let message = proto::Segment {
        bucket_id: Bytes::copy_from_slice(&target.bucket.0),
        nonce: target.nonce,
        number,
        frame,
        is_ahead: target.purpose == Purpose::Group,
    };
    let bytes = envelope::seal(envelope::SEGMENT, super::FORMAT, &message.encode_to_vec());
    NewSegment {
        id: SegmentId(envelope::hash(&bytes)),
        bytes,
    }
}

/// A part of a run, with its place among the others.
#[derive(Debug)]
pub(super) struct Piece {
    /// All segments of a run have the same.
    pub(super) nonce: u64,
    /// Counts them from 0.
    pub(super) number: u32,
    /// Whether the commits that it tells of may not have come about.
    pub(super) is_ahead: bool,
    pub(super) raw: Bytes,
}

/// The part of a run that the segment `id` of `bucket` holds.
pub(super) fn read(bucket: BucketId, id: SegmentId, bytes: &Bytes) -> Result<Bytes, DecodeError> {
    piece(bucket, id, bytes).map(|piece| piece.raw)
}

/// The same, and where it belongs.
pub(super) fn piece(bucket: BucketId, id: SegmentId, bytes: &Bytes) -> Result<Piece, DecodeError> {
    let payload = envelope::open(envelope::SEGMENT, bytes, super::FORMAT)?;
    if envelope::hash(bytes) != id.0 {
        return Err(content("it is whole, but not the segment of that name"));
    }
    let message = proto::Segment::decode(payload);
    let message = message.map_err(|error| DecodeError::Content(error.to_string()))?;
    if message.bucket_id != bucket.0.as_slice() {
        return Err(content("it belongs to another bucket"));
    }
    Ok(Piece {
        nonce: message.nonce,
        number: message.number,
        is_ahead: message.is_ahead,
        raw: block::decompress(&message.frame, SEGMENT_RAW_BYTES)?,
    })
}

fn content(reason: &str) -> DecodeError {
    DecodeError::Content(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: BucketId = BucketId([3; 16]);

    fn noise(bytes: usize) -> Vec<u8> {
        use rand::{Rng, SeedableRng};
        let mut noise = vec![0; bytes];
        rand::rngs::StdRng::seed_from_u64(bytes as u64).fill_bytes(&mut noise);
        noise
    }

    fn round_trip(raw: &[u8], limit: usize) -> usize {
        let segments = write(&Target::of_state(BUCKET, 7, limit), raw);
        let mut whole = Vec::new();
        for segment in &segments {
            assert!(segment.bytes.len() <= limit, "{}", segment.bytes.len());
            whole.extend(read(BUCKET, segment.id, &segment.bytes).unwrap());
        }
        assert_eq!(whole, raw);
        segments.len()
    }

    #[test]
    fn bytes_of_any_size_are_spread_and_read_back() {
        let limit = 4_096;
        assert_eq!(round_trip(&[], limit), 0);
        assert_eq!(round_trip(&noise(1), limit), 1);
        for bytes in [limit - 100, limit, limit + 1, 10 * limit] {
            assert!(round_trip(&noise(bytes), limit) >= bytes.div_ceil(limit));
        }
        let mut mixed = vec![0; 1_000_000];
        mixed.extend(noise(20_000));
        mixed.extend(vec![1; 100_000]);
        assert!(round_trip(&mixed, limit) < 20);
    }

    #[test]
    fn a_full_segment_takes_half_a_mebibyte_of_noise() {
        let limit = 512 * 1024;
        assert_eq!(round_trip(&noise(16 * 1024 * 1024), limit), 34);
    }

    #[test]
    fn a_segment_under_another_name_or_of_another_bucket_is_refused() {
        let written = |nonce| write(&Target::of_state(BUCKET, nonce, 1_024), b"one").remove(0);
        let (one, two) = (written(1), written(2));
        assert_ne!(one.id, two.id, "the same content never has the same name");
        assert!(read(BUCKET, one.id, &two.bytes).is_err());
        assert!(read(BucketId([4; 16]), one.id, &one.bytes).is_err());
        for position in 0..one.bytes.len() {
            let mut damaged = one.bytes.to_vec();
            damaged[position] ^= 1;
            assert!(read(BUCKET, one.id, &Bytes::from(damaged)).is_err());
            assert!(read(BUCKET, one.id, &one.bytes.slice(..position)).is_err());
        }
    }
}
