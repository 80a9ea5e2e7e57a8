use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_core::backend::{ForwardClock, Record, Replica, Snapshot};
use kv_core::{Clock, Commit, Consistency, Error, Limits, Result, Revision, Transaction};

/// How many expired entries one commit reclaims.
const RECLAIMED_AT_ONCE: usize = 1_024;

/// One bucket: the replica that everybody reads, and the lock under which commits are made.
#[derive(Debug)]
pub(crate) struct Bucket {
    name: String,
    pub(crate) replica: Arc<Replica>,
    pub(crate) clock: Arc<ForwardClock>,
    limits: Limits,
    commits: Mutex<Commits>,
}

#[derive(Debug, Default)]
struct Commits {
    exists: bool,
    /// The highest revision given out, which a teardown does not take back.
    last: u64,
}

impl Bucket {
    pub(crate) fn new(name: &str, clock: Arc<dyn Clock>, bucket_bytes: Option<u64>) -> Self {
        let clock = Arc::new(ForwardClock::new(clock));
        Self {
            name: name.to_owned(),
            replica: Arc::new(Replica::new(Snapshot::default(), clock.clone())),
            clock,
            limits: Limits {
                bucket_bytes,
                ..Limits::CONTRACT
            },
            commits: Mutex::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn exists(&self) -> bool {
        self.commits().exists
    }

    pub(crate) fn create(&self) {
        self.commits().exists = true;
    }

    pub(crate) fn commit(&self, transaction: &Transaction) -> Result<Commit> {
        transaction.check(&self.limits)?;
        let mut commits = self.commits();
        let now = self.clock.now();
        let before = self.replica.snapshot();
        let evaluation = before.evaluate(transaction, now)?;
        if evaluation.effects.is_empty() {
            return Ok(evaluation.into_commit(before.revision()));
        }
        let revision = Revision::new(commits.last + 1);
        let mut after = before.clone();
        let reclaimed = after.reclaim(now, RECLAIMED_AT_ONCE);
        after.apply(revision, &evaluation.effects);
        self.check_room(&before, &after)?;
        let changes = evaluation
            .effects
            .iter()
            .map(|effect| effect.to_change(revision))
            .collect();
        commits.last = revision.get();
        commits.exists = true;
        let record = Record {
            revision,
            changes,
            reclaimed,
        };
        self.replica.publish(after, vec![Arc::new(record)]);
        Ok(evaluation.into_commit(revision))
    }

    pub(crate) fn teardown(&self) {
        let mut commits = self.commits();
        if std::mem::take(&mut commits.exists) {
            commits.last += 1;
            self.replica
                .reset(Snapshot::default(), Revision::new(commits.last));
        }
    }

    /// What is newest is all there is: only a revision from elsewhere cannot be reached.
    pub(crate) fn check_reached(&self, consistency: Consistency) -> Result<()> {
        let Consistency::AtLeast(wanted) = consistency else {
            return Ok(());
        };
        let last = self.commits().last;
        if wanted.get() <= last {
            return Ok(());
        }
        let reason = format!("revision {wanted} is not reached; the last one is {last}");
        Err(Error::Unavailable {
            store: self.to_string(),
            reason,
            source: None,
        })
    }

    fn check_room(&self, before: &Snapshot, after: &Snapshot) -> Result<()> {
        match self.limits.bucket_bytes {
            // What makes a bucket smaller is welcome even in one that is over its limit.
            Some(limit) if after.bytes() > limit && after.bytes() > before.bytes() => {
                Err(Error::BucketFull {
                    store: self.to_string(),
                    needed: after.bytes() - before.bytes(),
                    available: limit.saturating_sub(before.bytes()),
                })
            }
            _ => Ok(()),
        }
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory bucket {:?}", self.name)
    }
}
