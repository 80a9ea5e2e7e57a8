//! What the contract says that a store answers, written without the code that stores share.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kv_core::{Bound, Limits, OpenMode, Transaction};

use super::answer::{Answer, Refusal, Row, Wanted};
use super::step::{Condition, Level, Operation, Which};

/// The bucket between two changes.
#[derive(Clone, Debug, Default)]
struct State {
    exists: bool,
    commit: usize,
    rows: BTreeMap<String, Row>,
}

/// Every state that the bucket had, and the time.
#[derive(Debug)]
pub(crate) struct Model {
    states: Vec<State>,
    commits: usize,
    pub(crate) now: SystemTime,
}

/// A condition with the revision that it asks for.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    Absent(String),
    Exists(String),
    At(String, Wanted),
}

/// A listing, to go on with.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) prefix: &'static str,
    pub(crate) start_after: Option<String>,
    pub(crate) limit: Option<usize>,
}

impl Model {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self {
            states: vec![State::default()],
            commits: 0,
            now,
        }
    }

    /// The number of the newest state.
    pub(crate) fn newest(&self) -> usize {
        self.states.len() - 1
    }

    pub(crate) fn exists(&self) -> bool {
        self.state().exists
    }

    fn state(&self) -> &State {
        &self.states[self.newest()]
    }

    fn live(&self, state: usize, key: &str) -> Option<&Row> {
        let row = self.states[state].rows.get(key);
        row.filter(|row| is_live(row, self.now))
    }

    /// How long it takes until the next entry expires.
    pub(crate) fn until_expiry(&self) -> Option<Duration> {
        let times = self.state().rows.values().filter_map(|row| row.expires_at);
        let next = times.filter(|at| *at > self.now).min()?;
        next.duration_since(self.now).ok()
    }

    /// The commit that is meant.
    pub(crate) fn resolve(&self, which: Which) -> Wanted {
        match which {
            Which::Of(key) => match self.live(self.newest(), key) {
                Some(row) => Wanted::Commit(row.commit),
                None => Wanted::Never,
            },
            Which::Ago(count) => Wanted::Commit(self.commits.saturating_sub(count)),
            Which::Zero => Wanted::Commit(0),
            Which::Never => Wanted::Never,
        }
    }

    pub(crate) fn demand(&self, condition: Condition) -> Demand {
        match condition {
            Condition::Absent(key) => Demand::Absent(key.to_owned()),
            Condition::Exists(key) => Demand::Exists(key.to_owned()),
            Condition::At(key, which) => Demand::At(key.to_owned(), self.resolve(which)),
            Condition::Fits(key) => match self.live(self.newest(), key) {
                Some(row) => Demand::At(key.to_owned(), Wanted::Commit(row.commit)),
                None => Demand::Absent(key.to_owned()),
            },
        }
    }

    pub(crate) fn open(&mut self, mode: OpenMode) -> Answer {
        match (mode, self.exists()) {
            (OpenMode::Open, false) => return Answer::Refused(Refusal::NotFound),
            (OpenMode::Create, true) => return Answer::Refused(Refusal::BucketExists),
            (_, true) => {}
            (_, false) => self.states.push(State {
                exists: true,
                ..State::default()
            }),
        }
        Answer::Done
    }

    pub(crate) fn teardown(&mut self) -> Answer {
        if self.exists() {
            self.states.push(State::default());
        }
        Answer::Done
    }

    pub(crate) fn commit(&mut self, demands: &[Demand], operations: &[Operation]) -> Answer {
        let refusal = check_limits(demands, operations)
            .or_else(|| demands.iter().find_map(|demand| self.check(demand)));
        if let Some(refusal) = refusal {
            return Answer::Refused(refusal);
        }
        let before = self.state().clone();
        let mut after = before.clone();
        after.rows.retain(|_, row| is_live(row, self.now));
        let live = after.rows.clone();
        let next = self.commits + 1;
        for operation in operations {
            self.apply(&mut after.rows, operation, next);
        }
        // What ends as it was keeps its commit.
        for (key, row) in &mut after.rows {
            let old = live.get(key).filter(|old| old.value == row.value);
            if let Some(old) = old.filter(|old| old.expires_at == row.expires_at) {
                row.commit = old.commit;
            }
        }
        let commit = |rows: &BTreeMap<String, Row>, operation: &Operation| {
            rows.get(key_of(operation)).map(|row| row.commit)
        };
        let previous = operations.iter().map(|operation| commit(&live, operation));
        let current = operations
            .iter()
            .map(|operation| commit(&after.rows, operation));
        let (previous, current) = (previous.collect(), current.collect());
        if after.rows != live {
            self.commits = next;
            (after.commit, after.exists) = (next, true);
            self.states.push(after);
        }
        Answer::Committed {
            commit: self.state().commit,
            previous,
            current,
        }
    }

    fn apply(&self, rows: &mut BTreeMap<String, Row>, operation: &Operation, commit: usize) {
        match *operation {
            Operation::Delete { key } => {
                rows.remove(key);
            }
            Operation::Put { key, value, ttl } => {
                let row = Row {
                    key: key.to_owned(),
                    value: value.bytes(),
                    commit,
                    expires_at: ttl.map(|ttl| up_to_millis(self.now + ttl)),
                };
                rows.insert(key.to_owned(), row);
            }
        }
    }

    fn check(&self, demand: &Demand) -> Option<Refusal> {
        let (Demand::Absent(key) | Demand::Exists(key) | Demand::At(key, _)) = demand;
        let actual = self.live(self.newest(), key).map(|row| row.commit);
        let key = key.clone();
        match (demand, actual) {
            (Demand::Absent(_), None) | (Demand::Exists(_), Some(_)) => None,
            (Demand::At(_, Wanted::Commit(wanted)), Some(found)) if *wanted == found => None,
            (Demand::Absent(_), Some(actual)) => Some(Refusal::AlreadyExists { key, actual }),
            (Demand::Exists(_), None) => Some(Refusal::Conflict {
                key,
                expected: None,
                actual,
            }),
            (Demand::At(_, wanted), _) => Some(Refusal::Conflict {
                key,
                expected: Some(*wanted),
                actual,
            }),
        }
    }

    /// The first state that a read may show through a handle that knows the state `known`; `None`:
    /// it asks for what there is not.
    pub(crate) fn oldest_allowed(&self, level: Level, known: usize) -> Option<usize> {
        match level {
            Level::Linearizable => Some(self.newest()),
            Level::Cached => Some(known),
            Level::AtLeast(which) => match self.resolve(which) {
                Wanted::Never => None,
                Wanted::Commit(wanted) => {
                    let reached = self.states.iter().position(|state| state.commit == wanted);
                    reached.map(|reached| reached.max(known))
                }
            },
        }
    }

    pub(crate) fn get(&self, state: usize, key: &str) -> Answer {
        Answer::Found(self.live(state, key).cloned())
    }

    pub(crate) fn list(&self, state: usize, page: &Page) -> Answer {
        let rows = self.states[state].rows.values();
        let start = page.start_after.as_deref();
        let mut rest = rows.filter(|row| {
            is_live(row, self.now)
                && row.key.starts_with(page.prefix)
                && start.is_none_or(|start| row.key.as_bytes() > start.as_bytes())
        });
        let limit = page.limit.unwrap_or(usize::MAX);
        let rows: Vec<Row> = rest.by_ref().take(limit).cloned().collect();
        let last = rows.last().map(|row| row.key.clone());
        let more = rest.next().map(|_| last.or(page.start_after.clone()));
        Answer::Listed {
            commit: self.states[state].commit,
            rows,
            more,
        }
    }
}

fn is_live(row: &Row, now: SystemTime) -> bool {
    row.expires_at.is_none_or(|at| now < at)
}

fn key_of(operation: &Operation) -> &'static str {
    match operation {
        Operation::Put { key, .. } | Operation::Delete { key } => key,
    }
}

fn up_to_millis(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).expect("time is after 1970");
    let rest = since.subsec_nanos() % 1_000_000;
    if rest == 0 {
        return time;
    }
    time + Duration::from_nanos(u64::from(1_000_000 - rest))
}

/// What every store refuses without a look at what it holds.
fn check_limits(demands: &[Demand], operations: &[Operation]) -> Option<Refusal> {
    let most = Limits::CONTRACT.transaction_operations;
    let counts = [
        (Bound::Operations, operations.len()),
        (Bound::Conditions, demands.len()),
    ];
    for (what, count) in counts {
        if count > most {
            let actual = count as u64;
            return Some(Refusal::TooLarge { what, actual });
        }
    }
    operations.iter().find_map(check_operation)
}

fn check_operation(operation: &Operation) -> Option<Refusal> {
    let Operation::Put { key, value, ttl } = *operation else {
        return None;
    };
    let (bytes, ttl) = (value.len(), ttl.unwrap_or(Duration::from_secs(1)));
    if bytes > Limits::CONTRACT.value_bytes {
        return Some(Refusal::TooLarge {
            what: Bound::Value,
            actual: bytes as u64,
        });
    }
    if ttl.is_zero() {
        return Some(Refusal::ZeroTtl {
            key: key.to_owned(),
        });
    }
    (ttl > Transaction::MAX_TTL).then(|| Refusal::TooLarge {
        what: Bound::Ttl,
        actual: u64::try_from(ttl.as_millis()).expect("it is not that long"),
    })
}
