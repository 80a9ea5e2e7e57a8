//! LIST.

use serde_json::json;

use super::api::{Api, config_map};

/// Creates five objects `o0` to `o4` with a common label and a number.
async fn create_five(api: &Api) {
    for n in 0..5 {
        let labels = json!({ "app": "kv", "n": n.to_string() });
        let object = config_map(
            &format!("o{n}"),
            json!({ "metadata": { "labels": labels } }),
        );
        api.create(&object).await.expect(201);
    }
}

pub(super) async fn a_list_has_a_version_and_items_without_kind(api: &Api) {
    create_five(api).await;
    let listed = api.list("labelSelector=app").await.expect(200);
    assert_eq!(listed.body["kind"], "ConfigMapList");
    assert_eq!(listed.names(), ["o0", "o1", "o2", "o3", "o4"]);
    assert!(listed.body["items"][0].get("kind").is_none());
    assert!(listed.version() >= api.get("o4").await.version());
}

pub(super) async fn labels_select_by_equality_and_sets(api: &Api) {
    create_five(api).await;
    for (selector, names) in [
        ("app%3Dkv,n%3D%3D1", ["o1"].as_slice()),
        ("app,n!%3D1,n!%3D2", &["o0", "o3", "o4"]),
        ("n%20in%20(1,%203)", &["o1", "o3"]),
        ("app,n%20notin%20(1,2,3)", &["o0", "o4"]),
        ("app,!n", &[]),
        ("n%3E2", &["o3", "o4"]),
        ("n%3C1", &["o0"]),
    ] {
        let listed = api
            .list(&format!("labelSelector={selector}"))
            .await
            .expect(200);
        assert_eq!(listed.names(), names, "{selector}");
    }
}

pub(super) async fn fields_select_by_name(api: &Api) {
    create_five(api).await;
    for (selector, names) in [
        ("metadata.name%3Do1", ["o1"].as_slice()),
        ("metadata.name%3Do1,metadata.name%3Do2", &[]),
        ("metadata.name%3Do1,metadata.namespace%3Dother", &[]),
    ] {
        let listed = api
            .list(&format!("fieldSelector={selector}"))
            .await
            .expect(200);
        assert_eq!(listed.names(), names, "{selector}");
    }
    let others = api
        .list("labelSelector=app&fieldSelector=metadata.name!%3Do1")
        .await;
    assert_eq!(others.names().len(), 4);
}

pub(super) async fn broken_selectors_are_bad(api: &Api) {
    for selector in ["a%20b", "a,", "%3D", "-a", "a%3D-", "a%20in%20("] {
        let refused = api.list(&format!("labelSelector={selector}")).await;
        refused.refused(400, "BadRequest");
    }
    for selector in ["data%3Dx", "metadata.name"] {
        let refused = api.list(&format!("fieldSelector={selector}")).await;
        refused.refused(400, "BadRequest");
    }
}

pub(super) async fn pages_show_one_moment(api: &Api) {
    create_five(api).await;
    // Another writer may have put an object of its own into the namespace; it has no label.
    let query = "labelSelector=app&limit=2";
    let first = api.list(query).await.expect(200);
    assert_eq!(first.names(), ["o0", "o1"]);
    api.delete("o2", &json!({})).await.expect(200);
    api.patch("o3", &json!({ "data": { "k": "new" } }))
        .await
        .expect(200);
    let next = first
        .metadata("continue")
        .as_str()
        .expect("a next page")
        .to_owned();
    let second = api
        .list(&format!("{query}&continue={next}"))
        .await
        .expect(200);
    assert_eq!(second.names(), ["o2", "o3"]);
    assert!(
        second.body["items"][1].get("data").is_none(),
        "as it was at the first page"
    );
    assert_eq!(second.version(), first.version());
    let next = second
        .metadata("continue")
        .as_str()
        .expect("a next page")
        .to_owned();
    let third = api
        .list(&format!("{query}&continue={next}"))
        .await
        .expect(200);
    assert_eq!(third.names(), ["o4"]);
    assert!(third.metadata("continue").is_null());
}

pub(super) async fn a_broken_continue_token_is_bad(api: &Api) {
    api.list("limit=2&continue=nonsense")
        .await
        .refused(400, "BadRequest");
    api.list("limit=x").await.refused(400, "BadRequest");
}

pub(super) async fn a_list_is_read_at_an_exact_version(api: &Api) {
    create_five(api).await;
    let version = api.get("o2").await.version();
    let query = format!("labelSelector=app&resourceVersion={version}&resourceVersionMatch=Exact");
    let listed = api.list(&query).await.expect(200);
    assert_eq!(listed.names(), ["o0", "o1", "o2"]);
    assert_eq!(listed.version(), version);
    let query = "resourceVersion=0&resourceVersionMatch=Exact";
    api.list(query)
        .await
        .refused(422, "Invalid")
        .because_of(&["resourceVersionMatch"]);
    let query = "resourceVersionMatch=Exact";
    api.list(query)
        .await
        .refused(422, "Invalid")
        .because_of(&["resourceVersionMatch"]);
}

pub(super) async fn a_missing_namespace_is_empty(api: &Api) {
    let listed = api
        .elsewhere("no-such-namespace")
        .list("")
        .await
        .expect(200);
    assert_eq!(listed.body["items"], json!([]));
}
