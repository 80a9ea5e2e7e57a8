//! How much a manifest may name, and what is merged before it is too much.

use std::ops::Range;

use super::head::Head;
use super::layout::{Layout, MOST_BUCKET_BYTES};
use super::run::Run;

/// The most runs that a manifest may name.
pub(super) const RUNS: usize = 2_048;

/// The most segments that a manifest may name, those of large commits in the tail included.
pub(super) const SEGMENTS: usize = 8_192;

/// The most bytes that these may have before compression: four times what the largest bucket may
/// hold, because what has been overwritten comes on top until it is compacted.
pub(super) const RAW_BYTES: u64 = 16 * MOST_BUCKET_BYTES;

/// A manifest is crowded with this many eighths of what it may name.
const CROWDED: usize = 7;

/// What a manifest names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) runs: usize,
    pub(super) segments: usize,
    pub(super) raw_bytes: u64,
}

impl Named {
    pub(super) fn is_too_much(self) -> bool {
        self.runs > RUNS || self.segments > SEGMENTS || self.raw_bytes > RAW_BYTES
    }

    fn is_crowded(self) -> bool {
        self.has_crowded_runs() || self.segments > SEGMENTS / 8 * CROWDED
    }

    fn has_crowded_runs(self) -> bool {
        self.runs > RUNS / 8 * CROWDED
    }
}

impl Head {
    pub(super) fn named(&self) -> Named {
        Named {
            runs: self.runs.len(),
            segments: self.all_runs().map(|run| run.segments.len()).sum(),
            raw_bytes: self.all_runs().map(|run| run.raw_bytes).sum(),
        }
    }

    /// Whether the head will soon name as many runs or segments as it may.
    pub(crate) fn is_crowded(&self) -> bool {
        self.named().is_crowded()
    }

    /// Where the head is crowded: of all neighbours the few that are merged with the least to
    /// write, whatever their sizes are.
    pub(super) fn crowd(&self, layout: &Layout) -> Option<Range<usize>> {
        let named = self.named();
        let count = layout.fanout.min(self.runs.len());
        if !named.is_crowded() || count < 2 {
            return None;
        }
        let helps = |runs: &[Run]| named.has_crowded_runs() || saves_segments(runs, layout);
        let groups = self.runs.windows(count).enumerate();
        let groups = groups.filter(|(_, runs)| helps(runs));
        let (first, _) = groups.min_by_key(|(_, runs)| stored_bytes(runs))?;
        Some(first..first + count)
    }
}

/// Whether the same bytes fit into fewer segments, though none is ever quite full.
fn saves_segments(runs: &[Run], layout: &Layout) -> bool {
    let segments: usize = runs.iter().map(|run| run.segments.len()).sum();
    let full = stored_bytes(runs) / (layout.segment_bytes as u64 / 8 * 7).max(1);
    segments as u64 > full + 1
}

fn stored_bytes(runs: &[Run]) -> u64 {
    runs.iter().map(Run::stored_bytes).sum()
}
