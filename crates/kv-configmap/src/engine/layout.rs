use super::block::BLOCK_RAW_BYTES;
use super::head::CAPACITY;
use crate::hooks::Bug;

/// How a bucket spreads over objects, and the bounds of each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Whether there may be segments. Without, the head holds everything.
    pub(crate) has_segments: bool,
    /// The tail is folded or flushed when it passes this size, compressed. Every commit writes it.
    pub(crate) tail_bytes: usize,
    /// The size before compression above which the tail is folded even where it should be flushed.
    pub(crate) longest_tail_bytes: usize,
    /// The size, compressed, up to which what leaves the tail stays in the head.
    pub(crate) base_bytes: usize,
    /// The same for a tail that has become twice as long, for its flush does not come.
    pub(crate) largest_base_bytes: usize,
    /// How much of what was folded or flushed stays in the tail, before compression, for those who
    /// follow the bucket and are a few commits behind.
    pub(crate) overlap_bytes: usize,
    /// A commit above this size, before compression, is written to segments of its own.
    pub(crate) inline_commit_bytes: usize,
    /// Several commits of one write above this size, compressed, or above that of one commit, are
    /// written to a segment of their own: the head, which every write writes again, stays small where
    /// many commits share a write.
    pub(crate) inline_group_bytes: usize,
    /// How many runs stay in the tail, for those who follow the bucket and are a few commits behind.
    pub(crate) tail_runs: usize,
    /// How much they may have before compression; those that are more are to be compacted.
    pub(crate) tail_run_bytes: u64,
    /// The most that one segment holds, compressed.
    pub(crate) segment_bytes: usize,
    /// How many runs of about one size are merged into one.
    pub(crate) fanout: usize,
    /// How much, before compression, one step of a compaction rewrites.
    pub(crate) step_bytes: u64,
    /// How much a bucket may hold, compressed.
    pub(crate) bucket_bytes: u64,
    /// A bug that a simulation has planted.
    pub(crate) bug: Option<Bug>,
}

/// How much a bucket may hold unless it is set.
pub(crate) const BUCKET_BYTES: u64 = 64 * 1024 * 1024;

/// The most that can be set.
pub(crate) const MOST_BUCKET_BYTES: u64 = 256 * 1024 * 1024;

impl Layout {
    /// A head with segments.
    pub(crate) const SEGMENTED: Self = Self {
        has_segments: true,
        tail_bytes: 8 * 1024,
        longest_tail_bytes: 256 * 1024,
        base_bytes: 4 * 1024,
        largest_base_bytes: 4 * 1024,
        overlap_bytes: 2 * 1024,
        inline_commit_bytes: 32 * 1024,
        inline_group_bytes: 16 * 1024,
        tail_runs: 8,
        tail_run_bytes: 1024 * 1024,
        segment_bytes: 512 * 1024,
        fanout: 8,
        step_bytes: 4 * 1024 * 1024,
        bucket_bytes: BUCKET_BYTES,
        bug: None,
    };

    /// One object.
    pub(crate) const SINGLE_OBJECT: Self = Self {
        has_segments: false,
        base_bytes: CAPACITY,
        largest_base_bytes: CAPACITY,
        bucket_bytes: CAPACITY as u64,
        ..Self::SEGMENTED
    };

    /// Everything so small that a few commits flush, merge and compact.
    pub(crate) const TINY: Self = Self {
        tail_bytes: 160,
        longest_tail_bytes: 1_024,
        base_bytes: 80,
        largest_base_bytes: 80,
        inline_commit_bytes: 1_024,
        inline_group_bytes: 120,
        tail_runs: 2,
        tail_run_bytes: 4 * 1024,
        segment_bytes: 2 * 1024,
        fanout: 2,
        step_bytes: 4 * 1024,
        ..Self::SEGMENTED
    };

    /// With twice the bounds of what waits to be flushed or merged.
    pub(crate) fn doubled(&self) -> Self {
        Self {
            tail_bytes: self.tail_bytes * 2,
            base_bytes: self.base_bytes * 2,
            tail_runs: self.tail_runs * 2,
            tail_run_bytes: self.tail_run_bytes * 2,
            fanout: self.fanout * 2,
            ..*self
        }
    }

    /// Where bytes are what limits the writes, not requests: the head, which every commit writes anew,
    /// stays as small as it can. A flush comes earlier, and a group is written once, in a segment of its
    /// own with a request of its own.
    pub(crate) fn for_few_bytes(&self) -> Self {
        Self {
            tail_bytes: self.tail_bytes / 4,
            base_bytes: self.base_bytes / 4,
            overlap_bytes: self.overlap_bytes / 4,
            inline_group_bytes: self.inline_group_bytes / 8,
            ..*self
        }
    }

    /// Where segments cannot be made: only a large commit needs one.
    pub(crate) fn without_groups(&self) -> Self {
        Self {
            inline_group_bytes: usize::MAX,
            ..*self
        }
    }

    /// The most that a bucket may hold before compression, all of which is kept in memory.
    pub(crate) fn raw_bytes(&self) -> u64 {
        if !self.has_segments {
            return BLOCK_RAW_BYTES as u64;
        }
        self.bucket_bytes.max(BUCKET_BYTES).saturating_mul(4)
    }
}
