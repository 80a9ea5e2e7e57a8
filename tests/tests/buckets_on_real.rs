//! What only a real API server can show of a bucket: its access control, its validation, and what
//! it stores.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kv_configmap::Buckets;
use kv_core::prelude::*;
use kv_core::{OpenMode, WatchOptions};
use kv_tests::{Place, Real, client, client_as};
use serde_json::json;

const BUCKET: &str = "approvals";

/// Runs a test in a namespace of its own, which goes also when the test fails.
async fn in_a_namespace<F>(test: impl FnOnce(Buckets, Api<ConfigMap>, String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let place = Real::new().await;
    let buckets = Buckets::config_maps(place.client(), place.namespace());
    let objects = Api::namespaced(place.client(), place.namespace());
    let outcome = tokio::spawn(test(buckets, objects, place.namespace().to_owned())).await;
    place.finish().await;
    outcome.expect("the test passes");
}

fn version(object: &ConfigMap) -> String {
    object.metadata.resource_version.clone().expect("a version")
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn what_changes_nothing_makes_no_new_version() {
    in_a_namespace(|buckets, objects, _| async move {
        let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        store.put("k", "value").await.unwrap();
        let before = version(&objects.get(BUCKET).await.unwrap());
        store.put("k", "value").await.unwrap();
        assert!(!store.delete("missing").await.unwrap());
        store.create("k", "other").await.unwrap_err();
        assert_eq!(version(&objects.get(BUCKET).await.unwrap()), before);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn a_person_sees_what_is_in_a_bucket() {
    in_a_namespace(|buckets, objects, _| async move {
        let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        let revision = store.put("k", "value").await.unwrap();
        let object = objects.get(BUCKET).await.unwrap();
        let annotations = object.metadata.annotations.unwrap();
        assert_eq!(annotations["kv-configmap/entries"], "1");
        assert_eq!(annotations["kv-configmap/revision"], revision.to_string());
        assert_eq!(object.metadata.managed_fields.unwrap_or_default().len(), 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn a_foreign_config_map_is_refused_and_never_touched() {
    in_a_namespace(|buckets, objects, _| async move {
        let mut foreign = ConfigMap::default();
        foreign.metadata.name = Some(BUCKET.to_owned());
        foreign.data = Some([("key".to_owned(), "value".to_owned())].into());
        let before = objects
            .create(&PostParams::default(), &foreign)
            .await
            .unwrap();
        for mode in [OpenMode::Open, OpenMode::Create, OpenMode::OpenOrCreate] {
            let opened = buckets.open(BUCKET, mode).await;
            assert!(matches!(opened, Err(Error::Foreign { .. })), "{opened:?}");
        }
        assert_eq!(objects.get(BUCKET).await.unwrap(), before);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn what_others_put_into_the_metadata_survives_our_writes() {
    in_a_namespace(|buckets, objects, _| async move {
        let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        store.put("k", "value").await.unwrap();
        let metadata = json!({ "labels": { "team": "storage" }, "annotations": { "note": "hi" } });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        objects
            .patch(BUCKET, &PatchParams::default(), &patch)
            .await
            .unwrap();
        store.put("k", "other").await.unwrap();
        store.put("k", "third").await.unwrap();
        let object = objects.get(BUCKET).await.unwrap();
        assert_eq!(object.metadata.labels.unwrap()["team"], "storage");
        assert_eq!(object.metadata.annotations.unwrap()["note"], "hi");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn a_full_bucket_fits_into_the_object_and_one_that_is_over_is_told_before_the_call() {
    in_a_namespace(|buckets, objects, _| async move {
        let buckets = buckets.in_single_objects().without_write_budget();
        let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        let usable = 1024 * 1024 * 95 / 100;
        let noise = |bytes: usize| (0..bytes).map(|_| rand::random()).collect::<Vec<u8>>();
        store.put("most", noise(usable)).await.unwrap();
        let before = version(&objects.get(BUCKET).await.unwrap());
        let full = store.put("more", noise(60_000)).await;
        assert!(matches!(full, Err(Error::BucketFull { .. })), "{full:?}");
        assert_eq!(version(&objects.get(BUCKET).await.unwrap()), before);
        assert_eq!(
            store.get("most").await.unwrap().unwrap().value.len(),
            usable
        );
        store.delete("most").await.unwrap();
        store.put("more", noise(60_000)).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn damage_by_hand_is_told_and_a_teardown_clears_it() {
    in_a_namespace(|buckets, objects, _| async move {
        let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        store.put("k", "value").await.unwrap();
        let patch = Patch::Merge(json!({ "binaryData": { "head": "AAAA" } }));
        objects
            .patch(BUCKET, &PatchParams::default(), &patch)
            .await
            .unwrap();
        assert!(matches!(store.get("k").await, Err(Error::Corrupt { .. })));
        assert!(matches!(
            store.put("k", "v").await,
            Err(Error::Corrupt { .. })
        ));
        store.teardown().await.unwrap();
        store.put("k", "value").await.unwrap();
        let patch = Patch::Merge(json!({ "immutable": true }));
        objects
            .patch(BUCKET, &PatchParams::default(), &patch)
            .await
            .unwrap();
        let error = store.put("k", "other").await.unwrap_err();
        assert!(error.to_string().contains("immutable"), "{error}");
        store.teardown().await.unwrap();
        assert!(objects.get_opt(BUCKET).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn a_missing_namespace_is_named() {
    let buckets = Buckets::config_maps(client().await, "kv-test-nowhere");
    let error = buckets
        .open(BUCKET, OpenMode::OpenOrCreate)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "namespace kv-test-nowhere does not exist; create it first"
    );
}

async fn grant(namespace: &str, verbs: &[&str], names: &[&str]) {
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<String>>()
    };
    let name = format!("kv-{}", verbs.join("-"));
    let rule = PolicyRule {
        api_groups: Some(texts(&[""])),
        resources: Some(texts(&["configmaps"])),
        resource_names: (!names.is_empty()).then(|| texts(names)),
        verbs: texts(verbs),
        ..PolicyRule::default()
    };
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        ..ObjectMeta::default()
    };
    let admin = client().await;
    let role = Role {
        metadata: metadata.clone(),
        rules: Some(vec![rule]),
    };
    let roles: Api<Role> = Api::namespaced(admin.clone(), namespace);
    roles
        .create(&PostParams::default(), &role)
        .await
        .expect("a role");
    let group = "rbac.authorization.k8s.io".to_owned();
    let binding = RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: Some(group.clone()),
            kind: "Role".to_owned(),
            name,
        },
        subjects: Some(vec![Subject {
            api_group: Some(group),
            kind: "User".to_owned(),
            name: "alice".to_owned(),
            namespace: None,
        }]),
    };
    let bindings: Api<RoleBinding> = Api::namespaced(admin, namespace);
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .expect("a binding");
    // The authorizer learns of a role from its watch.
    let known = async {
        while !all_granted(namespace, verbs).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), known)
        .await
        .expect("the role takes effect");
}

/// Whether alice may do all this to the bucket.
async fn all_granted(namespace: &str, verbs: &[&str]) -> bool {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client_as("alice").await);
    for verb in verbs {
        let attributes = json!({
            "namespace": namespace, "verb": verb, "resource": "configmaps", "name": BUCKET,
        });
        let review = json!({ "metadata": {}, "spec": { "resourceAttributes": attributes } });
        let review = serde_json::from_value(review).expect("a review");
        let review = reviews
            .create(&PostParams::default(), &review)
            .await
            .expect("an answer");
        if !review.status.is_some_and(|status| status.allowed) {
            return false;
        }
    }
    true
}

/// Everything that an application does, as alice.
async fn use_a_bucket(namespace: &str, mode: OpenMode) -> Result<(), Error> {
    let buckets = Buckets::config_maps(client_as("alice").await, namespace);
    let store = buckets.open(BUCKET, mode).await?;
    store.put("large", vec![7; 100_000]).await?;
    use_entries(&store).await
}

async fn use_a_single_object(namespace: &str) -> Result<(), Error> {
    let buckets = Buckets::config_maps(client_as("alice").await, namespace);
    let buckets = buckets.in_single_objects();
    use_entries(&buckets.open(BUCKET, OpenMode::Open).await?).await
}

async fn use_entries(store: &(impl WatchStore + ?Sized)) -> Result<(), Error> {
    drop(store.watch(WatchOptions::default()).await?);
    store.put("k", "value").await?;
    store.get("k").await?;
    store.delete("k").await?;
    store.teardown().await
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn six_verbs_are_enough_and_none_can_be_missing() {
    in_a_namespace(|_, _, namespace| async move {
        let refused = use_a_bucket(&namespace, OpenMode::OpenOrCreate).await;
        assert!(
            matches!(refused, Err(Error::Forbidden { .. })),
            "{refused:?}"
        );
        for verb in ["get", "list", "watch", "create", "update", "delete"] {
            let refused = use_a_bucket(&namespace, OpenMode::OpenOrCreate).await;
            assert!(
                matches!(refused, Err(Error::Forbidden { .. })),
                "before {verb}: {refused:?}"
            );
            grant(&namespace, &[verb], &[]).await;
        }
        use_a_bucket(&namespace, OpenMode::OpenOrCreate)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn a_role_that_names_the_object_is_enough_for_a_bucket_that_exists() {
    in_a_namespace(|buckets, _, namespace| async move {
        buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        let verbs = ["get", "list", "watch", "update", "delete"];
        grant(&namespace, &verbs, &[BUCKET]).await;
        use_a_single_object(&namespace).await.unwrap();
    })
    .await;
}
