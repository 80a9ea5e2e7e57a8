//! Elements that are added and never removed, see the [module above](super).

use std::collections::HashMap;

use async_trait::async_trait;
use kv_core::{Entry, Key, KvStore, Result, Transaction};
use rand::{Rng, RngExt};

use super::snapshot::{Reading, number};
use super::{Fate, Step, Workload, commit, ended};
use crate::journal::{Attempt, Journal};
use crate::{Failure, Violation};

/// How many elements all clients try to be the first to add. Most adds are of other elements.
const CONTENDED: u64 = 64;

/// Clients that add elements, one or several in one transaction, if none of them is there.
///
/// An element is a key; its value tells who added it.
#[derive(Debug)]
pub struct Set {
    prefix: String,
    journal: Journal<Vec<Key>, Fate>,
    alone: bool,
}

impl Set {
    /// A set under a prefix of its own.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            alone: true,
            ..Self::among_others(prefix, Journal::new())
        }
    }

    /// A set to which clients in other processes add as well.
    #[must_use]
    pub fn among_others(prefix: &str, journal: Journal<Vec<Key>, Fate>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            journal,
            alone: false,
        }
    }

    fn elements(&self, rng: &mut (dyn Rng + Send)) -> Vec<Key> {
        let count = rng.random_range(1..4);
        let mut elements: Vec<Key> = (0..count).map(|_| self.element(rng)).collect();
        elements.sort_unstable();
        elements.dedup();
        elements
    }

    fn element(&self, rng: &mut (dyn Rng + Send)) -> Key {
        let number = match rng.random_bool(0.1) {
            true => rng.random_range(0..CONTENDED),
            false => rng.random(),
        };
        let key = Key::new(format!("{}{number:016x}", self.prefix));
        key.expect("the prefix of a set is short")
    }

    async fn add(&self, store: &dyn KvStore, rng: &mut (dyn Rng + Send)) -> Step {
        let elements = self.elements(rng);
        let id = self.journal.begin(elements.clone());
        let add =
            |adding: Transaction, key: &Key| adding.require_absent(key).put(key, id.to_string());
        let adding = elements.iter().fold(Transaction::new(), add);
        commit(&self.journal, id, store, adding).await
    }

    async fn look(&self, store: &dyn KvStore, reading: Reading) -> Result<(), Failure> {
        // What a cache must contain depends on the handle.
        let began = if reading.is_newest() {
            self.journal.now()
        } else {
            0
        };
        let mut found = reading.read(store, &self.prefix).await?;
        if !self.alone {
            // What is no number is for the check to find.
            found.retain(|entry| number(entry).map_or(true, |id| self.journal.has(id)));
        }
        Ok(self
            .journal
            .with(|attempts| check(attempts, began, &found))?)
    }
}

#[async_trait]
impl Workload for Set {
    async fn open(&self, _: &dyn KvStore) -> Result<()> {
        Ok(())
    }

    async fn step(
        &self,
        store: &dyn KvStore,
        rng: &mut (dyn Rng + Send),
    ) -> Result<Step, Violation> {
        if rng.random_bool(0.9) {
            return Ok(self.add(store, rng).await);
        }
        let looked = self.look(store, Reading::random(rng)).await;
        looked.map(|()| Step::Done).or_else(ended)
    }

    async fn check(&self, store: &dyn KvStore) -> Result<(), Failure> {
        self.look(store, Reading::NEWEST).await
    }
}

/// Checks the entries of a set that were found by a read that began at that time.
///
/// # Errors
///
/// An element is missing though it was acknowledged before, is there though it was refused or
/// nobody added it, or of several added together only some are there.
pub fn check(
    attempts: &[Attempt<Vec<Key>, Fate>],
    began: u64,
    found: &[Entry],
) -> Result<(), Violation> {
    let mut by_attempt: HashMap<u64, Vec<&Key>> = HashMap::new();
    for entry in found {
        by_attempt
            .entry(number(entry)?)
            .or_default()
            .push(&entry.key);
    }
    for attempt in attempts {
        let there = by_attempt.remove(&attempt.id).unwrap_or_default();
        check_attempt(attempt, began, &there)?;
    }
    let unknown = by_attempt.into_values().flatten().min();
    Violation::unless(unknown.is_none(), || {
        format!("nobody added {unknown:?}, and it is there")
    })
}

fn check_attempt(
    attempt: &Attempt<Vec<Key>, Fate>,
    began: u64,
    there: &[&Key],
) -> Result<(), Violation> {
    let added = &attempt.what;
    let end = attempt.end.as_ref();
    let fate = end.map(|end| end.result);
    let is_whole = there.iter().copied().eq(added);
    Violation::unless(is_whole || there.is_empty(), || {
        format!("{added:?} were added together, and {there:?} are there")
    })?;
    Violation::unless(fate != Some(Fate::NotApplied) || there.is_empty(), || {
        format!("to add {added:?} was refused, and they are there")
    })?;
    let must_be_there = fate == Some(Fate::Applied) && end.is_some_and(|end| end.at < began);
    Violation::unless(is_whole || !must_be_there, || {
        format!("to add {added:?} was acknowledged, and they are not there")
    })
}
