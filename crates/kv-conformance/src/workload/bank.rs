mod accounts;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use kv_core::{Entry, KvStore, Result, Transaction};
use rand::{Rng, RngExt};

use super::snapshot::Reading;
use super::{Fate, Step, Workload, commit, ended};
use crate::journal::Journal;
use crate::{Failure, Violation};

pub use accounts::{Accounts, Transfer};

/// Clients that move money between accounts, see the [module](super).
///
/// A step reads a snapshot of all accounts, checks it, and commits one transfer under the
/// condition that neither account has changed.
#[derive(Debug)]
pub struct Bank {
    accounts: Accounts,
    journal: Journal<Transfer, Fate>,
    alone: bool,
    opened: AtomicBool,
}

impl Bank {
    /// A bank with at least two accounts under a prefix of their own.
    ///
    /// # Panics
    ///
    /// Where there are fewer accounts.
    #[must_use]
    pub fn new(prefix: &str, accounts: usize, each: u64) -> Self {
        let accounts = Accounts::new(prefix, accounts, each);
        Self {
            alone: true,
            ..Self::among_others(accounts, Journal::new())
        }
    }

    /// A bank that clients in other processes use as well.
    ///
    /// # Panics
    ///
    /// Where there are fewer than two accounts.
    #[must_use]
    pub fn among_others(accounts: Accounts, journal: Journal<Transfer, Fate>) -> Self {
        assert!(accounts.keys().len() > 1, "a transfer needs two accounts");
        Self {
            accounts,
            journal,
            alone: false,
            opened: AtomicBool::new(false),
        }
    }

    /// The accounts, to check what a watch tells of them.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// A snapshot with its balances; `None`: the accounts are not open, as far as it shows.
    async fn audit(
        &self,
        store: &dyn KvStore,
        reading: Reading,
    ) -> Result<Option<(Vec<Entry>, Vec<u64>)>, Failure> {
        let must_be_open = reading.is_newest() && self.opened.load(Ordering::SeqCst);
        let entries = reading.read(store, self.accounts.prefix()).await?;
        let balances = self.accounts.check_snapshot(&entries)?;
        Violation::unless(balances.is_some() || !must_be_open, || {
            "all accounts are gone".to_owned()
        })?;
        Ok(balances.map(|balances| (entries, balances)))
    }

    async fn transfer(
        &self,
        store: &dyn KvStore,
        rng: &mut (dyn Rng + Send),
    ) -> Result<Step, Failure> {
        let Some((entries, balances)) = self.audit(store, Reading::random(rng)).await? else {
            return Ok(Step::Refused);
        };
        let from = rng.random_range(0..balances.len());
        let to = (from + rng.random_range(1..balances.len())) % balances.len();
        let amount = rng.random_range(0..=balances[from]).min(10);
        let (left, right) = (&entries[from], &entries[to]);
        let transaction = Transaction::new()
            .require_at(&left.key, left.revision)
            .require_at(&right.key, right.revision)
            .put(&left.key, (balances[from] - amount).to_string())
            .put(&right.key, (balances[to] + amount).to_string());
        let id = self.journal.begin(Transfer { from, to, amount });
        Ok(commit(&self.journal, id, store, transaction).await)
    }
}

#[async_trait]
impl Workload for Bank {
    async fn open(&self, store: &dyn KvStore) -> Result<()> {
        let each = self.accounts.each().to_string();
        let keys = self.accounts.keys().iter();
        let opening = keys.fold(Transaction::new(), |opening, key| {
            opening.require_absent(key).put(key, each.clone())
        });
        match store.commit(opening).await {
            Err(error) if !error.is_conflict() => return Err(error),
            _ => self.opened.store(true, Ordering::SeqCst),
        }
        Ok(())
    }

    async fn step(
        &self,
        store: &dyn KvStore,
        rng: &mut (dyn Rng + Send),
    ) -> Result<Step, Violation> {
        self.transfer(store, rng).await.or_else(ended)
    }

    async fn check(&self, store: &dyn KvStore) -> Result<(), Failure> {
        let found = self.audit(store, Reading::NEWEST).await?;
        if let Some((_, balances)) = found.filter(|_| self.alone) {
            let check = |attempts: &[_]| self.accounts.check_transfers(&balances, attempts);
            self.journal.with(check)?;
        }
        Ok(())
    }
}
