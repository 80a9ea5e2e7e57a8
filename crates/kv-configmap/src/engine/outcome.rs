//! What became of the transactions of a batch that another writer has committed, in a few bytes each.

use std::sync::Arc;

use kv_core::backend::check_condition;
use kv_core::{Commit, Error, Result, Revision, Transaction};

use super::proto;

/// What an operation has left.
const WRITTEN: u32 = 0;
const UNCHANGED: u32 = 1;
const ABSENT: u32 = 2;

/// The outcomes of a batch whose last revision is `last`. A batch of which an outcome has no place in
/// them is told nothing.
pub(super) fn to_proto(
    transactions: &[Arc<Transaction>],
    outcomes: &[Result<Commit>],
    last: Revision,
) -> proto::Outcomes {
    let mut told = proto::Outcomes::default();
    for (index, (transaction, outcome)) in transactions.iter().zip(outcomes).enumerate() {
        let is_told = match outcome {
            Ok(commit) => tell_commit(&mut told, commit, last),
            Err(error) => tell_refusal(&mut told, index, transaction, error, last),
        };
        if is_told.is_none() {
            return proto::Outcomes::default();
        }
    }
    if told.left.iter().all(|left| *left == WRITTEN) {
        told.left = Vec::new();
    }
    told
}

fn tell_commit(told: &mut proto::Outcomes, commit: &Commit, last: Revision) -> Option<()> {
    told.ages.push(age(Some(commit.revision), last)?);
    for previous in &commit.previous {
        told.previous_ages.push(age(*previous, last)?);
    }
    told.left
        .extend(commit.current.iter().map(|current| match current {
            None => ABSENT,
            Some(current) if *current == commit.revision => WRITTEN,
            Some(_) => UNCHANGED,
        }));
    Some(())
}

fn tell_refusal(
    told: &mut proto::Outcomes,
    index: usize,
    transaction: &Transaction,
    error: &Error,
    last: Revision,
) -> Option<()> {
    let (key, actual) = match error {
        Error::AlreadyExists { key, actual } => (key, Some(*actual)),
        Error::Conflict { key, actual, .. } => (key, *actual),
        _ => return None,
    };
    let mut conditions = transaction.conditions().iter();
    let condition =
        conditions.position(|one| one.key() == key && check_condition(one, actual).is_err())?;
    told.ages.push(0);
    told.refusals.push(proto::Refusal {
        transaction: u32::try_from(index).ok()?,
        condition: u32::try_from(condition).ok()?,
        actual_age: age(actual, last)?,
    });
    Some(())
}

/// The outcomes of these transactions. `None`: they are not told.
pub(super) fn from_proto(
    transactions: &[Arc<Transaction>],
    told: &proto::Outcomes,
    last: Revision,
) -> Option<Vec<Result<Commit>>> {
    if told.ages.len() != transactions.len() {
        return None;
    }
    let left = told.left.iter().copied().map(Some);
    let all_written = std::iter::repeat_n(Some(WRITTEN), told.previous_ages.len());
    let mut left: Box<dyn Iterator<Item = _>> = match told.left.is_empty() {
        true => Box::new(all_written),
        false => Box::new(left),
    };
    let mut previous = told.previous_ages.iter();
    let mut refusals = told.refusals.iter();
    let outcomes = transactions.iter().zip(&told.ages).enumerate();
    let outcomes = outcomes.map(|(index, (transaction, age))| {
        let Some(revision) = of_age(*age, last)? else {
            return Some(Err(refusal(index, transaction, refusals.next()?, last)?));
        };
        let mut commit = Commit {
            revision,
            previous: Vec::new(),
            current: Vec::new(),
        };
        for _ in transaction.operations() {
            let previous = of_age(*previous.next()?, last)?;
            commit.previous.push(previous);
            commit.current.push(match left.next()?? {
                WRITTEN => Some(revision),
                UNCHANGED => previous,
                _ => None,
            });
        }
        Some(Ok(commit))
    });
    outcomes.collect()
}

fn refusal(
    index: usize,
    transaction: &Transaction,
    told: &proto::Refusal,
    last: Revision,
) -> Option<Error> {
    let condition = transaction.conditions().get(told.condition as usize)?;
    let checked = check_condition(condition, of_age(told.actual_age, last)?);
    checked.err().filter(|_| told.transaction as usize == index)
}

/// How far a revision lies before `last`, counted from 1; 0: there is none. The outer `None`: it does not.
fn age(revision: Option<Revision>, last: Revision) -> Option<u64> {
    let Some(revision) = revision else {
        return Some(0);
    };
    last.get().checked_sub(revision.get())?.checked_add(1)
}

/// The outer `None`: there cannot be such a revision.
fn of_age(age: u64, last: Revision) -> Option<Option<Revision>> {
    let Some(before) = age.checked_sub(1) else {
        return Some(None);
    };
    let revision = last.get().checked_sub(before)?;
    Some(Some(Revision::new(revision)))
}

#[cfg(test)]
mod tests {
    use kv_core::{Expected, Key};
    use prost::Message;

    use super::*;

    const LAST: Revision = Revision::new(1 << 40);

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn before(age: u64) -> Revision {
        Revision::new(LAST.get() - age)
    }

    #[test]
    fn what_is_told_is_what_became_of_each() {
        let transaction = Transaction::new()
            .require_absent(key("new"))
            .require_at(key("old"), Revision::new(7))
            .require_exists(key("there"))
            .put(key("old"), "1")
            .put(key("same"), "2")
            .delete(key("gone"));
        let outcomes = [
            Ok(Commit {
                revision: before(1),
                previous: vec![Some(Revision::new(7)), Some(before(900)), None],
                current: vec![Some(before(1)), Some(before(900)), None],
            }),
            Err(Error::AlreadyExists {
                key: key("new"),
                actual: LAST,
            }),
            Ok(Commit {
                revision: LAST,
                previous: vec![None, None, None],
                current: vec![Some(LAST); 3],
            }),
            Err(Error::Conflict {
                key: key("old"),
                expected: Expected::At(Revision::new(7)),
                actual: Some(Revision::new(8)),
            }),
            Err(Error::Conflict {
                key: key("there"),
                expected: Expected::Exists,
                actual: None,
            }),
        ];
        let transaction = Arc::new(transaction);
        let transactions: Vec<_> = outcomes.iter().map(|_| transaction.clone()).collect();
        let told = to_proto(&transactions, &outcomes, LAST);
        let read = from_proto(&transactions, &told, LAST).unwrap();
        assert_eq!(format!("{read:?}"), format!("{outcomes:?}"));
    }

    #[test]
    fn a_put_takes_few_bytes() {
        let transactions: Vec<_> = (0..64)
            .map(|number| Arc::new(Transaction::new().put(key(&format!("{number}")), "v")))
            .collect();
        // Each key was written some hundred versions ago.
        let outcome = |number: u64| {
            Ok(Commit {
                revision: before(63 - number),
                previous: vec![Some(before(100 << 16))],
                current: vec![Some(before(63 - number))],
            })
        };
        let outcomes: Vec<_> = (0..64).map(outcome).collect();
        let told = to_proto(&transactions, &outcomes, LAST);
        assert!(told.encoded_len() <= 64 * 5 + 8, "{}", told.encoded_len());
    }

    #[test]
    fn what_does_not_fit_the_transactions_tells_nothing() {
        let transactions = [Arc::new(Transaction::new().put(key("k"), "v"))];
        let good = proto::Outcomes {
            ages: vec![1],
            previous_ages: vec![0],
            ..proto::Outcomes::default()
        };
        assert!(from_proto(&transactions, &good, LAST).is_some());
        let refusal = proto::Refusal::default();
        let bad = [
            proto::Outcomes::default(),
            proto::Outcomes {
                ages: vec![0],
                ..good.clone()
            },
            proto::Outcomes {
                ages: vec![0],
                refusals: vec![refusal],
                ..good.clone()
            },
            proto::Outcomes {
                ages: vec![LAST.get() + 2],
                ..good.clone()
            },
            proto::Outcomes {
                ages: vec![1, 1],
                ..good.clone()
            },
            proto::Outcomes {
                previous_ages: vec![],
                ..good.clone()
            },
            proto::Outcomes {
                previous_ages: vec![u64::MAX],
                ..good
            },
        ];
        for told in bad {
            assert!(from_proto(&transactions, &told, LAST).is_none(), "{told:?}");
        }
        let closed = Error::Closed {
            store: "s".to_owned(),
        };
        let told = to_proto(&transactions, &[Err(closed)], LAST);
        assert!(from_proto(&transactions, &told, LAST).is_none());
    }
}
