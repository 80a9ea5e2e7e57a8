use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;

use crate::Clock;

/// A clock that never goes back, so that a handle on which a key has expired never shows it again
/// though the machine's clock was set back.
#[derive(Debug)]
pub struct ForwardClock {
    clock: Arc<dyn Clock>,
    latest: Mutex<SystemTime>,
}

impl ForwardClock {
    /// Follows `clock` wherever it goes forward.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            latest: Mutex::new(UNIX_EPOCH),
        }
    }
}

impl Clock for ForwardClock {
    fn now(&self) -> SystemTime {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = self.clock.now().max(*latest);
        *latest
    }

    fn sleep_until(&self, time: SystemTime) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;
    use std::time::Duration;

    #[test]
    fn time_stands_still_while_the_clock_is_behind() {
        let manual = ManualClock::default();
        let forward = ForwardClock::new(Arc::new(manual.clone()));
        let before = forward.now();
        manual.set(before - Duration::from_secs(3_600));
        assert_eq!(forward.now(), before);
        manual.set(before + Duration::from_secs(1));
        assert_eq!(forward.now(), before + Duration::from_secs(1));
    }
}
