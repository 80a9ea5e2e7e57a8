//! `kv check` on buckets that are whole, damaged, or none.

use kv_configmap::Buckets;
use kv_core::prelude::*;
use kv_core::{Error, OpenMode};
use kv_fake_apiserver::{Fault, Kind, Verb};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::{Place, code, err, out};

/// A cluster with the bucket `default/b`, which has a segment for each value.
struct Bucket {
    place: Place,
    cluster: Cluster,
}

impl Bucket {
    fn new(values: &[&str]) -> Self {
        let (place, cluster) = (Place::new(), Cluster::new());
        let bucket = Self { place, cluster };
        bucket.put(values).unwrap();
        bucket
    }

    /// Puts values that are too large for the head.
    fn put(&self, values: &[&str]) -> Result<(), Error> {
        self.cluster.runtime.block_on(async {
            let buckets = Buckets::config_maps(self.cluster.server.client(), "default");
            let store = buckets.open("b", OpenMode::OpenOrCreate).await?;
            for value in values {
                store.put(*value, value.repeat(40_000)).await?;
            }
            Ok(())
        })
    }

    fn words<'a>(&self, config: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        let common = [
            "check",
            "--store",
            "configmap:default/b",
            "--kubeconfig",
            config,
        ];
        [&common, words].concat()
    }

    fn check(&self, words: &[&str]) -> (i32, String, String) {
        let config = self.cluster.config(&self.place);
        let output = self.place.run(&self.words(&config, words));
        (code(&output), out(&output), err(&output))
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let (code, out, _) = self.check(&[words, &["--output", "json"]].concat());
        (code, serde_json::from_str(&out).unwrap())
    }

    fn segments(&self) -> Vec<String> {
        let mut objects = self.cluster.server.objects("default");
        objects.retain(|object| object["metadata"]["labels"]["kv-configmap/part"] == "segment");
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        objects.iter().map(name).collect()
    }

    /// A segment that a writer left who died before its head was written.
    fn leave_an_orphan(&self) -> String {
        let before = self.segments();
        self.cluster
            .server
            .inject(Fault::forbidden().on(Verb::Update).name("b"));
        self.put(&["c"]).unwrap_err();
        let mut orphans = self.segments();
        orphans.retain(|name| !before.contains(name));
        assert_eq!(orphans.len(), 1);
        orphans.remove(0)
    }
}

#[test]
fn a_sound_bucket_has_a_short_report_and_the_code_of_success() {
    let bucket = Bucket::new(&["a", "b"]);
    let (code, out, err) = bucket.check(&[]);
    assert_eq!((code, err.as_str()), (0, ""));
    for line in [
        "head      whole\n",
        "format    1\n",
        "segments  2, all whole\n",
        "entries   2\n",
        "orphans   none\n",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (code, report) = bucket.json(&[]);
    assert_eq!((code, &report["sound"]), (0, &json!(true)));
    assert_eq!(report["segments"].as_array().unwrap().len(), 2);
    assert_eq!(report["certain_entries"], 2);
}

#[test]
fn what_is_damaged_is_named_and_has_its_own_exit_code() {
    let bucket = Bucket::new(&["a", "b"]);
    let (_, whole) = bucket.json(&[]);
    let lost = whole["segments"][0]["name"].as_str().unwrap().to_owned();
    bucket
        .cluster
        .server
        .delete(Kind::ConfigMap, "default", &lost)
        .unwrap();
    let (code, out, err) = bucket.check(&[]);
    assert_eq!(code, 8);
    for line in [
        "segments  2, 1 of them whole\n",
        &format!("  {lost}  missing\n"),
        "lost      changes ",
        "entries   1 can be read, ",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(
        err.starts_with("kv: configmap:default/b is damaged\n  hint: "),
        "{err}"
    );
    let (code, report) = bucket.json(&[]);
    assert_eq!((code, &report["sound"]), (8, &json!(false)));
    assert_eq!(report["segments"][0]["state"], "missing");
    let config = bucket.cluster.config(&bucket.place);
    let get = [
        "get",
        "b",
        "--store",
        "configmap:default/b",
        "--kubeconfig",
        &config,
    ];
    let text = bucket.place.fails(1, &get);
    assert!(text.contains("kv check"), "{text}");
}

#[test]
fn a_repair_removes_orphans_and_leaves_a_damaged_bucket_alone() {
    let bucket = Bucket::new(&["a", "b"]);
    let named = bucket.segments();
    let orphan = bucket.leave_an_orphan();
    let (code, out, _) = bucket.check(&[]);
    assert!(
        code == 0 && out.contains("orphans   1 object, ") && out.contains(&orphan),
        "{out}"
    );
    let (code, out, err) = bucket.check(&["--repair"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("orphans   none\nremoved   1 object, ") && out.contains(&orphan),
        "{out}"
    );
    assert_eq!(bucket.segments(), named);

    let orphan = bucket.leave_an_orphan();
    bucket
        .cluster
        .server
        .delete(Kind::ConfigMap, "default", &named[0])
        .unwrap();
    let (code, out, err) = bucket.check(&["--repair"]);
    assert!(code == 8 && err.contains("nothing was removed"), "{err}");
    assert!(
        out.contains(&orphan) && bucket.segments().contains(&orphan),
        "{out}"
    );
}

#[test]
fn only_a_bucket_in_a_cluster_that_is_there_can_be_checked() {
    let place = Place::new();
    for store in ["memory:", "file:kv.redb"] {
        let text = place.fails(2, &["check", "--store", store]);
        assert!(text.contains("in a cluster"), "{text}");
    }
    let cluster = Cluster::new();
    let config = cluster.config(&place);
    let words = [
        "check",
        "--store",
        "configmap:default/b",
        "--kubeconfig",
        &config,
    ];
    place.fails(3, &words);
}
