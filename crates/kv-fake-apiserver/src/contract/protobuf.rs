//! Objects as protobuf.

use serde_json::json;

use super::api::{Api, config_map};
use crate::kind::Kind;
use crate::protobuf::{PROTOBUF, from_json, kind_of, to_json};

/// What both forms show.
const FIELDS: [&str; 5] = ["name", "namespace", "labels", "uid", "resourceVersion"];

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

pub(super) async fn what_is_no_protobuf_is_bad(api: &Api) {
    let call = api.call("POST", "configmaps").content_type(PROTOBUF);
    call.raw("k8s").send().await.refused(400, "BadRequest");
}
