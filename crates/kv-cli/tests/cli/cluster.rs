//! A cluster for the program: the fake API server on a port of this machine.

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kv_fake_apiserver::FakeApiServer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower::Service;

use crate::Place;

pub(crate) struct Cluster {
    pub(crate) server: FakeApiServer,
    pub(crate) runtime: Runtime,
    port: u16,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = FakeApiServer::new();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(serve(listener, server.clone()));
        Self {
            server,
            runtime,
            port,
        }
    }

    /// The kubeconfig of this cluster.
    pub(crate) fn config(&self, place: &Place) -> String {
        crate::kubeconfig(place, self.port)
    }
}

async fn serve(listener: TcpListener, server: FakeApiServer) {
    while let Ok((connection, _)) = listener.accept().await {
        let service = server.service();
        let answer = service_fn(move |request: Request<Incoming>| {
            let mut service = service.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = Body::from(body.collect().await?.to_bytes());
                service.call(Request::from_parts(parts, body)).await
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), answer));
    }
}
