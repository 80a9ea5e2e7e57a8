//! What keeps a bucket in shape: flushing the tail, merging small runs, compacting those that
//! hold mostly what has been overwritten.

use std::collections::BTreeSet;

use kv_core::Revision;

use super::edit::{Edit, Replacement};
use super::head::Head;
use super::layout::Layout;
use super::run::{self, Run};
use super::segment::{NewSegment, SegmentId, Target};
use super::state::{Item, Range};
use crate::hooks::Bug;

/// Segments to make, and the edit that puts them in place afterwards.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) edit: Edit,
    pub(crate) segments: Vec<NewSegment>,
    /// The segments that are no longer needed once it is in place.
    pub(crate) obsolete: BTreeSet<SegmentId>,
}

/// A compaction under way: it rewrites every run that was written from a state before this one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round(Option<Revision>);

/// How many large commits one flush moves: a flush has to fit into a manifest that is crowded.
const PIECES_AT_ONCE: usize = 64;

/// Moves what the base and the tail hold to runs. `None`: there is nothing to move.
pub(crate) fn flush(head: &Head, layout: &Layout, nonce: u64) -> Option<Job> {
    let after = head.flushed();
    if head.revision() <= after {
        return None;
    }
    let (mut by, mut segments) = (Vec::new(), Vec::new());
    let mut through = after;
    for (piece, large_commit) in pieces(head, after) {
        through = large_commit
            .as_ref()
            .map_or(piece.through, |run| run.revision);
        let items = head.unflushed(piece).ok()?;
        let nonce = nonce.wrapping_add(by.len() as u64);
        if let Some((run, new)) = write(head, layout, nonce, piece, &items) {
            by.push(run);
            segments.extend(new);
        }
        by.extend(large_commit);
    }
    let range = Range { after, through };
    Some(replace(head, range, Vec::new(), by, segments))
}

/// The commits after `after` in parts between those that have runs already, each with the run
/// after it.
fn pieces(head: &Head, mut after: Revision) -> Vec<(Range, Option<Run>)> {
    let mut pieces = Vec::new();
    let mut through = head.base.revision;
    for commit in head.tail.after(head.base.revision) {
        if pieces.len() == PIECES_AT_ONCE {
            return pieces;
        }
        if commit.run.is_some() {
            pieces.push((Range { after, through }, commit.run.clone()));
            after = commit.revision;
        }
        through = commit.revision;
    }
    pieces.push((Range { after, through }, None));
    pieces
}

/// Whether flushes and merges make room in the manifest.
pub(super) fn can_shrink_manifest(head: &Head, layout: &Layout) -> bool {
    let is_merge_due = || step(head, layout, &mut Round::default()).or(head.crowd(layout));
    head.is_flush_due(layout) || is_merge_due().is_some()
}

impl Head {
    /// Whether enough new runs are of about one size to merge them, or a compaction is due.
    pub(crate) fn is_merge_due(&self, layout: &Layout) -> bool {
        tier(&self.runs, layout).is_some() || self.is_compaction_due(layout) || self.is_crowded()
    }

    /// Whether the runs hold mostly what has been overwritten or deleted.
    fn is_compaction_due(&self, layout: &Layout) -> bool {
        let raw: u64 = self.runs.iter().map(|run| run.raw_bytes).sum();
        raw > 2 * self.live_raw_bytes() + 16 * layout.tail_bytes as u64
    }
}

/// The next step of a compaction, or a merge of runs of about one size, or of any where there are
/// too many. `None`: none is due.
pub(crate) fn merge(head: &Head, layout: &Layout, nonce: u64, round: &mut Round) -> Option<Job> {
    let runs = step(head, layout, round)
        .or_else(|| tier(&head.runs, layout))
        .or_else(|| head.crowd(layout))?;
    let merged = &head.runs[runs.clone()];
    let before = runs
        .start
        .checked_sub(1)
        .map(|index| head.runs[index].revision);
    let range = Range {
        after: before.unwrap_or_default(),
        through: merged.last()?.revision,
    };
    let mut items = head.state.items(range, None);
    items.retain(|item| head.is_needed(item, range));
    if layout.bug == Some(Bug::TombstoneDropped) {
        items.retain(|item| matches!(item, Item::Entry(_)));
    }
    let (by, segments) = write(head, layout, nonce, range, &items).unzip();
    let by = by.into_iter().collect();
    Some(replace(
        head,
        range,
        merged.to_vec(),
        by,
        segments.unwrap_or_default(),
    ))
}

/// The runs that the next step of a compaction rewrites.
fn step(head: &Head, layout: &Layout, round: &mut Round) -> Option<std::ops::Range<usize>> {
    if round.0.is_none() && head.is_compaction_due(layout) {
        round.0 = Some(head.revision());
    }
    let begun = round.0?;
    let is_old = |run: &Run| run.written_at < begun;
    let Some(first) = head.runs.iter().position(is_old) else {
        round.0 = None;
        return None;
    };
    let mut bytes = 0;
    let fits = |run: &&Run| {
        bytes += run.raw_bytes;
        is_old(run) && bytes <= layout.step_bytes
    };
    let count = head.runs[first..].iter().take_while(fits).count();
    Some(first..first + count.max(1))
}

/// The newest runs, where enough of them are of one size; smaller ones among them come along. Fewer
/// than enough would write the large ones anew for a few small ones, again and again. Those that
/// are larger than all tiers stay as they are, so that what is written once more for an entry does
/// not grow with the bucket.
fn tier(runs: &[Run], layout: &Layout) -> Option<std::ops::Range<usize>> {
    let largest = layout.segment_bytes as u64 / 2;
    let mut tier = 0..(layout.tail_bytes * layout.fanout / 2) as u64;
    loop {
        let sizes = runs.iter().rev().map(Run::stored_bytes);
        let sizes = sizes.take_while(|bytes| *bytes < tier.end.min(largest));
        let (mut count, mut of_tier) = (0, 0);
        for bytes in sizes {
            count += 1;
            of_tier += usize::from(tier.contains(&bytes));
        }
        if of_tier >= layout.fanout {
            return Some(runs.len() - count..runs.len());
        }
        if tier.end >= largest {
            return None;
        }
        tier = tier.end..tier.end * layout.fanout as u64;
    }
}

fn write(
    head: &Head,
    layout: &Layout,
    nonce: u64,
    range: Range,
    items: &[Item],
) -> Option<(Run, Vec<NewSegment>)> {
    let target = Target::of_state(head.id, nonce, layout.segment_bytes);
    run::write(&target, range.through, head.revision(), items)
}

fn replace(
    head: &Head,
    range: Range,
    replaced: Vec<Run>,
    by: Vec<Run>,
    segments: Vec<NewSegment>,
) -> Job {
    let old = replaced.iter().flat_map(|run| &run.segments);
    let obsolete = old.map(|segment| segment.id).collect();
    let replacement = Replacement {
        sweep_epoch: head.sweep_epoch,
        range,
        replaced,
        by,
    };
    Job {
        edit: Edit::Replace(replacement),
        segments,
        obsolete,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SegmentRef;
    use super::*;

    fn run(bytes: u32) -> Run {
        let segment = SegmentRef {
            id: SegmentId(0),
            bytes,
        };
        Run {
            revision: Revision::ZERO,
            written_at: Revision::ZERO,
            raw_bytes: u64::from(bytes),
            segments: vec![segment],
        }
    }

    /// What merges write for each byte that is flushed, and the most runs there are meanwhile.
    fn cost(layout: &Layout, flush_bytes: u32) -> (f64, usize) {
        let (mut runs, mut flushed, mut written, mut most) = (Vec::new(), 0, 0, 0);
        while flushed < 16 << 20 {
            runs.push(run(flush_bytes));
            flushed += flush_bytes;
            while let Some(merged) = tier(&runs, layout) {
                let bytes = runs.drain(merged).map(|run| run.segments[0].bytes).sum();
                written += bytes;
                runs.push(run(bytes));
            }
            most = most.max(runs.len());
        }
        (f64::from(written) / f64::from(flushed), most)
    }

    /// Merging whatever is small enough, as soon as it is enough, writes a run of 64 KiB anew for
    /// every seven flushes after it: three times what is flushed.
    #[test]
    fn an_entry_is_merged_twice_and_small_runs_once_more() {
        for kib in [4, 6, 8, 9, 12, 24] {
            let (written, runs) = cost(&Layout::SEGMENTED, kib * 1_024);
            assert!(written <= 2.0, "{kib} KiB: {written}");
            assert!(runs < 80, "{kib} KiB: {runs} runs");
        }
        for kib in [2, 3, 4, 8] {
            let (written, runs) = cost(&Layout::SEGMENTED.for_few_bytes(), kib * 1_024);
            assert!(written <= 3.0, "{kib} KiB: {written}");
            assert!(runs < 80, "{kib} KiB: {runs} runs");
        }
    }
}
