//! Watches.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::{Api, METADATA, config_map, version_of};
use super::late_kind::LateKind;
use crate::kind::Kind;
use crate::protobuf::to_json;

/// The types and names of events.
fn told(events: &[Value]) -> Vec<(&str, &str)> {
    events.iter().map(words_of).collect()
}

fn words_of(event: &Value) -> (&str, &str) {
    let name = event["object"]["metadata"]["name"]
        .as_str()
        .unwrap_or_default();
    (event["type"].as_str().unwrap_or_default(), name)
}

async fn watch(api: &Api, query: &str, enough: usize) -> Vec<Value> {
    let path = format!("configmaps?watch=true&timeoutSeconds=20&{query}");
    api.call("GET", &path).watch(enough).await
}

pub(super) async fn a_watch_gets_every_change_after_its_version(api: &Api) {
    let start = api.create_one("a").await.version();
    let mut versions = Vec::new();
    for value in ["1", "2", "3"] {
        let patched = api
            .patch("a", &json!({ "data": { "k": value } }))
            .await
            .expect(200);
        versions.push(patched.version());
    }
    versions.push(api.create_one("b").await.version());
    let events = watch(api, &format!("resourceVersion={start}"), 4).await;
    let expected = [
        ("MODIFIED", "a"),
        ("MODIFIED", "a"),
        ("MODIFIED", "a"),
        ("ADDED", "b"),
    ];
    assert_eq!(told(&events), expected);
    let seen: Vec<u64> = events
        .iter()
        .map(|event| version_of(&event["object"]))
        .collect();
    assert_eq!(
        seen, versions,
        "an event carries the version that the writer was told"
    );
    assert_eq!(events[2]["object"]["kind"], "ConfigMap");
    assert_eq!(events[2]["object"]["data"]["k"], "3");
}

pub(super) async fn a_watch_without_a_version_begins_with_what_is_there(api: &Api) {
    let labels = json!({ "metadata": { "labels": { "l": "1" } } });
    api.create(&config_map("a", labels.clone()))
        .await
        .expect(201);
    api.create(&config_map("b", labels)).await.expect(201);
    for query in ["labelSelector=l", "labelSelector=l&resourceVersion=0"] {
        let mut events = watch(api, query, 2).await;
        events.sort_by_key(|event| words_of(event).1.to_owned());
        assert_eq!(told(&events), [("ADDED", "a"), ("ADDED", "b")]);
    }
}

pub(super) async fn a_deletion_carries_its_own_version(api: &Api) {
    let created = api.create_one("a").await;
    api.delete("a", &json!({})).await.expect(200);
    let next = api.create_one("a").await;
    let events = watch(api, &format!("resourceVersion={}", created.version()), 2).await;
    assert_eq!(told(&events), [("DELETED", "a"), ("ADDED", "a")]);
    let deletion = version_of(&events[0]["object"]);
    assert!(created.version() < deletion && deletion < next.version());
    assert_eq!(events[0]["object"]["data"]["k"], "v", "the last content");
}

pub(super) async fn an_object_that_stops_matching_arrives_as_deleted(api: &Api) {
    let labelled =
        |value: &str| json!({ "metadata": { "labels": { "l": value } }, "data": { "k": value } });
    let created = api
        .create(&config_map("a", labelled("1")))
        .await
        .expect(201);
    let left = api.patch("a", &labelled("2")).await.expect(200);
    api.patch("a", &labelled("3")).await.expect(200);
    api.patch("a", &labelled("1")).await.expect(200);
    let query = format!("labelSelector=l%3D1&resourceVersion={}", created.version());
    let events = watch(api, &query, 2).await;
    assert_eq!(told(&events), [("DELETED", "a"), ("ADDED", "a")]);
    let object = &events[0]["object"];
    assert_eq!(version_of(object), left.version());
    assert_eq!(object["data"]["k"], "1", "the content from before");
}

pub(super) async fn a_watch_of_one_name_is_not_told_of_others(api: &Api) {
    let start = api.create_one("a").await.version();
    api.create_one("b").await;
    api.patch("a", &json!({ "data": { "k": "w" } }))
        .await
        .expect(200);
    let query = format!("fieldSelector=metadata.name%3Da&resourceVersion={start}");
    assert_eq!(told(&watch(api, &query, 1).await), [("MODIFIED", "a")]);
}

pub(super) async fn a_watch_of_metadata_carries_no_data(api: &Api) {
    let start = api.create_one("a").await.version();
    api.patch("a", &json!({ "data": { "k": "w" } }))
        .await
        .expect(200);
    api.delete("a", &json!({})).await.expect(200);
    let path = format!("configmaps?watch=true&timeoutSeconds=20&resourceVersion={start}");
    let events = api.call("GET", &path).accept(METADATA).watch(2).await;
    assert_eq!(told(&events), [("MODIFIED", "a"), ("DELETED", "a")]);
    for event in &events {
        assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
        assert!(event["object"].get("data").is_none());
    }
}

pub(super) async fn a_version_too_old_is_an_error_event(api: &Api) {
    let query = "timeoutSeconds=20&resourceVersion=1";
    let events = LateKind::new(api).watch(query).await;
    assert_eq!(events.len(), 1, "the stream ends after it");
    assert_eq!(events[0]["type"], "ERROR");
    let status = &events[0]["object"];
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(410), &json!("Expired"))
    );
    let message = status["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("too old resource version: 1 ("),
        "{message}"
    );
}

pub(super) async fn bookmarks_come_before_the_end(api: &Api) {
    let start = api.create_one("a").await.version();
    let query = format!("watch=true&timeoutSeconds=6&labelSelector=none&resourceVersion={start}");
    let path = format!("configmaps?{query}&allowWatchBookmarks=true");
    let asked = api.call("GET", &path).watch(usize::MAX);
    let in_protobuf = api.call("GET", &path).watch_in_protobuf(usize::MAX);
    let path = format!("configmaps?{query}");
    let silent = api.call("GET", &path).watch(usize::MAX);
    // A bookmark comes only when the kind has a newer version than when the watch was opened.
    let newer = async {
        sleep(Duration::from_secs(2)).await;
        api.create_one("b").await.version()
    };
    let (asked, in_protobuf, silent, newer) = tokio::join!(asked, in_protobuf, silent, newer);
    let in_protobuf = in_protobuf.into_iter().map(|(kind, object)| {
        let object = to_json(Kind::ConfigMap, &object).expect("a message");
        json!({ "type": kind, "object": object })
    });
    for events in [asked, in_protobuf.collect()] {
        assert!(!events.is_empty(), "one comes two seconds before the end");
        for event in &events {
            assert_eq!(event["type"], "BOOKMARK");
            assert_eq!(event["object"]["kind"], "ConfigMap");
            assert!(version_of(&event["object"]) >= newer);
        }
    }
    assert!(silent.is_empty(), "none unless asked for");
}

pub(super) async fn initial_events_end_with_a_bookmark(api: &Api) {
    let object = config_map("a", json!({ "metadata": { "labels": { "l": "1" } } }));
    let created = api.create(&object).await.expect(201);
    let query = "labelSelector=l&allowWatchBookmarks=true&sendInitialEvents=true";
    let query = format!("{query}&resourceVersionMatch=NotOlderThan");
    let events = watch(api, &query, 2).await;
    assert_eq!(told(&events), [("ADDED", "a"), ("BOOKMARK", "")]);
    let metadata = &events[1]["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(version_of(&events[1]["object"]) >= created.version());
    let path = "configmaps?watch=true&sendInitialEvents=true";
    let refused = api.call("GET", path).send().await.refused(422, "Invalid");
    refused.because_of(&["resourceVersionMatch"]);
}

pub(super) async fn an_unchanged_write_is_not_told(api: &Api) {
    let start = api.create_one("a").await.version();
    api.patch("a", &json!({ "data": { "k": "v" } }))
        .await
        .expect(200);
    api.create_one("b").await;
    let events = watch(api, &format!("resourceVersion={start}"), 1).await;
    assert_eq!(told(&events), [("ADDED", "b")]);
}
