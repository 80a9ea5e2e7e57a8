//! Things that go wrong on purpose.

use std::time::Duration;

use crate::canned::Canned;
use crate::kind::Kind;
use crate::request::ApiRequest;
use crate::verb::Verb;

/// Whether, and when, the request is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Never,
    AtOnce,
    Later(Duration),
}

/// What the client gets to see.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The connection was refused: nothing was sent.
    Refused,
    /// The connection broke after the request was sent.
    Reset,
    /// Nothing, for ever.
    Silence,
    /// The true answer, late.
    Late(Duration),
    /// The true answer, cut in the middle of its body.
    Truncated,
    /// Another answer.
    Canned(Canned),
    /// The true stream of a watch, disturbed.
    Watch(WatchFault),
}

/// How the stream of a watch is disturbed, after a number of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchFault {
    pub(crate) after: u64,
    pub(crate) kind: WatchFaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchFaultKind {
    /// The connection breaks.
    Cut,
    /// The server ends the stream in good order, as it does with slow clients.
    Closed,
    /// Nothing comes any more, and the stream stays open.
    Stalled,
    /// Each event comes twice.
    Duplicated,
    /// The server says 410 in the stream.
    Expired,
}

/// One thing that goes wrong, and for which requests.
///
/// A constructor says what happens; the builder methods narrow down which requests it meets.
/// Without them it meets the next request of any verb, and only that one. Watch faults meet the
/// next watch. Faults are tried in the order in which they were injected, and one request meets at
/// most one of them.
///
/// # How the client sees broken connections
///
/// A [`kube::Client`] reports them as [`kube::Error::Service`]. The fake puts a
/// [`std::io::Error`] in there: of the kind [`ConnectionRefused`] when nothing was sent, and of the
/// kind [`ConnectionReset`] when the request was sent and its outcome is unknown. The real stack
/// has a `hyper_util::client::legacy::Error` in the same place, which tells the two apart with
/// `is_connect()` and can't be made outside of its crate.
///
/// [`ConnectionRefused`]: std::io::ErrorKind::ConnectionRefused
/// [`ConnectionReset`]: std::io::ErrorKind::ConnectionReset
///
/// # Example
///
/// ```
/// use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
///
/// let server = FakeApiServer::new();
/// // The second update of `counter` is carried out, but its answer gets lost.
/// server.inject(
///     Fault::reset_after_apply().on(Verb::Update).kind(Kind::ConfigMap).name("counter").skip(1),
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) applied: Applied,
    pub(crate) answer: Answer,
    verbs: Vec<Verb>,
    kind: Option<Kind>,
    namespace: Option<String>,
    name: Option<String>,
    skip: u64,
    times: u64,
}

impl Fault {
    fn new(applied: Applied, answer: Answer) -> Fault {
        Fault {
            applied,
            answer,
            verbs: Vec::new(),
            kind: None,
            namespace: None,
            name: None,
            skip: 0,
            times: 1,
        }
    }

    fn canned(canned: Canned) -> Fault {
        Fault::new(Applied::Never, Answer::Canned(canned))
    }

    fn watch(after: u64, kind: WatchFaultKind) -> Fault {
        let fault = Fault::new(Applied::AtOnce, Answer::Watch(WatchFault { after, kind }));
        fault.on(Verb::Watch)
    }

    /// Nobody listens: an I/O error of the kind `ConnectionRefused`, not carried out.
    pub fn refuse_connection() -> Fault {
        Fault::new(Applied::Never, Answer::Refused)
    }

    /// The connection breaks before the request is carried out.
    pub fn reset_before_apply() -> Fault {
        Fault::new(Applied::Never, Answer::Reset)
    }

    /// The request is carried out, then the connection breaks: the answer is lost.
    pub fn reset_after_apply() -> Fault {
        Fault::new(Applied::AtOnce, Answer::Reset)
    }

    /// The request is carried out; the answer breaks off in the middle of its body.
    pub fn truncated_body() -> Fault {
        Fault::new(Applied::AtOnce, Answer::Truncated)
    }

    /// The request is carried out at once; the answer takes a while.
    pub fn late_answer(delay: Duration) -> Fault {
        Fault::new(Applied::AtOnce, Answer::Late(delay))
    }

    /// The request is carried out; no answer ever comes.
    pub fn answer_never() -> Fault {
        Fault::new(Applied::AtOnce, Answer::Silence)
    }

    /// The request is never carried out, and no answer ever comes.
    pub fn hang() -> Fault {
        Fault::new(Applied::Never, Answer::Silence)
    }

    /// No answer ever comes, and after a while, when the client has long given up, the request is
    /// carried out.
    pub fn zombie(delay: Duration) -> Fault {
        Fault::new(Applied::Later(delay), Answer::Silence)
    }

    /// 409 Conflict, as if another writer had been faster.
    pub fn conflict() -> Fault {
        Fault::canned(Canned::Conflict)
    }

    /// 410 Expired.
    pub fn gone() -> Fault {
        Fault::canned(Canned::Gone)
    }

    /// 429 with a Status and `Retry-After`.
    pub fn too_many_requests(retry_after_seconds: u32) -> Fault {
        Fault::canned(Canned::TooManyRequests(retry_after_seconds))
    }

    /// 429 with a plain text and `Retry-After: 1`, as priority and fairness sends it.
    pub fn too_many_requests_text() -> Fault {
        Fault::canned(Canned::TooManyRequestsText)
    }

    /// 500 with an empty reason: etcd did not answer in time.
    pub fn etcd_timeout() -> Fault {
        Fault::canned(Canned::EtcdTimeout)
    }

    /// 500 "mvcc: database space exceeded": etcd's disk quota is used up.
    pub fn etcd_full() -> Fault {
        Fault::canned(Canned::EtcdFull)
    }

    /// 502 with an HTML body, as a load balancer sends it.
    pub fn bad_gateway() -> Fault {
        Fault::canned(Canned::BadGateway)
    }

    /// A proxy answers with a page, and says that all is well; not carried out.
    pub fn login_page() -> Fault {
        Fault::canned(Canned::LoginPage)
    }

    /// 503 with a Status: the server shuts down and has not looked at the request.
    pub fn shutting_down() -> Fault {
        Fault::canned(Canned::ShuttingDown)
    }

    /// 503 with a plain text, as a proxy sends it.
    pub fn unavailable_text() -> Fault {
        Fault::canned(Canned::UnavailableText)
    }

    /// 504 Timeout; combine with [`applied_later`](Fault::applied_later) for the request that the
    /// server goes on working on.
    pub fn gateway_timeout() -> Fault {
        Fault::canned(Canned::GatewayTimeout)
    }

    /// 403 Forbidden, as without the right to do so.
    pub fn forbidden() -> Fault {
        Fault::canned(Canned::Forbidden)
    }

    /// 403 Forbidden: a ResourceQuota is used up.
    pub fn quota_exceeded() -> Fault {
        Fault::canned(Canned::QuotaExceeded)
    }

    /// The connection of a watch breaks after some events.
    pub fn watch_cut(after_events: u64) -> Fault {
        Fault::watch(after_events, WatchFaultKind::Cut)
    }

    /// The server ends a watch in good order after some events.
    pub fn watch_closed(after_events: u64) -> Fault {
        Fault::watch(after_events, WatchFaultKind::Closed)
    }

    /// A watch stays open after some events, but nothing comes any more.
    pub fn watch_stalled(after_events: u64) -> Fault {
        Fault::watch(after_events, WatchFaultKind::Stalled)
    }

    /// After some events a watch delivers each one twice.
    pub fn watch_duplicated(after_events: u64) -> Fault {
        Fault::watch(after_events, WatchFaultKind::Duplicated)
    }

    /// A watch says 410 Expired in its stream after some events, and ends.
    pub fn watch_expired(after_events: u64) -> Fault {
        Fault::watch(after_events, WatchFaultKind::Expired)
    }

    /// Meets only this verb, or these when called several times.
    pub fn on(mut self, verb: Verb) -> Fault {
        self.verbs.push(verb);
        self
    }

    /// Meets only requests that change something.
    pub fn on_writes(mut self) -> Fault {
        self.verbs
            .extend(Verb::ALL.into_iter().filter(|verb| verb.is_write()));
        self
    }

    /// Meets only objects of this kind.
    pub fn kind(mut self, kind: Kind) -> Fault {
        self.kind = Some(kind);
        self
    }

    /// Meets only this namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Fault {
        self.namespace = Some(namespace.into());
        self
    }

    /// Meets only the object of this name; of a create, the name in its body counts.
    pub fn name(mut self, name: impl Into<String>) -> Fault {
        self.name = Some(name.into());
        self
    }

    /// Lets some matching requests pass first.
    pub fn skip(mut self, count: u64) -> Fault {
        self.skip = count;
        self
    }

    /// Meets that many requests, then is spent.
    pub fn times(mut self, count: u64) -> Fault {
        self.times = count;
        self
    }

    /// Meets every matching request until [`calm`](crate::FakeApiServer::calm).
    pub fn always(self) -> Fault {
        self.times(u64::MAX)
    }

    /// Carries the request out, whatever the answer says.
    pub fn applied(mut self) -> Fault {
        self.applied = Applied::AtOnce;
        self
    }

    /// Carries the request out after a while, whatever the answer says.
    pub fn applied_later(mut self, delay: Duration) -> Fault {
        self.applied = Applied::Later(delay);
        self
    }

    fn matches(&self, request: &ApiRequest) -> bool {
        let name = || match request.verb {
            Verb::Create => request.body_name(),
            _ => request.name.clone(),
        };
        (self.verbs.is_empty() || self.verbs.contains(&request.verb))
            && self.kind.is_none_or(|kind| kind == request.kind)
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == request.namespace())
            && self
                .name
                .as_ref()
                .is_none_or(|wanted| name().as_ref() == Some(wanted))
    }

    /// Counts a matching request, and tells whether the fault meets it.
    fn strikes(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let strikes = self.times > 0;
        self.times = self.times.saturating_sub(u64::from(self.times != u64::MAX));
        strikes
    }
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    faults: Vec<Fault>,
}

impl FaultPlan {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.faults.clear();
    }

    /// Whether every injected fault has met its requests.
    pub(crate) fn is_spent(&self) -> bool {
        self.faults.is_empty()
    }

    /// The fault that meets a request, if any.
    pub(crate) fn pick(&mut self, request: &ApiRequest) -> Option<Fault> {
        let matching = self
            .faults
            .iter_mut()
            .filter(|fault| fault.matches(request));
        let found = matching
            .map(|fault| (fault.strikes(), fault.clone()))
            .find(|(strikes, _)| *strikes);
        self.faults.retain(|fault| fault.times > 0);
        found.map(|(_, fault)| fault)
    }
}
