//! One attempt of the committer: decide, write, and find out what became of it.

use std::sync::Arc;

use bytes::Bytes;
use kv_core::backend::Backoff;
use kv_core::{Clock, Commit, Error, Result, Revision};
use tokio::time::Duration;
use tracing::debug;

use crate::committer::{Committer, Pending, value_bytes};
use crate::describe::describe;
use crate::engine::{BatchId, BucketId, Head, Proposal, Resolution, Write, propose};
use crate::failure::{Failure, FailureKind};
use crate::known::{Known, Present};
use crate::object::{Metadata, body};
use crate::shared::off_runtime;
use crate::waiting::Waiting;

/// How it goes on with a batch.
pub(crate) enum Next {
    /// Some transactions were answered and taken out of the batch, or all callers have given up.
    Answered,
    /// Decide about those that are left, on a state that is as new as they are.
    OnFreshBase,
    /// The same; another writer was faster.
    AfterConflict,
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
        let (known, generation) = self.shared.known_at();
        let base = match known {
            Known::Present(base) => base,
            Known::Absent => return self.step_without_bucket(batch, fresh, backoff).await,
            Known::Unread => return self.refresh(batch, backoff).await,
        };
        self.answer_given_up(batch, &base.head);
        if batch.is_empty() {
            return Next::Answered;
        }
        let Proposal { outcomes, write } = match self.propose(&base, batch).await {
            Ok(proposal) => proposal,
            Err(error) => return answer_all(batch, &error),
        };
        match write {
            // Verdicts, also on the lack of room, need a state as new as the calls.
            None if fresh => answer(batch, outcomes),
            None => self.refresh(batch, backoff).await,
            Some(_) if base.is_immutable => answer_all(batch, &self.immutable()),
            Some(write) => {
                let body = self.body(&base, &write);
                let in_doubt = false;
                let attempt = Attempt {
                    outcomes,
                    write,
                    body,
                    base,
                    generation,
                    in_doubt,
                };
                self.write(batch, attempt, backoff).await
            }
        }
    }

    /// Answers what a batch has applied that was given up as refused: the client that was handed to
    /// us may have hidden an earlier answer, or none, to it.
    fn answer_given_up(&self, batch: &mut Vec<Pending>, head: &Head) {
        let Some(last) = head.last_batch_of(self.writer) else {
            return;
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
    }

    async fn propose(&mut self, base: &Arc<Present>, batch: &[Pending]) -> Result<Proposal> {
        self.counter += 1;
        let id = BatchId {
            writer: self.writer,
            counter: self.counter,
        };
        let transactions: Vec<_> = batch
            .iter()
            .map(|pending| pending.request.transaction.clone())
            .collect();
        let values: usize = transactions
            .iter()
            .map(|transaction| value_bytes(transaction))
            .sum();
        // A small head can stand for much data, all of which a fold goes through.
        let bytes = base.head.snapshot().bytes() as usize + values;
        let (base, now, store) = (
            base.clone(),
            self.shared.clock.now(),
            self.shared.api.describe(),
        );
        let work = move || propose(&store, &base.head, base.version, &transactions, id, now);
        off_runtime(bytes, work).await.and_then(|proposal| proposal)
    }

    fn body(&self, base: &Present, write: &Write) -> Bytes {
        let mut metadata = base.metadata.clone();
        metadata.reset_managed_fields();
        describe(&mut metadata, self.shared.api.bucket(), &write.head);
        body(self.shared.api.resource(), &metadata, &write.bytes)
    }

    /// On a bucket that is not there: answers what changes nothing, and makes the bucket for the
    /// rest.
    async fn step_without_bucket(
        &mut self,
        batch: &mut Vec<Pending>,
        fresh: bool,
        backoff: &mut Backoff,
    ) -> Next {
        let id = BucketId::random();
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

    /// Sends the write, the identical one again where its outcome is unknown: it is conditional
    /// on the base's version, so that at most one of them wins, and all carry the same batch id.
    async fn write(
        &self,
        batch: &mut Vec<Pending>,
        mut attempt: Attempt,
        backoff: &mut Backoff,
    ) -> Next {
        let count = attempt.outcomes.len();
        if !claim(&batch[..count]) {
            return Next::Answered;
        }
        loop {
            let failure = match self.shared.api.replace(attempt.body.clone()).await {
                Ok(metadata) => return self.written(batch, attempt, metadata),
                Err(failure) => failure,
            };
            debug!(bucket = self.shared.api.describe(), kind = ?failure.kind, "a write failed");
            match failure.kind {
                FailureKind::Conflict | FailureKind::Missing => {
                    match self.resolve(batch, &attempt, backoff).await {
                        Resolved::Ended(resolution) => {
                            return self.resolved(batch, attempt, resolution);
                        }
                        Resolved::Refused(error) => return answer(batch, vec![Err(error); count]),
                        Resolved::BaseIsInPlace => {}
                        Resolved::NobodyWaits => return Next::Answered,
                    }
                }
                FailureKind::Refused | FailureKind::AlreadyExists => {
                    return self.refused(batch, attempt, failure.error).await;
                }
                // Nobody need wait for what was not sent. But who goes on waiting does so with
                // the same batch id, for the client may have hidden an earlier answer from us.
                FailureKind::Later(_) if !attempt.in_doubt => requeue(&batch[..count]),
                FailureKind::Later(_) => {}
                FailureKind::Unknown => attempt.in_doubt = true,
            }
            if !keep_waiting(&batch[..count], &failure, backoff).await {
                return Next::Answered;
            }
            if !attempt.in_doubt && !claim(&batch[..count]) {
                give_up(batch, attempt);
                return Next::Answered;
            }
        }
    }

    fn written(&self, batch: &mut Vec<Pending>, attempt: Attempt, metadata: Metadata) -> Next {
        let Attempt {
            outcomes,
            write,
            generation,
            ..
        } = attempt;
        // A version that is no number was refused when the bucket was opened.
        if let Ok(version) = metadata.resource_version() {
            let present = Present {
                metadata,
                version,
                head: write.head,
                is_immutable: false,
            };
            self.shared
                .publish_write(Known::Present(Arc::new(present)), generation);
        }
        answer(batch, outcomes)
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
    async fn refused(&self, batch: &mut Vec<Pending>, attempt: Attempt, error: Error) -> Next {
        let known = self.shared.refresh().await;
        let resolved = known.map(|known| attempt.resolution(&known));
        if let Ok(Resolved::Ended(Resolution::Applied)) = resolved {
            return answer(batch, attempt.outcomes);
        }
        let error = self.doubt(&attempt, error);
        answer(batch, vec![Err(error); attempt.outcomes.len()])
    }

    fn resolved(&self, batch: &mut Vec<Pending>, attempt: Attempt, resolution: Resolution) -> Next {
        let count = attempt.outcomes.len();
        match resolution {
            Resolution::Applied => answer(batch, attempt.outcomes),
            Resolution::NotApplied => {
                requeue(&batch[..count]);
                Next::AfterConflict
            }
            Resolution::Unknowable => {
                let reason = "the bucket has moved on too far since the write".to_owned();
                let store = self.shared.api.describe();
                let error = Error::Indeterminate {
                    store,
                    reason,
                    source: None,
                };
                answer(batch, vec![Err(error); count])
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
        self.base.head.snapshot().revision()
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
