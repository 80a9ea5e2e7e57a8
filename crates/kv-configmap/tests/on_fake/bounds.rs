//! The limits that a caller meets: at them everything works, one over them nothing is sent or written.

use std::time::Duration;

use futures::future::join_all;
use kv_core::prelude::*;
use kv_core::{Bound, OpenMode};
use kv_fake_apiserver::{FakeApiServer, Kind, Verb};
use tokio::time::sleep;

use crate::{BUCKET, NAMESPACE, buckets, noise, object, open, verbs};

fn key(text: impl Into<String>) -> Key {
    Key::new(text.into()).expect("a key")
}

/// What is put one over a limit is refused with the figures, before any request.
async fn assert_refused_at_once(transaction: Transaction, of: Bound, name: Option<&str>) {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let refused = store.commit(transaction).await;
    let refused = refused.expect_err("it is over the limit");
    let Error::TooLarge {
        what,
        key,
        actual,
        limit,
    } = &refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((*what, key.as_ref().map(Key::as_str)), (of, name));
    assert_eq!(*actual, limit + 1);
    let text = refused.to_string();
    assert!(text.contains(&limit.to_string()), "{text}");
    assert_eq!(verbs(&server), []);
}

#[tokio::test(start_paused = true)]
async fn a_value_fits_up_to_its_limit() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let most = store.limits().value_bytes;
    assert_eq!(most, 16 * 1024 * 1024);
    for bytes in [most - 1, most] {
        store.put("k", vec![7; bytes]).await.unwrap();
        let read = open(&server).await.get("k").await.unwrap().unwrap();
        assert_eq!(read.value.len(), bytes);
    }
    let over = Transaction::new().put(key("k"), vec![7; most + 1]);
    assert_refused_at_once(over, Bound::Value, Some("k")).await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_has_operations_up_to_its_limit() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    let most = store.limits().transaction_operations;
    assert_eq!(most, 1_024);
    let of = |count: usize| {
        (0..count).fold(Transaction::new(), |all, number| {
            all.put(key(number.to_string()), "v")
        })
    };
    for count in [most - 1, most] {
        let commit = store.commit(of(count)).await.unwrap();
        assert_eq!(commit.current.len(), count);
        let listed = open(&server).await.list("").await.unwrap();
        assert_eq!(listed.len(), count);
    }
    assert_refused_at_once(of(most + 1), Bound::Operations, None).await;
}

/// There is no limit on the bytes of a transaction but the room in the bucket.
#[tokio::test(start_paused = true)]
async fn a_transaction_of_more_bytes_than_a_bucket_may_hold_writes_nothing() {
    let server = FakeApiServer::new();
    let store = open(&server).await;
    store.put("kept", "v").await.unwrap();
    let before = server.objects(NAMESPACE);
    server.reset_requests();
    let value = bytes::Bytes::from(vec![0; store.limits().value_bytes]);
    // Before compression: a bucket holds 256 MiB.
    let of = |count| {
        (0..count).fold(Transaction::new(), |all, number: usize| {
            all.put(key(number.to_string()), value.clone())
        })
    };
    let full = store.commit(of(16)).await.unwrap_err();
    let Error::BucketFull {
        needed, available, ..
    } = full
    else {
        panic!("{full:?}");
    };
    assert!(needed > available, "{needed} {available}");
    assert!(
        full.to_string().contains("configmap default/approvals"),
        "{full}"
    );
    assert_eq!(server.objects(NAMESPACE), before);
    assert_eq!(verbs(&server), [Verb::Get], "the verdict is confirmed");
    store.commit(of(15)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_filled_to_the_last_byte_of_its_limit() {
    let server = FakeApiServer::new();
    let value = || noise(1, 100_000);
    let store = open(&server).await;
    store.put("k", value()).await.unwrap();
    let needed = store.usage().await.unwrap().bytes;
    assert!(needed > 100_000);
    store.teardown().await.unwrap();
    for (limit, fits) in [(needed + 1, true), (needed, true), (needed - 1, false)] {
        let buckets = buckets(&server).with_bucket_bytes(limit);
        let store = buckets.open(BUCKET, OpenMode::Create).await.unwrap();
        assert_eq!(store.limits().bucket_bytes, Some(limit));
        let before = object(&server);
        match store.put("k", value()).await {
            Ok(_) if fits => assert_eq!(store.usage().await.unwrap().bytes, needed),
            Err(Error::BucketFull {
                needed: told,
                available,
                ..
            }) if !fits => {
                assert_eq!((told, available), (needed, limit));
                assert_eq!(object(&server), before, "nothing is half written");
                assert_eq!(server.objects(NAMESPACE).len(), 1, "no segment either");
            }
            other => panic!("{limit}: {other:?}"),
        }
        store.teardown().await.unwrap();
    }
    assert!(server.get(Kind::ConfigMap, NAMESPACE, BUCKET).is_none());
}

#[tokio::test(start_paused = true)]
async fn as_many_puts_share_a_write_as_it_may_hold() {
    for (puts, writes) in [(1_023, 1), (1_024, 1), (1_025, 2)] {
        let server = FakeApiServer::new();
        let store = open(&server).await;
        server.set_latency(Duration::from_millis(10));
        let busy = tokio::spawn({
            let store = store.clone();
            async move { store.put("busy", "v").await }
        });
        sleep(Duration::from_millis(1)).await;
        let all = join_all((0..puts).map(|number| store.put(number.to_string(), "v"))).await;
        assert!(all.iter().all(Result::is_ok));
        let written = verbs(&server)
            .iter()
            .filter(|verb| **verb == Verb::Update)
            .count();
        busy.await.unwrap().unwrap();
        assert_eq!(written, 1 + writes, "{puts} puts");
    }
}
