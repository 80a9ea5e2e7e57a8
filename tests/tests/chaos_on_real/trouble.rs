//! What happens while the clients work: each of these goes on until it is told to stop, and leaves
//! everything running.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::crew::Crew;
use crate::foreign::Others;
use crate::proxy::Proxy;
use crate::servers::{APISERVER, ETCD, Own, Servers};

/// How often each thing was done, by name.
pub(crate) type Done = BTreeMap<String, u64>;

/// A request that is given up after 10 s is given up in a pause this long.
const LONG_PAUSE: Duration = Duration::from_secs(11);

/// Told to all who make trouble.
#[derive(Default)]
pub(crate) struct Signals {
    pub(crate) stop: AtomicBool,
    /// How often something happened to a server.
    pub(crate) server_faults: AtomicU64,
}

impl Signals {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Stops all, after a failure too.
    pub(crate) fn end<T>(&self, result: T) -> T {
        self.stop.store(true, Ordering::SeqCst);
        result
    }
}

/// What happens to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerFault {
    ApiserverPaused,
    ApiserverKilled,
    EtcdPaused,
    EtcdKilled,
    BothKilled,
    ConnectionsCut,
}

impl ServerFault {
    pub(crate) const ALL: [Self; 6] = [
        Self::ApiserverPaused,
        Self::ApiserverKilled,
        Self::EtcdPaused,
        Self::EtcdKilled,
        Self::BothKilled,
        Self::ConnectionsCut,
    ];
}

/// Faults in a random order in which each comes as often as the others.
pub(crate) struct Deck {
    kinds: Vec<ServerFault>,
    next: Vec<ServerFault>,
}

impl Deck {
    /// What can happen to these servers.
    pub(crate) fn of(servers: &Servers) -> Self {
        let kinds = match servers {
            Servers::Own(_) => ServerFault::ALL.to_vec(),
            Servers::Given(_) => vec![ServerFault::ConnectionsCut],
        };
        let next = Vec::new();
        Self { kinds, next }
    }

    /// How many different faults there are.
    pub(crate) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    fn draw(&mut self, random: &mut StdRng) -> ServerFault {
        if self.next.is_empty() {
            self.next.clone_from(&self.kinds);
            self.next.shuffle(random);
        }
        self.next.pop().expect("there are faults")
    }
}

/// Pauses and kills clients.
pub(crate) async fn of_clients(
    crew: &mut Crew,
    mut random: StdRng,
    signals: &Signals,
) -> Result<(), String> {
    while !signals.is_over() {
        crew.check()?;
        wait(&mut random, 500..2_500).await;
        if random.random_bool(0.5) {
            crew.kill_one(&mut random);
        } else {
            let time = Duration::from_millis(random.random_range(100..3_000));
            crew.pause_one(time, &mut random).await;
        }
    }
    crew.check()
}

/// Pauses and kills servers, and cuts the way to them. Tells for how long there was none.
pub(crate) async fn of_servers(
    servers: &Servers,
    proxy: &Proxy,
    deck: &mut Deck,
    mut random: StdRng,
    signals: &Signals,
) -> Result<(Done, Duration), String> {
    let (mut done, mut outage) = (Done::new(), Duration::ZERO);
    while !signals.is_over() {
        wait(&mut random, 4_000..10_000).await;
        let (fault, begun) = (deck.draw(&mut random), Instant::now());
        match servers {
            Servers::Own(own) if fault != ServerFault::ConnectionsCut => {
                harm(own, fault, &mut random).await?;
            }
            _ => proxy.cut_all(),
        }
        outage += begun.elapsed();
        *done.entry(format!("{fault:?}")).or_default() += 1;
        signals.server_faults.fetch_add(1, Ordering::SeqCst);
    }
    Ok((done, outage))
}

async fn harm(own: &Own, fault: ServerFault, random: &mut StdRng) -> Result<(), String> {
    let pause = match random.random_bool(0.15) {
        true => LONG_PAUSE,
        false => Duration::from_millis(random.random_range(200..3_000)),
    };
    let down = Duration::from_millis(random.random_range(100..1_000));
    match fault {
        ServerFault::ApiserverPaused => own.pause(APISERVER, pause).await,
        ServerFault::EtcdPaused => own.pause(ETCD, pause).await,
        ServerFault::ApiserverKilled => own.kill(&[APISERVER], down).await?,
        ServerFault::EtcdKilled => own.kill(&[ETCD], down).await?,
        ServerFault::BothKilled => own.kill(&[ETCD, APISERVER], down).await?,
        ServerFault::ConnectionsCut => {}
    }
    Ok(())
}

/// Lets the others do what they do.
pub(crate) async fn of_others(others: &mut Others, mut random: StdRng, signals: &Signals) {
    while !signals.is_over() {
        wait(&mut random, 20..400).await;
        others.act(&mut random).await;
    }
}

async fn wait(random: &mut StdRng, millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(millis))).await;
}
