use std::collections::{BTreeMap, HashMap, HashSet};

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
        let (before, first) = (place.state, fork.first);
        if !search.take(&mut place, next) {
            continue;
        }
        if seen.insert((place.taken.clone(), place.state)) {
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
    let noticed = mentioned(calls);
    let is_refusal = |call: &&Call| matches!(call.action, Action::Refused(_));
    let refused = calls.iter().any(is_refusal);
    let matters = |call: &&&Call| match call.action {
        _ if call.returned.is_some() => true,
        Action::Read(_) | Action::Refused(_) => false,
        Action::Write(new) | Action::Replace { new, .. } => refused || noticed.contains(&new),
    };
    let mut calls: Vec<&Call> = calls.iter().filter(matters).copied().collect();
    calls.sort_by_key(|call| call.invoked);
    calls
}

/// The values that an answer depends on.
fn mentioned(calls: &[&Call]) -> HashSet<Value> {
    let values = calls.iter().filter_map(|call| match call.action {
        Action::Read(value) | Action::Refused(value) | Action::Replace { old: value, .. } => {
            Some(value)
        }
        Action::Write(_) => None,
    });
    values.chain([None]).collect()
}

/// Where the search is: the calls taken so far, and what is stored after them.
struct Place {
    /// One bit for each call.
    taken: Vec<u64>,
    /// How many of them have a known outcome.
    known: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    value: Value,
    /// What was stored before the calls of unknown outcome that were taken last.
    before_unknown: Option<Value>,
}

impl Place {
    fn has(&self, call: usize) -> bool {
        self.taken[call / 64] & (1 << (call % 64)) != 0
    }
}

/// A place from which several calls can come next.
struct Fork {
    /// The call by which the search came here, and the state before it.
    came_by: Option<(usize, State)>,
    /// Calls before this one are all taken, or have an unknown outcome.
    first: usize,
    /// What can come next and was not tried, the best last.
    untried: Vec<usize>,
}

/// What is searched: calls in the order of their beginnings.
struct Search<'a> {
    calls: Vec<&'a Call>,
    /// The calls of unknown outcome.
    unknown: Vec<Unknown>,
    /// How many calls have a known outcome: those that must all be taken.
    known: usize,
}

struct Unknown {
    call: usize,
    /// The call before it that differs in nothing that an answer depends on. It began earlier, so
    /// that this one need not be tried before it is taken.
    twin: Option<usize>,
}

impl<'a> Search<'a> {
    fn new(calls: Vec<&'a Call>) -> Self {
        let unknown = unknown(&calls);
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
            state: State {
                value: None,
                before_unknown: None,
            },
        }
    }

    /// Takes a call, if it fits what is stored.
    fn take(&self, place: &mut Place, next: usize) -> bool {
        let Some(state) = self.after(place.state, next) else {
            return false;
        };
        place.taken[next / 64] |= 1 << (next % 64);
        place.known += usize::from(self.calls[next].returned.is_some());
        place.state = state;
        true
    }

    /// The state after a call; `None`: it does not fit, or need not be tried here.
    ///
    /// Calls of unknown outcome are only tried right before a call that does not fit without them:
    /// an order in which they come earlier, or for nothing, remains one when they are moved there,
    /// or left out. For the same reason a write that overwrites another of them is not tried.
    fn after(&self, state: State, next: usize) -> Option<State> {
        let call = self.calls[next];
        let value = call.action.apply(state.value)?;
        let before_unknown = match (call.returned, state.before_unknown) {
            (Some(_), Some(before)) if call.action.apply(before).is_some() => return None,
            (Some(_), _) => None,
            (None, None) => Some(state.value),
            (None, Some(_)) if matches!(call.action, Action::Write(_)) => return None,
            (None, before) => before,
        };
        Some(State {
            value,
            before_unknown,
        })
    }

    fn undo(&self, place: &mut Place, last: usize, before: State) {
        place.taken[last / 64] &= !(1 << (last % 64));
        place.known -= usize::from(self.calls[last].returned.is_some());
        place.state = before;
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
        let can_come = |unknown: &&Unknown| {
            self.calls[unknown.call].invoked <= end
                && !place.has(unknown.call)
                && unknown.twin.is_none_or(|twin| place.has(twin))
        };
        let unknown = self.unknown.iter().filter(can_come);
        let mut untried: Vec<usize> = unknown.map(|unknown| unknown.call).collect();
        untried.extend(known.into_iter().rev());
        Fork {
            came_by: None,
            first,
            untried,
        }
    }
}

/// The calls of unknown outcome, each with its twin.
fn unknown(calls: &[&Call]) -> Vec<Unknown> {
    let mentioned = mentioned(calls);
    let mut last = HashMap::new();
    let unknown = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| call.returned.is_none());
    unknown
        .map(|(i, call)| {
            let (needs, leaves) = match call.action {
                Action::Write(new) => (None, new),
                Action::Replace { old, new } => (Some(old), new),
                Action::Read(value) | Action::Refused(value) => (Some(value), value),
            };
            let leaves = mentioned.contains(&leaves).then_some(leaves);
            Unknown {
                call: i,
                twin: last.insert((needs, leaves), i),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
