use async_trait::async_trait;
use kv_core::{Error, Key, KvStore, Outcome, Result};
use rand::{Rng, RngExt};

use super::{Step, Workload};
use crate::history::{self, Recorder};
use crate::{Failure, Violation};

/// Clients that read and write a few keys, with and without conditions. The whole history shows
/// whether an order explains it, so that nothing is found before [`Workload::check`].
#[derive(Debug)]
pub struct Registers {
    keys: Vec<Key>,
    recorder: Recorder,
    alone: bool,
}

impl Registers {
    /// So many keys under a prefix of their own: at least ten for long histories, because the
    /// time that a check takes grows with the calls at the same time on one key.
    ///
    /// # Panics
    ///
    /// Where the prefix makes no key.
    #[must_use]
    pub fn new(prefix: &str, keys: usize) -> Self {
        Self {
            alone: true,
            ..Self::among_others(prefix, keys, Recorder::default())
        }
    }

    /// Keys that clients in other processes use as well. Nothing is checked here: read the
    /// journals of all of them with [`history::read`].
    ///
    /// # Panics
    ///
    /// Where the prefix makes no key.
    #[must_use]
    pub fn among_others(prefix: &str, keys: usize, recorder: Recorder) -> Self {
        let key = |i| Key::new(format!("{prefix}{i:04}"));
        let keys: Result<_> = (0..keys).map(key).collect();
        Self {
            keys: keys.expect("the prefix is short enough"),
            recorder,
            alone: false,
        }
    }

    /// The calls so far.
    #[must_use]
    pub fn history(&self) -> Vec<history::Call> {
        self.recorder.history()
    }

    async fn call(&self, store: &dyn KvStore, rng: &mut (dyn Rng + Send)) -> Result<()> {
        let (recorder, key) = (
            &self.recorder,
            &self.keys[rng.random_range(0..self.keys.len())],
        );
        let choice = rng.random_range(0..8);
        if choice < 2 {
            return recorder.put(store, key).await;
        }
        let read = recorder.get(store, key).await?;
        match (choice, read) {
            (2, _) => recorder.delete(store, key).await,
            (3, Some(read)) => recorder.remove(store, &read).await,
            (4 | 5, _) => Ok(()),
            (_, read) => recorder.replace(store, key, read.as_ref()).await,
        }
    }
}

#[async_trait]
impl Workload for Registers {
    async fn open(&self, _: &dyn KvStore) -> Result<()> {
        Ok(())
    }

    async fn step(
        &self,
        store: &dyn KvStore,
        rng: &mut (dyn Rng + Send),
    ) -> Result<Step, Violation> {
        Ok(match self.call(store, rng).await {
            Ok(()) => Step::Done,
            Err(error) if error.is_conflict() => Step::Refused,
            Err(error) => unfinished(error),
        })
    }

    async fn check(&self, _: &dyn KvStore) -> Result<(), Failure> {
        if self.alone {
            let wrong = history::check(&self.history());
            Violation::unless(wrong.is_ok(), || {
                format!("no order explains what was read of {wrong:?}")
            })?;
        }
        Ok(())
    }
}

fn unfinished(error: Error) -> Step {
    match error.outcome() {
        Outcome::Unknown => Step::Unknown(error),
        Outcome::NotApplied => Step::Failed(error),
    }
}
