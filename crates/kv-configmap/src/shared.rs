use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_core::Error;
use kv_core::backend::{Cursors, ForwardClock};

use crate::api::{Deletion, HeadApi};
use crate::describe::describe;
use crate::engine::{BucketId, Head};
use crate::failure::{Failure, FailureKind};
use crate::known::{Known, Present, check_ours};
use crate::object::{Metadata, Object, body};

/// Above this size of a head, reads first ask for the version alone.
const LARGE_HEAD_BYTES: usize = 16 * 1024;

/// Above this size, decoding and encoding leave the runtime's threads to others.
const HEAVY_BYTES: usize = 64 * 1024;

/// What the committer, the reader and the handles of one bucket share.
pub(crate) struct Shared {
    pub(crate) api: HeadApi,
    pub(crate) clock: ForwardClock,
    pub(crate) cursors: Cursors,
    cell: Mutex<Cell>,
}

/// The newest known state, and a number that grows whenever it changes.
#[derive(Default)]
struct Cell {
    known: Known,
    generation: u64,
}

impl Shared {
    pub(crate) fn new(api: HeadApi, clock: ForwardClock) -> Self {
        Self {
            api,
            clock,
            cursors: Cursors::default(),
            cell: Mutex::default(),
        }
    }

    pub(crate) fn known(&self) -> Known {
        self.cell().known.clone()
    }

    /// The known state with its generation.
    pub(crate) fn known_at(&self) -> (Known, u64) {
        let cell = self.cell();
        (cell.known.clone(), cell.generation)
    }

    /// Makes the bucket, empty, and makes that the known state.
    ///
    /// The commit that brings the first data is a write of its own, because its revision follows
    /// from the version that the new object gets: that is what keeps revisions growing when a
    /// bucket is deleted and made again. It also makes it safe to try again.
    pub(crate) async fn create(&self, id: BucketId) -> Result<Arc<Present>, Failure> {
        let (_, generation) = self.known_at();
        let (head, bytes) = Head::create(id);
        let mut metadata = self.api.new_metadata();
        describe(&mut metadata, self.api.bucket(), &head);
        let created = self
            .api
            .create(body(self.api.resource(), &metadata, &bytes))
            .await;
        let metadata = created.map_err(|failure| self.not_created(failure))?;
        let version = metadata.resource_version();
        let version = version.map_err(|error| Failure::new(FailureKind::Refused, error))?;
        let present = Arc::new(Present {
            metadata,
            version,
            head,
            is_immutable: false,
        });
        self.publish_write(Known::Present(present.clone()), generation);
        Ok(present)
    }

    fn not_created(&self, failure: Failure) -> Failure {
        match failure.kind {
            FailureKind::Missing => {
                let what = self.api.describe_namespace();
                Failure::new(FailureKind::Refused, Error::NotFound { what })
            }
            // About another object: the quota of the namespace was changed meanwhile.
            FailureKind::Conflict => Failure::new(FailureKind::Later(None), failure.error),
            _ => failure,
        }
    }

    pub(crate) fn terminating(&self) -> Failure {
        let reason = "it is being deleted and waits for its finalizers".to_owned();
        let (store, source) = (self.api.describe(), None);
        let error = Error::Unavailable {
            store,
            reason,
            source,
        };
        Failure::new(FailureKind::Later(None), error)
    }

    /// The uid of the object that is there now, if it is ours, whatever state it is in.
    pub(crate) async fn uid(&self) -> Result<Option<String>, Failure> {
        let (_, generation) = self.known_at();
        let Some(metadata) = self.api.get_metadata().await? else {
            self.publish_write(Known::Absent, generation);
            return Ok(None);
        };
        check_ours(&metadata, &self.api.describe())
            .map_err(|error| Failure::new(FailureKind::Refused, error))?;
        Ok(Some(metadata.uid().to_owned()))
    }

    /// Deletes the object of that uid, and makes what is there afterwards the known state.
    pub(crate) async fn delete(&self, uid: &str) -> Result<Deletion, Failure> {
        let (_, generation) = self.known_at();
        match self.api.delete(uid).await {
            Ok(Deletion::Done) => {}
            Ok(Deletion::Pending) => return Err(self.terminating()),
            // Somebody else has deleted it, or an earlier request of ours has, and perhaps there
            // is a new one, which is not the one that was to be deleted.
            Err(failure) if failure.kind == FailureKind::Missing => {}
            Err(failure) if failure.kind == FailureKind::Conflict => {
                let now = self.api.get_metadata().await?;
                if now.is_some_and(|now| now.uid() == uid) {
                    return Err(Failure::new(FailureKind::Later(None), failure.error));
                }
            }
            Err(failure) => return Err(failure),
        }
        if !self.publish_write(Known::Absent, generation) {
            // Something was read or written meanwhile: whether before or after, only a read tells.
            self.refresh().await?;
        }
        Ok(Deletion::Done)
    }

    /// Reads the bucket, linearizably, and makes what was read the known state.
    pub(crate) async fn refresh(&self) -> Result<Known, Failure> {
        loop {
            let (known, generation) = self.known_at();
            let read = self.read(&known).await?;
            if let Some(newest) = self.publish_read(read, generation) {
                return Ok(newest);
            }
        }
    }

    async fn read(&self, known: &Known) -> Result<Known, Failure> {
        if let Known::Present(present) = known
            && present.head.stored_bytes() > LARGE_HEAD_BYTES
        {
            match self.api.get_metadata().await? {
                None => return Ok(Known::Absent),
                Some(metadata) if is_version(&metadata, present) => return Ok(known.clone()),
                Some(_) => {}
            }
        }
        let Some(object) = self.api.get().await? else {
            return Ok(Known::Absent);
        };
        // What would be acknowledged now would be gone with the object.
        if object.metadata.is_terminating() {
            return Err(self.terminating());
        }
        let known = known.present().cloned();
        if known
            .as_ref()
            .is_some_and(|known| is_version(&object.metadata, known))
        {
            return Ok(known.map(Known::Present).unwrap_or_default());
        }
        self.decode(object, known).await
    }

    async fn decode(&self, object: Object, known: Option<Arc<Present>>) -> Result<Known, Failure> {
        let (resource, describe) = (self.api.resource(), self.api.describe());
        let bytes = known
            .as_ref()
            .map_or(HEAVY_BYTES + 1, |known| known.head.stored_bytes());
        let read = move || Present::read(&object, resource, &describe, known.as_deref());
        let present = off_runtime(bytes, read).await.and_then(|present| present);
        let present = present.map_err(|error| Failure::new(FailureKind::Refused, error))?;
        Ok(Known::Present(Arc::new(present)))
    }

    /// Takes over what was read since `generation`, unless something newer is known by now;
    /// returns the newer of the two. `None`: it cannot be told which one is newer.
    fn publish_read(&self, read: Known, generation: u64) -> Option<Known> {
        let mut cell = self.cell();
        // Nothing came in between, so that what was read is the newest, whatever its version: a
        // restored cluster can go back.
        let unchanged = cell.generation == generation;
        match (&read, &cell.known) {
            (read, known) if read.is_same(known) => {}
            _ if unchanged => cell.put(read),
            (Known::Present(read), Known::Present(known)) if read.version < known.version => {}
            (Known::Present(_), Known::Present(_)) => cell.put(read),
            // A bucket was made or deleted meanwhile, and a 404 has no version to compare.
            _ => return None,
        }
        Some(cell.known.clone())
    }

    /// Takes over a state that we wrote. `generation` is from before the write was sent.
    /// `false`: something else is known since, and it cannot be told which is newer.
    pub(crate) fn publish_write(&self, written: Known, generation: u64) -> bool {
        let mut cell = self.cell();
        let unchanged = cell.generation == generation;
        match (&written, &cell.known) {
            (Known::Present(written), Known::Present(known)) => {
                if written.version > known.version {
                    cell.put(Known::Present(written.clone()));
                }
            }
            // A deletion that was seen since came after the write, or the write would not have
            // found its base.
            _ if unchanged => cell.put(written),
            _ => return false,
        }
        true
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        // The cell is changed by single assignments.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    fn put(&mut self, known: Known) {
        self.known = known;
        self.generation += 1;
    }
}

fn is_version(metadata: &Metadata, present: &Present) -> bool {
    metadata
        .resource_version()
        .is_ok_and(|version| version == present.version)
        && metadata.uid() == present.metadata.uid()
}

/// Runs `work` on `bytes` of data here, or where it may take its time.
pub(crate) async fn off_runtime<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if bytes <= HEAVY_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Closed {
            store: format!("the runtime ({error})"),
        })
}
