//! Writes that are refused after an earlier request of them was not answered: what the bucket
//! tells of them is told, and what nobody can know is said.

use std::time::Duration;

use kv_core::prelude::*;
use kv_core::{Outcome, Result};
use kv_fake_apiserver::{FakeApiServer, Fault, Verb};

use crate::{open, verbs};

const MINUTE: Duration = Duration::from_secs(60);

/// What leaves a write in doubt that was applied.
fn applied() -> [(&'static str, Fault); 4] {
    [
        ("no answer", Fault::answer_never()),
        ("reset", Fault::reset_after_apply()),
        ("500", Fault::etcd_timeout().applied()),
        ("504", Fault::gateway_timeout().applied()),
    ]
}

/// What leaves a write in doubt that was not applied, or not yet.
fn not_applied() -> [(&'static str, Fault); 4] {
    [
        ("no answer", Fault::hang()),
        ("reset", Fault::reset_before_apply()),
        ("504", Fault::gateway_timeout()),
        ("504, later", Fault::gateway_timeout().applied_later(MINUTE)),
    ]
}

/// An update of `k` whose requests meet these faults, one after the other.
async fn updated(server: &FakeApiServer, faults: [Fault; 2]) -> Result<Revision> {
    let store = open(server).await;
    let revision = store.put("k", "before").await.expect("a put");
    for fault in faults {
        server.inject(fault);
    }
    store.update("k", "after", revision).await
}

async fn value(server: &FakeApiServer) -> String {
    let entry = open(server).await.get("k").await.expect("an answer");
    String::from_utf8(entry.expect("an entry").value.to_vec()).expect("text")
}

fn assert_indeterminate(name: &str, updated: Result<Revision>) {
    let error = updated.expect_err(name);
    assert!(
        matches!(error, Error::Indeterminate { .. }),
        "{name}: {error:?}"
    );
    assert_eq!(error.outcome(), Outcome::Unknown, "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_write_that_was_applied_is_a_success() {
    for (name, fault) in applied() {
        let server = FakeApiServer::new();
        let refusal = Fault::forbidden().on(Verb::Update);
        let updated = updated(&server, [fault.on(Verb::Update), refusal]).await;
        assert!(server.faults_are_spent(), "{name}");
        assert!(updated.is_ok(), "{name}: {updated:?}");
        assert_eq!(value(&server).await, "after", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_write_that_may_be_applied_yet_is_indeterminate() {
    for (name, fault) in not_applied() {
        let server = FakeApiServer::new();
        let refusal = Fault::forbidden().on(Verb::Update);
        let updated = updated(&server, [fault.on(Verb::Update), refusal]).await;
        assert!(server.faults_are_spent(), "{name}");
        assert_indeterminate(name, updated);
        assert_eq!(value(&server).await, "before", "{name}");
        tokio::time::sleep(2 * MINUTE).await;
        let later = if name.ends_with("later") {
            "after"
        } else {
            "before"
        };
        assert_eq!(value(&server).await, later, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_bucket_cannot_be_read_either_it_is_indeterminate() {
    for (name, fault) in applied().into_iter().chain(not_applied()) {
        let server = FakeApiServer::new();
        let refusal = Fault::forbidden().always();
        let updated = updated(&server, [fault.on(Verb::Update), refusal]).await;
        assert_eq!(
            verbs(&server).last(),
            Some(&Verb::Get),
            "{name}: it was tried"
        );
        assert_indeterminate(name, updated);
    }
}

/// The second request of a write that was applied is answered with 409.
#[tokio::test(start_paused = true)]
async fn a_conflict_that_cannot_be_looked_into_is_indeterminate() {
    for (name, fault) in applied() {
        let server = FakeApiServer::new();
        let refusal = Fault::forbidden().on(Verb::Get).always();
        let updated = updated(&server, [fault.on(Verb::Update), refusal]).await;
        assert_indeterminate(name, updated);
        server.calm();
        assert_eq!(value(&server).await, "after", "{name}");
    }
}
