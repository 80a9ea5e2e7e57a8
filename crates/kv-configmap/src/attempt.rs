//! One attempt of the committer: decide, write, and find out what became of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kv_core::backend::Backoff;
use kv_core::{Clock, Commit, Error, Result, Revision};
use tokio::time::Duration;
use tracing::debug;

use crate::committer::{Committer, Fate, Pending, value_bytes};
use crate::describe::describe_head;
use crate::engine::{BatchId, BucketId, Head, Proposal, Request, Resolution, Write, propose};
use crate::failure::{Failure, FailureKind};
use crate::hooks::{Bug, CrashPoint};
use crate::known::{Known, Present};
use crate::maintainer::Wake;
use crate::object::{Metadata, head_body};
use crate::shared::{Found, LONGEST_BUDGET_WAIT, off_runtime};
use crate::waiting::Waiting;

/// How it goes on with a batch.
pub(crate) enum Next {
    /// Some transactions were answered and taken out of the batch, or all callers have given up.
    Answered,
    /// Decide about those that are left, on a state that is as new as they are.
    OnFreshBase,
    /// The same; another writer was faster.
    AfterConflict,
    /// Decide about one transaction at a time.
    OneByOne,
    /// Try the same again, after a wait.
    Again {
        /// How long.
        after: Duration,
    },
}

/// A write, and what to answer once it is in place.
struct Attempt {
    outcomes: Vec<Result<Commit>>,
    write: Write,
    body: Bytes,
    /// The state it was decided on, and its generation.
    base: Arc<Present>,
    generation: u64,
    /// Whether some request of it may have been applied, or may still be.
    in_doubt: bool,
}

impl Committer {
    /// Decides about the batch on the known state, and writes what there is to write.
    pub(crate) async fn step(
        &mut self,
        batch: &mut Vec<Pending>,
        fresh: bool,
        backoff: &mut Backoff,
    ) -> Next {
        // Before the decision: what waits afterwards loses against whoever does not wait.
        self.shared.budget.ready(LONGEST_BUDGET_WAIT).await;
        let (known, generation) = self.shared.known_at();
        let base = match known {
            Known::Present(base) => base,
            Known::Absent => {
                self.end_edit(|| Fate::Outdated {
                    named: BTreeSet::new(),
                });
                return self.step_without_bucket(batch, fresh, backoff).await;
            }
            Known::Unread => return self.refresh(batch, backoff).await,
        };
        if self.answer_given_up(batch, &base.head) {
            return Next::Answered;
        }
        let fresh = fresh || self.shared.hooks.has(Bug::VerdictOnStaleBase);
        self.begin_sweep_epoch(&base.head);
        let Proposal { outcomes, write } = match self.propose(&base, batch).await {
            Ok(proposal) => proposal,
            Err(error) => return answer_all(batch, &error),
        };
        let has_edit = write.as_ref().is_some_and(|write| write.has_edit);
        if !has_edit && fresh {
            let named = || base.head.segments();
            self.end_edit(|| Fate::Outdated { named: named() });
        }
        match write {
            None if outcomes.is_empty() && !batch.is_empty() => self.wait_for_flush(batch, backoff),
            // Verdicts, also on the lack of room, need a state as new as the calls.
            None if fresh => answer(batch, outcomes),
            None => self.refresh(batch, backoff).await,
            Some(_) if base.is_immutable => answer_all(batch, &self.immutable()),
            Some(write) => {
                let hooks = self.shared.hooks.clone();
                let early = !hooks.has(Bug::SegmentsAfterHead);
                if early && let Err(failure) = self.create_segments(&base, &write).await {
                    return self.without_segments(batch, outcomes.len(), &failure, backoff);
                }
                let body = self.body(&base, &write);
                self.shared.budget.spend(body.len() / 4 * 3);
                let in_doubt = false;
                let attempt = Attempt {
                    outcomes,
                    write,
                    body,
                    base,
                    generation,
                    in_doubt,
                };
                let late = (!early).then(|| (attempt.base.clone(), attempt.write.segments.clone()));
                let next = self.write(batch, attempt, backoff).await;
                if !matches!(next, Next::AfterConflict) {
                    // The same content in a later write of the batch gets names of its own.
                    self.posted.renew();
                }
                if let Some((base, segments)) = late {
                    let (id, owner) = (base.head.id(), &base.metadata);
                    let _ = self.shared.create_segments(id, &segments, owner).await;
                }
                next
            }
        }
    }

    /// Answers what a batch has applied that was given up as refused: the client that was handed to
    /// us may have hidden an earlier answer, or none, to it. `true`: that was all of the batch.
    fn answer_given_up(&self, batch: &mut Vec<Pending>, head: &Head) -> bool {
        let Some(last) = head
            .last_batch_of(self.writer)
            .filter(|_| !batch.is_empty())
        else {
            return false;
        };
        let applied = |pending: &Pending| {
            let mut given_up = pending.request.given_up.iter();
            given_up.find(|(counter, _)| *counter == last).cloned()
        };
        let waiting = std::mem::take(batch);
        for pending in waiting {
            match applied(&pending) {
                Some((_, outcome)) => pending.answer(outcome),
                None => batch.push(pending),
            }
        }
        batch.is_empty()
    }

    async fn propose(&mut self, base: &Arc<Present>, batch: &[Pending]) -> Result<Proposal> {
        self.counter += 1;
        let id = BatchId {
            writer: self.writer,
            counter: self.counter,
        };
        let most = if self.one_by_one { 1 } else { batch.len() };
        let transactions: Vec<_> = batch[..most.min(batch.len())]
            .iter()
            .map(|pending| pending.request.transaction.clone())
            .collect();
        let values: usize = transactions
            .iter()
            .map(|transaction| value_bytes(transaction))
            .sum();
        let bytes = base.head.bytes_to_encode() + values;
        let (base, now, store) = (
            base.clone(),
            self.shared.clock.now(),
            self.shared.api.describe(),
        );
        let (layout, nonce) = (self.shared.layout, self.posted.nonce);
        let edit = self
            .edit
            .as_ref()
            .filter(|handed| handed.bucket == base.head.id());
        let edit = edit.map(|handed| handed.edit.clone());
        let work = move || {
            let request = Request {
                store: &store,
                layout: &layout,
                transactions: &transactions,
                batch: id,
                now,
                edit: edit.as_ref(),
                nonce,
            };
            propose(&base.head, base.version, &request)
        };
        off_runtime(bytes, work).await.and_then(|proposal| proposal)
    }

    /// What was made before a sweep may be removed by it, and has to be made anew.
    fn begin_sweep_epoch(&mut self, head: &Head) {
        if head.sweep_epoch() != self.posted.sweep_epoch {
            self.posted.renew();
            self.posted.sweep_epoch = head.sweep_epoch();
        }
    }

    /// Makes the segments that the write names and that are not there yet.
    async fn create_segments(&mut self, base: &Present, write: &Write) -> Result<(), Failure> {
        let posted = &self.posted.segments;
        let segments = write
            .segments
            .iter()
            .filter(|segment| !posted.contains(&segment.id));
        let segments: Vec<_> = segments.cloned().collect();
        if segments.is_empty() {
            return Ok(());
        }
        // Should the write not come about, a sweep removes them.
        let _ = self.maintainer.send(Wake::Sweep);
        let (id, owner) = (base.head.id(), &base.metadata);
        let hooks = &self.shared.hooks;
        hooks.reach(CrashPoint::BeforeSegmentsOfCommit).await;
        self.shared.create_segments(id, &segments, owner).await?;
        hooks.reach(CrashPoint::SegmentsOfCommitMade).await;
        self.posted
            .segments
            .extend(segments.iter().map(|segment| segment.id));
        Ok(())
    }

    /// Nothing was written yet: tries again where that can help, and finds out whose segments
    /// are refused.
    fn without_segments(
        &self,
        batch: &mut Vec<Pending>,
        count: usize,
        failure: &Failure,
        backoff: &mut Backoff,
    ) -> Next {
        if failure.is_transient() {
            return later_or_refused(batch, failure, backoff);
        }
        if count > 1 {
            return Next::OneByOne;
        }
        answer(batch, vec![Err(failure.error.clone()); count])
    }

    /// The head is full, but not the bucket.
    fn wait_for_flush(&self, batch: &[Pending], backoff: &mut Backoff) -> Next {
        let _ = self.maintainer.send(Wake::Flush);
        if let Some(error) = self.shared.maintenance_failure() {
            batch.iter().for_each(|pending| pending.note(&error));
        }
        Next::Again {
            after: backoff.next_wait(),
        }
    }

    fn body(&self, base: &Present, write: &Write) -> Bytes {
        let mut metadata = base.metadata.clone();
        metadata.reset_managed_fields();
        if self.shared.hooks.has(Bug::UnconditionalWrite) {
            metadata.forget_version();
        }
        let limit = self.shared.layout.bucket_bytes;
        describe_head(&mut metadata, self.shared.api.bucket(), &write.head, limit);
        head_body(self.shared.api.resource(), &metadata, &write.bytes)
    }

    /// On a bucket that is not there: answers what changes nothing, and makes the bucket for the
    /// rest.
    async fn step_without_bucket(
        &mut self,
        batch: &mut Vec<Pending>,
        fresh: bool,
        backoff: &mut Backoff,
    ) -> Next {
        if batch.is_empty() {
            return Next::Answered;
        }
        let id = BucketId::random(self.shared.hooks.random());
        let empty = Arc::new(Present::empty(id));
        match self.propose(&empty, batch).await {
            Ok(Proposal {
                outcomes,
                write: None,
            }) if fresh => return answer(batch, outcomes),
            Ok(Proposal { write: None, .. }) => return self.refresh(batch, backoff).await,
            Ok(_) => {}
            Err(error) => return answer_all(batch, &error),
        }
        match self.shared.create(id).await {
            Ok(_) => Next::OnFreshBase,
            Err(failure) if failure.kind == FailureKind::AlreadyExists => {
                self.refresh(batch, backoff).await
            }
            Err(failure) => later_or_refused(batch, &failure, backoff),
        }
    }

    /// Reads the bucket, so that verdicts have a base as new as the calls.
    async fn refresh(&self, batch: &mut Vec<Pending>, backoff: &mut Backoff) -> Next {
        match self.shared.refresh().await {
            Ok(_) => Next::OnFreshBase,
            Err(failure) => later_or_refused(batch, &failure, backoff),
        }
    }

    /// Writes, and says what became of an edit that went along.
    async fn write(
        &mut self,
        batch: &mut Vec<Pending>,
        attempt: Attempt,
        backoff: &mut Backoff,
    ) -> Next {
        let has_edit = attempt.write.has_edit;
        let (next, end) = self.send(batch, attempt, backoff).await;
        match end {
            End::InPlace(present) if has_edit => self.end_edit(|| Fate::InPlace(present)),
            End::Unknown if has_edit => self.end_edit(|| Fate::Unknown),
            _ => {}
        }
        next
    }

    /// Sends the write, the identical one again where its outcome is unknown: it is conditional
    /// on the base's version, so that at most one of them wins, and all carry the same batch id.
    async fn send(
        &self,
        batch: &mut Vec<Pending>,
        mut attempt: Attempt,
        backoff: &mut Backoff,
    ) -> (Next, End) {
        let count = attempt.outcomes.len();
        if !claim(&batch[..count]) {
            return (Next::Answered, End::NotApplied);
        }
        let hooks = &self.shared.hooks;
        hooks.reach(CrashPoint::BeforeWrite).await;
        if hooks.has(Bug::AnswerBeforeWrite) {
            let outcomes = std::mem::take(&mut attempt.outcomes);
            answer(batch, outcomes);
        }
        loop {
            let failure = match self.shared.api.replace(attempt.body.clone()).await {
                Ok(metadata) => {
                    hooks.reach(CrashPoint::Written).await;
                    return self.written(batch, attempt, metadata);
                }
                Err(failure) => failure,
            };
            debug!(bucket = self.shared.api.describe(), kind = ?failure.kind, "a write failed");
            match failure.kind {
                FailureKind::Conflict if hooks.has(Bug::ConflictSwallowed) => {
                    return (answer(batch, attempt.outcomes), End::Unknown);
                }
                FailureKind::Unknown if hooks.has(Bug::NewBatchAfterUnknown) => {
                    requeue(&batch[..count]);
                    let _ = self.shared.refresh().await;
                    return (Next::AfterConflict, End::Unknown);
                }
                FailureKind::Conflict | FailureKind::Missing => {
                    match self.resolve(batch, &attempt, backoff).await {
                        Resolved::Ended(resolution) => {
                            return self.resolved(batch, attempt, resolution);
                        }
                        Resolved::Refused(error) => {
                            let end = attempt.unresolved();
                            return (answer(batch, vec![Err(error); count]), end);
                        }
                        Resolved::BaseIsInPlace => {}
                        Resolved::NobodyWaits => return (Next::Answered, attempt.unresolved()),
                    }
                }
                FailureKind::Refused | FailureKind::AlreadyExists => {
                    return self.refused(batch, attempt, failure.error, backoff).await;
                }
                // Nobody need wait for what was not sent. But who goes on waiting does so with
                // the same batch id, for the client may have hidden an earlier answer from us.
                FailureKind::Later(_) if !attempt.in_doubt => requeue(&batch[..count]),
                FailureKind::Later(_) => {}
                FailureKind::Unknown => attempt.in_doubt = true,
            }
            if !keep_waiting(&batch[..count], &failure, backoff).await {
                return (Next::Answered, attempt.unresolved());
            }
            if !attempt.in_doubt && !claim(&batch[..count]) {
                give_up(batch, attempt);
                return (Next::Answered, End::NotApplied);
            }
        }
    }

    fn written(
        &self,
        batch: &mut Vec<Pending>,
        attempt: Attempt,
        metadata: Metadata,
    ) -> (Next, End) {
        let Attempt {
            outcomes,
            write,
            base,
            generation,
            ..
        } = attempt;
        // A version that is no number was refused when the bucket was opened.
        let Ok(version) = metadata.resource_version() else {
            return (answer(batch, outcomes), End::Unknown);
        };
        let present = Present {
            metadata,
            version,
            head: write.head,
            is_immutable: false,
        };
        let found = Found::after(base.head.revision(), write.steps, present);
        let known = found.known.clone();
        self.shared.publish_write(found, generation);
        let end = match known {
            Known::Present(present) => {
                self.wake_maintainer(&base.head, &present.head);
                End::InPlace(present)
            }
            Known::Absent | Known::Unread => End::Unknown,
        };
        (answer(batch, outcomes), end)
    }

    /// Whoever makes a flush due does it; others only where it does not come.
    fn wake_maintainer(&self, base: &Head, written: &Head) {
        let layout = &self.shared.layout;
        let is_due = written.is_flush_due(layout);
        if is_due && (!base.is_flush_due(layout) || written.is_flush_due(&layout.doubled())) {
            let _ = self.maintainer.send(Wake::Flush);
        }
        let obsolete = written.segments_dropped_since(base);
        if !obsolete.is_empty() {
            let _ = self.maintainer.send(Wake::Obsolete(obsolete));
        }
    }

    /// The base of the write was replaced, perhaps by this very write: reads the bucket and looks
    /// for the batch id before anything else, also where no request seemed to be in doubt, for a
    /// client that was handed to us may have tried again by itself.
    async fn resolve(
        &self,
        batch: &[Pending],
        attempt: &Attempt,
        backoff: &mut Backoff,
    ) -> Resolved {
        let count = attempt.outcomes.len();
        loop {
            let failure = match self.shared.refresh().await {
                Ok(_) if self.shared.hooks.has(Bug::BatchIdIgnored) => {
                    return Resolved::Ended(Resolution::NotApplied);
                }
                Ok(known) => return attempt.resolution(&known),
                Err(failure) => failure,
            };
            if !failure.is_transient() {
                return Resolved::Refused(self.doubt(attempt, failure.error));
            }
            if !keep_waiting(&batch[..count], &failure, backoff).await {
                return Resolved::NobodyWaits;
            }
        }
    }

    /// The write was refused. A client that tries again by itself may have hidden an answer before
    /// that, so that the bucket is asked if that is possible.
    async fn refused(
        &self,
        batch: &mut Vec<Pending>,
        attempt: Attempt,
        error: Error,
        backoff: &mut Backoff,
    ) -> (Next, End) {
        let resolved = self.resolve(batch, &attempt, backoff).await;
        if let Resolved::Ended(Resolution::Applied) = resolved {
            return self.resolved(batch, attempt, Resolution::Applied);
        }
        let error = self.doubt(&attempt, error);
        let end = attempt.unresolved();
        let outcomes = vec![Err(error); attempt.outcomes.len()];
        (answer(batch, outcomes), end)
    }

    fn resolved(
        &self,
        batch: &mut Vec<Pending>,
        attempt: Attempt,
        resolution: Resolution,
    ) -> (Next, End) {
        let count = attempt.outcomes.len();
        match resolution {
            Resolution::Applied => {
                let end = End::in_place(&self.shared.known());
                (answer(batch, attempt.outcomes), end)
            }
            Resolution::NotApplied => {
                requeue(&batch[..count]);
                (Next::AfterConflict, End::NotApplied)
            }
            Resolution::Unknowable => {
                let reason = "the bucket has moved on too far since the write".to_owned();
                let store = self.shared.api.describe();
                let error = Error::Indeterminate {
                    store,
                    reason,
                    source: None,
                };
                (answer(batch, vec![Err(error); count]), End::Unknown)
            }
        }
    }

    /// What to answer for an attempt that ends with `error`.
    fn doubt(&self, attempt: &Attempt, error: Error) -> Error {
        if !attempt.in_doubt {
            return error;
        }
        let reason = "an earlier request of the write was not answered".to_owned();
        let store = self.shared.api.describe();
        Error::Indeterminate {
            store,
            reason,
            source: Some(Arc::new(error)),
        }
    }

    fn immutable(&self) -> Error {
        let reason = "it was made immutable, so that nothing can be written to it".to_owned();
        Error::Corrupt {
            object: self.shared.api.describe(),
            reason,
        }
    }
}

/// How an attempt ended, for the edit that went along.
enum End {
    InPlace(Arc<Present>),
    NotApplied,
    Unknown,
}

impl End {
    fn in_place(known: &Known) -> Self {
        known
            .present()
            .cloned()
            .map_or(Self::Unknown, Self::InPlace)
    }
}

/// What became of an attempt that met a conflict.
enum Resolved {
    /// It can be told, or never will be.
    Ended(Resolution),
    /// The conflict was not about our base, which is still there: an earlier request of the
    /// attempt could be applied yet.
    BaseIsInPlace,
    /// The bucket cannot be read.
    Refused(Error),
    /// All callers have given up.
    NobodyWaits,
}

impl Attempt {
    fn resolution(&self, known: &Known) -> Resolved {
        let (batch, base) = (self.write.batch, self.base_revision());
        let resolution = match known.present() {
            Some(now) if now.version == self.base.version && self.in_doubt => {
                return Resolved::BaseIsInPlace;
            }
            // Restored from a backup: what was applied since is gone from the table, too.
            Some(now) if now.head.snapshot().revision() < base => Resolution::Unknowable,
            Some(now) if now.head.id() == self.base.head.id() => now.head.resolve(batch, base),
            // Torn down, and perhaps made anew.
            _ => Resolution::Unknowable,
        };
        Resolved::Ended(match resolution {
            // Every request of it was answered, with the conflict that brought us here.
            Resolution::Unknowable if !self.in_doubt => Resolution::NotApplied,
            resolution => resolution,
        })
    }

    fn base_revision(&self) -> Revision {
        self.base.head.revision()
    }

    /// The end of an attempt that is not followed any further.
    fn unresolved(&self) -> End {
        if self.in_doubt {
            End::Unknown
        } else {
            End::NotApplied
        }
    }
}

/// Answers the first transactions of the batch, in order, and takes them out of it. Those that
/// were refused come first: who tries again is then in the queue before who has succeeded and
/// goes on, so that many who change one key take turns.
fn answer(batch: &mut Vec<Pending>, outcomes: Vec<Result<Commit>>) -> Next {
    let answered = batch.drain(..outcomes.len()).zip(outcomes);
    let (refused, done): (Vec<_>, Vec<_>) = answered.partition(|(_, outcome)| outcome.is_err());
    for (pending, outcome) in refused.into_iter().chain(done) {
        pending.answer(outcome);
    }
    Next::Answered
}

fn answer_all(batch: &mut Vec<Pending>, error: &Error) -> Next {
    let outcomes = vec![Err(error.clone()); batch.len()];
    answer(batch, outcomes)
}

/// Claims the transactions for a write. `false`: a caller has given up, so that it must not be sent.
fn claim(batch: &[Pending]) -> bool {
    let claimed = batch.iter().all(Waiting::begin);
    if !claimed {
        requeue(batch);
    }
    claimed
}

/// Notes what `attempt` did to its transactions, if it was applied, against all that is known.
fn give_up(batch: &mut [Pending], attempt: Attempt) {
    let counter = attempt.write.batch.counter;
    for (pending, outcome) in batch.iter_mut().zip(attempt.outcomes) {
        pending.request.given_up.push((counter, outcome));
    }
}

fn requeue(batch: &[Pending]) {
    batch.iter().for_each(Waiting::requeue);
}

/// Nothing was applied: try again where that can help.
fn later_or_refused(batch: &mut Vec<Pending>, failure: &Failure, backoff: &mut Backoff) -> Next {
    if !failure.is_transient() {
        return answer_all(batch, &failure.error);
    }
    batch
        .iter()
        .for_each(|pending| pending.note(&failure.error));
    Next::Again {
        after: failure.wait(backoff),
    }
}

/// Waits before the next request. `false`: no caller waits any more.
async fn keep_waiting(batch: &[Pending], failure: &Failure, backoff: &mut Backoff) -> bool {
    batch
        .iter()
        .for_each(|pending| pending.note(&failure.error));
    tokio::time::sleep(failure.wait(backoff)).await;
    batch.iter().any(Waiting::is_wanted)
}
