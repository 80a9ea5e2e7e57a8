//! The committer as the leader: it asks for the batches of others, and commits them with its own.

use kv_core::backend::Backoff;
use rand::Rng;
use tokio::time::{Duration, Instant, sleep};

use crate::attempt::Next;
use crate::committer::Committer;
use crate::engine::{BatchId, Forwarded, Head};
use crate::handle::limits;
use crate::known::Known;
use crate::leading::Leading;

/// Two conflicts within this time are those of several writers at work.
const CONTENTION: Duration = Duration::from_secs(1);

/// The longest time in which offers are expected to follow each other.
const LONGEST_GAP: Duration = Duration::from_millis(50);

/// How often the same offers are tried.
const ATTEMPTS: u32 = 8;

impl Committer {
    /// Notes a conflict: whoever meets several writes for all, where nobody does.
    pub(crate) async fn note_conflict(&mut self) {
        let now = Instant::now();
        let last = self.forwarding.last_conflict.replace(now);
        let is_contended =
            last.is_some_and(|last| now.saturating_duration_since(last) < CONTENTION);
        if is_contended && self.live_leader().is_none() {
            self.begin_to_lead().await;
        }
    }

    /// Asks for offers, so that the next write can say so.
    pub(crate) async fn begin_to_lead(&mut self) {
        let known = self.shared.known();
        let Some(present) = known.present() else {
            return;
        };
        let layout = &self.shared.layout;
        if self.leading.is_some() || !layout.has_segments {
            return;
        }
        let mut leading = Leading::begin(
            self.shared.clone(),
            present.head.id(),
            present.version.to_string(),
            self.writer,
            limits(layout),
        );
        leading.opened().await;
        self.leading = Some(leading);
    }

    /// To whom others may offer their batches when the next write is in place: to us, or to whom they may
    /// on `base`. Whether that one is still there is seen by what it writes.
    pub(crate) fn leader_to_name(&self, base: &Head) -> u64 {
        let is_open = self.leading.as_ref().is_some_and(Leading::is_open);
        let other = base.leader().filter(|leader| *leader != self.writer);
        let ours = is_open.then_some(self.writer);
        ours.or(other).unwrap_or_default()
    }

    /// What others have offered, and can be committed on `head`.
    pub(crate) fn offers(&self, head: &Head) -> Vec<Forwarded> {
        let leading = self.leading.as_ref();
        leading.map_or_else(Vec::new, |leading| leading.offers(head))
    }

    fn first_offer(&self) -> Option<BatchId> {
        let known = self.shared.known();
        self.leading.as_ref()?.first_offer(&known.present()?.head)
    }

    /// Waits for those who offer batches faster than we write: a write for all of them takes hardly longer
    /// than one for a few, and everybody who follows the bucket has to read each.
    pub(crate) async fn gather_offers(&mut self) {
        let gap = self.last_write_took.min(LONGEST_GAP);
        let until = Instant::now() + 2 * gap;
        while let Some(leading) = &mut self.leading {
            let known = self.shared.known();
            let expects_more = |head: &Head| leading.expects_more(head, gap);
            if !known.present().is_some_and(|now| expects_more(&now.head)) {
                return;
            }
            let deadline = until.min(Instant::now() + gap);
            if !leading.arrival(Some(deadline)).await {
                return;
            }
        }
    }

    /// Commits what has been offered, where nothing of our own waits.
    pub(crate) async fn commit_offers(&mut self) {
        self.gather_offers().await;
        self.catch_up_with_offers().await;
        let Some(first) = self.first_offer() else {
            return;
        };
        self.begin_writes();
        let mut backoff = Backoff::new(self.random.next_u64());
        for _ in 0..ATTEMPTS {
            match self.step(&mut Vec::new(), true, &mut backoff).await {
                Next::AfterConflict => self.note_conflict().await,
                Next::Again { after } => sleep(after).await,
                _ => {}
            }
            if self.first_offer() != Some(first) {
                return self.forget_posted();
            }
        }
        // What cannot be committed is not tried for ever.
        self.leave_offer(first);
        self.forget_posted();
    }

    /// Who does not follow the bucket need not know of the commits that its writers know of.
    async fn catch_up_with_offers(&mut self) {
        let known = self.shared.known();
        let (Some(leading), Some(now)) = (&self.leading, known.present()) else {
            return;
        };
        if leading.is_behind(&now.head) {
            // Where it fails, their writers help themselves.
            let newest = self.shared.refresh().await.unwrap_or(known);
            if let Some(newest) = newest.present() {
                leading.leave_those_ahead(&newest.head);
            }
        }
    }

    pub(crate) fn leave_offer(&self, batch: BatchId) {
        if let Some(leading) = &self.leading {
            leading.leave(batch);
        }
    }

    /// Our name as a leader is in the head: from now on there may be offers.
    pub(crate) fn note_leading(&mut self, head: &Head) {
        let is_named = head.leader() == Some(self.writer);
        if let Some(leading) = self.leading.as_mut().filter(|_| is_named) {
            leading.note_named();
        }
    }

    pub(crate) fn end_leading(&mut self) {
        if self.leading.as_ref().is_some_and(Leading::is_over) {
            self.leading = None;
        }
    }
}

/// Waits for offers that can be committed, or until nobody offers anything any more.
pub(crate) async fn offers_arrived(leading: &mut Option<Leading>, known: Known) {
    let Some(leading) = leading else {
        return std::future::pending().await;
    };
    let is_waiting = |head: &Head| leading.first_offer(head).is_some() || leading.is_behind(head);
    if !known.present().is_some_and(|now| is_waiting(&now.head)) {
        leading.arrival(None).await;
    }
}
