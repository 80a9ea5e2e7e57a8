//! Every bound at one below, at it, and one above: nothing is half done on the other side.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kv_core::{Error, Key, Revision, Transaction};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::block::{self, BLOCK_RAW_BYTES, Effort};
use super::manifest::{RAW_BYTES, RUNS, SEGMENTS};
use super::run::Run;
use super::segment::{self, SEGMENT_RAW_BYTES, Target};
use super::{
    BatchId, BucketId, DecodeError, Encoded, FORMAT, Head, Layout, NewSegment, Proposal, Request,
    Round, SegmentId, SegmentRef, Segments, envelope, merge, propose, proto,
};

const BUCKET: BucketId = BucketId([9; 16]);

fn noise(seed: usize, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    StdRng::seed_from_u64(seed as u64).fill_bytes(&mut noise);
    noise
}

fn put(name: &str, value: impl Into<Bytes>) -> Transaction {
    Transaction::new().put(Key::new(name).unwrap(), value)
}

/// Entries that expire at one time are reclaimed at once, and can be more than a head has room for.
#[test]
fn a_bucket_goes_on_when_more_expires_at_once_than_a_head_can_say() {
    let layout = Layout::SEGMENTED;
    let mut head = Head::new(BUCKET);
    for first in (0..40_000).step_by(1_000) {
        let put = |transaction: Transaction, number: usize| {
            let name: String = noise(number, 32)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            transaction.put_expiring(Key::new(name).unwrap(), "", Duration::from_secs(1))
        };
        let commit = (first..first + 1_000).fold(Transaction::new(), put);
        head = after(&head, &layout, commit);
    }
    let later = UNIX_EPOCH + Duration::from_secs(2);
    let Proposal { outcomes, write } = proposal_at(&head, &layout, put("k", "v"), later);
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    let head = write.unwrap().head;
    assert_eq!(head.snapshot().len(), 40_001, "absent, and still there");
}

fn proposal(head: &Head, layout: &Layout, transaction: Transaction) -> Proposal {
    proposal_at(head, layout, transaction, UNIX_EPOCH)
}

fn proposal_at(
    head: &Head,
    layout: &Layout,
    transaction: Transaction,
    now: SystemTime,
) -> Proposal {
    let request = Request {
        store: "a test",
        layout,
        transactions: &[Arc::new(transaction)],
        batch: BatchId {
            writer: 1,
            counter: head.revision().get() + 1,
        },
        now,
        edit: None,
        nonce: head.revision().get(),
        forwarded: &[],
        leader: 0,
        is_recorded: false,
    };
    let version = ((head.revision().get() >> 16) + 1).to_string();
    propose(head, version.parse().unwrap(), &request).unwrap()
}

/// The head after a transaction that has to fit.
fn after(head: &Head, layout: &Layout, transaction: Transaction) -> Head {
    proposal(head, layout, transaction).write.unwrap().head
}

fn refused(head: &Head, layout: &Layout, transaction: Transaction) -> (u64, u64) {
    let Proposal { outcomes, write } = proposal(head, layout, transaction);
    assert!(write.is_none(), "nothing is written");
    match &outcomes[..] {
        [
            Err(Error::BucketFull {
                store,
                needed,
                available,
            }),
        ] => {
            assert_eq!(store, "a test");
            assert!(needed > available, "{needed} {available}");
            (*needed, *available)
        }
        other => panic!("{other:?}"),
    }
}

/// The bytes of a head with as many runs, each of as many segments.
fn head_naming(runs: usize, segments_each: usize) -> Bytes {
    let runs = (1..=runs as u64).map(|number| proto::Run {
        revision: number,
        written_after: 0,
        raw_bytes: 1,
        segments: (0..segments_each as u64)
            .map(|segment| number << 32 | segment)
            .collect(),
        segment_bytes: vec![100; segments_each],
    });
    let runs: Vec<_> = runs.collect();
    let last = runs.len() as u64;
    let message = proto::Head {
        bucket_id: Bytes::copy_from_slice(&BUCKET.0),
        revision: last,
        base_revision: last,
        runs,
        ..proto::Head::default()
    };
    envelope::seal(envelope::HEAD, FORMAT, &message.encode_to_vec())
}

#[test]
fn a_head_names_as_many_runs_and_segments_as_it_may_and_not_one_more() {
    let missing = |bytes: &Bytes| Encoded::read(bytes, None).map(|head| head.missing(None).len());
    for runs in [RUNS - 1, RUNS] {
        assert_eq!(missing(&head_naming(runs, 1)), Ok(runs));
    }
    for runs in [SEGMENTS / 8 - 1, SEGMENTS / 8] {
        assert_eq!(missing(&head_naming(runs, 8)), Ok(runs * 8));
    }
    for (runs, each) in [(RUNS + 1, 1), (1, SEGMENTS + 1)] {
        let error = missing(&head_naming(runs, each)).unwrap_err().to_string();
        let told = format!(
            "it names {runs} runs and {} segments, too many",
            runs * each
        );
        assert_eq!(error, told);
    }
}

/// The segments are small; what they stand for is not.
#[test]
fn the_runs_of_a_head_have_as_much_before_compression_as_they_may_and_not_one_byte_more() {
    let read = |raw_bytes: [u64; 2]| {
        let payload = envelope::open(envelope::HEAD, &head_naming(2, SEGMENTS / 2), FORMAT);
        let mut message = proto::Head::decode(payload.unwrap()).unwrap();
        for (run, raw_bytes) in message.runs.iter_mut().zip(raw_bytes) {
            run.raw_bytes = raw_bytes;
        }
        let sealed = envelope::seal(envelope::HEAD, FORMAT, &message.encode_to_vec());
        Encoded::read(&sealed, None).map(drop)
    };
    for last in [RAW_BYTES / 2 - 1, RAW_BYTES / 2] {
        assert_eq!(read([RAW_BYTES / 2, last]), Ok(()));
    }
    let told = "its runs have 4294967297 bytes, the limit is 4294967296".to_owned();
    assert_eq!(
        read([RAW_BYTES / 2, RAW_BYTES / 2 + 1]),
        Err(DecodeError::Content(told))
    );
}

/// A head of as many runs, each of as many segments, as a writer has it.
fn head_with(runs: usize, segments_each: usize) -> Head {
    let mut head = Head::new(BUCKET);
    head.runs = (1..=runs as u64)
        .map(|number| Run {
            revision: Revision::new(number),
            written_at: Revision::new(number),
            raw_bytes: 1,
            segments: (0..segments_each as u64)
                .map(|segment| SegmentRef {
                    id: SegmentId(number << 32 | segment),
                    bytes: 100,
                })
                .collect(),
        })
        .collect();
    let last = Revision::new(runs as u64);
    head.base.revision = last;
    head.state.loaded_through(last);
    // So much that it does not return into its head.
    let keep = put("kept", vec![0; 20_000]);
    after(&head, &Layout::SEGMENTED, keep)
}

/// What a writer must not write, because no reader would take it.
#[test]
fn a_writer_stays_within_the_segments_that_a_reader_takes() {
    let layout = Layout::SEGMENTED;
    let large = || put("large", noise(1, layout.inline_commit_bytes + 1));
    let almost = head_with(1, SEGMENTS - 1);
    let write = proposal(&almost, &layout, large()).write.unwrap();
    assert_eq!(write.head.segments().len(), SEGMENTS);
    assert!(Encoded::read(&write.bytes, None).is_ok());
    let small = proposal(&write.head, &layout, put("small", "1"));
    assert!(small.write.is_some(), "what needs no segment still fits");
    refused(&head_with(1, SEGMENTS), &layout, large());
}

/// None of them is small, and nothing has been overwritten.
#[test]
fn what_would_be_too_many_runs_is_merged_before() {
    let layout = Layout {
        bucket_bytes: 1 << 40,
        ..Layout::SEGMENTED
    };
    let mut head = head_with(RUNS, 4);
    for run in &mut head.runs {
        run.segments.iter_mut().for_each(|one| one.bytes = 100_000);
    }
    let large = put("large", noise(1, layout.inline_commit_bytes + 1));
    let Proposal { outcomes, write } = proposal(&head, &layout, large);
    assert!(outcomes.is_empty() && write.is_none(), "it waits");
    let mut round = Round::default();
    while let Some(job) = merge(&head, &layout, 1, &mut round) {
        let before = head.runs.len();
        assert!(head.apply(&job.edit, &layout));
        assert!(head.runs.len() < before);
    }
    assert_eq!(head.runs.len(), RUNS / 8 * 7);
    assert!(head.segments().len() <= SEGMENTS / 8 * 7);
    let large = put("large", noise(1, layout.inline_commit_bytes + 1));
    assert!(proposal(&head, &layout, large).write.is_some());
}

#[test]
fn a_commit_stays_in_the_head_up_to_its_bound() {
    let layout = Layout::SEGMENTED;
    let most = layout.inline_commit_bytes - "key".len();
    for (bytes, segments) in [(most - 1, 0), (most, 0), (most + 1, 1)] {
        let transaction = put("key", noise(bytes, bytes));
        let write = proposal(&Head::new(BUCKET), &layout, transaction).write;
        assert_eq!(write.unwrap().segments.len(), segments, "{bytes} bytes");
    }
}

/// A head whose tail has exactly so many bytes, compressed.
fn with_tail_of(bytes: usize, layout: &Layout) -> Head {
    let found = (0..bytes).rev().find_map(|size| {
        let head = after(&Head::new(BUCKET), layout, put("k", noise(1, size)));
        (head.tail_stored_bytes == bytes).then_some(head)
    });
    found.expect("a byte more of noise is a byte more")
}

#[test]
fn a_flush_is_due_one_byte_after_the_bound_of_the_tail() {
    let layout = Layout {
        tail_bytes: 1_000,
        ..Layout::SEGMENTED
    };
    for (bytes, is_due) in [(999, false), (1_000, false), (1_001, true)] {
        let head = with_tail_of(bytes, &layout);
        assert_eq!(head.is_flush_due(&layout), is_due, "{bytes} bytes");
    }
}

#[test]
fn a_bucket_takes_what_it_may_hold_and_not_a_byte_more() {
    for layout in [Layout::SEGMENTED, Layout::SINGLE_OBJECT] {
        let with_room_for = |bucket_bytes| Layout {
            bucket_bytes,
            ..layout
        };
        let value = noise(1, 200_000);
        let free = Layout { ..layout };
        let needed = after(&Head::new(BUCKET), &free, put("k", value.clone())).live_bytes();
        let empty = Head::new(BUCKET);
        for room in [needed + 1, needed] {
            let head = after(&empty, &with_room_for(room), put("k", value.clone()));
            assert_eq!(head.live_bytes(), needed);
        }
        let figures = refused(&empty, &with_room_for(needed - 1), put("k", value.clone()));
        assert_eq!(figures, (needed, needed - 1));
    }
}

/// What is kept in memory is bounded, however well it compresses.
#[test]
fn a_bucket_takes_as_many_bytes_before_compression_as_it_may_and_not_one_more() {
    let layout = Layout::SINGLE_OBJECT;
    let most = layout.raw_bytes();
    let quarter = Bytes::from(vec![0; 16 << 20]);
    let mut head = Head::new(BUCKET);
    for name in ["a", "b", "c"] {
        head = after(&head, &layout, put(name, quarter.clone()));
    }
    let overhead = head.live_raw_bytes() - 3 * (16 << 20);
    // One entry more has a third of the overhead; the key is one byte, as the others are.
    let rest = (most - head.live_raw_bytes() - overhead / 3) as usize;
    for bytes in [rest - 1, rest] {
        let full = after(&head, &layout, put("d", quarter.slice(..bytes)));
        assert!(full.live_raw_bytes() <= most);
    }
    let one_more = [&quarter.slice(..rest)[..], &[0]].concat();
    let (needed, available) = refused(&head, &layout, put("d", one_more));
    assert_eq!(
        (needed, available),
        (
            most - head.live_raw_bytes() + 1,
            most - head.live_raw_bytes()
        )
    );
}

#[test]
fn a_segment_holds_as_much_before_compression_as_it_may_and_not_one_byte_more() {
    let limit = 512 * 1024;
    let target = Target::of_state(BUCKET, 1, limit);
    let segments = segment::write(&target, &vec![0; 3 * SEGMENT_RAW_BYTES]);
    let piece = |one: &NewSegment| segment::read(BUCKET, one.id, &one.bytes).unwrap().len();
    let pieces: Vec<usize> = segments.iter().map(piece).collect();
    assert_eq!(pieces.iter().sum::<usize>(), 3 * SEGMENT_RAW_BYTES);
    assert_eq!(pieces.iter().max(), Some(&SEGMENT_RAW_BYTES));
    let read = |bytes| {
        let sealed = sealed_segment(block::compress(&vec![0; bytes], Effort::Fast).unwrap());
        let id = SegmentId(envelope::hash(&sealed));
        segment::read(BUCKET, id, &sealed).map(|raw| raw.len())
    };
    for bytes in [SEGMENT_RAW_BYTES - 1, SEGMENT_RAW_BYTES] {
        assert_eq!(read(bytes), Ok(bytes));
    }
    let error = read(SEGMENT_RAW_BYTES + 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a block of 8388609 bytes, the limit is 8388608"
    );
}

fn sealed_segment(frame: Bytes) -> Bytes {
    let message = proto::Segment {
        bucket_id: Bytes::copy_from_slice(&BUCKET.0),
        nonce: 1,
        number: 0,
        frame,
        is_ahead: false,
    };
    envelope::seal(envelope::SEGMENT, FORMAT, &message.encode_to_vec())
}

/// Noise of every size around the bound, after zeros that let a writer expect more of the same.
#[test]
fn no_segment_is_stored_that_is_larger_than_its_bound() {
    let limit = 2_048;
    let mut largest = 0;
    for bytes in limit - 200..limit + 10 {
        let raw = [vec![0; 64 * 1024], noise(bytes, bytes)].concat();
        let stored = segment::write(&Target::of_state(BUCKET, 1, limit), &raw).into_iter();
        largest = stored.map(|one| one.bytes.len()).fold(largest, usize::max);
    }
    assert_eq!(largest, limit);
}

#[test]
fn a_block_holds_as_much_before_compression_as_it_may_and_not_one_byte_more() {
    let zeros = vec![0; BLOCK_RAW_BYTES + 1];
    for bytes in [BLOCK_RAW_BYTES - 1, BLOCK_RAW_BYTES] {
        let block = block::compress(&zeros[..bytes], Effort::Fast).unwrap();
        assert_eq!(block::raw_bytes(&block), Ok(bytes));
        assert_eq!(block::decompress(&block, bytes).unwrap().len(), bytes);
    }
    assert!(block::compress(&zeros, Effort::Fast).is_none());
}

/// A head whose every frame is a bomb, or claims to be one.
#[test]
fn a_head_of_frames_that_are_too_large_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; BLOCK_RAW_BYTES + 1], 1).unwrap();
    let bomb = Bytes::from(bomb);
    let head = |base, tail| {
        let message = proto::Head {
            bucket_id: Bytes::copy_from_slice(&BUCKET.0),
            base,
            tail,
            ..proto::Head::default()
        };
        let sealed = envelope::seal(envelope::HEAD, FORMAT, &message.encode_to_vec());
        Encoded::read(&sealed, None)
            .and_then(|head| head.assemble(None, &Segments::new()).map(drop))
    };
    for refused in [head(bomb.clone(), Bytes::new()), head(Bytes::new(), bomb)] {
        let told = "a block of 67108865 bytes, the limit is 67108864".to_owned();
        assert_eq!(refused, Err(DecodeError::Content(told)));
    }
}
