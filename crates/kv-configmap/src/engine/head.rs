use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kv_core::backend::Snapshot;
use kv_core::{Commit, Entry, Key, Result, Revision, Transaction};
use prost::Message;
use rand::Rng;

use super::run::{self, Run};
use super::segment::SegmentId;
use super::state::{Item, State};
use super::tail::Tail;
use super::time::{from_millis, to_millis};
use super::writers::{BatchId, OUTCOME_BYTES, Resolution, WRITERS, Writers};
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
pub(super) const SHRINKING_BYTES: usize = 4 * 1024;

/// How many bytes of data, compressed, one head holds: 98.8 % of 1 MiB.
pub(crate) const CAPACITY: usize = OBJECT_BYTES - ADMINISTRATION_BYTES - SHRINKING_BYTES;

/// About what an entry takes besides its key and value: tags, lengths and the revision.
const ENTRY_OVERHEAD_BYTES: u64 = 16;

/// How many expired entries one batch reclaims.
const RECLAIMED_AT_ONCE: usize = 1_024;

/// How many revisions the head remembers of commits that have left the tail.
pub(super) const RECENT: usize = 64;

// A writer takes at most a tag, a length and its three fields with their tags, and two bytes where its
// outcomes are forgotten; a revision ten.
const _: () = assert!(WRITERS * 36 + OUTCOME_BYTES + RECENT * 10 + 300 < ADMINISTRATION_BYTES);

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
    /// How long the tail was, before compression, when too much was left of it to become the base. Not
    /// stored: whoever reads a head tries once.
    pub(super) unfoldable_bytes: usize,
    pub(super) writers: Writers,
    pub(super) sweep_epoch: u64,
    /// The writer that writes for all that offer it their batches; 0: none does.
    pub(super) leader: u64,
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
    /// It names more runs or segments than a reader takes.
    Manifest,
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
            unfoldable_bytes: 0,
            writers: Writers::default(),
            sweep_epoch: 0,
            leader: 0,
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
        if self.all_runs().eq(earlier.all_runs()) {
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

    /// Whether `batch` is certain not to be applied; it was not at the commit `after`.
    pub(crate) fn can_commit(&self, batch: BatchId, after: Revision) -> bool {
        // A head that was restored from a backup tells nothing of later ones.
        self.revision() >= after && self.resolve_offer(batch, after) == Resolution::NotApplied
    }

    /// What became of `batch`, which may be committed at any time and was not at the commit `after`.
    pub(crate) fn resolve_offer(&self, batch: BatchId, after: Revision) -> Resolution {
        // A batch that changes nothing is recorded at the commit that the bucket was at: what the table
        // no longer knows may be one of that very commit.
        match after.get().checked_sub(1) {
            Some(before) => self.resolve(batch, Revision::new(before)),
            None => self.resolve(batch, after),
        }
    }

    /// The writer that writes for all that offer it their batches, if one does.
    pub(crate) fn leader(&self) -> Option<u64> {
        Some(self.leader).filter(|leader| *leader != 0)
    }

    /// Whether it is the leader that has written this head.
    pub(crate) fn is_by_leader(&self) -> bool {
        self.leader().is_some() && self.leader() == self.writers.newest()
    }

    /// What became of the last batch of a writer, if another one has committed it, while that is
    /// remembered.
    pub(crate) fn outcomes(
        &self,
        batch: BatchId,
        transactions: &[Arc<Transaction>],
    ) -> Option<Vec<Result<Commit>>> {
        self.writers.outcomes(batch, transactions)
    }

    /// How many writers other than `writer` have written after the commit `revision` themselves, as far as
    /// the table remembers.
    pub(crate) fn writers_since(&self, revision: Revision, writer: u64) -> usize {
        self.writers.others_since(revision, writer)
    }

    /// The number of the last batch of a writer, while the table remembers it.
    pub(crate) fn last_batch_of(&self, writer: u64) -> Option<u64> {
        self.writers.last_batch_of(writer)
    }

    /// The last commit that the runs hold.
    pub(super) fn flushed(&self) -> Revision {
        self.runs.last().map(|run| run.revision).unwrap_or_default()
    }

    /// The keys whose time has come, for a commit to reclaim, if it is to.
    pub(super) fn expired(&self, now: SystemTime, reclaims: bool) -> Vec<Key> {
        if !reclaims {
            return Vec::new();
        }
        let mut rest = self.snapshot().clone();
        let reclaimed = rest.reclaim(now, RECLAIMED_AT_ONCE);
        reclaimed.into_iter().map(|(_, key)| key).collect()
    }

    pub(super) fn record(&mut self, batch: BatchId) {
        self.writers.record(batch, self.revision());
    }

    /// Notes a batch that was applied for its writer.
    pub(super) fn record_for(&mut self, batch: BatchId, outcomes: proto::Outcomes) {
        let revision = self.revision();
        self.writers.record_for(batch, revision, Some(outcomes));
    }

    /// Tells who writes for all from now on. Where it is not who writes this head, and who has not heard
    /// yet what became of a batch has to catch up by other means than the tail, the bucket need not carry
    /// it along for ever.
    pub(super) fn lead(&mut self, leader: u64, writer: u64) {
        self.leader = leader;
        if leader != writer {
            let first = self.tail.commits().first();
            let before = first.map(|first| first.revision.get().saturating_sub(1));
            let gone = before.map_or(self.revision(), Revision::new);
            self.writers.forget_outcomes(gone);
        }
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
            leader: self.leader,
            tombstones_dropped_through: self.tombstones_dropped_through.get(),
            recent_revisions: self.recent.iter().map(|revision| revision.get()).collect(),
        };
        envelope::seal(envelope::HEAD, FORMAT, &message.encode_to_vec())
    }
}

impl Base {
    pub(super) fn items(&self) -> Result<Vec<Item>, DecodeError> {
        run::entries(block::open(&self.stored)?, Revision::ZERO).collect()
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
