//! How does an operator keep approvals that several replicas vote on?
//!
//! Each approval is an entry, named after its resource, and each vote a `modify` of it. Here
//! replicas vote as fast as they can while somebody reads. They close and open the store, one of
//! them is killed in the middle of a vote, and halfway all of them are stopped and started again.
//! At the end every vote has to be counted, and none of them twice.
//!
//! ```text
//! cargo run --example approvals -- --store memory:
//! cargo run --example approvals -- --store file:/tmp/approvals.redb
//! cargo run --example approvals -- --store configmap:default/approvals
//! ```
//!
//! A cluster is found as `kubectl` finds it; there the replicas are processes.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "that is how it answers"
)]

mod approvals;
mod place;
mod replica;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kv_core::TypedEntry;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use approvals::{Approval, Approvals};
use place::{Place, Result};
use replica::Replica;

/// The resources whose approvals are listed.
const PREFIX: &str = "deployments/";

/// How long the reader waits between two listings.
const READ_PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Parser)]
struct Args {
    /// memory:, file:PATH or configmap:NAMESPACE/BUCKET.
    #[arg(long, default_value = "memory:")]
    store: String,

    /// How many replicas vote.
    #[arg(long, default_value_t = 4)]
    processes: u32,

    /// How many votes each of them casts.
    #[arg(long, default_value_t = 500)]
    votes: u64,

    /// How many of them are killed in the middle of a vote, and started again.
    #[arg(long, default_value_t = 1)]
    kills: u32,

    /// Vote as this replica. The program starts itself so.
    #[arg(long, hide = true)]
    replica: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.replica {
        Some(name) => cast(&args, name).await.map(|()| true),
        None => operate(&args).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The life of one replica in a process of its own.
async fn cast(args: &Args, name: &str) -> Result<()> {
    let tell = |number| {
        println!("{number}");
        Ok(())
    };
    replica::vote(&args.store.parse()?, name, args.votes, tell).await
}

/// Starts the replicas, reads while they vote, and checks what has become of the votes.
async fn operate(args: &Args) -> Result<bool> {
    let place: Place = args.store.parse()?;
    let replicas: Vec<_> = (0..args.processes)
        .map(|index| {
            let kill_at = (index < args.kills).then_some(args.votes / 4);
            let name = format!("replica-{index}");
            Arc::new(Replica::new(&place, &args.store, name, kill_at))
        })
        .collect();
    let cast_before = Count::of(&list(&place).await?, &replicas, 0).votes;

    let started = Instant::now();
    let mut listings = 0;
    // Halfway everything is closed, the reader's store too, and opened again.
    for until in [args.votes / 2, args.votes] {
        tokio::select! {
            ended = vote(&replicas, until) => ended?,
            failed = read(&place, &replicas, &mut listings) => failed?,
        }
    }
    let seconds = started.elapsed().as_secs_f64();

    let approvals = list(&place).await?;
    let Count {
        votes,
        lost,
        doubled,
    } = Count::of(&approvals, &replicas, args.votes);
    let starts: u32 = replicas.iter().map(|replica| replica.starts()).sum();
    let per_second = (votes - cast_before) as f64 / seconds;
    println!(
        "{} replicas started {starts} times, read {listings} times",
        args.processes
    );
    println!("votes {votes}, lost {lost}, doubled {doubled}");
    println!("{seconds:.2} s, {per_second:.0} votes/s\n");
    for entry in &approvals {
        let approval = &entry.value;
        let (name, votes) = (entry.key.as_str(), approval.votes);
        let state = ["waiting", "approved"][usize::from(approval.approved)];
        println!("{name:24} {state:8} {votes:6} votes");
    }
    Ok(lost == 0 && doubled == 0)
}

/// Lets all replicas vote at the same time.
async fn vote(replicas: &[Arc<Replica>], until: u64) -> Result<()> {
    let mut running = JoinSet::new();
    for replica in replicas {
        let replica = replica.clone();
        running.spawn(async move { replica.run(until).await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Lists the approvals again and again: none may lack a vote that somebody has heard of before.
async fn read(place: &Place, replicas: &[Arc<Replica>], listings: &mut u64) -> Result<()> {
    let approvals = Approvals::new(place.open().await?);
    let mut seen = 0;
    loop {
        let heard: u64 = replicas.iter().map(|replica| replica.heard()).sum();
        let listed = approvals.list(PREFIX).await?;
        let votes = listed.iter().map(|entry| entry.value.votes).sum();
        if votes < seen.max(heard) {
            return Err(format!("heard of {heard} votes, saw {seen}, and now {votes}").into());
        }
        seen = votes;
        *listings += 1;
        sleep(READ_PAUSE).await;
    }
}

async fn list(place: &Place) -> Result<Vec<TypedEntry<Approval>>> {
    Ok(Approvals::new(place.open().await?).list(PREFIX).await?)
}

/// What has become of the votes.
struct Count {
    votes: u64,
    lost: u64,
    doubled: u64,
}

impl Count {
    /// Counts the votes, of which there should be `expected` from each replica.
    fn of(approvals: &[TypedEntry<Approval>], replicas: &[Arc<Replica>], expected: u64) -> Self {
        let approvals = || approvals.iter().map(|entry| &entry.value);
        let mut count = Self {
            votes: approvals().map(|approval| approval.votes).sum(),
            lost: 0,
            doubled: 0,
        };
        for replica in replicas {
            let ballots = approvals().filter_map(|approval| approval.replicas.get(replica.name()));
            let found: u64 = ballots.map(|ballot| ballot.votes - ballot.doubled).sum();
            count.lost += expected.saturating_sub(found);
        }
        for approval in approvals() {
            let ballots = || approval.replicas.values();
            let votes: u64 = ballots().map(|ballot| ballot.votes).sum();
            count.doubled += ballots().map(|ballot| ballot.doubled).sum::<u64>();
            // The total is another count of the same votes.
            count.doubled += approval.votes.saturating_sub(votes);
            count.lost += votes.saturating_sub(approval.votes);
        }
        count
    }
}
