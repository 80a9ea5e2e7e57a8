//! The task that keeps a bucket in shape, beside the puts.

use std::collections::BTreeSet;
use std::future;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until};
use tracing::debug;

use crate::committer::{Fate, Handed};
use crate::engine::{BucketId, Edit, Head, Job, Layout, Round, SegmentId, flush, merge};
use crate::failure::Failure;
use crate::hooks::{Bug, CrashPoint};
use crate::object::Metadata;
use crate::prepare::{End, Order, Plan, Points, Prepared};
use crate::shared::Shared;

/// How long segments that were merged away stay, for those who are just opening the bucket.
const OBSOLETE_STAYS: Duration = Duration::from_secs(30);

/// How often a flush or a merge is begun anew where others change the bucket meanwhile.
const ATTEMPTS: u32 = 4;

/// Within this time after a merge, the next one waits for so many times as many runs: under load an
/// entry is merged less often, and a bucket that was left alone is in shape all the same.
const MERGE_RESTS: Duration = Duration::from_secs(1);
const PATIENCE: usize = 4;

/// How often is flushed or merged between two looks for segments that nobody needs.
const WORK_BETWEEN_SWEEPS: u32 = 256;

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

/// How putting something in place has ended.
enum Placing {
    Done,
    /// The bucket has changed meanwhile: it can be planned anew.
    Outdated,
    /// There was nothing to do, or it failed.
    Stopped,
}

pub(crate) struct Maintainer {
    shared: Arc<Shared>,
    wakes: mpsc::UnboundedReceiver<Wake>,
    committer: mpsc::Sender<Handed>,
    random: StdRng,
    round: Round,
    /// The merge under way, if there is one. Flushes go on beside it: it can take as long as many
    /// writes, each of which has all that has not been flushed.
    merging: JoinSet<Prepared>,
    merge_attempts: u32,
    /// Whether another was to be begun meanwhile.
    merge_is_wanted: bool,
    obsolete: Vec<(Instant, SegmentId)>,
    /// The removal under way, which takes a request for each segment; whether it succeeds.
    removing: JoinSet<bool>,
    merged_at: Option<Instant>,
    /// How often was flushed or merged since the last sweep.
    worked: u32,
    /// Where a sweep is due, how often was flushed or merged before that. It comes after the next time,
    /// when a request that was given up may have been applied.
    sweep_due_at: Option<u32>,
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
            merging: JoinSet::new(),
            merge_attempts: 0,
            merge_is_wanted: false,
            obsolete: Vec::new(),
            removing: JoinSet::new(),
            merged_at: None,
            worked: 0,
            sweep_due_at: Some(0),
            work_is_due: false,
            room_is_wanted: false,
        }
    }

    pub(crate) async fn run(mut self) {
        while self.wait().await {
            if std::mem::take(&mut self.work_is_due) {
                self.flush_and_begin_merge().await;
            }
            self.begin_removal();
            if self.is_sweep_wanted() && self.merging.is_empty() && self.removing.is_empty() {
                // It would outdate a merge, and take what a removal has begun with for orphans.
                (self.worked, self.sweep_due_at) = (0, None);
                if !self.sweep().await {
                    self.want_sweep();
                }
                self.work_is_due |= std::mem::take(&mut self.merge_is_wanted);
            }
        }
    }

    /// Whether to sweep as soon as no merge and no removal is under way.
    fn is_sweep_wanted(&self) -> bool {
        let is_due = self.sweep_due_at.is_some_and(|at| self.worked > at);
        is_due || self.worked >= WORK_BETWEEN_SWEEPS
    }

    fn want_sweep(&mut self) {
        self.sweep_due_at.get_or_insert(self.worked);
    }

    /// Waits for something to do. `false`: all handles are gone.
    async fn wait(&mut self) -> bool {
        if !self.work_is_due {
            let removal = self.obsolete.first().map(|(due, _)| *due);
            let removal = removal.filter(|_| self.can_begin_removal());
            let merge = self.merge_put_off();
            let merge = merge.filter(|_| self.can_begin_merge());
            let first = removal.into_iter().chain(merge).min();
            let timer = async {
                match first {
                    Some(due) => sleep_until(due).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(merge) = self.merging.join_next() => self.end_merge(merge.ok()).await,
                // What could not be removed is left to a sweep.
                Some(removed) = self.removing.join_next() => {
                    if !removed.unwrap_or_default() {
                        self.want_sweep();
                    }
                }
                wake = self.wakes.recv() => match wake {
                    Some(wake) => self.take(wake),
                    None => return false,
                },
                () = timer => {
                    if merge.is_some_and(|at| at <= Instant::now()) {
                        // Once, also where it should fail.
                        self.merged_at = None;
                        self.work_is_due = true;
                    }
                }
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
            Wake::Sweep => self.want_sweep(),
            Wake::Obsolete(segments) => {
                let due = Instant::now() + OBSOLETE_STAYS;
                self.obsolete
                    .extend(segments.into_iter().map(|id| (due, id)));
            }
        }
    }

    fn can_begin_removal(&self) -> bool {
        self.removing.is_empty() && !self.is_sweep_wanted()
    }

    /// A removal can take long: merges go on until the sweep could begin.
    fn can_begin_merge(&self) -> bool {
        self.merging.is_empty() && !(self.is_sweep_wanted() && self.removing.is_empty())
    }

    async fn flush_and_begin_merge(&mut self) {
        // A flush adds runs, for which there has to be room.
        while self.is_crowded() && self.merge_for_room().await {}
        self.repeat(Points::FLUSH, due_flush).await;
        if std::mem::take(&mut self.room_is_wanted) {
            self.merge_for_room().await;
        }
        if self.can_begin_merge() {
            let merge = self.order(Points::MERGE).prepare(self.merge());
            self.merging.spawn(merge);
        } else {
            self.merge_is_wanted = true;
        }
    }

    fn is_crowded(&self) -> bool {
        let known = self.shared.known();
        known.present().is_some_and(|now| now.head.is_crowded())
    }

    /// Does the next merge, also one that is put off under load: puts wait for room. `false`: none is
    /// due.
    async fn merge_for_room(&mut self) -> bool {
        if let Some(merge) = self.merging.join_next().await {
            self.end_merge(merge.ok()).await;
        }
        self.repeat(Points::MERGE, merge).await
    }

    /// Puts the merge in place that was under way, and looks for the next.
    async fn end_merge(&mut self, merge: Option<Prepared>) {
        // The runtime ends.
        let Some(merge) = merge else {
            return;
        };
        self.merge_attempts += 1;
        let goes_on = match self.put_in_place(merge).await {
            Placing::Done => {
                self.merged_at = Some(Instant::now());
                self.merge_attempts = 0;
                true
            }
            Placing::Outdated if self.merge_attempts < ATTEMPTS => true,
            Placing::Outdated | Placing::Stopped => {
                self.merge_attempts = 0;
                false
            }
        };
        self.work_is_due |= std::mem::take(&mut self.merge_is_wanted) || goes_on;
    }

    /// When a merge is due that would be due by now if there had been none just before. It can be past:
    /// a sweep takes its time.
    fn merge_put_off(&self) -> Option<Instant> {
        let rested = self.merged_at? + MERGE_RESTS;
        let known = self.shared.known();
        let is_due = known
            .present()?
            .head
            .is_merge_due(&self.shared.current_layout());
        is_due.then_some(rested)
    }

    fn merge(&self) -> impl Plan + Copy + use<> {
        let merged_at = self.merged_at;
        move |head, layout, nonce, round| {
            let rests = merged_at.is_some_and(|at| at.elapsed() < MERGE_RESTS);
            let fanout = layout.fanout * if rests { PATIENCE } else { 1 };
            merge(head, &Layout { fanout, ..*layout }, nonce, round)
        }
    }

    fn order(&mut self, points: Points) -> Order {
        Order {
            shared: self.shared.clone(),
            points,
            nonce: self.random.next_u64(),
            seed: self.random.next_u64(),
            round: self.round,
        }
    }

    /// Prepares a job and puts it in place; does so anew where the bucket changes meanwhile. `true`:
    /// something was put in place.
    async fn repeat(&mut self, points: Points, plan: impl Plan + Copy) -> bool {
        for _ in 0..ATTEMPTS {
            let prepared = self.order(points).prepare(plan).await;
            match self.put_in_place(prepared).await {
                Placing::Done => return true,
                Placing::Outdated => {}
                Placing::Stopped => return false,
            }
        }
        false
    }

    /// Has the committer put in place what was prepared.
    async fn put_in_place(&mut self, prepared: Prepared) -> Placing {
        self.round = prepared.round;
        let placed = match prepared.end {
            End::Nothing => return Placing::Stopped,
            End::Ready { bucket, job } => self.place(prepared.points, bucket, job).await,
            End::Failed(failure) => Err(failure),
        };
        placed.unwrap_or_else(|failure| {
            debug!(bucket = self.shared.api.describe(), error = %failure.error, "a flush or merge failed");
            self.shared.note_maintenance(Some(failure.error));
            // Some of its segments may be there.
            self.want_sweep();
            Placing::Stopped
        })
    }

    async fn place(
        &mut self,
        points: Points,
        bucket: BucketId,
        job: Job,
    ) -> Result<Placing, Failure> {
        let made = job.segments.iter().map(|segment| segment.id);
        match self.hand_over(bucket, job.edit).await {
            Fate::InPlace(present) => {
                // The write that carried it may have made all of it needless.
                let named = present.head.segments();
                self.take(Wake::Obsolete(
                    made.filter(|id| !named.contains(id)).collect(),
                ));
                self.worked += 1;
                self.shared.hooks.reach(points.in_place).await;
                Ok(Placing::Done)
            }
            Fate::Outdated { named } => {
                let orphans: BTreeSet<_> = made.filter(|id| !named.contains(id)).collect();
                self.shared.delete_some(bucket, &orphans).await?;
                Ok(Placing::Outdated)
            }
            Fate::Unknown => {
                self.want_sweep();
                Ok(Placing::Outdated)
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
    /// longer be named by any. `false`: it has to be begun anew.
    async fn sweep(&mut self) -> bool {
        let known = self.shared.known();
        let Some(present) = known.present() else {
            return true;
        };
        let id = present.head.id();
        self.remove_offers(&present.head).await;
        let listed = match self.shared.api.segments(&id.to_string()).await {
            Ok(listed) => listed,
            Err(failure) => return !failure.is_transient(),
        };
        self.shared.hooks.reach(CrashPoint::SweepListed).await;
        let unnamed = self.unnamed(&listed, &present.head);
        if unnamed.is_empty() {
            return true;
        }
        if self.shared.hooks.has(Bug::SweepWithoutEpoch) {
            let point = CrashPoint::OrphanRemoved;
            let _ = self.shared.delete_listed(unnamed, point).await;
            return true;
        }
        let Fate::InPlace(present) = self.hand_over(id, Edit::RaiseSweepEpoch).await else {
            return false;
        };
        self.shared.hooks.reach(CrashPoint::SweepEpochRaised).await;
        let (shared, orphans) = (self.shared.clone(), self.unnamed(&listed, &present.head));
        self.removing.spawn(async move {
            let point = CrashPoint::OrphanRemoved;
            let _ = shared.delete_listed(orphans, point).await;
            // What fails is left to the next sweep, which is not due for that.
            true
        });
        true
    }

    /// Removes what was offered when somebody led. A writer that offers something just now makes the object
    /// of its offer anew.
    async fn remove_offers(&self, head: &Head) {
        if self.shared.is_led() {
            return;
        }
        // What fails is left to the next sweep.
        if let Ok(offers) = self.shared.api.offers(&head.id().to_string()).await {
            let point = CrashPoint::OffersRemoved;
            let _ = self.shared.delete_listed(offers, point).await;
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

    fn begin_removal(&mut self) {
        let now = Instant::now();
        let due = self.obsolete.partition_point(|(due, _)| *due <= now);
        if due > 0 && self.can_begin_removal() {
            let due = self.obsolete.drain(..due).map(|(_, id)| id).collect();
            self.removing.spawn(remove(self.shared.clone(), due));
        }
    }
}

/// Removes segments that no head names. `false`: some may still be there.
async fn remove(shared: Arc<Shared>, mut due: BTreeSet<SegmentId>) -> bool {
    // A head that was restored from a backup may name them again.
    let Ok(known) = shared.refresh().await else {
        return false;
    };
    let Some(present) = known.present() else {
        return true;
    };
    shared.hooks.reach(CrashPoint::BeforeObsoleteRemoved).await;
    let named = present.head.segments();
    due.retain(|id| !named.contains(id));
    let removed = shared.delete_some(present.head.id(), &due).await;
    // Where they may not be removed, a sweep may not either.
    !removed.is_err_and(|failure| failure.is_transient())
}

fn due_flush(head: &Head, layout: &Layout, nonce: u64, _: &mut Round) -> Option<Job> {
    let is_due = head.is_flush_due(layout);
    is_due.then(|| flush(head, layout, nonce)).flatten()
}
