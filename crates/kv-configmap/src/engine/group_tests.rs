//! Commits that share a write.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kv_core::backend::Record;
use kv_core::{Change, Key, Revision, Transaction};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::block::{self, Effort};
use super::life_tests::Bucket;
use super::{
    DecodeError, Encoded, FORMAT, History, Layout, SegmentId, Write, envelope, flush, proto,
};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut noise = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut noise);
    noise.into()
}

/// Puts of values that nobody can compress.
fn puts(round: u64, count: u64) -> Vec<Transaction> {
    let put = |number| {
        let name = key(&format!("{round}/{number}"));
        Transaction::new().put(name, noise(round << 32 | number, 100))
    };
    (0..count).map(put).collect()
}

fn bucket() -> Bucket {
    Bucket::new(Layout::SEGMENTED.for_few_bytes())
}

/// What was committed, and how many segments were made for it.
fn write(bucket: &mut Bucket, transactions: &[Transaction]) -> (Vec<Arc<Record>>, usize) {
    bucket.number += 1;
    let mut write = proposed(bucket, transactions);
    let (records, made) = (std::mem::take(&mut write.records), write.segments.len());
    bucket.put_in_place(write);
    (records, made)
}

fn proposed(bucket: &Bucket, transactions: &[Transaction]) -> Write {
    let proposal = bucket.propose(7, transactions, None);
    assert_eq!(proposal.outcomes.len(), transactions.len());
    proposal.write.unwrap()
}

type Told = (Revision, Vec<Change>, Vec<(SystemTime, Key)>);

fn told(records: &[Arc<Record>]) -> Vec<Told> {
    let records = records.iter().map(|record| Record::clone(record));
    records
        .map(|record| (record.revision, record.changes, record.reclaimed))
        .collect()
}

fn told_by(history: History) -> Option<Vec<Told>> {
    match history {
        History::Commits { records, .. } => Some(told(&records)),
        History::Lost => None,
    }
}

#[test]
fn commits_that_share_a_write_are_one_segment_that_tells_each_of_them() {
    let mut bucket = bucket();
    let short = Duration::from_secs(1);
    write(
        &mut bucket,
        &[
            Transaction::new().put(key("old"), "1"),
            Transaction::new().put_expiring(key("expired"), "1", short),
            Transaction::new().put_expiring(key("expired and put again"), "1", short),
        ],
    );
    let known = bucket.head.clone();
    bucket.now += Duration::from_secs(10);
    let mut transactions = puts(0, 60);
    transactions.insert(7, Transaction::new().put(key("0/30"), "the first of three"));
    transactions.push(Transaction::new().put(key("0/30"), "the last"));
    transactions.insert(9, Transaction::new().delete(key("old")));
    transactions.push(Transaction::new().put(key("old"), "put again"));
    transactions.push(Transaction::new().put(key("gone at once"), "1"));
    transactions.push(Transaction::new().delete(key("gone at once")));
    transactions.push(
        Transaction::new()
            .put(key("a"), "1")
            .put(key("b"), "2")
            .put(key("expired and put again"), "2"),
    );
    let (records, made) = write(&mut bucket, &transactions);
    assert_eq!((records.len(), made), (transactions.len(), 1));
    assert!(bucket.bytes.len() < 500, "{} bytes", bucket.bytes.len());

    let (head, history) = bucket.read(Some(&known)).unwrap();
    let committed = told(&records);
    assert_eq!(committed[0].2.len(), 2);
    assert_eq!(told_by(history).unwrap(), committed);
    for head in [head, bucket.read(None).unwrap().0] {
        assert!(head.snapshot().iter().eq(bucket.head.snapshot().iter()));
        assert_eq!(head.revision(), bucket.head.revision());
    }
}

#[test]
fn commits_stay_in_the_head_up_to_their_bound() {
    let few_bytes = Layout::SEGMENTED.for_few_bytes();
    for (layout, most) in [(few_bytes, 18), (Layout::SEGMENTED, 144)] {
        for (count, segments) in [(most, 0), (most * 9 / 8, 1)] {
            let (_, made) = write(&mut Bucket::new(layout), &puts(0, count));
            assert_eq!(made, segments, "{count} commits");
        }
    }
    let zeros = |number| Transaction::new().put(key(&format!("{number}")), vec![0; 1_000]);
    let transactions: Vec<_> = (0..40).map(zeros).collect();
    let made = |count| write(&mut bucket(), &transactions[..count]).1;
    assert_eq!(made(30), 0, "it compresses well");
    assert_eq!(made(40), 1, "they are more than 32 KiB before compression");
    let one = Transaction::new().put(key("one"), noise(1, 20_000));
    assert_eq!(write(&mut bucket(), &[one]).1, 0, "it is alone");
    let mut without = Bucket::new(Layout::SEGMENTED.without_groups());
    assert_eq!(write(&mut without, &puts(0, 60)).1, 0);
}

#[test]
fn those_who_are_a_few_writes_behind_are_told_every_commit() {
    let mut bucket = bucket();
    let mut known = Vec::new();
    for round in 0..20 {
        write(&mut bucket, &puts(round, 60));
        known.push(bucket.head.clone());
    }
    for (behind, head) in known.iter().rev().enumerate() {
        let (read, history) = bucket.read(Some(head)).unwrap();
        assert!(read.snapshot().iter().eq(bucket.head.snapshot().iter()));
        let told = told_by(history).map(|told| told.len());
        let kept = Layout::SEGMENTED.tail_runs;
        assert_eq!(told, (behind <= kept).then_some(60 * behind), "{behind}");
    }
    assert!(bucket.bytes.len() < 1_500, "{} bytes", bucket.bytes.len());
}

/// Its run serves again where the batch is decided about once more, under other revisions.
#[test]
fn a_large_commit_among_others_is_a_run_by_itself() {
    let mut transactions = puts(0, 30);
    transactions.insert(15, Transaction::new().put(key("large"), noise(1, 40_000)));
    let mut bucket = bucket();
    let mut ids = |number| -> Vec<SegmentId> {
        bucket.number = number;
        let segments = proposed(&bucket, &transactions).segments;
        segments.iter().map(|one| one.id).collect()
    };
    let (first, second) = (ids(11), ids(12));
    assert_eq!(first.len(), 1, "those before and after it stay in the head");
    assert_eq!(first, second);
}

#[test]
fn a_run_of_commits_that_are_not_its_own_is_refused() {
    let mut bucket = bucket();
    write(&mut bucket, &puts(0, 1));
    write(&mut bucket, &puts(1, 60));
    let first = Revision::new(12 << 16);
    let forged = |revision: u64| {
        let payload = envelope::open(envelope::HEAD, &bucket.bytes, FORMAT).unwrap();
        let mut head = proto::Head::decode(payload).unwrap();
        let tail = block::open(&head.tail).unwrap();
        let mut tail = proto::Commits::decode(tail).unwrap();
        tail.commits[0].revision = revision;
        head.tail = block::compress(&tail.encode_to_vec(), Effort::Fast).unwrap();
        let sealed = envelope::seal(envelope::HEAD, FORMAT, &head.encode_to_vec());
        let encoded = Encoded::read(&sealed, None).unwrap();
        encoded.assemble(None, &bucket.segments).map(drop)
    };
    assert_eq!(forged(first.get() - 1), Ok(()));
    for revision in [first.get(), first.get() + 5] {
        let reason = format!("commit {first} follows {revision}");
        assert_eq!(forged(revision), Err(DecodeError::Content(reason)));
    }
}

/// As it is where segments are refused from some day on.
#[test]
fn runs_in_a_tail_that_is_never_flushed_leave_it_all_the_same() {
    for before_the_run in [0, 1] {
        let mut bucket = bucket();
        for transaction in puts(0, before_the_run) {
            write(&mut bucket, &[transaction]);
        }
        write(&mut bucket, &puts(1, 60));
        let (mut largest, mut folds) = (0, 0);
        for number in 0..5_000 {
            let earlier = bucket.head.clone();
            let put = Transaction::new().put(key("counter"), noise(number, 150));
            write(&mut bucket, &[put]);
            largest = largest.max(bucket.bytes.len());
            if bucket.head.segments() != earlier.segments() {
                folds += 1;
                assert_eq!(bucket.head.segments_dropped_since(&earlier).len(), 1);
                // It would put runs in place whose segments are no longer named.
                let flush = flush(&earlier, &Layout::SEGMENTED, 1).unwrap();
                assert!(!bucket.head.clone().apply(&flush.edit, &bucket.layout));
            }
        }
        assert_eq!(folds, before_the_run);
        assert!(largest < 300_000, "{largest} bytes");
        let (head, _) = bucket.read(None).unwrap();
        assert!(head.snapshot().iter().eq(bucket.head.snapshot().iter()));
        assert_eq!(head.snapshot().len() as u64, 61 + before_the_run);
    }
}

/// A flush is on its way, and takes much less than what would come back into the head.
#[test]
fn runs_do_not_come_back_into_a_head_that_has_room() {
    let mut bucket = bucket();
    write(&mut bucket, &puts(0, 1));
    for round in 1..=8 {
        write(&mut bucket, &puts(round, 400));
    }
    let runs = bucket.head.segments();
    assert_eq!(runs.len(), 8);
    let put =
        |number: u64| Transaction::new().put(key(&format!("large {number}")), noise(number, 300));
    let many: Vec<_> = (0..1_000).map(put).collect();
    bucket.layout = bucket.layout.without_groups();
    for number in [30, 31] {
        bucket.number = number;
        let write = proposed(&bucket, &many);
        assert!(write.segments.is_empty());
        assert!(write.bytes.len() < 400_000, "{} bytes", write.bytes.len());
        assert_eq!(write.head.segments(), runs);
    }
}
