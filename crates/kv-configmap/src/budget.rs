use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

/// How many bytes of objects a process writes: so many in a burst, and so many a second over time.
///
/// etcd keeps every version of an object for minutes, and a cluster whose etcd is full is read-only
/// for everybody. Writes wait while the budget is used up, and share more transactions each; no
/// write fails for it.
#[derive(Debug)]
pub(crate) struct WriteBudget {
    rate: Option<Rate>,
    spent: Mutex<Spent>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) bytes_per_second: u64,
    pub(crate) burst_bytes: u64,
}

impl Rate {
    pub(crate) const DEFAULT: Self = Self {
        bytes_per_second: 256 * 1024,
        burst_bytes: 4 * 1024 * 1024,
    };
}

/// What has been written and not yet been made up for by time.
#[derive(Debug)]
struct Spent {
    bytes: f64,
    at: Instant,
}

impl WriteBudget {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let spent = Spent {
            bytes: 0.0,
            at: Instant::now(),
        };
        Self {
            rate,
            spent: Mutex::new(spent),
        }
    }

    /// Waits until there is budget, at most for `longest`.
    pub(crate) async fn ready(&self, longest: Duration) {
        let Some(rate) = self.rate else {
            return;
        };
        let wait = self.wait(rate).min(longest);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether so much has been used up that writes may soon have to wait.
    pub(crate) fn is_short(&self) -> bool {
        let half_used = |rate: Rate| self.settle(rate).bytes >= rate.burst_bytes as f64 / 2.0;
        self.rate.is_some_and(half_used)
    }

    /// Notes what is written. The budget may be overdrawn by one write, or none larger than the
    /// burst could ever begin.
    pub(crate) fn spend(&self, bytes: usize) {
        if let Some(rate) = self.rate {
            self.settle(rate).bytes += bytes as f64;
        }
    }

    fn wait(&self, rate: Rate) -> Duration {
        let overdrawn = self.settle(rate).bytes - rate.burst_bytes as f64;
        Duration::from_secs_f64((overdrawn / rate.bytes_per_second.max(1) as f64).max(0.0))
    }

    /// Makes up for what time has passed.
    fn settle(&self, rate: Rate) -> std::sync::MutexGuard<'_, Spent> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = now.saturating_duration_since(spent.at).as_secs_f64();
        spent.bytes = (spent.bytes - passed * rate.bytes_per_second as f64).max(0.0);
        spent.at = now;
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_what_follows_takes_its_time() {
        let budget = WriteBudget::new(Some(Rate::DEFAULT));
        let begun = Instant::now();
        for mib in 1..=4 {
            budget.ready(Duration::MAX).await;
            budget.spend(1024 * 1024);
            assert_eq!(budget.is_short(), mib >= 2, "after {mib} MiB");
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..40 {
            budget.ready(Duration::MAX).await;
            budget.spend(64 * 1024);
        }
        let seconds = begun.elapsed().as_secs_f64();
        assert!((9.0..11.0).contains(&seconds), "{seconds}");
        let begun = Instant::now();
        budget.ready(Duration::MAX).await;
        budget.spend(100 * 1024 * 1024);
        budget.ready(Duration::from_secs(3)).await;
        budget.spend(1);
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "no wait is longer than allowed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_off() {
        let budget = WriteBudget::new(None);
        let begun = Instant::now();
        for _ in 0..100 {
            budget.ready(Duration::MAX).await;
            budget.spend(1 << 20);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!budget.is_short());
    }
}
