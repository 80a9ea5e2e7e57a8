//! Faults drawn at random, the same ones for the same seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::fault::Fault;
use crate::verb::Verb;

/// A source of faults.
#[derive(Debug)]
pub(crate) struct Chaos {
    rng: StdRng,
    probability: f64,
}

impl Chaos {
    pub(crate) fn new(seed: u64, probability: f64) -> Chaos {
        Chaos {
            rng: StdRng::seed_from_u64(seed),
            probability: probability.clamp(0.0, 1.0),
        }
    }

    /// The fault that meets the next request, if any.
    pub(crate) fn draw(&mut self, verb: Verb) -> Option<Fault> {
        if !self.rng.random_bool(self.probability) {
            return None;
        }
        let watch = verb == Verb::Watch && self.rng.random_bool(0.7);
        if watch {
            Some(self.watch_fault())
        } else {
            Some(self.request_fault(verb))
        }
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(1..60_000))
    }

    fn watch_fault(&mut self) -> Fault {
        let after = self.rng.random_range(0..5);
        match self.rng.random_range(0..5) {
            0 => Fault::watch_cut(after),
            1 => Fault::watch_closed(after),
            2 => Fault::watch_stalled(after),
            3 => Fault::watch_duplicated(after),
            _ => Fault::watch_expired(after),
        }
    }

    /// Faults without an effect of their own meet every verb; only writes meet a conflict.
    fn request_fault(&mut self, verb: Verb) -> Fault {
        let kinds = if verb.is_write() { 18 } else { 13 };
        match self.rng.random_range(0..kinds) {
            0 => Fault::refuse_connection(),
            1 => Fault::reset_before_apply(),
            2 => Fault::reset_after_apply(),
            3 => Fault::truncated_body(),
            4 => Fault::late_answer(self.delay()),
            5 => Fault::hang(),
            6 => Fault::too_many_requests(1),
            7 => Fault::too_many_requests_text(),
            8 => Fault::etcd_timeout(),
            9 => Fault::bad_gateway(),
            10 => Fault::shutting_down(),
            11 => Fault::unavailable_text(),
            12 => Fault::gateway_timeout(),
            13 => Fault::gateway_timeout().applied_later(self.delay()),
            14 => Fault::etcd_timeout().applied(),
            15 => Fault::zombie(self.delay()),
            16 => Fault::answer_never(),
            _ => Fault::conflict(),
        }
    }
}
