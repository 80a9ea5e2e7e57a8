use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt, TryStreamExt};
use kv_core::backend::{Cursors, ForwardClock, Record, Replica, Snapshot};
use kv_core::{Error, Revision};
use tokio::time::Duration;

use crate::api::{BucketApi, Deletion};
use crate::budget::WriteBudget;
use crate::describe::describe_head;
use crate::engine::{
    BucketId, Head, History, Layout, NewSegment, SegmentId, SegmentRef, Segments, Step,
};
use crate::failure::{Failure, FailureKind};
use crate::hooks::{Bug, CrashPoint, Hooks};
use crate::known::{Known, Present, Unassembled, check_ours};
use crate::object::{Metadata, Object, head_body};

/// Above this size of a head, reads first ask for the version alone.
const LARGE_HEAD_BYTES: usize = 16 * 1024;

/// Above this size, decoding and encoding leave the runtime's threads to others.
const HEAVY_BYTES: usize = 64 * 1024;

/// How often a read begins again because a segment was merged away meanwhile.
const READS: usize = 8;

/// The longest that one write waits for the budget: a part of the deadline, so that none fails.
pub(crate) const LONGEST_BUDGET_WAIT: Duration = Duration::from_secs(5);

/// How many segments are fetched, made or deleted at a time.
const SEGMENTS_AT_ONCE: usize = 8;

/// What the committer, the reader and the handles of one bucket share.
pub(crate) struct Shared {
    pub(crate) api: BucketApi,
    pub(crate) clock: Arc<ForwardClock>,
    pub(crate) cursors: Cursors,
    pub(crate) layout: Layout,
    pub(crate) hooks: Hooks,
    pub(crate) budget: Arc<WriteBudget>,
    /// The newest known state once more, with its history, for watchers.
    pub(crate) replica: Arc<Replica>,
    cell: Mutex<Cell>,
    /// Held while segments are being made and put in place.
    pub(crate) maintenance: tokio::sync::Mutex<()>,
    /// Why the last flush or merge did not come about.
    maintenance_failure: Mutex<Option<Error>>,
}

/// The newest known state, and a number that grows whenever it changes.
#[derive(Default)]
struct Cell {
    known: Known,
    generation: u64,
}

/// A state that was read or written, and how it came to be.
pub(crate) struct Found {
    pub(crate) known: Known,
    history: History,
}

impl Found {
    fn absent() -> Self {
        Self::unrelated(Known::Absent)
    }

    fn unrelated(known: Known) -> Self {
        Self {
            known,
            history: History::Lost,
        }
    }

    /// A state that these commits led to, after the commit `after`.
    pub(crate) fn after(after: Revision, steps: Vec<Step>, present: Present) -> Self {
        Self {
            known: Known::Present(Arc::new(present)),
            history: History::Commits { after, steps },
        }
    }
}

/// Why a state could not be put together.
enum ReadError {
    Failure(Failure),
    /// A segment that the head names is gone; it was merged away, or is lost.
    Gone(SegmentId),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failure(Failure::new(FailureKind::Refused, error))
    }
}

impl Shared {
    pub(crate) fn new(
        api: BucketApi,
        clock: ForwardClock,
        layout: Layout,
        budget: Arc<WriteBudget>,
        hooks: Hooks,
    ) -> Self {
        let clock = Arc::new(clock);
        let replica = Replica::new(Snapshot::default(), clock.clone());
        Self {
            api,
            clock,
            cursors: Cursors::default(),
            layout: Layout {
                bug: hooks.bug(),
                ..layout
            },
            hooks,
            budget,
            replica: Arc::new(replica),
            cell: Mutex::default(),
            maintenance: tokio::sync::Mutex::default(),
            maintenance_failure: Mutex::default(),
        }
    }

    pub(crate) fn maintenance_failure(&self) -> Option<Error> {
        let failure = self.maintenance_failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note_maintenance(&self, failure: Option<Error>) {
        let noted = self.maintenance_failure.lock();
        *noted.unwrap_or_else(PoisonError::into_inner) = failure;
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
    pub(crate) async fn create(&self, id: BucketId) -> Result<(), Failure> {
        let (_, generation) = self.known_at();
        let (head, bytes) = Head::create(id);
        let mut metadata = self.api.new_metadata();
        let limit = self.layout.bucket_bytes;
        describe_head(&mut metadata, self.api.bucket(), &head, limit);
        self.hooks.reach(CrashPoint::BeforeCreate).await;
        let created = self
            .api
            .create(head_body(self.api.resource(), &metadata, &bytes))
            .await;
        let metadata = created.map_err(|failure| self.not_created(failure))?;
        self.hooks.reach(CrashPoint::Created).await;
        let version = metadata.resource_version();
        let version = version.map_err(|error| Failure::new(FailureKind::Refused, error))?;
        let present = Present {
            metadata,
            version,
            head,
            is_immutable: false,
        };
        self.publish_write(
            Found::after(Revision::ZERO, Vec::new(), present),
            generation,
        );
        Ok(())
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

    /// The metadata of the object that is there now, if it is ours, whatever state it is in.
    pub(crate) async fn metadata(&self) -> Result<Option<Metadata>, Failure> {
        let (_, generation) = self.known_at();
        let Some(metadata) = self.api.get_metadata().await? else {
            self.publish_write(Found::absent(), generation);
            return Ok(None);
        };
        check_ours(&metadata, &self.api.describe())
            .map_err(|error| Failure::new(FailureKind::Refused, error))?;
        Ok(Some(metadata))
    }

    /// Deletes the object of that uid, and makes what is there afterwards the known state.
    pub(crate) async fn delete(&self, uid: &str) -> Result<Deletion, Failure> {
        let (_, generation) = self.known_at();
        self.hooks.reach(CrashPoint::BeforeTeardown).await;
        match self.api.delete(uid).await {
            Ok(Deletion::Done) => self.hooks.reach(CrashPoint::HeadRemoved).await,
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
        if !self.publish_write(Found::absent(), generation) {
            // Something was read or written meanwhile: whether before or after, only a read tells.
            self.refresh().await?;
        }
        Ok(Deletion::Done)
    }

    /// Deletes the segments of a bucket whose head is gone.
    pub(crate) async fn delete_segments(&self, bucket: &str) -> Result<(), Failure> {
        // What is being made is made before, or not at all.
        let _quiet = self.maintenance.lock().await;
        let segments = self.api.segments(bucket).await?;
        let delete = |segment: Metadata| async move {
            self.api.delete_segment(&segment).await?;
            self.hooks
                .reach(CrashPoint::SegmentsOfTeardownRemoved)
                .await;
            Ok(())
        };
        let deletions: Vec<_> = segments.into_iter().map(delete).collect();
        stream::iter(deletions)
            .buffer_unordered(SEGMENTS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Makes segments, as far as there is budget.
    pub(crate) async fn create_segments(
        &self,
        bucket: BucketId,
        segments: &[NewSegment],
        owner: &Metadata,
    ) -> Result<(), Failure> {
        let create = |segment: &NewSegment| {
            let segment = segment.clone();
            async move {
                self.budget.ready(LONGEST_BUDGET_WAIT).await;
                self.budget.spend(segment.bytes.len());
                self.api.create_segment(bucket, &segment, owner).await
            }
        };
        let creations: Vec<_> = segments.iter().map(create).collect();
        stream::iter(creations)
            .buffer_unordered(SEGMENTS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Reads the bucket, linearizably, and makes what was read the known state.
    pub(crate) async fn refresh(&self) -> Result<Known, Failure> {
        loop {
            let (known, generation) = self.known_at();
            if self.hooks.has(Bug::StaleRead) && known.present().is_some() {
                return Ok(known);
            }
            let read = self.read(&known).await?;
            if let Some(newest) = self.publish_read(read, generation) {
                return Ok(newest);
            }
        }
    }

    async fn read(&self, known: &Known) -> Result<Found, Failure> {
        let mut gone = None;
        for _ in 0..READS {
            let Some(object) = self.read_object(known).await? else {
                return Ok(Found::unrelated(known.clone()));
            };
            let version = match &object {
                Some(object) => object.metadata.text("resourceVersion").to_owned(),
                None => return Ok(Found::absent()),
            };
            match self.assemble(object, known).await {
                Ok(found) => return Ok(found),
                Err(ReadError::Failure(failure)) => return Err(failure),
                // The head is the same as before, and still names it.
                Err(ReadError::Gone(id)) if gone == Some((version.clone(), id)) => {
                    return Err(Failure::new(FailureKind::Refused, self.lost(id)));
                }
                Err(ReadError::Gone(id)) => gone = Some((version, id)),
            }
        }
        let reason = "its segments are merged faster than they can be read".to_owned();
        let (store, source) = (self.api.describe(), None);
        let error = Error::Unavailable {
            store,
            reason,
            source,
        };
        Err(Failure::new(FailureKind::Later(None), error))
    }

    /// Reads the head. The outer `None`: it is the known one.
    async fn read_object(&self, known: &Known) -> Result<Option<Option<Object>>, Failure> {
        if let Known::Present(present) = known
            && present.head.head_bytes() > LARGE_HEAD_BYTES
        {
            match self.api.get_metadata().await? {
                None => return Ok(Some(None)),
                Some(metadata) if is_version(&metadata, present) => return Ok(None),
                Some(_) => {}
            }
        }
        let Some(object) = self.api.get().await? else {
            return Ok(Some(None));
        };
        // What would be acknowledged now would be gone with the object.
        if object.metadata.is_terminating() {
            return Err(self.terminating());
        }
        let known = known.present();
        let is_known = known.is_some_and(|known| is_version(&object.metadata, known));
        Ok((!is_known).then_some(Some(object)))
    }

    /// The state of a bucket whose head was read, with the segments that are not known yet.
    async fn assemble(&self, object: Option<Object>, known: &Known) -> Result<Found, ReadError> {
        let Some(object) = object else {
            return Ok(Found::absent());
        };
        let known = known.present().cloned();
        let (resource, describe) = (self.api.resource(), self.api.describe());
        let bytes = object.bytes(resource);
        let store = describe.clone();
        let read = move || Unassembled::read(&object, resource, &store);
        let unassembled = off_runtime(bytes, read).await.and_then(|read| read)?;
        if !self.layout.has_segments && unassembled.encoded.has_segments() {
            let what = "segments, which a bucket in a single object has not: open it without \
                        `in_single_objects`";
            return Err(self.unsupported(what).into());
        }
        let missing = unassembled
            .encoded
            .missing(known.as_ref().map(|known| &known.head));
        let segments = self.fetch(&missing).await?;
        let bytes = bytes + missing.iter().map(|one| one.bytes as usize).sum::<usize>();
        let assemble = move || unassembled.assemble(&describe, known.as_deref(), &segments);
        let (present, history) = off_runtime(bytes, assemble).await.and_then(|read| read)?;
        Ok(Found {
            known: Known::Present(Arc::new(present)),
            history,
        })
    }

    async fn fetch(&self, segments: &[SegmentRef]) -> Result<Segments, ReadError> {
        let fetch = |segment: SegmentRef| async move {
            let bytes = self.api.segment(segment.id).await?;
            let bytes = bytes.ok_or(ReadError::Gone(segment.id))?;
            Ok((segment.id, bytes))
        };
        let fetches: Vec<_> = segments.iter().map(|segment| fetch(*segment)).collect();
        stream::iter(fetches)
            .buffer_unordered(SEGMENTS_AT_ONCE)
            .try_collect()
            .await
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::Unsupported {
            store: self.api.describe(),
            what: what.to_owned(),
        }
    }

    fn lost(&self, id: SegmentId) -> Error {
        let name = self.api.segment_name(id);
        Error::Corrupt {
            object: self.api.describe(),
            reason: format!("its segment {name} is missing; restore it, or tear the bucket down"),
        }
    }

    /// Takes over what a watch tells, which comes in order. `false`: only a read tells what it
    /// means for the known state.
    pub(crate) async fn follow(&self, object: Object) -> bool {
        let (known, generation) = self.known_at();
        let told = object.metadata.resource_version();
        let (Known::Present(present), Ok(told)) = (&known, told) else {
            return false;
        };
        if object.metadata.is_terminating() {
            return false;
        }
        if told <= present.version {
            return true;
        }
        match self.assemble(Some(object), &known).await {
            Ok(found) => self.publish_read(found, generation).is_some(),
            Err(_) => false,
        }
    }

    /// Takes over what was read since `generation`, unless something newer is known by now;
    /// returns the newer of the two. `None`: it cannot be told which one is newer.
    fn publish_read(&self, read: Found, generation: u64) -> Option<Known> {
        let mut cell = self.cell();
        // Nothing came in between, so that what was read is the newest, whatever its version: a
        // restored cluster can go back.
        let unchanged = cell.generation == generation;
        match (&read.known, &cell.known) {
            (read, known) if read.is_same(known) => {}
            _ if unchanged => cell.put(read, &self.replica, self.hooks.bug()),
            (Known::Present(one), Known::Present(known)) if one.version < known.version => {}
            (Known::Present(_), Known::Present(_)) => {
                cell.put(read, &self.replica, self.hooks.bug());
            }
            // A bucket was made or deleted meanwhile, and a 404 has no version to compare.
            _ => return None,
        }
        Some(cell.known.clone())
    }

    /// Takes over a state that we wrote. `generation` is from before the write was sent.
    /// `false`: something else is known since, and it cannot be told which is newer.
    pub(crate) fn publish_write(&self, written: Found, generation: u64) -> bool {
        let mut cell = self.cell();
        let unchanged = cell.generation == generation;
        match (&written.known, &cell.known) {
            (Known::Present(one), Known::Present(known)) => {
                let goes_back = self.hooks.has(Bug::KnownStateGoesBack);
                if one.version > known.version || goes_back {
                    cell.put(written, &self.replica, self.hooks.bug());
                }
            }
            // A deletion that was seen since came after the write, or the write would not have
            // found its base.
            _ if unchanged => cell.put(written, &self.replica, self.hooks.bug()),
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
    fn put(&mut self, found: Found, replica: &Replica, bug: Option<Bug>) {
        self.tell(&found, replica, bug);
        self.known = found.known;
        self.generation += 1;
    }

    /// Tells watchers how the known state becomes the one that was found.
    fn tell(&self, found: &Found, replica: &Replica, bug: Option<Bug>) {
        let snapshot = found.known.snapshot();
        let is_other = match (self.known.present(), found.known.present()) {
            (Some(known), Some(found)) => known.head.id() != found.head.id(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_other {
            // All revisions of the bucket that is gone are below those of the next.
            let complete_after = self.known.snapshot().revision().max(snapshot.revision());
            return replica.reset(snapshot, complete_after);
        }
        match (&found.history, self.known.revision()) {
            (History::Commits { after, steps }, None) => {
                let records = steps.iter().map(|step| step.record.clone());
                replica.begin(snapshot, *after, records.collect());
            }
            (History::Commits { after, steps }, Some(at)) if leads_on_from(at, *after, steps) => {
                for step in told(steps, at, bug) {
                    replica.publish(step.snapshot.clone(), step.record.clone());
                }
            }
            (History::Lost, Some(Revision::ZERO)) if snapshot.is_empty() => {}
            (History::Lost, Some(_)) if bug == Some(Bug::GapNotTold) => {
                let (revision, changes, reclaimed) = (snapshot.revision(), vec![], vec![]);
                let record = Record {
                    revision,
                    changes,
                    reclaimed,
                };
                replica.publish(snapshot, record);
            }
            _ => replica.skip_to(snapshot),
        }
    }
}

/// The commits that watchers are told of who have been told up to `at`.
fn told(steps: &[Step], at: Revision, bug: Option<Bug>) -> Vec<&Step> {
    let mut new = steps.iter().filter(|step| step.record.revision > at);
    match bug {
        Some(Bug::CommitsCoalesced) => new.next_back().into_iter().collect(),
        _ => new.collect(),
    }
}

/// Whether these commits, which follow the commit `after`, are all that come after `at`.
fn leads_on_from(at: Revision, after: Revision, steps: &[Step]) -> bool {
    at == after || steps.iter().any(|step| step.record.revision == at)
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
