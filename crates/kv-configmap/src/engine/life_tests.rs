//! Buckets over a long life: flushed, merged and compacted, read from the start and from every
//! earlier state, against a plain map.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kv_core::{Key, Revision, Transaction};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::edit::Edit;
use super::{
    BatchId, BucketId, DecodeError, Encoded, Head, History, Job, Layout, Proposal, Request, Round,
    Segments, Write, flush, merge, propose,
};

type Model = BTreeMap<String, Vec<u8>>;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000)
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// A bucket as a cluster would hold it, with one writer at a time.
pub(super) struct Bucket {
    pub(super) layout: Layout,
    pub(super) head: Head,
    pub(super) bytes: Bytes,
    pub(super) segments: Segments,
    pub(super) writer: u64,
    pub(super) now: SystemTime,
    /// Counts the writes.
    pub(super) number: u64,
    round: Round,
    model: Model,
}

impl Bucket {
    pub(super) fn new(layout: Layout) -> Self {
        let (head, bytes) = Head::create(BucketId([9; 16]));
        Self {
            layout,
            head,
            bytes,
            segments: Segments::new(),
            writer: 1,
            now: now(),
            number: 10,
            round: Round::default(),
            model: Model::new(),
        }
    }

    /// Writes a head. `false`: the bucket is full.
    pub(super) fn write(&mut self, transactions: &[Transaction], edit: Option<&Edit>) -> bool {
        self.number += 1;
        let proposal = self.propose(self.number << 32, transactions, edit);
        let refused = proposal.outcomes.iter().any(Result::is_err);
        if let Some(write) = proposal.write {
            self.put_in_place(write);
        }
        !refused && proposal.outcomes.len() == transactions.len()
    }

    pub(super) fn propose(
        &self,
        nonce: u64,
        transactions: &[Transaction],
        edit: Option<&Edit>,
    ) -> Proposal {
        let transactions: Vec<_> = transactions.iter().cloned().map(Arc::new).collect();
        let request = Request {
            store: "a test",
            layout: &self.layout,
            transactions: &transactions,
            batch: BatchId {
                writer: self.writer,
                counter: self.number,
            },
            now: self.now,
            edit,
            nonce,
            forwarded: &[],
            leader: 0,
            is_recorded: false,
        };
        let version = self.number.to_string().parse().unwrap();
        propose(&self.head, version, &request).unwrap()
    }

    pub(super) fn put_in_place(&mut self, write: Write) {
        for segment in write.segments {
            let earlier = self.segments.insert(segment.id, segment.bytes);
            assert!(earlier.is_none(), "a name is used again");
        }
        let named = write.head.segments();
        self.segments.retain(|id, _| named.contains(id));
        (self.head, self.bytes) = (write.head, write.bytes);
    }

    fn put(&mut self, name: &str, value: Vec<u8>) -> bool {
        let done = self.write(&[Transaction::new().put(key(name), value.clone())], None);
        if done {
            self.model.insert(name.to_owned(), value);
        }
        done
    }

    fn delete(&mut self, name: &str) {
        assert!(self.write(&[Transaction::new().delete(key(name))], None));
        self.model.remove(name);
    }

    fn place(&mut self, job: Option<Job>) -> bool {
        let Some(job) = job else {
            return false;
        };
        for segment in job.segments {
            self.segments.insert(segment.id, segment.bytes);
        }
        assert!(self.write(&[], Some(&job.edit)));
        true
    }

    pub(super) fn flush(&mut self) -> bool {
        self.place(flush(&self.head, &self.layout, self.number << 16))
    }

    fn merge(&mut self) -> bool {
        let mut round = self.round;
        let job = merge(&self.head, &self.layout, self.number << 16, &mut round);
        self.round = round;
        self.place(job)
    }

    /// As the maintainer does.
    fn maintain(&mut self) {
        let has_flushed = self.head.is_flush_due(&self.layout) && self.flush();
        if has_flushed || self.head.is_merge_due(&self.layout) {
            while self.merge() {}
        }
    }

    pub(super) fn read(&self, known: Option<&Head>) -> Result<(Head, History), DecodeError> {
        let encoded = Encoded::read(&self.bytes, known)?;
        // Only what is asked for is there.
        let missing = encoded.missing(known);
        let fetched = missing
            .iter()
            .map(|one| (one.id, self.segments[&one.id].clone()));
        encoded.assemble(known, &fetched.collect())
    }

    fn check(&self, known: Option<&Head>) {
        let (head, history) = self.read(known).unwrap();
        let entries = head.snapshot().iter();
        let found: Model = entries
            .map(|entry| (entry.key.as_str().to_owned(), entry.value.to_vec()))
            .collect();
        assert!(found == self.model, "not what was put");
        assert!(
            head.snapshot().iter().eq(self.head.snapshot().iter()),
            "nor its revisions"
        );
        assert_eq!(head.revision(), self.head.revision());
        assert_eq!(head.stored_bytes(), self.head.stored_bytes());
        if let (Some(known), History::Commits { records, .. }) = (known, history) {
            let told = records.iter().map(|record| record.revision);
            let revisions: Vec<_> = [known.revision()].into_iter().chain(told).collect();
            assert!(revisions.is_sorted_by(|one, other| one < other));
            assert_eq!(revisions.last(), Some(&head.revision()));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    Delete(u8),
    Several(Vec<(u8, Option<usize>)>),
    Flush,
    Merge,
    Remember,
    /// From now on another process writes: one that opens the bucket, or that knows it as it once was.
    TakeOver(Option<usize>),
    /// The budget becomes short, or is no longer.
    Short(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![6 => 0..60_usize, 2 => 200..400_usize, 1 => 1_200..5_000_usize];
    let change = (0..12_u8, proptest::option::weighted(0.7, size.clone()));
    prop_oneof![
        8 => (0..12_u8, size).prop_map(|(key, size)| Step::Put(key, size)),
        4 => (0..12_u8).prop_map(Step::Delete),
        2 => proptest::collection::vec(change, 1..6).prop_map(Step::Several),
        3 => Just(Step::Flush),
        3 => Just(Step::Merge),
        2 => Just(Step::Remember),
        2 => proptest::option::of(0..8_usize).prop_map(Step::TakeOver),
        2 => any::<bool>().prop_map(Step::Short),
    ]
}

fn noise(random: &mut StdRng, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    random.fill_bytes(&mut noise);
    noise
}

fn several(changes: &[(u8, Option<usize>)], random: &mut StdRng, bucket: &mut Bucket) {
    let mut transactions = Vec::new();
    let mut model = bucket.model.clone();
    for (key_number, size) in changes {
        let name = format!("k{key_number}");
        let transaction = Transaction::new();
        transactions.push(match size {
            Some(size) => {
                let value = noise(random, *size);
                model.insert(name.clone(), value.clone());
                transaction.put(key(&name), value)
            }
            None => {
                model.remove(&name);
                transaction.delete(key(&name))
            }
        });
    }
    assert!(bucket.write(&transactions, None));
    bucket.model = model;
}

fn live(steps: &[Step]) -> (Bucket, Vec<Head>) {
    let mut bucket = Bucket::new(Layout::TINY);
    let mut random = StdRng::seed_from_u64(7);
    let mut remembered = Vec::new();
    for step in steps {
        match step {
            Step::Put(number, size) => {
                let value = noise(&mut random, *size);
                assert!(bucket.put(&format!("k{number}"), value));
            }
            Step::Delete(number) => bucket.delete(&format!("k{number}")),
            Step::Several(changes) => several(changes, &mut random, &mut bucket),
            Step::Flush => drop(bucket.flush()),
            Step::Merge => drop(bucket.merge()),
            Step::Remember => remembered.push(bucket.head.clone()),
            Step::TakeOver(known) => {
                let known = known.and_then(|index| remembered.get(index % remembered.len().max(1)));
                (bucket.head, _) = bucket.read(known).unwrap();
                bucket.writer += 1;
            }
            Step::Short(true) => bucket.layout = Layout::TINY.for_few_bytes(),
            Step::Short(false) => bucket.layout = Layout::TINY,
        }
        bucket.check(None);
        if let Some(last) = remembered.last() {
            bucket.check(Some(last));
        }
    }
    (bucket, remembered)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is committed, flushed, merged and compacted is read back, from the start and from
    /// every earlier state.
    #[test]
    fn a_bucket_reads_as_it_was_written(steps in proptest::collection::vec(step(), 1..80)) {
        let (bucket, remembered) = live(&steps);
        for known in &remembered {
            bucket.check(Some(known));
        }
    }
}

#[test]
fn a_bucket_grows_to_many_segments_and_shrinks_to_its_head_again() {
    let mut bucket = Bucket::new(Layout::TINY);
    let mut random = StdRng::seed_from_u64(1);
    let mut most = 0;
    for number in 0..2_000 {
        let value = noise(&mut random, 50);
        assert!(bucket.put(&format!("key {number}"), value));
        bucket.maintain();
        most = most.max(bucket.head.segments().len());
    }
    assert!(most > 20, "{most} segments");
    bucket.check(None);
    for number in 0..2_000 {
        bucket.delete(&format!("key {number}"));
        bucket.maintain();
    }
    bucket.check(None);
    assert_eq!(bucket.head.segments().len(), 0, "all is in the head");
    assert!(bucket.segments.is_empty());
    assert!(bucket.head.state.tombstones() <= 1, "of the last commit");
    assert!(bucket.bytes.len() < 3_000, "{} bytes", bucket.bytes.len());
}

#[test]
fn what_is_overwritten_again_and_again_does_not_add_up() {
    let mut bucket = Bucket::new(Layout::TINY);
    let mut random = StdRng::seed_from_u64(2);
    for round in 0..40 {
        for number in 0..50 {
            let name = format!("key {}", random.random_range(0..200));
            let value = noise(&mut random, 60);
            if (round + number) % 3 == 0 {
                bucket.delete(&name);
            } else {
                assert!(bucket.put(&name, value));
            }
            bucket.maintain();
        }
        let (stored, live) = (bucket.head.stored_bytes(), bucket.head.live_raw_bytes());
        assert!(stored < 4 * live + 8_000, "{stored} bytes for {live}");
    }
    bucket.check(None);
}

#[test]
fn a_tail_that_did_not_fold_is_folded_when_most_of_it_has_gone() {
    let mut bucket = Bucket::new(Layout::SEGMENTED);
    let mut random = StdRng::seed_from_u64(4);
    for number in 0..100 {
        bucket.put(&format!("{number}"), noise(&mut random, 100));
    }
    let tried = bucket.head.unfoldable_bytes;
    assert!(tried > 8_000, "in vain at {tried} bytes");
    let gone = (0..100).map(|number| key(&format!("{number}")));
    let gone = gone.fold(Transaction::new(), Transaction::delete);
    bucket.write(&[gone], None);
    let mut largest = 0;
    for _ in 0..200 {
        bucket.put("hot", noise(&mut random, 100));
        largest = largest.max(bucket.head.head_bytes());
    }
    assert!(largest > 12_000, "{largest} bytes: not for every write");
    assert!(largest < 25_000, "{largest} bytes");
    assert!(bucket.head.head_bytes() < 10_000);
    assert_eq!(bucket.head.unfoldable_bytes, 0);
}

/// The number of segments, and what is written for an entry, grow with the logarithm.
#[test]
fn a_bucket_of_sixteen_mebibytes_has_few_segments_and_a_small_head() {
    let few_bytes = Layout::SEGMENTED.for_few_bytes();
    // The commits of one write have 10 KiB.
    for (layout, head_bytes) in [(few_bytes, 3_000), (Layout::SEGMENTED, 13_000)] {
        grow_to_sixteen_mebibytes(layout, head_bytes);
    }
}

fn grow_to_sixteen_mebibytes(layout: Layout, head_bytes: usize) {
    let mut bucket = Bucket::new(layout);
    let mut random = StdRng::seed_from_u64(3);
    let (mut heads, mut writes) = (0, 0);
    for number in 0..16_u64 * 1024 / 10 {
        let entries = (0..100).map(|entry| {
            Transaction::new().put(key(&format!("{number}/{entry}")), noise(&mut random, 84))
        });
        let transactions: Vec<_> = entries.collect();
        assert!(bucket.write(&transactions, None));
        heads += bucket.bytes.len();
        writes += 1;
        bucket.maintain();
    }
    let stored = bucket.head.stored_bytes();
    let segments = bucket.head.segments().len();
    assert!(stored > 14 << 20, "{stored} bytes");
    assert!(segments < 90, "{segments} segments for {stored} bytes");
    assert!(
        heads / writes < head_bytes,
        "{} bytes a head",
        heads / writes
    );
    assert!(bucket.bytes.len() < head_bytes + 1_000);
    bucket.round_trip_counts();
}

#[test]
fn what_a_flush_makes_room_for_waits_for_it() {
    for layout in [Layout::SEGMENTED, Layout::SEGMENTED.for_few_bytes()] {
        let mut bucket = Bucket::new(layout);
        let mut random = StdRng::seed_from_u64(9);
        let mut count = 0;
        while bucket.put(&format!("{count}"), noise(&mut random, 30_000)) {
            count += 1;
            assert!(count < 40, "nothing flushes it");
        }
        let one_more = Transaction::new().put(key("one more"), noise(&mut random, 30_000));
        let Proposal { outcomes, write } = bucket.propose(1, &[one_more], None);
        assert!(outcomes.is_empty() && write.is_none(), "it waits");
        assert!(bucket.flush());
        assert!(bucket.put("one more", noise(&mut random, 30_000)));
        bucket.check(None);
    }
}

/// However many entries there are, and whether they are put anew or overwritten.
#[test]
fn where_bytes_are_short_a_put_writes_a_small_head() {
    for (entries, layout, head_bytes) in [
        (40, Layout::SEGMENTED.for_few_bytes(), 2_300),
        (20_000, Layout::SEGMENTED.for_few_bytes(), 2_300),
        (40, Layout::SEGMENTED, 10_000),
        (20_000, Layout::SEGMENTED, 7_000),
    ] {
        let mut bucket = Bucket::new(layout);
        let mut random = StdRng::seed_from_u64(5);
        let (mut heads, puts) = (0, 2_000);
        for _ in 0..puts {
            let name = format!("key {}", random.random_range(0..entries));
            assert!(bucket.put(&name, noise(&mut random, 100)));
            heads += bucket.bytes.len();
            bucket.maintain();
        }
        let (head, edits) = (heads / puts, bucket.number as usize - puts);
        assert!(head < head_bytes, "{entries} entries: {head} bytes a head");
        assert!(edits < puts / 10, "{entries} entries: {edits} edits");
        bucket.check(None);
    }
}

/// None of the runs is small enough to be merged.
#[test]
fn what_large_commits_have_overwritten_is_compacted() {
    let mut bucket = Bucket::new(Layout::SEGMENTED);
    let mut random = StdRng::seed_from_u64(4);
    for _ in 0..40 {
        assert!(bucket.put("large", noise(&mut random, 300_000)));
        bucket.maintain();
        let stored = bucket.head.stored_bytes();
        assert!(stored < 8 * 300_000, "{stored} bytes");
    }
    bucket.check(None);
}

/// Where no neighbours are of one size, the manifest fills with runs that are never merged.
#[test]
fn large_commits_and_small_ones_in_turn_do_not_fill_the_manifest() {
    let mut bucket = Bucket::new(Layout::TINY);
    let mut random = StdRng::seed_from_u64(8);
    for number in 0..1_100 {
        assert!(bucket.put(&format!("small {number}"), noise(&mut random, 20)));
        assert!(bucket.put(&format!("large {number}"), noise(&mut random, 1_100)));
        bucket.maintain();
        assert!(!bucket.head.is_flush_due(&bucket.layout), "{number}");
    }
    bucket.check(None);
}

impl Bucket {
    fn round_trip_counts(&self) {
        let (head, _) = self.read(None).unwrap();
        assert_eq!(head.snapshot().len(), self.head.snapshot().len());
        assert!(head.snapshot().iter().eq(self.head.snapshot().iter()));
    }
}

#[test]
fn an_edit_that_no_longer_fits_changes_nothing() {
    let mut bucket = Bucket::new(Layout::TINY);
    for number in 0..20 {
        assert!(bucket.put(&format!("{number}"), vec![number; 40]));
    }
    let early = flush(&bucket.head, &bucket.layout, 1).unwrap();
    let mut same = bucket.head.clone();
    assert!(same.apply(&early.edit, &bucket.layout));
    assert!(
        !same.apply(&early.edit, &bucket.layout),
        "another one was faster"
    );
    bucket.delete("7");
    assert!(bucket.flush(), "and went further");
    assert!(
        !bucket.head.clone().apply(&early.edit, &bucket.layout),
        "it would bring back what is deleted"
    );
    assert!(bucket.put("x", vec![1; 40]));
    let late = flush(&bucket.head, &bucket.layout, 2).unwrap();
    assert!(bucket.head.clone().apply(&late.edit, &bucket.layout));
    let mut swept = bucket.head.clone();
    assert!(swept.apply(&Edit::RaiseSweepEpoch, &bucket.layout));
    assert!(
        !swept.apply(&late.edit, &bucket.layout),
        "its segments may have been swept"
    );
}

#[test]
fn a_large_commit_is_one_commit_over_many_segments() {
    let mut bucket = Bucket::new(Layout::SEGMENTED);
    let mut random = StdRng::seed_from_u64(4);
    assert!(bucket.put("small", b"1".to_vec()));
    let known = bucket.head.clone();
    assert!(bucket.put("large", noise(&mut random, 16 * 1024 * 1024)));
    assert!(bucket.bytes.len() < 2_000, "{}", bucket.bytes.len());
    assert!(bucket.head.segments().len() > 30);
    bucket.check(None);
    let (_, history) = bucket.read(Some(&known)).unwrap();
    let History::Commits { records, .. } = history else {
        panic!("it is a commit as any other");
    };
    assert_eq!(records.len(), 1);
    assert!(bucket.put("large", b"no more".to_vec()));
    bucket.maintain();
    for number in 0..200 {
        assert!(bucket.put(&format!("{number}"), noise(&mut random, 400)));
        bucket.maintain();
    }
    assert!(
        bucket.head.stored_bytes() < 1 << 20,
        "the large value is gone"
    );
    bucket.check(None);
}

#[test]
fn a_bucket_at_its_limit_takes_no_byte_more_and_can_be_emptied() {
    let layout = Layout {
        bucket_bytes: 100_000,
        ..Layout::TINY
    };
    let mut bucket = Bucket::new(layout);
    let mut random = StdRng::seed_from_u64(5);
    let mut count = 0;
    while bucket.put(&format!("{count}"), noise(&mut random, 500)) {
        bucket.maintain();
        count += 1;
    }
    let live = bucket.head.live_bytes();
    assert!((95_000..=100_000).contains(&live), "{live}");
    assert!(bucket.head.stored_bytes() < 140_000);
    assert!(!bucket.put("one more", noise(&mut random, 700)));
    bucket.check(None);
    bucket.delete("0");
    bucket.delete("1");
    assert!(
        bucket.put("one more", noise(&mut random, 700)),
        "there is room at once"
    );
    for number in 2..count {
        bucket.delete(&format!("{number}"));
        bucket.maintain();
    }
    bucket.check(None);
}

/// Each segment lost, cut, swapped or flipped is noticed.
#[test]
fn damaged_segments_are_noticed() {
    let mut bucket = Bucket::new(Layout::TINY);
    let mut random = StdRng::seed_from_u64(6);
    for number in 0..60 {
        assert!(bucket.put(&format!("{number}"), noise(&mut random, 50)));
        bucket.maintain();
    }
    let ids: Vec<_> = bucket.head.segments().into_iter().collect();
    assert!(ids.len() > 2);
    let whole = bucket.segments.clone();
    for (index, id) in ids.iter().enumerate() {
        let other = &ids[(index + 1) % ids.len()];
        let bytes = &whole[id];
        let mut flipped = bytes.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        let damages = [
            Bytes::new(),
            bytes.slice(..bytes.len() - 1),
            flipped.into(),
            whole[other].clone(),
        ];
        for damage in damages {
            bucket.segments = whole.clone();
            bucket.segments.insert(*id, damage);
            let error = bucket.read(None).unwrap_err();
            assert!(
                matches!(&error, DecodeError::Segment(named, _) if named == id),
                "{error}"
            );
        }
        let encoded = Encoded::read(&bucket.bytes, None).unwrap();
        let mut without = whole.clone();
        without.remove(id);
        let error = encoded.assemble(None, &without).unwrap_err();
        assert_eq!(error, DecodeError::MissingSegment(*id));
    }
}

/// A state from the future of a head that was restored from a backup is not built upon.
#[test]
fn a_head_that_went_back_is_read_from_the_start() {
    let mut bucket = Bucket::new(Layout::TINY);
    for number in 0..30_u8 {
        assert!(bucket.put(&format!("{number}"), vec![number; 20]));
        bucket.maintain();
    }
    let (bytes, head, model) = (
        bucket.bytes.clone(),
        bucket.head.clone(),
        bucket.model.clone(),
    );
    let segments = bucket.segments.clone();
    for number in 30..35_u8 {
        assert!(bucket.put(&format!("{number}"), vec![number; 20]));
    }
    let future = bucket.head.clone();
    (bucket.bytes, bucket.head, bucket.model, bucket.segments) = (bytes, head, model, segments);
    bucket.check(Some(&future));
    for number in 50..90_u8 {
        assert!(bucket.put(&format!("{number}"), vec![number; 20]));
        bucket.maintain();
        bucket.check(Some(&future));
    }
    assert!(future.revision() > Revision::ZERO);
}

/// A bucket that got back into its head ends where it ended before its first flush.
#[test]
fn a_flush_from_before_the_bucket_got_small_again_does_not_fit() {
    let mut bucket = Bucket::new(Layout::SEGMENTED);
    assert!(bucket.put("small", vec![1; 10]));
    assert!(bucket.put("large", noise(&mut StdRng::seed_from_u64(1), 40_000)));
    let early = flush(&bucket.head, &bucket.layout, 77).unwrap();
    assert!(bucket.flush());
    bucket.delete("large");
    assert!(bucket.head.segments().is_empty(), "it is small again");
    assert!(!bucket.head.clone().apply(&early.edit, &bucket.layout));
    bucket.check(None);
}
