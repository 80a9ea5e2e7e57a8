//! The client of all sides that are written in Rust.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use tower::util::{BoxCloneService, option_layer};
use tower::{BoxError, Layer as _, ServiceExt as _};

/// A client with connections of its own.
pub(crate) fn client(config: Config) -> anyhow::Result<Client> {
    let service = service(&config)?;
    Ok(Client::new(service, config.default_namespace))
}

/// What a client sends its requests with: TLS and the credentials as kube makes them, but without Nagle's
/// algorithm, which clients in Go do without, too. That keeps the end of a request back until the server
/// has acknowledged its beginning, for 40 ms now and then. Proxies, extra headers, timeouts, retries and
/// traces are left out, too.
pub(crate) fn service(
    config: &Config,
) -> anyhow::Result<BoxCloneService<Request<Body>, Response<Incoming>, BoxError>> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let https = config.rustls_https_connector_with_connector(http)?;
    let client = HttpClient::builder(TokioExecutor::new()).build(https);
    let client = option_layer(config.auth_layer()?).layer(client.map_err(BoxError::from));
    Ok(config.base_uri_layer().layer(client).boxed_clone())
}
