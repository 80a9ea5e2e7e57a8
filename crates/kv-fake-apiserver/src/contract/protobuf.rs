//! Objects as protobuf.

use serde_json::json;

use super::api::{Api, METADATA_IN_PROTOBUF, config_map};
use crate::kind::Kind;
use crate::protobuf::{PROTOBUF, from_json, kind_of, metadata_of, to_json};

/// What both forms show.
const FIELDS: [&str; 9] = [
    "name",
    "namespace",
    "labels",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "ownerReferences",
];

pub(super) async fn an_object_is_the_same_in_protobuf(api: &Api) {
    let fields = json!({
        "metadata": { "name": "a", "labels": { "l": "1" }, "annotations": { "n": "2" } },
        "data": { "t": "text" },
        "binaryData": { "b": "AP8H" },
        "immutable": true,
    });
    let mut object = config_map("a", fields);
    object["metadata"]["namespace"] = api.namespace.clone().into();
    let body = from_json(object.to_string().as_bytes()).expect("a message");
    let created = api.call("POST", "configmaps").content_type(PROTOBUF);
    let created = created.raw(&body).send().await.expect(201);
    for field in ["data", "binaryData", "immutable"] {
        assert_eq!(created.body[field], object[field], "{created:?}");
    }
    assert_eq!(created.body["metadata"]["annotations"], json!({ "n": "2" }));

    let (code, bytes) = api
        .call("GET", "configmaps/a")
        .accept(PROTOBUF)
        .bytes()
        .await;
    assert_eq!(code, 200);
    let read = to_json(Kind::ConfigMap, &bytes).expect("a message");
    for field in ["data", "binaryData", "immutable", "kind", "apiVersion"] {
        assert_eq!(read[field], object[field], "{read}");
    }
    for field in FIELDS {
        assert_eq!(
            read["metadata"][field], created.body["metadata"][field],
            "{read}"
        );
    }
}

/// What is left out of a PUT and belongs to the server stays; what others own is reset on demand.
pub(super) async fn an_object_is_replaced_in_protobuf(api: &Api) {
    let before = api.create_one("a").await;
    let fields = json!({
        "metadata": { "name": "a", "managedFields": [{}] },
        "binaryData": { "b": "AP8H" },
    });
    let mut object = config_map("a", fields);
    object["metadata"]["uid"] = before.metadata("uid").clone();
    object["metadata"]["resourceVersion"] = before.metadata("resourceVersion").clone();
    let body = from_json(object.to_string().as_bytes()).expect("a message");
    let put = || {
        let call = api.call("PUT", "configmaps/a").content_type(PROTOBUF);
        call.raw(&body)
    };
    let replaced = put().send().await.expect(200);
    assert_eq!(replaced.body["binaryData"], object["binaryData"]);
    assert_eq!(replaced.body["data"], json!(null));
    let created = before.metadata("creationTimestamp");
    assert_eq!(replaced.metadata("creationTimestamp"), created);
    assert_eq!(replaced.metadata("managedFields"), &json!(null));
    put().send().await.refused(409, "Conflict");
}

pub(super) async fn lists_and_refusals_come_in_protobuf_too(api: &Api) {
    api.create_one("a").await;
    let (code, bytes) = api.call("GET", "configmaps").accept(PROTOBUF).bytes().await;
    assert_eq!(
        (code, kind_of(&bytes)),
        (200, Some("ConfigMapList".to_owned()))
    );
    let (code, bytes) = api
        .call("GET", "configmaps/b")
        .accept(PROTOBUF)
        .bytes()
        .await;
    assert_eq!((code, kind_of(&bytes)), (404, Some("Status".to_owned())));
}

pub(super) async fn an_object_that_waits_for_its_finalizers_says_so_in_protobuf(api: &Api) {
    let owner = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "o",
        "uid": "00000000-0000-4000-8000-000000000000",
        "controller": true,
        "blockOwnerDeletion": false,
    });
    let fields = json!({
        "metadata": { "finalizers": ["example.com/f"], "ownerReferences": [owner] },
    });
    let created = api.create(&config_map("a", fields)).await.expect(201);
    assert_eq!(created.metadata("ownerReferences")[0], owner);
    api.delete("a", &json!({})).await.expect(200);
    let shown = api.get("a").await.expect(200);
    assert!(shown.metadata("deletionTimestamp").is_string());
    let call = api.call("GET", "configmaps/a").accept(PROTOBUF);
    let read = to_json(Kind::ConfigMap, &call.bytes().await.1).expect("a message");
    for field in FIELDS {
        assert_eq!(read["metadata"][field], shown.body["metadata"][field]);
    }
    let released = json!({ "metadata": { "finalizers": null } });
    api.patch("a", &released).await.expect(200);
    let start = created.version();
    let path = format!("configmaps?watch=true&timeoutSeconds=20&resourceVersion={start}");
    let told = api.call("GET", &path).watch_in_protobuf(2).await;
    let kinds: Vec<_> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["MODIFIED", "DELETED"]);
    let last = to_json(Kind::ConfigMap, &told[1].1).expect("a message");
    assert_eq!(&last["metadata"]["uid"], created.metadata("uid"));
}

pub(super) async fn metadata_alone_comes_in_protobuf_too(api: &Api) {
    api.create_one("a").await;
    let changed = json!({ "metadata": { "labels": { "l": "1" } } });
    let call = api.call("PUT", "configmaps/a").accept(METADATA_IN_PROTOBUF);
    let call = call.json(&config_map("a", changed));
    let (code, bytes) = call.bytes().await;
    assert_eq!(code, 200);
    assert_eq!(kind_of(&bytes), Some("PartialObjectMetadata".to_owned()));
    let read = metadata_of(&bytes).expect("metadata");
    let shown = api.get("a").await;
    for field in FIELDS {
        assert_eq!(&read[field], shown.metadata(field), "{field}");
    }
}

pub(super) async fn a_watch_is_the_same_in_protobuf(api: &Api) {
    let start = api.create_one("a").await.version();
    let changed = json!({ "binaryData": { "b": "AP8H" } });
    api.patch("a", &changed).await.expect(200);
    api.create_one("b").await;
    api.delete("a", &json!({})).await.expect(200);
    let path = format!("configmaps?watch=true&timeoutSeconds=20&resourceVersion={start}");
    let in_json = api.call("GET", &path).watch(3).await;
    let in_protobuf = api.call("GET", &path).watch_in_protobuf(3).await;
    assert_eq!((in_json.len(), in_protobuf.len()), (3, 3));
    for (event, (kind, object)) in in_json.iter().zip(&in_protobuf) {
        assert_eq!(&event["type"], kind);
        let (shown, read) = (&event["object"], to_json(Kind::ConfigMap, object));
        let read = read.expect("a message");
        for field in ["data", "binaryData", "kind", "apiVersion"] {
            assert_eq!(read[field], shown[field], "{read}");
        }
        for field in FIELDS {
            assert_eq!(read["metadata"][field], shown["metadata"][field], "{read}");
        }
    }
}

pub(super) async fn what_is_no_protobuf_is_bad(api: &Api) {
    let call = api.call("POST", "configmaps").content_type(PROTOBUF);
    call.raw("k8s").send().await.refused(400, "BadRequest");
}
