//! API servers that are not there, or that break off, over real connections.

use std::time::{Duration, Instant};

use kube::{Client, Config};
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::OpenMode;
use kv_core::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const DEADLINE: Duration = Duration::from_secs(1);

async fn open(port: u16) -> Result<ConfigMapStore, Error> {
    let url = format!("http://127.0.0.1:{port}").parse().expect("a URL");
    let mut config = Config::new(url);
    config.default_retry = false;
    let client = Client::try_from(config).expect("a client");
    let buckets = Buckets::config_maps(client, "default").with_deadline(DEADLINE);
    buckets.open("approvals", OpenMode::OpenOrCreate).await
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_within_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let started = Instant::now();
    let error = open(port).await.unwrap_err();
    assert!(started.elapsed() < 3 * DEADLINE);
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_server_that_reads_the_request_and_hangs_up_is_told_within_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 1024]).await;
        }
    });
    let error = open(port).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("connection to the API server broke"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_told_within_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let started = Instant::now();
    let error = open(port).await.unwrap_err();
    assert!(started.elapsed() < 3 * DEADLINE);
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no answer within 1s"), "{error}");
    drop(listener);
}
