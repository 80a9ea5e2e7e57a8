//! What Secrets have of their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::{Answer, Api, object};

async fn create(api: &Api, fields: Value) -> Answer {
    api.call("POST", "secrets")
        .json(&object("Secret", "a", fields))
        .send()
        .await
}

async fn patch(api: &Api, patch: Value) -> Answer {
    api.call("PATCH", "secrets/a").json(&patch).send().await
}

pub(super) async fn string_data_becomes_data(api: &Api) {
    let fields = json!({ "data": { "k": "AAEC" }, "stringData": { "t": "hi" } });
    let created = create(api, fields).await.expect(201);
    assert_eq!(created.body["data"], json!({ "k": "AAEC", "t": "aGk=" }));
    assert!(created.body.get("stringData").is_none());
    assert_eq!(created.body["type"], "Opaque");
    let patched = patch(api, json!({ "stringData": { "k": "ho" } }))
        .await
        .expect(200);
    assert_eq!(patched.body["data"], json!({ "k": "aG8=", "t": "aGk=" }));
}

pub(super) async fn the_type_of_a_secret_stays(api: &Api) {
    create(api, json!({ "type": "example.com/kv" }))
        .await
        .expect(201);
    let refused = patch(api, json!({ "type": "example.com/other" })).await;
    refused.refused(422, "Invalid").because_of(&["type"]);
}

pub(super) async fn a_secret_may_take_a_mebibyte(api: &Api) {
    let fields = |bytes: usize| json!({ "data": { "k": STANDARD.encode(vec![7; bytes]) } });
    let refused = create(api, fields((1 << 20) + 1)).await;
    refused.refused(422, "Invalid").because_of(&["data"]);
    create(api, fields(1 << 20)).await.expect(201);
}

pub(super) async fn an_immutable_secret_keeps_its_data(api: &Api) {
    create(api, json!({ "immutable": true, "data": { "k": "AAEC" } }))
        .await
        .expect(201);
    let refused = patch(api, json!({ "data": { "k": "AAED" } })).await;
    refused.refused(422, "Invalid").because_of(&["data"]);
    patch(api, json!({ "metadata": { "labels": { "l": "1" } } }))
        .await
        .expect(200);
}
