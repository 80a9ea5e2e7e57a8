//! One attempt of the committer: decide, write, and find out what became of it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use kv_core::backend::Backoff;
use kv_core::{Clock, Commit, Error, Result, Transaction};
use tokio::time::{Duration, Instant};

use crate::api::{Content, stored_bytes};
use crate::committer::{AFTER_FAILURE, Committer, Fate, Pending, Scope, content_bytes};
use crate::describe::describe_head;
use crate::engine::{
    BatchId, BucketId, Forwarded, Head, Layout, Proposal, Request, Write, propose,
};
use crate::failure::{Failure, FailureKind};
use crate::hooks::{Bug, CrashPoint};
use crate::known::{Known, Present};
use crate::maintainer::Wake;
use crate::send::Attempt;
use crate::shared::{LONGEST_BUDGET_WAIT, off_runtime};
use crate::waiting::Waiting;

/// How it goes on with a batch.
pub(crate) enum Next {
    /// Some transactions were answered and taken out of the batch, or all callers have given up.
    Answered,
    /// Decide about those that are left, on a state that is as new as they are.
    OnFreshBase,
    /// The same; another writer was faster.
    AfterConflict,
    /// Decide about one transaction at a time: segments were refused.
    OneByOne,
    /// Try the same again, after a wait.
    Again {
        /// How long.
        after: Duration,
    },
}

impl Committer {
    /// Decides about the batch on the known state, and writes what there is to write.
    pub(crate) async fn step(
        &mut self,
        batch: &mut Vec<Pending>,
        fresh: bool,
        backoff: &mut Backoff,
    ) -> Next {
        if self.answer_applied(batch, &self.shared.known()) {
            return Next::Answered;
        }
        // Before the decision: what waits afterwards loses against whoever does not wait.
        self.shared.budget.ready(LONGEST_BUDGET_WAIT).await;
        let (known, generation) = self.shared.known_at();
        if self.answer_applied(batch, &known) {
            return Next::Answered;
        }
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
        let offers = self.offers(&base.head);
        let first_offer = offers.first().map(|offer| offer.batch);
        let fresh = fresh || self.shared.hooks.has(Bug::VerdictOnStaleBase);
        self.begin_sweep_epoch(&base.head);
        let Proposal { outcomes, write } = match self.propose(&base, batch, offers).await {
            Ok(proposal) => proposal,
            Err(error) => return self.answer_all(batch, &error),
        };
        if let Some(first) = first_offer
            && !write.as_ref().is_some_and(|write| write.has_forwarded)
        {
            self.leave_offer(first);
        }
        let has_edit = write.as_ref().is_some_and(|write| write.has_edit);
        if !has_edit && fresh {
            let named = || base.head.segments();
            self.end_edit(|| Fate::Outdated { named: named() });
        }
        match write {
            // Verdicts, also on the lack of room, need a state as new as the calls; and so does an
            // edit that does not fit, which has to be ended before the next is planned.
            None if !fresh => self.refresh(batch, backoff).await,
            None if outcomes.is_empty() && !batch.is_empty() => self.wait_for_room(batch, backoff),
            None => self.answer(batch, outcomes),
            Some(_) if base.is_immutable => self.answer_all(batch, &self.immutable()),
            Some(write) => {
                let content = self.content(&base, &write);
                let attempt = Attempt {
                    outcomes,
                    write,
                    content,
                    base,
                    generation,
                    in_doubt: false,
                };
                self.carry_out(batch, attempt, backoff).await
            }
        }
    }

    /// Makes the segments that the head names, then writes it.
    async fn carry_out(
        &mut self,
        batch: &mut Vec<Pending>,
        attempt: Attempt,
        backoff: &mut Backoff,
    ) -> Next {
        let early = !self.shared.hooks.has(Bug::SegmentsAfterHead);
        if early && let Err(failure) = self.create_segments(&attempt.base, &attempt.write).await {
            return self.without_segments(batch, attempt.outcomes.len(), &failure, backoff);
        }
        self.shared.budget.spend(stored_bytes(&attempt.content));
        let late = (!early).then(|| (attempt.base.clone(), attempt.write.segments.clone()));
        let began = Instant::now();
        let next = self.write(batch, attempt, backoff).await;
        self.last_write_took = began.elapsed();
        if !matches!(next, Next::AfterConflict) {
            // The same content in a later write of the batch gets names of its own.
            self.forget_posted();
        }
        if let Some((base, segments)) = late {
            let (id, owner) = (base.head.id(), &base.metadata);
            let made = &mut HashSet::new();
            let _ = self
                .shared
                .create_segments(id, &segments, owner, made)
                .await;
        }
        next
    }

    /// Answers what is known to be applied, or may be. `true`: that was all of the batch.
    fn answer_applied(&self, batch: &mut Vec<Pending>, known: &Known) -> bool {
        let given_up = known
            .present()
            .is_some_and(|now| self.answer_given_up(batch, &now.head));
        given_up || self.answer_offered(batch, known)
    }

    /// Answers what a batch has applied that was given up as refused: the client that was handed to
    /// us may have hidden an earlier answer, or none, to it. `true`: that was all of the batch.
    fn answer_given_up(&self, batch: &mut Vec<Pending>, head: &Head) -> bool {
        let Some(last) = head.last_batch_of(self.writer) else {
            return false;
        };
        let applied = |pending: &Pending| {
            let mut given_up = pending.request.given_up.iter();
            given_up.find(|(counter, _)| *counter == last).cloned()
        };
        if !batch.iter().any(|pending| applied(pending).is_some()) {
            return false;
        }
        let waiting = std::mem::take(batch);
        for pending in waiting {
            match applied(&pending) {
                Some((_, outcome)) => pending.answer(outcome),
                None => batch.push(pending),
            }
        }
        batch.is_empty()
    }

    async fn propose(
        &mut self,
        base: &Arc<Present>,
        batch: &[Pending],
        forwarded: Vec<Forwarded>,
    ) -> Result<Proposal> {
        self.counter += 1;
        let id = BatchId {
            writer: self.writer,
            counter: self.counter,
        };
        let transactions = self.in_scope(batch);
        let theirs = forwarded.iter().flat_map(|one| &one.transactions);
        let values = transactions.iter().chain(theirs);
        let values: usize = values.map(|one| content_bytes(one)).sum();
        let bytes = base.head.bytes_to_encode() + values;
        let (base, now, store) = (
            base.clone(),
            self.shared.clock.now(),
            self.shared.api.describe(),
        );
        let nonce = self.posted.nonce;
        let layout = self.layout();
        let edit = self
            .edit
            .as_ref()
            .filter(|handed| handed.bucket == base.head.id());
        let edit = edit.map(|handed| handed.edit.clone());
        let leader = self.leader_to_name(&base.head);
        // A verdict on what somebody else may commit after it is worth nothing.
        let is_recorded = self.has_offered();
        let work = move || {
            let request = Request {
                store: &store,
                layout: &layout,
                transactions: &transactions,
                batch: id,
                now,
                edit: edit.as_ref(),
                nonce,
                forwarded: &forwarded,
                leader,
                is_recorded,
            };
            propose(&base.head, base.version, &request)
        };
        off_runtime(bytes, work).await.and_then(|proposal| proposal)
    }

    /// What is to be decided about now.
    fn in_scope(&self, batch: &[Pending]) -> Vec<Arc<Transaction>> {
        let most = match self.scope {
            Scope::All | Scope::AllInHead => batch.len(),
            Scope::One => 1,
        };
        let waiting = batch.iter().take(most);
        let transaction = |pending: &Pending| pending.request.transaction.clone();
        waiting.map(transaction).collect()
    }

    /// Where it is to stand.
    fn layout(&self) -> Layout {
        let layout = self.shared.current_layout();
        match self.scope {
            Scope::All => layout,
            Scope::AllInHead | Scope::One => layout.without_groups(),
        }
    }

    /// What was made before a sweep may be removed by it, and has to be made anew.
    fn begin_sweep_epoch(&mut self, head: &Head) {
        if head.sweep_epoch() != self.posted.sweep_epoch {
            self.forget_posted();
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
        let (id, owner) = (base.head.id(), &base.metadata);
        let hooks = &self.shared.hooks;
        hooks.reach(CrashPoint::BeforeSegmentsOfCommit).await;
        let made = &mut self.posted.segments;
        let created = self
            .shared
            .create_segments(id, &segments, owner, made)
            .await;
        created.inspect_err(|_| {
            // Some that are not noted may be there.
            let _ = self.maintainer.send(Wake::Sweep);
        })?;
        hooks.reach(CrashPoint::SegmentsOfCommitMade).await;
        Ok(())
    }

    /// From now on segments get other names. Those that were made and that no head names are left to
    /// a sweep.
    pub(crate) fn forget_posted(&mut self) {
        if !self.posted.segments.is_empty() {
            let _ = self.maintainer.send(Wake::Sweep);
        }
        self.posted.renew();
    }

    /// Nothing was written yet: tries again where that can help, and finds out whose segments
    /// are refused.
    fn without_segments(
        &mut self,
        batch: &mut Vec<Pending>,
        count: usize,
        failure: &Failure,
        backoff: &mut Backoff,
    ) -> Next {
        if self.scope == Scope::All && count > 1 {
            self.rest_groups(AFTER_FAILURE);
            if !matches!(failure.kind, FailureKind::Later(Some(_))) {
                return Next::Again {
                    after: Duration::ZERO,
                };
            }
        }
        if failure.is_transient() {
            return self.later_or_refused(batch, failure, backoff);
        }
        if count > 1 {
            return Next::OneByOne;
        }
        self.answer(batch, vec![Err(failure.error.clone()); count])
    }

    /// The head is full, but not the bucket.
    fn wait_for_room(&self, batch: &[Pending], backoff: &mut Backoff) -> Next {
        let _ = self.maintainer.send(Wake::Full);
        if let Some(error) = self.shared.maintenance_failure() {
            batch.iter().for_each(|pending| pending.note(&error));
        }
        Next::Again {
            after: backoff.next_wait(),
        }
    }

    fn content(&self, base: &Present, write: &Write) -> Content {
        let mut metadata = base.metadata.clone();
        metadata.reset_managed_fields();
        if self.shared.hooks.has(Bug::UnconditionalWrite) {
            metadata.forget_version();
        }
        let limit = self.shared.layout.bucket_bytes;
        describe_head(&mut metadata, self.shared.api.bucket(), &write.head, limit);
        self.shared.api.head_content(&metadata, &write.bytes)
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
        match self.propose(&empty, batch, Vec::new()).await {
            Ok(Proposal {
                outcomes,
                write: None,
            }) if fresh => return self.answer(batch, outcomes),
            Ok(Proposal { write: None, .. }) => return self.refresh(batch, backoff).await,
            Ok(_) => {}
            Err(error) => return self.answer_all(batch, &error),
        }
        match self.shared.create(id).await {
            Ok(_) => Next::OnFreshBase,
            Err(failure) if failure.kind == FailureKind::AlreadyExists => {
                self.refresh(batch, backoff).await
            }
            Err(failure) => self.later_or_refused(batch, &failure, backoff),
        }
    }

    /// Reads the bucket, so that verdicts have a base as new as the calls.
    async fn refresh(&self, batch: &mut Vec<Pending>, backoff: &mut Backoff) -> Next {
        match self.shared.refresh().await {
            Ok(_) => Next::OnFreshBase,
            Err(failure) => self.later_or_refused(batch, &failure, backoff),
        }
    }

    /// Answers the first transactions of the batch, in order, and takes them out of it. Those that
    /// were refused come first: who tries again is then in the queue before who has succeeded and
    /// goes on, so that many who change one key take turns.
    pub(crate) fn answer(&self, batch: &mut Vec<Pending>, outcomes: Vec<Result<Commit>>) -> Next {
        self.expect(outcomes.len());
        let answered = batch.drain(..outcomes.len()).zip(outcomes);
        let (refused, done): (Vec<_>, Vec<_>) = answered.partition(|(_, outcome)| outcome.is_err());
        for (pending, outcome) in refused.into_iter().chain(done) {
            let outcome = match outcome {
                // Nobody knows what the one does that it was offered to.
                Err(error) if pending.request.offered_as.is_some() => Err(self.in_doubt(error)),
                outcome => outcome,
            };
            pending.answer(outcome);
        }
        Next::Answered
    }

    pub(crate) fn answer_all(&self, batch: &mut Vec<Pending>, error: &Error) -> Next {
        let outcomes = vec![Err(error.clone()); batch.len()];
        self.answer(batch, outcomes)
    }

    fn in_doubt(&self, error: Error) -> Error {
        match error {
            Error::Indeterminate { .. } => error,
            error => Error::Indeterminate {
                store: self.shared.api.describe(),
                reason: "it was left to another process, which may still commit it".to_owned(),
                source: Some(Arc::new(error)),
            },
        }
    }

    /// Nothing was applied: try again where that can help.
    fn later_or_refused(
        &self,
        batch: &mut Vec<Pending>,
        failure: &Failure,
        backoff: &mut Backoff,
    ) -> Next {
        if !failure.is_transient() {
            return self.answer_all(batch, &failure.error);
        }
        batch
            .iter()
            .for_each(|pending| pending.note(&failure.error));
        Next::Again {
            after: failure.wait(backoff),
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

/// Claims the transactions for a write. `false`: a caller has given up, so that it must not be sent.
pub(crate) fn claim(batch: &[Pending]) -> bool {
    let claimed = batch.iter().all(Waiting::begin);
    if !claimed {
        requeue(batch);
    }
    claimed
}

/// Notes what `attempt` did to its transactions, if it was applied, against all that is known.
pub(crate) fn give_up(batch: &mut [Pending], attempt: Attempt) {
    let counter = attempt.write.batch.counter;
    for (pending, outcome) in batch.iter_mut().zip(attempt.outcomes) {
        pending.request.given_up.push((counter, outcome));
    }
}

/// Those that were offered may still be committed.
pub(crate) fn requeue(batch: &[Pending]) {
    let ours = |pending: &&Pending| pending.request.offered_as.is_none();
    batch.iter().filter(ours).for_each(Waiting::requeue);
}

/// Waits before the next request. `false`: no caller waits any more.
pub(crate) async fn keep_waiting(
    batch: &[Pending],
    failure: &Failure,
    backoff: &mut Backoff,
) -> bool {
    batch
        .iter()
        .for_each(|pending| pending.note(&failure.error));
    tokio::time::sleep(failure.wait(backoff)).await;
    batch.iter().any(Waiting::is_wanted)
}
