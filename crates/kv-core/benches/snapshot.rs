//! What a state in memory costs, next to a plain map: `cargo bench -p kv-core`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kv_core::backend::{Effect, Snapshot, Stored};
use kv_core::{Entry, Key, ListOptions, Revision, SystemClock};

const ENTRIES: u64 = 10_000;

fn key(number: u64) -> Key {
    Key::new(format!("deployments/{number:07}")).expect("a key")
}

fn entries() -> impl Iterator<Item = Entry> {
    (0..ENTRIES).map(|number| Entry {
        key: key(number),
        value: Bytes::from(vec![7; 100]),
        revision: Revision::new(1),
        expires_at: None,
    })
}

fn effects(count: u64) -> Vec<Effect> {
    let stored = || Stored {
        value: Bytes::from(vec![8; 100]),
        expires_at: None,
    };
    let effect = |number: u64| Effect {
        key: key(number * 7_919 % ENTRIES),
        stored: Some(stored()),
    };
    (0..count).map(effect).collect()
}

fn reads(criterion: &mut Criterion) {
    let snapshot = Snapshot::new(Revision::new(1), entries());
    let map: BTreeMap<Key, Entry> = entries().map(|entry| (entry.key.clone(), entry)).collect();
    let keys: Vec<Key> = (0..1_024)
        .map(|number| key(number * 7_919 % ENTRIES))
        .collect();
    let mut group = criterion.benchmark_group("reads of 10,000 entries");
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 1) % keys.len();
        &keys[turn]
    };
    group.bench_function("get", |bencher| {
        bencher.iter(|| black_box(snapshot.get(next(), &SystemClock).cloned()));
    });
    group.bench_function("get from a BTreeMap", |bencher| {
        bencher.iter(|| black_box(map.get(next()).cloned()));
    });
    let options = ListOptions::prefix("deployments/")
        .with_start_after(key(5_000))
        .with_limit(100);
    group.bench_function("list of 100", |bencher| {
        bencher.iter(|| black_box(snapshot.page(&options, UNIX_EPOCH)));
    });
    group.bench_function("clone", |bencher| {
        bencher.iter(|| black_box(snapshot.clone()));
    });
    group.finish();
}

fn writes(criterion: &mut Criterion) {
    let snapshot = Snapshot::new(Revision::new(1), entries());
    let map: BTreeMap<Key, Entry> = entries().map(|entry| (entry.key.clone(), entry)).collect();
    let mut group = criterion.benchmark_group("writes to 10,000 entries");
    for count in [1, 100] {
        let effects = effects(count);
        group.bench_function(
            format!("a commit of {count}, the state before kept"),
            |bencher| {
                let apply = |mut state: Snapshot| {
                    state.apply(Revision::new(2), &effects);
                    state
                };
                bencher.iter_batched(|| snapshot.clone(), apply, BatchSize::SmallInput);
            },
        );
    }
    group.bench_function("a copy of a BTreeMap", |bencher| {
        bencher.iter(|| black_box(map.clone()));
    });
    group.bench_function("loading all", |bencher| {
        let load = |entries: Vec<Entry>| Snapshot::new(Revision::new(1), entries);
        bencher.iter_batched(|| entries().collect(), load, BatchSize::LargeInput);
    });
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    criterion.bench_function("a key of 20 bytes", |bencher| {
        bencher.iter(|| Key::new(black_box("deployments/00000001")));
    });
}

criterion_group!(benches, reads, writes, keys);
criterion_main!(benches);
