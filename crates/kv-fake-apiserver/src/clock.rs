//! The time of the server, taken from tokio so that tests can pause it.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z, where the clock of every fake server starts.
const EPOCH: i64 = 1_767_225_600;

/// A wall clock that starts at a fixed moment and runs with tokio's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerClock {
    started: Instant,
}

impl ServerClock {
    pub(crate) fn start() -> ServerClock {
        ServerClock {
            started: Instant::now(),
        }
    }

    /// Now, as RFC 3339 with seconds, as `creationTimestamp` has it.
    pub(crate) fn now(&self) -> String {
        let elapsed = self.started.elapsed().as_secs();
        let since_1970 = SignedDuration::from_secs(EPOCH.saturating_add_unsigned(elapsed));
        let now = Timestamp::from_duration(since_1970).unwrap_or(Timestamp::MAX);
        now.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::ServerClock;

    #[tokio::test(start_paused = true)]
    async fn the_time_has_seconds() {
        let clock = ServerClock::start();
        tokio::time::advance(std::time::Duration::from_millis(59_900)).await;
        assert_eq!(clock.now(), "2026-01-01T00:00:59Z");
    }
}
