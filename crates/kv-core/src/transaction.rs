use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::{Bound, Error, Key, Limits, Result, Revision};

/// Conditions, and operations on any number of keys, that are applied all or not at all.
///
/// Operations on the same key apply in order, so the last one wins. Conditions look at the state
/// before the transaction. Build one, then hand it to [`KvStore::commit`](crate::KvStore::commit).
///
/// # Example
///
/// ```
/// use kv_core::{Key, Revision, Transaction};
///
/// let (from, to) = (Key::new("accounts/anna")?, Key::new("accounts/ben")?);
/// let transfer = Transaction::new()
///     .require_at(&from, Revision::new(41))
///     .require_at(&to, Revision::new(37))
///     .put(&from, "90")
///     .put(&to, "110");
/// assert_eq!(transfer.operations().len(), 2);
/// # Ok::<(), kv_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    conditions: Vec<Condition>,
    operations: Vec<Operation>,
}

/// What must hold for a [`Transaction`] to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no such key.
    Absent(Key),
    /// The key was last written by exactly this commit.
    At(Key, Revision),
    /// There is such a key.
    Exists(Key),
}

/// One change of a [`Transaction`]. `Debug` shows the length of a value, never its bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Operation {
    /// Store the value under the key.
    Put {
        /// The key.
        key: Key,
        /// The value.
        value: Bytes,
        /// How long the entry lives; `None`: until it is overwritten or deleted.
        ttl: Option<Duration>,
    },
    /// Remove the key; without effect where it is missing.
    Delete {
        /// The key.
        key: Key,
    },
}

impl Transaction {
    /// The longest time to live: 100 years.
    pub const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

    /// A transaction without conditions or operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that there is no such key.
    #[must_use]
    pub fn require_absent(self, key: impl Into<Key>) -> Self {
        self.with_condition(Condition::Absent(key.into()))
    }

    /// Demands that the key was last written by the commit `revision`.
    #[must_use]
    pub fn require_at(self, key: impl Into<Key>, revision: Revision) -> Self {
        self.with_condition(Condition::At(key.into(), revision))
    }

    /// Demands that there is such a key.
    #[must_use]
    pub fn require_exists(self, key: impl Into<Key>) -> Self {
        self.with_condition(Condition::Exists(key.into()))
    }

    /// Stores `value` under `key`, for good: an earlier expiry is cleared.
    #[must_use]
    pub fn put(self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.with_operation(Operation::Put {
            key: key.into(),
            value: value.into(),
            ttl: None,
        })
    }

    /// Stores `value` under `key` for the time `ttl`, rounded up to whole milliseconds.
    #[must_use]
    pub fn put_expiring(self, key: impl Into<Key>, value: impl Into<Bytes>, ttl: Duration) -> Self {
        let (key, value) = (key.into(), value.into());
        self.with_operation(Operation::Put {
            key,
            value,
            ttl: Some(ttl),
        })
    }

    /// Removes `key`.
    #[must_use]
    pub fn delete(self, key: impl Into<Key>) -> Self {
        self.with_operation(Operation::Delete { key: key.into() })
    }

    /// Adds a condition.
    #[must_use]
    pub fn with_condition(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds an operation, after those already there.
    #[must_use]
    pub fn with_operation(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// The conditions.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// The operations, in order.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The conditions and the operations, to build another transaction from.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Condition>, Vec<Operation>) {
        (self.conditions, self.operations)
    }

    /// Checks everything that can be known without looking at the store: the door through which
    /// a backend lets a transaction in.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] and [`Error::ZeroTtl`].
    pub fn check(&self, limits: &Limits) -> Result<()> {
        let most = limits.transaction_operations;
        check_bound(Bound::Operations, None, self.operations.len(), most)?;
        check_bound(Bound::Conditions, None, self.conditions.len(), most)?;
        for condition in &self.conditions {
            let key = condition.key();
            check_bound(Bound::Key, Some(key), key.as_str().len(), limits.key_bytes)?;
        }
        self.operations
            .iter()
            .try_for_each(|operation| operation.check(limits))
    }
}

impl Condition {
    /// The key that the condition is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::At(key, _) | Self::Exists(key) => key,
        }
    }
}

impl Operation {
    /// The key that the operation changes.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn check(&self, limits: &Limits) -> Result<()> {
        let key = self.key();
        check_bound(Bound::Key, Some(key), key.as_str().len(), limits.key_bytes)?;
        let Self::Put { value, ttl, .. } = self else {
            return Ok(());
        };
        check_bound(Bound::Value, Some(key), value.len(), limits.value_bytes)?;
        match ttl {
            Some(ttl) if ttl.is_zero() => Err(Error::ZeroTtl { key: key.clone() }),
            Some(ttl) if *ttl > Transaction::MAX_TTL => Err(Error::TooLarge {
                what: Bound::Ttl,
                key: Some(key.clone()),
                actual: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
                limit: Transaction::MAX_TTL.as_millis() as u64,
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, ttl } => f
                .debug_struct("Put")
                .field("key", key)
                .field("value", &format_args!("{} bytes", value.len()))
                .field("ttl", ttl)
                .finish(),
            Self::Delete { key } => f.debug_struct("Delete").field("key", key).finish(),
        }
    }
}

fn check_bound(what: Bound, key: Option<&Key>, actual: usize, limit: usize) -> Result<()> {
    if actual <= limit {
        return Ok(());
    }
    let key = key.cloned();
    Err(Error::TooLarge {
        what,
        key,
        actual: actual as u64,
        limit: limit as u64,
    })
}

/// A [`Transaction`] that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The revision of the commit; where nothing had to be written, the revision the bucket is at.
    pub revision: Revision,
    /// For each operation the revision that its key had before the transaction; `None`: the key
    /// was missing.
    pub previous: Vec<Option<Revision>>,
    /// For each operation the revision that its key has after the transaction; `None`: the key
    /// is missing. A put of what was stored already leaves the entry at its old revision.
    pub current: Vec<Option<Revision>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn debug_shows_no_value() {
        let text = format!("{:?}", Transaction::new().put(key("k"), "canary"));
        assert!(
            text.contains("6 bytes") && !text.contains("canary"),
            "{text}"
        );
    }

    #[test]
    fn every_bound_holds_at_the_limit_and_breaks_one_above() {
        let limits = Limits {
            key_bytes: 2,
            value_bytes: 3,
            transaction_operations: 2,
            ..Limits::CONTRACT
        };
        let check = |transaction: Transaction| transaction.check(&limits);
        assert!(check(Transaction::new().put(key("ab"), "123").delete(key("c"))).is_ok());
        for over in [
            Transaction::new().put(key("abc"), ""),
            Transaction::new().put(key("a"), "1234"),
            Transaction::new()
                .delete(key("a"))
                .delete(key("b"))
                .delete(key("c")),
            Transaction::new().require_exists(key("abc")),
            (0..3).fold(Transaction::new(), |t, _| t.require_exists(key("a"))),
            Transaction::new().put_expiring(key("a"), "", Transaction::MAX_TTL * 2),
            Transaction::new().put_expiring(key("a"), "", Duration::MAX),
        ] {
            assert!(matches!(check(over), Err(Error::TooLarge { .. })));
        }
        let never = Transaction::new().put_expiring(key("a"), "", Duration::ZERO);
        assert!(matches!(check(never), Err(Error::ZeroTtl { .. })));
    }
}
