//! Work for a store under stress, with an invariant that must hold whatever happens to it.
//!
//! | workload | what clients do | what must hold |
//! |---|---|---|
//! | [`Bank`] | move money between accounts, in one transaction | the sum, in every snapshot and after every event of a watch |
//! | [`Set`] | add elements that nobody removes | what was acknowledged is there, what was refused is not |
//! | [`Counter`] | add to one number | each addition counts once |
//! | [`Registers`] | read and write a few keys | there is an order that explains every answer |
//!
//! A client calls [`Workload::step`] as often as it likes, with waits of its own in between: a
//! step never waits and makes a few calls at most. Whatever a call answers is no failure of the
//! step; that a promise is broken is. One [`Workload`] serves all clients of a process, each with
//! a handle and a seed of its own. In a single-threaded runtime the same seeds give the same run.
//!
//! ```
//! use kv_conformance::workload::{Bank, Workload, run};
//! use rand::{SeedableRng, rngs::StdRng};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = kv_memory::MemoryStore::new();
//! let bank = Bank::new("bank/", 5, 100);
//! bank.open(&store).await?;
//! let tally = run(&bank, &store, &mut StdRng::seed_from_u64(1), 100).await?;
//! assert!(tally.done > 50);
//! bank.check(&store).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Clients in several processes
//!
//! Each process makes its workload with `among_others` and a [`Journal`] that writes a file. It
//! then checks what one process alone can know. Afterwards the journals are put together with
//! [`journal::read`](crate::journal::read), and checked as a whole, with what is stored in the end:
//! [`Accounts::check_transfers`], [`set::check`], [`counter::check`],
//! [`history::check`](crate::history::check).

pub mod counter;
pub mod set;

mod bank;
mod registers;
mod snapshot;

use async_trait::async_trait;
use kv_core::{Error, KvStore, Outcome, Result, Transaction};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::journal::Journal;
use crate::{Failure, Violation};

pub use bank::{Accounts, Bank, Transfer};
pub use counter::Counter;
pub use registers::Registers;
pub use set::Set;

/// What clients do, and what must hold.
#[async_trait]
pub trait Workload: Send + Sync {
    /// Prepares the store. To do it again, or at the same time as others, does no harm.
    ///
    /// # Errors
    ///
    /// As the store: try again, also where the outcome is unknown.
    async fn open(&self, store: &dyn KvStore) -> Result<()>;

    /// Makes a few calls, chosen with `rng`.
    ///
    /// # Errors
    ///
    /// A promise that is seen to be broken.
    async fn step(
        &self,
        store: &dyn KvStore,
        rng: &mut (dyn Rng + Send),
    ) -> Result<Step, Violation>;

    /// Checks what is stored, when no step is running.
    ///
    /// # Errors
    ///
    /// A promise that is broken, or the failure of the store to be read.
    async fn check(&self, store: &dyn KvStore) -> Result<(), Failure>;
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Step {
    /// What it was to do is done.
    Done,
    /// A condition did not hold, because another client was faster.
    Refused,
    /// It cannot be known whether it is done.
    Unknown(Error),
    /// It is not done.
    Failed(Error),
}

/// How an attempt to write ended, where this is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was acknowledged.
    Applied,
    /// It was not applied, and never will be.
    NotApplied,
}

/// How many steps ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// See [`Step::Done`].
    pub done: usize,
    /// See [`Step::Refused`].
    pub refused: usize,
    /// See [`Step::Unknown`].
    pub unknown: usize,
    /// See [`Step::Failed`].
    pub failed: usize,
}

impl Tally {
    /// Counts one more step.
    pub fn add(&mut self, step: &Step) {
        *match step {
            Step::Done => &mut self.done,
            Step::Refused => &mut self.refused,
            Step::Unknown(_) => &mut self.unknown,
            Step::Failed(_) => &mut self.failed,
        } += 1;
    }
}

/// Takes `steps` steps, one after the other, without a wait.
///
/// # Errors
///
/// The first promise that is seen to be broken.
pub async fn run(
    workload: &dyn Workload,
    store: &dyn KvStore,
    rng: &mut (dyn Rng + Send),
    steps: usize,
) -> Result<Tally, Violation> {
    let mut tally = Tally::default();
    for _ in 0..steps {
        tally.add(&workload.step(store, rng).await?);
    }
    Ok(tally)
}

/// Commits what was begun as `id`, and notes how that ended.
async fn commit<B: Serialize>(
    journal: &Journal<B, Fate>,
    id: u64,
    store: &dyn KvStore,
    transaction: Transaction,
) -> Step {
    match store.commit(transaction).await {
        Ok(_) => {
            journal.end(id, Fate::Applied);
            Step::Done
        }
        Err(error) if error.outcome() == Outcome::Unknown => Step::Unknown(error),
        Err(error) => {
            journal.end(id, Fate::NotApplied);
            if error.is_conflict() {
                Step::Refused
            } else {
                Step::Failed(error)
            }
        }
    }
}

/// What a step that could not go on ended with.
fn ended(failure: Failure) -> Result<Step, Violation> {
    match failure {
        Failure::Violation(violation) => Err(violation),
        Failure::Store(error) => Ok(Step::Failed(error)),
    }
}
