//! What the handle of the server offers to tests.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use kv_fake_apiserver::{FakeApiServer, Kind, RequestRecord, Rights, Verb};
use serde_json::{Value, json};

fn api(client: Client) -> Api<ConfigMap> {
    Api::default_namespaced(client)
}

fn config_map(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object
}

#[tokio::test]
async fn requests_are_counted_with_their_answers() {
    let server = FakeApiServer::new();
    let api = api(server.client());
    api.create(&PostParams::default(), &config_map("a"))
        .await
        .expect("created");
    api.get_metadata("missing").await.expect_err("missing");
    let [create, get] = server.requests().try_into().expect("two requests");
    assert_eq!(
        (create.verb, create.kind, create.code),
        (Verb::Create, Kind::ConfigMap, Some(201))
    );
    assert!(create.body_bytes > 0 && create.name.is_none());
    assert_eq!(
        get,
        RequestRecord {
            verb: Verb::Get,
            kind: Kind::ConfigMap,
            namespace: Some("default".to_owned()),
            name: Some("missing".to_owned()),
            query: String::new(),
            metadata_only: true,
            body_bytes: 0,
            code: Some(404),
        }
    );
    server.reset_requests();
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn a_foreign_writer_obeys_the_same_rules() {
    let server = FakeApiServer::new();
    let before = server.revision();
    let edit = |change: fn(&mut Value)| server.edit(Kind::ConfigMap, "default", "a", change);
    let created = edit(|object| object["data"] = json!({ "k": "v" })).expect("created");
    assert_eq!(
        created["metadata"]["resourceVersion"],
        (before + 1).to_string()
    );
    edit(|object| object["immutable"] = true.into()).expect("changed");
    let refused = edit(|object| object["data"]["k"] = "w".into()).expect_err("immutable");
    assert_eq!(refused.code, 422);
    edit(|_| {}).expect("unchanged");
    assert_eq!(server.revision(), before + 2);
    server
        .delete(Kind::ConfigMap, "default", "a")
        .expect("deleted");
    let refused = server
        .delete(Kind::ConfigMap, "default", "a")
        .expect_err("missing");
    assert_eq!(refused.code, 404);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_objects() {
    let uid = |seed| {
        let server = FakeApiServer::with_seed(seed);
        let made = server
            .edit(Kind::Secret, "default", "a", |_| {})
            .expect("created");
        made["metadata"]["uid"].clone()
    };
    assert_eq!(uid(1), uid(1));
    assert_ne!(uid(1), uid(2));
}

async fn forbidden<T: std::fmt::Debug>(answer: impl Future<Output = Result<T, Error>>) -> String {
    match answer.await {
        Err(Error::Api(status)) if status.code == 403 => status.message,
        other => panic!("{other:?} is not forbidden"),
    }
}

#[tokio::test]
async fn rights_are_checked_per_verb_and_name() {
    let server = FakeApiServer::new();
    server
        .edit(Kind::ConfigMap, "default", "a", |_| {})
        .expect("created");
    let rights = Rights::new("alice")
        .allow(&[Verb::Get], &["configmaps"])
        .allow_named(
            &[Verb::List, Verb::Create, Verb::Patch],
            &["configmaps"],
            &["a"],
        );
    let api = api(server.client_with_rights("default", rights));
    api.get("a").await.expect("allowed");
    api.list(&ListParams::default().fields("metadata.name=a"))
        .await
        .expect("allowed for one");
    let patch = Patch::Merge(json!({ "data": { "k": "v" } }));
    api.patch("a", &PatchParams::default(), &patch)
        .await
        .expect("allowed for one");
    assert_eq!(
        forbidden(api.list(&ListParams::default())).await,
        "configmaps is forbidden: User \"alice\" cannot list resource \"configmaps\" in API group \
         \"\" in the namespace \"default\""
    );
    assert_eq!(
        forbidden(api.delete("a", &DeleteParams::default())).await,
        "configmaps \"a\" is forbidden: User \"alice\" cannot delete resource \"configmaps\" in \
         API group \"\" in the namespace \"default\""
    );
    forbidden(api.create(&PostParams::default(), &config_map("a"))).await;
}

#[tokio::test]
async fn rights_are_read_from_a_role() {
    let server = FakeApiServer::new();
    let rules = json!([
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] },
        { "apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"] },
    ]);
    let rights = Rights::new("alice").with_rules(&rules);
    let all = api(server.client_with_rights("default", rights));
    all.create(&PostParams::default(), &config_map("a"))
        .await
        .expect("allowed");
    let rights = Rights::new("alice")
        .with_rules(&json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]))
        .without(Verb::Get);
    let none = api(server.client_with_rights("default", rights));
    forbidden(none.get("a")).await;
}

#[tokio::test]
async fn garbage_is_collected_with_its_owners() {
    let server = FakeApiServer::new();
    let owner = server
        .edit(Kind::ConfigMap, "default", "owner", |_| {})
        .expect("created");
    let owned_by = |name: &str, owner: &Value| {
        let reference = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        });
        let own = |object: &mut Value| object["metadata"]["ownerReferences"] = json!([reference]);
        server
            .edit(Kind::ConfigMap, "default", name, own)
            .expect("created")
    };
    let child = owned_by("child", &owner);
    owned_by("grandchild", &child);
    assert_eq!(server.collect_garbage(), 0);
    server
        .delete(Kind::ConfigMap, "default", "owner")
        .expect("deleted");
    assert_eq!(server.collect_garbage(), 2);
    assert_eq!(server.objects("default"), Vec::<Value>::new());
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_its_content() {
    let server = FakeApiServer::new();
    server.create_namespace("short");
    server
        .edit(Kind::ConfigMap, "short", "a", |_| {})
        .expect("created");
    let held = |object: &mut Value| object["metadata"]["finalizers"] = json!(["example.com/x"]);
    server
        .edit(Kind::ConfigMap, "short", "held", held)
        .expect("created");
    server.delete(Kind::Namespace, "", "short").expect("marked");
    server.finish_namespaces();
    assert_eq!(server.objects("short").len(), 1, "held by its finalizer");
    let free = |object: &mut Value| object["metadata"]["finalizers"] = json!([]);
    server
        .edit(Kind::ConfigMap, "short", "held", free)
        .expect("released");
    server.finish_namespaces();
    assert_eq!(server.get(Kind::Namespace, "", "short"), None);
}

#[tokio::test]
async fn a_page_of_a_compacted_version_is_expired() {
    let server = FakeApiServer::new();
    for name in ["a", "b", "c"] {
        server
            .edit(Kind::ConfigMap, "default", name, |_| {})
            .expect("created");
    }
    let api = api(server.client());
    let first = api
        .list(&ListParams::default().limit(2))
        .await
        .expect("a page");
    let next = first.metadata.continue_.expect("a token");
    server
        .edit(Kind::ConfigMap, "default", "d", |_| {})
        .expect("created");
    server.compact();
    let page = api
        .list(&ListParams::default().limit(2).continue_token(&next))
        .await;
    let Err(Error::Api(status)) = page else {
        panic!("a page from nowhere")
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}
