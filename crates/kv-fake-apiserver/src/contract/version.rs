//! `resourceVersion`.

use serde_json::json;

use super::api::{Api, config_map};

pub(super) async fn versions_grow_over_all_objects(api: &Api) {
    let mut last = 0;
    for name in ["a", "b", "a", "b"] {
        let object = config_map(name, json!({ "data": { "k": last.to_string() } }));
        let put = api.put(name, &object).await;
        let written = if put.code == 404 {
            api.create(&object).await.expect(201)
        } else {
            put
        };
        assert!(written.version() > last);
        last = written.version();
    }
    assert!(api.list("").await.expect(200).version() >= last);
}

pub(super) async fn an_unchanged_put_keeps_the_version(api: &Api) {
    let created = api.create_one("a").await;
    let put = api
        .put("a", &config_map("a", json!({ "data": { "k": "v" } })))
        .await
        .expect(200);
    assert_eq!(put.body, created.body);
}

pub(super) async fn an_unchanged_patch_keeps_the_version(api: &Api) {
    let created = api.create_one("a").await;
    for patch in [
        json!({}),
        json!({ "data": { "k": "v" } }),
        json!({ "data": { "x": null } }),
    ] {
        let patched = api.patch("a", &patch).await.expect(200);
        assert_eq!(patched.body, created.body);
    }
}

pub(super) async fn a_version_never_returns(api: &Api) {
    let first = api.create_one("a").await;
    api.delete("a", &json!({})).await.expect(200);
    let second = api.create_one("a").await;
    assert!(
        second.version() > first.version() + 1,
        "the deletion has a version too"
    );
    assert_ne!(second.uid(), first.uid());
    let metadata = json!({ "resourceVersion": first.metadata("resourceVersion") });
    let object = config_map("a", json!({ "metadata": metadata }));
    api.put("a", &object).await.refused(409, "Conflict");
}

pub(super) async fn a_get_at_a_version_is_at_least_as_new(api: &Api) {
    api.create_one("a").await;
    let patched = api
        .patch("a", &json!({ "data": { "k": "w" } }))
        .await
        .expect(200);
    let path = format!("configmaps/a?resourceVersion={}", patched.version());
    let got = api.call("GET", &path).send().await.expect(200);
    assert!(got.version() >= patched.version());
    let listed = api
        .list(&format!("resourceVersion={}", patched.version()))
        .await
        .expect(200);
    assert!(listed.version() >= patched.version());
    api.call("GET", "configmaps/a?resourceVersion=0")
        .send()
        .await
        .expect(200);
}

pub(super) async fn a_version_of_the_future_is_a_timeout(api: &Api) {
    api.create_one("a").await;
    for path in ["configmaps/a", "configmaps"] {
        let path = format!("{path}?resourceVersion=999999999999");
        let refused = api.call("GET", &path).send().await.refused(504, "Timeout");
        let cause = &refused.body["details"]["causes"][0];
        assert_eq!(cause["reason"], "ResourceVersionTooLarge");
        assert_eq!(refused.body["details"]["retryAfterSeconds"], 1);
    }
}

pub(super) async fn a_version_that_is_no_number_is_an_error(api: &Api) {
    api.create_one("a").await;
    let get = api
        .call("GET", "configmaps/a?resourceVersion=x")
        .send()
        .await;
    get.refused(500, "");
    api.list("resourceVersion=x")
        .await
        .refused(400, "BadRequest");
    let object = config_map("a", json!({ "metadata": { "resourceVersion": "x" } }));
    api.put("a", &object).await.refused(500, "");
}
