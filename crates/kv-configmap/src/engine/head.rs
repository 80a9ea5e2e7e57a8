use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use kv_core::backend::{Effect, Snapshot};
use kv_core::{Entry, Key, Revision};
use prost::Message;
use rand::Rng;

use super::assemble::Step;
use super::layout::Layout;
use super::run::{self, RUNS, Run, SEGMENTS};
use super::segment::SegmentId;
use super::state::{Item, Range, State};
use super::tail::Tail;
use super::time::{from_millis, to_millis};
use super::writers::{BatchId, Resolution, WRITERS, Writers};
use super::{DecodeError, block, envelope, proto};

/// The version of the format that this program writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

/// The most that the API server lets the values of one object weigh.
///
/// <https://kubernetes.io/docs/concepts/configuration/configmap/>
const OBJECT_BYTES: usize = 1024 * 1024;

/// What the head needs besides the data: its header, ids and revisions, and the table of writers.
const ADMINISTRATION_BYTES: usize = 8 * 1024;

/// What is left free for transactions that make the bucket smaller, so that a full bucket can
/// always be emptied.
const SHRINKING_BYTES: usize = 4 * 1024;

/// How many bytes of data, compressed, one head holds: 98.8 % of 1 MiB.
pub(crate) const CAPACITY: usize = OBJECT_BYTES - ADMINISTRATION_BYTES - SHRINKING_BYTES;

/// The size before compression up to which the tail may grow, because every commit compresses it
/// again; and the one above which it is folded even where it should be flushed.
const TAIL_RAW_BYTES: usize = 64 * 1024;
const LONGEST_TAIL_RAW_BYTES: usize = 256 * 1024;

/// About what an entry takes besides its key and value: tags, lengths and the revision.
const ENTRY_OVERHEAD_BYTES: u64 = 16;

/// How many expired entries one batch reclaims.
const RECLAIMED_AT_ONCE: usize = 1_024;

/// How many revisions the head remembers of commits that have left the tail.
const RECENT: usize = 64;

// A writer takes at most a tag, a length and its three fields with their tags; a revision ten.
const _: () = assert!(WRITERS * 34 + RECENT * 10 + 300 < ADMINISTRATION_BYTES);

/// What tells a bucket from another one of the same name, before or after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketId(pub(crate) [u8; 16]);

impl BucketId {
    pub(crate) fn random(mut random: impl Rng) -> Self {
        let mut id = Self([0; 16]);
        random.fill_bytes(&mut id.0);
        id
    }

    /// Reads it as it is displayed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = u128::from_str_radix(text, 16).ok()?;
        Some(Self(number.to_be_bytes())).filter(|id| id.to_string() == text)
    }
}

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketId({self})")
    }
}

/// A head, and the whole state of its bucket.
///
/// The state is what the runs hold, then the base, then the commits of the tail after the base's.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(super) id: BucketId,
    pub(super) state: State,
    pub(super) runs: Vec<Run>,
    pub(super) base: Base,
    pub(super) tail: Tail,
    pub(super) tail_stored_bytes: usize,
    pub(super) writers: Writers,
    pub(super) sweep_epoch: u64,
    /// Of the commits up to this one, tombstones have been left out of the runs.
    pub(super) tombstones_dropped_through: Revision,
    /// Commits that have left the tail, oldest first.
    pub(super) recent: Vec<Revision>,
}

/// What the commits after the last run have left, compressed once and carried along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    /// The last of these commits.
    pub(super) revision: Revision,
    pub(super) stored: Bytes,
    /// The size before compression.
    pub(super) raw_bytes: usize,
}

/// Whose good a commit is, as far as room is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    ForGrowth,
    ForShrinking,
}

/// Why a head cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// It does not fit into its object.
    Head,
    /// The bucket holds more than it may.
    Bucket,
}

impl Head {
    /// A bucket to which nothing was committed yet.
    pub(crate) fn new(id: BucketId) -> Self {
        Self {
            id,
            state: State::default(),
            runs: Vec::new(),
            base: Base::default(),
            tail: Tail::default(),
            tail_stored_bytes: 0,
            writers: Writers::default(),
            sweep_epoch: 0,
            tombstones_dropped_through: Revision::ZERO,
            recent: Vec::new(),
        }
    }

    /// The bytes of a bucket to which nothing was committed yet.
    pub(crate) fn create(id: BucketId) -> (Self, Bytes) {
        let head = Self::new(id);
        let bytes = head.seal(Bytes::new());
        (head, bytes)
    }

    pub(crate) fn id(&self) -> BucketId {
        self.id
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.state.snapshot()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.snapshot().revision()
    }

    /// The compressed bytes of the data in the head.
    pub(crate) fn head_bytes(&self) -> usize {
        self.base.stored.len() + self.tail_stored_bytes
    }

    /// The compressed bytes of all data, in the head and in segments, what has been overwritten
    /// included.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let runs: u64 = self.all_runs().map(Run::stored_bytes).sum();
        runs + self.head_bytes() as u64
    }

    /// About the compressed bytes of what has not been overwritten or deleted: these count
    /// against the limit of the bucket, so that deleting makes room at once.
    pub(crate) fn live_bytes(&self) -> u64 {
        let (stored, raw) = (self.stored_bytes(), self.raw_bytes().max(1));
        let live =
            u128::from(stored) * u128::from(self.live_raw_bytes().min(raw)) / u128::from(raw);
        live as u64
    }

    fn raw_bytes(&self) -> u64 {
        let runs: u64 = self.all_runs().map(|run| run.raw_bytes).sum();
        runs + (self.base.raw_bytes + self.tail.raw_bytes()) as u64
    }

    pub(super) fn live_raw_bytes(&self) -> u64 {
        let snapshot = self.snapshot();
        snapshot.bytes() + snapshot.len() as u64 * ENTRY_OVERHEAD_BYTES
    }

    /// The runs of the manifest, and those of commits that are still in the tail.
    pub(super) fn all_runs(&self) -> impl Iterator<Item = &Run> {
        let tail = self.tail.commits().iter();
        self.runs
            .iter()
            .chain(tail.filter_map(|commit| commit.run.as_ref()))
    }

    /// The segments that belong to this head.
    pub(crate) fn segments(&self) -> BTreeSet<SegmentId> {
        let references = self.all_runs().flat_map(|run| &run.segments);
        references.map(|segment| segment.id).collect()
    }

    /// The segments that an earlier head named and this one does not.
    pub(crate) fn segments_dropped_since(&self, earlier: &Self) -> Vec<SegmentId> {
        if self.runs == earlier.runs {
            return Vec::new();
        }
        let kept = self.segments();
        earlier.segments().difference(&kept).copied().collect()
    }

    pub(crate) fn sweep_epoch(&self) -> u64 {
        self.sweep_epoch
    }

    /// What became of `batch`, which was written over the head `base` of this bucket.
    pub(crate) fn resolve(&self, batch: BatchId, base: Revision) -> Resolution {
        self.writers.resolve(batch, base)
    }

    /// The number of the last batch of a writer, while the table remembers it.
    pub(crate) fn last_batch_of(&self, writer: u64) -> Option<u64> {
        self.writers.last_batch_of(writer)
    }

    /// The last commit that the runs hold.
    pub(super) fn flushed(&self) -> Revision {
        self.runs.last().map(|run| run.revision).unwrap_or_default()
    }

    /// Adds one commit to the state and the tail.
    pub(super) fn append(
        &mut self,
        revision: Revision,
        effects: &[Effect],
        reclaimed: &[Key],
    ) -> Step {
        self.tail.push(revision, effects, reclaimed);
        self.state.step(revision, effects, reclaimed)
    }

    /// Adds one commit whose changes are in `run`.
    pub(super) fn append_run(&mut self, effects: &[Effect], reclaimed: &[Key], run: Run) -> Step {
        let revision = run.revision;
        self.tail.push_run(run, reclaimed);
        self.state.step(revision, effects, reclaimed)
    }

    /// The keys whose time has come, for a commit to reclaim, if it is to.
    pub(super) fn expired(&self, now: SystemTime, reclaims: bool) -> Vec<Key> {
        let most = if reclaims { RECLAIMED_AT_ONCE } else { 0 };
        let mut rest = self.snapshot().clone();
        let reclaimed = rest.reclaim(now, most);
        reclaimed.into_iter().map(|(_, key)| key).collect()
    }

    pub(super) fn record(&mut self, batch: BatchId) {
        self.writers.record(batch, self.revision());
    }

    pub(super) fn seal(&self, tail: Bytes) -> Bytes {
        let message = proto::Head {
            bucket_id: Bytes::copy_from_slice(&self.id.0),
            revision: self.revision().get(),
            base: self.base.stored.clone(),
            base_revision: self.base.revision.get(),
            tail,
            writers: self.writers.recent().to_vec(),
            writers_complete_after: self.writers.complete_after(),
            runs: self.runs.iter().map(Run::to_proto).collect(),
            sweep_epoch: self.sweep_epoch,
            tombstones_dropped_through: self.tombstones_dropped_through.get(),
            recent_revisions: self.recent.iter().map(|revision| revision.get()).collect(),
        };
        envelope::seal(envelope::HEAD, FORMAT, &message.encode_to_vec())
    }
}

/// What leaves the tail, and when.
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
        self.absorb_runs(before);
        if self.is_small_again(layout) {
            self.collapse(before);
        }
        let mut tail = self.tail.compress().ok_or(Excess::Head)?;
        self.tail_stored_bytes = tail.len();
        if self.is_fold_due(layout, &tail) {
            let mut folded = self.clone();
            if folded.fold(layout, before) {
                tail = self.replace_if_it_fits(folded, tail, room)?;
            }
        }
        if self.head_bytes() > self.head_capacity(room) {
            return Err(Excess::Head);
        }
        let segments: usize = self.all_runs().map(|run| run.segments.len()).sum();
        if self.runs.len() > RUNS || segments > SEGMENTS {
            return Err(Excess::Bucket);
        }
        if room == Room::ForGrowth && self.live_bytes() > layout.bucket_bytes {
            return Err(Excess::Bucket);
        }
        Ok(self.seal(tail))
    }

    /// A fold can make the data larger: what compresses well in the tail is lost among entries that
    /// do not. Where only that makes it too large, everything stays as it is.
    fn replace_if_it_fits(
        &mut self,
        mut folded: Self,
        tail: Bytes,
        room: Room,
    ) -> Result<Bytes, Excess> {
        let rest = folded.tail.compress().ok_or(Excess::Head)?;
        folded.tail_stored_bytes = rest.len();
        let fits = |head: &Self| head.head_bytes() <= head.head_capacity(room);
        if fits(self) && !fits(&folded) {
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

    /// Moves runs of commits that are next in turn from the tail to the manifest.
    fn absorb_runs(&mut self, before: Revision) {
        while self.base.stored.is_empty()
            && let Some(next) = self.tail.after(self.base.revision).first()
            && next.revision <= before
            && let Some(run) = next.run.clone()
        {
            self.cover(Base {
                revision: run.revision,
                ..Base::default()
            });
            self.runs.push(run);
        }
    }

    /// Puts a base in place, and takes what it covers out of the tail.
    pub(super) fn cover(&mut self, base: Base) {
        let removed = self.tail.trim(base.revision);
        self.base = base;
        // Only the last commit of a write was ever the state that somebody read.
        let is_last = |pair: &&[Revision]| pair[1].get() != pair[0].get() + 1;
        self.recent
            .extend(removed.windows(2).filter(is_last).map(|pair| pair[0]));
        self.recent.extend(removed.last());
        let excess = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..excess);
    }

    fn is_fold_due(&self, layout: &Layout, tail: &Bytes) -> bool {
        tail.len() > layout.tail_bytes
            || self.tail.raw_bytes() > TAIL_RAW_BYTES
            || self.base.stored.len() + tail.len() > self.head_capacity(Room::ForGrowth)
            || self.is_base_mostly_garbage(layout)
    }

    /// Whether the base holds mostly what has been overwritten or deleted since.
    fn is_base_mostly_garbage(&self, layout: &Layout) -> bool {
        let live = self.live_raw_bytes() as usize;
        self.runs.is_empty() && self.base.raw_bytes > 2 * live + layout.tail_bytes
    }

    /// Makes what the commits up to `before` have left the base, where it is small enough.
    fn fold(&mut self, layout: &Layout, before: Revision) -> bool {
        let uncovered = self.tail.after(self.base.revision);
        let mut folded = uncovered
            .iter()
            .take_while(|commit| commit.revision <= before);
        if before <= self.base.revision || folded.any(|commit| commit.run.is_some()) {
            return false;
        }
        let is_overlong = self.tail.raw_bytes_after(self.base.revision) > LONGEST_TAIL_RAW_BYTES;
        let range = Range {
            after: self.flushed(),
            through: before,
        };
        let Ok(items) = self.unflushed(range) else {
            return false;
        };
        let raw = run::encode(&items, None);
        let Some(stored) = block::compress(&raw) else {
            return false;
        };
        if layout.has_segments && stored.len() > layout.base_bytes && !is_overlong {
            return false;
        }
        self.cover(Base {
            revision: before,
            stored,
            raw_bytes: raw.len(),
        });
        self.forget_tombstones(range);
        true
    }

    /// What the commits of `range`, which are in the base and the tail, have left.
    pub(super) fn unflushed(&self, range: Range) -> Result<Vec<Item>, DecodeError> {
        let keys = self.unflushed_keys()?;
        let mut items = self.state.items(range, keys.as_ref());
        items.retain(|item| self.is_needed(item, range));
        Ok(items)
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
    fn collapse(&mut self, before: Revision) {
        let range = Range {
            after: Revision::ZERO,
            through: before,
        };
        let mut items = self.state.items(range, None);
        items.retain(|item| matches!(item, Item::Entry(_)));
        let raw = run::encode(&items, None);
        let Some(stored) = block::compress(&raw) else {
            return;
        };
        self.runs.clear();
        self.cover(Base {
            revision: before,
            stored,
            raw_bytes: raw.len(),
        });
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
        let mut waiting = self.tail.after(self.base.revision).iter();
        layout.has_segments
            && (stored > layout.tail_bytes
                || uncovered > TAIL_RAW_BYTES
                || self.base.stored.len() > layout.base_bytes
                || waiting.any(|commit| commit.run.is_some()))
    }
}

impl Base {
    pub(super) fn items(&self) -> Result<Vec<Item>, DecodeError> {
        if self.stored.is_empty() {
            return Ok(Vec::new());
        }
        run::decode(
            block::decompress(&self.stored, block::BLOCK_RAW_BYTES)?,
            None,
        )
    }
}

pub(super) fn to_proto(item: &Item) -> proto::Entry {
    match item {
        Item::Entry(entry) => proto::Entry {
            key: entry.key.as_str().to_owned(),
            value: entry.value.clone(),
            revision: entry.revision.get(),
            expires_at_ms: entry.expires_at.map(to_millis),
            removed: false,
        },
        Item::Tombstone(key, revision) => proto::Entry {
            key: key.as_str().to_owned(),
            revision: revision.get(),
            removed: true,
            ..proto::Entry::default()
        },
    }
}

/// Values above this size share the buffer that they were decompressed to; a smaller one would
/// keep far more in memory than itself.
const SHARED_VALUE_BYTES: usize = 64 * 1024;

pub(super) fn from_proto(entry: proto::Entry) -> Result<Item, DecodeError> {
    let key = Key::new(entry.key).map_err(|error| DecodeError::Content(error.to_string()))?;
    let revision = Revision::new(entry.revision);
    if entry.removed {
        return Ok(Item::Tombstone(key, revision));
    }
    let value = match entry.value.len() {
        0..SHARED_VALUE_BYTES => Bytes::copy_from_slice(&entry.value),
        _ => entry.value,
    };
    Ok(Item::Entry(Entry {
        key,
        value,
        revision,
        expires_at: entry.expires_at_ms.map(from_millis),
    }))
}
