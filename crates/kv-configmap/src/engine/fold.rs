//! What leaves the tail of a head, and when.

use std::collections::BTreeSet;

use bytes::Bytes;
use kv_core::{Key, Revision};
use prost::Message;

use super::DecodeError;
use super::block::{self, Effort};
use super::head::{Base, CAPACITY, Excess, Head, RECENT, Room, SHRINKING_BYTES};
use super::layout::Layout;
use super::manifest::RUNS;
use super::run::{self, Run};
use super::state::{Item, Range};

/// The size before compression up to which the tail may grow, because every commit compresses it
/// again.
const TAIL_RAW_BYTES: usize = 64 * 1024;

/// What came of the attempt to make the tail the base.
enum Folding {
    Done,
    /// More is left of it than a base may have.
    TooMuch,
    /// There is nothing that it could take over yet.
    NotYet,
}

impl Head {
    /// Encodes the head. Commits up to `before` may leave the tail; those after it are new, and
    /// stay for those who follow the bucket.
    pub(super) fn encode(
        &mut self,
        layout: &Layout,
        room: Room,
        before: Revision,
    ) -> Result<Bytes, Excess> {
        if room == Room::ForGrowth && self.live_raw_bytes() > layout.raw_bytes() {
            return Err(Excess::Bucket);
        }
        self.absorb_runs(layout, before);
        if self.is_small_again(layout) {
            self.collapse(layout, before);
        }
        let mut tail = self.tail.compress().ok_or(Excess::Head)?;
        self.tail_stored_bytes = tail.len();
        if self.is_fold_due(layout, &tail) {
            let mut folded = self.clone();
            match folded.fold(layout, before) {
                Folding::Done => tail = self.replace_if_it_fits(folded, tail, room)?,
                Folding::TooMuch => self.unfoldable_bytes = self.tail.raw_bytes(),
                Folding::NotYet => {}
            }
        }
        if self.head_bytes() > self.head_capacity(room) {
            return Err(Excess::Head);
        }
        if room == Room::ForGrowth && self.live_bytes() > layout.bucket_bytes {
            return Err(Excess::Bucket);
        }
        if self.named().is_too_much() {
            return Err(Excess::Manifest);
        }
        Ok(self.seal(tail))
    }

    /// A fold can make the data larger: what compresses well in the tail is lost among entries that
    /// do not. Where only that makes it too large, everything stays as it is; and where what runs hold
    /// would come back into the head for nothing.
    fn replace_if_it_fits(
        &mut self,
        mut folded: Self,
        tail: Bytes,
        room: Room,
    ) -> Result<Bytes, Excess> {
        let rest = folded.tail.compress().ok_or(Excess::Head)?;
        folded.tail_stored_bytes = rest.len();
        let fits = |head: &Self| head.head_bytes() <= head.head_capacity(room);
        let drops_runs = !folded.all_runs().eq(self.all_runs());
        let is_worse = drops_runs && folded.head_bytes() > self.head_bytes();
        if fits(self) && (is_worse || !fits(&folded)) {
            return Ok(tail);
        }
        *self = folded;
        Ok(rest)
    }

    fn head_capacity(&self, room: Room) -> usize {
        let runs: usize = self
            .runs
            .iter()
            .map(|run| run.to_proto().encoded_len() + 3)
            .sum();
        let capacity = match room {
            Room::ForGrowth => CAPACITY,
            Room::ForShrinking => CAPACITY + SHRINKING_BYTES,
        };
        capacity.saturating_sub(runs)
    }

    /// Moves runs that are next in turn from the tail to the manifest, but for the newest few.
    fn absorb_runs(&mut self, layout: &Layout, before: Revision) {
        while self.runs.len() < RUNS
            && (self.has_many_tail_runs(layout) || self.is_tail_overlong(layout))
            && let Some(run) = self.next_run().cloned()
            && run.revision <= before
        {
            let base = Base {
                revision: run.revision,
                ..Base::default()
            };
            self.cover(base, layout);
            self.runs.push(run);
        }
    }

    /// Whether the tail refers to more runs than are to stay there.
    fn has_many_tail_runs(&self, layout: &Layout) -> bool {
        let waiting = self.tail.after(self.base.revision).iter();
        let (mut count, mut bytes) = (0, 0);
        for run in waiting.filter_map(|commit| commit.run.as_ref()) {
            count += 1;
            bytes += run.raw_bytes;
        }
        count > layout.tail_runs || bytes > layout.tail_run_bytes
    }

    /// Whether the tail has been growing for so long that no flush seems to come.
    fn is_tail_overlong(&self, layout: &Layout) -> bool {
        self.tail.raw_bytes_after(self.base.revision) > layout.longest_tail_bytes
    }

    /// Whether the tail has just become overlong with the commits after `before`, or so many times
    /// as long: what is too much work for every write is tried then.
    fn becomes_overlong(&self, layout: &Layout, before: Revision) -> bool {
        let now = self.tail.raw_bytes_after(self.base.revision);
        let earlier = now - self.tail.raw_bytes_after(before.max(self.base.revision));
        now / layout.longest_tail_bytes > earlier / layout.longest_tail_bytes
    }

    /// The run of the tail that the manifest can take over as it is, if there is one: nothing that is
    /// not in a run comes before it.
    fn next_run(&self) -> Option<&Run> {
        let next = self.tail.after(self.base.revision).first();
        next.filter(|_| self.base.stored.is_empty())?.run.as_ref()
    }

    /// Puts a base in place, and takes what it covers out of the tail.
    pub(super) fn cover(&mut self, base: Base, layout: &Layout) {
        let removed = self.tail.trim(base.revision, layout.overlap_bytes);
        self.base = base;
        self.unfoldable_bytes = 0;
        // Only the last commit of a write was ever the state that somebody read.
        let is_last = |pair: &&[Revision]| pair[1].get() != pair[0].get() + 1;
        self.recent
            .extend(removed.windows(2).filter(is_last).map(|pair| pair[0]));
        self.recent.extend(removed.last());
        let excess = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..excess);
    }

    fn is_fold_due(&self, layout: &Layout, tail: &Bytes) -> bool {
        let raw = self.tail.raw_bytes();
        let is_long = tail.len() > layout.tail_bytes || raw > TAIL_RAW_BYTES;
        // Until a flush comes, it would be tried in vain for every write.
        let may_fold = raw >= 2 * self.unfoldable_bytes || self.is_tail_overlong(layout);
        is_long && may_fold
            || self.base.stored.len() + tail.len() > self.head_capacity(Room::ForGrowth)
            || self.is_base_mostly_garbage(layout)
    }

    /// Whether the base holds mostly what has been overwritten or deleted since.
    fn is_base_mostly_garbage(&self, layout: &Layout) -> bool {
        let live = self.live_raw_bytes() as usize;
        self.runs.is_empty() && self.base.raw_bytes > 2 * live + layout.tail_bytes
    }

    /// Makes what the commits up to `before` have left the base, where it is small enough.
    fn fold(&mut self, layout: &Layout, before: Revision) -> Folding {
        let uncovered = self.tail.after(self.base.revision);
        let mut folded = uncovered
            .iter()
            .take_while(|commit| commit.revision <= before);
        let has_runs = folded.any(|commit| commit.run.is_some());
        let is_overlong = self.is_tail_overlong(layout);
        if before <= self.base.revision || (has_runs && !self.becomes_overlong(layout, before)) {
            return Folding::NotYet;
        }
        let range = Range {
            after: self.flushed(),
            through: before,
        };
        let keys = match has_runs {
            true => Ok(None),
            false => self.unflushed_keys(),
        };
        let Ok(keys) = keys else {
            return Folding::NotYet;
        };
        let items = self.items(range, keys.as_ref());
        let raw = run::encode(&items, None);
        let Some(stored) = block::compress(&raw, Effort::Fast) else {
            return Folding::TooMuch;
        };
        let most = match self.unfoldable_bytes {
            0 => layout.base_bytes,
            _ => layout.largest_base_bytes,
        };
        if layout.has_segments && stored.len() > most && !is_overlong {
            return Folding::TooMuch;
        }
        let base = Base {
            revision: before,
            stored,
            raw_bytes: raw.len(),
        };
        self.cover(base, layout);
        if has_runs {
            // A flush that was prepared before has these runs, whose segments are no longer named.
            self.raise_sweep_epoch();
        }
        self.forget_tombstones(range);
        Folding::Done
    }

    /// What the commits of `range`, which are in the base and the tail, have left.
    pub(super) fn unflushed(&self, range: Range) -> Result<Vec<Item>, DecodeError> {
        let keys = self.unflushed_keys()?;
        Ok(self.items(range, keys.as_ref()))
    }

    /// What the commits of `range` have left, of all keys or of some.
    fn items(&self, range: Range, keys: Option<&BTreeSet<Key>>) -> Vec<Item> {
        let mut items = self.state.items(range, keys);
        items.retain(|item| self.is_needed(item, range));
        items
    }

    /// The keys in the base and the tail; `None`: all keys there are.
    fn unflushed_keys(&self) -> Result<Option<BTreeSet<Key>>, DecodeError> {
        if self.runs.is_empty() {
            return Ok(None);
        }
        let mut keys = self.tail.keys_after(self.base.revision)?;
        keys.extend(self.base.items()?.iter().map(|item| item.key().clone()));
        Ok(Some(keys))
    }

    /// Whether an item has to be in what is written for the commits of `range`: a tombstone only
    /// where another run, which was written before the removal, can hold the key.
    pub(super) fn is_needed(&self, item: &Item, range: Range) -> bool {
        let Item::Tombstone(_, removed) = item else {
            return true;
        };
        let mut others = self.all_runs().filter(|run| !range.contains(run.revision));
        others.any(|run| run.written_at < *removed)
    }

    /// Forgets the tombstones of the commits of `range` that no run needs.
    pub(super) fn forget_tombstones(&mut self, range: Range) {
        let runs: Vec<Revision> = self.all_runs().map(|run| run.written_at).collect();
        let is_needed = |removed: Revision| {
            !range.contains(removed) || runs.iter().any(|written_at| *written_at < removed)
        };
        let dropped = self.state.forget_tombstones(is_needed);
        self.tombstones_dropped_through = self.tombstones_dropped_through.max(dropped);
    }

    /// Whether a bucket that had segments fits into its head again.
    fn is_small_again(&self, layout: &Layout) -> bool {
        !self.runs.is_empty() && self.live_raw_bytes() <= layout.base_bytes as u64 / 2
    }

    /// Makes all that the commits up to `before` have left the base; no run is left.
    fn collapse(&mut self, layout: &Layout, before: Revision) {
        let range = Range {
            after: Revision::ZERO,
            through: before,
        };
        let mut items = self.state.items(range, None);
        items.retain(|item| matches!(item, Item::Entry(_)));
        let raw = run::encode(&items, None);
        let Some(stored) = block::compress(&raw, Effort::Fast) else {
            return;
        };
        let ended = self.flushed();
        self.runs.clear();
        self.outdate_flushes(ended);
        let base = Base {
            revision: before,
            stored,
            raw_bytes: raw.len(),
        };
        self.cover(base, layout);
        self.forget_tombstones(range);
    }

    /// About how many bytes a write goes through: a small head can stand for much data, all of which
    /// a fold goes through where there are no runs.
    pub(crate) fn bytes_to_encode(&self) -> usize {
        match self.runs.is_empty() {
            true => self.live_raw_bytes() as usize,
            false => self.base.raw_bytes + self.tail.raw_bytes(),
        }
    }

    /// Whether the tail, or the base, is to become a run.
    pub(crate) fn is_flush_due(&self, layout: &Layout) -> bool {
        let uncovered = self.tail.raw_bytes_after(self.base.revision);
        let stored = self.tail_stored_bytes * uncovered / self.tail.raw_bytes().max(1);
        layout.has_segments
            && (stored > layout.tail_bytes
                || uncovered > TAIL_RAW_BYTES
                || self.base.stored.len() > layout.base_bytes
                || (self.has_many_tail_runs(layout) && self.next_run().is_none()))
    }
}
