//! One run: clients, their work, the faults, and what must hold in the end.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use kv_configmap::{Bug, ConfigMapStore};
use kv_conformance::watching::{self, History};
use kv_conformance::workload::{Bank, Counter, Registers, Set, Step, Tally, Workload};
use kv_core::{
    Entry, Error, Key, KvStore, KvStoreExt, WatchEvent, WatchOptions, WatchStart, WatchStore,
};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use twox_hash::XxHash3_64;

use crate::client::{BUCKET, Client, NAMESPACE, Parts, Process};
use crate::passing::Passing;
use crate::recording::Recording;
use crate::turns::Turns;

const CLIENTS: u64 = 3;
const STEPS: usize = 15;

/// What happened in a run, or in several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) trace: u64,
    steps: Tally,
    requests: usize,
    faults: usize,
    segments: usize,
    offers: usize,
    deaths: BTreeMap<String, u32>,
    told: usize,
    lagged: usize,
}

impl Report {
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps.done += other.steps.done;
        self.steps.refused += other.steps.refused;
        self.steps.unknown += other.steps.unknown;
        self.steps.failed += other.steps.failed;
        self.requests += other.requests;
        self.faults += other.faults;
        self.segments += other.segments;
        self.offers += other.offers;
        self.told += other.told;
        self.lagged += other.lagged;
        for (point, count) in &other.deaths {
            *self.deaths.entry(point.clone()).or_default() += count;
        }
    }

    /// A simulation in which nothing happens says nothing.
    pub(crate) fn assert_that_much_happened(&self) {
        assert!(
            self.steps.done > 10_000 && self.steps.unknown > 100,
            "{self}"
        );
        assert!(
            self.faults > 1_000 && self.segments > 1_000 && self.told > 1_000,
            "{self}"
        );
        assert!(self.offers > 1_000, "{self}");
        assert!(
            self.deaths.len() >= 20,
            "processes died at {:?} only",
            self.deaths
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, {} requests, {} of them failed, {} segments made, {} batches offered, {} commits \
             told to watchers and {} snapshots in between, processes died at {:?}",
            self.steps,
            self.requests,
            self.faults,
            self.segments,
            self.offers,
            self.told,
            self.lagged,
            self.deaths
        )
    }
}

/// Runs one seed. The error is a promise that was broken.
pub(crate) fn simulate(seed: u64, bug: Option<Bug>) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            // From here on every time is a whole millisecond after the start of the timers.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let run = World::new(seed, bug).run();
            let bound = tokio::time::timeout(Duration::from_secs(100_000), run).await;
            bound.unwrap_or_else(|_| Err("it never ends".to_owned()))
        })
    }));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    })
}

struct World {
    server: FakeApiServer,
    random: StdRng,
    parts: Parts,
    bug: Option<Bug>,
    workloads: Vec<Box<dyn Workload>>,
    history: Arc<Mutex<History>>,
    deaths: Arc<Mutex<BTreeMap<String, u32>>>,
    passing: Passing,
    turns: Turns,
}

impl World {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let parts = match random.random_range(0..10) {
            0 => Parts::Single,
            1 => Parts::Default,
            _ => Parts::Tiny,
        };
        Self {
            server: FakeApiServer::with_seed(seed),
            random,
            parts,
            bug,
            workloads: vec![
                Box::new(Bank::new("bank/", 4, 100)),
                Box::new(Set::new("set/")),
                Box::new(Counter::new(Key::new("counter").expect("a key"))),
                Box::new(Registers::new("register/", 4)),
            ],
            history: Arc::default(),
            deaths: Arc::default(),
            passing: Passing::default(),
            turns: Turns::default(),
        }
    }

    fn client(&mut self, may_die: bool) -> Client {
        Client {
            server: self.server.clone(),
            parts: self.parts,
            bug: self.bug,
            random: StdRng::seed_from_u64(self.random.random()),
            may_die,
            deaths: self.deaths.clone(),
        }
    }

    async fn run(mut self) -> Result<Report, String> {
        let store = self.prepare().await?;
        let (observer, events) = self.observe().await?;
        let latency = self.random.random_range(0..5);
        self.server.set_latency(Duration::from_millis(latency));
        let chaos = [0.0, 0.02, 0.1][self.random.random_range(0..3)];
        self.server.chaos(self.random.random(), chaos);
        let clients: Vec<_> = (0..CLIENTS).map(|_| self.client(true)).collect();
        let hostile = StdRng::seed_from_u64(self.random.random());
        let (tallies, ()) = tokio::join!(
            join_all(clients.into_iter().map(|client| self.work(client))),
            self.trouble(hostile)
        );
        self.server.calm();
        // What was sent and has not arrived yet arrives within this time.
        tokio::time::sleep(Duration::from_secs(300)).await;
        let mut report = self.report();
        for tally in tallies {
            let tally = tally?;
            report.steps.done += tally.done;
            report.steps.refused += tally.refused;
            report.steps.unknown += tally.unknown;
            report.steps.failed += tally.failed;
        }
        self.check(&store, &events, &mut report).await?;
        drop(observer);
        Ok(report)
    }

    async fn prepare(&mut self) -> Result<ConfigMapStore, String> {
        let process = self.client(false).start().await;
        let store = process.ok_or("the first process lives")?.store;
        let recording = self.record(store.clone());
        for workload in &self.workloads {
            let opened = workload.open(&recording).await;
            opened.map_err(|error| format!("the server is calm: {error}"))?;
        }
        Ok(store)
    }

    fn record(&self, store: ConfigMapStore) -> Recording {
        Recording::new(store, self.history.clone())
    }

    /// A process that watches from beginning to end.
    async fn observe(&mut self) -> Result<(ConfigMapStore, Arc<Mutex<Vec<WatchEvent>>>), String> {
        let process = self.client(false).start().await;
        let store = process.ok_or("the observer lives")?.store;
        let options = WatchOptions::default().with_start(WatchStart::Snapshot);
        let stream = store
            .watch(options)
            .await
            .map_err(|error| error.to_string())?;
        let events = Arc::<Mutex<Vec<WatchEvent>>>::default();
        let (told, mut stream) = (events.clone(), stream);
        tokio::spawn(async move {
            while let Some(Ok(event)) = stream.next().await {
                told.lock().expect("no panic").push(event);
            }
        });
        Ok((store, events))
    }

    /// One process after the other does some steps of every workload.
    async fn work(&self, mut client: Client) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut steps = 0;
        while steps < STEPS {
            let Some(process) = client.start().await else {
                steps += 1;
                continue;
            };
            let life = process.life.clone();
            let recording = self.record(process.store.clone());
            while steps < STEPS && !life.is_over() {
                steps += 1;
                let pause = client.random.random_range(0..20);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let both = self.step(&mut client, &process, &recording).await?;
                both.iter().flatten().for_each(|step| tally.add(step));
            }
            if steps < STEPS {
                life.ended().await;
            } else {
                // Flushes, merges and sweeps have their time, too.
                tokio::time::sleep(Duration::from_secs(45)).await;
            }
        }
        Ok(tally)
    }

    /// Two things at a time. `None`: the process died meanwhile.
    async fn step(
        &self,
        client: &mut Client,
        process: &Process,
        store: &Recording,
    ) -> Result<Option<[Step; 2]>, String> {
        let mut random = || StdRng::seed_from_u64(client.random.random());
        let (one, two) = (random(), random());
        let work =
            async { tokio::join!(self.act(process, store, one), self.act(process, store, two)) };
        let (one, two) = tokio::select! {
            biased;
            () = process.life.ended() => return Ok(None),
            steps = work => steps,
            back = store.goes_back() => return Err(back),
        };
        Ok(Some([one?, two?]))
    }

    async fn act(
        &self,
        process: &Process,
        store: &Recording,
        mut random: StdRng,
    ) -> Result<Step, String> {
        let choice = random.random_range(0..self.workloads.len() + 3);
        let step = match (
            self.workloads.get(choice),
            choice - self.workloads.len().min(choice),
        ) {
            (Some(workload), _) => workload.step(store, &mut random).await,
            (None, 0) => Ok(put_blob(store, &mut random).await),
            (None, 1) => self.turns.step(store).await,
            (None, _) => self.passing.step(&process.buckets, &mut random).await,
        };
        let step = step.map_err(|violation| violation.to_string())?;
        if let Step::Failed(error) | Step::Unknown(error) = &step
            && matches!(
                error,
                Error::Corrupt { .. } | Error::Foreign { .. } | Error::Backend { .. }
            )
        {
            return Err(format!("a bucket that nobody damaged: {error}"));
        }
        Ok(step)
    }

    /// What happens in a cluster, besides.
    async fn trouble(&self, mut random: StdRng) {
        for _ in 0..random.random_range(0..6) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
            match random.random_range(0..5) {
                0 => self.server.compact(),
                1 => self.server.cut_watches(),
                2 => self.server.skip_revisions(random.random_range(1..1_000)),
                3 => self.server.inject(late_answers(&mut random)),
                _ => {
                    let edited = self
                        .server
                        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, |object| {
                            object["metadata"]["labels"]["team"] = "blue".into();
                        });
                    let _ = edited;
                }
            }
        }
    }

    fn report(&self) -> Report {
        let requests = self.server.requests();
        let mut trace = XxHash3_64::new();
        for request in &requests {
            trace.write(format!("{request:?}").as_bytes());
        }
        trace.write_u64(self.server.revision());
        let failed = |code: Option<u16>| code.is_none_or(|code| code >= 400 && code != 404);
        let is_segment = |name: &Option<String>| name.is_none();
        let is_offer =
            |name: &Option<String>| name.as_ref().is_some_and(|name| name.contains(".offer-"));
        Report {
            trace: trace.finish(),
            requests: requests.len(),
            faults: requests
                .iter()
                .filter(|request| failed(request.code))
                .count(),
            segments: requests
                .iter()
                .filter(|request| request.verb == Verb::Create && is_segment(&request.name))
                .count(),
            offers: requests
                .iter()
                .filter(|request| request.verb == Verb::Update && is_offer(&request.name))
                .count(),
            deaths: self.deaths.lock().expect("no panic").clone(),
            ..Report::default()
        }
    }

    async fn check(
        &self,
        store: &ConfigMapStore,
        events: &Mutex<Vec<WatchEvent>>,
        report: &mut Report,
    ) -> Result<(), String> {
        for workload in &self.workloads {
            let checked = workload.check(store).await;
            checked.map_err(|failure| failure.to_string())?;
        }
        let known = all(store).await?;
        let mut fresh = Client {
            random: StdRng::seed_from_u64(1),
            ..self.fresh_client()
        };
        let opened = fresh.start().await.ok_or("it lives")?;
        self.passing.check(&opened.buckets, &self.server).await?;
        let opened = opened.store;
        if all(&opened).await? != known {
            return Err("a process that starts now reads something else".to_owned());
        }
        let events = events.lock().expect("no panic").clone();
        let history = self.history.lock().expect("no panic").clone();
        let start = kv_core::Revision::ZERO;
        let watched = watching::ordered(&events)
            .and_then(|()| watching::unique(&events))
            .and_then(|()| watching::atomic(&events, "", &history))
            .and_then(|()| watching::reliable(&events, "", start, &history))
            .and_then(|()| watching::bookmarkable(&events, "", start, &history));
        watched.map_err(|violation| format!("a watch: {violation}"))?;
        if watching::replay(&events) != known {
            return Err("what the watch told does not add up to what is there".to_owned());
        }
        report.told += watching::commits(&events).count();
        let snapshots = events.iter();
        report.lagged += snapshots
            .filter(|event| matches!(event, WatchEvent::Snapshot { .. }))
            .count()
            - 1;
        Ok(())
    }

    fn fresh_client(&self) -> Client {
        Client {
            server: self.server.clone(),
            parts: self.parts,
            bug: None,
            random: StdRng::seed_from_u64(0),
            may_die: false,
            deaths: Arc::default(),
        }
    }
}

/// Answers to writes that come so late that the watch has told of later commits of others before,
/// and so soon that the writer still waits for them.
fn late_answers(random: &mut StdRng) -> Fault {
    let delay = Duration::from_millis(random.random_range(50..1_000));
    Fault::late_answer(delay)
        .on(Verb::Update)
        .name(BUCKET)
        .times(random.random_range(1..8))
}

/// A put or a delete of something larger, so that there is something to flush and to merge.
async fn put_blob(store: &Recording, random: &mut StdRng) -> Step {
    let key = format!("blob/{}", random.random_range(0..8));
    let bytes = [40, 150, 400, 2_500][random.random_range(0..4)];
    let mut value = vec![0; bytes];
    rand::Rng::fill_bytes(random, &mut value);
    let done = if random.random_bool(0.3) {
        store.delete(&*key).await.map(drop)
    } else {
        store.put(&*key, value).await.map(drop)
    };
    match done {
        Ok(()) => Step::Done,
        Err(error) if error.outcome() == kv_core::Outcome::Unknown => Step::Unknown(error),
        Err(error) => Step::Failed(error),
    }
}

async fn all(store: &dyn KvStore) -> Result<Vec<Entry>, String> {
    store.list("").await.map_err(|error| error.to_string())
}
