use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{
    Change, Commit, Condition, Entry, Error, Expected, Key, Operation, Result, Revision,
    Transaction,
};

/// What a transaction does to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The key.
    pub key: Key,
    /// What is stored from now on; `None`: the key is removed.
    pub stored: Option<Stored>,
}

impl Effect {
    /// What watchers are told of it, as a part of the commit `revision`.
    #[must_use]
    pub fn to_change(&self, revision: Revision) -> Change {
        let key = self.key.clone();
        match self.stored.clone() {
            Some(Stored { value, expires_at }) => Change::Put(Entry {
                key,
                value,
                revision,
                expires_at,
            }),
            None => Change::Delete(key),
        }
    }
}

/// A value and its expiry.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: Bytes,
    /// When it expires, in whole milliseconds; `None`: never.
    pub expires_at: Option<SystemTime>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Stored({} bytes, expires {:?})",
            self.value.len(),
            self.expires_at
        )
    }
}

/// What [`evaluate`] found: what has to be written, and what to answer once it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The changes, one for each changed key, in the order of the keys. Empty: there is nothing
    /// to write.
    pub effects: Vec<Effect>,
    operations: Vec<Touched>,
}

/// What an operation meets and leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Touched {
    previous: Option<Revision>,
    current: Left,
}

impl Touched {
    const NOTHING: Self = Self {
        previous: None,
        current: Left::Absent,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Written,
    Unchanged,
    Absent,
}

impl Evaluation {
    /// The answer, where the effects were applied as the commit `revision`, or, where there were
    /// none, where the bucket is at `revision`.
    #[must_use]
    pub fn into_commit(self, revision: Revision) -> Commit {
        let current = |touched: &Touched| match touched.current {
            Left::Written => Some(revision),
            Left::Unchanged => touched.previous,
            Left::Absent => None,
        };
        Commit {
            revision,
            previous: self
                .operations
                .iter()
                .map(|touched| touched.previous)
                .collect(),
            current: self.operations.iter().map(current).collect(),
        }
    }
}

/// Decides about `transaction` at the time `now`, on the entries that `lookup` finds.
///
/// `lookup` may return entries that have expired; they count as absent.
///
/// # Errors
///
/// [`Error::AlreadyExists`] and [`Error::Conflict`] for the first condition that does not hold,
/// and what `lookup` returns.
pub fn evaluate(
    transaction: &Transaction,
    now: SystemTime,
    lookup: impl Fn(&Key) -> Result<Option<Entry>>,
) -> Result<Evaluation> {
    let live = |key: &Key| -> Result<Option<Entry>> {
        Ok(lookup(key)?.filter(|entry| !entry.is_expired(now)))
    };
    for condition in transaction.conditions() {
        check_condition(
            condition,
            live(condition.key())?.map(|entry| entry.revision),
        )?;
    }
    let operations = transaction.operations();
    // Those on one key side by side, in their order.
    let mut by_key: Vec<usize> = (0..operations.len()).collect();
    by_key.sort_by(|one, other| operations[*one].key().cmp(operations[*other].key()));
    let is_same_key =
        |one: &usize, other: &usize| operations[*one].key() == operations[*other].key();
    let mut touched = vec![Touched::NOTHING; operations.len()];
    let mut effects = Vec::with_capacity(operations.len());
    for same in by_key.chunk_by(is_same_key) {
        let last = &operations[same[same.len() - 1]];
        let (before, after) = (live(last.key())?, stored_by(last, now));
        let left = left(before.as_ref(), after.as_ref());
        let is_change = match left {
            Left::Written => true,
            Left::Unchanged => false,
            Left::Absent => before.is_some(),
        };
        for index in same {
            touched[*index] = Touched {
                previous: before.as_ref().map(|entry| entry.revision),
                current: left,
            };
        }
        if is_change {
            effects.push(Effect {
                key: last.key().clone(),
                stored: after,
            });
        }
    }
    Ok(Evaluation {
        effects,
        operations: touched,
    })
}

/// Whether a condition holds for its key, which was last written by the commit `actual`; `None`: there is
/// no such key.
///
/// # Errors
///
/// [`Error::AlreadyExists`] and [`Error::Conflict`].
pub fn check_condition(condition: &Condition, actual: Option<Revision>) -> Result<()> {
    match (condition, actual) {
        (Condition::Absent(_), None) | (Condition::Exists(_), Some(_)) => Ok(()),
        (Condition::At(_, expected), Some(actual)) if *expected == actual => Ok(()),
        (Condition::Absent(key), Some(actual)) => Err(Error::AlreadyExists {
            key: key.clone(),
            actual,
        }),
        (Condition::Exists(key), None) => Err(Error::Conflict {
            key: key.clone(),
            expected: Expected::Exists,
            actual,
        }),
        (Condition::At(key, revision), _) => Err(Error::Conflict {
            key: key.clone(),
            expected: Expected::At(*revision),
            actual,
        }),
    }
}

fn stored_by(operation: &Operation, now: SystemTime) -> Option<Stored> {
    match operation {
        Operation::Put { value, ttl, .. } => Some(Stored {
            value: value.clone(),
            expires_at: ttl.map(|ttl| whole_millis_up(now, ttl)),
        }),
        Operation::Delete { .. } => None,
    }
}

fn left(before: Option<&Entry>, after: Option<&Stored>) -> Left {
    match (before, after) {
        (_, None) => Left::Absent,
        (Some(before), Some(after))
            if before.value == after.value && before.expires_at == after.expires_at =>
        {
            Left::Unchanged
        }
        (_, Some(_)) => Left::Written,
    }
}

/// The time `ttl` after `now`, rounded up to what every backend can store.
fn whole_millis_up(now: SystemTime, ttl: Duration) -> SystemTime {
    let since_epoch = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_add(ttl);
    let millis = since_epoch.as_nanos().div_ceil(1_000_000);
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn entry(text: &str, value: &'static str, revision: u64) -> Entry {
        Entry {
            key: key(text),
            value: Bytes::from_static(value.as_bytes()),
            revision: Revision::new(revision),
            expires_at: None,
        }
    }

    fn on_a_at_3(transaction: &Transaction) -> Result<Evaluation> {
        let now = UNIX_EPOCH + Duration::from_secs(5);
        evaluate(transaction, now, |k| {
            Ok((k.as_str() == "a").then(|| entry("a", "1", 3)))
        })
    }

    #[test]
    fn the_last_operation_on_a_key_wins_and_each_reports_what_was_there_before_the_transaction() {
        let transaction = Transaction::new()
            .put(key("b"), "2")
            .delete(key("a"))
            .put(key("a"), "9")
            .put(key("a"), "10");
        let evaluation = on_a_at_3(&transaction).unwrap();
        let changes = evaluation.effects.iter().map(|effect| {
            let value = effect.stored.as_ref().map(|stored| stored.value.clone());
            (effect.key.as_str(), value.unwrap_or_default())
        });
        let changes: Vec<_> = changes.collect();
        assert_eq!(changes, [("a", "10".into()), ("b", "2".into())]);
        let commit = evaluation.into_commit(Revision::new(7));
        let (old, new) = (Some(Revision::new(3)), Some(Revision::new(7)));
        assert_eq!(commit.previous, [None, old, old, old]);
        assert_eq!(commit.current, [new; 4]);
    }

    #[test]
    fn what_ends_as_it_was_is_not_written() {
        let transaction = Transaction::new()
            .delete(key("a"))
            .put(key("a"), "1")
            .put(key("b"), "2")
            .delete(key("b"));
        let evaluation = on_a_at_3(&transaction).unwrap();
        assert!(evaluation.effects.is_empty());
        let commit = evaluation.into_commit(Revision::new(5));
        let old = Some(Revision::new(3));
        assert_eq!(commit.current, [old, old, None, None]);
    }

    #[test]
    fn an_expired_entry_is_absent_from_conditions_and_is_written_anew() {
        let now = UNIX_EPOCH + Duration::from_secs(5);
        let expired = Entry {
            expires_at: Some(now),
            ..entry("a", "1", 3)
        };
        let lookup = |_: &Key| Ok(Some(expired.clone()));
        let create = Transaction::new()
            .require_absent(key("a"))
            .put(key("a"), "1");
        assert_eq!(evaluate(&create, now, lookup).unwrap().effects.len(), 1);
        let update = Transaction::new().require_at(key("a"), Revision::new(3));
        assert!(matches!(
            evaluate(&update, now, lookup),
            Err(Error::Conflict { actual: None, .. })
        ));
        let delete = Transaction::new().delete(key("a"));
        assert!(evaluate(&delete, now, lookup).unwrap().effects.is_empty());
    }

    #[test]
    fn an_expiry_is_rounded_up_to_milliseconds() {
        let at = whole_millis_up(UNIX_EPOCH, Duration::from_nanos(1));
        assert_eq!(at, UNIX_EPOCH + Duration::from_millis(1));
    }
}
