//! Having another process commit a batch: who meets conflicts offers it to the one that writes for all, and
//! learns from the head what became of it.

use kv_core::{Clock, Commit, Error, Result};
use rand::RngExt;
use tokio::time::{Duration, Instant, sleep_until};

use crate::attempt::claim;
use crate::committer::{Committer, Pending};
use crate::engine::{BatchId, Head, Offer, Resolution, ResourceVersion};
use crate::hooks::{Bug, CrashPoint};
use crate::known::Known;
use crate::shared::LONGEST_BUDGET_WAIT;
use crate::waiting::Waiting;

/// For how many times as long as it took to offer a batch, at least and at most, the leader may be silent
/// before it is taken for gone.
const PATIENCE: u32 = 8;
const SHORTEST_PATIENCE: Duration = Duration::from_millis(100);
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

/// How long an offer may wait while the leader goes on without it.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long a process does without offers after one that was of no use.
const REST: Duration = Duration::from_secs(1);

/// About what an object has besides an offer.
const OFFER_OVERHEAD_BYTES: usize = 512;

/// What a committer knows of offers of its own.
#[derive(Default)]
pub(crate) struct Forwarding {
    rests_until: Option<Instant>,
    pub(crate) last_conflict: Option<Instant>,
}

/// A batch that was offered, and may be committed at any time by whoever leads.
pub(crate) struct Offered {
    offer: Offer,
    /// The uid of the bucket's head.
    head: String,
    is_sent: bool,
    /// The version at which it was offered first, if that was told.
    at: Option<ResourceVersion>,
    /// What is known of the outcomes, which a head does not tell for long.
    outcomes: Option<Vec<Result<Commit>>>,
}

impl Offered {
    /// Takes from a head what it tells.
    pub(crate) fn note(&mut self, head: &Head) {
        let Self {
            offer, outcomes, ..
        } = self;
        let batch = offer.batch;
        if outcomes.is_none() && head.last_batch_of(batch.writer) == Some(batch.counter) {
            *outcomes = head.outcomes(batch, &offer.transactions);
        }
    }

    /// What became of it, where the head was deleted at `deleted_at`, if that was told.
    fn resolution(&self, known: &Known, deleted_at: Option<ResourceVersion>) -> Resolution {
        let Offer {
            bucket,
            batch,
            after,
            ..
        } = self.offer;
        match known {
            // What was committed once stays so, whatever is known of the bucket by now.
            _ if self.outcomes.is_some() => Resolution::Applied,
            Known::Unread => Resolution::NotApplied,
            // It was offered for a bucket that was gone by then.
            _ if self.is_later(deleted_at) => Resolution::NotApplied,
            // Torn down, and perhaps made anew; or restored from a backup.
            Known::Absent => Resolution::Unknowable,
            Known::Present(now) if now.head.id() != bucket || now.head.revision() < after => {
                Resolution::Unknowable
            }
            Known::Present(now) => now.head.resolve_offer(batch, after),
        }
    }

    /// Whether it was offered when the head was deleted already.
    fn is_later(&self, deleted_at: Option<ResourceVersion>) -> bool {
        deleted_at
            .zip(self.at)
            .is_some_and(|(deleted, offered)| deleted < offered)
    }
}

impl Committer {
    /// Has the leader commit the batch, where there is one. `true`: it was asked to, and the next step
    /// finds out what came of it.
    pub(crate) async fn forward(&mut self, batch: &mut Vec<Pending>) -> bool {
        let Some(leader) = self.other_leader() else {
            return false;
        };
        self.leading = None;
        batch.retain(Waiting::is_wanted);
        if batch.is_empty() || !self.prepare_offer(batch, leader) {
            return false;
        }
        let began = Instant::now();
        if self.send_offer(leader).await {
            self.wait_for_leader(batch, began.elapsed()).await;
        } else {
            self.rest_forwarding();
        }
        true
    }

    /// Who else writes for all, as far as can be told.
    fn other_leader(&self) -> Option<u64> {
        let rests = self.forwarding.rests_until;
        if !self.shared.layout.has_segments || rests.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let leader = self.live_leader().filter(|leader| *leader != self.writer)?;
        let follower = self.shared.follow_from_now_on();
        follower.is_following().then_some(leader)
    }

    /// Who writes for all, and has done so just now.
    pub(crate) fn live_leader(&self) -> Option<u64> {
        if !self.shared.is_led() {
            return None;
        }
        let known = self.shared.known();
        known.present()?.head.leader()
    }

    /// Claims a batch for an offer. It is offered under one number only, to whomever it is offered. `false`:
    /// it is too large, not for another, or a caller has given up.
    fn prepare_offer(&mut self, batch: &mut [Pending], leader: u64) -> bool {
        let known = self.shared.known();
        let Some(base) = known.present() else {
            return false;
        };
        let mut offered = self.shared.offered();
        if offered.is_some() {
            return true;
        }
        // Nobody else would look whether an earlier batch that has them was applied after all.
        if batch
            .iter()
            .any(|pending| !pending.request.given_up.is_empty())
        {
            return false;
        }
        let transactions = batch.iter();
        let transactions = transactions.map(|pending| pending.request.transaction.clone());
        let offer = Offer {
            bucket: base.head.id(),
            leader,
            batch: BatchId {
                writer: self.writer,
                counter: self.counter + 1,
            },
            after: base.head.revision(),
            now: self.shared.clock.now(),
            transactions: transactions.collect(),
        };
        if offer.encode().is_none() || !claim(batch) {
            return false;
        }
        self.counter += 1;
        for (index, pending) in batch.iter_mut().enumerate() {
            pending.request.offered_as = Some(index);
        }
        *offered = Some(Offered {
            offer,
            head: base.metadata.uid().to_owned(),
            is_sent: false,
            at: None,
            outcomes: None,
        });
        true
    }

    /// `false`: it was not offered, or perhaps not.
    async fn send_offer(&mut self, leader: u64) -> bool {
        let mut was_sent = false;
        let offer = self.shared.offered().as_mut().map(|offered| {
            offered.offer.leader = leader;
            was_sent = std::mem::replace(&mut offered.is_sent, true);
            offered.offer.clone()
        });
        let known = self.shared.known();
        let bytes = offer.as_ref().and_then(Offer::encode);
        let (Some(offer), Some(bytes), Some(base)) = (offer, bytes, known.present()) else {
            return false;
        };
        let budget = &self.shared.budget;
        budget.ready(LONGEST_BUDGET_WAIT).await;
        budget.spend(bytes.len() + OFFER_OVERHEAD_BYTES);
        self.shared.hooks.reach(CrashPoint::BeforeOffer).await;
        let sent = self.shared.api.offer(&offer, &bytes, &base.metadata).await;
        let is_sent = sent.is_ok();
        if let (Ok(at), Some(offered)) = (sent, &mut *self.shared.offered())
            && !was_sent
        {
            offered.at = at;
        }
        self.shared.hooks.reach(CrashPoint::Offered).await;
        is_sent
    }

    /// Waits until the head tells that the batch is in, or the leader seems to be gone.
    async fn wait_for_leader(&mut self, batch: &[Pending], sent_within: Duration) {
        let patience = (sent_within * PATIENCE).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE);
        // Not all who wait lose it at once.
        let patience = patience.mul_f64(self.random.random_range(1.0..2.0));
        let began = Instant::now();
        let mut changes = self.shared.changes();
        loop {
            let last = changes.borrow_and_update().by_leader();
            let last = last.map_or(began, |last| last.max(began));
            let until = (last + patience).min(began + LONGEST_WAIT);
            let known = self.shared.known();
            let is_decided = match self.offer_resolution(&known) {
                Some(Resolution::NotApplied) => self.is_offer_void(),
                // When it was deleted, the watch is about to tell.
                Some(Resolution::Unknowable) => known.present().is_some(),
                Some(Resolution::Applied) | None => true,
            };
            if is_decided || !batch.iter().any(Waiting::is_wanted) {
                return;
            }
            if Instant::now() >= until {
                self.rest_forwarding();
                return self.begin_to_lead().await;
            }
            // Where a head tells of none, somebody else has written it, and the leader goes on.
            let leader = known.present().and_then(|now| now.head.leader());
            let asked = self.shared.offered().as_ref().map(|one| one.offer.leader);
            if let Some(leader) = leader.filter(|leader| *leader != self.writer)
                && asked != Some(leader)
                && !self.send_offer(leader).await
            {
                return self.rest_forwarding();
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn rest_forwarding(&mut self) {
        self.forwarding.rests_until = Some(Instant::now() + REST);
    }

    /// What became of the offered batch, if there is one.
    fn offer_resolution(&self, known: &Known) -> Option<Resolution> {
        let offered = self.shared.offered();
        let offered = offered.as_ref()?;
        Some(offered.resolution(known, self.shared.deleted_at(&offered.head)))
    }

    /// Whether the batch was offered for a bucket that was gone by then.
    fn is_offer_void(&self) -> bool {
        let offered = self.shared.offered();
        offered.as_ref().is_some_and(|offered| {
            let deleted_at = self.shared.deleted_at(&offered.head);
            offered.is_later(deleted_at)
        })
    }

    /// Answers what has been committed for us. `true`: that was all of the batch.
    pub(crate) fn answer_offered(&self, batch: &mut Vec<Pending>, known: &Known) -> bool {
        if self.is_offer_void() {
            self.end_offer(batch);
        }
        let resolution = self.offer_resolution(known);
        if batch.is_empty() || matches!(resolution, None | Some(Resolution::NotApplied)) {
            return false;
        }
        if self.shared.hooks.has(Bug::OfferForgotten) {
            return false;
        }
        let Some(mut offered) = self.shared.offered().take() else {
            return false;
        };
        if let Known::Present(now) = known {
            offered.note(&now.head);
        }
        let outcomes = offered.outcomes.unwrap_or_default();
        self.expect(batch.len());
        for pending in std::mem::take(batch) {
            match pending.request.offered_as {
                Some(index) => {
                    let outcome = outcomes.get(index).cloned();
                    let unknown = || self.left_to_another(resolution);
                    pending.answer(outcome.unwrap_or_else(unknown));
                }
                None => batch.push(pending),
            }
        }
        batch.is_empty()
    }

    fn left_to_another(&self, resolution: Option<Resolution>) -> Result<Commit> {
        let what = match resolution {
            Some(Resolution::Applied) => "another process has committed it",
            _ => "it was left to another process",
        };
        Err(Error::Indeterminate {
            store: self.shared.api.describe(),
            reason: format!("{what}, and the bucket has moved on too far since"),
            source: None,
        })
    }

    /// Whether the batch was offered, and may still be committed, for all that is known.
    pub(crate) fn has_offered(&self) -> bool {
        self.shared.offered().is_some()
    }

    /// These transactions are in a later batch, which is in place: the offered one never will be.
    pub(crate) fn outdate_offer(&self, batch: &mut [Pending]) {
        for pending in batch {
            pending.request.offered_as = None;
        }
    }

    /// The offered batch will never be in place, because a later one of this writer is, or because there was
    /// no bucket for it any more; or nobody waits for it.
    pub(crate) fn end_offer(&self, batch: &mut [Pending]) {
        *self.shared.offered() = None;
        for pending in batch {
            if pending.request.offered_as.take().is_some() {
                pending.requeue();
            }
        }
    }
}
