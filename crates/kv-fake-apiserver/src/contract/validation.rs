//! What an object must look like.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::{Answer, Api, METADATA, config_map};

const MEBIBYTE: usize = 1 << 20;

async fn rehearse(api: &Api, object: &Value) -> Answer {
    let call = api.call("POST", "configmaps?dryRun=All").accept(METADATA);
    call.json(object).send().await
}

pub(super) async fn names_are_subdomains(api: &Api) {
    for good in ["a", "a.b-c.1", &"a".repeat(253)] {
        rehearse(api, &config_map(good, json!({})))
            .await
            .expect(201);
    }
    for bad in ["", "A", "a_b", "-a", "a.", "a..b", &"a".repeat(254)] {
        let refused = rehearse(api, &config_map(bad, json!({})))
            .await
            .refused(422, "Invalid");
        refused.because_of(&["metadata.name"]);
    }
}

pub(super) async fn keys_are_plain_and_short(api: &Api) {
    let longest = "a".repeat(253);
    let too_long = "a".repeat(254);
    for (map, value) in [("data", "1"), ("binaryData", "AA==")] {
        for good in [".a", "A-b_c.d", "a..b", "-", &longest] {
            let object = config_map("a", json!({ map: { good: value } }));
            rehearse(api, &object).await.expect(201);
        }
        for bad in ["", ".", "..", "..a", "a/b", "a b", "ä", &too_long] {
            let object = config_map("a", json!({ map: { bad: value } }));
            let refused = rehearse(api, &object).await.refused(422, "Invalid");
            refused.because_of(&[&format!("{map}[{bad}]")]);
        }
    }
}

pub(super) async fn a_key_is_in_one_of_the_two_maps(api: &Api) {
    let fields = json!({ "data": { "k": "1" }, "binaryData": { "k": "AA==" } });
    let refused = rehearse(api, &config_map("a", fields))
        .await
        .refused(422, "Invalid");
    refused.because_of(&["data[k]"]).saying(
        "ConfigMap \"a\" is invalid: data[k]: Invalid value: \"k\": duplicate of key present in \
         binaryData",
    );
}

pub(super) async fn values_may_take_a_mebibyte_together(api: &Api) {
    let object = |text: usize, bytes: usize| {
        let binary = STANDARD.encode(vec![0xff; bytes]);
        config_map(
            "a",
            json!({ "data": { "t": "x".repeat(text) }, "binaryData": { "b": binary } }),
        )
    };
    rehearse(api, &object(MEBIBYTE / 2, MEBIBYTE / 2))
        .await
        .expect(201);
    let refused = rehearse(api, &object(MEBIBYTE / 2, MEBIBYTE / 2 + 1)).await;
    refused
        .refused(422, "Invalid")
        .saying("ConfigMap \"a\" is invalid: []: Too long: may not be more than 1048576 bytes");
    let created = api.create(&object(0, MEBIBYTE)).await.expect(201);
    assert!(created.version() > 0);
    let refused = api.patch("a", &json!({ "data": { "t": "x" } })).await;
    refused.refused(422, "Invalid").because_of(&["[]"]);
}

pub(super) async fn keys_and_base64_do_not_count(api: &Api) {
    let longest = "k".repeat(253);
    let object = config_map("a", json!({ "data": { longest: "x".repeat(MEBIBYTE) } }));
    rehearse(api, &object).await.expect(201);
}

pub(super) async fn annotations_may_take_a_quarter_of_a_mebibyte(api: &Api) {
    let object = |bytes: usize| {
        let annotations = json!({ "a": "x".repeat(bytes - 1) });
        config_map("a", json!({ "metadata": { "annotations": annotations } }))
    };
    rehearse(api, &object(MEBIBYTE / 4)).await.expect(201);
    let refused = rehearse(api, &object(MEBIBYTE / 4 + 1))
        .await
        .refused(422, "Invalid");
    refused.because_of(&["metadata.annotations"]);
}

pub(super) async fn labels_are_short_and_plain(api: &Api) {
    let labelled = |key: &str, value: &str| {
        config_map("a", json!({ "metadata": { "labels": { key: value } } }))
    };
    for (key, value) in [
        ("a", ""),
        ("example.com/a_B", "x.y"),
        ("a", &"x".repeat(63)),
    ] {
        rehearse(api, &labelled(key, value)).await.expect(201);
    }
    for (key, value) in [
        ("a", "-x"),
        ("a", "x/y"),
        ("a", &"x".repeat(64)),
        ("-a", "x"),
        ("a/b/c", "x"),
        ("/a", "x"),
        (&"a".repeat(64), "x"),
    ] {
        let refused = rehearse(api, &labelled(key, value))
            .await
            .refused(422, "Invalid");
        refused.because_of(&["metadata.labels"]);
    }
}

async fn create_immutable(api: &Api) {
    let fields = json!({ "immutable": true, "data": { "k": "v" } });
    api.create(&config_map("a", fields)).await.expect(201);
}

pub(super) async fn an_immutable_object_keeps_its_data(api: &Api) {
    create_immutable(api).await;
    for (patch, fields) in [
        (json!({ "data": { "k": "w" } }), ["data"].as_slice()),
        (json!({ "binaryData": { "b": "AA==" } }), &["binaryData"]),
        (json!({ "immutable": false }), &["immutable"]),
        (json!({ "immutable": null }), &["immutable"]),
    ] {
        let refused = api
            .patch("a", &patch)
            .await
            .refused(422, "Invalid")
            .because_of(fields);
        let cause = &refused.body["details"]["causes"][0];
        assert_eq!(cause["reason"], "FieldValueForbidden");
        let expected = "Forbidden: field is immutable when `immutable` is set";
        assert_eq!(cause["message"], expected);
    }
}

pub(super) async fn an_immutable_object_changes_its_metadata_and_goes(api: &Api) {
    create_immutable(api).await;
    api.patch("a", &json!({ "metadata": { "labels": { "l": "1" } } }))
        .await
        .expect(200);
    api.delete("a", &json!({})).await.expect(200);
}

pub(super) async fn owners_and_finalizers_are_checked(api: &Api) {
    let object = |metadata: Value| config_map("a", json!({ "metadata": metadata }));
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "u" });
    let finalizers = ["kv.example.com/x"];
    let good = json!({ "ownerReferences": [owner], "finalizers": finalizers });
    rehearse(api, &object(good)).await.expect(201);
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "b" });
    let refused = rehearse(api, &object(json!({ "ownerReferences": [owner] }))).await;
    refused
        .refused(422, "Invalid")
        .because_of(&["metadata.ownerReferences.uid"]);
    let refused = rehearse(api, &object(json!({ "finalizers": ["plain"] }))).await;
    refused
        .refused(422, "Invalid")
        .because_of(&["metadata.finalizers[0]"]);
}
