//! What a client allocates at most: a binary of its own, because it counts with the global
//! allocator. Counted is what Rust allocates, the fake API server included; zstd's own tables are
//! not, which do not depend on what is decompressed.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_configmap::Buckets;
use kv_core::prelude::*;
use kv_core::{OpenMode, WatchOptions};
use kv_fake_apiserver::{FakeApiServer, Kind};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MIB: usize = 1024 * 1024;
const GIB: usize = 1024 * MIB;
const NAMESPACE: &str = "default";
const BUCKET: &str = "approvals";
const ID: [u8; 16] = [7; 16];

/// One test at a time: they share the allocator.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most that was allocated at a time while `work` ran, on top of what was before.
async fn peak<T>(work: impl Future<Output = T>) -> (T, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let done = work.await;
    (done, ALLOCATOR.peak_usage().saturating_sub(before))
}

/// A gibibyte of zeros as a frame that tells its size.
fn bomb() -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 19).unwrap();
    encoder.set_pledged_src_size(Some(GIB as u64)).unwrap();
    encoder.include_contentsize(true).unwrap();
    let zeros = vec![0; MIB];
    for _ in 0..GIB / MIB {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() <= 128 * 1024, "{}", bomb.len());
    bomb
}

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A field of `docs/bucket.proto` that is a number.
fn number(field: u8, number: u64) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    varint(number, &mut bytes);
    bytes
}

/// One that is bytes, a message, or packed.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

/// The envelope of `docs/format.md`.
fn seal(magic: &[u8; 4], fields: &[Vec<u8>]) -> Vec<u8> {
    let content = [1_u32.to_le_bytes().to_vec(), fields.concat()].concat();
    let sum = XxHash3_64::oneshot(&content).to_le_bytes();
    [magic, &content[..4], &sum, &content[4..]].concat()
}

fn server_with_head(head: &[u8]) -> FakeApiServer {
    let server = FakeApiServer::new();
    let write = |object: &mut Value| {
        object["metadata"]["labels"] = json!({
            "app.kubernetes.io/managed-by": "kv-configmap",
            "kv-configmap/bucket-id": "07".repeat(16),
        });
        object["binaryData"] = json!({ "head": STANDARD.encode(head) });
    };
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, write)
        .unwrap();
    server
}

fn with_segment(frame: &[u8], raw_bytes: usize) -> FakeApiServer {
    let nonce = [vec![2 << 3 | 1], vec![0; 8]].concat();
    let segment = seal(b"kvsg", &[bytes(1, &ID), nonce, bytes(4, frame)]);
    let id = XxHash3_64::oneshot(&segment);
    let mut size = Vec::new();
    varint(segment.len() as u64, &mut size);
    let run = [
        number(1, 5),
        number(3, raw_bytes as u64),
        bytes(4, &id.to_le_bytes()),
        bytes(5, &size),
    ];
    let runs = bytes(8, &run.concat());
    let head = seal(b"kvhd", &[bytes(1, &ID), number(2, 5), number(4, 5), runs]);
    let server = server_with_head(&head);
    let name = format!("{BUCKET}.{id:016x}");
    let write = |object: &mut Value| {
        object["metadata"]["labels"] = json!({
            "app.kubernetes.io/managed-by": "kv-configmap",
            "kv-configmap/bucket-id": "07".repeat(16),
            "kv-configmap/part": "segment",
        });
        object["binaryData"] = json!({ "segment": STANDARD.encode(&segment) });
    };
    server
        .edit(Kind::ConfigMap, NAMESPACE, &name, write)
        .unwrap();
    server
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "each test has a runtime of its own"
)]
async fn a_gibibyte_in_a_few_kibibytes_is_refused_before_it_is_decompressed() {
    let _alone = alone();
    let bomb = bomb();
    let head = |field| server_with_head(&seal(b"kvhd", &[bytes(1, &ID), bytes(field, &bomb)]));
    let servers = [
        ("base", head(3)),
        ("tail", head(5)),
        ("segment", with_segment(&bomb, 8 * MIB)),
    ];
    for (part, server) in servers {
        let buckets = Buckets::config_maps(server.client(), NAMESPACE);
        let begun = std::time::Instant::now();
        let (opened, open_peak) = peak(buckets.open(BUCKET, OpenMode::Open)).await;
        let took = begun.elapsed();
        let (report, check_peak) = peak(buckets.check(BUCKET)).await;
        eprintln!(
            "{part}: {} bytes refused in {took:?}, {open_peak} bytes allocated",
            bomb.len()
        );
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{part}: {error:?}");
        assert!(
            error.to_string().contains("1073741824 bytes"),
            "{part}: {error}"
        );
        assert!(!report.unwrap().is_sound(), "{part}");
        assert!(
            open_peak.max(check_peak) < 2 * MIB,
            "{part}: {open_peak}, {check_peak}"
        );
    }
}

/// As many times `element` as fit into four mebibytes, as a frame.
fn repeated(element: &[u8]) -> Vec<u8> {
    let raw = element.repeat(4 * MIB / element.len());
    zstd::bulk::compress(&raw, 19).unwrap()
}

/// A list of one message: the field that is `content`, again and again.
fn one_commit(field: u8, content: &[u8]) -> Vec<u8> {
    let fields = bytes(field, content).repeat(4 * MIB / (content.len() + 2));
    let raw = bytes(1, &[number(1, 5), fields].concat());
    zstd::bulk::compress(&raw, 19).unwrap()
}

/// A commit with a run that names no segment and has millions of sizes.
fn sizes_of_segments() -> Vec<u8> {
    let run = bytes(3, &bytes(5, &vec![1; 4 * MIB]));
    let raw = bytes(1, &[number(1, 5), run].concat());
    zstd::bulk::compress(&raw, 19).unwrap()
}

#[tokio::test]
#[expect(
    clippy::await_holding_lock,
    reason = "each test has a runtime of its own"
)]
async fn messages_of_two_bytes_do_not_become_structs_of_a_hundred() {
    let _alone = alone();
    let head = |field, block: &[u8]| {
        let fields = [bytes(1, &ID), number(2, 5), bytes(field, block)];
        server_with_head(&seal(b"kvhd", &fields))
    };
    // An element without content, and one that would be fine if it came once.
    let (nothing, entry) = (bytes(1, &[]), bytes(1, &bytes(1, b"k")));
    let (no_key, change) = (&[][..], bytes(1, b"k"));
    let servers = [
        ("entries of nothing", head(3, &repeated(&nothing))),
        ("one entry", head(3, &repeated(&entry))),
        ("commits of nothing", head(5, &repeated(&nothing))),
        ("changes of nothing", head(5, &one_commit(2, no_key))),
        ("one change", head(5, &one_commit(2, &change))),
        ("sizes of segments", head(5, &sizes_of_segments())),
        (
            "a segment of nothing",
            with_segment(&repeated(&nothing), 4 * MIB),
        ),
    ];
    for (part, server) in servers {
        let buckets = Buckets::config_maps(server.client(), NAMESPACE);
        let (opened, open_peak) = peak(buckets.open(BUCKET, OpenMode::Open)).await;
        let (report, check_peak) = peak(buckets.check(BUCKET)).await;
        eprintln!("{part}: {open_peak} bytes allocated to open, {check_peak} to check");
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{part}: {error:?}");
        assert!(!report.unwrap().is_sound(), "{part}");
        // What is decompressed, and once more in one piece.
        let most = 2 * 4 * MIB + MIB;
        assert!(
            open_peak.max(check_peak) < most,
            "{part}: {open_peak}, {check_peak}"
        );
    }
}

/// What is allocated while many commits are made beside watchers that never read.
async fn peak_with(watchers: usize) -> usize {
    let server = FakeApiServer::new();
    server.set_history(10, MIB);
    let buckets = Buckets::config_maps(server.client(), NAMESPACE).without_write_budget();
    let store = buckets.in_single_objects();
    let store = store.open(BUCKET, OpenMode::Create).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..watchers {
        watches.push(store.watch(WatchOptions::default()).await.unwrap());
    }
    let commits = async {
        for number in 0..3_000_u32 {
            let value = number.to_le_bytes().repeat(4_096);
            store.put("k", value).await.unwrap();
        }
    };
    peak(commits).await.1
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::await_holding_lock,
    reason = "each test has a runtime of its own"
)]
async fn watchers_that_never_read_cost_no_memory() {
    let _alone = alone();
    let without = peak_with(0).await;
    assert!(without < 40 * MIB, "of 47 MiB that were put: {without}");
    let with = peak_with(200).await;
    assert!(
        with < without + 2 * MIB,
        "{without} without, {with} with watchers"
    );
}
