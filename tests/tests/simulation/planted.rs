//! Each planted bug is found: a simulation that finds none says nothing.

use kv_configmap::Bug;

use crate::world::simulate;

const ITERATIONS: u64 = 100;

#[test]
fn every_planted_bug_is_found_within_a_hundred_seeds() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let found = (0..ITERATIONS).find_map(|seed| Some((seed, simulate(seed, Some(bug)).err()?)));
        match found {
            Some((seed, found)) => {
                let found: String = found.chars().take(160).collect();
                println!("{bug:?}: seed {seed}: {found}");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
