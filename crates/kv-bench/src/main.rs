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

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::environment::Environment;
use crate::rounds::Effort;

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
    /// The goals to look at, by number; all, unless some are named
    goals: Vec<u8>,
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
        let regressions: Vec<&str> = report
            .findings
            .iter()
            .filter(|finding| finding.is_regression())
            .map(|finding| finding.what.as_str())
            .collect();
        anyhow::ensure!(
            !self.judge_counts || regressions.is_empty(),
            "a regression of requests or bytes: {}",
            regressions.join("; ")
        );
        Ok(())
    }
}
