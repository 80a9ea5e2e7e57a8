//! The commands of this workspace: `cargo xtask test`, `check`, `bench` and `cluster`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on its two streams"
)]

mod bench;
mod check;
mod cluster;
mod cluster_command;
mod conformance;
mod guard;
mod process;
mod shell;
mod source;
mod steps;
mod tally;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cluster_command::ClusterCommand;
use crate::workspace::Workspace;

/// The commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all tests: those without a cluster first, then those on a real API server
    Test {
        /// Run only the tests whose name contains one of these
        filter: Vec<String>,
    },
    /// Check everything that is not a test: format, lints, docs, features, licences
    Check,
    /// Compare this store with k8s-kv, with client code by hand and with etcd, side by side
    Bench(bench::Bench),
    /// A real kube-apiserver with etcd on this machine, for a shell to work with
    Cluster(ClusterCommand),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test { filter } => {
            process::end_children_when_interrupted()?;
            test::run(&Workspace::find()?, &filter)
        }
        Command::Check => {
            process::end_children_when_interrupted()?;
            check::run(&Workspace::find()?)
        }
        Command::Bench(bench) => {
            process::end_children_when_interrupted()?;
            bench.run(&Workspace::find()?)
        }
        Command::Cluster(command) => command.run(),
    }
}
