//! Several clients of one API server, in one thread and without a real clock, while requests go
//! wrong, processes die, and the server forgets: everything that happens follows from one seed.
//!
//! `KV_SIMULATION_SEED=17` runs one seed; `KV_SIMULATION_SEEDS=100000` that many, as a long run.

mod client;
mod passing;
mod planted;
mod recording;
mod turns;
mod world;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Report, simulate};

/// How many seeds run unless it is said otherwise.
const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn again(seed: u64) -> String {
    format!(
        "seed {seed}; again with: KV_SIMULATION_SEED={seed} cargo test -p kv-tests --test \
         simulation every_seed_keeps_every_promise"
    )
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("KV_SIMULATION_SEED") {
        let report =
            simulate(seed, None).unwrap_or_else(|found| panic!("{}: {found}", again(seed)));
        println!("{report:?}");
        return;
    }
    let seeds = number("KV_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let work = || {
        let mut all = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return all;
            }
            match simulate(seed, None) {
                Ok(report) => all.add(&report),
                Err(found) => panic!("{}: {found}", again(seed)),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Report::default();
        for thread in threads {
            all.add(&thread.join().expect("every seed keeps every promise"));
        }
        all
    });
    println!("{seeds} seeds in {:?}: {all}", begun.elapsed());
    all.assert_that_much_happened();
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..10 {
        let one = simulate(seed, None).unwrap_or_else(|found| panic!("{}: {found}", again(seed)));
        let two = simulate(seed, None).unwrap_or_else(|found| panic!("{}: {found}", again(seed)));
        assert_eq!(one.trace, two.trace, "seed {seed}");
    }
}
