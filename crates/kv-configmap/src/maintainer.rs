//! The task that keeps a bucket in shape, beside the puts.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use kv_core::backend::Backoff;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tracing::debug;

use crate::committer::{Fate, Handed};
use crate::engine::{
    BucketId, Edit, Head, Job, Layout, NewSegment, Round, SegmentId, flush, merge,
};
use crate::failure::Failure;
use crate::hooks::{Bug, CrashPoint};
use crate::known::Present;
use crate::object::Metadata;
use crate::shared::{Shared, off_runtime};

/// How long segments that were merged away stay, for those who are just opening the bucket.
const OBSOLETE_STAYS: Duration = Duration::from_secs(30);

/// How often a flush or a merge is begun anew where others change the bucket meanwhile, and how
/// often a request of it is repeated.
const ATTEMPTS: u32 = 4;

/// Within this time after a merge, the next one waits for so many times as many runs: under load an
/// entry is merged less often, and a bucket that was left alone is in shape all the same.
const MERGE_RESTS: Duration = Duration::from_secs(1);
const PATIENCE: usize = 4;

/// How often is flushed or merged between two looks for segments that nobody needs.
const ROUNDS_BETWEEN_SWEEPS: u32 = 256;

/// What there is to do.
pub(crate) enum Wake {
    /// A flush or a merge.
    Due,
    /// Puts wait for room in the head.
    Full,
    /// These segments are no longer named by the head.
    Obsolete(Vec<SegmentId>),
    /// There may be segments that no head has ever named.
    Sweep,
}

/// The places in a flush or a merge where a process can die.
#[derive(Clone, Copy)]
struct Step {
    planned: CrashPoint,
    made: CrashPoint,
    in_place: CrashPoint,
}

impl Step {
    const FLUSH: Self = Self {
        planned: CrashPoint::FlushPlanned,
        made: CrashPoint::SegmentsOfFlushMade,
        in_place: CrashPoint::Flushed,
    };
    const MERGE: Self = Self {
        planned: CrashPoint::MergePlanned,
        made: CrashPoint::SegmentsOfMergeMade,
        in_place: CrashPoint::Merged,
    };
}

pub(crate) struct Maintainer {
    shared: Arc<Shared>,
    wakes: mpsc::UnboundedReceiver<Wake>,
    committer: mpsc::Sender<Handed>,
    random: StdRng,
    round: Round,
    obsolete: Vec<(Instant, SegmentId)>,
    merged_at: Option<Instant>,
    rounds: u32,
    sweep_is_due: bool,
    work_is_due: bool,
    room_is_wanted: bool,
}

impl Maintainer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        wakes: mpsc::UnboundedReceiver<Wake>,
        committer: mpsc::Sender<Handed>,
        random: StdRng,
    ) -> Self {
        Self {
            shared,
            wakes,
            committer,
            random,
            round: Round::default(),
            obsolete: Vec::new(),
            merged_at: None,
            rounds: 0,
            sweep_is_due: true,
            work_is_due: false,
            room_is_wanted: false,
        }
    }

    pub(crate) async fn run(mut self) {
        while self.wait().await {
            if std::mem::take(&mut self.work_is_due) {
                self.flush_and_merge().await;
            }
            self.remove_obsolete().await;
        }
    }

    /// Waits for something to do. `false`: all handles are gone.
    async fn wait(&mut self) -> bool {
        if !self.work_is_due {
            let removal = self.obsolete.first().map(|(due, _)| *due);
            let merge = self.merge_put_off();
            let first = match removal.into_iter().chain(merge).min() {
                None => self.wakes.recv().await,
                Some(due) => tokio::select! {
                    biased;
                    wake = self.wakes.recv() => wake,
                    () = sleep_until(due) => {
                        if merge.is_some_and(|at| at <= due) {
                            // Once, also where it should fail.
                            self.merged_at = None;
                            self.work_is_due = true;
                        }
                        return true;
                    }
                },
            };
            match first {
                Some(wake) => self.take(wake),
                None => return false,
            }
        }
        self.take_all();
        true
    }

    fn take_all(&mut self) {
        while let Ok(wake) = self.wakes.try_recv() {
            self.take(wake);
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Due => self.work_is_due = true,
            Wake::Full => (self.work_is_due, self.room_is_wanted) = (true, true),
            Wake::Sweep => self.sweep_is_due = true,
            Wake::Obsolete(segments) => {
                let due = Instant::now() + OBSOLETE_STAYS;
                self.obsolete
                    .extend(segments.into_iter().map(|id| (due, id)));
            }
        }
    }

    async fn flush_and_merge(&mut self) {
        let known = self.shared.known();
        let is_crowded = known.present().is_some_and(|now| now.head.is_crowded());
        // A flush adds runs, for which there has to be room.
        if std::mem::take(&mut self.room_is_wanted) || is_crowded {
            while self.repeat(Step::MERGE, merge).await {}
        }
        let mut has_worked = false;
        loop {
            // Before each step of a compaction, of which there can be many.
            has_worked |= self.repeat(Step::FLUSH, due_flush).await;
            if !self.repeat(Step::MERGE, self.merge()).await {
                break;
            }
            self.merged_at = Some(Instant::now());
            has_worked = true;
            self.take_all();
            self.remove_obsolete().await;
        }
        self.rounds += u32::from(has_worked);
        if has_worked && (self.sweep_is_due || self.rounds >= ROUNDS_BETWEEN_SWEEPS) {
            self.rounds = 0;
            self.sweep_is_due = false;
            self.sweep().await;
        }
    }

    /// When a merge is due that would be due by now if there had been none just before. It can be past:
    /// a sweep takes its time.
    fn merge_put_off(&self) -> Option<Instant> {
        let rested = self.merged_at? + MERGE_RESTS;
        let known = self.shared.known();
        let is_due = known.present()?.head.is_merge_due(&self.shared.layout);
        is_due.then_some(rested)
    }

    fn merge(&self) -> impl Fn(&Head, &Layout, u64, &mut Round) -> Option<Job> + Copy + use<> {
        let merged_at = self.merged_at;
        move |head, layout, nonce, round| {
            let rests = merged_at.is_some_and(|at| at.elapsed() < MERGE_RESTS);
            let fanout = layout.fanout * if rests { PATIENCE } else { 1 };
            merge(head, &Layout { fanout, ..*layout }, nonce, round)
        }
    }

    /// Plans a job on the newest state and puts it in place; plans anew where the bucket changes
    /// meanwhile. `true`: something was put in place.
    async fn repeat(
        &mut self,
        step: Step,
        plan: impl Fn(&Head, &Layout, u64, &mut Round) -> Option<Job> + Copy + Send + 'static,
    ) -> bool {
        for _ in 0..ATTEMPTS {
            let known = self.shared.known();
            let Some(present) = known.present().cloned() else {
                return false;
            };
            let (layout, nonce, mut round) =
                (self.shared.layout, self.random.next_u64(), self.round);
            let planned = present.clone();
            let work = move || (plan(&planned.head, &layout, nonce, &mut round), round);
            // It goes through all entries.
            let bytes = present.head.snapshot().bytes() as usize;
            let Ok((job, round)) = off_runtime(bytes, work).await else {
                return false;
            };
            self.round = round;
            let Some(job) = job else {
                return false;
            };
            match self.place(step, &present, job).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(failure) => {
                    debug!(bucket = self.shared.api.describe(), error = %failure.error, "a flush or merge failed");
                    self.shared.note_maintenance(Some(failure.error));
                    // Some of its segments may be there.
                    self.sweep_is_due = true;
                    return false;
                }
            }
        }
        false
    }

    /// Makes the segments of a job, then has the committer put them in place.
    async fn place(&mut self, step: Step, base: &Present, job: Job) -> Result<bool, Failure> {
        let id = base.head.id();
        let shared = self.shared.clone();
        let _maintenance = shared.maintenance.lock().await;
        // The bucket may have been torn down while we waited.
        if shared
            .known()
            .present()
            .is_none_or(|known| known.head.id() != id)
        {
            return Ok(false);
        }
        shared.hooks.reach(step.planned).await;
        self.create(base, &job.segments).await?;
        shared.hooks.reach(step.made).await;
        if shared.hooks.has(Bug::ObsoleteRemovedEarly) {
            self.remove(id, &job.obsolete).await?;
        }
        self.shared.note_maintenance(None);
        let made = job.segments.iter().map(|segment| segment.id);
        match self.hand_over(id, job.edit).await {
            Fate::InPlace(present) => {
                // The write that carried it may have made all of it needless.
                let named = present.head.segments();
                self.take(Wake::Obsolete(
                    made.filter(|id| !named.contains(id)).collect(),
                ));
                shared.hooks.reach(step.in_place).await;
                Ok(true)
            }
            Fate::Outdated { named } => {
                let orphans: BTreeSet<_> = made.filter(|id| !named.contains(id)).collect();
                self.remove(id, &orphans).await?;
                Ok(false)
            }
            Fate::Unknown => {
                self.sweep_is_due = true;
                Ok(false)
            }
        }
    }

    /// Makes segments, with a few attempts.
    async fn create(&mut self, base: &Present, segments: &[NewSegment]) -> Result<(), Failure> {
        let mut backoff = Backoff::new(self.random.random());
        let mut made = HashSet::new();
        loop {
            let (id, owner) = (base.head.id(), &base.metadata);
            let created = self
                .shared
                .create_segments(id, segments, owner, &mut made)
                .await;
            match created {
                Err(failure) if failure.is_transient() && backoff.attempts() < ATTEMPTS => {
                    sleep(failure.wait(&mut backoff)).await;
                }
                done => return done,
            }
        }
    }

    async fn hand_over(&self, bucket: BucketId, edit: Edit) -> Fate {
        let (done, fate) = oneshot::channel();
        // A committer that is gone leaves everything as it is.
        if self
            .committer
            .send(Handed { bucket, edit, done })
            .await
            .is_err()
        {
            return Fate::Unknown;
        }
        fate.await.unwrap_or(Fate::Unknown)
    }

    /// Removes segments that no head has ever named, without trusting clocks: those that were
    /// there before the head's sweep epoch was raised, and that this head does not name, can no
    /// longer be named by any.
    async fn sweep(&mut self) {
        let known = self.shared.known();
        let Some(present) = known.present() else {
            return;
        };
        let id = present.head.id();
        let Ok(listed) = self.shared.api.segments(&id.to_string()).await else {
            return;
        };
        self.shared.hooks.reach(CrashPoint::SweepListed).await;
        let unnamed = self.unnamed(&listed, &present.head);
        if unnamed.is_empty() {
            return;
        }
        if self.shared.hooks.has(Bug::SweepWithoutEpoch) {
            for segment in unnamed {
                let _ = self.shared.api.delete_segment(&segment).await;
            }
            return;
        }
        let Fate::InPlace(present) = self.hand_over(id, Edit::RaiseSweepEpoch).await else {
            return;
        };
        self.shared.hooks.reach(CrashPoint::SweepEpochRaised).await;
        for segment in self.unnamed(&listed, &present.head) {
            // What fails is left to the next sweep.
            let _ = self.shared.api.delete_segment(&segment).await;
            self.shared.hooks.reach(CrashPoint::OrphanRemoved).await;
        }
    }

    /// The segments of a list that neither the head names nor a reader may still be reading.
    fn unnamed(&mut self, listed: &[Metadata], head: &Head) -> Vec<Metadata> {
        // What this head no longer names was told before it was known.
        self.take_all();
        let waiting = self.obsolete.iter().map(|(_, id)| *id);
        let kept = head.segments().into_iter().chain(waiting);
        let kept: BTreeSet<String> = kept.map(|id| self.shared.api.segment_name(id)).collect();
        let unnamed = listed
            .iter()
            .filter(|segment| !kept.contains(segment.name()));
        unnamed.cloned().collect()
    }

    async fn remove_obsolete(&mut self) {
        let now = Instant::now();
        let due = self.obsolete.partition_point(|(due, _)| *due <= now);
        let mut due: BTreeSet<_> = self.obsolete.drain(..due).map(|(_, id)| id).collect();
        if due.is_empty() {
            return;
        }
        // A head that was restored from a backup may name them again.
        let Ok(known) = self.shared.refresh().await else {
            self.sweep_is_due = true;
            return;
        };
        let Some(present) = known.present() else {
            return;
        };
        self.shared
            .hooks
            .reach(CrashPoint::BeforeObsoleteRemoved)
            .await;
        let named = present.head.segments();
        due.retain(|id| !named.contains(id));
        // What fails is left to a sweep.
        self.sweep_is_due |= self.remove(present.head.id(), &due).await.is_err();
    }

    /// Deletes segments, each by its uid.
    async fn remove(
        &self,
        bucket: BucketId,
        segments: &BTreeSet<SegmentId>,
    ) -> Result<(), Failure> {
        if segments.is_empty() {
            return Ok(());
        }
        let mut listed = self.shared.api.segments(&bucket.to_string()).await?;
        let names = segments.iter().map(|id| self.shared.api.segment_name(*id));
        let names: BTreeSet<_> = names.collect();
        listed.retain(|segment| names.contains(segment.name()));
        for segment in listed {
            self.shared.api.delete_segment(&segment).await?;
            self.shared.hooks.reach(CrashPoint::ObsoleteRemoved).await;
        }
        Ok(())
    }
}

fn due_flush(head: &Head, layout: &Layout, nonce: u64, _: &mut Round) -> Option<Job> {
    let is_due = head.is_flush_due(layout);
    is_due.then(|| flush(head, layout, nonce)).flatten()
}
