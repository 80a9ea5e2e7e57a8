//! A number to which clients add, see the [module above](super).

use async_trait::async_trait;
use kv_core::{Consistency, Entry, GetOptions, Key, KvStore, Result, Transaction};
use rand::{Rng, RngExt};

use super::snapshot::number;
use super::{Fate, Step, Workload, commit, ended};
use crate::journal::{Attempt, Journal};
use crate::{Failure, Violation};

/// Clients that add to one number.
#[derive(Debug)]
pub struct Counter {
    key: Key,
    journal: Journal<u64, Fate>,
    alone: bool,
}

impl Counter {
    /// A number under this key, which begins as missing.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self {
            alone: true,
            ..Self::among_others(key, Journal::new())
        }
    }

    /// A number to which clients in other processes add as well.
    #[must_use]
    pub fn among_others(key: Key, journal: Journal<u64, Fate>) -> Self {
        Self {
            key,
            journal,
            alone: false,
        }
    }

    /// Reads the number and checks it.
    async fn read(
        &self,
        store: &dyn KvStore,
        consistency: Consistency,
    ) -> Result<(u64, Option<Entry>), Failure> {
        let began = match consistency {
            Consistency::Linearizable => self.journal.now(),
            // What a cache must contain depends on the handle.
            _ => 0,
        };
        let options = GetOptions::default().with_consistency(consistency);
        let entry = store.get_opts(&self.key, options).await?;
        let value = entry.as_ref().map_or(Ok(0), number)?;
        let ended = self.alone.then(|| self.journal.now());
        self.journal
            .with(|attempts| check(attempts, began, ended, value))?;
        Ok((value, entry))
    }

    async fn add(&self, store: &dyn KvStore, rng: &mut (dyn Rng + Send)) -> Result<Step, Failure> {
        let consistency = if rng.random_bool(0.25) {
            Consistency::Cached
        } else {
            Consistency::Linearizable
        };
        let (value, entry) = self.read(store, consistency).await?;
        let amount = rng.random_range(1..4);
        let transaction = match entry {
            Some(entry) => Transaction::new().require_at(&self.key, entry.revision),
            None => Transaction::new().require_absent(&self.key),
        };
        let transaction = transaction.put(&self.key, (value + amount).to_string());
        let id = self.journal.begin(amount);
        Ok(commit(&self.journal, id, store, transaction).await)
    }
}

#[async_trait]
impl Workload for Counter {
    async fn open(&self, _: &dyn KvStore) -> Result<()> {
        Ok(())
    }

    async fn step(
        &self,
        store: &dyn KvStore,
        rng: &mut (dyn Rng + Send),
    ) -> Result<Step, Violation> {
        self.add(store, rng).await.or_else(ended)
    }

    async fn check(&self, store: &dyn KvStore) -> Result<(), Failure> {
        self.read(store, Consistency::Linearizable).await?;
        Ok(())
    }
}

/// Checks a number that was read between the times `began` and `ended`. Where `ended` is `None`,
/// other clients may have added that do not stand among the attempts.
///
/// # Errors
///
/// Where it is below what was acknowledged before, or above all that was attempted and not
/// refused.
pub fn check(
    attempts: &[Attempt<u64, Fate>],
    began: u64,
    ended: Option<u64>,
    value: u64,
) -> Result<(), Violation> {
    let (mut least, mut most) = (0, 0);
    for attempt in attempts {
        let end = attempt.end.as_ref();
        let fate = end.map(|end| end.result);
        if fate == Some(Fate::Applied) && end.is_some_and(|end| end.at < began) {
            least += attempt.what;
        }
        if fate != Some(Fate::NotApplied) && ended.is_none_or(|ended| attempt.began <= ended) {
            most += attempt.what;
        }
    }
    Violation::unless(value >= least, || {
        format!("{least} was added for sure, and the counter is at {value}")
    })?;
    Violation::unless(value <= most || ended.is_none(), || {
        format!("{most} was added at most, and the counter is at {value}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::End;

    fn attempt(what: u64, began: u64, end: Option<(u64, Fate)>) -> Attempt<u64, Fate> {
        let end = end.map(|(at, result)| End { at, result });
        Attempt {
            id: began,
            what,
            began,
            end,
        }
    }

    #[test]
    fn an_unknown_outcome_widens_the_range() {
        let attempts = [
            attempt(1, 0, Some((1, Fate::Applied))),
            attempt(10, 2, None),
            attempt(100, 3, Some((4, Fate::NotApplied))),
            attempt(1_000, 5, Some((8, Fate::Applied))),
        ];
        let between = |began, ended| {
            let values = [0, 1, 11, 101, 1_001, 1_011, 1_111].into_iter();
            let fits = |value: &u64| check(&attempts, began, ended, *value).is_ok();
            values.filter(fits).collect::<Vec<_>>()
        };
        assert_eq!(between(2, Some(4)), [1, 11]);
        assert_eq!(between(2, Some(6)), [1, 11, 101, 1_001, 1_011]);
        assert_eq!(between(9, Some(9)), [1_001, 1_011]);
        assert_eq!(between(9, None), [1_001, 1_011, 1_111]);
    }
}
