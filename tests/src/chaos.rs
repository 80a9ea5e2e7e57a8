//! What the chaos test and its client processes agree on: where the bucket is, what is done to it,
//! and where the journals are.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use kv_configmap::{Buckets, Bug, Simulation};
use kv_conformance::history::Recorder;
use kv_conformance::journal::{Journal, machine_nanos};
use kv_conformance::workload::{Accounts, Bank, Counter, Registers, Set, Workload};
use kv_core::Key;
use serde::{Deserialize, Serialize};

use crate::place::config_of;

/// What the keys of the set begin with.
pub const SET: &str = "set/";

/// What the keys of the registers begin with.
pub const REGISTERS: &str = "register/";

/// How many histories the clients make side by side, each on registers of its own. A head is
/// written a few dozen times a second; many calls a second need many callers.
pub const HISTORIES: usize = 4;

/// Enough that the check of a long history takes no time.
const REGISTER_KEYS: usize = 12;

/// How many callers each process has for each history.
const CALLERS: usize = 5;

/// What a client process is told to do: its first argument, in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The API server as it really is.
    pub kubeconfig: PathBuf,
    /// The port of the proxy in front of it.
    pub port: u16,
    /// Where the bucket is.
    pub namespace: String,
    /// The bucket.
    pub bucket: String,
    /// How large its parts are.
    pub parts: Parts,
    /// How long a call waits.
    pub deadline: Duration,
    /// A number that no other client process has.
    pub client: u64,
    /// Chance decides what it does.
    pub seed: u64,
    /// Where it leaves its journals.
    pub folder: PathBuf,
    /// The name of a bug to plant.
    pub bug: Option<String>,
}

/// How large the parts of a bucket are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parts {
    /// So small that everything is flushed and merged all the time.
    Tiny,
    /// As applications have them.
    Default,
    /// All in one object.
    Single,
}

impl Parts {
    /// Buckets of that kind, that write as fast as they can.
    #[must_use]
    pub fn buckets(self, client: Client, namespace: &str) -> Buckets {
        let buckets = Buckets::config_maps(client, namespace).without_write_budget();
        match self {
            Self::Tiny => buckets.with_tiny_parts(),
            Self::Default => buckets,
            Self::Single => buckets.in_single_objects(),
        }
    }
}

impl Orders {
    /// The buckets of this client, behind the proxy.
    pub async fn buckets(&self) -> Buckets {
        let client = client_through(&self.kubeconfig, self.port).await;
        let buckets = self.parts.buckets(client, &self.namespace);
        let buckets = buckets.with_deadline(self.deadline);
        match self.bug() {
            Some(bug) => buckets.in_simulation(Simulation::new(self.seed, Some(bug), |_| false)),
            None => buckets,
        }
    }

    fn bug(&self) -> Option<Bug> {
        let name = self.bug.as_ref()?;
        let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == *name);
        Some(bug.expect("there is such a bug"))
    }

    /// The workloads, each with the number of tasks that work on it and a journal of its own.
    ///
    /// # Panics
    ///
    /// Where a journal cannot be made.
    #[must_use]
    pub fn workloads(&self) -> Vec<(Arc<dyn Workload>, usize)> {
        let bank = Bank::among_others(accounts(), self.journal(Noted::Bank));
        let set = Set::among_others(SET, self.journal(Noted::Set));
        let counter = Counter::among_others(counter(), self.journal(Noted::Counter));
        let mut all: Vec<(Arc<dyn Workload>, usize)> = vec![
            (Arc::new(bank), 2),
            (Arc::new(set), 1),
            (Arc::new(counter), 1),
        ];
        for history in 0..HISTORIES {
            let recorder = Recorder::new(self.journal(Noted::History(history)));
            let prefix = format!("{REGISTERS}{history}/");
            let registers = Registers::among_others(&prefix, REGISTER_KEYS, recorder);
            all.push((Arc::new(registers), CALLERS));
        }
        all
    }

    fn journal<B: Serialize, E: Serialize>(&self, noted: Noted) -> Journal<B, E> {
        let path = self.folder.join(noted.file_of(self.client));
        let file = File::create_new(path).expect("a journal of its own");
        Journal::of_client(self.client, machine_nanos).with_file(file)
    }
}

/// What a journal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Transfers between accounts.
    Bank,
    /// Elements of the set.
    Set,
    /// Additions to the counter.
    Counter,
    /// Calls on the registers of one history.
    History(usize),
}

impl Noted {
    fn file_of(self, client: u64) -> String {
        format!("{self}-{client}.jsonl")
    }

    /// The journals of all clients.
    ///
    /// # Panics
    ///
    /// Where the folder cannot be read.
    #[must_use]
    pub fn files_in(self, folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("the folder of the journals");
        let begin = format!("{self}-");
        let names = entries.map(|entry| entry.expect("the name of a journal").path());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&begin))
        };
        names.filter(is_ours).collect()
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bank => f.write_str("bank"),
            Self::Set => f.write_str("set"),
            Self::Counter => f.write_str("counter"),
            Self::History(number) => write!(f, "history-{number}"),
        }
    }
}

/// The bank.
#[must_use]
pub fn accounts() -> Accounts {
    Accounts::new("bank/", 10, 100)
}

/// The key of the counter.
///
/// # Panics
///
/// Never: it is a key.
#[must_use]
pub fn counter() -> Key {
    Key::new("counter").expect("a key")
}

/// A client that goes straight to the API server.
///
/// # Panics
///
/// Where the kubeconfig is of no use.
pub async fn client_to(kubeconfig: &Path) -> Client {
    Client::try_from(config_of(kubeconfig, None).await).expect("a client")
}

/// A client that goes by a proxy on a port of this machine.
///
/// # Panics
///
/// Where the kubeconfig is of no use.
pub async fn client_through(kubeconfig: &Path, port: u16) -> Client {
    let mut config: Config = config_of(kubeconfig, None).await;
    let host = config.cluster_url.host().expect("a host").to_owned();
    // The certificate is that of the server.
    config.tls_server_name.get_or_insert(host);
    let url = format!("https://127.0.0.1:{port}");
    config.cluster_url = url.parse().expect("a URL");
    Client::try_from(config).expect("a client")
}
