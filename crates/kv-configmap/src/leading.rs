//! Writing for all: while several processes write a bucket, one of them is told of what the others offer,
//! and commits it together with its own.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use kv_core::Limits;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tracing::debug;

use crate::committer::content_bytes;
use crate::engine::{BatchId, BucketId, Forwarded, Head, Offer, Resolution};
use crate::hooks::{Bug, CrashPoint};
use crate::object::{Metadata, OFFER_KEY, Object};
use crate::protobuf::Told;
use crate::shared::Shared;

/// Who has not been offered anything for so long leads nobody any more.
const IDLE: Duration = Duration::from_secs(1);

/// How long it may take to get in a write that says who leads.
const LONGEST_UNNAMED: Duration = Duration::from_secs(5);

/// An offer that has waited for so long is not taken: its writer has helped itself, or its caller has
/// given up.
const STALE: Duration = Duration::from_secs(5);

/// How long a write waits for the watch of offers to begin.
const LONGEST_OPENING: Duration = Duration::from_millis(100);

/// Who has offered something within this time is at work.
const AT_WORK: Duration = Duration::from_millis(500);

/// One that ends sooner is not begun again.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// How many bytes of keys and values of others go into one write.
const BYTES: usize = 256 * 1024;

/// From how many writers offers are kept.
const WRITERS: usize = 256;

/// The time in which a process writes for all that offer it their batches.
pub(crate) struct Leading {
    bucket: BucketId,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    began: Instant,
    named_at: Option<Instant>,
    /// Its sender is gone when offers do not arrive any more.
    arrivals: watch::Receiver<Arrivals>,
    receiver: AbortHandle,
}

#[derive(Clone, Copy)]
struct Arrivals {
    is_open: bool,
    last: Instant,
    /// The time from one to the next, as a moving average.
    interval: Duration,
}

#[derive(Default)]
struct Inbox {
    offers: Mutex<BTreeMap<u64, Received>>,
}

struct Received {
    offer: Offer,
    object: Metadata,
    at: Instant,
    is_done: bool,
}

impl Drop for Leading {
    /// Removes the objects of the offers that were made to it. A writer that goes on with another leader
    /// makes one anew; what nobody removes, a sweep does.
    fn drop(&mut self) {
        self.receiver.abort();
        let offers = std::mem::take(&mut *self.inbox.lock());
        let objects: Vec<_> = offers.into_values().map(|one| one.object).collect();
        if let Ok(runtime) = runtime::Handle::try_current() {
            let shared = self.shared.clone();
            runtime.spawn(async move {
                let _ = shared
                    .delete_listed(objects, CrashPoint::OffersRemoved)
                    .await;
            });
        }
    }
}

impl Leading {
    /// Asks for offers to the writer `leader`, from the version `version` of the bucket's head on.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        bucket: BucketId,
        version: String,
        leader: u64,
        limits: Limits,
    ) -> Self {
        let (sender, arrivals) = watch::channel(Arrivals {
            is_open: false,
            last: Instant::now(),
            interval: IDLE,
        });
        let inbox = Arc::new(Inbox::default());
        let receiver = Receiver {
            leader,
            bucket,
            limits,
            shared: shared.clone(),
            inbox: inbox.clone(),
            arrivals: sender,
        };
        let receiver = tokio::spawn(receiver.run(version)).abort_handle();
        Self {
            bucket,
            began: Instant::now(),
            named_at: None,
            shared,
            inbox,
            arrivals,
            receiver,
        }
    }

    /// Waits until offers would arrive; not for long.
    pub(crate) async fn opened(&mut self) {
        let opened = self.arrivals.wait_for(|arrivals| arrivals.is_open);
        let _ = timeout(LONGEST_OPENING, opened).await;
    }

    /// Whether offers would arrive.
    pub(crate) fn is_open(&self) -> bool {
        self.arrivals.borrow().is_open && !self.is_cut_off()
    }

    fn is_cut_off(&self) -> bool {
        self.arrivals.has_changed().is_err()
    }

    /// Whether there is no more use in it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_cut_off() || Instant::now() >= self.ends_at()
    }

    /// When it has no use any more, unless there are offers until then.
    fn ends_at(&self) -> Instant {
        match self.named_at {
            Some(named) => named.max(self.arrivals.borrow().last) + IDLE,
            None => self.began + LONGEST_UNNAMED,
        }
    }

    /// Others may know of it from now on.
    pub(crate) fn note_named(&mut self) {
        self.named_at.get_or_insert_with(Instant::now);
    }

    /// Waits for an offer, until `deadline`, or until there is no more use in waiting. `false`: none came.
    pub(crate) async fn arrival(&mut self, deadline: Option<Instant>) -> bool {
        let over = self.ends_at();
        let until = deadline.map_or(over, |deadline| deadline.min(over));
        matches!(timeout_at(until, self.arrivals.changed()).await, Ok(Ok(())))
    }

    /// Whether some that offer something now and then have nothing waiting on `head`, and offers follow
    /// each other within `gap`.
    pub(crate) fn expects_more(&self, head: &Head, gap: Duration) -> bool {
        let mut offers = self.inbox.lock();
        let now = Instant::now();
        let is_at_work = |one: &&Received| now.saturating_duration_since(one.at) < AT_WORK;
        let at_work = offers.values().filter(is_at_work).count();
        self.arrivals.borrow().interval <= gap && self.waiting(&mut offers, head).len() < at_work
    }

    /// The offer that has waited longest of those that can be committed on `head`.
    pub(crate) fn first_offer(&self, head: &Head) -> Option<BatchId> {
        let mut offers = self.inbox.lock();
        let waiting = self.waiting(&mut offers, head);
        waiting.first().map(|received| received.offer.batch)
    }

    /// The offers that can be committed on `head`, those first that have waited longest.
    pub(crate) fn offers(&self, head: &Head) -> Vec<Forwarded> {
        let mut offers = self.inbox.lock();
        let mut bytes = 0;
        let fits = |offer: &&Offer| {
            let transactions = offer.transactions.iter();
            bytes += transactions.map(|one| content_bytes(one)).sum::<usize>();
            bytes <= BYTES
        };
        let waiting = self.waiting(&mut offers, head).into_iter();
        let forwarded = waiting.map(|received| &received.offer).take_while(fits);
        forwarded.map(Offer::to_forwarded).collect()
    }

    fn waiting<'a>(
        &self,
        offers: &'a mut BTreeMap<u64, Received>,
        head: &Head,
    ) -> Vec<&'a Received> {
        if head.id() != self.bucket {
            return Vec::new();
        }
        let now = Instant::now();
        let is_unchecked = self.shared.hooks.has(Bug::OfferTakenTwice);
        for received in offers.values_mut() {
            let Offer { batch, after, .. } = received.offer;
            received.is_done = received.is_done
                || now.saturating_duration_since(received.at) >= STALE
                || !is_unchecked && head.resolve_offer(batch, after) != Resolution::NotApplied;
        }
        let can_commit = |received: &&Received| {
            let Offer { batch, after, .. } = received.offer;
            !received.is_done && (is_unchecked || head.can_commit(batch, after))
        };
        let mut waiting: Vec<_> = offers.values().filter(can_commit).collect();
        waiting.sort_by_key(|received| received.at);
        waiting
    }

    /// Whether something was offered after a commit that `head` does not have.
    pub(crate) fn is_behind(&self, head: &Head) -> bool {
        let offers = self.inbox.lock();
        let is_ahead = |one: &Received| !one.is_done && one.offer.after > head.revision();
        offers.values().any(is_ahead)
    }

    /// Leaves to their writers what was offered after commits that the newest head does not have.
    pub(crate) fn leave_those_ahead(&self, newest: &Head) {
        for received in self.inbox.lock().values_mut() {
            received.is_done |= received.offer.after > newest.revision();
        }
    }

    /// Leaves a batch to its writer.
    pub(crate) fn leave(&self, batch: BatchId) {
        if let Some(received) = self.inbox.lock().get_mut(&batch.writer)
            && received.offer.batch == batch
        {
            received.is_done = true;
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Received>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that is told of offers.
struct Receiver {
    leader: u64,
    bucket: BucketId,
    limits: Limits,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    arrivals: watch::Sender<Arrivals>,
}

impl Receiver {
    /// Ends where a watch fails, or does not last: then somebody leads anew.
    async fn run(self, mut version: String) {
        let mut began = Instant::now();
        while self.watch(&mut version).await && began.elapsed() >= SHORTEST_WATCH {
            began = Instant::now();
        }
    }

    /// Takes what is offered after `version`, until the watch ends. `false`: it has failed.
    async fn watch(&self, version: &mut String) -> bool {
        let (api, bucket) = (&self.shared.api, self.bucket.to_string());
        let events = match api.watch_offers(&bucket, version).await {
            Ok(events) => events,
            Err(failure) => {
                debug!(bucket = api.describe(), error = %failure.error, "offers cannot be watched");
                return false;
            }
        };
        let mut events = pin!(events);
        self.arrivals.send_modify(|now| now.is_open = true);
        while let Some(event) = events.next().await {
            match event {
                Ok(Told::Changed(object)) => {
                    object.metadata.text("resourceVersion").clone_into(version);
                    self.take(object);
                }
                Ok(Told::Deleted { version: now, .. } | Told::Bookmark(now)) => *version = now,
                // What is not told here, its writer does by itself.
                Ok(Told::Unreadable) => {
                    debug!(bucket = api.describe(), "an event is not understood");
                }
                Ok(Told::Ended(_)) | Err(_) => return false,
            }
        }
        true
    }

    fn take(&self, object: Object) {
        let bytes = object.data(OFFER_KEY);
        let offer = bytes.and_then(|bytes| Offer::decode(bytes, &self.limits).ok());
        let is_ours = |offer: &Offer| offer.leader == self.leader && offer.bucket == self.bucket;
        let Some(offer) = offer.filter(is_ours) else {
            return;
        };
        let (at, writer) = (Instant::now(), offer.batch.writer);
        let mut offers = self.inbox.lock();
        if offers.len() >= WRITERS && !offers.contains_key(&writer) {
            offers.retain(|_, received| !received.is_done);
        }
        if offers.len() >= WRITERS && !offers.contains_key(&writer) {
            return;
        }
        let received = Received {
            offer,
            object: object.metadata,
            at,
            is_done: false,
        };
        offers.insert(writer, received);
        drop(offers);
        self.arrivals.send_modify(|arrivals| {
            let interval = at.saturating_duration_since(arrivals.last);
            arrivals.interval = (arrivals.interval * 7 + interval) / 8;
            arrivals.last = at;
        });
    }
}
