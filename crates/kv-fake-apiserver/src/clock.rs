//! The time of the server, taken from tokio so that tests can pause it.

use std::time::Duration;

use tokio::time::Instant;

/// 2026-01-01T00:00:00Z, where the clock of every fake server starts.
const EPOCH: u64 = 1_767_225_600;

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
        rfc3339(Duration::from_secs(EPOCH) + self.started.elapsed())
    }
}

fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day since 1970, by Howard Hinnant's algorithm for days after the epoch.
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{Duration, EPOCH, rfc3339};

    #[test]
    fn dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (EPOCH, "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), date);
        }
    }
}
