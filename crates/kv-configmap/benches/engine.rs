//! What the bucket engine costs without a server: `cargo bench -p kv-configmap`.

// The engine is private to the crate and depends on nothing of it but these hooks.
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "not all of it is measured"
)]
#[path = "../src/engine/mod.rs"]
mod engine;
#[allow(dead_code, unreachable_pub, reason = "not all of it is measured")]
#[path = "../src/hooks.rs"]
mod hooks;

use std::hint::black_box;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kv_core::{Key, Transaction};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use engine::{
    BatchId, BucketId, Edit, Encoded, Head, Job, Layout, Proposal, Request, Round, Segments, flush,
    merge, propose,
};

const ENTRIES: u64 = 10_000;

/// A bucket as a cluster holds it.
struct Bucket {
    head: Head,
    bytes: Bytes,
    segments: Segments,
    number: u64,
}

fn put(number: u64, seed: u64) -> Transaction {
    let mut value = vec![0; 100];
    StdRng::seed_from_u64(seed).fill_bytes(&mut value);
    let key = Key::new(format!("deployments/{number:07}")).expect("a key");
    Transaction::new().put(key, value)
}

impl Bucket {
    fn new() -> Self {
        let (head, bytes) = Head::create(BucketId([9; 16]));
        Self {
            head,
            bytes,
            segments: Segments::new(),
            number: 0,
        }
    }

    /// One of 10,000 entries in runs, and a tail about half full.
    fn filled() -> Self {
        let mut bucket = Self::new();
        for first in (0..ENTRIES).step_by(100) {
            let puts = (first..first + 100).map(|number| Arc::new(put(number, number)));
            bucket.write(&puts.collect::<Vec<_>>(), None);
            bucket.maintain();
        }
        for number in 0..30 {
            bucket.write(&[Arc::new(put(number, ENTRIES + number))], None);
        }
        bucket
    }

    fn propose(&self, transactions: &[Arc<Transaction>], edit: Option<&Edit>) -> Proposal {
        let request = Request {
            store: "a benchmark",
            layout: &Layout::SEGMENTED,
            transactions,
            batch: BatchId {
                writer: 1,
                counter: self.number + 1,
            },
            now: UNIX_EPOCH,
            edit,
            nonce: self.number << 32,
            forwarded: &[],
            leader: 0,
            is_recorded: false,
        };
        let version = (self.number + 1).to_string();
        let version = version.parse().expect("a version");
        propose(&self.head, version, &request).expect("a proposal")
    }

    fn write(&mut self, transactions: &[Arc<Transaction>], edit: Option<&Edit>) {
        let write = self.propose(transactions, edit).write.expect("a write");
        let new = write.segments.into_iter();
        self.segments.extend(new.map(|one| (one.id, one.bytes)));
        (self.head, self.bytes) = (write.head, write.bytes);
        self.number += 1;
    }

    fn flush(&self) -> Option<Job> {
        flush(&self.head, &Layout::SEGMENTED, self.number << 16)
    }

    fn merge(&self) -> Option<Job> {
        let nonce = self.number << 16 | 1 << 15;
        merge(&self.head, &Layout::SEGMENTED, nonce, &mut Round::default())
    }

    fn place(&mut self, job: Job) {
        let new = job.segments.into_iter();
        self.segments.extend(new.map(|one| (one.id, one.bytes)));
        self.write(&[], Some(&job.edit));
    }

    fn maintain(&mut self) {
        if self.head.is_flush_due(&Layout::SEGMENTED) {
            let job = self.flush().expect("a flush");
            self.place(job);
            while let Some(job) = self.merge() {
                self.place(job);
            }
        }
    }

    fn read(&self, known: Option<&Head>) -> Head {
        let encoded = Encoded::read(&self.bytes, known).expect("a head");
        let missing = encoded.missing(known).into_iter();
        let fetched = missing.map(|one| (one.id, self.segments[&one.id].clone()));
        let (head, _) = encoded
            .assemble(known, &fetched.collect())
            .expect("a state");
        head
    }
}

fn commits(criterion: &mut Criterion) {
    let bucket = Bucket::filled();
    let mut group = criterion.benchmark_group("a bucket of 10,000 entries");
    for count in [1, 64, 1_024] {
        let puts: Vec<_> = (0..count)
            .map(|number| Arc::new(put(number * 9, number)))
            .collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("decide about {count} puts and encode"), |bencher| {
            bencher.iter(|| black_box(bucket.propose(&puts, None)));
        });
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let mut bucket = Bucket::filled();
    let mut group = criterion.benchmark_group("reading a bucket of 10,000 entries");
    group.bench_function("all of it", |bencher| {
        bencher.iter(|| black_box(bucket.read(None)));
    });
    let known = bucket.head.clone();
    bucket.write(&[Arc::new(put(5_000, 1))], None);
    group.bench_function("one commit later", |bencher| {
        bencher.iter(|| black_box(bucket.read(Some(&known))));
    });
    group.finish();
}

fn maintenance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("maintenance");
    let bucket = Bucket::filled();
    group.bench_function("flush", |bencher| {
        bencher.iter(|| black_box(bucket.flush()));
    });
    let bucket = with_merge_due();
    let job = bucket.merge().expect("a merge is due");
    let bytes: usize = job.segments.iter().map(|one| one.bytes.len()).sum();
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("merge", |bencher| {
        bencher.iter(|| black_box(bucket.merge()));
    });
    group.finish();
}

/// A bucket with as many small runs as are merged into one.
fn with_merge_due() -> Bucket {
    let mut bucket = Bucket::new();
    for number in 0.. {
        bucket.write(&[Arc::new(put(number, number))], None);
        if bucket.head.is_flush_due(&Layout::SEGMENTED) {
            let job = bucket.flush().expect("a flush");
            bucket.place(job);
            if bucket.merge().is_some() {
                break;
            }
        }
    }
    bucket
}

criterion_group!(benches, commits, reads, maintenance);
criterion_main!(benches);
