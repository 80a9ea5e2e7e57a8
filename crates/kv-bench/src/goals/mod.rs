//! The goals, and how each is measured.

mod bytes;
mod growth;
mod memory;
mod opening;
mod processes;
mod puts;
mod reads;
mod tasks;
mod watching;

use anyhow::ensure;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::environment::Environment;
use crate::finding::Finding;
use crate::page::Curve;

/// All that was found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    pub(crate) curves: Vec<Curve>,
    /// What takes its time by itself, while other goals are measured.
    later: Vec<JoinHandle<Vec<Finding>>>,
}

type Measure = for<'a> fn(&'a Environment, &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>>;

/// What measures one or more goals.
struct Goal {
    numbers: &'static [u8],
    what: &'static str,
    measure: Measure,
}

macro_rules! goal {
    ($numbers:expr, $what:expr, $measure:path) => {
        Goal {
            numbers: &$numbers,
            what: $what,
            measure: |environment, report| Box::pin($measure(environment, report)),
        }
    };
}

static GOALS: [Goal; 13] = [
    goal!([1], "requests for a put", puts::requests),
    goal!([2], "a put, by the size of the bucket", puts::flatness),
    goal!([3], "sequential puts, next to k8s-kv", puts::next_to_k8s_kv),
    goal!([4], "tasks putting at once", tasks::tasks),
    goal!([5], "processes putting at once", processes::processes),
    goal!([6, 8], "reads in memory", memory::reads),
    goal!([7], "linearizable gets", reads::linearizable),
    goal!([9], "from a put to its event", watching::latency),
    goal!([10], "bytes for a put", bytes::written),
    goal!([11], "density", bytes::density),
    goal!([13], "opening", opening::opening),
    goal!([12, 14], "growth", growth::growth),
    goal!(
        [4],
        "tasks beside a controller manager",
        tasks::beside_a_manager
    ),
];

/// What measures the goals of these numbers, or all.
fn select(wanted: &[u8]) -> anyhow::Result<Vec<&'static Goal>> {
    let is_wanted =
        |goal: &&Goal| wanted.is_empty() || goal.numbers.iter().any(|one| wanted.contains(one));
    let goals: Vec<&Goal> = GOALS.iter().filter(is_wanted).collect();
    for number in wanted {
        let is_known = goals.iter().any(|goal| goal.numbers.contains(number));
        ensure!(is_known, "there is no goal {number}");
    }
    Ok(goals)
}

/// Measures the goals of these numbers, or all.
pub(crate) async fn measure(environment: &Environment, wanted: &[u8]) -> anyhow::Result<Report> {
    let goals = select(wanted)?;
    let mut report = Report::default();
    for (index, goal) in goals.iter().enumerate() {
        environment.begin(index, goals.len(), goal.what);
        (goal.measure)(environment, &mut report).await?;
    }
    for findings in std::mem::take(&mut report.later) {
        report.findings.extend(findings.await?);
    }
    report.findings.sort_by_key(|finding| finding.goal);
    Ok(report)
}

/// A time for the table.
pub(crate) fn time(micros: f64) -> String {
    match micros {
        micros if micros < 1.0 => format!("{:.0} ns", micros * 1_000.0),
        micros if micros < 1_000.0 => format!("{micros:.1} µs"),
        micros => format!("{:.2} ms", micros / 1_000.0),
    }
}

pub(crate) fn rate(rate: f64) -> String {
    match rate {
        rate if rate < 100.0 => format!("{rate:.1}/s"),
        rate => format!("{rate:.0}/s"),
    }
}

pub(crate) fn size(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 10_240.0 => format!("{bytes:.0} B"),
        bytes if bytes < 10_485_760.0 => format!("{:.1} KiB", bytes / 1024.0),
        bytes => format!("{:.1} MiB", bytes / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{GOALS, select};

    #[test]
    fn goals_are_selected_by_number() {
        let numbers = |wanted: &[u8]| -> Vec<&[u8]> {
            let goals = select(wanted).unwrap();
            goals.iter().map(|goal| goal.numbers).collect()
        };
        assert_eq!(numbers(&[]).len(), GOALS.len());
        assert_eq!(numbers(&[8, 1]), [&[1][..], &[6, 8]]);
        for unknown in [0, 15] {
            let error = select(&[1, unknown]).err().unwrap();
            assert_eq!(error.to_string(), format!("there is no goal {unknown}"));
        }
    }
}
