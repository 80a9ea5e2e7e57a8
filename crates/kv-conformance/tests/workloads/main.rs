//! The workloads on a store that fails in every way in which a right store may, and on stores
//! with bugs, each of which they must find.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

mod processes;
mod unreliable;

use std::sync::Arc;

use kv_conformance::workload::{Bank, Counter, Registers, Set, Tally, Workload, run};
use kv_conformance::{Failure, Violation};
use kv_core::Key;
use rand::SeedableRng;
use rand::rngs::StdRng;

use unreliable::{Bug, Unreliable};

const CLIENTS: u64 = 4;
const STEPS: usize = 150;

/// Runs clients side by side and tells how their steps ended.
async fn side_by_side(
    workload: &Arc<dyn Workload>,
    store: &Arc<Unreliable>,
    seed: u64,
) -> Result<Vec<Tally>, Violation> {
    while workload.open(store.as_ref()).await.is_err() {}
    let clients = (0..CLIENTS).map(|client| {
        let (workload, store) = (workload.clone(), store.clone());
        tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed * CLIENTS + client);
            run(&*workload, &*store, &mut rng, STEPS).await
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut tallies = Vec::new();
    for client in clients {
        tallies.push(client.await.unwrap()?);
    }
    loop {
        match workload.check(store.as_ref()).await {
            Ok(()) => return Ok(tallies),
            Err(Failure::Violation(violation)) => return Err(violation),
            Err(Failure::Store(_)) => {}
        }
    }
}

fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

fn try_out(make: fn() -> Arc<dyn Workload>, bug: Bug, seed: u64) -> Result<Vec<Tally>, Violation> {
    on_paused_time(side_by_side(
        &make(),
        &Arc::new(Unreliable::new(bug, seed)),
        seed,
    ))
}

fn bank() -> Arc<dyn Workload> {
    Arc::new(Bank::new("bank/", 5, 100))
}

fn set() -> Arc<dyn Workload> {
    Arc::new(Set::new("set/"))
}

fn counter() -> Arc<dyn Workload> {
    Arc::new(Counter::new(Key::new("counter").unwrap()))
}

fn registers() -> Arc<dyn Workload> {
    Arc::new(Registers::new("register/", 5))
}

const ALL: [fn() -> Arc<dyn Workload>; 4] = [bank, set, counter, registers];

#[test]
fn a_store_that_fails_as_it_may_is_right() {
    for (number, make) in ALL.into_iter().enumerate() {
        for seed in 0..20 {
            let tallies = try_out(make, Bug::None, seed);
            let tallies = tallies.unwrap_or_else(|found| panic!("{number}, seed {seed}: {found}"));
            for Tally {
                done,
                refused,
                unknown,
                failed,
            } in tallies
            {
                assert_eq!(done + refused + unknown + failed, STEPS);
                assert!(done > STEPS / 10, "{number}, seed {seed}: {done} done");
            }
        }
    }
}

#[test]
fn one_seed_gives_one_run() {
    for make in ALL {
        let run = |seed| try_out(make, Bug::None, seed).unwrap();
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}

/// Asserts that half of the seeds find the bug, so that twenty of them always do.
fn finds(make: fn() -> Arc<dyn Workload>, bug: Bug) {
    let found = (0..20).filter(|seed| try_out(make, bug, *seed).is_err());
    let found = found.count();
    assert!(found >= 10, "{bug:?} is found by {found} of 20 seeds");
}

#[test]
fn the_bank_finds_bugs() {
    for bug in [Bug::Torn, Bug::Unconditional, Bug::MixedPages] {
        finds(bank, bug);
    }
}

#[test]
fn the_set_finds_bugs() {
    for bug in [
        Bug::Lost,
        Bug::RefusedButApplied,
        Bug::FailedButApplied,
        Bug::Torn,
        Bug::Stale,
    ] {
        finds(set, bug);
    }
}

#[test]
fn the_counter_finds_bugs() {
    for bug in [
        Bug::Lost,
        Bug::RefusedButApplied,
        Bug::FailedButApplied,
        Bug::Unconditional,
    ] {
        finds(counter, bug);
    }
}

#[test]
fn the_registers_find_bugs() {
    for bug in [
        Bug::Lost,
        Bug::RefusedButApplied,
        Bug::FailedButApplied,
        Bug::Unconditional,
        Bug::Stale,
    ] {
        finds(registers, bug);
    }
}
