use kv_core::Revision;

use super::head::{Base, Head};
use super::layout::Layout;
use super::run::Run;
use super::state::Range;
use crate::hooks::Bug;

/// A change of how a bucket is stored that leaves what it holds as it is. It rides on a commit,
/// or is a write of its own.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Replace(Replacement),
    /// Makes whoever has written segments that no head names yet write them again, so that those
    /// that are there now can be removed.
    RaiseSweepEpoch,
}

/// Runs in the place of others, or of what the base and the tail hold.
#[derive(Clone, Debug)]
pub(crate) struct Replacement {
    pub(super) sweep_epoch: u64,
    /// The commits that are in the runs.
    pub(super) range: Range,
    pub(super) replaced: Vec<Run>,
    pub(super) by: Vec<Run>,
}

impl Head {
    /// Applies an edit that was prepared on an earlier head. `false`: it no longer fits.
    pub(super) fn apply(&mut self, edit: &Edit, layout: &Layout) -> bool {
        match edit {
            Edit::Replace(replacement) => self.replace(replacement, layout),
            Edit::RaiseSweepEpoch => {
                self.raise_sweep_epoch();
                true
            }
        }
    }

    /// From now on nothing fits that was prepared before.
    pub(super) fn raise_sweep_epoch(&mut self) {
        // Another one than before is all that it has to be.
        self.sweep_epoch = self.sweep_epoch.wrapping_add(1);
    }

    /// Where the runs end earlier than before, a flush that was prepared when they ended there would
    /// fit again, with runs of large commits whose segments are no longer named, and being removed.
    pub(super) fn outdate_flushes(&mut self, ended: Revision) {
        if self.flushed() < ended {
            self.raise_sweep_epoch();
        }
    }

    fn replace(&mut self, replacement: &Replacement, layout: &Layout) -> bool {
        let Replacement {
            sweep_epoch,
            range,
            replaced,
            by,
        } = replacement;
        let first = self.runs.partition_point(|run| run.revision <= range.after);
        let end = self
            .runs
            .partition_point(|run| run.revision <= range.through);
        let before = first.checked_sub(1).map(|index| self.runs[index].revision);
        // A flush replaces no run. One that comes after another one is outdated, though there are
        // no runs of its range either.
        let is_flush = replaced.is_empty();
        let fits = *sweep_epoch == self.sweep_epoch
            && before.unwrap_or_default() == range.after
            && self.runs[first..end] == *replaced
            && (!is_flush || self.can_flush(*range))
            && (is_flush || end > 0 && self.runs[end - 1].revision == range.through);
        let is_unchecked = is_flush && layout.bug == Some(Bug::FlushOfAnotherBase);
        if !(fits || is_unchecked) {
            return false;
        }
        let ended = self.flushed();
        self.runs.splice(first..end, by.iter().cloned());
        self.outdate_flushes(ended);
        if is_flush {
            let base = Base {
                revision: range.through,
                ..Base::default()
            };
            self.cover(base, layout);
        }
        self.forget_tombstones(*range);
        true
    }

    /// Whether a flush of `range` holds all that is in the base, and ends with a commit of ours.
    fn can_flush(&self, range: Range) -> bool {
        let covered = self.base.revision;
        range.after == self.flushed()
            && (covered == range.through
                || covered < range.through && self.tail.get(range.through).is_some())
    }
}
