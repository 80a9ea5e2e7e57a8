//! The client processes: started, paused, killed, replaced by others.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kv_tests::chaos::Orders;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;

use crate::servers::signal;

/// A call takes 30 s at most, and there are a few for each step.
const PATIENCE: Duration = Duration::from_secs(120);

/// The client processes of a round.
pub(crate) struct Crew {
    orders: Orders,
    members: Vec<Member>,
    pub(crate) killed: u64,
    pub(crate) paused: u64,
}

/// A process, which is killed when it is dropped.
struct Member {
    process: Child,
    errors: PathBuf,
}

impl Crew {
    /// Starts so many processes. Those that replace them have higher client numbers.
    pub(crate) fn start(orders: Orders, size: usize, random: &mut StdRng) -> Self {
        let mut crew = Self {
            orders,
            members: Vec::new(),
            killed: 0,
            paused: 0,
        };
        for _ in 0..size {
            let member = crew.recruit(random);
            crew.members.push(member);
        }
        crew
    }

    /// Starts a process with a client number that none had before.
    fn recruit(&mut self, random: &mut StdRng) -> Member {
        self.orders.client += 1;
        self.orders.seed = random.random();
        // Below the 10 s after which a request is given up, and above.
        let seconds = [2, 8, 30][random.random_range(0..3)];
        self.orders.deadline = Duration::from_secs(seconds);
        let errors = format!("client-{}.log", self.orders.client);
        let errors = self.orders.folder.join(errors);
        let log = File::create(&errors).expect("a file for its errors");
        let orders = serde_json::to_string(&self.orders).expect("orders in JSON");
        let process = Command::new(env!("CARGO_BIN_EXE_chaos_client"))
            .arg(orders)
            .stdin(Stdio::piped())
            .stderr(log)
            .spawn();
        Member {
            process: process.expect("a client process starts"),
            errors,
        }
    }

    /// Kills one of them in the midst of everything, and starts another.
    pub(crate) fn kill_one(&mut self, random: &mut StdRng) {
        let victim = random.random_range(0..self.members.len());
        self.members[victim] = self.recruit(random);
        self.killed += 1;
    }

    /// Stops one of them for that time.
    pub(crate) async fn pause_one(&mut self, time: Duration, random: &mut StdRng) {
        let member = &self.members[random.random_range(0..self.members.len())];
        signal(member.process.id(), Signal::STOP);
        tokio::time::sleep(time).await;
        signal(member.process.id(), Signal::CONT);
        self.paused += 1;
    }

    /// Fails with what a process found that ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.members.iter_mut().try_for_each(|member| {
            let ended = member.process.try_wait().expect("it is our child");
            ended.map_or(Ok(()), |status| Err(member.tell(status)))
        })
    }

    /// Lets all of them end what they are at.
    pub(crate) async fn dismiss(mut self) -> Result<(), String> {
        for member in &mut self.members {
            drop(member.process.stdin.take());
        }
        let begun = Instant::now();
        for member in &mut self.members {
            let status = loop {
                if let Some(status) = member.process.try_wait().expect("it is our child") {
                    break status;
                }
                if begun.elapsed() > PATIENCE {
                    return Err(format!("a client does not end within {PATIENCE:?}"));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            if !status.success() {
                return Err(member.tell(status));
            }
        }
        Ok(())
    }
}

impl Member {
    fn tell(&self, status: ExitStatus) -> String {
        let errors = fs::read_to_string(&self.errors).unwrap_or_default();
        format!("a client: {status}: {errors}")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
