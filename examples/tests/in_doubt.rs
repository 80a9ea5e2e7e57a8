//! Votes are counted exactly once on a store that often can't say what became of a write.

#[path = "../approvals/approvals.rs"]
mod approvals;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kv_core::prelude::*;
use kv_core::{Commit, GetOptions, Limits, Listing, Result, Usage};
use kv_memory::MemoryStore;

use approvals::{Approvals, Vote};

const VOTES: u64 = 100;

/// Answers three of four commits with [`Error::Indeterminate`]: one is applied, one is not, and one
/// is applied late, right after the next read.
#[derive(Clone, Debug, Default)]
struct Doubtful {
    store: MemoryStore,
    commits: Arc<AtomicU32>,
    late: Arc<Mutex<Vec<Transaction>>>,
}

impl Doubtful {
    fn late(&self) -> Vec<Transaction> {
        std::mem::take(&mut self.late.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn apply_late(&self) {
        for transaction in self.late() {
            drop(self.store.commit(transaction).await);
        }
    }
}

#[async_trait]
impl KvStore for Doubtful {
    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        match self.commits.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => return self.store.commit(transaction).await,
            1 => drop(self.store.commit(transaction).await),
            2 => {}
            _ => self
                .late
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(transaction),
        }
        let (store, reason) = ("a test".to_owned(), "the answer was lost".to_owned());
        Err(Error::Indeterminate {
            store,
            reason,
            source: None,
        })
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let found = self.store.get_opts(key, options).await;
        self.apply_late().await;
        found
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        let listing = self.store.list_opts(options).await;
        self.apply_late().await;
        listing
    }

    async fn teardown(&self) -> Result<()> {
        self.store.teardown().await
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }

    async fn usage(&self) -> Result<Usage> {
        self.store.usage().await
    }
}

async fn vote(store: Doubtful, replica: &str) -> Result<()> {
    let approvals = Approvals::new(store);
    for number in 1..=VOTES {
        let vote = Vote {
            replica,
            number,
            in_doubt: false,
        };
        approvals.vote("deployments/prod/web", vote).await?;
        assert_eq!(approvals.last_vote(replica).await?, number);
    }
    Ok(())
}

#[tokio::test]
async fn a_vote_in_doubt_is_counted_once() {
    let store = Doubtful::default();
    let (first, second) = (
        vote(store.clone(), "replica-0"),
        vote(store.clone(), "replica-1"),
    );
    tokio::try_join!(first, second).unwrap();

    let listed = Approvals::new(store).list("deployments/").await.unwrap();
    assert_eq!(listed.len(), 1);
    let approval = &listed[0].value;
    assert!(approval.approved);
    assert_eq!(approval.votes, 2 * VOTES);
    for ballot in approval.replicas.values() {
        assert_eq!(
            (ballot.votes, ballot.doubled, ballot.last),
            (VOTES, 0, VOTES)
        );
    }
}

#[tokio::test]
async fn a_vote_that_is_counted_twice_shows() {
    let approvals = Approvals::new(MemoryStore::new());
    let vote = Vote {
        replica: "replica-0",
        number: 1,
        in_doubt: false,
    };
    approvals.vote("deployments/prod/web", vote).await.unwrap();
    approvals.vote("deployments/prod/web", vote).await.unwrap();
    let ballot = &approvals.list("").await.unwrap()[0].value.replicas["replica-0"];
    assert_eq!((ballot.votes, ballot.doubled, ballot.last), (2, 1, 1));
}
