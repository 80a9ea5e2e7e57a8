//! What the numbers of a round come to.

use std::fmt;
use std::time::Duration;

use crate::trouble::Done;
use crate::verdict::Counts;

/// What happened in a round, or in several.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) counts: Counts,
    pub(crate) time: Duration,
    /// How much of the time a server was paused, or gone.
    pub(crate) outage: Duration,
    pub(crate) killed: u64,
    pub(crate) paused: u64,
    pub(crate) edits: u64,
    pub(crate) told: usize,
    pub(crate) servers: Done,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.time += other.time;
        self.outage += other.outage;
        self.killed += other.killed;
        self.paused += other.paused;
        self.edits += other.edits;
        self.told += other.told;
        for (what, count) in &other.servers {
            *self.servers.entry(what.clone()).or_default() += count;
        }
    }

    fn per_second(&self, number: u64) -> f64 {
        number as f64 / self.time.as_secs_f64()
    }

    /// Calls of histories in each second in which they could be answered.
    pub(crate) fn pace(&self) -> f64 {
        self.counts.calls as f64 / (self.time - self.outage).as_secs_f64()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            counts,
            time,
            outage,
            killed,
            paused,
            edits,
            told,
            servers,
        } = self;
        write!(
            f,
            "{:.0} s, {:.0} of them without a server: {counts}; {:.0} acknowledged/s, {:.0} calls/s; {told} commits told to a \
             watcher; clients killed {killed}, paused {paused}; edits of others {edits}; {servers:?}",
            time.as_secs_f64(),
            outage.as_secs_f64(),
            self.per_second(counts.acknowledged),
            self.per_second(counts.calls),
        )
    }
}
