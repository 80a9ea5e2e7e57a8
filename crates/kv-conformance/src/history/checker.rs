use std::collections::{BTreeMap, HashSet};

use kv_core::Key;

use super::{Action, Call, Value};

/// Finds the keys whose calls no order explains.
///
/// Keys are independent of each other, so that a history of many keys is checked in parts.
///
/// # Errors
///
/// The keys.
pub fn check(history: &[Call]) -> Result<(), Vec<Key>> {
    let mut by_key: BTreeMap<&Key, Vec<&Call>> = BTreeMap::new();
    for call in history {
        by_key.entry(&call.key).or_default().push(call);
    }
    let wrong = by_key
        .into_iter()
        .filter(|(_, calls)| !is_linearizable(calls));
    let wrong: Vec<Key> = wrong.map(|(key, _)| key.clone()).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Whether an order of these calls, all on one key that begins as missing, explains every answer.
///
/// The search of Wing and Gong: take any call that can come next, and go back where no call can;
/// with a memory of the places from which no way leads on, as Lowe added.
#[must_use]
pub fn is_linearizable(calls: &[&Call]) -> bool {
    let search = Search::new(relevant(calls));
    let mut place = search.start();
    let mut seen = HashSet::new();
    let mut path = vec![search.fork(&place, 0)];
    while let Some(fork) = path.last_mut() {
        if place.known == search.known {
            return true;
        }
        let Some(next) = fork.untried.pop() else {
            if let Some((last, before)) = fork.came_by {
                search.undo(&mut place, last, before);
            }
            path.pop();
            continue;
        };
        let (before, first) = (place.value, fork.first);
        if !search.take(&mut place, next) {
            continue;
        }
        if seen.insert((place.taken.clone(), place.value)) {
            let fork = search.fork(&place, first);
            path.push(Fork {
                came_by: Some((next, before)),
                ..fork
            });
        } else {
            search.undo(&mut place, next, before);
        }
    }
    false
}

/// The calls that matter, in the order of their beginnings: neither reads without an answer, nor
/// writes of unknown outcome that nobody can have noticed.
fn relevant<'a>(calls: &[&'a Call]) -> Vec<&'a Call> {
    let mut noticed: HashSet<Value> = HashSet::from([None]);
    let mut refused = false;
    for call in calls {
        match call.action {
            Action::Read(value) | Action::Replace { old: value, .. } => {
                noticed.insert(value);
            }
            Action::Refused(_) => refused = true,
            Action::Write(_) => {}
        }
    }
    let matters = |call: &&&Call| match call.action {
        _ if call.returned.is_some() => true,
        Action::Read(_) | Action::Refused(_) => false,
        Action::Write(new) | Action::Replace { new, .. } => refused || noticed.contains(&new),
    };
    let mut calls: Vec<&Call> = calls.iter().filter(matters).copied().collect();
    calls.sort_by_key(|call| call.invoked);
    calls
}

/// Where the search is: the calls taken so far, and what is stored after them.
struct Place {
    /// One bit for each call.
    taken: Vec<u64>,
    /// How many of them have a known outcome.
    known: usize,
    value: Value,
}

impl Place {
    fn has(&self, call: usize) -> bool {
        self.taken[call / 64] & (1 << (call % 64)) != 0
    }
}

/// A place from which several calls can come next.
struct Fork {
    /// The call by which the search came here, and what was stored before it.
    came_by: Option<(usize, Value)>,
    /// Calls before this one are all taken, or have an unknown outcome.
    first: usize,
    /// What can come next and was not tried, the best last.
    untried: Vec<usize>,
}

/// What is searched: calls in the order of their beginnings.
struct Search<'a> {
    calls: Vec<&'a Call>,
    /// The calls of unknown outcome.
    unknown: Vec<usize>,
    /// How many calls have a known outcome: those that must all be taken.
    known: usize,
}

impl<'a> Search<'a> {
    fn new(calls: Vec<&'a Call>) -> Self {
        let unknown = (0..calls.len()).filter(|i| calls[*i].returned.is_none());
        let unknown: Vec<usize> = unknown.collect();
        let known = calls.len() - unknown.len();
        Self {
            calls,
            unknown,
            known,
        }
    }

    fn start(&self) -> Place {
        let taken = vec![0; self.calls.len().div_ceil(64)];
        Place {
            taken,
            known: 0,
            value: None,
        }
    }

    /// Takes a call, if it fits what is stored.
    fn take(&self, place: &mut Place, next: usize) -> bool {
        let Some(after) = self.calls[next].action.apply(place.value) else {
            return false;
        };
        place.taken[next / 64] |= 1 << (next % 64);
        place.known += usize::from(self.calls[next].returned.is_some());
        place.value = after;
        true
    }

    fn undo(&self, place: &mut Place, last: usize, before: Value) {
        place.taken[last / 64] &= !(1 << (last % 64));
        place.known -= usize::from(self.calls[last].returned.is_some());
        place.value = before;
    }

    /// What can come next: a call that began before any other ended that is not taken.
    fn fork(&self, place: &Place, first: usize) -> Fork {
        let settled = |i: &usize| place.has(*i) || self.calls[*i].returned.is_none();
        let first = first + (first..self.calls.len()).take_while(settled).count();
        let (mut known, mut end) = (Vec::new(), u64::MAX);
        for (i, call) in self.calls.iter().enumerate().skip(first) {
            if call.invoked > end {
                break;
            }
            if let Some(returned) = call.returned.filter(|_| !place.has(i)) {
                end = end.min(returned);
                known.push(i);
            }
        }
        // A call of unknown outcome is tried where no other fits: it may never have taken place.
        let can_come = |i: &usize| self.calls[*i].invoked <= end && !place.has(*i);
        let mut untried: Vec<usize> = self.unknown.iter().copied().filter(can_come).collect();
        untried.extend(known.into_iter().rev());
        Fork {
            came_by: None,
            first,
            untried,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn call(invoked: u64, returned: Option<u64>, action: Action) -> Call {
        Call {
            key: Key::new("k").unwrap(),
            invoked,
            returned,
            action,
        }
    }

    /// Tries every order of every choice of the calls of unknown outcome.
    fn by_brute_force(calls: &[Call], value: Value) -> bool {
        if calls.iter().all(|call| call.returned.is_none()) {
            return true;
        }
        let end = calls.iter().filter_map(|call| call.returned).min().unwrap();
        (0..calls.len())
            .filter(|i| calls[*i].invoked <= end)
            .any(|i| {
                let mut rest = calls.to_vec();
                let next = rest.remove(i);
                next.action
                    .apply(value)
                    .is_some_and(|value| by_brute_force(&rest, value))
            })
    }

    fn random_value(rng: &mut StdRng) -> Value {
        let number = rng.random_range(0..4);
        (number > 0).then_some(number)
    }

    /// A few calls with answers that are right for some order, most of the time.
    fn random_history(rng: &mut StdRng) -> Vec<Call> {
        let mut value = None;
        let mut next = 4;
        let calls = rng.random_range(1..8);
        (0..calls)
            .map(|at: u64| {
                next += 1;
                let seen = if rng.random_bool(0.75) {
                    value
                } else {
                    random_value(rng)
                };
                let new = rng.random_bool(0.8).then_some(next);
                let action = match rng.random_range(0..5) {
                    0 | 1 => Action::Read(seen),
                    2 => Action::Write(new),
                    3 => Action::Replace { old: seen, new },
                    _ => Action::Refused(random_value(rng)),
                };
                value = action.apply(value).unwrap_or(value);
                let began = (at * 10).saturating_sub(rng.random_range(0..25));
                let lasted = rng.random_range(1..25);
                let known = rng.random_bool(0.8);
                call(began, known.then_some(at * 10 + lasted), action)
            })
            .collect()
    }

    #[test]
    fn it_agrees_with_brute_force() {
        let (mut right, mut wrong) = (0, 0);
        for seed in 0..10_000 {
            let history = random_history(&mut StdRng::seed_from_u64(seed));
            let expected = by_brute_force(&history, None);
            let calls: Vec<&Call> = history.iter().collect();
            assert_eq!(
                is_linearizable(&calls),
                expected,
                "seed {seed}: {history:#?}"
            );
            *(if expected { &mut right } else { &mut wrong }) += 1;
        }
        assert!(
            right > 2_500 && wrong > 2_500,
            "{right} right and {wrong} wrong histories"
        );
    }

    #[test]
    fn an_old_value_after_a_new_one_was_read_is_wrong() {
        let history = [
            call(0, Some(1), Action::Write(Some(1))),
            call(2, Some(9), Action::Write(Some(2))),
            call(3, Some(4), Action::Read(Some(2))),
            call(5, Some(6), Action::Read(Some(1))),
        ];
        assert_eq!(check(&history), Err(vec![Key::new("k").unwrap()]));
        assert_eq!(check(&history[..3]), Ok(()));
    }

    #[test]
    fn a_write_of_unknown_outcome_may_come_late_or_never() {
        let lost = call(0, None, Action::Write(Some(1)));
        let missing = call(1, Some(2), Action::Read(None));
        let found = call(3, Some(4), Action::Read(Some(1)));
        assert_eq!(check(&[lost.clone(), missing.clone()]), Ok(()));
        assert_eq!(
            check(&[lost.clone(), missing.clone(), found.clone()]),
            Ok(())
        );
        let again = call(5, Some(6), Action::Read(None));
        assert!(
            check(&[lost, missing, found, again]).is_err(),
            "it came once"
        );
    }

    #[test]
    fn a_long_history_is_checked_in_no_time() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut value, mut history) = (None, Vec::new());
        for at in 0..5_000 {
            let action = if rng.random_bool(0.5) {
                Action::Write(Some(at))
            } else {
                Action::Read(value)
            };
            value = action.apply(value).unwrap();
            let known = rng.random_bool(0.98) || matches!(action, Action::Read(_));
            history.push(call(
                at * 10,
                known.then_some(at * 10 + rng.random_range(1..150)),
                action,
            ));
        }
        assert_eq!(check(&history), Ok(()));
    }
}
