//! A bucket of several objects, as format version 1 wrote it: it must stay readable for ever.
//! CONTRIBUTING.md says how a golden bucket of the next version is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kv_core::{Change, Key, Revision, Transaction};

use super::edit::Edit;
use super::life_tests::Bucket;
use super::run::Run;
use super::state::Item;
use super::{
    BatchId, BucketId, DecodeError, Encoded, Head, History, Layout, Range, Resolution, SegmentId,
    Segments, segment,
};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bucket-v1");
/// A bucket whose commits have shared a write.
const GROUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/group-v1");

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn put(name: &str, value: impl Into<Bytes>) -> Transaction {
    Transaction::new().put(key(name), value)
}

fn delete(name: &str) -> Transaction {
    Transaction::new().delete(key(name))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Bytes that do not compress, and that no library decides about.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Everything that a head and segments can hold, in a few hundred bytes each.
fn bucket() -> Bucket {
    let mut bucket = Bucket::new(Layout {
        tail_bytes: 160,
        base_bytes: 1_024,
        inline_commit_bytes: 1_024,
        segment_bytes: 2_048,
        ..Layout::SEGMENTED
    });
    let commit = |bucket: &mut Bucket, transaction| {
        assert!(bucket.write(&[transaction], None));
    };
    // The first run. What is removed before there is another one leaves no tombstone.
    for transaction in [
        put("kept", "1"),
        put("removed later", noise(4, 600)),
        put("overwritten", "old"),
        put("removed", "x"),
        put("never", "0"),
        delete("never"),
    ] {
        commit(&mut bucket, transaction);
    }
    assert!(bucket.flush());
    // The second, of a large commit, between two small ones; with a tombstone.
    commit(&mut bucket, delete("removed"));
    commit(&mut bucket, put("large", noise(1, 3_000)));
    commit(&mut bucket, put("overwritten", "new"));
    assert!(bucket.flush());
    assert!(bucket.write(&[], Some(&Edit::RaiseSweepEpoch)));
    // The base, and then a tail with a large commit that reclaims.
    bucket.writer = 2;
    let expiring = |name, seconds| {
        let life = Duration::from_secs(seconds);
        Transaction::new().put_expiring(key(name), "anna", life)
    };
    commit(&mut bucket, expiring("session", 60));
    commit(&mut bucket, expiring("expired", 1));
    commit(&mut bucket, put("base", noise(2, 200)));
    commit(&mut bucket, put("é/ü", vec![0x00, 0xff]));
    bucket.now = at(1_002);
    let large = put("large in the tail", noise(3, 3_000)).delete(key("removed later"));
    commit(&mut bucket, large);
    bucket.writer = 3;
    commit(&mut bucket, put("last", "1").delete(key("base")));
    bucket
}

/// Run by hand when a format version is added: writes the golden bucket of the present one.
#[test]
#[ignore = "writes golden files"]
fn write_the_golden_bucket() {
    for (directory, bucket) in [(DIRECTORY, bucket()), (GROUP, group())] {
        let directory = Path::new(directory);
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("head.bin"), &bucket.bytes).unwrap();
        for (id, bytes) in &bucket.segments {
            std::fs::write(directory.join(format!("{id}.bin")), bytes).unwrap();
        }
    }
}

/// Every commit but the first shares a write, one that reclaims, and several of one key.
fn group() -> Bucket {
    let mut bucket = Bucket::new(Layout {
        inline_group_bytes: 0,
        ..Layout::SEGMENTED
    });
    let short = Transaction::new().put_expiring(key("expired"), "x", Duration::from_secs(1));
    assert!(bucket.write(&[short], None));
    bucket.now = at(1_002);
    let group = [
        put("twice", "1"),
        put("removed", "x"),
        put("twice", "2").put(key("with it"), "3"),
        delete("removed"),
        put("expired", "put again"),
    ];
    assert!(bucket.write(&group, None));
    bucket
}

pub(super) fn golden_head() -> Bytes {
    head_in(DIRECTORY)
}

fn head_in(directory: &str) -> Bytes {
    let head = std::fs::read(Path::new(directory).join("head.bin"));
    head.unwrap().into()
}

pub(super) fn golden_segments() -> Segments {
    segments_in(DIRECTORY)
}

fn segments_in(directory: &str) -> Segments {
    let files = std::fs::read_dir(directory).unwrap();
    let paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    let segment = |path: &PathBuf| {
        let id = SegmentId::parse(path.file_stem()?.to_str()?)?;
        Some((id, std::fs::read(path).unwrap().into()))
    };
    paths.iter().filter_map(segment).collect()
}

pub(super) fn golden() -> Head {
    let encoded = Encoded::read(&golden_head(), None).unwrap();
    encoded.assemble(None, &golden_segments()).unwrap().0
}

/// The revision of the first commit of the `number`th write.
fn revision(number: u64) -> Revision {
    Revision::new(number << 16)
}

#[test]
fn the_first_format_of_a_bucket_with_segments_stays_readable() {
    let head = golden();
    let session = Some(at(1_060));
    let expected: [(&str, Vec<u8>, u64, Option<SystemTime>); 7] = [
        ("kept", b"1".to_vec(), 11, None),
        ("large", noise(1, 3_000), 19, None),
        ("large in the tail", noise(3, 3_000), 27, None),
        ("last", b"1".to_vec(), 28, None),
        ("overwritten", b"new".to_vec(), 20, None),
        ("session", b"anna".to_vec(), 23, session),
        ("é/ü", vec![0x00, 0xff], 26, None),
    ];
    let entries = head.snapshot().iter();
    let found: Vec<_> = entries
        .map(|entry| {
            let (key, value) = (entry.key.as_str(), entry.value.to_vec());
            (key, value, entry.revision, entry.expires_at)
        })
        .collect();
    let expected =
        expected.map(|(key, value, number, expiry)| (key, value, revision(number), expiry));
    assert_eq!(found, expected);
    assert_eq!(head.revision(), revision(28));
    assert_eq!(head.id(), BucketId([9; 16]));
}

#[test]
fn the_first_format_of_commits_that_share_a_write_stays_readable() {
    let encoded = Encoded::read(&head_in(GROUP), None).unwrap();
    let segments = segments_in(GROUP);
    assert_eq!(segments.len(), 1);
    let (head, history) = encoded.assemble(None, &segments).unwrap();
    let History::Commits { records, .. } = history else {
        panic!("they are all in the tail");
    };
    let told = records.iter().map(|record| {
        let keys = record.changes.iter().map(|change| match change {
            Change::Put(entry) => format!("{}={:?}", entry.key, entry.value),
            Change::Delete(key) => format!("{key} is removed"),
        });
        let reclaimed = record.reclaimed.len();
        (record.revision, keys.collect::<Vec<_>>(), reclaimed)
    });
    let told: Vec<_> = told.collect();
    let of_group = |number: u64| Revision::new((12 << 16) + number);
    let expected = [
        (revision(11), vec!["expired=b\"x\""], 0),
        (of_group(0), vec!["twice=b\"1\""], 1),
        (of_group(1), vec!["removed=b\"x\""], 0),
        (of_group(2), vec!["twice=b\"2\"", "with it=b\"3\""], 0),
        (of_group(3), vec!["removed is removed"], 0),
        (of_group(4), vec!["expired=b\"put again\""], 0),
    ];
    let expected = expected.map(|(revision, keys, reclaimed)| {
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        (revision, keys, reclaimed)
    });
    assert_eq!(told, expected);
    let keys = head.snapshot().iter().map(|entry| entry.key.as_str());
    assert_eq!(keys.collect::<Vec<_>>(), ["expired", "twice", "with it"]);
    assert_eq!(head.revision(), of_group(4));
}

/// What a head holds besides the entries: others go on from it.
#[test]
fn the_first_format_of_a_head_with_segments_is_understood_to_the_last_field() {
    let head = golden();
    let runs: Vec<_> = head.runs.iter().map(shape).collect();
    let expected = [(16, 16, 1), (18, 20, 1), (19, 19, 2), (20, 20, 1)];
    assert_eq!(runs, expected);
    assert_eq!(
        (head.base.revision, head.base.raw_bytes),
        (revision(26), 258)
    );
    let tail: Vec<_> = head
        .tail
        .commits()
        .iter()
        .map(|commit| commit.revision)
        .collect();
    assert_eq!(tail, [20, 23, 24, 25, 26, 27, 28].map(revision));
    let large = head.tail.get(revision(27)).unwrap();
    assert_eq!(shape(large.run.as_ref().unwrap()), (27, 27, 2));
    let batch = |writer, counter| head.resolve(BatchId { writer, counter }, revision(1));
    assert_eq!(
        [batch(1, 22), batch(2, 27), batch(3, 28)],
        [Resolution::Applied; 3]
    );
    assert_eq!(batch(2, 28), Resolution::NotApplied);
    assert_eq!(batch(4, 1), Resolution::NotApplied, "the table is complete");
    assert_eq!(head.sweep_epoch(), 1);
    assert_eq!(head.tombstones_dropped_through, revision(16));
    assert_eq!(head.recent, [11, 12, 13, 14, 15, 16, 18, 19].map(revision));
    let removed = [
        ("removed", 18),
        ("expired", 27),
        ("removed later", 27),
        ("base", 28),
    ];
    let since = Range {
        after: revision(16),
        through: revision(28),
    };
    for (name, number) in removed {
        let name = BTreeSet::from([key(name)]);
        let item = head.state.items(since, Some(&name));
        assert_eq!(
            item.first().map(Item::revision),
            Some(revision(number)),
            "{name:?}"
        );
    }
    assert_eq!(head.state.tombstones(), removed.len());
}

/// The last commit of a run, that of the state it was written from, and its segments.
fn shape(run: &Run) -> (u64, u64, usize) {
    let (last, from) = (run.revision.get() >> 16, run.written_at.get() >> 16);
    (last, from, run.segments.len())
}

#[test]
fn each_golden_segment_is_whole_and_needed() {
    let segments = golden_segments();
    assert_eq!(segments.len(), 7);
    for (id, stored) in &segments {
        assert!(
            segment::read(BucketId([9; 16]), *id, stored).is_ok(),
            "{id}"
        );
        let mut others = segments.clone();
        others.remove(id);
        let missing = Encoded::read(&golden_head(), None)
            .unwrap()
            .assemble(None, &others);
        assert_eq!(missing.unwrap_err(), DecodeError::MissingSegment(*id));
    }
}

/// The next version of the program takes a bucket over as it is.
#[test]
fn a_golden_bucket_can_be_written_flushed_and_merged() {
    let mut bucket = bucket();
    (bucket.head, bucket.bytes, bucket.segments) = (golden(), golden_head(), golden_segments());
    assert!(bucket.write(&[put("kept", "2"), delete("large")], None));
    assert!(bucket.flush());
    let read = bucket.read(None).unwrap().0;
    assert!(read.snapshot().iter().eq(bucket.head.snapshot().iter()));
    let keys: Vec<_> = read
        .snapshot()
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "kept",
            "large in the tail",
            "last",
            "overwritten",
            "session",
            "é/ü"
        ]
    );
}
