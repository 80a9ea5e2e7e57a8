//! Flushes and merges until they can be put in place.

use std::collections::HashSet;
use std::sync::Arc;

use kv_core::backend::Backoff;
use tokio::time::sleep;

use crate::engine::{BucketId, Head, Job, Layout, NewSegment, Round};
use crate::failure::Failure;
use crate::hooks::{Bug, CrashPoint};
use crate::known::Present;
use crate::shared::{Shared, off_runtime};

/// How often a request is repeated.
const ATTEMPTS: u32 = 4;

/// The places in a flush or a merge where a process can die.
#[derive(Clone, Copy)]
pub(crate) struct Points {
    planned: CrashPoint,
    made: CrashPoint,
    pub(crate) in_place: CrashPoint,
}

impl Points {
    pub(crate) const FLUSH: Self = Self {
        planned: CrashPoint::FlushPlanned,
        made: CrashPoint::SegmentsOfFlushMade,
        in_place: CrashPoint::Flushed,
    };
    pub(crate) const MERGE: Self = Self {
        planned: CrashPoint::MergePlanned,
        made: CrashPoint::SegmentsOfMergeMade,
        in_place: CrashPoint::Merged,
    };
}

/// Has a flush or a merge planned.
pub(crate) trait Plan:
    Fn(&Head, &Layout, u64, &mut Round) -> Option<Job> + Send + 'static
{
}

impl<F: Fn(&Head, &Layout, u64, &mut Round) -> Option<Job> + Send + 'static> Plan for F {}

/// A flush or a merge that is to be prepared.
pub(crate) struct Order {
    pub(crate) shared: Arc<Shared>,
    pub(crate) points: Points,
    pub(crate) nonce: u64,
    /// Of the waits between attempts.
    pub(crate) seed: u64,
    pub(crate) round: Round,
}

/// What has come of it.
pub(crate) struct Prepared {
    pub(crate) points: Points,
    pub(crate) round: Round,
    pub(crate) end: End,
}

pub(crate) enum End {
    /// There is nothing to do.
    Nothing,
    /// Its segments are there.
    Ready {
        bucket: BucketId,
        job: Job,
    },
    Failed(Failure),
}

impl Order {
    /// Plans a job on the newest state, and makes its segments.
    pub(crate) async fn prepare(mut self, plan: impl Plan) -> Prepared {
        let end = match self.plan(plan).await {
            Some((base, job)) => self.make_segments(&base, job).await,
            None => Ok(End::Nothing),
        };
        Prepared {
            points: self.points,
            round: self.round,
            end: end.unwrap_or_else(End::Failed),
        }
    }

    async fn plan(&mut self, plan: impl Plan) -> Option<(Arc<Present>, Job)> {
        let base = self.shared.known().present().cloned()?;
        let (nonce, mut round) = (self.nonce, self.round);
        let layout = self.shared.current_layout();
        let planned = base.clone();
        let work = move || (plan(&planned.head, &layout, nonce, &mut round), round);
        // It goes through all entries.
        let bytes = base.head.snapshot().bytes() as usize;
        let (job, round) = off_runtime(bytes, work).await.ok()?;
        self.round = round;
        Some((base, job?))
    }

    async fn make_segments(&self, base: &Present, job: Job) -> Result<End, Failure> {
        let (shared, bucket) = (&self.shared, base.head.id());
        let _creation = shared.creation.read().await;
        // It may have been torn down while we waited.
        if shared
            .known()
            .present()
            .is_none_or(|known| known.head.id() != bucket)
        {
            return Ok(End::Nothing);
        }
        shared.hooks.reach(self.points.planned).await;
        self.create(base, &job.segments).await?;
        shared.hooks.reach(self.points.made).await;
        if shared.hooks.has(Bug::ObsoleteRemovedEarly) {
            shared.delete_some(bucket, &job.obsolete).await?;
        }
        shared.note_maintenance(None);
        Ok(End::Ready { bucket, job })
    }

    /// Makes segments, with a few attempts.
    async fn create(&self, base: &Present, segments: &[NewSegment]) -> Result<(), Failure> {
        let mut backoff = Backoff::new(self.seed);
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
}
