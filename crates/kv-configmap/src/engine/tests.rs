//! Heads under damage, under growth, and over a long life.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kv_core::{Key, ListOptions, Transaction};
use proptest::prelude::*;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{
    BatchId, BucketId, CAPACITY, DecodeError, Encoded, FORMAT, Head, Layout, Request, Segments,
    Write, envelope, propose, proto,
};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000)
}

/// The head after these transactions, each in a write of its own, and its bytes.
fn after(transactions: &[Transaction]) -> (Head, Bytes) {
    let mut head = Head::new(BucketId([9; 16]));
    let mut bytes = Bytes::new();
    for (number, transaction) in transactions.iter().enumerate() {
        if let Some(write) = write(&head, number as u64, transaction) {
            head = write.head;
            bytes = write.bytes;
        }
    }
    (head, bytes)
}

/// Decodes a head that has no segments.
pub(super) fn decode(bytes: &Bytes, known: Option<&Head>) -> Result<Head, DecodeError> {
    let assembled = Encoded::read(bytes, known)?.assemble(known, &Segments::new())?;
    Ok(assembled.0)
}

/// The write of one transaction, the `number`th; `None`: it changes nothing, or is refused.
fn write(head: &Head, number: u64, transaction: &Transaction) -> Option<Write> {
    let version = (number + 10).to_string().parse().unwrap();
    let request = Request {
        store: "a test",
        layout: &Layout::SINGLE_OBJECT,
        transactions: &[Arc::new(transaction.clone())],
        batch: BatchId {
            writer: 1,
            counter: number,
        },
        now: now(),
        edit: None,
        nonce: 0,
        forwarded: &[],
        leader: 0,
        is_recorded: false,
    };
    propose(head, version, &request).unwrap().write
}

fn put(key: &str, value: impl Into<Bytes>) -> Transaction {
    Transaction::new().put(Key::new(key).unwrap(), value)
}

fn delete(key: &str) -> Transaction {
    Transaction::new().delete(Key::new(key).unwrap())
}

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut noise);
    noise
}

/// What the bytes of a head hold, undecoded.
fn stored(bytes: &Bytes) -> proto::Head {
    proto::Head::decode(envelope::open(envelope::HEAD, bytes, FORMAT).unwrap()).unwrap()
}

#[test]
fn a_base_that_is_mostly_garbage_is_folded() {
    // Together more than a tail holds before compression, and next to nothing after it.
    let (a, b) = (put("a", vec![1; 40_000]), put("b", vec![2; 40_000]));
    let mut history = vec![a, b, put("x", "1"), put("a", "1")];
    let half = stored(&after(&history).1);
    assert!(raw(&half.base) > 39_000);
    history.push(put("b", "2"));
    let (head, bytes) = after(&history);
    let folded = stored(&bytes);
    assert!(raw(&folded.base) < 100, "{}", raw(&folded.base));
    assert!(
        raw(&folded.tail) < 2_200,
        "only what followers may need: {}",
        raw(&folded.tail)
    );
    let read = decode(&bytes, None).unwrap();
    assert!(read.snapshot().iter().eq(head.snapshot().iter()));
}

fn raw(block: &[u8]) -> usize {
    super::block::raw_bytes(block).unwrap()
}

/// A bucket to which not a byte can be added, and which a fold would make larger: what compresses
/// in the tail is lost among noise in the base.
fn full_to_the_last_byte() -> Head {
    let parts = 0..8;
    let noise_each = (CAPACITY - 1_500) / parts.len();
    let each = |put: &dyn Fn(Transaction, usize) -> Transaction| {
        parts.clone().fold(Transaction::new(), put)
    };
    let key = |part: usize, what: &str| Key::new(format!("{part} {what}")).unwrap();
    let base = each(&|all, part| all.put(key(part, "noise"), noise(part as u64, noise_each)));
    let tail = each(&|all, part| all.put(key(part, "zeros"), vec![0; 100]));
    let (head, _) = after(&[base, put("small", "1"), tail]);
    let fill = |bytes| write(&head, 3, &put("filler", noise(99, bytes)));
    let room = CAPACITY - head.head_bytes();
    let filled = (0..room).rev().find_map(fill).unwrap().head;
    assert_eq!(filled.head_bytes(), CAPACITY);
    filled
}

#[test]
fn a_delete_from_a_full_bucket_may_use_the_room_that_is_kept_for_it() {
    let mut head = full_to_the_last_byte();
    assert!(write(&head, 4, &put("another", "1")).is_none());
    head = write(&head, 4, &delete("small")).unwrap().head;
    assert!(head.head_bytes() > CAPACITY, "for now it takes more room");
    let keys: Vec<Key> = head.snapshot().iter().map(|e| e.key.clone()).collect();
    for (number, key) in keys.iter().enumerate() {
        let delete = delete(key.as_str());
        head = write(&head, 5 + number as u64, &delete).unwrap().head;
    }
    assert!(head.snapshot().is_empty());
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let (_, bytes) = after(&[put("a", "1"), put("b", vec![7; 2_000]), put("c", "3")]);
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 1 << bit;
            assert!(
                decode(&Bytes::from(damaged), None).is_err(),
                "byte {position}"
            );
        }
        assert!(
            decode(&bytes.slice(..position), None).is_err(),
            "cut at {position}"
        );
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let golden = include_bytes!("../../tests/golden/head-of-a-newer-format.bin");
    assert_eq!(
        envelope::seal(envelope::HEAD, u32::MAX, b"future"),
        golden.as_slice()
    );
    let found = decode(&Bytes::from_static(golden), None).unwrap_err();
    assert_eq!(
        found,
        DecodeError::NewerFormat {
            found: u32::MAX,
            known: 1
        }
    );
}

#[test]
fn a_head_from_another_history_is_read_from_the_start() {
    let (known, _) = after(&[put("a", "1"), put("b", "2")]);
    let (other, bytes) = after(&[put("a", "1"), put("c", "3"), put("d", "4")]);
    let decoded = decode(&bytes, Some(&known)).unwrap();
    assert!(decoded.snapshot().iter().eq(other.snapshot().iter()));
}

/// Written with format version 1; it must stay readable for ever.
#[test]
fn the_first_format_stays_readable() {
    let golden = include_bytes!("../../tests/golden/head-v1.bin");
    let head = decode(&Bytes::from_static(golden), None).unwrap();
    let entries = head.snapshot().page(&ListOptions::default(), now()).entries;
    let found: Vec<_> = entries
        .iter()
        .map(|e| (e.key.as_str(), e.value.as_ref()))
        .collect();
    let large = vec![7; 70_000];
    let expected: [(&str, &[u8]); 4] = [
        ("a", b"1"),
        ("large", &large),
        ("session", b"anna"),
        ("é/ü", b"\x00\xff"),
    ];
    assert_eq!(found, expected);
    let session = UNIX_EPOCH + Duration::from_secs(1_060);
    assert_eq!(entries[2].expires_at, Some(session));
}

fn golden_transactions() -> Vec<Transaction> {
    let session = Key::new("session").unwrap();
    vec![
        put("gone", "0"),
        put("large", vec![7; 70_000]),
        put("a", "1"),
        Transaction::new().put_expiring(session, "anna", Duration::from_secs(60)),
        put("é/ü", vec![0x00, 0xff]).delete(Key::new("gone").unwrap()),
    ]
}

/// Run by hand when a format version is added: writes the golden file of the present one.
#[test]
#[ignore = "writes a golden file"]
fn write_the_golden_file() {
    let (_, bytes) = after(&golden_transactions());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/head-v1.bin");
    std::fs::write(file, bytes).unwrap();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/head-of-a-newer-format.bin"
    );
    std::fs::write(file, envelope::seal(envelope::HEAD, u32::MAX, b"future")).unwrap();
}

#[test]
fn the_present_format_is_the_golden_one() {
    let (head, _) = after(&golden_transactions());
    let golden = include_bytes!("../../tests/golden/head-v1.bin");
    let read = decode(&Bytes::from_static(golden), None).unwrap();
    assert!(read.snapshot().iter().eq(head.snapshot().iter()));
    assert_eq!(read.id(), head.id());
}

fn operation() -> impl Strategy<Value = (String, Option<Vec<u8>>)> {
    let value = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(any::<u8>(), 2_000..6_000),
    ];
    ("[a-e]{1,2}", proptest::option::weighted(0.8, value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is committed is read back, from the start and from every earlier head.
    #[test]
    fn a_head_reads_as_it_was_written(
        operations in proptest::collection::vec(operation(), 1..60),
        known_at in 0..60usize,
    ) {
        let transactions: Vec<_> = operations
            .into_iter()
            .map(|(key, value)| {
                let key = Key::new(key).unwrap();
                match value {
                    Some(value) => Transaction::new().put(key, value),
                    None => Transaction::new().delete(key),
                }
            })
            .collect();
        let (head, bytes) = after(&transactions);
        let (known, _) = after(&transactions[..known_at.min(transactions.len())]);
        prop_assume!(!bytes.is_empty());
        for known in [None, Some(&known)] {
            let decoded = decode(&bytes, known).unwrap();
            prop_assert!(decoded.snapshot().iter().eq(head.snapshot().iter()));
            prop_assert_eq!(decoded.snapshot().revision(), head.snapshot().revision());
            prop_assert_eq!(decoded.stored_bytes(), head.stored_bytes());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&Bytes::from(bytes.clone()), None);
        let _ = decode(&envelope::seal(envelope::HEAD, 1, &bytes), None);
    }
}
