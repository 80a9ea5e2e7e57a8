use std::fmt;

use bytes::Bytes;
use kv_core::backend::Snapshot;
use kv_core::{Entry, Key, Revision};
use prost::Message;

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

/// The tail is folded into the base when it passes this size, compressed: up to about here the
/// size of an object does not show in the time of a write.
const TAIL_STORED_BYTES: usize = 8 * 1024;

/// The tail is folded into the base when it passes this size before compression, because every
/// commit compresses it again.
const TAIL_RAW_BYTES: usize = 64 * 1024;

/// About what an entry takes besides its key and value: tags, lengths and the revision.
const ENTRY_OVERHEAD_BYTES: usize = 16;

// A writer takes at most a tag, a length and its three fields with their tags.
const _: () = assert!(WRITERS * 34 + 200 < ADMINISTRATION_BYTES);

/// What tells a bucket from another one of the same name, before or after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketId(pub(crate) [u8; 16]);

impl BucketId {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// The decoded head: the whole state of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    id: BucketId,
    snapshot: Snapshot,
    base: Base,
    tail: Tail,
    tail_stored_bytes: usize,
    writers: Writers,
}

/// The entries up to some commit, compressed once and carried along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Base {
    revision: Revision,
    stored: Bytes,
    /// The size before compression.
    raw_bytes: usize,
}

/// Whose good a commit is, as far as room is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    ForGrowth,
    ForShrinking,
}

impl Head {
    /// A bucket to which nothing was committed yet.
    pub(crate) fn new(id: BucketId) -> Self {
        Self {
            id,
            snapshot: Snapshot::default(),
            base: Base::default(),
            tail: Tail::default(),
            tail_stored_bytes: 0,
            writers: Writers::default(),
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
        &self.snapshot
    }

    /// The compressed bytes of the data, which count against [`CAPACITY`].
    pub(crate) fn stored_bytes(&self) -> usize {
        self.base.stored.len() + self.tail_stored_bytes
    }

    /// What became of `batch`, which was written over the head `base` of this bucket.
    pub(crate) fn resolve(&self, batch: BatchId, base: Revision) -> Resolution {
        self.writers.resolve(batch, base)
    }

    /// The number of the last batch of a writer, while the table remembers it.
    pub(crate) fn last_batch_of(&self, writer: u64) -> Option<u64> {
        self.writers.last_batch_of(writer)
    }

    /// Adds one commit to the state and the tail.
    pub(super) fn append<'a>(
        &mut self,
        revision: Revision,
        effects: &[kv_core::backend::Effect],
        reclaimed: impl IntoIterator<Item = &'a Key>,
    ) {
        self.snapshot.apply(revision, effects);
        self.tail.push(revision, effects, reclaimed);
    }

    pub(super) fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    pub(super) fn record(&mut self, batch: BatchId) {
        self.writers.record(batch, self.snapshot.revision());
    }

    /// Encodes the head, folding the tail into the base where it is due. `None`: it does not fit.
    pub(super) fn encode(&mut self, room: Room) -> Option<Bytes> {
        let capacity = match room {
            Room::ForGrowth => CAPACITY,
            Room::ForShrinking => CAPACITY + SHRINKING_BYTES,
        };
        let mut tail = Bytes::new();
        let mut fold = self.tail.raw_bytes() > TAIL_RAW_BYTES || self.is_base_mostly_garbage();
        if !fold {
            tail = self.tail.compress()?;
            fold = tail.len() > TAIL_STORED_BYTES || self.base.stored.len() + tail.len() > capacity;
        }
        if fold {
            tail = Bytes::new();
            self.fold()?;
        }
        self.tail_stored_bytes = tail.len();
        (self.stored_bytes() <= capacity).then(|| self.seal(tail))
    }

    /// Whether the base holds mostly what has been overwritten or deleted since.
    fn is_base_mostly_garbage(&self) -> bool {
        let live = self.snapshot.bytes() as usize + self.snapshot.len() * ENTRY_OVERHEAD_BYTES;
        self.base.raw_bytes > 2 * live + TAIL_STORED_BYTES
    }

    /// Makes the present state the base.
    fn fold(&mut self) -> Option<()> {
        let entries = self.snapshot.iter().map(to_proto).collect();
        let raw = proto::Entries { entries }.encode_to_vec();
        let (revision, raw_bytes) = (self.snapshot.revision(), raw.len());
        self.base = Base {
            revision,
            stored: block::compress(&raw)?,
            raw_bytes,
        };
        self.tail = Tail::default();
        Some(())
    }

    fn seal(&self, tail: Bytes) -> Bytes {
        let message = proto::Head {
            bucket_id: Bytes::copy_from_slice(&self.id.0),
            revision: self.snapshot.revision().get(),
            base: self.base.stored.clone(),
            base_revision: self.base.revision.get(),
            tail,
            writers: self.writers.recent().to_vec(),
            writers_complete_after: self.writers.complete_after(),
        };
        envelope::seal(FORMAT, &message.encode_to_vec())
    }

    /// Decodes a head. Where it goes on from `known`, only what is new is applied.
    pub(crate) fn decode(bytes: &Bytes, known: Option<&Self>) -> Result<Self, DecodeError> {
        let payload = envelope::open(bytes, FORMAT)?;
        let message = proto::Head::decode(payload);
        let message = message.map_err(|error| DecodeError::Content(error.to_string()))?;
        let id = message.bucket_id.as_ref().try_into();
        let id = id.map_err(|_| content("the bucket id has not 16 bytes".to_owned()))?;
        let base = Base {
            revision: Revision::new(message.base_revision),
            raw_bytes: block::raw_bytes(&message.base)?,
            stored: message.base,
        };
        let known = known.filter(|known| known.id.0 == id);
        let (tail, commits) = Tail::decode(&message.tail, base.revision)?;
        let (mut snapshot, contained) = match known.and_then(|known| known.goes_on(&base, &tail)) {
            Some(contained) => contained,
            None => (decode_base(&base)?, 0),
        };
        for (revision, effects) in &commits[contained..] {
            snapshot.apply(*revision, effects);
        }
        if snapshot.revision().get() != message.revision {
            let (is, told) = (snapshot.revision(), message.revision);
            return Err(content(format!(
                "the last commit is {is}, the head tells {told}"
            )));
        }
        let writers = Writers::new(message.writers, message.writers_complete_after);
        let tail_stored_bytes = message.tail.len();
        Ok(Self {
            id: BucketId(id),
            snapshot,
            base,
            tail,
            tail_stored_bytes,
            writers,
        })
    }

    /// This state, and how many commits of `tail` it contains, where `base` and `tail` are the
    /// same history with perhaps more commits. A head that was restored from a backup is not.
    fn goes_on(&self, base: &Base, tail: &Tail) -> Option<(Snapshot, usize)> {
        if self.base != *base {
            return None;
        }
        Some((self.snapshot.clone(), tail.continues(&self.tail)?))
    }
}

fn decode_base(base: &Base) -> Result<Snapshot, DecodeError> {
    let proto::Entries { entries } = block::decode(&base.stored)?;
    let entries: Vec<Entry> = entries
        .into_iter()
        .map(from_proto)
        .collect::<Result<_, _>>()?;
    if !entries.is_sorted_by(|a, b| a.key < b.key) {
        return Err(content("the entries are not in order".to_owned()));
    }
    Ok(Snapshot::new(base.revision, entries))
}

fn to_proto(entry: &Entry) -> proto::Entry {
    proto::Entry {
        key: entry.key.as_str().to_owned(),
        value: entry.value.clone(),
        revision: entry.revision.get(),
        expires_at_ms: entry.expires_at.map(to_millis),
    }
}

fn from_proto(entry: proto::Entry) -> Result<Entry, DecodeError> {
    Ok(Entry {
        key: Key::new(entry.key).map_err(|error| content(error.to_string()))?,
        value: entry.value,
        revision: Revision::new(entry.revision),
        expires_at: entry.expires_at_ms.map(from_millis),
    })
}

fn content(reason: String) -> DecodeError {
    DecodeError::Content(reason)
}
