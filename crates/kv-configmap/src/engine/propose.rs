use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kv_core::backend::Record;
use kv_core::{Commit, Error, Result, Revision, Transaction};

use super::edit::Edit;
use super::group::NewCommit;
use super::head::{CAPACITY, Excess, Head, Room};
use super::layout::Layout;
use super::maintain::can_shrink_manifest;
use super::outcome;
use super::segment::NewSegment;
use super::version::ResourceVersion;
use super::writers::{BatchId, OUTCOME_BYTES, outcome_bytes};
use crate::hooks::Bug;

/// What is to become of a bucket.
pub(crate) struct Request<'a> {
    /// Names the bucket in errors.
    pub(crate) store: &'a str,
    pub(crate) layout: &'a Layout,
    pub(crate) transactions: &'a [Arc<Transaction>],
    pub(crate) batch: BatchId,
    pub(crate) now: SystemTime,
    /// Rides along, if it still fits.
    pub(crate) edit: Option<&'a Edit>,
    /// Keeps the names of segments for large commits from being used again. The same where the
    /// same transactions are decided about again, so that their segments serve again.
    pub(crate) nonce: u64,
    /// Batches of others, which are decided about after the transactions. Those that do not fit, or that
    /// may be applied already, are left out.
    pub(crate) forwarded: &'a [Forwarded],
    /// The writer that others may offer their batches to from now on; 0: none.
    pub(crate) leader: u64,
    /// Writes the batch id, also where there is nothing else to write.
    pub(crate) is_recorded: bool,
}

/// A batch that another writer has offered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forwarded {
    pub(crate) batch: BatchId,
    /// The commit up to which it is certain that the batch is not applied.
    pub(crate) after: Revision,
    /// The time by which it is decided about.
    pub(crate) now: SystemTime,
    pub(crate) transactions: Vec<Arc<Transaction>>,
}

/// What becomes of a bucket, if it is still as it was, by a group of transactions.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// What to answer to each transaction once the proposal is in place: there is one outcome for
    /// each of the first transactions. The others did not fit and have to wait; all of them, where
    /// there is no outcome: until a flush or a merge has made room, which may be all that is written.
    pub(crate) outcomes: Vec<Result<Commit>>,
    /// What to write; `None`: the outcomes are verdicts that change nothing.
    pub(crate) write: Option<Write>,
}

impl Proposal {
    fn wait() -> Self {
        Self {
            outcomes: Vec::new(),
            write: None,
        }
    }
}

/// A head to put in the place of the one that was read.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) head: Head,
    pub(crate) bytes: Bytes,
    pub(crate) batch: BatchId,
    /// The commits, in order.
    pub(crate) records: Vec<Arc<Record>>,
    /// What has to be there before the head names it.
    pub(crate) segments: Vec<NewSegment>,
    pub(crate) has_edit: bool,
    pub(crate) has_forwarded: bool,
}

/// Decides about transactions, in order, on the head `base` that was read at `version`: each
/// gets its own outcome, and those that change something become commits of one write.
pub(crate) fn propose(
    base: &Head,
    version: ResourceVersion,
    request: &Request<'_>,
) -> Result<Proposal> {
    let (mut count, mut reclaims) = (request.transactions.len(), true);
    let mut forwarded = request.forwarded;
    loop {
        let draft = Draft::evaluate(base, version, request, count, forwarded, reclaims)?;
        let has_reclaimed = draft.has_reclaimed();
        match draft.finish(base, request) {
            Ok(proposal) => return Ok(proposal),
            // The others are decided about with the next write, or tried by their writers.
            Err(_) if !forwarded.is_empty() => forwarded = &forwarded[..forwarded.len() / 2],
            // Fewer may fit; the others are decided about afterwards, one by one in the end.
            Err(_) if count > 1 => count /= 2,
            // An edit alone has to wait until there is room.
            Err(_) if count == 0 => return Ok(Proposal::wait()),
            Err((excess, head)) if !can_make_room(excess, base, request.layout) => {
                if !has_reclaimed {
                    let full = full(excess, &head, base, request);
                    return refuse(full, base, version, request);
                }
                // What expires at one time is reclaimed at once, and may be more than a head holds.
                // It has to stay, absent: nothing else could be written any more.
                (count, reclaims) = (request.transactions.len(), false);
            }
            // One that makes too little room for this transaction makes room for the next edit.
            Err(_) if request.edit.is_some() => count = 0,
            Err(_) => return Ok(Proposal::wait()),
        }
    }
}

/// Whether flushes and merges make room for what is too much for a head on `base`.
fn can_make_room(excess: Excess, base: &Head, layout: &Layout) -> bool {
    layout.has_segments
        && match excess {
            Excess::Head => base.is_flush_due(layout),
            Excess::Manifest => can_shrink_manifest(base, layout),
            Excess::Bucket => false,
        }
}

/// The state after a group of transactions, not yet encoded.
struct Draft {
    head: Head,
    /// The revision of the next commit.
    next: Revision,
    reclaims: bool,
    commits: Vec<NewCommit>,
    outcomes: Vec<Result<Commit>>,
    records: Vec<Arc<Record>>,
    segments: Vec<NewSegment>,
    has_edit: bool,
    has_forwarded: bool,
}

impl Draft {
    fn evaluate(
        base: &Head,
        version: ResourceVersion,
        request: &Request<'_>,
        count: usize,
        forwarded: &[Forwarded],
        reclaims: bool,
    ) -> Result<Self> {
        let mut next = version.next_revision(base.revision())?;
        if request.layout.bug == Some(Bug::RevisionReused) {
            next = Revision::new(base.revision().get() + 1);
        }
        let mut head = base.clone();
        let has_edit = request
            .edit
            .is_some_and(|edit| head.apply(edit, request.layout));
        head.lead(request.leader, request.batch.writer);
        let mut draft = Self {
            head,
            next,
            reclaims,
            commits: Vec::new(),
            outcomes: Vec::new(),
            records: Vec::new(),
            segments: Vec::new(),
            has_edit,
            has_forwarded: false,
        };
        draft.outcomes = request.transactions[..count]
            .iter()
            .map(|transaction| draft.decide(transaction, request.now))
            .collect();
        draft.take_forwarded(forwarded, request);
        draft.segments = draft
            .head
            .log(&draft.commits, request.layout, request.nonce);
        Ok(draft)
    }

    /// Applies a transaction, or refuses it.
    fn decide(&mut self, transaction: &Transaction, now: SystemTime) -> Result<Commit> {
        let mut evaluation = self.head.snapshot().evaluate(transaction, now)?;
        if evaluation.effects.is_empty() {
            return Ok(evaluation.into_commit(self.head.revision()));
        }
        // The first commit of a batch reclaims for all of them.
        let reclaims = self.reclaims && self.records.is_empty();
        let revision = self.next;
        let commit = NewCommit {
            revision,
            effects: std::mem::take(&mut evaluation.effects),
            reclaimed: self.head.expired(now, reclaims),
        };
        self.records.push(Arc::new(self.head.step(&commit)));
        self.commits.push(commit);
        self.next = Revision::new(revision.get() + 1);
        Ok(evaluation.into_commit(revision))
    }

    /// Decides about the batches of others, each as a whole and once.
    fn take_forwarded(&mut self, forwarded: &[Forwarded], request: &Request<'_>) {
        let is_unchecked = request.layout.bug == Some(Bug::OfferTakenTwice);
        let mut bytes = 0;
        for one in forwarded {
            if !(self.head.can_commit(one.batch, one.after) || is_unchecked) {
                continue;
            }
            let transactions = &one.transactions;
            let outcomes: Vec<_> = transactions
                .iter()
                .map(|transaction| self.decide(transaction, one.now))
                .collect();
            let revision = self.head.revision();
            let outcomes = outcome::to_proto(transactions, &outcomes, revision);
            bytes += outcome_bytes(&outcomes);
            self.head.record_for(one.batch, outcomes);
            self.has_forwarded = true;
            // Those of the write before are to be remembered, too.
            if bytes > OUTCOME_BYTES * 2 / 5 {
                return;
            }
        }
    }

    fn has_reclaimed(&self) -> bool {
        self.records
            .iter()
            .any(|record| !record.reclaimed.is_empty())
    }

    fn finish(self, base: &Head, request: &Request<'_>) -> Result<Proposal, (Excess, Box<Head>)> {
        let Self {
            mut head,
            outcomes,
            records,
            segments,
            has_edit,
            has_forwarded,
            ..
        } = self;
        // What became of the batches of others stands in the head only.
        if records.is_empty() && !has_edit && !has_forwarded && !request.is_recorded {
            return Ok(Proposal {
                outcomes,
                write: None,
            });
        }
        head.record(request.batch);
        let grows = head.snapshot().bytes() >= base.snapshot().bytes() && !records.is_empty();
        let room = if grows {
            Room::ForGrowth
        } else {
            Room::ForShrinking
        };
        match head.encode(request.layout, room, base.revision()) {
            Ok(bytes) => Ok(Proposal {
                outcomes,
                write: Some(Write {
                    head,
                    bytes,
                    batch: request.batch,
                    records,
                    segments,
                    has_edit,
                    has_forwarded,
                }),
            }),
            Err(excess) => Err((excess, Box::new(head))),
        }
    }
}

/// Refuses one transaction. Where the verdict has to be recorded, that is written as far as there is room.
fn refuse(
    refusal: Error,
    base: &Head,
    version: ResourceVersion,
    request: &Request<'_>,
) -> Result<Proposal> {
    let write = if request.is_recorded {
        let record = Draft::evaluate(base, version, request, 0, &[], false)?;
        let record = record.finish(base, request).ok();
        record.and_then(|record| record.write)
    } else {
        None
    };
    Ok(Proposal {
        outcomes: vec![Err(refusal)],
        write,
    })
}

/// One transaction does not fit into what `base` leaves free.
fn full(excess: Excess, head: &Head, base: &Head, request: &Request<'_>) -> Error {
    let layout = request.layout;
    let raw = layout.raw_bytes();
    let (used, wanted, limit) = if head.live_raw_bytes() > raw {
        (base.live_raw_bytes(), head.live_raw_bytes(), raw)
    } else {
        let limit = match excess {
            Excess::Head => layout.bucket_bytes.min(CAPACITY as u64),
            // Not a byte more, though what the bucket may hold has not been reached.
            Excess::Manifest => base.live_bytes(),
            Excess::Bucket => layout.bucket_bytes,
        };
        (base.live_bytes(), head.live_bytes(), limit)
    };
    let available = limit.saturating_sub(used);
    Error::BucketFull {
        store: request.store.to_owned(),
        needed: wanted.saturating_sub(used).max(available + 1),
        available,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::decode;
    use crate::engine::{BucketId, Resolution};
    use kv_core::Key;
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
        propose_as(base, number, transactions, BATCH, at(0))
    }

    fn propose_as(
        base: &Head,
        number: u64,
        transactions: &[Transaction],
        batch: BatchId,
        now: SystemTime,
    ) -> Proposal {
        let request = Request {
            store: "a test",
            layout: &Layout::SINGLE_OBJECT,
            transactions: &arcs(transactions),
            batch,
            now,
            edit: None,
            nonce: 0,
            forwarded: &[],
            leader: 0,
            is_recorded: false,
        };
        propose(base, version(number), &request).unwrap()
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
        let head = decode(&write.bytes, None).unwrap();
        assert_eq!(head.snapshot().revision(), second);
        assert_eq!(head.resolve(BATCH, Revision::ZERO), Resolution::Applied);
        assert_eq!(head.snapshot().stored(&key("a")).unwrap().value, "1");
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
            let number = (1 << 47) + writer;
            let proposal = propose_as(&head, number, &transactions, batch, at(0));
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
        let proposal = propose_as(&head, 6, &[put("a", "1")], BATCH, at(10));
        let head = decode(&proposal.write.unwrap().bytes, Some(&head)).unwrap();
        assert_eq!(head.snapshot().len(), 1);
    }
}
