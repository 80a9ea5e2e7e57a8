//! Clients in several processes, each with a journal in a file: as far as a test of one process
//! can show it, with a journal and a handle for each client.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use kv_conformance::history::{self, Recorder};
use kv_conformance::journal::{self, Attempt, Journal};
use kv_conformance::workload::{
    Accounts, Bank, Counter, Fate, Registers, Set, Step, Transfer, Workload, counter, set,
};
use kv_core::{Entry, Key, KvStoreExt, WatchEvent, WatchOptions, WatchStore};
use kv_memory::MemoryStore;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::on_paused_time;
use crate::unreliable::{Bug, Unreliable};

const CLIENTS: u64 = 3;

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the processes share: the clock, and where they leave their journals.
#[derive(Default)]
struct Machine {
    clock: Arc<AtomicU64>,
    files: Mutex<Vec<File>>,
}

impl Machine {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn journal<B: Serialize, E: Serialize>(&self, client: u64) -> Journal<B, E> {
        let (clock, file) = (self.clock.clone(), File::default());
        self.files.lock().unwrap().push(file.clone());
        let now = move || clock.fetch_add(1, Ordering::SeqCst);
        Journal::of_client(client, now).with_file(file)
    }

    fn journals(&self) -> Vec<io::Cursor<Vec<u8>>> {
        let files = self.files.lock().unwrap();
        let contents = files.iter().map(|file| file.0.lock().unwrap().clone());
        contents.map(io::Cursor::new).collect()
    }
}

/// Runs a client for each workload.
async fn work(workloads: Vec<impl Workload>, store: &MemoryStore) {
    let clients = workloads
        .iter()
        .enumerate()
        .map(|(client, workload)| async move {
            let mut rng = StdRng::seed_from_u64(client as u64);
            for _ in 0..100 {
                let step = workload.step(store, &mut rng).await.unwrap();
                assert!(matches!(step, Step::Done | Step::Refused), "got {step:?}");
                tokio::task::yield_now().await;
            }
            workload.check(store).await.unwrap();
        });
    join_all(clients).await;
}

async fn entries(store: &MemoryStore, prefix: &str) -> Vec<Entry> {
    store.list(prefix).await.unwrap()
}

#[test]
fn the_transfers_of_all_processes_explain_the_balances() {
    on_paused_time(async {
        let (machine, store) = (Machine::default(), MemoryStore::new());
        let accounts = Accounts::new("bank/", 4, 50);
        let mut events = store.watch(WatchOptions::default()).await.unwrap();
        let bank = |client| Bank::among_others(accounts.clone(), machine.journal(client));
        let banks: Vec<Bank> = (0..CLIENTS).map(bank).collect();
        for bank in &banks {
            bank.open(&store).await.unwrap();
        }
        let mut told = vec![events.next().await.unwrap().unwrap()];
        work(banks, &store).await;

        let attempts: Vec<Attempt<Transfer, Fate>> = journal::read(machine.journals()).unwrap();
        assert_eq!(attempts.len(), 300);
        let balances = accounts.check_snapshot(&entries(&store, "bank/").await);
        let mut balances = balances.unwrap().unwrap();
        accounts.check_transfers(&balances, &attempts).unwrap();
        balances[0] += 1;
        assert!(accounts.check_transfers(&balances, &attempts).is_err());

        while let Some(Some(event)) = events.next().now_or_never() {
            told.push(event.unwrap());
        }
        accounts.check_events(&told).unwrap();
        tear(&mut told);
        assert!(accounts.check_events(&told).is_err(), "an event is torn");
    });
}

/// Takes a change out of an event in the midst.
fn tear(events: &mut [WatchEvent]) {
    let mut events = events[20..].iter_mut();
    let torn = events.find_map(|event| match event {
        WatchEvent::Changes { changes, .. } if changes.len() == 2 => changes.pop(),
        _ => None,
    });
    assert!(torn.is_some());
}

#[test]
fn the_adds_of_all_processes_explain_the_set() {
    on_paused_time(async {
        let (machine, store) = (Machine::default(), MemoryStore::new());
        let set = |client| Set::among_others("set/", machine.journal(client));
        work((0..CLIENTS).map(set).collect(), &store).await;
        let attempts: Vec<Attempt<Vec<Key>, Fate>> = journal::read(machine.journals()).unwrap();
        let mut found = entries(&store, "set/").await;
        set::check(&attempts, machine.now(), &found).unwrap();
        found.remove(10);
        assert!(set::check(&attempts, machine.now(), &found).is_err());
    });
}

#[test]
fn the_additions_of_all_processes_explain_the_counter() {
    on_paused_time(async {
        let (machine, store) = (Machine::default(), MemoryStore::new());
        let key = Key::new("counter").unwrap();
        let adder = |client| Counter::among_others(key.clone(), machine.journal(client));
        work((0..CLIENTS).map(adder).collect(), &store).await;
        let attempts: Vec<Attempt<u64, Fate>> = journal::read(machine.journals()).unwrap();
        let entry = store.get(&key).await.unwrap().unwrap();
        let value: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let check = |value| counter::check(&attempts, machine.now(), Some(u64::MAX), value);
        assert!(check(value).is_ok() && check(value - 1).is_err() && check(value + 1).is_err());
    });
}

#[test]
fn the_calls_of_all_processes_are_one_history() {
    on_paused_time(async {
        let (machine, store) = (Machine::default(), MemoryStore::new());
        let of_client = |client| Recorder::new(machine.journal(client));
        let registers = |client| Registers::among_others("r/", 3, of_client(client));
        let all: Vec<Registers> = (0..CLIENTS).map(registers).collect();
        work(all, &store).await;

        // A client that is killed while it writes.
        let (killed, key) = (of_client(9), Key::new("r/0000").unwrap());
        let unanswered = killed
            .put(&Unreliable::new(Bug::None, 0), &key)
            .now_or_never();
        assert!(unanswered.is_none(), "it is dropped before it is done");
        let value = 9_u64 << 32;
        store.put(&key, value.to_string()).await.unwrap();
        let reader = of_client(10);
        assert!(reader.get(&store, &key).await.unwrap().is_some());

        let mut calls = history::read(machine.journals()).unwrap();
        assert!(calls.len() > 300);
        assert_eq!(history::check(&calls), Ok(()));
        calls.retain(|call| call.returned.is_some());
        assert_eq!(
            history::check(&calls),
            Err(vec![key]),
            "nobody else wrote it"
        );
    });
}
