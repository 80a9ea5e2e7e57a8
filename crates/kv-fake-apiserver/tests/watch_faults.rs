//! Watches that break, stall or fall behind.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Error};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind};
use serde_json::json;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

type Events = Pin<Box<dyn Stream<Item = Result<WatchEvent<ConfigMap>, Error>> + Send>>;

async fn watch(server: &FakeApiServer, from: u64) -> Events {
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    let params = WatchParams::default().timeout(290);
    api.watch(&params, &from.to_string())
        .await
        .expect("a watch begins")
        .boxed()
}

fn write(server: &FakeApiServer, count: usize) {
    for n in 0..count {
        let value = format!("{n} of {count}");
        server
            .edit(Kind::ConfigMap, "default", "a", |object| {
                object["data"] = json!({ "k": value });
            })
            .expect("written");
    }
}

/// What came until the stream ended, and whether it ended with an error.
async fn rest(mut events: Events) -> (usize, bool) {
    let mut count = 0;
    loop {
        match events.next().await {
            None => return (count, false),
            Some(Err(_)) => return (count, true),
            Some(Ok(WatchEvent::Bookmark(_))) => {}
            Some(Ok(_)) => count += 1,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_as_it_is_told() {
    for (fault, expected) in [
        (Fault::watch_cut(2), (2, true)),
        (Fault::watch_closed(2), (2, false)),
        (Fault::watch_duplicated(2), (8, false)),
        // Two events, and the refusal as a third.
        (Fault::watch_expired(2), (3, false)),
    ] {
        let server = FakeApiServer::new();
        let from = server.revision();
        server.inject(fault);
        let events = watch(&server, from).await;
        write(&server, 5);
        assert_eq!(rest(events).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_watch_stays_open_and_silent() {
    let server = FakeApiServer::new();
    let from = server.revision();
    server.inject(Fault::watch_stalled(1));
    let mut events = watch(&server, from).await;
    write(&server, 2);
    events
        .next()
        .await
        .expect("the first event")
        .expect("no error");
    timeout(10_000 * SECOND, events.next())
        .await
        .expect_err("silence");
}

#[tokio::test(start_paused = true)]
async fn all_watches_are_cut_at_once() {
    let server = FakeApiServer::new();
    let (first, second) = (
        watch(&server, server.revision()).await,
        watch(&server, 0).await,
    );
    server.cut_watches();
    assert_eq!(rest(first).await, (0, true));
    assert_eq!(rest(second).await, (0, true));
    assert_eq!(
        rest(watch(&server, server.revision()).await).await,
        (0, false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_is_closed_without_a_word() {
    let server = FakeApiServer::new();
    server.set_watch_backlog(10);
    let from = server.revision();
    let mut events = watch(&server, from).await;
    write(&server, 1);
    events.next().await.expect("an event").expect("no error");
    write(&server, 11);
    assert_eq!(rest(events).await, (0, false));
    write(&server, 1);
    assert_eq!(
        rest(watch(&server, server.revision() - 10).await).await,
        (10, false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_compacted_version_is_expired() {
    let server = FakeApiServer::new();
    let from = server.revision();
    write(&server, 3);
    server.compact();
    let mut events = watch(&server, from).await;
    let event = events.next().await.expect("an event").expect("no error");
    let WatchEvent::Error(status) = event else {
        panic!("{event:?} is no refusal")
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    assert!(events.next().await.is_none());
    assert_eq!(
        rest(watch(&server, server.revision()).await).await,
        (0, false)
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_only_with_news() {
    let server = FakeApiServer::new();
    let mut events = watch(&server, server.revision()).await;
    timeout(200 * SECOND, events.next())
        .await
        .expect_err("nothing new, nothing to say");
    server.create_namespace("elsewhere");
    let event = timeout(60 * SECOND, events.next())
        .await
        .expect("within a minute");
    let Some(Ok(WatchEvent::Bookmark(bookmark))) = event else {
        panic!("no bookmark")
    };
    assert_eq!(
        bookmark.metadata.resource_version,
        server.revision().to_string()
    );
}
