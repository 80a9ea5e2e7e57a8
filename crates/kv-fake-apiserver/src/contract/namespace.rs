//! Namespaces that are missing, or on their way out.

use serde_json::{Value, json};

use super::api::{Api, config_map, object};

pub(super) async fn a_terminating_namespace_takes_nothing_new(api: &Api) {
    let name = format!("{}-leaving", api.namespace);
    let namespaces = api.call_absolute("POST", "/api/v1/namespaces");
    namespaces
        .json(&object("Namespace", &name, json!({})))
        .send()
        .await
        .expect(201);
    let leaving = api.elsewhere(&name);
    // What a finalizer holds back keeps the namespace from going at once.
    let held = json!({ "metadata": { "finalizers": ["kv.example.com/hold"] } });
    leaving.create(&config_map("held", held)).await.expect(201);

    let path = format!("/api/v1/namespaces/{name}");
    let deleted = api.call_absolute("DELETE", &path).send().await.expect(200);
    assert_eq!(deleted.body["kind"], "Namespace");
    assert_eq!(deleted.body["status"]["phase"], "Terminating");
    assert!(deleted.metadata("deletionTimestamp").is_string());

    let refused = leaving
        .create(&config_map("late", json!({})))
        .await
        .refused(403, "Forbidden");
    let refused = refused.because_of(&["metadata.namespace"]).saying(&format!(
        "configmaps \"late\" is forbidden: unable to create new content in namespace {name} because \
         it is being terminated"
    ));
    assert_eq!(
        refused.body["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    leaving
        .patch("held", &json!({ "data": { "k": "v" } }))
        .await
        .expect(200);
    leaving
        .patch("held", &json!({ "metadata": { "finalizers": null } }))
        .await
        .expect(200);
}

pub(super) async fn objects_of_a_missing_namespace_are_not_found(api: &Api) {
    let nowhere = api.elsewhere("no-such-namespace");
    let expected = "configmaps \"a\" not found";
    nowhere
        .get("a")
        .await
        .refused(404, "NotFound")
        .saying(expected);
    nowhere
        .patch("a", &json!({}))
        .await
        .refused(404, "NotFound")
        .saying(expected);
    nowhere
        .delete("a", &json!({}))
        .await
        .refused(404, "NotFound")
        .saying(expected);
    let put = nowhere.put("a", &config_map("a", json!({}))).await;
    put.refused(404, "NotFound").saying(expected);
}

pub(super) async fn a_namespace_carries_its_name_as_a_label(api: &Api) {
    let path = format!("/api/v1/namespaces/{}", api.namespace);
    let got = api.call_absolute("GET", &path).send().await.expect(200);
    let label = &got.metadata("labels")["kubernetes.io/metadata.name"];
    assert_eq!(label, &Value::from(api.namespace.as_str()));
    assert_eq!(got.body["status"]["phase"], "Active");
}
