//! Several processes that write at the same time: one of them commits for all.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::prelude::*;
use kv_core::{Expected, OpenMode, Outcome, Result};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Rights, Verb};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{BUCKET, LATE, NAMESPACE, buckets, name, noise, object, open, open_in, open_single};

const LATENCY: Duration = Duration::from_millis(4);
const OFFERS: &str = "kv-configmap/part";

fn offers(server: &FakeApiServer) -> Vec<Value> {
    let mut objects = server.objects(NAMESPACE);
    objects.retain(|object| object["metadata"]["labels"][OFFERS] == "offer");
    objects
}

/// How often the head was replaced, and how often batches were offered.
fn writes(server: &FakeApiServer) -> (usize, usize) {
    let requests = server.requests();
    let count = |is: &dyn Fn(&str) -> bool| {
        let updates = requests
            .iter()
            .filter(|request| request.verb == Verb::Update && request.code == Some(200));
        let names = updates.filter_map(|request| request.name.as_deref());
        names.filter(|name| is(name)).count()
    };
    let heads = count(&|name| name == BUCKET);
    (heads, count(&|name| name.contains(".offer-")))
}

/// Handles of as many processes.
async fn crowd(server: &FakeApiServer, processes: usize) -> Vec<ConfigMapStore> {
    let mut stores = Vec::new();
    for _ in 0..processes {
        stores.push(open(server).await);
    }
    server.set_latency(LATENCY);
    stores
}

/// Each puts one after the other, under a key of its own; returns how often.
async fn put_all(stores: &[ConfigMapStore], puts: usize) -> Vec<Revision> {
    let put = |(number, store): (usize, &ConfigMapStore)| {
        let store = store.clone();
        async move {
            let mut revisions = Vec::new();
            for value in 0..puts {
                let key = format!("process-{number}");
                revisions.push(store.put(&*key, value.to_string()).await.expect("a put"));
            }
            revisions
        }
    };
    join_all(stores.iter().enumerate().map(put)).await.concat()
}

#[tokio::test(start_paused = true)]
async fn writers_that_meet_share_the_writes_of_one() {
    let server = FakeApiServer::new();
    let stores = crowd(&server, 8).await;
    let revisions = put_all(&stores, 50).await;
    assert_eq!(revisions.iter().collect::<BTreeSet<_>>().len(), 400);
    let (heads, offered) = writes(&server);
    assert!(
        heads < 200 && offered > 200,
        "{heads} heads, {offered} offers"
    );
    let store = open(&server).await;
    for number in 0..8 {
        let entry = store.get(&*format!("process-{number}")).await.unwrap();
        assert_eq!(entry.unwrap().value, "49");
    }
}

#[tokio::test(start_paused = true)]
async fn offers_tell_people_what_they_are_and_go_when_they_are_not_needed() {
    let server = FakeApiServer::new();
    let stores = crowd(&server, 4).await;
    put_all(&stores, 30).await;
    let made = offers(&server);
    assert!(!made.is_empty() && made.len() <= 4);
    let head = object(&server);
    for offer in &made {
        assert!(name(offer).starts_with("approvals.offer-"), "{offer}");
        let metadata = &offer["metadata"];
        assert_eq!(metadata["labels"]["kv-configmap/bucket"], BUCKET);
        assert_eq!(
            metadata["labels"]["kv-configmap/bucket-id"],
            head["metadata"]["labels"]["kv-configmap/bucket-id"]
        );
        assert_eq!(metadata["annotations"]["kv-configmap/bucket"], BUCKET);
        assert_eq!(
            metadata["ownerReferences"][0]["uid"],
            head["metadata"]["uid"]
        );
    }
    sleep(Duration::from_secs(3)).await;
    assert!(offers(&server).is_empty(), "{:?}", offers(&server));
    // One that is alone writes with one request again.
    server.reset_requests();
    stores[0].put("k", "v").await.unwrap();
    stores[0].put("k", "w").await.unwrap();
    assert_eq!(writes(&server), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn offers_of_a_process_that_has_died_go_with_the_next_sweep_or_the_bucket() {
    let server = FakeApiServer::new();
    let stores = crowd(&server, 4).await;
    put_all(&stores, 30).await;
    let left = offers(&server);
    assert!(!left.is_empty());
    let leave = |server: &FakeApiServer| {
        for offer in &left {
            let wanted = offer.clone();
            server
                .edit(Kind::ConfigMap, NAMESPACE, name(offer), |object| {
                    object["binaryData"] = wanted["binaryData"].clone();
                    object["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
                })
                .unwrap();
        }
    };
    sleep(Duration::from_secs(3)).await;
    leave(&server);
    let tiny = open_in(&buckets(&server).with_tiny_parts()).await;
    for number in 0..40 {
        tiny.put("k", noise(number, 300)).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    assert!(offers(&server).is_empty(), "a sweep removes them");
    leave(&server);
    tiny.teardown().await.unwrap();
    assert!(server.objects(NAMESPACE).is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_learns_what_became_of_its_own_transaction() {
    let server = FakeApiServer::new();
    let stores = crowd(&server, 6).await;
    put_all(&stores, 10).await;
    for round in 0..20 {
        let key = Key::new(format!("lock-{round}")).unwrap();
        let created = join_all(stores.iter().map(|store| store.create(&key, "x"))).await;
        let winners: Vec<_> = created.iter().flatten().copied().collect();
        let [winner] = winners[..] else {
            panic!("{created:?}");
        };
        for refused in created.into_iter().filter_map(Result::err) {
            assert!(
                matches!(&refused, Error::AlreadyExists { key: k, actual } if *k == key && *actual == winner),
                "{refused:?}"
            );
        }
        let updated = join_all(stores.iter().map(|store| store.update(&key, "y", winner))).await;
        let [second] = updated.iter().flatten().copied().collect::<Vec<_>>()[..] else {
            panic!("{updated:?}");
        };
        for refused in updated.into_iter().filter_map(Result::err) {
            assert!(
                matches!(
                    &refused,
                    Error::Conflict { expected: Expected::At(at), actual: Some(actual), .. }
                        if *at == winner && *actual == second
                ),
                "{refused:?}"
            );
        }
        let same = join_all(stores.iter().map(|store| store.put(&key, "y"))).await;
        assert!(
            same.iter().all(|put| *put.as_ref().unwrap() == second),
            "{same:?}"
        );
    }
    assert!(writes(&server).1 > 20, "{:?}", writes(&server));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_be_offered_gets_in_all_the_same() {
    let server = FakeApiServer::new();
    let stores = crowd(&server, 4).await;
    let large = stores[0].clone();
    let puts = async {
        for number in 0..10 {
            large.put("large", vec![number; 20_000]).await.unwrap();
        }
    };
    tokio::join!(put_all(&stores[1..], 60), puts);
    assert!(writes(&server).1 > 0);
    let entry = open(&server).await.get("large").await.unwrap().unwrap();
    assert_eq!(entry.value, vec![9; 20_000]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_is_replaced_within_a_second() {
    let server = FakeApiServer::new();
    let mut stores = crowd(&server, 5).await;
    put_all(&stores, 30).await;
    let began = Instant::now();
    // One of them leads, so that one of these ends loses the leader.
    while stores.len() > 1 {
        let gone = stores.remove(0);
        let puts = tokio::spawn(async move { gone.put("gone", "1").await });
        put_all(&stores, 3).await;
        puts.abort();
        let _ = puts.await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

fn as_a_user(server: &FakeApiServer, rights: Rights) -> Buckets {
    let client = server.client_with_rights(NAMESPACE, rights);
    Buckets::config_maps(client, NAMESPACE).without_write_budget()
}

async fn crowd_with(server: &FakeApiServer, rights: &Rights) -> Vec<ConfigMapStore> {
    let put = open(server).await.put("k", "v").await;
    put.expect("a put");
    let mut stores = Vec::new();
    for _ in 0..4 {
        let buckets = as_a_user(server, rights.clone());
        let opened = buckets.open(BUCKET, OpenMode::Open).await;
        stores.push(opened.expect("the bucket opens"));
    }
    server.set_latency(LATENCY);
    server.reset_requests();
    stores
}

#[tokio::test(start_paused = true)]
async fn without_the_rights_for_it_writers_take_turns() {
    const MAPS: &[&str] = &["configmaps"];
    let named = |verbs: &[Verb]| {
        Rights::new("app")
            .allow(&[Verb::Get, Verb::List, Verb::Create, Verb::Delete], MAPS)
            .allow_named(verbs, MAPS, &[BUCKET])
    };
    let cases = [
        ("no watch of offers", named(&[Verb::Update, Verb::Watch])),
        (
            "no update of offers",
            named(&[Verb::Update]).allow(&[Verb::Watch], MAPS),
        ),
        ("no watch at all", named(&[Verb::Update])),
        (
            "the head alone",
            Rights::new("app").allow_named(&[Verb::Get, Verb::Update], MAPS, &[BUCKET]),
        ),
        (
            "no create",
            Rights::new("app").allow(&[Verb::Get, Verb::List, Verb::Watch, Verb::Update], MAPS),
        ),
    ];
    for (case, rights) in cases {
        let server = FakeApiServer::new();
        let stores = crowd_with(&server, &rights).await;
        let revisions = put_all(&stores, 10).await;
        assert_eq!(
            revisions.iter().collect::<BTreeSet<_>>().len(),
            40,
            "{case}"
        );
        let (heads, offered) = writes(&server);
        assert_eq!(offered, 0, "{case}");
        assert!(heads >= 20, "{case}: {heads}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_in_one_object_has_no_offers() {
    let server = FakeApiServer::new();
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(open_single(&server).await);
    }
    server.set_latency(LATENCY);
    put_all(&stores, 20).await;
    assert_eq!(server.objects(NAMESPACE).len(), 1);
    assert_eq!(writes(&server).1, 0);
}

/// What was offered may be committed at any time, so that nobody may say that it is not.
#[tokio::test(start_paused = true)]
async fn what_was_offered_is_never_told_as_not_applied_while_the_leader_may_commit_it() {
    let mut offered = 0;
    for round in 0..20 {
        let server = FakeApiServer::new();
        let stores = crowd(&server, 5).await;
        put_all(&stores, 30).await;
        let puts = tokio::spawn({
            let stores = stores[1..].to_vec();
            async move { put_all(&stores, 20).await }
        });
        sleep(Duration::from_millis(100 + round)).await;
        server.reset_requests();
        // The leader's next write takes longer than anybody has patience, and all others are refused.
        let late = Fault::late_answer(LATE).on(Verb::Update).name(BUCKET);
        server.inject(late.times(1));
        let refused = Fault::forbidden().on(Verb::Update).name(BUCKET);
        server.inject(refused.skip(1).always());
        let put = stores[0].put("k", format!("{round}")).await;
        offered += writes(&server).1;
        server.calm();
        puts.abort();
        sleep(Duration::from_secs(60)).await;
        let value = open(&server).await.get("k").await.unwrap();
        match put {
            Ok(_) => assert!(value.is_some(), "{round}"),
            Err(error) if error.outcome() == Outcome::NotApplied => {
                assert!(value.is_none(), "{round}: {error:?}");
            }
            Err(_) => {}
        }
    }
    assert!(offered > 10, "{offered}");
}

/// The leader is slow, so that a writer goes on by itself, and is refused; what refused it is gone by the
/// time the leader goes on.
#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_committed_by_a_leader_that_comes_late() {
    let mut offered = 0;
    for round in 0..40 {
        let server = FakeApiServer::new();
        let stores = crowd(&server, 6).await;
        stores[5].put("lock", "held").await.unwrap();
        put_all(&stores, 60).await;
        let others = stores[..4].to_vec();
        let puts = tokio::spawn(async move { put_all(&others, 20).await });
        sleep(Duration::from_millis(30 + round % 10)).await;
        let late = Fault::late_answer(Duration::from_millis(800));
        server.inject(late.on(Verb::Update).name(BUCKET));
        while !server.faults_are_spent() {
            sleep(Duration::from_millis(1)).await;
        }
        server.reset_requests();
        let created = stores[4].create("lock", "mine").await;
        offered += usize::from(writes(&server).1 > 0);
        assert!(
            matches!(created, Err(Error::AlreadyExists { .. })),
            "{round}: {created:?}"
        );
        stores[5].delete("lock").await.unwrap();
        puts.await.unwrap();
        sleep(Duration::from_secs(20)).await;
        let value = open(&server).await.get("lock").await.unwrap();
        assert!(value.is_none(), "{round}: {value:?}");
    }
    assert!(offered > 10, "{offered}");
}

/// One that does not follow the bucket writes now and then.
#[tokio::test(start_paused = true)]
async fn who_comes_by_does_not_disturb_those_who_share_writes() {
    let server = FakeApiServer::new();
    let stores = crowd(&server, 8).await;
    put_all(&stores, 20).await;
    server.reset_requests();
    let puts = put_all(&stores, 100);
    let come_by = async {
        loop {
            sleep(Duration::from_millis(300)).await;
            let store = open_in(&buckets(&server)).await;
            store
                .put("k", format!("{:?}", Instant::now()))
                .await
                .unwrap();
        }
    };
    tokio::select! { _ = puts => {}, () = come_by => {} }
    let requests = server.requests();
    let conflicts = requests.iter().filter(|one| one.code == Some(409)).count();
    assert!(
        conflicts < 40,
        "{conflicts} conflicts, {:?}",
        writes(&server)
    );
}

/// Who was leading and goes on alone does not say that it still leads.
#[tokio::test(start_paused = true)]
async fn who_leads_nobody_any_more_lets_others_in_at_once() {
    for lasting in 0..6 {
        let server = FakeApiServer::new();
        let stores = crowd(&server, 7).await;
        put_all(&stores[..6], 30).await;
        let store = stores[lasting].clone();
        let goes_on = tokio::spawn(async move {
            for value in 0..200 {
                store.put("alone", value.to_string()).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        });
        sleep(Duration::from_secs(2)).await;
        for number in 0..20 {
            let began = Instant::now();
            stores[6].put("k", number.to_string()).await.unwrap();
            let took = began.elapsed();
            assert!(took < Duration::from_millis(600), "{lasting}: {took:?}");
        }
        goes_on.await.unwrap();
    }
}
