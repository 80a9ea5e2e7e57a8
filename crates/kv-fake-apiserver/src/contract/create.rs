//! POST.

use serde_json::json;

use super::api::{Api, config_map};

pub(super) async fn a_create_answers_with_version_uid_and_time(api: &Api) {
    let object = config_map(
        "a",
        json!({ "data": { "k": "v" }, "binaryData": { "b": "AAEC" } }),
    );
    let created = api.create(&object).await.expect(201);
    assert!(created.version() > 1);
    assert_eq!(created.uid().len(), 36);
    assert_eq!(created.metadata("namespace"), &json!(api.namespace));
    assert_eq!(
        created.metadata("creationTimestamp").as_str().map(str::len),
        Some(20)
    );
    assert_eq!(created.body["kind"], "ConfigMap");
    let got = api.get("a").await.expect(200);
    assert_eq!(got.body, created.body);
}

pub(super) async fn an_existing_name_is_already_exists(api: &Api) {
    api.create_one("a").await;
    let again = api
        .create(&config_map("a", json!({})))
        .await
        .refused(409, "AlreadyExists");
    let again = again.saying("configmaps \"a\" already exists");
    assert_eq!(
        again.body["details"],
        json!({ "name": "a", "kind": "configmaps" })
    );
}

pub(super) async fn a_version_must_not_be_set(api: &Api) {
    let object = config_map("a", json!({ "metadata": { "resourceVersion": "5" } }));
    let refused = api.create(&object).await.refused(500, "");
    refused.saying("resourceVersion should not be set on objects to be created");
    api.get("a").await.refused(404, "NotFound");
}

pub(super) async fn a_name_is_generated(api: &Api) {
    let object = json!({ "metadata": { "generateName": "made-" } });
    let created = api.create(&object).await.expect(201);
    let name = created.metadata("name").as_str().unwrap_or_default();
    assert!(name.starts_with("made-") && name.len() == 10, "{name}");
}

pub(super) async fn a_missing_namespace_is_named(api: &Api) {
    let nowhere = api.elsewhere("no-such-namespace");
    let refused = nowhere
        .create(&config_map("a", json!({})))
        .await
        .refused(404, "NotFound");
    let refused = refused.saying("namespaces \"no-such-namespace\" not found");
    assert_eq!(refused.body["details"]["kind"], "namespaces");
}

pub(super) async fn the_namespace_of_the_body_must_fit(api: &Api) {
    let object = config_map("a", json!({ "metadata": { "namespace": "other" } }));
    api.create(&object).await.refused(400, "BadRequest").saying(
        "the namespace of the provided object does not match the namespace sent on the request",
    );
}

pub(super) async fn a_body_of_another_kind_is_bad(api: &Api) {
    let mut object = config_map("a", json!({}));
    object["kind"] = "Secret".into();
    api.create(&object).await.refused(400, "BadRequest");
    object["kind"] = "Nonsense".into();
    api.create(&object).await.refused(400, "BadRequest");
}

pub(super) async fn broken_json_is_bad(api: &Api) {
    for body in ["", "{", "[1]"] {
        api.call("POST", "configmaps")
            .raw(body)
            .send()
            .await
            .refused(400, "BadRequest");
    }
}

pub(super) async fn values_of_a_wrong_type_are_bad(api: &Api) {
    let refused = api
        .create(&config_map("a", json!({ "data": { "k": 1 } })))
        .await;
    refused.refused(400, "BadRequest").saying(
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal \
         number into Go struct field ConfigMap.data of type string",
    );
}

pub(super) async fn invalid_base64_is_bad(api: &Api) {
    for text in ["*", "AB", "AA=", "A"] {
        let object = config_map("a", json!({ "binaryData": { "k": text } }));
        api.create(&object).await.refused(400, "BadRequest");
    }
    let object = config_map("a", json!({ "binaryData": { "k": "AB==" } }));
    let created = api.create(&object).await.expect(201);
    assert_eq!(
        created.body["binaryData"]["k"], "AA==",
        "unused bits are dropped"
    );
}

pub(super) async fn unknown_fields_are_dropped_or_strictly_refused(api: &Api) {
    let object = config_map("a", json!({ "nonsense": 1, "metadata": { "more": 2 } }));
    let call = api
        .call("POST", "configmaps?fieldValidation=Strict")
        .json(&object);
    let refused = call.send().await.refused(400, "BadRequest");
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(message.contains("unknown field \"nonsense\""), "{message}");
    let call = api
        .call("POST", "configmaps?fieldValidation=Ignore")
        .json(&object);
    let created = call.send().await.expect(201);
    assert!(created.body.get("nonsense").is_none());
}

pub(super) async fn a_dry_run_creates_nothing(api: &Api) {
    let call = || {
        api.call("POST", "configmaps?dryRun=All")
            .json(&config_map("a", json!({})))
    };
    let created = call().send().await.expect(201);
    assert!(created.metadata("resourceVersion").is_null());
    api.get("a").await.refused(404, "NotFound");
    api.create_one("a").await;
    call().send().await.refused(409, "AlreadyExists");
}

pub(super) async fn a_body_over_three_mebibytes_is_too_large(api: &Api) {
    let object = config_map("a", json!({ "data": { "k": "x".repeat(3 << 20) } }));
    let refused = api
        .create(&object)
        .await
        .refused(413, "RequestEntityTooLarge");
    refused.saying("Request entity too large: limit is 3145728");
}
