//! The server as a tower service: from an HTTP request to an HTTP response, through the faults.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use tokio::time::{sleep, timeout};
use tower::Service;

use crate::fault::{Answer, Applied, Fault};
use crate::handler;
use crate::log::Ticket;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::rights::Rights;
use crate::shared::Shared;
use crate::status::{Result, body_too_large, version_too_large};
use crate::verb::Verb;
use crate::watch::Watch;

/// The error of the service and of its bodies.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// The most bytes that the body of a request may have.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// How long a reader waits for a version that does not exist yet.
const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);

/// What a connection that was never made looks like.
fn connection_refused() -> BoxError {
    Box::new(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "tcp connect error",
    ))
}

/// What a connection that broke looks like.
pub(crate) fn connection_reset() -> BoxError {
    Box::new(io::Error::new(
        io::ErrorKind::ConnectionReset,
        "connection reset by peer",
    ))
}

/// The way of one client to the server, to be put under [`kube::Client::new`].
///
/// [`FakeApiServer::client`](crate::FakeApiServer::client) does that; the service itself is for
/// tests that want layers of their own in between.
#[derive(Clone, Debug)]
pub struct FakeService {
    shared: Arc<Shared>,
    rights: Option<Arc<Rights>>,
}

impl FakeService {
    pub(crate) fn new(shared: Arc<Shared>, rights: Option<Rights>) -> FakeService {
        FakeService {
            shared,
            rights: rights.map(Arc::new),
        }
    }
}

impl Service<Request<Body>> for FakeService {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future =
        Pin<Box<dyn Future<Output = std::result::Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().serve(request))
    }
}

/// A request carried out: all of an answer, or a watch to be streamed.
enum Outcome {
    Reply(Reply),
    Watch(Box<Watch>),
}

impl FakeService {
    async fn serve(
        self,
        request: Request<Body>,
    ) -> std::result::Result<Response<ResponseBody>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        if let Some(reply) = outside_the_api(parts.uri.path()) {
            return respond(&reply);
        }
        let request = ApiRequest::parse(&parts).and_then(|request| request.with_body(body));
        let request = match request {
            Ok(request) => request,
            Err(status) => return respond(&Reply::refusal(&status)),
        };
        let (ticket, fault, latency) = {
            let mut state = self.shared.lock();
            (
                state.log.open(&request),
                state.fault(&request),
                state.latency,
            )
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
        match fault {
            None => self.respond_with(ticket, self.carry_out(&request).await),
            Some(fault) => self.fail(ticket, &request, fault).await,
        }
    }

    /// Answers, and notes the code in the log.
    fn respond_with(
        &self,
        ticket: Ticket,
        outcome: Outcome,
    ) -> std::result::Result<Response<ResponseBody>, BoxError> {
        let code = match &outcome {
            Outcome::Reply(reply) => reply.code,
            Outcome::Watch(_) => 200,
        };
        self.shared.lock().log.close(ticket, code);
        match outcome {
            Outcome::Reply(reply) => respond(&reply),
            Outcome::Watch(watch) => stream_watch(*watch),
        }
    }

    async fn fail(
        &self,
        ticket: Ticket,
        request: &ApiRequest,
        fault: Fault,
    ) -> std::result::Result<Response<ResponseBody>, BoxError> {
        let outcome = match fault.applied {
            Applied::Never => None,
            Applied::AtOnce => Some(self.carry_out(request).await),
            Applied::Later(delay) => {
                self.carry_out_later(request, delay);
                None
            }
        };
        match (fault.answer, outcome) {
            (Answer::Refused, _) => Err(connection_refused()),
            (Answer::Reset, _) => Err(connection_reset()),
            (Answer::Canned(canned), _) => {
                let reply = canned.reply(request).wanted_by(request);
                self.respond_with(ticket, Outcome::Reply(reply))
            }
            (Answer::Late(delay), Some(outcome)) => {
                sleep(delay).await;
                self.respond_with(ticket, outcome)
            }
            (Answer::Truncated, Some(Outcome::Reply(reply))) => truncate(&reply),
            (Answer::Watch(fault), Some(Outcome::Watch(mut watch))) => {
                watch.disturb(fault);
                self.respond_with(ticket, Outcome::Watch(watch))
            }
            (Answer::Truncated | Answer::Watch(_), Some(outcome)) => {
                self.respond_with(ticket, outcome)
            }
            (Answer::Silence, _) | (_, None) => std::future::pending().await,
        }
    }

    /// A server that has stopped answering goes on working, whether or not the client is there.
    fn carry_out_later(&self, request: &ApiRequest, delay: Duration) {
        let (service, request) = (self.clone(), request.clone());
        drop(tokio::spawn(async move {
            sleep(delay).await;
            drop(service.carry_out(&request).await);
        }));
    }

    async fn carry_out(&self, request: &ApiRequest) -> Outcome {
        match self.try_carry_out(request).await {
            Ok(Outcome::Reply(reply)) => Outcome::Reply(reply.wanted_by(request)),
            Ok(watch) => watch,
            Err(status) => Outcome::Reply(Reply::refusal(&status).wanted_by(request)),
        }
    }

    async fn try_carry_out(&self, request: &ApiRequest) -> Result<Outcome> {
        if let Some(rights) = &self.rights {
            rights.check(request)?;
        }
        if request.body_bytes > BODY_LIMIT {
            return Err(body_too_large(BODY_LIMIT));
        }
        self.await_version(handler::awaited_version(request)?)
            .await?;
        if request.verb == Verb::Watch {
            return Watch::open(&self.shared, request).map(|watch| Outcome::Watch(Box::new(watch)));
        }
        let now = self.shared.clock.now();
        let reply = self
            .shared
            .with(|state| handler::answer(&mut state.registry, request, &now));
        reply.map(Outcome::Reply)
    }

    /// Waits, not for long, until the server is at a version.
    async fn await_version(&self, version: u64) -> Result<()> {
        let mut signal = self.shared.subscribe();
        let newer = signal.wait_for(|signal| signal.revision >= version);
        if timeout(FRESHNESS_TIMEOUT, newer).await.is_ok() {
            return Ok(());
        }
        let current = self.shared.lock().registry.store.revision();
        Err(version_too_large(version, current))
    }
}

/// `/version`, which some clients ask for first, and the paths that nobody serves.
fn outside_the_api(path: &str) -> Option<Reply> {
    const VERSION: &str = "{\"major\":\"1\",\"minor\":\"36\",\"gitVersion\":\"v1.36.3\",\"gitCommit\":\"\",\
        \"gitTreeState\":\"clean\",\"buildDate\":\"2026-01-01T00:00:00Z\",\"goVersion\":\"go\",\
        \"compiler\":\"gc\",\"platform\":\"fake/fake\"}";
    match path {
        "/version" => Some(Reply::json(200, VERSION)),
        _ if path.starts_with("/api/v1/") => None,
        _ => Some(Reply::text(
            404,
            "text/plain; charset=utf-8",
            "404 page not found\n",
        )),
    }
}

fn respond(reply: &Reply) -> std::result::Result<Response<ResponseBody>, BoxError> {
    let body = Full::new(reply.body.clone())
        .map_err(|never| match never {})
        .boxed_unsync();
    head(reply, body)
}

fn head(
    reply: &Reply,
    body: ResponseBody,
) -> std::result::Result<Response<ResponseBody>, BoxError> {
    let mut builder = Response::builder()
        .status(reply.code)
        .header(header::CONTENT_TYPE, reply.content_type);
    if let Some(seconds) = reply.retry_after {
        builder = builder.header(header::RETRY_AFTER, seconds);
    }
    Ok(builder.body(body)?)
}

/// The first half of an answer, then the end of the connection.
fn truncate(reply: &Reply) -> std::result::Result<Response<ResponseBody>, BoxError> {
    let half = reply.body.slice(..reply.body.len() / 2);
    let broken = io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "connection closed before message completed",
    );
    let frames = [Ok(Frame::data(half)), Err(BoxError::from(broken))];
    head(
        reply,
        BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames))),
    )
}

fn stream_watch(watch: Watch) -> std::result::Result<Response<ResponseBody>, BoxError> {
    let mut reply = Reply::json(200, Bytes::new());
    reply.content_type = watch.content_type();
    let pieces = stream::unfold(watch, |mut watch| async move {
        let piece = watch.next().await?;
        Some((piece, watch))
    });
    let frames = pieces.map(|piece| piece.map(Frame::data));
    head(&reply, BodyExt::boxed_unsync(StreamBody::new(frames)))
}
