//! Objects that are not ours, or no longer as we wrote them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_configmap::Buckets;
use kv_core::prelude::*;
use kv_core::{OpenMode, WatchOptions};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Rights, Verb};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{BUCKET, NAMESPACE, buckets, object, open, verbs};

fn edit(server: &FakeApiServer, change: impl FnOnce(&mut Value)) {
    server
        .edit(Kind::ConfigMap, NAMESPACE, BUCKET, change)
        .expect("the server takes the edit");
}

fn head(object: &Value) -> Vec<u8> {
    STANDARD
        .decode(object["binaryData"]["head"].as_str().expect("a head"))
        .expect("base64")
}

/// What each way to get at the bucket says.
async fn errors(server: &FakeApiServer) -> Vec<(&'static str, Option<Error>)> {
    let buckets = buckets(server);
    vec![
        ("open", buckets.open(BUCKET, OpenMode::Open).await.err()),
        (
            "open or create",
            buckets.open(BUCKET, OpenMode::OpenOrCreate).await.err(),
        ),
        ("create", buckets.open(BUCKET, OpenMode::Create).await.err()),
    ]
}

#[tokio::test]
async fn a_foreign_config_map_is_refused_and_never_touched() {
    let foreign = [
        json!({}),
        json!({ "data": { "key": "value" } }),
        json!({ "binaryData": { "head": "AAAA" } }),
        json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "Helm" } } }),
        json!({ "metadata": { "labels": { "kv-configmap/bucket": BUCKET } } }),
    ];
    for fields in foreign {
        let server = FakeApiServer::new();
        edit(&server, |object| {
            for (field, value) in fields.as_object().expect("an object") {
                match value.as_object() {
                    Some(entries) if field == "metadata" => {
                        entries
                            .iter()
                            .for_each(|(k, v)| object["metadata"][k] = v.clone());
                    }
                    _ => object[field] = value.clone(),
                }
            }
        });
        let before = object(&server);
        for (way, error) in errors(&server).await {
            assert!(
                matches!(error, Some(Error::Foreign { .. })),
                "{way}: {error:?}"
            );
        }
        assert_eq!(object(&server), before);
    }
}

#[tokio::test]
async fn a_foreign_config_map_in_the_place_of_an_open_bucket_is_neither_written_nor_torn_down() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    server.delete(Kind::ConfigMap, NAMESPACE, BUCKET).unwrap();
    edit(&server, |object| {
        object["data"] = json!({ "somebody": "else's" });
    });
    let before = object(&server);
    assert!(matches!(
        store.put("k", "other").await,
        Err(Error::Foreign { .. })
    ));
    assert!(matches!(store.get("k").await, Err(Error::Foreign { .. })));
    assert!(matches!(store.teardown().await, Err(Error::Foreign { .. })));
    assert_eq!(object(&server), before);
}

#[tokio::test]
async fn every_flipped_byte_of_a_bucket_is_told() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    let whole = head(&object(&server));
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x41;
        edit(&server, |object| {
            object["binaryData"]["head"] = json!(STANDARD.encode(&damaged));
        });
        let read = store.get("k").await;
        assert!(
            matches!(read, Err(Error::Corrupt { .. })),
            "byte {position}: {read:?}"
        );
    }
    let put = store.put("k", "other").await;
    assert!(matches!(put, Err(Error::Corrupt { .. })), "{put:?}");
    edit(&server, |object| {
        object["binaryData"]["head"] = json!(STANDARD.encode(&whole));
    });
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "value");
    store.put("k", "other").await.unwrap();
}

/// Damage by hand, and a part of the message that it gets.
type Damage = (&'static str, fn(&mut Value), &'static str);

const DAMAGES: [Damage; 8] = [
    (
        "cut",
        |object| object["binaryData"]["head"] = json!("a3ZoZAEAAAAA"),
        "too few",
    ),
    (
        "emptied",
        |object| object["binaryData"]["head"] = json!(""),
        "too few",
    ),
    (
        "without a head",
        |object| object["binaryData"] = json!({}),
        "no readable head",
    ),
    (
        "without data",
        |object| object["binaryData"] = Value::Null,
        "no readable head",
    ),
    (
        "with a key more",
        |object| object["binaryData"]["extra"] = json!("AAAA"),
        "\"extra\"",
    ),
    (
        "with a text more",
        |object| object["data"] = json!({ "note": "hi" }),
        "\"note\"",
    ),
    (
        "without our label",
        |object| object["metadata"]["labels"] = json!({}),
        "lacks the label",
    ),
    (
        "of another manager",
        |object| {
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("Helm");
        },
        "lacks the label",
    ),
];

#[tokio::test]
async fn damage_by_hand_is_told_and_nothing_is_written_over_it() {
    for (name, damage, told) in DAMAGES {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("k", "value").await.unwrap();
        edit(&server, damage);
        let before = object(&server);
        let answers = [
            store.get("k").await.map(|_| ()).unwrap_err(),
            store.put("k", "other").await.map(|_| ()).unwrap_err(),
            store.list("").await.map(|_| ()).unwrap_err(),
            open_again(&server).await,
        ];
        for error in answers {
            let typed = matches!(error, Error::Corrupt { .. } | Error::Foreign { .. });
            assert!(typed, "{name}: {error:?}");
            let text = error.to_string();
            assert!(
                text.contains("configmap default/approvals"),
                "{name}: {text}"
            );
            assert!(text.contains(told), "{name}: {text}");
        }
        assert_eq!(object(&server), before, "{name}");
    }
}

async fn open_again(server: &FakeApiServer) -> Error {
    let opened = buckets(server).open(BUCKET, OpenMode::OpenOrCreate).await;
    opened.expect_err("a damaged bucket does not open")
}

#[tokio::test]
async fn a_damaged_bucket_of_ours_can_be_torn_down() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    edit(&server, |object| {
        object["binaryData"]["head"] = json!("AAAA");
    });
    store.teardown().await.unwrap();
    store.put("k", "value").await.unwrap();
}

#[tokio::test]
async fn a_bucket_too_damaged_to_open_can_be_torn_down_by_name_and_a_foreign_object_cannot() {
    let server = FakeApiServer::new();
    open(&server).await.put("k", "value").await.unwrap();
    edit(&server, |object| {
        object["binaryData"]["head"] = json!("AAAA");
    });
    open_again(&server).await;
    buckets(&server).teardown(BUCKET).await.unwrap();
    assert!(server.get(Kind::ConfigMap, NAMESPACE, BUCKET).is_none());
    buckets(&server).teardown(BUCKET).await.unwrap();
    edit(&server, |object| {
        object["data"] = json!({ "somebody": "else's" });
    });
    let refused = buckets(&server).teardown(BUCKET).await;
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
    assert!(server.get(Kind::ConfigMap, NAMESPACE, BUCKET).is_some());
}

#[tokio::test]
async fn a_bucket_that_was_made_immutable_can_be_read_and_torn_down() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    edit(&server, |object| object["immutable"] = json!(true));
    for store in [store, open(&server).await] {
        assert!(store.get("k").await.unwrap().is_some());
        let error = store.put("k", "other").await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("immutable"), "{error}");
        assert!(
            store.put("k", "value").await.is_ok(),
            "what changes nothing needs no write"
        );
    }
    open(&server).await.teardown().await.unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused_with_what_to_do() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    // A valid head of the last format version that there can be.
    let newer = include_bytes!("../golden/head-of-a-newer-format.bin");
    edit(&server, |object| {
        object["binaryData"]["head"] = json!(STANDARD.encode(newer));
    });
    let error = store.get("k").await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("use a newer one"), "{error}");
    assert!(matches!(
        store.put("k", "v").await,
        Err(Error::Unsupported { .. })
    ));
}

/// Whether a writer learns of it from the watch, or from a conflict and the read after it; and also
/// where there is something that it does not understand.
#[tokio::test(start_paused = true)]
async fn what_others_put_into_the_metadata_survives_our_writes() {
    let owners = json!([{
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "o",
        "uid": "00000000-0000-4000-8000-000000000000",
        "controller": true,
        "blockOwnerDeletion": false,
    }]);
    let theirs = json!({
        "generateName": "kept-",
        "ownerReferences": owners,
        "finalizers": ["example.com/kept"],
    });
    let not_understood = json!({ "selfLink": "kept" });
    for (fields, is_watched) in [
        (&theirs, true),
        (&theirs, false),
        (&not_understood, true),
        (&not_understood, false),
    ] {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        store.put("k", "value").await.unwrap();
        let watch = store.watch(WatchOptions::default());
        let _events = match is_watched {
            true => Some(watch.await.unwrap()),
            false => None,
        };
        sleep(Duration::from_millis(100)).await;
        edit(&server, |object| {
            object["metadata"]["labels"]["team"] = json!("storage");
            object["metadata"]["annotations"]["note"] = json!("keep me");
            for (field, value) in fields.as_object().expect("fields") {
                object["metadata"][field] = value.clone();
            }
        });
        sleep(Duration::from_millis(100)).await;
        server.reset_requests();
        store.put("k", "other").await.unwrap();
        let mut writes = verbs(&server);
        writes.retain(|verb| *verb == Verb::Update);
        assert_eq!(writes.len() == 1, is_watched, "{fields}");
        store.put("k", "third").await.unwrap();
        let metadata = &object(&server)["metadata"];
        assert_eq!(metadata["labels"]["team"], "storage");
        assert_eq!(metadata["annotations"]["note"], "keep me");
        for (field, value) in fields.as_object().expect("fields") {
            assert_eq!(&metadata[field], value);
        }
        assert_eq!(store.get("k").await.unwrap().unwrap().value, "third");
    }
}

#[tokio::test]
async fn a_bucket_name_longer_than_a_label_works() {
    let server = FakeApiServer::new();
    for length in [62, 63, 64, 200] {
        let name = "b".repeat(length);
        let store = buckets(&server)
            .open(&name, OpenMode::Create)
            .await
            .unwrap();
        store.put("k", "value").await.unwrap();
        let object = server.get(Kind::ConfigMap, NAMESPACE, &name).unwrap();
        assert_eq!(
            object["metadata"]["annotations"]["kv-configmap/bucket"],
            name.as_str()
        );
        store.teardown().await.unwrap();
    }
    assert!(server.objects(NAMESPACE).is_empty());
}

#[tokio::test]
async fn a_missing_namespace_is_named() {
    let server = FakeApiServer::new();
    let buckets = Buckets::config_maps(server.client(), "nowhere");
    let error = buckets
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "namespace nowhere does not exist; create it first"
    );
    let error = buckets.open(BUCKET, OpenMode::Open).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_permission_is_told_at_once_for_each_verb() {
    let all = [Verb::Get, Verb::Create, Verb::Update, Verb::Delete];
    for missing in all {
        let server = FakeApiServer::new();
        let verbs: Vec<Verb> = all.into_iter().filter(|verb| *verb != missing).collect();
        let rights = Rights::new("somebody").allow(&verbs, &["configmaps"]);
        let client = server.client_with_rights(NAMESPACE, rights);
        let buckets = Buckets::config_maps(client, NAMESPACE);
        if missing != Verb::Get && missing != Verb::Create {
            open(&server).await.put("before", "value").await.unwrap();
        }
        let error = async {
            let store = buckets.open(BUCKET, OpenMode::OpenOrCreate).await?;
            store.put("k", "value").await?;
            store.teardown().await
        };
        let error = error.await.unwrap_err();
        assert!(
            matches!(error, Error::Forbidden { .. }),
            "{missing:?}: {error:?}"
        );
        assert!(
            error.to_string().contains("configmap default/approvals"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_role_that_names_the_one_object_is_enough_for_an_existing_bucket() {
    let server = FakeApiServer::new();
    open(&server).await.put("before", "value").await.unwrap();
    let rights =
        Rights::new("somebody").allow_named(&[Verb::Get, Verb::Update], &["configmaps"], &[BUCKET]);
    let client = server.client_with_rights(NAMESPACE, rights);
    let store = Buckets::config_maps(client, NAMESPACE)
        .open(BUCKET, OpenMode::Open)
        .await
        .unwrap();
    store.put("k", "value").await.unwrap();
    store.put("k", "value").await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_cluster_are_told_at_once() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    let started = tokio::time::Instant::now();
    server.inject(Fault::etcd_full().on(Verb::Update));
    let error = store.put("k", "other").await.unwrap_err();
    assert!(error.to_string().contains("etcd"), "{error}");
    assert_eq!(error.outcome(), kv_core::Outcome::NotApplied);
    server.inject(Fault::forbidden().on(Verb::Update));
    assert!(matches!(
        store.put("k", "other").await,
        Err(Error::Forbidden { .. })
    ));
    store.teardown().await.unwrap();
    server.inject(Fault::quota_exceeded().on(Verb::Create));
    let error = store.put("k", "other").await.unwrap_err();
    assert!(error.to_string().contains("exceeded quota"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_terminating_namespace_is_told() {
    let server = FakeApiServer::new();
    server.create_namespace("leaving");
    server.delete(Kind::Namespace, "", "leaving").unwrap();
    let buckets = Buckets::config_maps(server.client(), "leaving");
    let error = buckets
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error:?}");
    assert!(error.to_string().contains("being terminated"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_waits_for_its_finalizers_takes_no_writes_that_would_be_lost() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("k", "value").await.unwrap();
    edit(&server, |object| {
        object["metadata"]["finalizers"] = json!(["example.com/held"]);
    });
    let release = async {
        tokio::time::sleep(Duration::from_secs(45)).await;
        edit(&server, |object| {
            object["metadata"]["finalizers"] = json!([]);
        });
    };
    let use_it = async {
        let error = store.teardown().await.unwrap_err();
        assert!(error.to_string().contains("finalizers"), "{error}");
        // 30 s of the 45 are over.
        store.put("k", "after").await.unwrap();
    };
    tokio::join!(release, use_it);
    assert_eq!(open(&server).await.list("").await.unwrap().len(), 1);
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "after");
}
