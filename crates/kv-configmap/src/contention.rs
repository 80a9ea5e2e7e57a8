use std::time::Duration;

use kv_core::Revision;
use tokio::time::Instant;

/// How long a writer leaves the bucket to the others, where there are any.
///
/// After a conflict each waits at random up to a time that grows with the number of writers at work,
/// so that about one of them comes at a time, however many they are. Whoever is in goes on without a
/// conflict, because its base is the newest, and does not see the others: so it leaves, too, when its
/// turn is over.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    conflicts: u32,
    turn: Option<Turn>,
    window: Option<Window>,
}

/// What a writer sees of its bucket.
pub(crate) struct Sight<'a> {
    pub(crate) now: Instant,
    pub(crate) revision: Revision,
    /// How many others have written since a revision.
    pub(crate) writers_since: &'a (dyn Fn(Revision) -> usize + Sync),
}

/// Batches one after the other.
#[derive(Clone, Copy, Debug)]
struct Turn {
    began: Instant,
    /// When its last batch ended, so far.
    ended: Instant,
}

/// The time in which a writer counts as at work: one to two seconds.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Mark,
    middle: Mark,
}

/// What the bucket was at.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    revision: Revision,
}

impl Contention {
    /// A few times what a write takes. Much less has most attempts meet a conflict; more leaves
    /// the bucket unused, or to whoever does not wait.
    const FOR_EACH_OTHER: Duration = Duration::from_millis(16);
    const LONGEST: Duration = Duration::from_secs(1);
    /// Some writes: a longer turn has the others wait, a shorter one spends more of the time on
    /// changing turns.
    const TURN: Duration = Duration::from_millis(16);
    /// The turn of who has seen nobody: others may be locked out, and nothing else tells.
    const TURN_ALONE: Duration = Duration::from_secs(1);

    /// The next batch begins. Says how long to wait before it, at most, where the turn is over.
    pub(crate) fn begin_batch(&mut self, sight: &Sight<'_>) -> Option<Duration> {
        let now = sight.now;
        let idle = |turn: &Turn| now.saturating_duration_since(turn.ended);
        // Who has had nothing to write has left room already.
        let turn = self.turn.filter(|turn| idle(turn) < Self::FOR_EACH_OTHER);
        let began = turn.map_or(now, |turn| turn.began);
        self.turn = Some(Turn { began, ended: now });
        let for_others = self.for_others(sight);
        let longest = match for_others {
            Duration::ZERO => Self::TURN_ALONE,
            _ => Self::TURN,
        };
        let is_over = now.saturating_duration_since(began) >= longest;
        is_over.then(|| for_others.max(Self::FOR_EACH_OTHER))
    }

    pub(crate) fn end_batch(&mut self, now: Instant) {
        self.conflicts = 0;
        if let Some(turn) = &mut self.turn {
            turn.ended = now;
        }
    }

    /// A wait for others is over.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.turn = Some(Turn {
            began: now,
            ended: now,
        });
    }

    /// Counts a conflict; says how long to wait before the next attempt, at most.
    ///
    /// The first conflict of who saw no others says only that somebody wrote meanwhile: nothing to
    /// wait for. The waits grow also where nobody is seen, as where the object is written by other
    /// means.
    pub(crate) fn after_conflict(&mut self, sight: &Sight<'_>) -> Option<Duration> {
        self.conflicts = self.conflicts.saturating_add(1);
        let alone = match self.conflicts {
            1 => Duration::ZERO,
            count => Duration::from_millis(1 << (count - 1).min(5)),
        };
        let longest = self.for_others(sight).max(alone);
        (!longest.is_zero()).then_some(longest)
    }

    fn for_others(&mut self, sight: &Sight<'_>) -> Duration {
        let mark = Mark {
            at: sight.now,
            revision: sight.revision,
        };
        let window = Window::at(self.window, mark);
        self.window = Some(window);
        let others = (sight.writers_since)(window.began.revision);
        let others = u32::try_from(others).unwrap_or(u32::MAX);
        Self::FOR_EACH_OTHER
            .saturating_mul(others)
            .min(Self::LONGEST)
    }
}

impl Window {
    const HALF: Duration = Duration::from_secs(1);

    /// Moves on to `now`; one that is not there yet, or long past, begins.
    fn at(window: Option<Self>, now: Mark) -> Self {
        let since = |mark: Mark| now.at.saturating_duration_since(mark.at);
        match window {
            Some(window) if since(window.middle) < Self::HALF => window,
            Some(window) if since(window.middle) < 2 * Self::HALF => Self {
                began: window.middle,
                middle: now,
            },
            _ => Self {
                began: now,
                middle: now,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `ask` says where as many have written as the revision tells, one each.
    fn millis(
        contention: &mut Contention,
        now: Instant,
        revision: u64,
        ask: fn(&mut Contention, &Sight<'_>) -> Option<Duration>,
    ) -> Option<u128> {
        let sight = Sight {
            now,
            revision: Revision::new(revision),
            writers_since: &|since| (revision - since.get()) as usize,
        };
        ask(contention, &sight).map(|wait| wait.as_millis())
    }

    fn after_conflict(contention: &mut Contention, now: Instant, revision: u64) -> u128 {
        millis(contention, now, revision, Contention::after_conflict).unwrap_or_default()
    }

    fn begin_batch(contention: &mut Contention, now: Instant, revision: u64) -> Option<u128> {
        millis(contention, now, revision, Contention::begin_batch)
    }

    #[test]
    fn who_sees_nobody_tries_again_at_once_and_then_waits_for_longer_and_longer() {
        let (mut contention, now) = (Contention::default(), Instant::now());
        assert_eq!(begin_batch(&mut contention, now, 7), None);
        let mut wait = || after_conflict(&mut contention, now, 7);
        let waits: Vec<u128> = (0..8).map(|_| wait()).collect();
        assert_eq!(waits, [0, 2, 4, 8, 16, 32, 32, 32]);
    }

    #[test]
    fn the_wait_grows_with_the_writers_that_are_seen_and_is_bounded() {
        let (mut contention, now) = (Contention::default(), Instant::now());
        begin_batch(&mut contention, now, 7);
        assert_eq!(after_conflict(&mut contention, now, 8), 16);
        assert_eq!(after_conflict(&mut contention, now, 22), 240);
        assert_eq!(after_conflict(&mut contention, now, 135), 1_000);
    }

    #[test]
    fn a_turn_ends_sooner_where_there_are_others() {
        let (mut contention, start) = (Contention::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        for millis in 0..1_000 {
            assert_eq!(begin_batch(&mut contention, after(millis), 7), None);
            contention.end_batch(after(millis));
        }
        assert_eq!(begin_batch(&mut contention, after(1_000), 7), Some(16));
        contention.begin_turn(after(1_000));
        assert_eq!(begin_batch(&mut contention, after(1_015), 10), None);
        contention.end_batch(after(1_015));
        assert_eq!(begin_batch(&mut contention, after(1_016), 10), Some(48));
    }

    #[test]
    fn a_pause_ends_a_turn() {
        let (mut contention, start) = (Contention::default(), Instant::now());
        begin_batch(&mut contention, start, 7);
        contention.end_batch(start);
        let later = start + Contention::FOR_EACH_OTHER;
        assert_eq!(begin_batch(&mut contention, later, 10), None);
    }

    #[test]
    fn writers_that_have_gone_are_forgotten() {
        let (mut contention, start) = (Contention::default(), Instant::now());
        begin_batch(&mut contention, start, 7);
        let mut wait = |millis| {
            let now = start + Duration::from_millis(millis);
            begin_batch(&mut contention, now, 10);
            let wait = after_conflict(&mut contention, now, 10);
            contention.end_batch(now);
            wait
        };
        assert_eq!([999, 1_500, 2_499, 2_500].map(&mut wait), [48, 48, 48, 0]);
        assert_eq!(wait(10_000), 0);
    }
}
