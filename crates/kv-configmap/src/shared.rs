use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::stream::{self, StreamExt, TryStreamExt};
use kv_core::backend::{Cursors, ForwardClock, Record, Replica, Snapshot};
use kv_core::{Error, Revision};
use tokio::sync::watch;
use tokio::time::Duration;

use crate::api::{BucketApi, Deletion};
use crate::budget::WriteBudget;
use crate::changes::Changes;
use crate::describe::describe_head;
use crate::engine::{BucketId, Head, History, Layout, NewSegment, ResourceVersion, SegmentId};
use crate::failure::{Failure, FailureKind};
use crate::follower::Follower;
use crate::forwarding::Offered;
use crate::hooks::{Bug, CrashPoint, Hooks};
use crate::known::{Known, Present, check_ours};
use crate::object::{Metadata, head_body};

/// Above this size, decoding and encoding leave the runtime's threads to others.
const HEAVY_BYTES: usize = 64 * 1024;

/// The longest that one object waits for the budget: a part of the deadline.
pub(crate) const LONGEST_BUDGET_WAIT: Duration = Duration::from_secs(5);

/// How many segments are fetched, made or deleted at a time.
pub(crate) const SEGMENTS_AT_ONCE: usize = 8;

/// What the committer, the reader and the handles of one bucket share.
pub(crate) struct Shared {
    pub(crate) api: BucketApi,
    pub(crate) clock: Arc<ForwardClock>,
    pub(crate) cursors: Cursors,
    /// How the bucket lies while there is budget.
    pub(crate) layout: Layout,
    pub(crate) hooks: Hooks,
    pub(crate) budget: Arc<WriteBudget>,
    /// The newest known state once more, with its history, for watchers.
    pub(crate) replica: Arc<Replica>,
    cell: Mutex<Cell>,
    /// The head whose deletion was told last: its uid, and the version at which it was deleted.
    deleted: Mutex<Option<(String, ResourceVersion)>>,
    /// What another process may commit for us.
    offered: Mutex<Option<Offered>>,
    changes: watch::Sender<Changes>,
    follower: OnceLock<Follower>,
    is_closed: AtomicBool,
    /// Shared by those who make segments; who removes all there are has it alone.
    pub(crate) creation: tokio::sync::RwLock<()>,
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
    pub(crate) history: History,
}

impl Found {
    pub(crate) fn absent() -> Self {
        Self::unrelated(Known::Absent)
    }

    pub(crate) fn unrelated(known: Known) -> Self {
        Self {
            known,
            history: History::Lost,
        }
    }

    /// A state that these commits led to, after the commit `after`.
    pub(crate) fn after(after: Revision, records: Vec<Arc<Record>>, present: Present) -> Self {
        Self {
            known: Known::Present(Arc::new(present)),
            history: History::Commits { after, records },
        }
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
            deleted: Mutex::default(),
            offered: Mutex::default(),
            changes: watch::Sender::default(),
            follower: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            creation: tokio::sync::RwLock::default(),
            maintenance_failure: Mutex::default(),
        }
    }

    /// How the bucket is to lie now.
    pub(crate) fn current_layout(&self) -> Layout {
        match self.budget.is_short() {
            true => self.layout.for_few_bytes(),
            false => self.layout,
        }
    }

    /// Follows the bucket from now on, until it is closed.
    pub(crate) fn follow_from_now_on(self: &Arc<Self>) -> &Follower {
        let follower = self.follower.get_or_init(|| Follower::start(self.clone()));
        if self.is_closed.load(Ordering::SeqCst) {
            follower.stop();
        }
        follower
    }

    /// No handle is left.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        if let Some(follower) = self.follower.get() {
            follower.stop();
        }
    }

    /// Whether the leader that the head names has written just now.
    pub(crate) fn is_led(&self) -> bool {
        self.changes.borrow().is_led()
    }

    /// Tells whenever the known state changes.
    pub(crate) fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
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

    /// Deletes all segments of a bucket whose head is gone, and what was offered for it.
    pub(crate) async fn delete_all(&self, bucket: &str) -> Result<(), Failure> {
        // What is being made is made before, or not at all.
        let _quiet = self.creation.write().await;
        let mut parts = self.api.segments(bucket).await?;
        parts.extend(self.api.offers(bucket).await?);
        self.delete_listed(parts, CrashPoint::SegmentsOfTeardownRemoved)
            .await
    }

    /// Deletes some segments of a bucket.
    pub(crate) async fn delete_some(
        &self,
        bucket: BucketId,
        segments: &BTreeSet<SegmentId>,
    ) -> Result<(), Failure> {
        if segments.is_empty() {
            return Ok(());
        }
        let mut listed = self.api.segments(&bucket.to_string()).await?;
        let names = segments.iter().map(|id| self.api.segment_name(*id));
        let names: BTreeSet<_> = names.collect();
        listed.retain(|segment| names.contains(segment.name()));
        self.delete_listed(listed, CrashPoint::ObsoleteRemoved)
            .await
    }

    /// Deletes each of these by its uid, up to the first that is refused or is to wait; the last failure,
    /// if there is one.
    pub(crate) async fn delete_listed(
        &self,
        segments: Vec<Metadata>,
        point: CrashPoint,
    ) -> Result<(), Failure> {
        let delete = |segment: Metadata| async move {
            self.api.delete_segment(&segment).await?;
            self.hooks.reach(point).await;
            Ok(())
        };
        let deletions: Vec<_> = segments.into_iter().map(delete).collect();
        let mut deletions = stream::iter(deletions).buffer_unordered(SEGMENTS_AT_ONCE);
        let mut all = Ok(());
        while let Some(deleted) = deletions.next().await {
            let Err(failure): Result<(), Failure> = deleted else {
                continue;
            };
            if failure.kind != FailureKind::Unknown {
                return Err(failure);
            }
            all = Err(failure);
        }
        all
    }

    /// Makes the segments that are not `made` yet, as far as there is budget, and notes each that is.
    pub(crate) async fn create_segments(
        &self,
        bucket: BucketId,
        segments: &[NewSegment],
        owner: &Metadata,
        made: &mut HashSet<SegmentId>,
    ) -> Result<(), Failure> {
        let create = |segment: &NewSegment| {
            let segment = segment.clone();
            async move {
                self.budget.ready(LONGEST_BUDGET_WAIT).await;
                self.budget.spend(segment.bytes.len());
                self.api.create_segment(bucket, &segment, owner).await?;
                Ok(segment.id)
            }
        };
        let missing = segments.iter().filter(|one| !made.contains(&one.id));
        let creations: Vec<_> = missing.map(create).collect();
        let mut created = stream::iter(creations).buffer_unordered(SEGMENTS_AT_ONCE);
        while let Some(id) = created.try_next().await? {
            made.insert(id);
        }
        Ok(())
    }

    /// Takes over what was read since `generation`, unless something newer is known by now;
    /// returns the newer of the two. `None`: it cannot be told which one is newer.
    pub(crate) fn publish_read(&self, read: Found, generation: u64) -> Option<Known> {
        let mut cell = self.cell();
        // Nothing came in between, so that what was read is the newest, whatever its version: a
        // restored cluster can go back.
        let unchanged = cell.generation == generation;
        match (&read.known, &cell.known) {
            (read, known) if read.is_same(known) => {}
            _ if unchanged => self.put(&mut cell, read),
            (Known::Present(one), Known::Present(known))
                if one.version < known.version && !self.hooks.has(Bug::OldReadTakenOver) => {}
            (Known::Present(_), Known::Present(_)) => {
                self.put(&mut cell, read);
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
                    self.put(&mut cell, written);
                }
            }
            // A deletion that was seen since came after the write, or the write would not have
            // found its base.
            _ if unchanged => self.put(&mut cell, written),
            _ => return false,
        }
        true
    }

    /// A watch has told that the head is deleted.
    pub(crate) fn note_deleted(&self, uid: String, version: &str) {
        let deleted = version.parse().ok().map(|version| (uid, version));
        *self.deleted.lock().unwrap_or_else(PoisonError::into_inner) = deleted;
    }

    /// At which version the head of that uid was deleted, if that was told.
    pub(crate) fn deleted_at(&self, uid: &str) -> Option<ResourceVersion> {
        let deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        let (deleted, version) = deleted.as_ref()?;
        (deleted == uid).then_some(*version)
    }

    /// Not to be held while the known state is asked for.
    pub(crate) fn offered(&self) -> MutexGuard<'_, Option<Offered>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, cell: &mut Cell, found: Found) {
        cell.tell(found.history, &found.known, &self.replica, self.hooks.bug());
        if let (Some(offered), Some(now)) = (&mut *self.offered(), found.known.present()) {
            offered.note(&now.head);
        }
        let now = found.known.present();
        let by_leader = now.is_some_and(|now| now.head.is_by_leader());
        cell.known = found.known;
        cell.generation += 1;
        self.changes.send_modify(|changes| changes.note(by_leader));
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        // The cell is changed by single assignments.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    /// Tells watchers how the known state becomes the one that was found.
    fn tell(&self, history: History, found: &Known, replica: &Replica, bug: Option<Bug>) {
        let snapshot = found.snapshot();
        let is_other = match (self.known.present(), found.present()) {
            (Some(known), Some(found)) => known.head.id() != found.head.id(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_other {
            // All revisions of the bucket that is gone are below those of the next.
            let complete_after = self.known.snapshot().revision().max(snapshot.revision());
            return replica.reset(snapshot, complete_after);
        }
        match (history, self.known.revision()) {
            (History::Commits { after, records }, None) => replica.begin(snapshot, after, records),
            (History::Commits { after, records }, Some(at))
                if leads_on_from(at, after, &records) =>
            {
                replica.publish(snapshot, told(records, at, bug));
            }
            (History::Lost, Some(Revision::ZERO)) if snapshot.is_empty() => {}
            (History::Lost, Some(_)) if bug == Some(Bug::GapNotTold) => {
                let (revision, changes, reclaimed) = (snapshot.revision(), vec![], vec![]);
                let record = Record {
                    revision,
                    changes,
                    reclaimed,
                };
                replica.publish(snapshot, vec![Arc::new(record)]);
            }
            _ => replica.skip_to(snapshot),
        }
    }
}

/// The commits that watchers are told of who have been told up to `at`.
fn told(mut records: Vec<Arc<Record>>, at: Revision, bug: Option<Bug>) -> Vec<Arc<Record>> {
    records.retain(|record| record.revision > at);
    match bug {
        Some(Bug::CommitsCoalesced) => records.pop().into_iter().collect(),
        _ => records,
    }
}

/// Whether these commits, which follow the commit `after`, are all that come after `at`.
fn leads_on_from(at: Revision, after: Revision, records: &[Arc<Record>]) -> bool {
    at == after || records.iter().any(|record| record.revision == at)
}

pub(crate) fn is_version(metadata: &Metadata, present: &Present) -> bool {
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
