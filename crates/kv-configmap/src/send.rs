//! A write on its way: until it is applied, until it is certain that it is not, or until nobody
//! waits any more.

use std::sync::Arc;

use kv_core::backend::Backoff;
use kv_core::{Commit, Error, Result, Revision};
use tracing::debug;

use crate::api::Content;
use crate::attempt::{Next, claim, give_up, keep_waiting, requeue};
use crate::committer::{AFTER_CONFLICT, Committer, Fate, Pending};
use crate::engine::{Head, Layout, Resolution, SegmentId, Write};
use crate::failure::FailureKind;
use crate::hooks::{Bug, CrashPoint};
use crate::known::{Known, Present};
use crate::maintainer::Wake;
use crate::object::Metadata;
use crate::shared::Found;

/// A write, and what to answer once it is in place.
pub(crate) struct Attempt {
    pub(crate) outcomes: Vec<Result<Commit>>,
    pub(crate) write: Write,
    pub(crate) content: Content,
    /// The state it was decided on, and its generation.
    pub(crate) base: Arc<Present>,
    pub(crate) generation: u64,
    /// Whether some request of it may have been applied, or may still be.
    pub(crate) in_doubt: bool,
}

impl Committer {
    /// Writes, and says what became of an edit that went along.
    pub(crate) async fn write(
        &mut self,
        batch: &mut Vec<Pending>,
        attempt: Attempt,
        backoff: &mut Backoff,
    ) -> Next {
        let has_edit = attempt.write.has_edit;
        let named: Vec<_> = attempt.write.segments.iter().map(|one| one.id).collect();
        let (next, end) = self.send(batch, attempt, backoff).await;
        match &end {
            End::InPlace(present) => {
                self.note_leading(&present.head);
                self.end_segments(&named);
                self.end_offer(batch);
            }
            // Also where a caller has given up meanwhile: else each of them would have segments made
            // anew.
            End::NotApplied => self.rest_groups(AFTER_CONFLICT),
            End::Unknown => {}
        }
        match end {
            End::InPlace(present) if has_edit => self.end_edit(|| Fate::InPlace(present)),
            // The base was the newest, and the edit did not fit it. One that went on waiting would
            // keep the next flush from being planned for as long as commits follow each other.
            End::InPlace(present) => self.end_edit(|| Fate::Outdated {
                named: present.head.segments(),
            }),
            End::Unknown if has_edit => self.end_edit(|| Fate::Unknown),
            _ => {}
        }
        next
    }

    /// A write that names these segments is in place: none will ever name those that were made for
    /// attempts before it.
    fn end_segments(&mut self, named: &[SegmentId]) {
        let made = std::mem::take(&mut self.posted.segments).into_iter();
        let needless: Vec<_> = made.filter(|id| !named.contains(id)).collect();
        if !needless.is_empty() {
            let _ = self.maintainer.send(Wake::Obsolete(needless));
        }
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
            self.answer(batch, outcomes);
        }
        loop {
            let failure = match self.shared.api.replace(attempt.content.clone()).await {
                Ok(metadata) => {
                    hooks.reach(CrashPoint::Written).await;
                    return self.written(batch, attempt, metadata);
                }
                Err(failure) => failure,
            };
            debug!(bucket = self.shared.api.describe(), kind = ?failure.kind, "a write failed");
            match failure.kind {
                FailureKind::Conflict if hooks.has(Bug::ConflictSwallowed) => {
                    return (self.answer(batch, attempt.outcomes), End::Unknown);
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
                            return (self.answer(batch, vec![Err(error); count]), end);
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
            return (self.answer(batch, outcomes), End::Unknown);
        };
        let present = Present {
            metadata,
            version,
            head: write.head,
            is_immutable: false,
        };
        let found = Found::after(base.head.revision(), write.records, present);
        let known = found.known.clone();
        self.shared.publish_write(found, generation);
        self.outdate_offer(&mut batch[..outcomes.len()]);
        let end = match known {
            Known::Present(present) => {
                self.wake_maintainer(&base.head, &present.head);
                End::InPlace(present)
            }
            Known::Absent | Known::Unread => End::Unknown,
        };
        (self.answer(batch, outcomes), end)
    }

    /// Whoever makes a flush or a merge due does it; others only where it does not come.
    fn wake_maintainer(&self, base: &Head, written: &Head) {
        let layout = self.shared.current_layout();
        let doubled = layout.doubled();
        let is_ours = |is_due: fn(&Head, &Layout) -> bool| {
            is_due(written, &layout) && (!is_due(base, &layout) || is_due(written, &doubled))
        };
        if is_ours(Head::is_flush_due) || is_ours(Head::is_merge_due) {
            let _ = self.maintainer.send(Wake::Due);
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
        if self.answer_offered(batch, &self.shared.known()) {
            return (Next::Answered, attempt.unresolved());
        }
        let end = attempt.unresolved();
        if attempt.outcomes.is_empty() {
            // An edit alone: what waits for the room that it makes would be refused, too.
            return (self.answer_all(batch, &error), end);
        }
        let error = self.doubt(&attempt, error);
        let outcomes = vec![Err(error); attempt.outcomes.len()];
        (self.answer(batch, outcomes), end)
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
                self.outdate_offer(&mut batch[..count]);
                let end = End::in_place(&self.shared.known());
                (self.answer(batch, attempt.outcomes), end)
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
                (self.answer(batch, vec![Err(error); count]), End::Unknown)
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
