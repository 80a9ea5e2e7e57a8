//! A process that uses the store, and that can die at every step of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::Body;
use kv_configmap::{Buckets, Bug, ConfigMapStore, CrashPoint, Simulation};
use kv_core::OpenMode;
use kv_fake_apiserver::{BoxError, FakeApiServer, FakeService, ResponseBody};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tower::Service;

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const BUCKET: &str = "bucket";

/// How large the parts of the bucket are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parts {
    Tiny,
    Default,
    Single,
}

/// Whether a process lives, and where it is to die.
#[derive(Debug)]
pub(crate) struct Life {
    over: AtomicBool,
    ended: Notify,
    /// The step, and how often it is reached before.
    death: Mutex<Option<(CrashPoint, u32)>>,
    reached: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Life {
    fn new(death: Option<(CrashPoint, u32)>, reached: Arc<Mutex<BTreeMap<String, u32>>>) -> Self {
        Self {
            over: AtomicBool::new(false),
            ended: Notify::new(),
            death: Mutex::new(death),
            reached,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        let ended = self.ended.notified();
        if !self.is_over() {
            ended.await;
        }
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.ended.notify_waiters();
    }

    fn dies_at(&self, point: CrashPoint) -> bool {
        let mut death = self.death.lock().expect("no panic");
        if let Some((at, before)) = death.as_mut().filter(|(at, _)| *at == point) {
            if *before > 0 {
                *before -= 1;
            } else {
                *self
                    .reached
                    .lock()
                    .expect("no panic")
                    .entry(format!("{at:?}"))
                    .or_default() += 1;
                *death = None;
                self.end();
            }
        }
        self.is_over()
    }
}

/// The way to the server of a process that may be dead: then nothing is sent or received.
#[derive(Clone)]
struct Mortal {
    service: FakeService,
    life: Arc<Life>,
}

impl Service<Request<Body>> for Mortal {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut service, life) = (self.service.clone(), self.life.clone());
        Box::pin(async move {
            if life.is_over() {
                std::future::pending::<()>().await;
            }
            let answer = service.call(request).await;
            if life.is_over() {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

/// A process that has opened the bucket.
pub(crate) struct Process {
    pub(crate) life: Arc<Life>,
    pub(crate) buckets: Buckets,
    pub(crate) store: ConfigMapStore,
}

/// One process after the other, in the same place.
pub(crate) struct Client {
    pub(crate) server: FakeApiServer,
    pub(crate) parts: Parts,
    pub(crate) bug: Option<Bug>,
    pub(crate) random: StdRng,
    pub(crate) may_die: bool,
    pub(crate) deaths: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Client {
    /// Starts a process and opens the bucket. `None`: it has died before.
    pub(crate) async fn start(&mut self) -> Option<Process> {
        let death = self.may_die.then(|| {
            let point = CrashPoint::ALL[self.random.random_range(0..CrashPoint::ALL.len())];
            (point, self.random.random_range(0..4))
        });
        let life = Arc::new(Life::new(death, self.deaths.clone()));
        let mortal = Mortal {
            service: self.server.service(),
            life: life.clone(),
        };
        let client = kube::Client::new(mortal, NAMESPACE);
        let of_hook = life.clone();
        let simulation = Simulation::new(self.random.random(), self.bug, move |point| {
            of_hook.dies_at(point)
        });
        let buckets = Buckets::config_maps(client, NAMESPACE)
            .with_deadline(Duration::from_secs(5))
            .without_write_budget()
            .in_simulation(simulation);
        let buckets = match self.random.random() {
            true => buckets,
            // It is short all the time, and nobody ever waits.
            false => buckets.with_write_budget(u64::MAX, 0),
        };
        let buckets = match self.parts {
            Parts::Tiny => buckets.with_tiny_parts(),
            Parts::Default => buckets,
            Parts::Single => buckets.in_single_objects(),
        };
        let open = async {
            loop {
                match buckets.open(BUCKET, OpenMode::OpenOrCreate).await {
                    Ok(store) => return store,
                    Err(error) => assert!(
                        error.is_retryable() || matches!(error, kv_core::Error::Forbidden { .. }),
                        "the bucket opens: {error}"
                    ),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            biased;
            () = life.ended() => None,
            store = open => Some(Process {
                life: life.clone(),
                buckets: buckets.clone(),
                store,
            }),
        }
    }
}
