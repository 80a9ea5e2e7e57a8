//! `kv`, the command-line tool for key-value stores: puts, gets, deletes, lists and watches the
//! entries of a bucket in a Kubernetes cluster or in a file, checks the bucket and removes it.
//!
//! What goes to standard output is what was asked for and nothing else; everything said about it
//! goes to standard error. The exit code tells scripts what happened, see `kv --help`.

mod args;
mod commands;
mod duration;
mod events;
mod exit;
mod kubernetes;
mod output;
mod report;
mod store;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{Args, Command};
use crate::exit::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    log(args.global.verbose);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Err(source) => Err(Failure::Runtime { source }),
        Ok(runtime) => {
            let outcome = runtime.block_on(until_interrupted(args));
            // Whoever is interrupted while standard input is read must not wait for its end.
            runtime.shutdown_background();
            outcome
        }
    };
    exit::report(outcome)
}

async fn until_interrupted(args: Args) -> Result<(), Failure> {
    // What has no end of its own is ended so.
    let is_endless = matches!(args.command, Command::Watch(_));
    tokio::select! {
        outcome = commands::run(args) => outcome,
        Ok(()) = tokio::signal::ctrl_c() => match is_endless {
            true => Ok(()),
            false => Err(Failure::Interrupted),
        },
    }
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .init();
}
