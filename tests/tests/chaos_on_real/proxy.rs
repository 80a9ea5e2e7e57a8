//! A TCP proxy in front of the API server. It can't look into what it carries, but it knows who
//! asks and who answers, and can therefore lose either.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How many requests meet a fault.
const FAULTS: f64 = 0.015;
/// How many pieces of an answer, or of a watch, that goes on break off.
const BREAKS: f64 = 0.002;
/// No fault holds a request back for longer.
const LONGEST: Duration = Duration::from_secs(12);

/// What happens to one request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    DelayRequest,
    DelayAnswer,
    /// As long as nobody waits for an answer.
    HoldRequest,
    /// The connection breaks, and the request arrives nevertheless, later.
    LateRequest,
    CutBeforeRequest,
    ResetBeforeRequest,
    CutInRequest,
    /// While the server works on it.
    CutAfterRequest,
    CutBeforeAnswer,
    ResetBeforeAnswer,
    CutInAnswer,
}

impl Fault {
    const ALL: [Self; 11] = [
        Self::DelayRequest,
        Self::DelayAnswer,
        Self::HoldRequest,
        Self::LateRequest,
        Self::CutBeforeRequest,
        Self::ResetBeforeRequest,
        Self::CutInRequest,
        Self::CutAfterRequest,
        Self::CutBeforeAnswer,
        Self::ResetBeforeAnswer,
        Self::CutInAnswer,
    ];
}

/// The proxy, which ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    random: Mutex<StdRng>,
    is_calm: AtomicBool,
    /// Requests that are held back and will still be sent.
    held: AtomicUsize,
    cut: watch::Sender<u64>,
    faults: Mutex<BTreeMap<String, u64>>,
}

impl Proxy {
    /// How many kinds of faults there are.
    pub(crate) const KINDS: usize = Fault::ALL.len();

    /// A proxy without faults, at first.
    pub(crate) async fn start(server: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            server,
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            is_calm: AtomicBool::new(true),
            held: AtomicUsize::new(0),
            cut: watch::Sender::new(0),
            faults: Mutex::default(),
        });
        let of_task = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(of_task.clone(), client));
            }
        });
        Self {
            port,
            shared,
            accepting,
        }
    }

    /// From now on requests go wrong.
    pub(crate) fn be_wild(&self) {
        self.shared.is_calm.store(false, Ordering::SeqCst);
    }

    /// From now on nothing goes wrong. Waits until what was held back has arrived.
    pub(crate) async fn be_calm(&self) {
        self.shared.is_calm.store(true, Ordering::SeqCst);
        while self.shared.held.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Resets all connections.
    pub(crate) fn cut_all(&self) {
        self.shared.cut.send_modify(|cuts| *cuts += 1);
    }

    /// How often each fault happened.
    pub(crate) fn faults(&self) -> BTreeMap<String, u64> {
        self.shared.faults.lock().expect("no panic").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all();
    }
}

impl Shared {
    fn draw(&self) -> Option<Fault> {
        if !self.goes_wrong(FAULTS) {
            return None;
        }
        let number = self.random().random_range(0..Fault::ALL.len());
        self.count(&format!("{:?}", Fault::ALL[number]));
        Some(Fault::ALL[number])
    }

    /// Whether an answer that was begun breaks off.
    fn breaks(&self) -> bool {
        let breaks = self.goes_wrong(BREAKS);
        if breaks {
            self.count("BreakInStream");
        }
        breaks
    }

    fn goes_wrong(&self, probability: f64) -> bool {
        !self.is_calm.load(Ordering::SeqCst) && self.random().random_bool(probability)
    }

    fn random(&self) -> MutexGuard<'_, StdRng> {
        self.random.lock().expect("no panic")
    }

    fn count(&self, what: &str) {
        let mut faults = self.faults.lock().expect("no panic");
        *faults.entry(what.to_owned()).or_default() += 1;
    }

    fn moment(&self) -> Duration {
        Duration::from_millis(self.random().random_range(1..300))
    }

    fn long_time(&self) -> Duration {
        let shortest = Duration::from_secs(1);
        self.random().random_range(shortest..LONGEST)
    }
}

/// Whether the connection goes on.
enum Then {
    GoOn,
    Close,
    Reset,
}

/// A connection of a client, and the one to the server that belongs to it.
struct Connection {
    shared: Arc<Shared>,
    client: TcpStream,
    server: TcpStream,
    /// The fault of the request that is under way.
    fault: Option<Fault>,
    /// Whether the client spoke last.
    is_asking: bool,
}

async fn carry(shared: Arc<Shared>, client: TcpStream) {
    let mut cut = shared.cut.subscribe();
    let Ok(server) = TcpStream::connect(shared.server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut connection = Connection {
        shared,
        client,
        server,
        fault: None,
        is_asking: false,
    };
    let is_reset = tokio::select! {
        then = connection.run() => matches!(then, Then::Reset),
        _ = cut.changed() => true,
    };
    if is_reset {
        let _ = connection.client.set_zero_linger();
        let _ = connection.server.set_zero_linger();
    }
}

impl Connection {
    async fn run(&mut self) -> Then {
        let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            let then = tokio::select! {
                read = self.client.read(&mut request) => match read {
                    Ok(0) | Err(_) => return Then::Close,
                    Ok(length) => self.ask(&request[..length]).await,
                },
                read = self.server.read(&mut answer) => match read {
                    Ok(0) | Err(_) => return Then::Close,
                    Ok(length) => self.answer(&answer[..length]).await,
                },
            };
            if !matches!(then, Then::GoOn) {
                return then;
            }
        }
    }

    async fn ask(&mut self, request: &[u8]) -> Then {
        let is_first = !self.is_asking;
        if is_first {
            self.is_asking = true;
            self.fault = self.shared.draw();
        }
        match self.fault.filter(|_| is_first) {
            Some(Fault::CutBeforeRequest) => return Then::Close,
            Some(Fault::ResetBeforeRequest) => return Then::Reset,
            Some(Fault::CutInRequest) => {
                let _ = self.server.write_all(&request[..request.len() / 2]).await;
                return Then::Close;
            }
            Some(Fault::CutAfterRequest) => {
                let _ = self.server.write_all(request).await;
                return Then::Close;
            }
            Some(Fault::LateRequest) => return self.send_late(request).await,
            Some(Fault::HoldRequest) => self.hold().await,
            Some(Fault::DelayRequest) => tokio::time::sleep(self.shared.moment()).await,
            _ => {}
        }
        goes_on(self.server.write_all(request).await)
    }

    async fn answer(&mut self, answer: &[u8]) -> Then {
        let fault = self.fault.take();
        if !std::mem::take(&mut self.is_asking) && self.shared.breaks() {
            let _ = self.client.write_all(&answer[..answer.len() / 2]).await;
            return Then::Reset;
        }
        match fault {
            Some(Fault::CutBeforeAnswer) => return Then::Close,
            Some(Fault::ResetBeforeAnswer) => return Then::Reset,
            Some(Fault::CutInAnswer) => {
                let _ = self.client.write_all(&answer[..answer.len() / 2]).await;
                return Then::Close;
            }
            Some(Fault::DelayAnswer) => tokio::time::sleep(self.shared.moment()).await,
            _ => {}
        }
        goes_on(self.client.write_all(answer).await)
    }

    /// The client may give up meanwhile; the request is sent all the same.
    async fn hold(&self) {
        let _held = Held::new(&self.shared);
        tokio::time::sleep(self.shared.long_time()).await;
    }

    async fn send_late(&mut self, request: &[u8]) -> Then {
        let _held = Held::new(&self.shared);
        let _ = self.client.shutdown().await;
        let is_soon = self.shared.random().random_bool(0.5);
        let late = match is_soon {
            true => self.shared.moment(),
            false => self.shared.long_time(),
        };
        tokio::time::sleep(late).await;
        let _ = self.server.write_all(request).await;
        // A server that is hung up on may drop what it has begun.
        let mut answer = [0; 1024];
        let _ = tokio::time::timeout(LONGEST, self.server.read(&mut answer)).await;
        Then::Close
    }
}

fn goes_on(written: std::io::Result<()>) -> Then {
    written.map_or(Then::Close, |()| Then::GoOn)
}

/// A request that is held back.
struct Held(Arc<Shared>);

impl Held {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.held.fetch_add(1, Ordering::SeqCst);
        Self(shared.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }
}
