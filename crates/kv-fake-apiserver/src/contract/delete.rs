//! DELETE.

use serde_json::{Value, json};

use super::api::{Api, config_map};

pub(super) async fn a_delete_answers_with_details(api: &Api) {
    let created = api.create_one("a").await;
    let deleted = api.call("DELETE", "configmaps/a").send().await.expect(200);
    assert_eq!(
        deleted.body,
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": { "name": "a", "kind": "configmaps", "uid": created.uid() },
        })
    );
    api.get("a").await.refused(404, "NotFound");
}

pub(super) async fn a_delete_of_a_missing_object_is_not_found(api: &Api) {
    for options in [json!({}), json!({ "preconditions": { "uid": "u" } })] {
        let refused = api.delete("a", &options).await.refused(404, "NotFound");
        refused.saying("configmaps \"a\" not found");
    }
}

fn preconditions(conditions: &Value) -> Value {
    json!({ "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": conditions })
}

pub(super) async fn a_delete_with_a_foreign_uid_is_a_conflict(api: &Api) {
    let created = api.create_one("a").await;
    let refused = api
        .delete("a", &preconditions(&json!({ "uid": "foreign" })))
        .await;
    refused.refused(409, "Conflict").saying(&format!(
        "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (foreign) \
         does not match the UID in record ({}). The object might have been deleted and then \
         recreated",
        created.uid()
    ));
    api.get("a").await.expect(200);
}

pub(super) async fn a_delete_with_an_old_version_is_a_conflict(api: &Api) {
    let created = api.create_one("a").await;
    let version = created.metadata("resourceVersion");
    api.patch("a", &json!({ "data": { "k": "w" } }))
        .await
        .expect(200);
    let refused = api
        .delete("a", &preconditions(&json!({ "resourceVersion": version })))
        .await;
    refused.refused(409, "Conflict");
    api.get("a").await.expect(200);
}

pub(super) async fn a_delete_with_fitting_preconditions_succeeds(api: &Api) {
    let created = api.create_one("a").await;
    let version = created.metadata("resourceVersion");
    let conditions = json!({ "uid": created.uid(), "resourceVersion": version });
    let mut options = preconditions(&conditions);
    options["dryRun"] = json!(["All"]);
    api.delete("a", &options).await.expect(200);
    api.get("a").await.expect(200);
    api.delete("a", &preconditions(&conditions))
        .await
        .expect(200);
    api.get("a").await.refused(404, "NotFound");
}

pub(super) async fn finalizers_hold_an_object(api: &Api) {
    let held = json!({ "metadata": { "finalizers": ["kv.example.com/hold"] } });
    api.create(&config_map("a", held)).await.expect(201);
    let deleted = api.delete("a", &json!({})).await.expect(200);
    assert_eq!(deleted.body["kind"], "ConfigMap");
    assert!(deleted.metadata("deletionTimestamp").is_string());
    assert_eq!(deleted.metadata("deletionGracePeriodSeconds"), &json!(0));
    let again = api.delete("a", &json!({})).await.expect(200);
    assert_eq!(again.version(), deleted.version());

    let more = json!({ "metadata": { "finalizers": ["kv.example.com/hold", "kv.example.com/b"] } });
    api.patch("a", &more).await.refused(422, "Invalid");
    api.patch("a", &json!({ "data": { "k": "v" } }))
        .await
        .expect(200);
    let released = api
        .patch("a", &json!({ "metadata": { "finalizers": null } }))
        .await
        .expect(200);
    assert!(released.metadata("finalizers").is_null());
    api.get("a").await.refused(404, "NotFound");
}

pub(super) async fn a_collection_is_deleted_by_label(api: &Api) {
    for (name, label) in [("a", "1"), ("b", "2"), ("c", "1")] {
        let labelled = json!({ "metadata": { "labels": { "l": label } } });
        api.create(&config_map(name, labelled)).await.expect(201);
    }
    let deleted = api
        .call("DELETE", "configmaps?labelSelector=l%3D1")
        .send()
        .await
        .expect(200);
    assert_eq!(deleted.body["kind"], "ConfigMapList");
    assert_eq!(deleted.names(), ["a", "c"]);
    assert_eq!(api.list("labelSelector=l").await.names(), ["b"]);
}
