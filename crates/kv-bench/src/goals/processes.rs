//! Goal 5: processes that know nothing of each other put into one bucket.

use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use kv_core::prelude::*;

use super::{Report, rate};
use crate::data::{contents, entry_value};
use crate::drive::Samples;
use crate::environment::Environment;
use crate::finding::{Bound, Finding};
use crate::go::Retry;
use crate::rounds::{Effort, median};
use crate::stores::filled;
use crate::{worker, workers};

const PROCESSES: usize = 16;

/// What a bucket has before, on either side.
const ENTRIES: u64 = 40;

pub(super) async fn processes(env: &Environment, report: &mut Report) -> anyhow::Result<()> {
    // Processes begin with finding out which of them writes for all: a short turn has little but that.
    let (all, effort): (&[usize], Effort) = match env.effort.is_quick {
        true => (&[1], env.effort.in_one_round()),
        false => (&[1, 8], env.effort),
    };
    for &tasks in all {
        let mut rounds = Vec::new();
        for round in 0..effort.rounds {
            rounds.push(Round::measure(env, round, tasks, effort.turn * 2).await?);
        }
        report.findings.extend(Round::judge(&rounds, tasks));
    }
    Ok(())
}

/// A turn of each side, one after the other.
struct Round {
    ours: Crowd,
    /// The same where each has used up its write budget.
    used_up: Crowd,
    k8s_kv: Crowd,
    /// The same where each waits before it tries again.
    k8s_kv_waiting: Option<Crowd>,
    /// Puts a second of a process that is alone.
    alone: f64,
    /// The same of processes that have one of them write for all, by hand.
    combined: Option<f64>,
}

/// A rate of a round, where it was measured.
type Figure = fn(&Round) -> Option<f64>;

/// What processes have put side by side.
struct Crowd {
    /// Puts a second, of each process.
    rates: Vec<f64>,
    conflicts_a_put: f64,
}

impl Round {
    async fn measure(
        env: &Environment,
        round: usize,
        tasks: usize,
        turn: Duration,
    ) -> anyhow::Result<Self> {
        let bucket = format!("processes-{tasks}-{round}");
        // Each process is to have had several turns, also where few get through.
        let longer = turn * 2;
        let alone = ours(env, &format!("{bucket}-alone"), (1, tasks), turn, false).await?;
        let combined = match tasks {
            1 => Some(workers::put_combined(env, &bucket, PROCESSES, turn).await?),
            _ => None,
        };
        let waiting = format!("{bucket}-k8s-kv-waiting");
        let k8s_kv_waiting = match tasks {
            1 if !env.effort.is_quick => {
                Some(theirs(env, &waiting, tasks, longer, Retry::AfterWait).await?)
            }
            _ => None,
        };
        let all = (PROCESSES, tasks);
        let used_up = ours(env, &format!("{bucket}-used-up"), all, longer, true).await?;
        let their_bucket = format!("{bucket}-k8s-kv");
        let our_turn = ours(env, &bucket, all, longer, false);
        let their_turn = theirs(env, &their_bucket, tasks, longer, Retry::AtOnce);
        // Nobody always comes after the other, who may still have to tidy up.
        let (ours, k8s_kv) = if round.is_multiple_of(2) {
            let ours = our_turn.await?;
            (ours, their_turn.await?)
        } else {
            let k8s_kv = their_turn.await?;
            (our_turn.await?, k8s_kv)
        };
        Ok(Self {
            ours,
            used_up,
            k8s_kv,
            k8s_kv_waiting,
            alone: alone.total(),
            combined,
        })
    }

    fn judge(rounds: &[Self], tasks: usize) -> [Finding; 2] {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure));
        let who = match tasks {
            1 => format!("{PROCESSES} processes, one put at a time each"),
            _ => format!("{PROCESSES} processes of {tasks} tasks"),
        };
        let what = format!("puts/s of {who}, to k8s-kv's with a retry loop");
        let to_theirs = of(|round| round.to_theirs(round.ours.total()));
        let faster = Finding::ratio(5, what, to_theirs, Bound::AtLeast(20.0))
            .side("ours", crowd(rounds, |round| &round.ours))
            .side("k8s-kv", crowd(rounds, |round| &round.k8s_kv))
            .side(
                "ours, their write budgets used up",
                format!(
                    "{} ({:.1}x)",
                    crowd(rounds, |round| &round.used_up),
                    of(|round| round.to_theirs(round.used_up.total()))
                ),
            )
            .side(
                "ours, one process alone",
                limit(rounds, |round| Some(round.alone)),
            );
        let others: [(&str, Figure); 2] = [
            ("one writing for all, by hand", |round| round.combined),
            ("k8s-kv, waiting before it tries again", |round| {
                round.k8s_kv_waiting.as_ref().map(Crowd::total)
            }),
        ];
        let measured = others
            .into_iter()
            .filter(|(_, figure)| rounds.iter().any(|round| figure(round).is_some()))
            .map(|(name, figure)| (name.to_owned(), limit(rounds, figure)));
        let faster = faster.sides(measured.collect());
        let slowest = of(|round| round.ours.slowest_to_mean());
        let what = format!("slowest of {who}, to their mean");
        let theirs = of(|round| round.k8s_kv.slowest_to_mean());
        let fair = Finding::ratio(5, what, slowest, Bound::AtLeast(0.25))
            .side("k8s-kv", format!("{theirs:.2}x"));
        [faster, fair]
    }

    /// In a short turn they may not get a single put through.
    fn to_theirs(&self, rate: f64) -> f64 {
        rate / self.k8s_kv.total().max(0.1)
    }
}

/// What a side has put, for the table.
fn crowd(rounds: &[Round], crowd: fn(&Round) -> &Crowd) -> String {
    let total = median(rounds.iter().map(|round| crowd(round).total()));
    let conflicts = median(rounds.iter().map(|round| crowd(round).conflicts_a_put));
    format!("{} with {conflicts:.2} conflicts a put", rate(total))
}

/// What limits it, for the table.
fn limit(rounds: &[Round], figure: Figure) -> String {
    let figures = rounds
        .iter()
        .filter_map(|round| Some((round, figure(round)?)));
    let to_theirs = figures
        .clone()
        .map(|(round, figure)| round.to_theirs(figure));
    let found = rate(median(figures.map(|(_, figure)| figure)));
    format!("{found} ({:.1}x)", median(to_theirs))
}

impl Crowd {
    fn new(samples: Vec<&Samples>, conflicts: u64, puts: u64) -> Self {
        Self {
            rates: samples.into_iter().map(Samples::rate).collect(),
            conflicts_a_put: conflicts as f64 / puts as f64,
        }
    }

    fn total(&self) -> f64 {
        self.rates.iter().sum()
    }

    fn slowest_to_mean(&self) -> f64 {
        let slowest = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = self.total() / self.rates.len() as f64;
        if mean > 0.0 { slowest / mean } else { 0.0 }
    }
}

async fn ours(
    env: &Environment,
    bucket: &str,
    (processes, tasks): (usize, usize),
    turn: Duration,
    is_used_up: bool,
) -> anyhow::Result<Crowd> {
    let store = filled(&env.buckets()?, bucket, ENTRIES, entry_value).await?;
    let found = workers::put_processes(env, bucket, processes, tasks, turn, is_used_up).await?;
    // Each task counts up under its own key: what is stored last is what it has put.
    for (number, process) in found.iter().enumerate() {
        for (task, count) in process.counts.iter().enumerate() {
            let stored = store.get(&worker::counter_key(number, task)).await?;
            let stored = stored.and_then(|entry| worker::counted(&entry.value));
            ensure!(
                stored.unwrap_or_default() == *count,
                "process {number} had {count} puts acknowledged, and they are not all there"
            );
        }
    }
    let conflicts: u64 = found.iter().map(|process| process.conflicts).sum();
    let puts: u64 = found.iter().flat_map(|process| &process.counts).sum();
    let samples = found.iter().map(|process| &process.samples).collect();
    Ok(Crowd::new(samples, conflicts, puts))
}

async fn theirs(
    env: &Environment,
    bucket: &str,
    tasks: usize,
    turn: Duration,
    retry: Retry,
) -> anyhow::Result<Crowd> {
    env.go.fill(bucket, contents(ENTRIES)).await?;
    let process = |number| env.go.k8s_kv_process(bucket, number, tasks, turn, retry);
    let found = try_join_all((0..PROCESSES).map(process)).await?;
    let conflicts: u64 = found.iter().map(|process| process.conflicts).sum();
    let puts: u64 = found.iter().map(|process| process.calls).sum();
    let samples = found.iter().map(|process| &process.samples).collect();
    Ok(Crowd::new(samples, conflicts, puts))
}
