//! One round: a bucket, client processes that work on it, everything that happens meanwhile, and
//! the verdict.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kube::Client;
use kv_configmap::{Buckets, Bug};
use kv_conformance::journal::Journal;
use kv_conformance::workload::{Bank, Workload};
use kv_core::{KvStore, ListOptions, OpenMode};
use kv_tests::chaos::{Orders, Parts, accounts, client_through, client_to};

use crate::crew::Crew;
use crate::figures::Figures;
use crate::foreign::Others;
use crate::observer::Observer;
use crate::trouble::{self, Signals};
use crate::verdict::{self, Counts};
use crate::world::World;

const CLIENTS: usize = 3;

/// What happens to servers at least, so that two rounds have all that can.
const FAULTS: u64 = 3;

/// Less calls a second on a bucket say nothing: hardly any are at the same time. The histories of a
/// bucket count together, since they compete for one head; a second without a server does not.
const CALLS_PER_SECOND: f64 = 100.0;

/// What a round is about.
pub(crate) struct Plan {
    pub(crate) bucket: String,
    pub(crate) parts: Parts,
    pub(crate) bug: Option<Bug>,
    /// How many calls each of its histories has, at least.
    pub(crate) calls: u64,
}

impl World {
    /// Runs a round. The error is a promise that was broken. The journals are left in the folder.
    pub(crate) async fn run(&mut self, plan: &Plan, folder: &Path) -> Result<Figures, String> {
        let kubeconfig = self.servers.kubeconfig();
        let direct = client_to(&kubeconfig).await;
        let buckets = plan.parts.buckets(direct.clone(), &self.namespace);
        prepare(&buckets, plan).await;
        let mut others = Others::settle(direct.clone(), &self.namespace, &plan.bucket).await;
        let observer = self.observe(plan).await;
        let orders = self.orders(plan, folder);
        let mut random = self.fork();
        let crew = Crew::start(orders, CLIENTS, &mut random);

        let begun = Instant::now();
        let figures = self.trouble(plan, folder, crew, &mut others).await;
        let time = begun.elapsed();
        self.proxy.be_calm().await;
        let mut figures = figures?;
        figures.time = time;

        let (counts, told) = self.judge(plan, folder, direct, observer).await?;
        figures.counts = counts;
        figures.told = told;
        others.check().await?;
        check_bucket(&buckets, plan).await?;
        says_something(&figures, plan)?;
        Ok(figures)
    }

    fn orders(&self, plan: &Plan, folder: &Path) -> Orders {
        Orders {
            kubeconfig: self.servers.kubeconfig(),
            port: self.proxy.port,
            namespace: self.namespace.clone(),
            bucket: plan.bucket.clone(),
            parts: plan.parts,
            deadline: Duration::ZERO,
            client: 0,
            seed: 0,
            folder: folder.to_owned(),
            bug: plan.bug.map(|bug| format!("{bug:?}")),
        }
    }

    async fn observe(&self, plan: &Plan) -> Observer {
        let client = client_through(&self.servers.kubeconfig(), self.proxy.port).await;
        let buckets = plan.parts.buckets(client, &self.namespace);
        let store = buckets.open(&plan.bucket, OpenMode::Open).await;
        Observer::start(store.expect("all is calm")).await
    }

    /// Makes trouble until the history is long enough, and lets the clients end.
    async fn trouble(
        &mut self,
        plan: &Plan,
        folder: &Path,
        mut crew: Crew,
        others: &mut Others,
    ) -> Result<Figures, String> {
        let signals = Signals::default();
        let (of_clients, of_servers, of_others) = (self.fork(), self.fork(), self.fork());
        let Self {
            servers,
            proxy,
            deck,
            ..
        } = self;
        proxy.be_wild();
        let (clients, done, (), ()) = tokio::join!(
            async { signals.end(trouble::of_clients(&mut crew, of_clients, &signals).await) },
            async {
                signals.end(trouble::of_servers(servers, proxy, deck, of_servers, &signals).await)
            },
            trouble::of_others(others, of_others, &signals),
            until_done(plan, folder, &signals),
        );
        let (servers, outage) = done?;
        let figures = Figures {
            outage,
            servers,
            killed: crew.killed,
            paused: crew.paused,
            edits: others.edits,
            ..Figures::default()
        };
        clients?;
        crew.dismiss().await?;
        Ok(figures)
    }

    /// Reads the bucket as one does who comes later, and holds everything against that.
    async fn judge(
        &self,
        plan: &Plan,
        folder: &Path,
        direct: Client,
        observer: Observer,
    ) -> Result<(Counts, usize), String> {
        let buckets = plan.parts.buckets(direct, &self.namespace);
        let fresh = buckets.open(&plan.bucket, OpenMode::Open).await;
        let fresh = fresh.map_err(|error| error.to_string())?;
        let listing = fresh.list_opts(ListOptions::default()).await;
        let listing = listing.map_err(|error| error.to_string())?;
        let counts = verdict::judge(folder, &listing.entries)?;
        let told = observer.check(listing.revision, &listing.entries).await?;
        Ok((counts, told))
    }
}

async fn prepare(buckets: &Buckets, plan: &Plan) {
    let store = buckets.open(&plan.bucket, OpenMode::Create).await;
    let store = store.expect("all is calm");
    let bank = Bank::among_others(accounts(), Journal::new());
    bank.open(&store).await.expect("all is calm");
}

async fn until_done(plan: &Plan, folder: &Path, signals: &Signals) {
    // Calls that failed for sure are not part of a history.
    let enough = || {
        signals.server_faults.load(Ordering::SeqCst) >= FAULTS
            && verdict::shortest_history(folder) >= plan.calls + plan.calls / 20
    };
    while !signals.is_over() && !enough() {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    signals.end(());
}

/// Nothing of the bucket is damaged, and it can be removed.
async fn check_bucket(buckets: &Buckets, plan: &Plan) -> Result<(), String> {
    let report = buckets.check(&plan.bucket).await;
    let report = report.map_err(|error| error.to_string())?;
    if !report.is_sound() {
        return Err(format!("the bucket is damaged: {report:?}"));
    }
    let torn_down = buckets.teardown(&plan.bucket).await;
    torn_down.map_err(|error| error.to_string())
}

fn says_something(figures: &Figures, plan: &Plan) -> Result<(), String> {
    if figures.pace() < CALLS_PER_SECOND || figures.counts.shortest < plan.calls {
        return Err(format!("the histories say nothing: {figures}"));
    }
    Ok(())
}
