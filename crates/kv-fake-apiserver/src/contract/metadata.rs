//! `managedFields`, and answers with nothing but metadata.

use serde_json::{Value, json};

use super::api::{Answer, Api, METADATA, METADATA_LIST, config_map};

/// The managers and what they own.
fn managed(answer: &Answer) -> Vec<(String, Value)> {
    let entries = answer
        .metadata("managedFields")
        .as_array()
        .cloned()
        .unwrap_or_default();
    let pair = |entry: Value| {
        (
            entry["manager"].as_str().unwrap_or_default().to_owned(),
            entry["fieldsV1"].clone(),
        )
    };
    entries.into_iter().map(pair).collect()
}

pub(super) async fn a_create_adds_managed_fields(api: &Api) {
    let fields = json!({ "data": { "k": "v" }, "metadata": { "managedFields": [{}] } });
    let created = api.create(&config_map("a", fields)).await.expect(201);
    let owned = json!({ "f:data": { ".": {}, "f:k": {} } });
    assert_eq!(managed(&created), [("contract".to_owned(), owned)]);
    let entry = &created.metadata("managedFields")[0];
    assert_eq!(
        (&entry["operation"], &entry["fieldsType"]),
        (&json!("Update"), &json!("FieldsV1"))
    );
}

pub(super) async fn a_reset_of_managed_fields_lasts(api: &Api) {
    api.create_one("a").await;
    let reset = json!({ "metadata": { "managedFields": [{}] }, "data": { "k": "w" } });
    let stripped = api.patch("a", &reset).await.expect(200);
    assert_eq!(managed(&stripped), []);
    let again = api.patch("a", &reset).await.expect(200);
    assert_eq!(again.version(), stripped.version(), "nothing left to strip");
    let later = api
        .patch("a", &json!({ "data": { "l": "x" } }))
        .await
        .expect(200);
    assert_eq!(managed(&later), []);
    let put = api
        .put("a", &config_map("a", json!({ "data": { "m": "x" } })))
        .await
        .expect(200);
    assert_eq!(managed(&put), []);
}

pub(super) async fn an_empty_list_resets_managed_fields_too(api: &Api) {
    api.create_one("a").await;
    let patched = api
        .patch("a", &json!({ "metadata": { "managedFields": [] } }))
        .await
        .expect(200);
    assert_eq!(managed(&patched), []);
}

pub(super) async fn a_changed_field_changes_hands(api: &Api) {
    api.create_one("a").await;
    let call = api.call("PATCH", "configmaps/a?fieldManager=second");
    let patched = call
        .json(&json!({ "data": { "k": "w", "l": "x" } }))
        .send()
        .await
        .expect(200);
    assert_eq!(
        managed(&patched),
        [
            ("contract".to_owned(), json!({ "f:data": {} })),
            (
                "second".to_owned(),
                json!({ "f:data": { "f:k": {}, "f:l": {} } })
            ),
        ]
    );
}

pub(super) async fn every_verb_answers_with_metadata_only(api: &Api) {
    let object = |value: &str| config_map("a", json!({ "data": { "k": value } }));
    for call in [
        api.call("POST", "configmaps").json(&object("1")),
        api.call("GET", "configmaps/a"),
        api.call("PUT", "configmaps/a").json(&object("2")),
        api.call("PATCH", "configmaps/a")
            .json(&json!({ "data": { "k": "3" } })),
    ] {
        let answer = call.accept(METADATA).send().await;
        assert!(answer.code < 300, "{answer:?}");
        assert_eq!(answer.body["kind"], "PartialObjectMetadata");
        assert_eq!(answer.body["apiVersion"], "meta.k8s.io/v1");
        assert!(answer.body.get("data").is_none(), "{answer:?}");
        assert!(answer.version() > 0);
    }
    let listed = api
        .call("GET", "configmaps")
        .accept(METADATA_LIST)
        .send()
        .await
        .expect(200);
    assert_eq!(listed.body["kind"], "PartialObjectMetadataList");
    assert_eq!(listed.body["items"][0]["kind"], "PartialObjectMetadata");
    assert!(listed.body["items"][0].get("data").is_none());
}

pub(super) async fn a_list_of_metadata_has_a_form_of_its_own(api: &Api) {
    let listed = api.call("GET", "configmaps").accept(METADATA).send().await;
    listed.refused(406, "NotAcceptable");
    api.create_one("a").await;
    let got = api
        .call("GET", "configmaps/a")
        .accept(METADATA_LIST)
        .send()
        .await;
    got.refused(406, "NotAcceptable");
    let got = api
        .call("GET", "configmaps/a")
        .accept("application/nonsense")
        .send()
        .await;
    got.refused(406, "NotAcceptable");
}

pub(super) async fn an_empty_list_of_metadata_has_null_items(api: &Api) {
    let call = api.call("GET", "configmaps?labelSelector=none%3Dx");
    let listed = call.accept(METADATA_LIST).send().await.expect(200);
    assert_eq!(listed.body.get("items"), Some(&Value::Null));
    let listed = api.list("labelSelector=none%3Dx").await.expect(200);
    assert_eq!(listed.body["items"], json!([]));
}
