//! The comparison: this store, the method of k8s-kv, hand-written client code and etcd, side by side
//! on one API server, in one run, interleaved.
//!
//! `cargo xtask bench` starts the server and this program.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on its two streams"
)]

mod chart;
mod client;
mod combined;
mod counting;
mod data;
mod drive;
mod environment;
mod finding;
mod go;
mod goals;
mod manager;
mod opened;
mod page;
mod raw;
mod rounds;
mod server;
mod stores;
mod times;
mod worker;
mod workers;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

use crate::environment::Environment;
use crate::finding::Finding;
use crate::rounds::Effort;

/// glibc's slows hundreds of tasks down that put at once: `docs/operations.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What a store on ConfigMaps costs, next to the other ways.
#[derive(Debug, Parser)]
#[command(name = "kv-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the sides and print the table
    Compare(Compare),
    /// A process of its own for a measurement
    #[command(hide = true)]
    Worker(worker::Worker),
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// The goals to look at, by number or name; all, unless some are given
    goals: Vec<String>,
    /// A look of a few minutes: fewer and shorter rounds, fewer rows
    #[arg(long)]
    quick: bool,
    /// Fail where a count of requests or bytes passes its regression bound; times are never judged
    #[arg(long)]
    judge_counts: bool,
    /// Also write the table and the charts to this folder
    #[arg(long)]
    page: Option<PathBuf>,
    #[command(flatten)]
    places: environment::Places,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Compare(compare) => compare.run().await,
        Command::Worker(worker) => worker.run().await,
    }
}

impl Compare {
    async fn run(self) -> anyhow::Result<()> {
        let effort = if self.quick {
            Effort::QUICK
        } else {
            Effort::FULL
        };
        let begun = Instant::now();
        let environment = Environment::new(self.places, effort).await?;
        let measured = goals::measure(&environment, &self.goals).await;
        environment.clean_up().await;
        let report = measured?;
        print!("{}", page::table(&report.findings));
        if let Some(folder) = &self.page {
            page::write(folder, &report, effort, begun.elapsed())
                .context("the page could not be written")?;
        }
        if self.judge_counts {
            judge_counts(&report.findings)?;
        }
        Ok(())
    }
}

/// Fails where a count is a regression, and where nothing was counted.
fn judge_counts(findings: &[Finding]) -> anyhow::Result<()> {
    let counts: Vec<&Finding> = findings.iter().filter(|one| one.is_count()).collect();
    let regressions: Vec<String> = counts
        .iter()
        .filter(|finding| finding.is_regression())
        .map(|finding| format!("{}: {}", finding.what, finding.found()))
        .collect();
    ensure!(
        !counts.is_empty(),
        "nothing of requests or bytes was counted"
    );
    ensure!(
        regressions.is_empty(),
        "a regression of requests or bytes: {}",
        regressions.join("; ")
    );
    eprintln!(
        "{} counts of requests or bytes are as expected",
        counts.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::judge_counts;
    use crate::finding::{Bound, Finding};

    #[test]
    fn counts_are_judged_where_there_are_any() {
        let finding = |value| Finding::ratio(1, "requests", value, Bound::AtMost(1.0));
        let judged = |findings: &[Finding]| judge_counts(findings).map_err(|one| one.to_string());
        assert_eq!(
            judged(&[finding(1.0)]).unwrap_err(),
            "nothing of requests or bytes was counted"
        );
        assert!(judged(&[finding(1.1).count_within(1.0..=1.2)]).is_ok());
        assert_eq!(
            judged(&[finding(1.5).count_within(1.0..=1.2)]).unwrap_err(),
            "a regression of requests or bytes: requests: 1.50x"
        );
    }
}
