//! PATCH.

use serde_json::{Value, json};

use super::api::{Api, STRATEGIC, config_map};

pub(super) async fn a_merge_patch_changes_only_what_it_names(api: &Api) {
    let fields = json!({ "data": { "a": "1", "b": "2" }, "binaryData": { "c": "AAEC" } });
    api.create(&config_map("a", fields)).await.expect(201);
    let patch = json!({ "data": { "a": null, "d": "4" } });
    let patched = api.patch("a", &patch).await.expect(200);
    assert_eq!(patched.body["data"], json!({ "b": "2", "d": "4" }));
    assert_eq!(patched.body["binaryData"], json!({ "c": "AAEC" }));
    let patched = api.patch("a", &json!({ "data": null })).await.expect(200);
    assert!(patched.body.get("data").is_none());
}

fn versioned(version: &Value, value: &str) -> Value {
    json!({ "metadata": { "resourceVersion": version }, "data": { "k": value } })
}

pub(super) async fn a_patch_with_an_old_version_is_a_conflict(api: &Api) {
    let created = api.create_one("a").await;
    let version = created.metadata("resourceVersion");
    api.patch("a", &versioned(version, "w")).await.expect(200);
    api.patch("a", &versioned(version, "x"))
        .await
        .refused(409, "Conflict");
    for unconditional in [json!(null), json!(""), json!("0")] {
        api.patch("a", &versioned(&unconditional, "y"))
            .await
            .expect(200);
    }
}

pub(super) async fn a_patch_with_an_old_version_is_a_conflict_even_if_nothing_would_change(
    api: &Api,
) {
    let created = api.create_one("a").await;
    let version = created.metadata("resourceVersion");
    api.patch("a", &versioned(version, "w")).await.expect(200);
    api.patch("a", &versioned(version, "w"))
        .await
        .refused(409, "Conflict");
}

pub(super) async fn a_patch_with_a_foreign_uid_is_invalid(api: &Api) {
    let created = api.create_one("a").await;
    let patch = |uid: &str| json!({ "metadata": { "uid": uid }, "data": { "k": "w" } });
    api.patch("a", &patch("foreign"))
        .await
        .refused(422, "Invalid");
    api.patch("a", &patch(&created.uid())).await.expect(200);
    api.patch("gone", &patch("foreign"))
        .await
        .refused(404, "NotFound");
}

pub(super) async fn a_patch_of_a_missing_object_is_not_found(api: &Api) {
    let refused = api.patch("a", &json!({ "data": { "k": "w" } })).await;
    refused
        .refused(404, "NotFound")
        .saying("configmaps \"a\" not found");
}

pub(super) async fn a_patch_that_makes_no_object_is_invalid(api: &Api) {
    api.create_one("a").await;
    for patch in [
        json!({ "data": { "k": 1 } }),
        json!({ "binaryData": { "b": "*" } }),
        json!({ "kind": "Secret" }),
    ] {
        api.patch("a", &patch)
            .await
            .refused(422, "Invalid")
            .because_of(&["patch"]);
    }
    for patch in [
        json!({ "metadata": { "name": "b" } }),
        json!({ "metadata": { "namespace": "b" } }),
    ] {
        api.patch("a", &patch).await.refused(400, "BadRequest");
    }
}

pub(super) async fn a_patch_of_an_unknown_type_is_unsupported(api: &Api) {
    api.create_one("a").await;
    let call = api
        .call("PATCH", "configmaps/a")
        .content_type("application/json");
    let refused = call
        .json(&json!({}))
        .send()
        .await
        .refused(415, "UnsupportedMediaType");
    refused.saying("415: Unsupported Media Type");
}

pub(super) async fn a_broken_patch_is_bad(api: &Api) {
    api.create_one("a").await;
    for body in ["{", "[1]", ""] {
        let refused = api.call("PATCH", "configmaps/a").raw(body).send().await;
        refused.refused(400, "BadRequest");
    }
}

pub(super) async fn a_strategic_patch_merges_maps_and_owners(api: &Api) {
    let owner = |uid: &str| json!({ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid });
    let fields = json!({
        "metadata": { "ownerReferences": [owner("1")] },
        "data": { "a": "1", "b": "2" },
    });
    api.create(&config_map("a", fields)).await.expect(201);
    let patch = async |patch: Value| {
        let call = api.call("PATCH", "configmaps/a").content_type(STRATEGIC);
        call.json(&patch).send().await.expect(200)
    };
    let patched = patch(json!({
        "metadata": { "ownerReferences": [owner("2")] },
        "data": { "a": null, "c": "3" },
    }))
    .await;
    assert_eq!(patched.body["data"], json!({ "b": "2", "c": "3" }));
    assert_eq!(
        patched.metadata("ownerReferences").as_array().map(Vec::len),
        Some(2)
    );
    let patched = patch(json!({ "data": { "$patch": "replace", "d": "4" } })).await;
    assert_eq!(patched.body["data"], json!({ "d": "4" }));
}

pub(super) async fn a_dry_run_patches_nothing(api: &Api) {
    let created = api.create_one("a").await;
    let call = api.call("PATCH", "configmaps/a?dryRun=All");
    let patched = call
        .json(&json!({ "data": { "k": "w" } }))
        .send()
        .await
        .expect(200);
    assert_eq!(patched.body["data"]["k"], "w");
    assert_eq!(patched.version(), created.version());
    assert_eq!(api.get("a").await.body["data"]["k"], "v");
}
