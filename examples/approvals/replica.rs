//! The replicas of the operator: processes, or tasks where one process has the store to itself.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::watch;

use crate::approvals::{Approvals, Vote};
use crate::place::{Place, Result};

/// What is voted on.
const RESOURCES: [&str; 5] = [
    "deployments/prod/api",
    "deployments/prod/queue",
    "deployments/prod/web",
    "deployments/staging/api",
    "deployments/staging/web",
];

/// After so many votes a replica closes its store and opens it again.
const VOTES_PER_OPENING: u64 = 100;

/// A replica, as the one sees it who starts it, kills it and starts it again.
#[derive(Debug)]
pub(crate) struct Replica {
    place: Place,
    name: String,
    store: String,
    kill_at: Option<u64>,
    heard: watch::Sender<u64>,
    starts: AtomicU32,
}

impl Replica {
    /// A replica that is killed once, after the vote `kill_at`.
    pub(crate) fn new(place: &Place, store: &str, name: String, kill_at: Option<u64>) -> Self {
        Self {
            place: place.clone(),
            name,
            store: store.to_owned(),
            kill_at,
            heard: watch::Sender::new(0),
            starts: AtomicU32::new(0),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The last vote of which it has told us that it was counted.
    pub(crate) fn heard(&self) -> u64 {
        *self.heard.borrow()
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    /// Keeps the replica running until it has cast the vote `until`.
    pub(crate) async fn run(&self, until: u64) -> Result<()> {
        while self.heard() < until {
            self.starts.fetch_add(1, Ordering::Relaxed);
            // What loses is dropped in the middle of a vote: a process dies of it, too.
            tokio::select! {
                ended = self.live(until) => ended?,
                () = self.to_be_killed() => {}
            }
        }
        Ok(())
    }

    async fn live(&self, until: u64) -> Result<()> {
        if !self.place.is_for_processes() {
            return vote(&self.place, &self.name, until, |number| self.hear(number)).await;
        }
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--store", &self.store, "--replica", &self.name])
            .args(["--votes", &until.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().ok_or("the process has no output")?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            self.hear(line.parse()?)?;
        }
        match process.wait().await?.code() {
            Some(0) => Ok(()),
            Some(code) => Err(format!("{} ended with code {code}", self.name).into()),
            // Killed by somebody else. We start it again.
            None => Ok(()),
        }
    }

    fn hear(&self, number: u64) -> Result<()> {
        let before = self.heard.send_replace(number);
        if number < before {
            let name = &self.name;
            let lost = format!("{name} had cast vote {before}, and its last vote is now {number}");
            return Err(lost.into());
        }
        Ok(())
    }

    async fn to_be_killed(&self) {
        let mut heard = self.heard.subscribe();
        match self.kill_at.filter(|kill_at| self.heard() < *kill_at) {
            Some(kill_at) => drop(heard.wait_for(|number| *number >= kill_at).await),
            None => std::future::pending().await,
        }
    }
}

/// Votes as the replica `name`, from where it was up to the vote `until`, and tells of every vote
/// once it is counted.
pub(crate) async fn vote(
    place: &Place,
    name: &str,
    until: u64,
    tell: impl Fn(u64) -> Result<()>,
) -> Result<()> {
    loop {
        let approvals = Approvals::new(place.open().await?);
        // A replica that starts does not remember where it was, but the store does.
        let last = approvals.last_vote(name).await?;
        tell(last)?;
        if last >= until {
            return Ok(());
        }
        for number in last + 1..=until.min(last + VOTES_PER_OPENING) {
            // The first vote may have been sent in an earlier life, and still be on its way.
            let in_doubt = number == last + 1;
            let (replica, resource) = (name, RESOURCES[number as usize % RESOURCES.len()]);
            let vote = Vote {
                replica,
                number,
                in_doubt,
            };
            approvals.vote(resource, vote).await?;
            tell(number)?;
            // In memory nothing ever waits; let the others vote.
            tokio::task::yield_now().await;
        }
    }
}
