use std::time::Duration;

use kv_core::{Limits, OpenMode, Transaction};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::step::{Condition, HANDLES, Level, Operation, Step, Value, Which};

const KEYS: &[&str] = &[
    "a",
    "a/",
    "a/b",
    "a0",
    "b",
    "k\0",
    "\u{e9}",
    "e\u{301}",
    "z/%2F",
    ".",
    "\u{1d11e}",
    "zz",
];

/// Where listings begin: at keys, and where there is none.
const PLACES: &[&str] = &["a", "a/", "a/a", "a/b", "b", "m", "z/%2F", "\u{10ffff}"];

const PREFIXES: &[&str] = &["", "", "", "a", "a/", "e", "z", "nothing"];

/// The steps of a seed: the same today and tomorrow.
pub(crate) fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut dice = Dice(StdRng::seed_from_u64(seed));
    (0..count).map(|_| dice.step()).collect()
}

struct Dice(StdRng);

impl Dice {
    fn one_in(&mut self, count: u32) -> bool {
        self.0.random_ratio(1, count)
    }

    fn up_to(&mut self, most: usize) -> usize {
        self.0.random_range(0..=most)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.choose(&mut self.0).expect("there is a choice")
    }

    fn key(&mut self) -> &'static str {
        self.one_of(KEYS)
    }

    fn handle(&mut self) -> usize {
        self.up_to(HANDLES - 1)
    }

    fn step(&mut self) -> Step {
        let handle = self.handle();
        match self.up_to(199) {
            0..84 => self.commit(),
            84..112 => Step::Get {
                handle,
                key: self.key(),
                level: self.level(),
            },
            112..144 => self.list(),
            144..168 => Step::NextPage {
                handle: if self.one_in(8) {
                    self.handle()
                } else {
                    handle
                },
                of: handle,
            },
            168..176 => Step::Advance(self.span()),
            176..180 => Step::Expire {
                is_early: self.one_in(2),
            },
            180..184 => Step::Reopen { handle },
            184..186 => Step::Restart,
            186..192 => {
                let modes = [OpenMode::Open, OpenMode::Create, OpenMode::OpenOrCreate];
                Step::Open(self.one_of(&modes))
            }
            192..196 => Step::Teardown { handle },
            _ => Step::Maintain,
        }
    }

    fn commit(&mut self) -> Step {
        let handle = self.handle();
        let (conditions, operations) = match self.up_to(9) {
            0..4 => (0, 1),
            4..6 => (1, 1),
            _ => (self.up_to(3), self.up_to(5)),
        };
        let mut operations: Vec<_> = (0..operations).map(|_| self.operation()).collect();
        let mut conditions: Vec<_> = (0..conditions).map(|_| self.condition()).collect();
        let over = Limits::CONTRACT.transaction_operations + 1;
        if self.one_in(200) {
            let key = self.key();
            operations = vec![Operation::Delete { key }; over];
        }
        if self.one_in(200) {
            let key = self.key();
            conditions = vec![Condition::Fits(key); over];
        }
        Step::Commit {
            handle,
            conditions,
            operations,
        }
    }

    fn operation(&mut self) -> Operation {
        let key = self.key();
        if self.one_in(4) {
            return Operation::Delete { key };
        }
        let ttl = self.one_in(5).then(|| self.ttl());
        let value = self.value();
        Operation::Put { key, value, ttl }
    }

    /// Few different values, so that many puts change nothing.
    fn value(&mut self) -> Value {
        let seed = self.one_of(&[0, 0, 1, 2]);
        match self.up_to(99) {
            0..10 => Value::Plain { bytes: 0, seed },
            10..60 => Value::Plain { bytes: 3, seed },
            60..75 => Value::Plain {
                bytes: 20_000,
                seed,
            },
            75..90 => Value::Noise { bytes: 700, seed },
            90..96 => Value::Noise { bytes: 9_000, seed },
            96..99 => Value::Noise {
                bytes: 50_000,
                seed,
            },
            _ => Value::Plain {
                bytes: Limits::CONTRACT.value_bytes + 1,
                seed,
            },
        }
    }

    fn ttl(&mut self) -> Duration {
        match self.up_to(49) {
            0 => Duration::ZERO,
            1 => Transaction::MAX_TTL,
            2 => Transaction::MAX_TTL + Duration::from_millis(1),
            3..8 => Duration::from_nanos(1),
            _ => self.span(),
        }
    }

    fn span(&mut self) -> Duration {
        let spans = [
            1,
            999_999,
            1_000_000,
            500_000_000,
            1_000_000_000,
            60_000_000_000,
        ];
        Duration::from_nanos(self.one_of(&spans))
    }

    fn condition(&mut self) -> Condition {
        let key = self.key();
        match self.up_to(9) {
            0..5 => Condition::Fits(key),
            5 => Condition::Absent(key),
            6 | 7 => Condition::Exists(key),
            _ => Condition::At(key, self.which()),
        }
    }

    fn which(&mut self) -> Which {
        match self.up_to(9) {
            0..4 => Which::Of(self.key()),
            4..8 => Which::Ago(self.up_to(6)),
            8 => Which::Zero,
            _ => Which::Never,
        }
    }

    fn level(&mut self) -> Level {
        match self.up_to(9) {
            0..5 => Level::Linearizable,
            5..7 => Level::AtLeast(self.which()),
            _ => Level::Cached,
        }
    }

    fn list(&mut self) -> Step {
        let limits = [
            None,
            Some(0),
            Some(1),
            Some(1),
            Some(2),
            Some(3),
            Some(5),
            Some(usize::MAX),
        ];
        Step::List {
            handle: self.handle(),
            prefix: self.one_of(PREFIXES),
            start_after: self.one_in(3).then(|| self.one_of(PLACES)),
            limit: self.one_of(&limits),
            level: self.level(),
        }
    }
}
