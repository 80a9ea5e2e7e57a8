//! Batches that one writer commits for others: each once, and with what became of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kv_core::{Commit, Error, Key, Limits, Result, Revision, Transaction};
use proptest::prelude::*;

use super::tests::decode;
use super::writers::{OUTCOME_BYTES, WRITERS, outcome_bytes};
use super::{
    BatchId, BucketId, Forwarded, Head, Layout, Offer, Proposal, Request, Resolution, Write,
    propose,
};

const BUCKET: BucketId = BucketId([7; 16]);
const LEADER: BatchId = batch(1, 1);
const NUMBER: u64 = LEADER.writer;

const fn batch(writer: u64, counter: u64) -> BatchId {
    BatchId { writer, counter }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn put(name: &str, value: impl Into<Bytes>) -> Transaction {
    Transaction::new().put(key(name), value)
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    use rand::{Rng, SeedableRng};
    let mut noise = vec![0; bytes];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut noise);
    noise
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn offered(batch: BatchId, transactions: &[Transaction]) -> Forwarded {
    Forwarded {
        batch,
        after: Revision::ZERO,
        now: at(0),
        transactions: transactions.iter().cloned().map(Arc::new).collect(),
    }
}

fn on(
    base: &Head,
    version: u64,
    own: &[Transaction],
    forwarded: &[Forwarded],
    leader: u64,
) -> Proposal {
    let own: Vec<_> = own.iter().cloned().map(Arc::new).collect();
    let request = Request {
        store: "a test",
        layout: &Layout::SEGMENTED,
        transactions: &own,
        batch: BatchId {
            counter: version,
            ..LEADER
        },
        now: at(0),
        edit: None,
        nonce: version,
        forwarded,
        leader,
        is_recorded: false,
    };
    propose(base, version.to_string().parse().unwrap(), &request).unwrap()
}

fn written(base: &Head, version: u64, own: &[Transaction], forwarded: &[Forwarded]) -> Write {
    let write = on(base, version, own, forwarded, NUMBER).write.unwrap();
    // What others learn, they learn from the bytes.
    let read = decode(&write.bytes, Some(base)).unwrap();
    Write {
        head: read,
        ..write
    }
}

fn told(head: &Head, one: &Forwarded) -> Option<Vec<Result<Commit>>> {
    head.outcomes(one.batch, &one.transactions)
}

fn outcomes(head: &Head, one: &Forwarded) -> Vec<Result<Commit>> {
    told(head, one).unwrap()
}

fn revision(outcome: &Result<Commit>) -> Revision {
    outcome.as_ref().unwrap().revision
}

#[test]
fn batches_of_others_are_committed_after_the_own_one_with_an_outcome_for_each_transaction() {
    let base = written(&Head::new(BUCKET), 5, &[put("k", "0")], &[]).head;
    let before = base.revision();
    let one = offered(batch(2, 1), &[put("k", "1"), put("k", "1")]);
    let create = Transaction::new().require_absent(key("k"));
    let two = offered(
        batch(3, 1),
        &[
            create.put(key("k"), "2"),
            Transaction::new().delete(key("x")),
        ],
    );
    let write = written(&base, 6, &[put("own", "1")], &[one.clone(), two.clone()]);
    assert!(write.has_forwarded);
    assert_eq!(write.records.len(), 2);
    let own = Revision::new(6 << 16);
    let committed = Revision::new(own.get() + 1);
    let of_one = outcomes(&write.head, &one);
    assert_eq!(
        of_one.iter().map(revision).collect::<Vec<_>>(),
        [committed; 2]
    );
    let first = of_one[0].clone().unwrap();
    assert_eq!(first.previous, [Some(before)]);
    assert_eq!(first.current, [Some(committed)]);
    let of_two = outcomes(&write.head, &two);
    assert!(
        matches!(
            &of_two[0],
            Err(Error::AlreadyExists { actual, .. }) if *actual == committed
        ),
        "{of_two:?}"
    );
    assert_eq!(revision(&of_two[1]), committed);
    assert_eq!(write.head.snapshot().stored(&key("k")).unwrap().value, "1");
    assert_eq!(write.head.leader(), Some(NUMBER));
}

#[test]
fn what_became_of_a_batch_that_changes_nothing_is_written_too() {
    let base = written(&Head::new(BUCKET), 5, &[put("k", "1")], &[]).head;
    let same = offered(batch(2, 1), &[put("k", "1")]);
    let write = written(&base, 6, &[], std::slice::from_ref(&same));
    assert!(write.records.is_empty());
    assert_eq!(write.head.revision(), base.revision());
    assert_eq!(revision(&outcomes(&write.head, &same)[0]), base.revision());
    assert!(on(&base, 7, &[], &[], NUMBER).write.is_none());
}

#[test]
fn a_batch_is_committed_once() {
    let offer = offered(batch(2, 1), &[put("k", "1")]);
    let first = written(&Head::new(BUCKET), 5, &[], std::slice::from_ref(&offer)).head;
    let second = written(&first, 6, &[put("k", "2")], std::slice::from_ref(&offer));
    assert!(!second.has_forwarded);
    assert_eq!(second.head.snapshot().stored(&key("k")).unwrap().value, "2");
    // Its writer has gone on without it.
    let later = offered(batch(2, 3), &[put("k", "3")]);
    let third = written(&second.head, 7, &[], std::slice::from_ref(&later)).head;
    let late = offered(batch(2, 2), &[put("k", "late")]);
    assert!(on(&third, 8, &[], &[late], NUMBER).write.is_none());
}

#[test]
fn a_batch_of_which_nobody_can_tell_whether_it_was_committed_is_not() {
    let offer = offered(batch(2, 1), &[put("k", "1")]);
    let mut head = written(&Head::new(BUCKET), 5, &[], std::slice::from_ref(&offer)).head;
    let others: Vec<_> = (0..=WRITERS as u64)
        .map(|writer| offered(batch(100 + writer, 1), &[put("other", writer.to_string())]))
        .collect();
    for (version, other) in (6..).zip(others.chunks(10)) {
        head = written(&head, version, &[], other).head;
    }
    assert_eq!(head.last_batch_of(2), None);
    assert!(
        on(&head, 500, &[], std::slice::from_ref(&offer), NUMBER)
            .write
            .is_none()
    );
    let new = Forwarded {
        after: head.revision(),
        ..offer
    };
    assert!(on(&head, 500, &[], &[new], NUMBER).write.is_some());
}

#[test]
fn a_batch_that_was_offered_on_a_later_head_is_not_committed_on_one_that_went_back() {
    let base = written(&Head::new(BUCKET), 5, &[put("k", "1")], &[]).head;
    let offer = Forwarded {
        after: Revision::new(6 << 16),
        ..offered(batch(2, 1), &[put("k", "2")])
    };
    assert!(on(&base, 6, &[], &[offer], NUMBER).write.is_none());
}

#[test]
fn each_batch_is_decided_about_by_the_time_of_its_writer() {
    let session = Transaction::new().put_expiring(key("s"), "x", Duration::from_secs(10));
    let base = written(&Head::new(BUCKET), 5, &[session], &[]).head;
    let create = Transaction::new()
        .require_absent(key("s"))
        .put(key("s"), "y");
    let early = offered(batch(2, 1), std::slice::from_ref(&create));
    let late = Forwarded {
        now: at(10),
        ..offered(batch(3, 1), &[create])
    };
    let head = written(&base, 6, &[], &[early.clone(), late.clone()]).head;
    assert!(outcomes(&head, &early)[0].is_err());
    assert!(outcomes(&head, &late)[0].is_ok());
}

#[test]
fn outcomes_are_kept_for_another_write_at_least_and_within_their_bound() {
    let large = |writer| {
        let puts: Vec<_> = (0..16)
            .map(|n| put(&format!("{writer}/{n}"), "1"))
            .collect();
        offered(batch(writer, 1), &puts)
    };
    let all: Vec<_> = (100..200).map(large).collect();
    let mut head = Head::new(BUCKET);
    let mut before: Vec<Forwarded> = Vec::new();
    for version in 5.. {
        let left: Vec<_> = all
            .iter()
            .filter(|one| head.resolve(one.batch, one.after) == Resolution::NotApplied)
            .cloned()
            .collect();
        if left.is_empty() {
            break;
        }
        head = written(&head, version, &[], &left).head;
        let kept = head.writers.recent().iter();
        let kept: usize = kept
            .filter_map(|one| one.outcomes.as_ref())
            .map(outcome_bytes)
            .sum();
        assert!(kept <= OUTCOME_BYTES + 2 * WRITERS, "{kept}");
        let taken: Vec<_> = left
            .into_iter()
            .filter(|one| head.resolve(one.batch, one.after) == Resolution::Applied)
            .collect();
        for one in before.iter().chain(&taken) {
            assert!(told(&head, one).is_some(), "{one:?}");
        }
        before = taken;
    }
    assert!(told(&head, &all[0]).is_none());
}

#[test]
fn outcomes_go_with_the_tail_when_nobody_leads_any_more() {
    let offer = offered(batch(2, 1), &[put("k", "1")]);
    let mut head = written(&Head::new(BUCKET), 5, &[], std::slice::from_ref(&offer)).head;
    let mut versions = 6..;
    let mut write = |head: &Head, leader: u64| {
        let version = versions.next().unwrap();
        let own = [put("own", noise(version, 1_000))];
        on(head, version, &own, &[], leader).write.unwrap().head
    };
    head = write(&head, 0);
    assert_eq!(head.leader(), None);
    assert!(told(&head, &offer).is_some(), "its commit is in the tail");
    while head.tail.get(Revision::new(5 << 16)).is_some() {
        head = write(&head, 0);
    }
    assert!(told(&write(&head, NUMBER), &offer).is_some());
    assert!(told(&write(&head, 0), &offer).is_none());
    assert_eq!(head.resolve(offer.batch, offer.after), Resolution::Applied);
}

#[test]
fn batches_of_others_never_keep_our_own_from_being_written() {
    let layout = Layout {
        bucket_bytes: 40_000,
        ..Layout::SEGMENTED
    };
    let large: Vec<_> = (0..8)
        .map(|writer| {
            offered(
                batch(100 + writer, 1),
                &[put(&format!("{writer}"), noise(writer, 8_000))],
            )
        })
        .collect();
    let own = [Arc::new(put("own", noise(50, 8_000)))];
    let request = Request {
        store: "a test",
        layout: &layout,
        transactions: &own,
        batch: LEADER,
        now: at(0),
        edit: None,
        nonce: 0,
        forwarded: &large,
        leader: NUMBER,
        is_recorded: false,
    };
    let base = Head::new(BUCKET);
    let proposal = propose(&base, "5".parse().unwrap(), &request).unwrap();
    assert!(proposal.outcomes[0].is_ok());
    let write = proposal.write.unwrap();
    let taken = large
        .iter()
        .filter(|one| write.head.resolve_offer(one.batch, one.after) == Resolution::Applied);
    let taken = taken.count();
    assert!((1..8).contains(&taken), "{taken}");
}

#[test]
fn a_verdict_that_has_to_be_recorded_is_written_also_where_there_is_no_room() {
    let layout = Layout {
        bucket_bytes: 10_000,
        ..Layout::SEGMENTED
    };
    let base = written(&Head::new(BUCKET), 5, &[put("k", noise(1, 9_000))], &[]).head;
    let verdicts = [
        Transaction::new().require_absent(key("k")),
        put("k", noise(1, 9_000)),
        put("other", noise(2, 9_000)),
    ];
    for verdict in verdicts {
        let recorded = |is_recorded| {
            let request = Request {
                store: "a test",
                layout: &layout,
                transactions: &[Arc::new(verdict.clone())],
                batch: batch(2, 7),
                now: at(0),
                edit: None,
                nonce: 0,
                forwarded: &[],
                leader: 0,
                is_recorded,
            };
            propose(&base, "6".parse().unwrap(), &request).unwrap()
        };
        let plain = recorded(false);
        assert!(plain.write.is_none(), "{verdict:?}");
        let proposal = recorded(true);
        let told = |proposal: &Proposal| format!("{:?}", proposal.outcomes);
        assert_eq!(told(&proposal), told(&plain));
        let write = proposal.write.unwrap();
        assert!(write.records.is_empty());
        let head = decode(&write.bytes, Some(&base)).unwrap();
        assert_eq!(head.last_batch_of(2), Some(7), "{verdict:?}");
    }
}

fn offer(transactions: Vec<Transaction>) -> Offer {
    Offer {
        bucket: BUCKET,
        leader: NUMBER,
        batch: batch(2, 3),
        after: Revision::new(4),
        now: at(5) + Duration::from_nanos(7),
        transactions: transactions.into_iter().map(Arc::new).collect(),
    }
}

fn reread(offer: &Offer) -> Offer {
    Offer::decode(&offer.encode().unwrap(), &Limits::CONTRACT).unwrap()
}

#[test]
fn an_offer_is_read_as_it_was_made() {
    let all = Transaction::new()
        .require_absent(key("a"))
        .require_exists(key("b"))
        .require_at(key("c"), Revision::new(9))
        .put(key("d"), "")
        .put_expiring(key("e"), vec![0, 255], Duration::from_nanos(1))
        .delete(key("f"));
    let offer = offer(vec![all, Transaction::new()]);
    assert_eq!(reread(&offer), offer);
}

#[test]
fn what_is_too_large_is_not_offered() {
    let puts = |count: usize| vec![put("k", "v"); count];
    assert!(offer(puts(64)).encode().is_some());
    assert!(offer(puts(65)).encode().is_none());
    let deletes = |count: usize| {
        let all = (0..count).fold(Transaction::new(), |all, _| all.delete(key("k")));
        vec![all]
    };
    assert!(offer(deletes(128)).encode().is_some());
    assert!(offer(deletes(129)).encode().is_none());
    let sized = |bytes: usize| offer(vec![put("k", vec![0; bytes])]);
    let largest = (0..17_000)
        .rev()
        .find(|bytes| sized(*bytes).encode().is_some());
    let encoded = sized(largest.unwrap()).encode().unwrap();
    assert_eq!(encoded.len(), 16 + 16 * 1024);
}

#[test]
fn what_a_store_refuses_is_no_offer() {
    let narrow = Limits {
        value_bytes: 1,
        ..Limits::CONTRACT
    };
    let bytes = offer(vec![put("k", "12")]).encode().unwrap();
    assert!(Offer::decode(&bytes, &narrow).is_err());
    assert!(Offer::decode(&bytes.slice(..bytes.len() - 1), &Limits::CONTRACT).is_err());
}

proptest! {
    #[test]
    fn no_bytes_are_too_much_for_the_reader_of_offers(bytes: Vec<u8>) {
        let sealed = super::envelope::seal(super::envelope::OFFER, super::FORMAT, &bytes);
        let _ = Offer::decode(&sealed, &Limits::CONTRACT);
        let _ = Offer::decode(&bytes.into(), &Limits::CONTRACT);
    }
}
