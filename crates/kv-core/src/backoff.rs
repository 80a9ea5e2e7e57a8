use std::time::Duration;

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(250);

/// Waits that double up to a bound and are drawn at random below it, so that writers who collided
/// once do not collide again.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// How often there was a wait or a [`Backoff::skip`].
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts an attempt without a wait.
    pub(crate) fn skip(&mut self) {
        self.attempts += 1;
    }

    pub(crate) async fn wait(&mut self) {
        let bound = FIRST
            .saturating_mul(1 << self.attempts.min(10))
            .min(LONGEST);
        self.attempts += 1;
        tokio::time::sleep(bound.mul_f64(rand::random::<f64>())).await;
    }
}
