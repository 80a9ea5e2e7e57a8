use std::io::{self, BufRead};

use kv_core::{Entry, Key, KvStore, KvStoreExt, Outcome, Result};
use serde::{Deserialize, Serialize};

use super::{Action, Call, Value};
use crate::journal::{self, Attempt, Journal};

/// What a [`Recorder`] notes before a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    key: Key,
    call: Intent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Intent {
    Read,
    /// To write a value that is the id of the call.
    Put,
    Delete,
    /// To write a value that is the id of the call in the place of this.
    Replace(Value),
    Remove(Value),
}

/// What a [`Recorder`] notes after a call whose outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// This was read.
    Read(Value),
    /// It was written.
    Written,
    /// A condition did not hold.
    Refused,
    /// It failed, and wrote nothing for sure.
    NotApplied,
}

/// Makes calls for clients and notes them. All clients of a process share one; the histories of
/// several processes are put together with [`read`].
///
/// Values are numbers of its own, each written once, so that every read tells which write it saw.
#[derive(Debug, Default)]
pub struct Recorder {
    journal: Journal<Begun, Answer>,
}

impl Recorder {
    /// Notes into that journal.
    #[must_use]
    pub fn new(journal: Journal<Begun, Answer>) -> Self {
        Self { journal }
    }

    /// Reads an entry.
    ///
    /// # Errors
    ///
    /// As the store; the call is then left out.
    pub async fn get(&self, store: &dyn KvStore, key: &Key) -> Result<Option<Entry>> {
        let id = self.begin(key, Intent::Read);
        let found = store.get(key).await;
        let answer = match &found {
            Ok(found) => Answer::Read(found.as_ref().map(number)),
            Err(_) => Answer::NotApplied,
        };
        self.journal.end(id, answer);
        found
    }

    /// Puts a new value, whatever is there.
    ///
    /// # Errors
    ///
    /// As the store; the call is noted as what it may have done.
    pub async fn put(&self, store: &dyn KvStore, key: &Key) -> Result<()> {
        let id = self.begin(key, Intent::Put);
        self.end(id, store.put(key, id.to_string()).await)
    }

    /// Deletes, whatever is there.
    ///
    /// # Errors
    ///
    /// As for [`Recorder::put`].
    pub async fn delete(&self, store: &dyn KvStore, key: &Key) -> Result<()> {
        let id = self.begin(key, Intent::Delete);
        self.end(id, store.delete(key).await)
    }

    /// Puts a new value in the place of what was read, or where nothing was.
    ///
    /// # Errors
    ///
    /// As for [`Recorder::put`].
    pub async fn replace(
        &self,
        store: &dyn KvStore,
        key: &Key,
        read: Option<&Entry>,
    ) -> Result<()> {
        let id = self.begin(key, Intent::Replace(read.map(number)));
        let new = id.to_string();
        let result = match read {
            Some(entry) => store.update(key, new, entry.revision).await,
            None => store.create(key, new).await,
        };
        self.end(id, result)
    }

    /// Deletes exactly what was read.
    ///
    /// # Errors
    ///
    /// As for [`Recorder::put`].
    pub async fn remove(&self, store: &dyn KvStore, read: &Entry) -> Result<()> {
        let id = self.begin(&read.key, Intent::Remove(Some(number(read))));
        self.end(id, store.delete_at(&read.key, read.revision).await)
    }

    /// The calls so far. Those that have not ended have an unknown outcome.
    #[must_use]
    pub fn history(&self) -> Vec<Call> {
        let calls = |attempts: &[Attempt<_, _>]| attempts.iter().filter_map(call).collect();
        self.journal.with(calls)
    }

    fn begin(&self, key: &Key, call: Intent) -> u64 {
        let key = key.clone();
        self.journal.begin(Begun { key, call })
    }

    fn end<T>(&self, id: u64, result: Result<T>) -> Result<()> {
        let answer = match &result {
            Ok(_) => Some(Answer::Written),
            Err(error) if error.is_conflict() => Some(Answer::Refused),
            Err(error) if error.outcome() == Outcome::Unknown => None,
            Err(_) => Some(Answer::NotApplied),
        };
        if let Some(answer) = answer {
            self.journal.end(id, answer);
        }
        result.map(|_| ())
    }
}

/// Reads the journals that the recorders of several clients wrote, as one history.
///
/// # Errors
///
/// As [`journal::read`].
pub fn read(journals: impl IntoIterator<Item = impl BufRead>) -> io::Result<Vec<Call>> {
    let attempts: Vec<Attempt<Begun, Answer>> = journal::read(journals)?;
    Ok(attempts.iter().filter_map(call).collect())
}

/// The call as the checker takes it; `None`: it says nothing.
fn call(attempt: &Attempt<Begun, Answer>) -> Option<Call> {
    let written = Some(attempt.id);
    let done = match attempt.what.call {
        Intent::Read => Action::Read(None),
        Intent::Put => Action::Write(written),
        Intent::Delete => Action::Write(None),
        Intent::Replace(old) => Action::Replace { old, new: written },
        Intent::Remove(old) => Action::Replace { old, new: None },
    };
    let answer = attempt.end.as_ref().map(|end| end.result);
    let action = match (answer, done) {
        (Some(Answer::NotApplied), _) | (None, Action::Read(_)) => return None,
        (Some(Answer::Read(value)), _) => Action::Read(value),
        (Some(Answer::Refused), Action::Replace { old, .. }) => Action::Refused(old),
        (_, done) => done,
    };
    Some(Call {
        key: attempt.what.key.clone(),
        invoked: attempt.began,
        returned: attempt.end.as_ref().map(|end| end.at),
        action,
    })
}

/// The number that a recorder wrote.
fn number(entry: &Entry) -> u64 {
    let text = std::str::from_utf8(&entry.value).ok();
    let number: Value = text.and_then(|text| text.parse().ok());
    number.expect("a history has keys of its own")
}
