//! The handle by which a test holds the server.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};

use crate::chaos::Chaos;
use crate::decode::decode;
use crate::fault::Fault;
use crate::kind::Kind;
use crate::log::RequestRecord;
use crate::registry::{Preconditions, Registry, Writer};
use crate::rights::Rights;
use crate::service::FakeService;
use crate::shared::{Shared, State};
use crate::status::bad_request;
use crate::store::{Key, Window};

/// A Kubernetes API server in the process, with Namespaces, ConfigMaps and Secrets.
///
/// A handle is cheap to clone, and all clones are the same server. It starts with the namespace
/// `default`. The [crate documentation](crate) says what is served and how faithfully.
///
/// # Example
///
/// ```
/// use kv_fake_apiserver::{FakeApiServer, Kind, Verb};
/// use serde_json::json;
///
/// let server = FakeApiServer::new();
/// server.edit(Kind::ConfigMap, "default", "settings", |object| {
///     object["data"] = json!({ "color": "blue" });
/// })?;
/// let stored = server.get(Kind::ConfigMap, "default", "settings").expect("just written");
/// assert_eq!(stored["data"]["color"], "blue");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FakeApiServer {
    shared: Arc<Shared>,
}

impl Default for FakeApiServer {
    fn default() -> FakeApiServer {
        FakeApiServer::new()
    }
}

impl FakeApiServer {
    /// Starts a server with a fixed seed.
    pub fn new() -> FakeApiServer {
        FakeApiServer::with_seed(0)
    }

    /// Starts a server whose uids, generated names and first version are drawn from a seed.
    ///
    /// The same requests to servers of the same seed give the same objects. Started inside of a
    /// runtime with paused time, also their timestamps are the same.
    pub fn with_seed(seed: u64) -> FakeApiServer {
        let server = FakeApiServer {
            shared: Arc::new(Shared::new(seed)),
        };
        server.create_namespace("default");
        server
    }

    /// A client with every right, whose default namespace is `default`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, like [`kube::Client::new`].
    pub fn client(&self) -> Client {
        self.client_in("default")
    }

    /// A client with every right, whose default namespace is the given one.
    ///
    /// The namespace is not created: see [`create_namespace`](FakeApiServer::create_namespace).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, like [`kube::Client::new`].
    pub fn client_in(&self, namespace: &str) -> Client {
        Client::new(self.service(), namespace)
    }

    /// A client that may do only what the rights say.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, like [`kube::Client::new`].
    pub fn client_with_rights(&self, namespace: &str, rights: Rights) -> Client {
        Client::new(
            FakeService::new(Arc::clone(&self.shared), Some(rights)),
            namespace,
        )
    }

    /// The server as a service, for clients with layers of their own.
    pub fn service(&self) -> FakeService {
        FakeService::new(Arc::clone(&self.shared), None)
    }

    /// Creates a namespace, unless it is there already.
    pub fn create_namespace(&self, name: &str) {
        let value = json!({ "metadata": { "name": name } });
        // The one refusal that a sensible name can meet is that the namespace exists.
        drop(self.write(|registry, writer| registry.create(writer, Kind::Namespace, "", value)));
    }

    fn write<T>(&self, work: impl FnOnce(&mut Registry, &Writer) -> T) -> T {
        let manager = "foreign".to_owned();
        let writer = Writer {
            manager,
            now: self.shared.clock.now(),
            dry_run: false,
        };
        self.shared.with(|state| work(&mut state.registry, &writer))
    }
}

/// Looking at the objects, and changing them as a foreign writer.
impl FakeApiServer {
    /// An object as it is now.
    ///
    /// For a kind without namespaces, the namespace is the empty string.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(kind, namespace, name);
        self.shared
            .lock()
            .registry
            .store
            .get(&key)
            .map(|object| object.to_full())
    }

    /// All ConfigMaps and Secrets of a namespace.
    pub fn objects(&self, namespace: &str) -> Vec<Value> {
        let state = self.shared.lock();
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_namespaced());
        let objects = kinds.flat_map(|kind| state.registry.store.list(kind, namespace));
        objects.map(|object| object.to_full()).collect()
    }

    /// The version of the newest change.
    pub fn revision(&self) -> u64 {
        self.shared.lock().registry.store.revision()
    }

    /// Changes an object behind the client's back, or creates it when it is missing.
    ///
    /// The closure gets the object, or only its name and namespace. The same rules hold as for a
    /// PUT: the version grows, watches hear of it, what breaks a rule is refused. A
    /// `metadata.resourceVersion` that the closure leaves alone always fits.
    ///
    /// # Errors
    ///
    /// The [`Status`] that a client would get.
    pub fn edit(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Box<Status>> {
        let key = Key::new(kind, namespace, name);
        self.write(|registry, writer| {
            let found = registry.store.get(&key).map(|object| object.to_full());
            let missing = found.is_none();
            let mut value = found.unwrap_or_else(|| json!({ "metadata": { "name": name } }));
            change(&mut value);
            let value = decode(kind, value).map_err(bad_request)?;
            let written = match missing {
                true => registry.create(writer, kind, namespace, value),
                false => registry.replace(writer, &key, value),
            };
            written.map(|object| object.to_full())
        })
    }

    /// Deletes an object behind the client's back.
    ///
    /// A namespace is only marked: see [`finish_namespaces`](FakeApiServer::finish_namespaces).
    ///
    /// # Errors
    ///
    /// The [`Status`] that a client would get, such as 404 for a missing object.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), Box<Status>> {
        let key = Key::new(kind, namespace, name);
        let delete = |registry: &mut Registry, writer: &Writer| {
            registry.delete(writer, &key, &Preconditions::default())
        };
        self.write(delete).map(drop)
    }

    /// Deletes the objects whose owners are gone, as the garbage collector of a cluster does at
    /// some time; tells how many.
    pub fn collect_garbage(&self) -> usize {
        self.write(Registry::collect_garbage)
    }

    /// Empties and removes the namespaces that are being deleted, as the namespace controller of a
    /// cluster does at some time.
    pub fn finish_namespaces(&self) {
        self.write(Registry::finish_namespaces);
    }

    /// Lets versions pass without a change, as writes to other resources do.
    pub fn skip_revisions(&self, count: u64) {
        self.shared
            .with(|state| state.registry.store.skip_revisions(count));
    }
}

/// Counting requests.
impl FakeApiServer {
    /// The requests since the start or the last reset, oldest first, at most the last 100,000.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.lock().log.records()
    }

    /// Forgets the requests so far.
    pub fn reset_requests(&self) {
        self.shared.lock().log.reset();
    }
}

/// Making things go wrong.
impl FakeApiServer {
    /// Lets a fault wait for its requests.
    pub fn inject(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    /// Lets each request meet, with some probability, a fault drawn from a seed.
    ///
    /// Some of them never answer: a client under chaos needs timeouts. The same requests in the
    /// same order meet the same faults.
    pub fn chaos(&self, seed: u64, probability: f64) {
        self.shared.lock().chaos = Some(Chaos::new(seed, probability));
    }

    /// Ends the chaos and takes back the faults that have not met their requests. What is already
    /// on its way, such as a zombie, stays so.
    pub fn calm(&self) {
        let mut state = self.shared.lock();
        state.faults.clear();
        state.chaos = None;
    }

    /// Whether every injected fault has met as many requests as it was meant to.
    pub fn faults_are_spent(&self) -> bool {
        self.shared.lock().faults.is_spent()
    }

    /// Breaks the connection of every open watch.
    pub fn cut_watches(&self) {
        self.shared.cut_watches();
    }

    /// Forgets the history: a watch from a version before now gets 410 Expired, and so does the
    /// next page of a listing.
    pub fn compact(&self) {
        self.shared.lock().registry.store.compact();
    }

    /// Sets how many changes, and about how many bytes of them, are kept as history.
    pub fn set_history(&self, changes: usize, bytes: usize) {
        self.shared
            .lock()
            .registry
            .store
            .set_window(Window { changes, bytes });
    }

    /// Sets how many events may wait for a watch before the server closes it for slowness.
    pub fn set_watch_backlog(&self, events: usize) {
        self.with_state(|state| state.watch_backlog = events);
    }

    /// Makes each request take so long, in tokio's time, before it is carried out.
    pub fn set_latency(&self, latency: Duration) {
        self.with_state(|state| state.latency = latency);
    }

    fn with_state(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
    }
}
