//! The workloads on ConfigMaps, while one request in ten to the API server goes wrong. Time is
//! paused, so that waits take none.

use std::time::Duration;

use futures::future::join_all;
use kv_configmap::Buckets;
use kv_conformance::workload::{Bank, Counter, Registers, Set, Tally, Workload, run};
use kv_core::{Key, OpenMode};
use kv_fake_apiserver::FakeApiServer;
use rand::SeedableRng;
use rand::rngs::StdRng;

const CLIENTS: u64 = 3;
const STEPS: usize = 40;
const SEEDS: u64 = 10;

/// Each client has a handle that shares nothing with the others but the server.
async fn stress(workload: &dyn Workload, seed: u64) -> Tally {
    let server = FakeApiServer::with_seed(seed);
    let buckets = || {
        let buckets = Buckets::config_maps(server.client(), "default");
        buckets.with_deadline(Duration::from_secs(2))
    };
    let first = buckets().open("bucket", OpenMode::Create).await;
    let first = first.expect("the server is calm");
    workload.open(&first).await.expect("the server is calm");
    server.chaos(seed, 0.1);
    let clients = (0..CLIENTS).map(|client| {
        let buckets = buckets();
        async move {
            let store = loop {
                if let Ok(store) = buckets.open("bucket", OpenMode::Open).await {
                    break store;
                }
            };
            let mut rng = StdRng::seed_from_u64(seed * CLIENTS + client);
            run(workload, &store, &mut rng, STEPS).await
        }
    });
    let mut all = Tally::default();
    for tally in join_all(clients).await {
        let tally = tally.unwrap_or_else(|found| panic!("seed {seed}: {found}"));
        all.done += tally.done;
        all.unknown += tally.unknown;
    }
    server.calm();
    // What was sent and has not arrived yet arrives within this time.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let checked = workload.check(&first).await;
    checked.unwrap_or_else(|found| panic!("seed {seed}: {found}"));
    all
}

fn holds(make: impl Fn() -> Box<dyn Workload>) {
    let (mut done, mut unknown) = (0, 0);
    for seed in 0..SEEDS {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime starts");
        let tally = runtime.block_on(stress(&*make(), seed));
        done += tally.done;
        unknown += tally.unknown;
    }
    assert!(done > 100 && unknown > 0, "{done} done, {unknown} unknown");
}

#[test]
fn a_bank_keeps_its_sum() {
    holds(|| Box::new(Bank::new("bank/", 5, 100)));
}

#[test]
fn a_set_keeps_what_was_added() {
    holds(|| Box::new(Set::new("set/")));
}

#[test]
fn a_counter_counts_each_addition_once() {
    holds(|| Box::new(Counter::new(Key::new("counter").unwrap())));
}

#[test]
fn registers_are_linearizable() {
    holds(|| Box::new(Registers::new("register/", 5)));
}
