use std::collections::BTreeSet;

use kv_core::{Entry, Key, WatchEvent};
use serde::{Deserialize, Serialize};

use crate::Violation;
use crate::journal::Attempt;
use crate::watching::Replay;
use crate::workload::Fate;
use crate::workload::snapshot::number;

/// The accounts of a [`Bank`](super::Bank), and what must hold of them.
#[derive(Clone, Debug)]
pub struct Accounts {
    prefix: String,
    keys: Vec<Key>,
    each: u64,
}

/// An attempt to move money between accounts, which are told by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Where it comes from.
    pub from: usize,
    /// Where it goes.
    pub to: usize,
    /// How much.
    pub amount: u64,
}

impl Accounts {
    /// `count` accounts under a prefix of their own, each of which is opened with the same sum.
    ///
    /// # Panics
    ///
    /// Where the prefix makes no key.
    #[must_use]
    pub fn new(prefix: &str, count: usize, each: u64) -> Self {
        let key = |i| Key::new(format!("{prefix}{i:04}"));
        let keys: Result<_, _> = (0..count).map(key).collect();
        Self {
            prefix: prefix.to_owned(),
            keys: keys.expect("the prefix is short enough"),
            each,
        }
    }

    /// The text that all keys of accounts begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The keys in the order of the numbers.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// What each account is opened with.
    #[must_use]
    pub fn each(&self) -> u64 {
        self.each
    }

    /// Checks a snapshot of everything under the prefix and returns the balances; `None`: the
    /// accounts are not open yet.
    ///
    /// # Errors
    ///
    /// Some accounts are there and others not, or the sum is wrong.
    pub fn check_snapshot(&self, entries: &[Entry]) -> Result<Option<Vec<u64>>, Violation> {
        if entries.is_empty() {
            return Ok(None);
        }
        let found: Vec<&Key> = entries.iter().map(|entry| &entry.key).collect();
        let expected = self.keys.len();
        Violation::unless(found.iter().copied().eq(&self.keys), || {
            format!("there are {expected} accounts or none, and a snapshot shows {found:?}")
        })?;
        let balances: Vec<u64> = entries.iter().map(number).collect::<Result<_, _>>()?;
        let (sum, right) = (balances.iter().sum::<u64>(), self.each * expected as u64);
        Violation::unless(sum == right, || {
            format!("the accounts hold {right} together, and a snapshot shows {sum}: {balances:?}")
        })?;
        Ok(Some(balances))
    }

    /// Checks what a watcher knows after each of these events, the first of which is a snapshot.
    ///
    /// # Errors
    ///
    /// As [`Accounts::check_snapshot`], with the revision.
    pub fn check_events(&self, events: &[WatchEvent]) -> Result<(), Violation> {
        let mut replay = Replay::default();
        for event in events {
            replay.apply(event);
            let ours = replay
                .entries()
                .filter(|entry| entry.key.as_str().starts_with(&self.prefix));
            self.check_snapshot(&ours.cloned().collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Checks the balances in the end against all transfers that anybody attempted.
    ///
    /// # Errors
    ///
    /// A balance that no choice of the transfers of unknown outcome explains.
    pub fn check_transfers(
        &self,
        balances: &[u64],
        attempts: &[Attempt<Transfer, Fate>],
    ) -> Result<(), Violation> {
        let mut least = vec![i128::from(self.each); self.keys.len()];
        let mut most = least.clone();
        for attempt in attempts {
            let Transfer { from, to, amount } = attempt.what;
            let fate = attempt.end.as_ref().map(|end| end.result);
            if fate != Some(Fate::NotApplied) {
                least[from] -= i128::from(amount);
                most[to] += i128::from(amount);
            }
            if fate == Some(Fate::Applied) {
                most[from] -= i128::from(amount);
                least[to] += i128::from(amount);
            }
        }
        let wrong = balances.iter().enumerate().filter(|(i, balance)| {
            let balance = i128::from(**balance);
            balance < least[*i] || balance > most[*i]
        });
        let wrong: BTreeSet<String> = wrong
            .map(|(i, balance)| {
                format!(
                    "account {i} holds {balance}, not {} to {}",
                    least[i], most[i]
                )
            })
            .collect();
        Violation::unless(wrong.is_empty(), || {
            format!("transfers are applied once if they were acknowledged, never if not: {wrong:?}")
        })
    }
}
