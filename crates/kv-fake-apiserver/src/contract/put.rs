//! PUT.

use serde_json::json;

use super::api::{Api, config_map};

const MODIFIED: &str = "Operation cannot be fulfilled on configmaps \"a\": the object has been \
    modified; please apply your changes to the latest version and try again";

pub(super) async fn a_put_replaces_everything(api: &Api) {
    let labelled = json!({ "metadata": { "labels": { "l": "1" } }, "data": { "k": "v" } });
    let created = api.create(&config_map("a", labelled)).await.expect(201);
    let object = config_map("a", json!({ "binaryData": { "b": "AAEC" } }));
    let put = api.put("a", &object).await.expect(200);
    assert!(put.body.get("data").is_none());
    assert!(put.metadata("labels").is_null());
    assert_eq!(put.uid(), created.uid());
    assert_eq!(
        put.metadata("creationTimestamp"),
        created.metadata("creationTimestamp")
    );
    assert!(put.version() > created.version());
}

pub(super) async fn a_put_of_a_missing_object_is_not_found(api: &Api) {
    for metadata in [
        json!({}),
        json!({ "resourceVersion": "5" }),
        json!({ "uid": "u" }),
    ] {
        let object = config_map("a", json!({ "metadata": metadata }));
        let refused = api.put("a", &object).await;
        if object["metadata"].get("uid").is_some() {
            // The uid is compared before the object is missed.
            assert!([404, 409].contains(&refused.code), "{refused:?}");
        } else {
            refused
                .refused(404, "NotFound")
                .saying("configmaps \"a\" not found");
        }
    }
    api.get("a").await.refused(404, "NotFound");
}

pub(super) async fn a_put_without_a_version_is_unconditional(api: &Api) {
    api.create_one("a").await;
    for version in ["", "0"] {
        let fields =
            json!({ "metadata": { "resourceVersion": version }, "data": { "k": version } });
        api.put("a", &config_map("a", fields)).await.expect(200);
    }
}

pub(super) async fn a_put_with_an_old_version_is_a_conflict(api: &Api) {
    let created = api.create_one("a").await;
    let version = created.metadata("resourceVersion").clone();
    let metadata = json!({ "resourceVersion": version });
    let object = |value: &str| {
        config_map(
            "a",
            json!({ "metadata": metadata.clone(), "data": { "k": value } }),
        )
    };
    api.put("a", &object("w")).await.expect(200);
    let refused = api
        .put("a", &object("x"))
        .await
        .refused(409, "Conflict")
        .saying(MODIFIED);
    assert_eq!(
        refused.body["details"],
        json!({ "name": "a", "kind": "configmaps" })
    );
    assert_eq!(api.get("a").await.body["data"]["k"], "w");
}

pub(super) async fn a_put_with_a_foreign_uid_is_a_conflict(api: &Api) {
    let created = api.create_one("a").await;
    let fields = json!({ "metadata": { "uid": "foreign" }, "data": { "k": "w" } });
    let refused = api
        .put("a", &config_map("a", fields))
        .await
        .refused(409, "Conflict");
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("UID in precondition: foreign"),
        "{message}"
    );
    let fields = json!({ "metadata": { "uid": created.uid() }, "data": { "k": "w" } });
    api.put("a", &config_map("a", fields)).await.expect(200);
}

pub(super) async fn a_put_needs_the_name_of_the_url(api: &Api) {
    api.create_one("a").await;
    let refused = api
        .put("a", &config_map("b", json!({})))
        .await
        .refused(400, "BadRequest");
    refused.saying("the name of the object (b) does not match the name on the URL (a)");
    api.put("a", &json!({ "metadata": {} }))
        .await
        .refused(400, "BadRequest");
    let elsewhere = config_map("a", json!({ "metadata": { "namespace": "other" } }));
    api.put("a", &elsewhere).await.refused(400, "BadRequest");
}
