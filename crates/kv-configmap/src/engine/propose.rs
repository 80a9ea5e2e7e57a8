use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kv_core::backend::Evaluation;
use kv_core::{Commit, Error, Key, Result, Revision, Transaction};

use super::head::{CAPACITY, Head, Room};
use super::version::ResourceVersion;
use super::writers::BatchId;

/// How many expired entries one batch reclaims.
const RECLAIMED_AT_ONCE: usize = 1_024;

/// What becomes of a bucket, if it is still as it was, by a group of transactions.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// What to answer to each transaction once the proposal is in place: there is one outcome for
    /// each of the first transactions. The others did not fit and have to wait.
    pub(crate) outcomes: Vec<Result<Commit>>,
    /// What to write; `None`: the outcomes are verdicts that change nothing.
    pub(crate) write: Option<Write>,
}

/// A head to put in the place of the one that was read.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) head: Head,
    pub(crate) bytes: Bytes,
    pub(crate) batch: BatchId,
}

/// Decides about `transactions`, in order, on the head `base` that was read at `version`: each
/// gets its own outcome, and those that change something become commits of one write.
///
/// `store` names the bucket in errors.
pub(crate) fn propose(
    store: &str,
    base: &Head,
    version: ResourceVersion,
    transactions: &[Arc<Transaction>],
    batch: BatchId,
    now: SystemTime,
) -> Result<Proposal> {
    let mut count = transactions.len();
    loop {
        let draft = Draft::evaluate(base, version, &transactions[..count], now)?;
        match draft.finish(base, batch) {
            Ok(proposal) => return Ok(proposal),
            // Fewer may fit; the others are decided about afterwards, one by one in the end.
            Err(_) if count > 1 => count /= 2,
            Err(excess) => return Ok(excess.refuse(store, base)),
        }
    }
}

/// The state after a group of transactions, not yet encoded.
struct Draft {
    head: Head,
    outcomes: Vec<Result<Commit>>,
    commits: usize,
}

/// The head would be too large: this is how many bytes the data would grow by.
struct Excess(usize);

impl Draft {
    fn evaluate(
        base: &Head,
        version: ResourceVersion,
        transactions: &[Arc<Transaction>],
        now: SystemTime,
    ) -> Result<Self> {
        let mut next = version.next_revision(base.snapshot().revision())?;
        let mut draft = Self {
            head: base.clone(),
            outcomes: Vec::new(),
            commits: 0,
        };
        for transaction in transactions {
            let outcome = match draft.head.snapshot().evaluate(transaction, now) {
                Ok(evaluation) if evaluation.effects.is_empty() => {
                    Ok(evaluation.into_commit(draft.head.snapshot().revision()))
                }
                Ok(evaluation) => {
                    let commit = draft.append(next, evaluation, now);
                    next = Revision::new(next.get() + 1);
                    Ok(commit)
                }
                Err(refusal) => Err(refusal),
            };
            draft.outcomes.push(outcome);
        }
        Ok(draft)
    }

    fn append(&mut self, revision: Revision, evaluation: Evaluation, now: SystemTime) -> Commit {
        // The first commit of a batch reclaims for all of them.
        let most = if self.commits == 0 {
            RECLAIMED_AT_ONCE
        } else {
            0
        };
        let reclaimed: Vec<Key> = self
            .head
            .snapshot_mut()
            .reclaim(now, most)
            .into_iter()
            .map(|(_, key)| key)
            .collect();
        self.head.append(revision, &evaluation.effects, &reclaimed);
        self.commits += 1;
        evaluation.into_commit(revision)
    }

    fn finish(self, base: &Head, batch: BatchId) -> Result<Proposal, Excess> {
        let Self {
            mut head,
            outcomes,
            commits,
        } = self;
        if commits == 0 {
            return Ok(Proposal {
                outcomes,
                write: None,
            });
        }
        head.record(batch);
        let shrinks = head.snapshot().bytes() < base.snapshot().bytes();
        let room = if shrinks {
            Room::ForShrinking
        } else {
            Room::ForGrowth
        };
        match head.encode(room) {
            Some(bytes) => Ok(Proposal {
                outcomes,
                write: Some(Write { head, bytes, batch }),
            }),
            None => Err(Excess(
                head.stored_bytes().saturating_sub(base.stored_bytes()),
            )),
        }
    }
}

impl Excess {
    fn refuse(self, store: &str, base: &Head) -> Proposal {
        let full = Error::BucketFull {
            store: store.to_owned(),
            needed: self.0 as u64,
            available: CAPACITY.saturating_sub(base.stored_bytes()) as u64,
        };
        Proposal {
            outcomes: vec![Err(full)],
            write: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BucketId, Resolution};
    use std::time::{Duration, UNIX_EPOCH};

    const BATCH: BatchId = BatchId {
        writer: 7,
        counter: 1,
    };

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn put(name: &str, value: impl Into<Bytes>) -> Transaction {
        Transaction::new().put(key(name), value)
    }

    fn version(number: u64) -> ResourceVersion {
        number.to_string().parse().unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn arcs(transactions: &[Transaction]) -> Vec<Arc<Transaction>> {
        transactions.iter().cloned().map(Arc::new).collect()
    }

    fn new_head() -> Head {
        Head::new(BucketId([1; 16]))
    }

    fn on(base: &Head, number: u64, transactions: &[Transaction]) -> Proposal {
        propose(
            "a test",
            base,
            version(number),
            &arcs(transactions),
            BATCH,
            at(0),
        )
        .unwrap()
    }

    fn noise(bytes: usize) -> Bytes {
        use rand::{Rng, SeedableRng};
        let mut noise = vec![0; bytes];
        rand::rngs::StdRng::seed_from_u64(bytes as u64).fill_bytes(&mut noise);
        Bytes::from(noise)
    }

    #[test]
    fn a_group_is_one_write_with_an_outcome_for_each() {
        let transactions = [
            put("a", "1"),
            Transaction::new()
                .require_absent(key("a"))
                .put(key("a"), "2"),
            put("a", "1"),
            put("b", "3"),
        ];
        let proposal = on(&new_head(), 5, &transactions);
        let first = Revision::new(5 << 16);
        let second = Revision::new((5 << 16) + 1);
        let revisions: Vec<_> = proposal
            .outcomes
            .iter()
            .map(|o| o.as_ref().map(|c| c.revision).ok())
            .collect();
        assert_eq!(revisions, [Some(first), None, Some(first), Some(second)]);
        let write = proposal.write.unwrap();
        let head = Head::decode(&write.bytes, None).unwrap();
        assert_eq!(head.snapshot().revision(), second);
        assert_eq!(head.resolve(BATCH, Revision::ZERO), Resolution::Applied);
        assert_eq!(head.snapshot().get(&key("a"), at(0)).unwrap().value, "1");
    }

    #[test]
    fn nothing_to_do_writes_nothing() {
        let head = on(&new_head(), 5, &[put("a", "1")]).write.unwrap().head;
        let proposal = on(
            &head,
            6,
            &[put("a", "1"), Transaction::new().delete(key("z"))],
        );
        assert!(proposal.write.is_none());
        assert!(proposal.outcomes.iter().all(Result::is_ok));
    }

    #[test]
    fn at_least_95_percent_of_the_object_is_usable() {
        let usable = 1024 * 1024 * 95 / 100;
        let proposal = on(&new_head(), 5, &[put("a", noise(usable))]);
        assert!(proposal.outcomes[0].is_ok());
        let write = proposal.write.unwrap();
        assert!(write.bytes.len() <= 1024 * 1024);
        let full = on(&write.head, 6, &[put("b", noise(usable / 10))]);
        assert!(full.write.is_none());
        let Err(Error::BucketFull {
            needed, available, ..
        }) = &full.outcomes[0]
        else {
            panic!("{:?}", full.outcomes)
        };
        assert!(*needed > usable as u64 / 11 && *available < usable as u64 / 11);
    }

    #[test]
    fn a_full_bucket_with_a_full_table_of_writers_fits_into_the_object() {
        let mut head = on(&new_head(), 5, &[put("a", noise(CAPACITY - 1_000))])
            .write
            .unwrap()
            .head;
        let mut largest = 0;
        for writer in 0..200 {
            let batch = BatchId {
                writer: u64::MAX - writer,
                counter: u64::MAX,
            };
            let transactions = [put("b", writer.to_string())];
            let number = version((1 << 47) + writer);
            let proposal =
                propose("a test", &head, number, &arcs(&transactions), batch, at(0)).unwrap();
            let write = proposal.write.unwrap();
            largest = largest.max(write.bytes.len());
            head = write.head;
        }
        assert!(largest <= 1024 * 1024, "{largest}");
    }

    #[test]
    fn what_does_not_fit_waits_and_does_not_fail_its_neighbours() {
        let third = CAPACITY / 3;
        let transactions: Vec<_> = (0..8)
            .map(|n| put(&format!("k{n}"), noise(third + n)))
            .collect();
        let proposal = on(&new_head(), 5, &transactions);
        assert_eq!(proposal.outcomes.len(), 2);
        assert!(proposal.outcomes.iter().all(Result::is_ok));
        let head = proposal.write.unwrap().head;
        let proposal = on(&head, 6, &transactions[2..]);
        assert_eq!(proposal.outcomes.len(), 1);
        assert!(matches!(
            proposal.outcomes[0],
            Err(Error::BucketFull { .. })
        ));
    }

    #[test]
    fn a_full_bucket_can_be_emptied() {
        let mut head = new_head();
        let mut number = 5;
        while let Some(write) = on(
            &head,
            number,
            &[put(&format!("{number}"), noise(10_000 + number as usize))],
        )
        .write
        {
            head = write.head;
            number += 1;
        }
        for number in 5..number {
            let delete = Transaction::new().delete(key(&format!("{number}")));
            head = on(&head, number + 500, &[delete]).write.unwrap().head;
        }
        assert!(head.snapshot().is_empty());
        assert!(head.stored_bytes() < 8 * 1024);
    }

    #[test]
    fn the_first_commit_reclaims_what_has_expired() {
        let session = Transaction::new().put_expiring(key("s"), "x", Duration::from_secs(10));
        let head = on(&new_head(), 5, &[session]).write.unwrap().head;
        let proposal = propose(
            "a test",
            &head,
            version(6),
            &arcs(&[put("a", "1")]),
            BATCH,
            at(10),
        )
        .unwrap();
        let head = Head::decode(&proposal.write.unwrap().bytes, Some(&head)).unwrap();
        assert_eq!(head.snapshot().len(), 1);
    }
}
