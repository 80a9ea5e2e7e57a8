use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use kv_core::Error;
use kv_core::backend::Backoff;
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout_at};
use tracing::debug;

use crate::api::WATCH_TIMEOUT;
use crate::failure::{Failure, FailureKind};
use crate::known::Known;
use crate::object::Object;
use crate::protobuf::Told;
use crate::shared::Shared;

/// A connection on which a watch has been silent for longer than the server keeps it open is dead.
const LONGEST_SILENCE: Duration = WATCH_TIMEOUT.saturating_add(Duration::from_secs(15));

/// One that ends sooner is begun again as after a failure.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// Whether a bucket is being followed.
#[derive(Clone, Debug, Default)]
pub(crate) enum Following {
    #[default]
    NotYet,
    Yes,
    /// The server does not allow it.
    Refused(Error),
}

/// The task that follows the bucket, and what it says of itself.
pub(crate) struct Follower {
    task: AbortHandle,
    status: watch::Receiver<Following>,
}

impl Follower {
    pub(crate) fn start(shared: Arc<Shared>) -> Self {
        let (sender, status) = watch::channel(Following::NotYet);
        let seed = shared.hooks.random().random();
        let task = tokio::spawn(follow(shared, sender, seed)).abort_handle();
        Self { task, status }
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    pub(crate) fn status(&self) -> watch::Receiver<Following> {
        self.status.clone()
    }

    /// Whether the watch is there, so that what happens to the bucket is told.
    pub(crate) fn is_following(&self) -> bool {
        matches!(*self.status.borrow(), Following::Yes)
    }
}

/// Keeps the known state of a bucket as new as the API server's watch tells.
async fn follow(shared: Arc<Shared>, status: watch::Sender<Following>, seed: u64) {
    let mut backoff = Backoff::new(seed);
    let mut position = None;
    loop {
        let began = Instant::now();
        let followed = follow_once(&shared, &mut position, &status).await;
        let is_long = began.elapsed() >= SHORTEST_WATCH;
        if is_long {
            backoff = Backoff::new(seed);
        }
        match followed {
            Ok(()) if is_long => {}
            // Of a proxy that ends every stream, for one.
            Ok(()) => sleep(backoff.next_wait()).await,
            Err(failure) if failure.kind == FailureKind::Refused => {
                position = None;
                status.send_replace(Following::Refused(failure.error.clone()));
                sleep(LONGEST_SILENCE).await;
            }
            Err(failure) => {
                debug!(bucket = shared.api.describe(), error = %failure.error, "a watch failed");
                position = None;
                sleep(failure.wait(&mut backoff)).await;
            }
        }
    }
}

/// Follows until the watch ends, from `position` or from what is there now.
async fn follow_once(
    shared: &Shared,
    position: &mut Option<String>,
    status: &watch::Sender<Following>,
) -> Result<(), Failure> {
    let mut again = LookAgain::default();
    let mut last = match position.take() {
        Some(position) => position,
        None => {
            let (version, object) = shared.api.list().await?;
            again.note(begin(shared, object).await?);
            version
        }
    };
    let events = shared.api.watch(&last).await?;
    let mut events = pin!(events);
    status.send_replace(Following::Yes);
    let mut silent_at = Instant::now() + LONGEST_SILENCE;
    loop {
        let event = tokio::select! {
            biased;
            event = timeout_at(silent_at, events.next()) => event,
            () = again.is_due() => {
                again.note(look(shared).await?);
                continue;
            }
        };
        silent_at = Instant::now() + LONGEST_SILENCE;
        match event.unwrap_or_default() {
            None => break,
            Some(Ok(Told::Changed(object))) => {
                last = object.metadata.text("resourceVersion").to_owned();
                again.note(take(shared, object).await?);
            }
            Some(Ok(Told::Deleted { uid, version })) => {
                shared.note_deleted(uid, &version);
                last = version;
                again.note(look(shared).await?);
            }
            Some(Ok(Told::Bookmark(version))) => last = version,
            Some(Ok(Told::Unreadable)) => {
                debug!(bucket = shared.api.describe(), "an event is not understood");
                again.note(look(shared).await?);
            }
            // The position is too old, or the server could not keep up: look what is there now.
            Some(Ok(Told::Ended(status))) => {
                debug!(
                    bucket = shared.api.describe(),
                    reason = status.reason,
                    "a watch ended"
                );
                return Ok(());
            }
            Some(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                return Err(shared.api.unreadable(error));
            }
            // It broke: the next one goes on from there.
            Some(Err(error)) => {
                debug!(bucket = shared.api.describe(), %error, "a watch broke");
                break;
            }
        }
    }
    // What is still to be looked at is looked at first.
    *position = Some(last).filter(|_| again.at.is_none());
    Ok(())
}

/// Takes over what a listing has found.
async fn begin(shared: &Shared, object: Option<Object>) -> Result<Seen, Failure> {
    match object {
        Some(object) => take(shared, object).await,
        None if matches!(shared.known(), Known::Absent) => Ok(Seen::Whole),
        None => look(shared).await,
    }
}

async fn take(shared: &Shared, object: Object) -> Result<Seen, Failure> {
    if shared.follow(object).await {
        return Ok(Seen::Whole);
    }
    // A bucket that was made meanwhile, or one that cannot be put together.
    look(shared).await
}

/// Reads what is there now.
async fn look(shared: &Shared) -> Result<Seen, Failure> {
    match shared.refresh().await {
        Ok(_) => Ok(Seen::Whole),
        // A read tells whoever asks; the watch goes on.
        Err(failure) if failure.kind == FailureKind::Refused => Ok(Seen::Damaged),
        Err(failure) => Err(failure),
    }
}

/// What a look at the bucket has found.
#[derive(Clone, Copy)]
enum Seen {
    Whole,
    /// It cannot be put together now. No event comes when it can, as when a backup is restored whose head
    /// was there before its segments.
    Damaged,
}

/// When to look again at a bucket that could not be put together: soon, then less and less often.
#[derive(Default)]
struct LookAgain {
    at: Option<Instant>,
    looks: u32,
}

impl LookAgain {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);

    fn note(&mut self, seen: Seen) {
        match seen {
            Seen::Whole => *self = Self::default(),
            Seen::Damaged => {
                let wait = Self::FIRST.saturating_mul(1 << self.looks.min(10));
                self.at = Some(Instant::now() + wait.min(Self::LONGEST));
                self.looks = self.looks.saturating_add(1);
            }
        }
    }

    async fn is_due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
