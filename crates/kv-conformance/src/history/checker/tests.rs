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
    let certainty = [0.9, 0.7, 0.5][rng.random_range(0..3)];
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
            let known = rng.random_bool(certainty);
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
    println!("seeds 0 to 9,999: {right} right and {wrong} wrong histories");
    assert!(right > 2_500 && wrong > 2_500, "both are common");
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

/// What clients note that take turns at random: each call takes effect somewhere between its
/// beginning and its end, and one in a hundred writes is never heard of again.
fn concurrent_history(rng: &mut StdRng, calls: usize, keys: usize, clients: usize) -> Vec<Call> {
    let mut stored = vec![None; keys];
    let mut running: Vec<Option<(usize, u64, Option<Action>)>> = vec![None; clients];
    let (mut history, mut now) = (Vec::new(), 0);
    while history.len() < calls {
        now += 1;
        let client = rng.random_range(0..clients);
        running[client] = match running[client].take() {
            None => Some((rng.random_range(0..keys), now, None)),
            Some((key, began, None)) => {
                let action = match rng.random_range(0..4) {
                    0 | 1 => Action::Read(stored[key]),
                    2 => Action::Write(Some(now)),
                    _ if rng.random_bool(0.5) => Action::Refused(Some(u64::MAX)),
                    _ => Action::Replace {
                        old: stored[key],
                        new: Some(now),
                    },
                };
                stored[key] = action.apply(stored[key]).unwrap();
                Some((key, began, Some(action)))
            }
            Some((key, began, Some(action))) => {
                let is_write = matches!(action, Action::Write(_) | Action::Replace { .. });
                let lost = is_write && rng.random_bool(0.01);
                history.push(Call {
                    key: Key::new(format!("k{key}")).unwrap(),
                    invoked: began,
                    returned: (!lost).then_some(now),
                    action,
                });
                None
            }
        };
    }
    for (key, began, action) in running.into_iter().flatten() {
        history.extend(action.map(|action| Call {
            key: Key::new(format!("k{key}")).unwrap(),
            invoked: began,
            returned: None,
            action,
        }));
    }
    history
}

#[test]
fn a_long_history_is_checked_in_no_time() {
    let rng = &mut StdRng::seed_from_u64(1);
    let history = concurrent_history(rng, 100_000, 100, 16);
    let began = std::time::Instant::now();
    assert_eq!(check(&history), Ok(()));
    println!(
        "100,000 calls on 100 keys by 16 clients: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_wrong_answer_is_found_beside_many_unknown_outcomes() {
    let rng = &mut StdRng::seed_from_u64(2);
    let mut history = concurrent_history(rng, 400, 1, 16);
    let lost = |at| call(at, None, Action::Write(Some(1_000_000 + at)));
    history.extend((0..40).map(lost));
    assert_eq!(check(&history), Ok(()));
    let end = history.iter().filter_map(|call| call.returned).max();
    let begin = end.unwrap() + 1;
    let old = history.iter().find_map(|call| match call.action {
        Action::Write(new) if call.returned.is_some() => Some(new),
        _ => None,
    });
    history.push(call(begin, Some(begin + 1), Action::Read(old.unwrap())));
    assert!(
        check(&history).is_err(),
        "the first value of all cannot come back"
    );
}
