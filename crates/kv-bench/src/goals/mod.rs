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

use std::time::Duration;

use anyhow::ensure;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::environment::Environment;
use crate::finding::Finding;
use crate::page::Curve;

/// All that was found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    pub(crate) curves: Vec<Curve>,
    /// What takes its time by itself, while other goals are measured.
    later: Vec<JoinHandle<anyhow::Result<Vec<Finding>>>>,
}

/// By then all segments are removed that were merged away: half a minute after a merge, which may itself
/// have been put off.
const REMOVED: Duration = Duration::from_secs(40);

impl Report {
    /// Looks at buckets once what was merged away is removed from them.
    fn removed_later(
        &mut self,
        look: impl Future<Output = anyhow::Result<Vec<Finding>>> + Send + 'static,
    ) {
        let removed = Instant::now() + REMOVED;
        self.later.push(tokio::spawn(async move {
            tokio::time::sleep_until(removed).await;
            look.await
        }));
    }
}

type Measure = for<'a> fn(&'a Environment, &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>>;

/// What measures one or more goals.
struct Goal {
    name: &'static str,
    numbers: &'static [u8],
    what: &'static str,
    measure: Measure,
}

macro_rules! goal {
    ($name:expr, $numbers:expr, $what:expr, $measure:path) => {
        Goal {
            name: $name,
            numbers: &$numbers,
            what: $what,
            measure: |environment, report| Box::pin($measure(environment, report)),
        }
    };
}

#[rustfmt::skip]
static GOALS: [Goal; 13] = [
    goal!("requests", [1], "requests for a put", puts::requests),
    goal!("put", [2], "a put, by the size of the bucket", puts::flatness),
    goal!("rate", [3], "sequential puts, next to k8s-kv", puts::next_to_k8s_kv),
    goal!("tasks", [4], "tasks putting at once", tasks::tasks),
    goal!("processes", [5], "processes putting at once", processes::processes),
    // Not near the end, where one would have to wait until what it merges away is removed.
    goal!("density", [11], "density", bytes::density),
    goal!("cached", [6, 8], "reads in memory", memory::reads),
    goal!("get", [7], "linearizable gets", reads::linearizable),
    goal!("watch", [9], "from a put to its event", watching::latency),
    goal!("bytes", [10], "bytes for a put", bytes::written),
    goal!("opening", [13], "opening", opening::opening),
    goal!("growth", [12, 14], "growth and capacity", growth::growth),
    goal!("manager", [4], "tasks beside a controller manager", tasks::beside_a_manager),
];

impl Goal {
    fn is(&self, wanted: &str) -> bool {
        let number = wanted.parse::<u8>().ok();
        self.name == wanted || number.is_some_and(|number| self.numbers.contains(&number))
    }
}

/// What measures these goals, which are named or numbered, or all.
fn select(wanted: &[String]) -> anyhow::Result<Vec<&'static Goal>> {
    for wanted in wanted {
        let names: Vec<&str> = GOALS.iter().map(|goal| goal.name).collect();
        ensure!(
            GOALS.iter().any(|goal| goal.is(wanted)),
            "there is no goal {wanted}; there are 1 to 14, and by name {}",
            names.join(", ")
        );
    }
    let is_wanted = |goal: &&Goal| wanted.is_empty() || wanted.iter().any(|one| goal.is(one));
    Ok(GOALS.iter().filter(is_wanted).collect())
}

/// Measures these goals, which are named or numbered, or all.
pub(crate) async fn measure(
    environment: &Environment,
    wanted: &[String],
) -> anyhow::Result<Report> {
    let goals = select(wanted)?;
    let mut report = Report::default();
    for (index, goal) in goals.iter().enumerate() {
        environment.begin(index, goals.len(), goal.what);
        (goal.measure)(environment, &mut report).await?;
    }
    environment.begin(goals.len(), goals.len(), "what is removed later");
    for findings in std::mem::take(&mut report.later) {
        report.findings.extend(findings.await??);
    }
    report.findings.sort_by_key(|finding| finding.goal);
    Ok(report)
}

/// The name of a side with the default write budget, where nothing is left of it but what time adds.
const USED_UP: &str = "ours, its write budget used up";

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

    fn names(wanted: &[&str]) -> anyhow::Result<Vec<&'static str>> {
        let wanted: Vec<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
        Ok(select(&wanted)?.iter().map(|goal| goal.name).collect())
    }

    #[test]
    fn goals_are_selected_by_number_or_name() {
        assert_eq!(names(&[]).unwrap().len(), GOALS.len());
        assert_eq!(names(&["8", "density"]).unwrap(), ["density", "cached"]);
        assert_eq!(names(&["4"]).unwrap(), ["tasks", "manager"]);
        for unknown in ["0", "15", "257", "speed"] {
            let error = names(&["1", unknown]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("there is no goal {unknown}; ")),
                "{error}"
            );
        }
    }
}
