use std::time::Duration;

use kv_core::Revision;

/// How long a writer that met a conflict leaves the bucket to the others.
///
/// Each waits at random up to a time that grows with the number of writers at work, so that about
/// one of them comes at a time, however many they are.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    /// How many other writers were at work, as far as the last batches saw it.
    others: usize,
    batch: Conflicts,
}

/// The conflicts of one batch.
#[derive(Debug, Default)]
struct Conflicts {
    count: u32,
    /// What the bucket was at when the first one was met.
    since: Option<Revision>,
}

impl Contention {
    /// About four times what a write takes. Much less has most attempts meet a conflict; more leaves
    /// the bucket unused, or to whoever does not wait.
    const FOR_EACH_OTHER: Duration = Duration::from_millis(16);
    const LONGEST: Duration = Duration::from_secs(1);

    /// The next batch begins. Those who have gone are forgotten after a while.
    pub(crate) fn begin_batch(&mut self) {
        self.others = self.others.saturating_sub(1 + self.others / 8);
        self.batch = Conflicts::default();
    }

    /// Counts a conflict with a bucket that is at `revision` now; says how long to wait before the
    /// next attempt, at most.
    ///
    /// The first conflict of who saw no others says only that somebody wrote meanwhile: nothing to
    /// wait for. The waits grow also where nobody is seen, as where the object is written by other
    /// means.
    pub(crate) fn longest_wait(
        &mut self,
        revision: Revision,
        writers_since: impl FnOnce(Revision) -> usize,
    ) -> Duration {
        let since = *self.batch.since.get_or_insert(revision);
        self.others = self.others.max(writers_since(since));
        let others = u32::try_from(self.others).unwrap_or(u32::MAX);
        let for_others = Self::FOR_EACH_OTHER.saturating_mul(others);
        let alone = match self.batch.count {
            0 => Duration::ZERO,
            count => Duration::from_millis(1 << count.min(5)),
        };
        self.batch.count = self.batch.count.saturating_add(1);
        for_others.max(alone).min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(contention: &mut Contention, writers: usize) -> u128 {
        let wait = contention.longest_wait(Revision::new(7), |_| writers);
        wait.as_millis()
    }

    #[test]
    fn who_sees_nobody_tries_again_at_once_and_then_waits_for_longer_and_longer() {
        let mut contention = Contention::default();
        contention.begin_batch();
        let waits: Vec<u128> = (0..8).map(|_| millis(&mut contention, 0)).collect();
        assert_eq!(waits, [0, 2, 4, 8, 16, 32, 32, 32]);
    }

    #[test]
    fn the_wait_grows_with_the_writers_that_are_seen_and_is_bounded() {
        let mut contention = Contention::default();
        assert_eq!(millis(&mut contention, 1), 16);
        assert_eq!(millis(&mut contention, 15), 240);
        assert_eq!(millis(&mut contention, 4), 240);
        assert_eq!(millis(&mut contention, 128), 1_000);
    }

    #[test]
    fn writers_are_counted_from_the_first_conflict_of_the_batch_on() {
        let mut contention = Contention::default();
        for revision in [7, 9] {
            contention.longest_wait(Revision::new(revision), |since| {
                assert_eq!(since, Revision::new(7));
                3
            });
        }
    }

    #[test]
    fn writers_that_have_gone_are_forgotten() {
        let mut contention = Contention::default();
        millis(&mut contention, 15);
        contention.begin_batch();
        assert_eq!(millis(&mut contention, 0), 13 * 16);
        for _ in 0..15 {
            contention.begin_batch();
        }
        assert_eq!(millis(&mut contention, 0), 0);
    }
}
