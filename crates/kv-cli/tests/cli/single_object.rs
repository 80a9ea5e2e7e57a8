//! `kv --single-object`.

use crate::cluster::Cluster;
use crate::{Place, code, err};

#[test]
fn a_bucket_stays_in_its_object_where_that_is_asked_for() {
    let (place, cluster) = (Place::new(), Cluster::new());
    let config = cluster.config(&place);
    let put = |bucket: &str, words: &[&str]| {
        let store = format!("configmap:default/{bucket}");
        let common = [
            "put",
            "large",
            "-",
            "--store",
            &store,
            "--kubeconfig",
            &config,
        ];
        let output = place.run_with(&[&common, words].concat(), &[b'v'; 100_000]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        let objects = cluster.server.objects("default").into_iter();
        let name =
            |object: serde_json::Value| object["metadata"]["name"].as_str().map(str::to_owned);
        let names = objects
            .filter_map(name)
            .filter(|name| name.starts_with(bucket));
        names.count()
    };
    assert_eq!(put("alone", &["--single-object"]), 1);
    assert_eq!(put("spread", &[]), 2, "a head and a segment");
}
