//! A right stream, and for each check a wrong one that it refuses. The right one has three
//! commits, the second of which changes two keys.

use kv_core::{Entry, Key, SnapshotReason};

use super::*;

fn put(name: &str, at: u64) -> Change {
    Change::Put(Entry {
        key: Key::new(name).unwrap(),
        value: Bytes::from(format!("{name} at {at}")),
        revision: Revision::new(at),
        expires_at: None,
    })
}

fn unrevised(mut change: Change) -> Change {
    if let Change::Put(entry) = &mut change {
        entry.revision = Revision::ZERO;
    }
    change
}

fn told(at: u64, changes: &[Change]) -> WatchEvent {
    WatchEvent::Changes {
        revision: Revision::new(at),
        changes: changes.to_vec(),
    }
}

fn snapshot(at: u64) -> WatchEvent {
    WatchEvent::Snapshot {
        reason: SnapshotReason::Lagged,
        revision: Revision::new(at),
        entries: vec![],
    }
}

fn expired(at: u64) -> WatchEvent {
    WatchEvent::Expired {
        revision: Revision::new(at),
        keys: vec![Key::new("p/old").unwrap()],
    }
}

fn history() -> History {
    let written = |at, changes: &[Change]| Written {
        revision: Revision::new(at),
        changes: changes.to_vec(),
    };
    History::from(vec![
        written(2, &[put("p/a", 2)]),
        written(4, &[put("p/a", 4), put("p/b", 4)]),
        written(5, &[put("q", 5)]),
        written(6, &[Change::Delete(Key::new("p/a").unwrap())]),
    ])
}

fn right() -> Vec<WatchEvent> {
    let events = history()
        .written
        .into_iter()
        .map(|commit| WatchEvent::Changes {
            revision: commit.revision,
            changes: under("p/", &commit.changes),
        });
    let mut events: Vec<WatchEvent> = events.collect();
    events.remove(2);
    events.push(expired(6));
    events
}

const START: Revision = Revision::ZERO;

/// All checks, by name.
fn failing(events: &[WatchEvent]) -> Vec<&'static str> {
    let history = history();
    let found = [
        ("ordered", ordered(events)),
        ("unique", unique(events)),
        ("atomic", atomic(events, "p/", &history)),
        ("reliable", reliable(events, "p/", START, &history)),
        ("bookmarkable", bookmarkable(events, "p/", START, &history)),
    ];
    let failed = found.into_iter().filter(|(_, result)| result.is_err());
    failed.map(|(name, _)| name).collect()
}

#[test]
fn the_right_stream_passes() {
    assert_eq!(failing(&right()), [""; 0]);
    let mut lagged = right();
    lagged.splice(0..2, [snapshot(5)]);
    assert_eq!(
        failing(&lagged),
        [""; 0],
        "a snapshot stands for what it contains"
    );
}

#[test]
fn ordered_refuses_a_commit_after_a_later_one() {
    let mut events = right();
    events.swap(0, 1);
    assert!(failing(&events).contains(&"ordered"));
    let upside_down = [told(4, &[put("p/b", 4), put("p/a", 4)])];
    assert!(ordered(&upside_down).is_err());
    assert!(ordered(&[told(4, &[])]).is_err());
    assert!(ordered(&[told(4, &[put("p/a", 4)]), expired(2)]).is_err());
}

#[test]
fn unique_refuses_a_commit_told_twice() {
    let mut events = right();
    events.insert(1, events[0].clone());
    assert_eq!(failing(&events), ["unique"]);
    let mut events = right();
    events.insert(0, snapshot(2));
    assert_eq!(failing(&events), ["unique"], "the snapshot has it");
}

#[test]
fn atomic_refuses_half_a_commit_and_what_nobody_wrote() {
    let mut events = right();
    events[1] = told(4, &[put("p/a", 4)]);
    assert_eq!(failing(&events), ["atomic"]);
    let mut events = right();
    events.insert(1, told(3, &[put("p/c", 3)]));
    assert_eq!(failing(&events), ["atomic"]);
    let mut history = history();
    history
        .in_doubt
        .push(vec![unrevised(put("p/c", 3)), put("q/c", 0)]);
    assert_eq!(atomic(&events, "p/", &history), Ok(()), "it was in doubt");
    events.insert(2, told(3, &[put("p/c", 3)]));
    assert!(
        atomic(&events, "p/", &history).is_err(),
        "it was written once"
    );
}

#[test]
fn reliable_refuses_a_missing_commit() {
    for missing in 0..3 {
        let mut events = right();
        events.remove(missing);
        assert!(failing(&events).contains(&"reliable"), "without {missing}");
    }
}

#[test]
fn bookmarkable_refuses_a_position_ahead_of_what_was_told() {
    let mut events = right();
    events.insert(1, expired(4));
    assert!(failing(&events).contains(&"bookmarkable"));
    let mut events = right();
    events.insert(1, expired(2));
    assert_eq!(failing(&events), [""; 0], "nothing is behind it");
}

#[test]
fn resumable_refuses_a_gap_and_an_overlap() {
    let (events, history) = (right(), history());
    let resumed =
        |first, second| resumable(&events[..first], &events[second..], "p/", START, &history);
    assert_eq!(position(&events[..2]), Some(Revision::new(4)));
    assert_eq!(resumed(2, 2), Ok(()));
    assert!(resumed(1, 2).is_err(), "a gap");
    assert!(resumed(2, 1).is_err(), "an overlap");
}
