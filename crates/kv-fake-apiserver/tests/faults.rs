//! What a client sees of the injected faults, and what they do to the objects.

use std::io;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Error};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

struct Setting {
    server: FakeApiServer,
    api: Api<ConfigMap>,
}

/// A server with the ConfigMap `a`, whose key `k` is `old`.
fn setting() -> Setting {
    let server = FakeApiServer::new();
    let old = |object: &mut serde_json::Value| object["data"] = json!({ "k": "old" });
    server
        .edit(Kind::ConfigMap, "default", "a", old)
        .expect("created");
    let api = Api::default_namespaced(server.client());
    Setting { server, api }
}

impl Setting {
    /// Sets `k` to `new` through the client.
    async fn write(&self) -> Result<ConfigMap, Error> {
        let patch = Patch::Merge(json!({ "data": { "k": "new" } }));
        self.api.patch("a", &PatchParams::default(), &patch).await
    }

    fn stored(&self) -> String {
        let object = self
            .server
            .get(Kind::ConfigMap, "default", "a")
            .expect("still there");
        object["data"]["k"].as_str().unwrap_or_default().to_owned()
    }
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    match error {
        Error::Service(error) => error.downcast_ref::<io::Error>().map(io::Error::kind),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn broken_connections_tell_whether_something_was_sent() {
    for (fault, kind, stored) in [
        (
            Fault::refuse_connection(),
            io::ErrorKind::ConnectionRefused,
            "old",
        ),
        (
            Fault::reset_before_apply(),
            io::ErrorKind::ConnectionReset,
            "old",
        ),
        (
            Fault::reset_after_apply(),
            io::ErrorKind::ConnectionReset,
            "new",
        ),
    ] {
        let setting = setting();
        setting.server.inject(fault.on(Verb::Patch));
        let error = setting.write().await.expect_err("no answer");
        assert_eq!(
            (io_kind(&error), setting.stored()),
            (Some(kind), stored.to_owned())
        );
        setting.write().await.expect("the fault is spent");
        assert!(setting.server.faults_are_spent());
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_hides_a_success() {
    let setting = setting();
    setting.server.inject(Fault::truncated_body());
    setting.write().await.expect_err("half an answer");
    assert_eq!(setting.stored(), "new");
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_code_and_reason() {
    for (fault, code, reason) in [
        (Fault::conflict(), 409, "Conflict"),
        (Fault::gone(), 410, "Expired"),
        (Fault::too_many_requests(7), 429, "TooManyRequests"),
        (Fault::etcd_timeout(), 500, ""),
        (Fault::etcd_full(), 500, ""),
        (Fault::shutting_down(), 503, "ServiceUnavailable"),
        (Fault::gateway_timeout(), 504, "Timeout"),
        (Fault::forbidden(), 403, "Forbidden"),
        (Fault::quota_exceeded(), 403, "Forbidden"),
    ] {
        let setting = setting();
        setting.server.inject(fault);
        let error = setting.write().await.expect_err("refused");
        let Error::Api(status) = error else {
            panic!("{error:?} is not a Status")
        };
        assert_eq!((status.code, status.reason.as_str()), (code, reason));
        assert_eq!(setting.stored(), "old");
        assert_eq!(setting.server.requests()[0].code, Some(code));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_proxies_are_no_status() {
    for (fault, code) in [
        (Fault::too_many_requests_text(), 429),
        (Fault::bad_gateway(), 502),
        (Fault::unavailable_text(), 503),
    ] {
        let setting = setting();
        setting.server.inject(fault);
        let Err(Error::Api(status)) = setting.write().await else {
            panic!("not refused")
        };
        assert_eq!(
            (status.code, status.reason.as_str()),
            (code, "Failed to parse error data")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_may_hide_a_success() {
    let setting = setting();
    setting.server.inject(Fault::etcd_timeout().applied());
    setting.write().await.expect_err("refused");
    assert_eq!(setting.stored(), "new");
}

#[tokio::test(start_paused = true)]
async fn late_answers_and_zombies_take_their_time() {
    let late = setting();
    late.server.inject(Fault::late_answer(10 * SECOND));
    timeout(SECOND, late.write()).await.expect_err("too late");
    assert_eq!(late.stored(), "new", "carried out at once");

    for fault in [
        Fault::zombie(10 * SECOND),
        Fault::gateway_timeout().applied_later(10 * SECOND),
    ] {
        let setting = setting();
        setting.server.inject(fault);
        let answer = timeout(SECOND, setting.write()).await;
        assert!(!matches!(answer, Ok(Ok(_))));
        assert_eq!(setting.stored(), "old");
        sleep(11 * SECOND).await;
        assert_eq!(
            setting.stored(),
            "new",
            "carried out when nobody waits any more"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn some_requests_are_never_answered() {
    for (fault, stored) in [(Fault::hang(), "old"), (Fault::answer_never(), "new")] {
        let setting = setting();
        setting.server.inject(fault);
        timeout(1_000 * SECOND, setting.write())
            .await
            .expect_err("no answer");
        assert_eq!(setting.stored(), stored);
        assert_eq!(setting.server.requests()[0].code, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_meets_only_what_it_is_meant_for() {
    let setting = setting();
    let fault = Fault::conflict()
        .on(Verb::Patch)
        .kind(Kind::ConfigMap)
        .name("a")
        .skip(1)
        .times(2);
    setting.server.inject(fault);
    setting
        .server
        .inject(Fault::conflict().name("other").always());
    setting
        .server
        .inject(Fault::conflict().namespace("other").always());
    setting
        .server
        .inject(Fault::conflict().kind(Kind::Secret).always());
    setting.api.get("a").await.expect("a read is spared");
    setting.write().await.expect("the first is spared");
    setting.write().await.expect_err("the second is not");
    setting.write().await.expect_err("nor the third");
    setting.write().await.expect("the fourth is");
    assert!(!setting.server.faults_are_spent());
    setting.server.calm();
    assert!(setting.server.faults_are_spent());
}

#[tokio::test(start_paused = true)]
async fn latency_passes_in_the_time_of_the_runtime() {
    let setting = setting();
    setting.server.set_latency(30 * SECOND);
    let before = Instant::now();
    setting.write().await.expect("written");
    assert_eq!(before.elapsed(), 30 * SECOND);
}

/// The codes of a hundred writes under chaos.
async fn codes_under_chaos(seed: u64) -> Vec<Option<u16>> {
    let setting = setting();
    setting.server.chaos(seed, 0.5);
    for _ in 0..100 {
        // Whatever comes of it, the next write follows.
        drop(timeout(SECOND, setting.write()).await);
    }
    setting
        .server
        .requests()
        .iter()
        .map(|record| record.code)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn chaos_is_the_same_for_the_same_seed() {
    let first = codes_under_chaos(1).await;
    assert_eq!(first, codes_under_chaos(1).await);
    assert_ne!(first, codes_under_chaos(2).await);
    assert!(first.iter().filter(|code| **code == Some(200)).count() > 20);
    assert!(first.iter().filter(|code| **code != Some(200)).count() > 20);
}
