//! Heads that somebody has made by hand, with a checksum that fits: whatever they say, they are
//! read or refused, and nobody who goes on from them panics.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use kv_core::{Key, Transaction};
use proptest::prelude::*;
use prost::Message;

use super::edit::Edit;
use super::golden_tests::{golden, golden_head, golden_segments};
use super::{
    BatchId, DecodeError, Encoded, FORMAT, Head, Layout, Request, Round, block, envelope, flush,
    merge, propose, proto,
};

/// Numbers at which something can overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..30_u64).prop_map(|write| write << 16),
        2 => 0..4_u64,
        2 => (0..4_u64).prop_map(|below| u64::MAX - below),
        1 => Just(u64::MAX / 2 + 1),
        1 => any::<u64>(),
    ]
}

/// One field of a head.
#[derive(Clone, Debug)]
enum Forgery {
    Revision(u64),
    BaseRevision(u64),
    SweepEpoch(u64),
    TombstonesDropped(u64),
    WritersCompleteAfter(u64),
    Recent(usize, u64),
    Writer(usize, u64, u64),
    Run(usize, RunForgery),
    RunGone(usize),
    RunTwice(usize),
    Base(Bytes),
    Tail(Bytes),
    CommitRevision(usize, u64),
    CommitRun(RunForgery),
}

#[derive(Clone, Debug)]
enum RunForgery {
    Revision(u64),
    WrittenAfter(u64),
    RawBytes(u64),
    Segments(Vec<u64>),
}

fn run_forgery() -> impl Strategy<Value = RunForgery> {
    prop_oneof![
        number().prop_map(RunForgery::Revision),
        number().prop_map(RunForgery::WrittenAfter),
        number().prop_map(RunForgery::RawBytes),
        proptest::collection::vec(number(), 0..4).prop_map(RunForgery::Segments),
    ]
}

fn forgery() -> impl Strategy<Value = Forgery> {
    let index = 0..8_usize;
    let block = proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    prop_oneof![
        number().prop_map(Forgery::Revision),
        number().prop_map(Forgery::BaseRevision),
        number().prop_map(Forgery::SweepEpoch),
        number().prop_map(Forgery::TombstonesDropped),
        number().prop_map(Forgery::WritersCompleteAfter),
        (index.clone(), number()).prop_map(|(at, to)| Forgery::Recent(at, to)),
        (index.clone(), number(), number())
            .prop_map(|(at, one, two)| Forgery::Writer(at, one, two)),
        (index.clone(), run_forgery()).prop_map(|(at, to)| Forgery::Run(at, to)),
        index.clone().prop_map(Forgery::RunGone),
        index.clone().prop_map(Forgery::RunTwice),
        block.clone().prop_map(Forgery::Base),
        block.prop_map(Forgery::Tail),
        (index, number()).prop_map(|(at, to)| Forgery::CommitRevision(at, to)),
        run_forgery().prop_map(Forgery::CommitRun),
    ]
}

fn change<T>(all: &mut [T], index: usize, change: impl FnOnce(&mut T)) {
    let count = all.len().max(1);
    if let Some(one) = all.get_mut(index % count) {
        change(one);
    }
}

fn change_tail(head: &mut proto::Head, change: impl FnOnce(&mut Vec<proto::Commit>)) {
    let tail = block::open(&head.tail).ok().map(proto::Commits::decode);
    if let Some(Ok(mut tail)) = tail {
        change(&mut tail.commits);
        head.tail = block::compress(&tail.encode_to_vec(), block::Effort::Fast).unwrap();
    }
}

fn forge(head: &mut proto::Head, forgery: Forgery) {
    match forgery {
        Forgery::Revision(to) => head.revision = to,
        Forgery::BaseRevision(to) => head.base_revision = to,
        Forgery::SweepEpoch(to) => head.sweep_epoch = to,
        Forgery::TombstonesDropped(to) => head.tombstones_dropped_through = to,
        Forgery::WritersCompleteAfter(to) => head.writers_complete_after = to,
        Forgery::Recent(index, to) => change(&mut head.recent_revisions, index, |one| *one = to),
        Forgery::Writer(index, counter, revision) => change(&mut head.writers, index, |one| {
            (one.counter, one.revision) = (counter, revision);
        }),
        Forgery::Run(index, to) => change(&mut head.runs, index, |run| forge_run(run, to)),
        Forgery::RunGone(index) if index < head.runs.len() => drop(head.runs.remove(index)),
        Forgery::RunGone(_) => head.runs.clear(),
        Forgery::RunTwice(index) => {
            let run = head.runs.get(index).cloned();
            head.runs.extend(run);
        }
        Forgery::Base(to) => head.base = to,
        Forgery::Tail(to) => head.tail = to,
        Forgery::CommitRevision(index, to) => change_tail(head, |commits| {
            change(commits, index, |commit| commit.revision = to);
        }),
        Forgery::CommitRun(to) => change_tail(head, |commits| {
            let mut runs = commits.iter_mut().filter_map(|commit| commit.run.as_mut());
            if let Some(run) = runs.next() {
                forge_run(run, to);
            }
        }),
    }
}

fn forge_run(run: &mut proto::Run, forgery: RunForgery) {
    match forgery {
        RunForgery::Revision(to) => run.revision = to,
        RunForgery::WrittenAfter(to) => run.written_after = to,
        RunForgery::RawBytes(to) => run.raw_bytes = to,
        RunForgery::Segments(to) => {
            run.segment_bytes = vec![u32::MAX; to.len()];
            run.segments = to;
        }
    }
}

fn forged(forgeries: Vec<Forgery>) -> Bytes {
    let payload = envelope::open(envelope::HEAD, &golden_head(), FORMAT).unwrap();
    let mut message = proto::Head::decode(payload).unwrap();
    forgeries
        .into_iter()
        .for_each(|one| forge(&mut message, one));
    envelope::seal(envelope::HEAD, FORMAT, &message.encode_to_vec())
}

/// As a client reads it, cold or with a state that it knows.
fn read(bytes: &Bytes, known: Option<&Head>) -> Result<Head, DecodeError> {
    let encoded = Encoded::read(bytes, known);
    let anew = Encoded::read(bytes, None);
    let tail = |one: &Encoded| format!("{:?}", one.head.tail);
    assert_eq!(
        encoded.as_ref().map(tail).ok(),
        anew.as_ref().map(tail).ok(),
        "what is known of the tail makes no difference"
    );
    let encoded = encoded?;
    let _ = encoded.survey(&golden_segments());
    let wanted = encoded.missing(known);
    let mut segments = golden_segments();
    segments.retain(|id, _| wanted.iter().any(|one| one.id == *id));
    Ok(encoded.assemble(known, &segments)?.0)
}

/// What a client does with a head that it has read; returns the bytes that it would write.
fn go_on(head: &Head, edit: Option<&Edit>) -> Option<(Head, Bytes)> {
    let request = Request {
        store: "a test",
        layout: &Layout::TINY,
        transactions: &[Arc::new(
            Transaction::new()
                .put(Key::new("k").unwrap(), vec![7; 100])
                .delete(Key::new("large").unwrap()),
        )],
        batch: BatchId {
            writer: 9,
            counter: 1,
        },
        now: UNIX_EPOCH,
        edit,
        nonce: 0,
        forwarded: &[],
        leader: 0,
        is_recorded: false,
    };
    let version = "100".parse().unwrap();
    let write = propose(head, version, &request).ok()?.write?;
    Some((write.head, write.bytes))
}

fn use_it(head: &Head) {
    let _ = (head.live_bytes(), head.stored_bytes(), head.segments());
    let mut round = Round::default();
    let jobs = [
        flush(head, &Layout::TINY, 1),
        merge(head, &Layout::TINY, 2, &mut round),
    ];
    let edits: Vec<_> = jobs.into_iter().flatten().map(|job| job.edit).collect();
    for edit in edits
        .iter()
        .map(Some)
        .chain([Some(&Edit::RaiseSweepEpoch), None])
    {
        if let Some((written, bytes)) = go_on(head, edit) {
            let _ = (written.live_bytes(), written.segments_dropped_since(head));
            assert!(
                Encoded::read(&bytes, None).is_ok(),
                "what is written can be read"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_forged_head_is_read_or_refused(forgeries in proptest::collection::vec(forgery(), 1..4)) {
        let bytes = forged(forgeries);
        let known = golden();
        for known in [None, Some(&known)] {
            if let Ok(head) = read(&bytes, known) {
                use_it(&head);
            }
        }
    }
}
