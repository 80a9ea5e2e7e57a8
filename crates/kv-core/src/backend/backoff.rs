use std::time::Duration;

/// Waits that double up to 250 ms and are drawn at random below it, so that those who collided
/// once do not collide again. The randomness comes from a seed: the same seed, the same waits.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
    random: u64,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(2);
    const LONGEST: Duration = Duration::from_millis(250);

    /// Before the first attempt.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            attempts: 0,
            random: seed,
        }
    }

    /// How many attempts failed so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts a failed attempt and returns how long to wait before the next one.
    pub fn next_wait(&mut self) -> Duration {
        let bound = Self::FIRST
            .saturating_mul(1 << self.attempts.min(10))
            .min(Self::LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        // Timers have no finer steps than milliseconds.
        let millis = bound.as_secs_f64() * 1_000.0 * self.next_fraction();
        Duration::from_millis(millis.round() as u64)
    }

    /// A number from 0 to 1: the finalizer of splitmix64, which is enough to spread waits.
    fn next_fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_differ_between_seeds() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..100).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        assert!(waits(1).iter().all(|wait| *wait <= Backoff::LONGEST));
        assert!(waits(1)[0] <= Backoff::FIRST);
        assert!(waits(1).iter().any(|wait| *wait > Backoff::LONGEST / 2));
    }
}
