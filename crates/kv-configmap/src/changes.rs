use tokio::time::{Duration, Instant};

/// When the known state changed last, as far as it matters for how to go on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    last: Option<Instant>,
    by_leader: Option<Instant>,
}

impl Changes {
    /// Who is said to write for all, and has not written for so long, is not relied on.
    const SILENCE: Duration = Duration::from_millis(250);

    /// A head that the leader has written is a sign of life only where the one before is not old: it
    /// may have been written at any time since then.
    pub(crate) fn note(&mut self, by_leader: bool) {
        let now = Instant::now();
        let is_recent = |at: Instant| now.saturating_duration_since(at) < Self::SILENCE;
        if by_leader && self.last.is_some_and(is_recent) {
            self.by_leader = Some(now);
        }
        self.last = Some(now);
    }

    /// When the leader was last seen to write.
    pub(crate) fn by_leader(&self) -> Option<Instant> {
        self.by_leader
    }

    /// Whether the leader has written just now.
    pub(crate) fn is_led(&self) -> bool {
        self.by_leader
            .is_some_and(|at| at.elapsed() < Self::SILENCE)
    }
}
