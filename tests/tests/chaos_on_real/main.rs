//! Client processes on a real API server, while they, the API server and etcd are paused and
//! killed, while the way between them is bad, and while others edit what they find: what was
//! acknowledged is there, nothing is there twice, and what is in doubt is said to be.
//!
//! A seed has a cluster of its own and two rounds, each with a bucket, four histories and a
//! verdict. `KV_CHAOS_SEED=17` runs one seed; `KV_CHAOS_SEEDS=15` that many, as a long run. The seed gives
//! the faults; when they hit depends on the machine, so that a seed does not fail each time.

mod crew;
mod figures;
mod foreign;
mod observer;
mod proxy;
mod round;
mod servers;
mod trouble;
mod verdict;
mod world;

use std::env;
use std::fmt;
use std::io::{self, Write};

use kv_configmap::Bug;
use kv_tests::chaos::Parts;
use tokio::sync::Mutex;

use figures::Figures;
use proxy::Proxy;
use round::Plan;
use world::World;

/// The calls in a history.
const CALLS: u64 = 10_000;

/// Two at a time would be in each other's way.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Says something also where the test passes: what is printed is shown only where it fails.
fn tell(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

async fn run_seed(seed: u64) -> Figures {
    let mut world = World::start(seed).await;
    let mut all = Figures::default();
    let larger = [Parts::Default, Parts::Single][seed as usize % 2];
    for (round, parts) in [Parts::Tiny, larger].into_iter().enumerate() {
        let plan = Plan {
            bucket: format!("chaos-{round}"),
            parts,
            bug: None,
            calls: CALLS,
        };
        let figures = world.run_in_folder(&plan).await;
        let figures = figures.unwrap_or_else(|found| {
            panic!(
                "seed {seed}, round {round} ({parts:?}): {found}; again with: \
                 KV_CHAOS_SEED={seed} cargo xtask test nothing_is_lost"
            )
        });
        tell(format_args!(
            "seed {seed}, round {round} ({parts:?}), {figures}"
        ));
        all.add(&figures);
    }
    let faults = world.proxy.faults();
    tell(format_args!("seed {seed} in all, {all}; {faults:?}"));
    much_happened(&world, &all);
    world.finish().await;
    all
}

/// Chaos in which nothing happens says nothing.
fn much_happened(world: &World, all: &Figures) {
    assert!(all.counts.acknowledged >= 10_000, "{all}");
    assert!(all.counts.unknown > 0, "{all}");
    assert!(all.killed > 0 && all.paused > 0 && all.edits > 0, "{all}");
    assert!(all.servers.len() == world.deck.kinds(), "{all}");
    let faults = world.proxy.faults();
    assert!(faults.len() >= Proxy::KINDS, "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server"]
async fn nothing_is_lost_and_nothing_is_applied_twice() {
    let _alone = ONE_AT_A_TIME.lock().await;
    if let Some(seed) = number("KV_CHAOS_SEED") {
        run_seed(seed).await;
        return;
    }
    let seeds = number("KV_CHAOS_SEEDS").unwrap_or(1);
    let mut all = Figures::default();
    for seed in 0..seeds {
        all.add(&run_seed(seed).await);
    }
    tell(format_args!("{seeds} seeds, {all}"));
}

/// One that applies twice and one that loses, or the one that `KV_CHAOS_BUG` names.
fn bugs() -> Vec<Bug> {
    let Ok(name) = env::var("KV_CHAOS_BUG") else {
        return vec![Bug::BatchIdIgnored, Bug::UnconditionalWrite];
    };
    let named = |bug: &Bug| format!("{bug:?}") == name;
    Bug::ALL.into_iter().filter(named).collect()
}

/// A check that finds no bug proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server"]
async fn planted_bugs_are_found() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut world = World::start(0).await;
    for bug in bugs() {
        let plan = Plan {
            bucket: format!("{bug:?}").to_lowercase(),
            parts: Parts::Tiny,
            bug: Some(bug),
            calls: CALLS / 2,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let found = world.run(&plan, folder.path()).await.err();
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        assert!(!found.contains("say nothing"), "{bug:?}: {found}");
        tell(format_args!("{bug:?}: {found}"));
    }
    world.finish().await;
}
