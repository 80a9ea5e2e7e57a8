use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use kv_core::{Entry, Key, KvStore, KvStoreExt, Outcome, Result};

use super::{Action, Call, Value};

/// Makes calls for clients and notes them. All clients of a history share one.
///
/// Values are numbers of its own, each written once, so that every read tells which write it saw.
#[derive(Debug, Default)]
pub struct Recorder {
    time: AtomicU64,
    values: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    /// Reads an entry.
    ///
    /// # Errors
    ///
    /// As the store; the call is then left out.
    pub async fn get(&self, store: &dyn KvStore, key: &Key) -> Result<Option<Entry>> {
        let invoked = self.now();
        let found = store.get(key).await?;
        self.note(key, invoked, true, Action::Read(found.as_ref().map(number)));
        Ok(found)
    }

    /// Puts a new value, whatever is there.
    pub async fn put(&self, store: &dyn KvStore, key: &Key) {
        let (invoked, new) = (self.now(), self.value());
        let result = store.put(key, new.to_string()).await;
        self.wrote(key, invoked, &result, Action::Write(Some(new)), None);
    }

    /// Deletes, whatever is there.
    pub async fn delete(&self, store: &dyn KvStore, key: &Key) {
        let invoked = self.now();
        let result = store.delete(key).await;
        self.wrote(key, invoked, &result, Action::Write(None), None);
    }

    /// Puts a new value in the place of what was read, or where nothing was.
    pub async fn replace(&self, store: &dyn KvStore, key: &Key, read: Option<&Entry>) {
        let (invoked, new) = (self.now(), self.value());
        let text = new.to_string();
        let result = match read {
            Some(entry) => store.update(key, text, entry.revision).await,
            None => store.create(key, text).await,
        };
        let old = read.map(number);
        let done = Action::Replace {
            old,
            new: Some(new),
        };
        self.wrote(key, invoked, &result, done, Some(Action::Refused(old)));
    }

    /// Deletes exactly what was read.
    pub async fn remove(&self, store: &dyn KvStore, read: &Entry) {
        let invoked = self.now();
        let result = store.delete_at(&read.key, read.revision).await;
        let old = Some(number(read));
        let done = Action::Replace { old, new: None };
        self.wrote(
            &read.key,
            invoked,
            &result,
            done,
            Some(Action::Refused(old)),
        );
    }

    /// The calls so far.
    #[must_use]
    pub fn into_history(self) -> Vec<Call> {
        self.calls
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a write: as done, as refused, or as one that may have been applied. One that was
    /// surely not applied for another reason is left out.
    fn wrote<T>(
        &self,
        key: &Key,
        invoked: u64,
        result: &Result<T>,
        done: Action,
        refused: Option<Action>,
    ) {
        match (result, refused) {
            (Ok(_), _) => self.note(key, invoked, true, done),
            (Err(error), Some(refused)) if error.is_conflict() => {
                self.note(key, invoked, true, refused);
            }
            (Err(error), _) if error.outcome() == Outcome::Unknown => {
                self.note(key, invoked, false, done);
            }
            (Err(_), _) => {}
        }
    }

    fn note(&self, key: &Key, invoked: u64, known: bool, action: Action) {
        let returned = known.then(|| self.now());
        let call = Call {
            key: key.clone(),
            invoked,
            returned,
            action,
        };
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
    }

    fn now(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst)
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }
}

/// The number that this recorder wrote.
fn number(entry: &Entry) -> u64 {
    let text = std::str::from_utf8(&entry.value).ok();
    let number: Value = text.and_then(|text| text.parse().ok());
    number.expect("a history has keys of its own")
}
