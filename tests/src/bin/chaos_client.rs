//! A client process of the chaos test: it works on a bucket until its standard input ends, and
//! notes what it does in journals that outlive it.
#![expect(
    clippy::print_stderr,
    reason = "what it found is read from its standard error"
)]

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kv_configmap::ConfigMapStore;
use kv_conformance::workload::{Step, Workload};
use kv_conformance::{Failure, Violation};
use kv_core::{Error, KvStore, KvStoreExt, OpenMode, Outcome};
use kv_tests::chaos::{Orders, Parts};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::task::JoinSet;

/// After a call that failed: the next one would fail, too.
const PAUSE: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let orders = std::env::args().nth(1).expect("orders");
    let orders: Orders = serde_json::from_str(&orders).expect("orders in JSON");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime.expect("a runtime").block_on(work(&orders)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(found) => {
            eprintln!("{found}");
            ExitCode::FAILURE
        }
    }
}

/// Set once the standard input ends, as it also does when the test is no more.
fn ended() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let set = ended.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        set.store(true, Ordering::SeqCst);
    });
    ended
}

async fn work(orders: &Orders) -> Result<(), String> {
    let ended = ended();
    let mut random = StdRng::seed_from_u64(orders.seed);
    let Some(store) = open(orders, &ended).await? else {
        return Ok(());
    };
    let mut tasks = JoinSet::new();
    let blobs: (Arc<dyn Workload>, usize) = (Arc::new(Blobs(orders.parts)), 1);
    for (workload, count) in orders.workloads().into_iter().chain([blobs]) {
        for _ in 0..count {
            let random = StdRng::from_rng(&mut random);
            tasks.spawn(repeat(
                workload.clone(),
                store.clone(),
                random,
                ended.clone(),
            ));
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|panic| panic.to_string())??;
    }
    Ok(())
}

/// `None`: it is over before.
async fn open(orders: &Orders, ended: &AtomicBool) -> Result<Option<ConfigMapStore>, String> {
    let buckets = orders.buckets().await;
    while !ended.load(Ordering::SeqCst) {
        match buckets.open(&orders.bucket, OpenMode::Open).await {
            Ok(store) => return Ok(Some(store)),
            Err(error) => possible(&error)?,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

async fn repeat(
    workload: Arc<dyn Workload>,
    store: ConfigMapStore,
    mut random: StdRng,
    ended: Arc<AtomicBool>,
) -> Result<(), String> {
    let is_over = || ended.load(Ordering::SeqCst);
    while !is_over() {
        match workload.open(&store).await {
            Ok(()) => break,
            Err(error) => possible(&error)?,
        }
        tokio::time::sleep(PAUSE).await;
    }
    while !is_over() {
        let step = workload.step(&store, &mut random).await;
        let step = step.map_err(|violation| violation.to_string())?;
        if let Step::Failed(error) | Step::Unknown(error) = step {
            possible(&error)?;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// No fault that is made here damages a bucket, or takes it away.
fn possible(error: &Error) -> Result<(), String> {
    let is_possible = matches!(
        error,
        Error::Unavailable { .. }
            | Error::Indeterminate { .. }
            | Error::Throttled { .. }
            | Error::Forbidden { .. }
    );
    if is_possible {
        return Ok(());
    }
    Err(format!("a bucket that nobody damaged: {error}: {error:?}"))
}

/// Larger values that come and go, so that there is something to flush, to merge and to sweep.
struct Blobs(Parts);

impl Blobs {
    fn size(&self, random: &mut (dyn Rng + Send)) -> usize {
        let sizes = match self.0 {
            Parts::Tiny => [40, 150, 400, 2_500],
            // The last is a large commit, which has segments of its own.
            Parts::Default => [100, 1_000, 4_000, 40_000],
            Parts::Single => [100, 200, 400, 4_000],
        };
        sizes[random.random_range(0..sizes.len())]
    }
}

#[async_trait]
impl Workload for Blobs {
    async fn open(&self, _: &dyn KvStore) -> kv_core::Result<()> {
        Ok(())
    }

    async fn step(
        &self,
        store: &dyn KvStore,
        random: &mut (dyn Rng + Send),
    ) -> Result<Step, Violation> {
        let key = format!("blob/{}", random.random_range(0..16));
        let mut value = vec![0; self.size(random)];
        random.fill_bytes(&mut value);
        let done = if random.random_bool(0.3) {
            store.delete(&*key).await.map(drop)
        } else {
            store.put(&*key, value).await.map(drop)
        };
        // It is not there to be fast, and an etcd keeps what is overwritten.
        tokio::time::sleep(2 * PAUSE).await;
        Ok(match done {
            Ok(()) => Step::Done,
            Err(error) if error.outcome() == Outcome::Unknown => Step::Unknown(error),
            Err(error) => Step::Failed(error),
        })
    }

    async fn check(&self, _: &dyn KvStore) -> Result<(), Failure> {
        Ok(())
    }
}
