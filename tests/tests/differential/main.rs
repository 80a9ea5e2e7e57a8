//! The same random steps for a plain model and for every store: results, errors and what is left
//! in the end must be equal.
//!
//! A failing seed is printed, with the few steps of it that are needed. Two variables run them
//! again, and a third one runs more seeds than usual:
//!
//! ```sh
//! KV_DIFFERENTIAL_SEED=7 KV_DIFFERENTIAL_STEPS=3,17,42 cargo test -p kv-tests --test differential redb
//! KV_DIFFERENTIAL_SEEDS=1000 cargo test -p kv-tests --test differential memory
//! ```

mod answer;
mod generate;
mod model;
mod planted;
mod revisions;
mod shrink;
mod step;
mod subject;
mod trial;

use std::env;
use std::fmt::Write as _;
use std::ops::Range;
use std::str::FromStr;

use step::Step;
use subject::{Memory, OnFake, OnReal, Redb, Subject};
use trial::Trial;

const STEPS: usize = 1_000;

#[test]
fn memory() {
    differ_nowhere::<Memory>(20);
}

#[test]
fn redb() {
    differ_nowhere::<Redb>(20);
}

#[test]
fn configmaps_on_fake() {
    differ_nowhere::<OnFake>(20);
}

#[test]
#[ignore = "needs a real API server"]
fn configmaps_on_real() {
    differ_nowhere::<OnReal>(20);
}

/// Asserts that the store answers as the model, for so many seeds or those that are asked for.
fn differ_nowhere<S: Subject>(seeds: u64) {
    let seeds: Range<u64> = match variable("KV_DIFFERENTIAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("KV_DIFFERENTIAL_SEEDS").unwrap_or(seeds),
    };
    for seed in seeds {
        if let Some(report) = difference::<S>(seed) {
            panic!("{report}");
        }
    }
    if env::var_os("KV_DIFFERENTIAL_STEPS").is_none() {
        S::check_coverage();
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .ok()
            .unwrap_or_else(|| panic!("{name} is no number")),
    )
}

/// The steps that are asked for, by number, or all.
fn chosen() -> Vec<usize> {
    let Ok(text) = env::var("KV_DIFFERENTIAL_STEPS") else {
        return (0..STEPS).collect();
    };
    let number = |text: &str| text.parse().expect("KV_DIFFERENTIAL_STEPS holds numbers");
    text.split(',').map(number).collect()
}

/// Where the store differs from the model, with the shortest way there that was found.
fn difference<S: Subject>(seed: u64) -> Option<String> {
    let steps = generate::steps(seed, STEPS);
    let all = chosen();
    run::<S>(&steps, &all)?;
    let needed = shrink::shrink(all, |chosen| run::<S>(&steps, chosen).is_some());
    let difference = run::<S>(&steps, &needed).expect("it failed when it was tried before");
    let mut report = format!("{} differs from the model with seed {seed}:\n", S::NAME);
    for number in &needed {
        let _ = writeln!(report, "  {number}: {:?}", steps[*number]);
    }
    let numbers: Vec<String> = needed.iter().map(ToString::to_string).collect();
    let _ = write!(
        report,
        "{difference}\nKV_DIFFERENTIAL_SEED={seed} KV_DIFFERENTIAL_STEPS={} \
         cargo test -p kv-tests --test differential {} -- --include-ignored",
        numbers.join(","),
        S::NAME,
    );
    Some(report)
}

/// Does the chosen steps; tells where that fails.
fn run<S: Subject>(steps: &[Step], chosen: &[usize]) -> Option<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let mut trial = Trial::<S>::begin().await;
        let failed = try_all(&mut trial, steps, chosen).await;
        trial.end().await;
        failed
    })
}

async fn try_all<S: Subject>(
    trial: &mut Trial<S>,
    steps: &[Step],
    chosen: &[usize],
) -> Option<String> {
    for number in chosen {
        if let Err(difference) = trial.step(&steps[*number]).await {
            return Some(format!("at step {number}\n{difference}"));
        }
    }
    let compared = trial.compare_all().await.err();
    compared.map(|difference| format!("in the end\n{difference}"))
}
