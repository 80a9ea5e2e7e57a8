//! Answers that a fault sends in place of the true one.

use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::{denied, expired, failure, forbidden, modified};

/// One such answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Canned {
    Conflict,
    Gone,
    TooManyRequests(u32),
    TooManyRequestsText,
    EtcdTimeout,
    EtcdFull,
    BadGateway,
    LoginPage,
    ShuttingDown,
    UnavailableText,
    GatewayTimeout,
    Forbidden,
    QuotaExceeded,
}

impl Canned {
    pub(crate) fn reply(self, request: &ApiRequest) -> Reply {
        let (kind, name) = (request.kind, request.name());
        let status = match self {
            Canned::Conflict => modified(kind, name),
            Canned::Gone => expired(1, 2),
            Canned::TooManyRequests(seconds) => return too_many_requests(seconds),
            Canned::TooManyRequestsText => return too_many_requests_text(),
            Canned::EtcdTimeout => failure(500, "", "etcdserver: request timed out"),
            Canned::EtcdFull => failure(500, "", "etcdserver: mvcc: database space exceeded"),
            Canned::BadGateway => return bad_gateway(),
            Canned::LoginPage => {
                return Reply::text(200, "text/html", "<html><body>Log in</body></html>\n");
            }
            Canned::ShuttingDown => {
                failure(503, "ServiceUnavailable", "apiserver is shutting down")
            }
            Canned::UnavailableText => {
                return Reply::text(503, "text/plain; charset=utf-8", "service unavailable\n");
            }
            Canned::GatewayTimeout => {
                let message = "Timeout: request did not complete within requested timeout - \
                               context deadline exceeded";
                failure(504, "Timeout", message)
            }
            Canned::Forbidden => {
                let namespace = request.namespace.as_deref();
                denied(
                    "system:serviceaccount:fake:client",
                    request.verb,
                    kind,
                    namespace,
                    name,
                )
            }
            Canned::QuotaExceeded => {
                let counted = format!("count/{}", kind.plural());
                let why = format!(
                    "exceeded quota: fake, requested: {counted}=1, used: {counted}=1, limited: \
                     {counted}=1"
                );
                forbidden(kind, &request.body_name().unwrap_or_default(), &why)
            }
        };
        Reply::refusal(&status)
    }
}

fn too_many_requests(seconds: u32) -> Reply {
    let message = "the server has received too many requests and has asked us to try again later";
    let mut status = failure(429, "TooManyRequests", message);
    let mut details = crate::status::details("");
    details.retry_after_seconds = seconds;
    status.details = Some(details);
    Reply::refusal(&status)
}

fn too_many_requests_text() -> Reply {
    let body = "Too many requests, please try again later.\n";
    let mut reply = Reply::text(429, "text/plain; charset=utf-8", body);
    reply.retry_after = Some(1);
    reply
}

fn bad_gateway() -> Reply {
    let body = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
    Reply::text(502, "text/html", body)
}
