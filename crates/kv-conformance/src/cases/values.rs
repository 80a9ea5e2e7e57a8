//! Which bytes are values, and how many.

use bytes::Bytes;
use kv_core::{Bound, Error, KvStore, KvStoreExt};

use crate::Place;
use crate::support::{
    Untouched, everything, fill, noise, numbered, open, put, reopen, too_large, value_of,
};

/// Puts each value under one key in turn and reads it back, at once and after a reopen.
async fn assert_round_trips(h: &dyn Place, values: &[Bytes]) {
    let mut store = open(h).await;
    for value in values {
        put(&store, "k", value.clone()).await;
        let found = value_of(&store, "k").await.expect("it was put");
        assert!(
            found == *value,
            "{} bytes are read back as they were put",
            value.len()
        );
        store = reopen(h, store).await;
        let found = value_of(&store, "k").await.expect("it was put");
        assert!(
            found == *value,
            "{} bytes are stored as they were put",
            value.len()
        );
    }
}

/// The size for values that are to be large but no burden: 300 KiB where the limit allows it.
fn large(store: &dyn KvStore) -> usize {
    store.limits().value_bytes.min(300 * 1024)
}

/// Every byte is kept.
pub async fn all_bytes_are_kept(h: &dyn Place) {
    let all: Vec<u8> = (0..=255).collect();
    let each = (0..=255_u8).step_by(51).map(|byte| Bytes::from(vec![byte]));
    let values: Vec<Bytes> = each.chain([Bytes::from(all)]).collect();
    assert_round_trips(h, &values).await;
}

/// Bytes that are no text are kept.
pub async fn invalid_utf8_is_kept(h: &dyn Place) {
    let values: [&'static [u8]; 5] = [
        b"\xff",
        b"\xc3\x28",
        b"ok\xed\xa0\x80",
        b"\xf0\x9f",
        b"\0\xfe\0",
    ];
    assert_round_trips(h, &values.map(Bytes::from_static)).await;
}

/// Text that formats treat specially is kept.
pub async fn text_is_kept_as_it_is(h: &dyn Place) {
    let values = [
        "\"",
        "'",
        "\\",
        "\n",
        "\r\n",
        " trailing ",
        "\t",
        "null",
        "{}",
        "{\"a\": [1, 2]}",
        "---",
        "a: b\n",
        "|",
        "é",
        "e\u{301}",
        "\u{feff}bom",
        "<x/>",
        "%s",
        "0x00",
        "\u{0}",
    ];
    assert_round_trips(h, &values.map(Bytes::from)).await;
}

/// A value that looks as if a store had encoded it is kept.
pub async fn what_looks_encoded_is_kept(h: &dyn Place) {
    let values: [&'static [u8]; 8] = [
        b"\x1f\x8b\x08\0\0\0\0\0",
        b"\x28\xb5\x2f\xfd",
        b"\x04\x22\x4d\x18",
        b"Zm9vYmFy",
        b"H4sIAAAAAAAA",
        b"BZh9",
        b"\xfd7zXZ\0",
        b"kv\x01",
    ];
    assert_round_trips(h, &values.map(Bytes::from_static)).await;
}

/// Sizes on both sides of the borders at which stores change their layout are kept.
pub async fn sizes_around_borders_are_kept(h: &dyn Place) {
    let borders = [1, 16, 128, 4_096, 32_768, 65_536, 131_072];
    let most = open(h).await.limits().value_bytes;
    let sizes = borders
        .iter()
        .flat_map(|border| [border - 1, *border, border + 1]);
    let values: Vec<Bytes> = sizes
        .filter(|size| *size <= most)
        .map(|size| noise(size as u64, size))
        .collect();
    assert_round_trips(h, &values).await;
}

/// A value that no compressor makes smaller is kept.
pub async fn an_incompressible_value_is_kept(h: &dyn Place) {
    let size = large(&open(h).await);
    assert_round_trips(h, &[noise(1, size)]).await;
}

/// A value that compresses to almost nothing is kept.
pub async fn a_very_compressible_value_is_kept(h: &dyn Place) {
    let size = open(h).await.limits().value_bytes.min(4 * 1024 * 1024);
    assert_round_trips(h, &[Bytes::from(vec![0; size])]).await;
}

/// A value of exactly the limit, and one byte below, fits.
pub async fn a_value_at_the_limit_fits(h: &dyn Place) {
    let most = open(h).await.limits().value_bytes;
    let values = [most - 1, most].map(|size| Bytes::from(vec![b'v'; size]));
    assert_round_trips(h, &values).await;
}

/// A value one byte over the limit is refused, with the figures, and nothing is written.
pub async fn a_value_over_the_limit_is_refused(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "v").await;
    let before = Untouched::since(&store).await;
    let most = store.limits().value_bytes;
    let result = store.put("k", vec![0; most + 1]).await;
    assert!(
        matches!(&result, Err(Error::TooLarge { what: Bound::Value, key: Some(key), .. })
            if key.as_str() == "k"),
        "the error names the bound and the key, got {result:?}"
    );
    too_large(result, most + 1, most);
    before.assert(&store, "a value that is too large").await;
}

/// A value that grows and shrinks is what it was last, each time.
pub async fn a_value_can_grow_and_shrink(h: &dyn Place) {
    let large = large(&open(h).await);
    let sizes = [1, large, 1, large / 2, large, 0, 100];
    let values: Vec<Bytes> = (1..)
        .zip(sizes)
        .map(|(seed, size)| noise(seed, size))
        .collect();
    assert_round_trips(h, &values).await;
}

/// Two keys with the same large value are two entries.
pub async fn identical_large_values_are_two_entries(h: &dyn Place) {
    let store = open(h).await;
    let value = noise(1, large(&store));
    put(&store, "a", value.clone()).await;
    put(&store, "b", value.clone()).await;
    let store = reopen(h, store).await;
    store.delete("a").await.unwrap();
    assert!(
        value_of(&store, "b").await.unwrap() == value,
        "one does not go with the other"
    );
    put(&store, "a", value.clone()).await;
    put(&store, "b", "").await;
    let store = reopen(h, store).await;
    assert!(
        value_of(&store, "a").await.unwrap() == value,
        "nor is it changed with it"
    );
}

/// A value whose halves are identical is kept.
pub async fn a_value_that_repeats_itself_is_kept(h: &dyn Place) {
    let part = noise(1, large(&open(h).await) / 4);
    assert_round_trips(h, &[Bytes::from([&part[..]; 4].concat())]).await;
}

/// A large value beside small ones changes none of them.
pub async fn large_values_leave_small_ones(h: &dyn Place) {
    let store = open(h).await;
    fill(&store, &["a", "c"]).await;
    put(&store, "b", noise(1, large(&store))).await;
    put(&store, "b", noise(2, large(&store))).await;
    store.delete("b").await.unwrap();
    let store = reopen(h, store).await;
    let all = everything(&store).await.entries;
    assert_eq!(crate::support::names(&all), ["a", "c"]);
    assert!(all.iter().all(|entry| entry.value == entry.key.as_str()));
}

/// Thousands of tiny entries are kept.
pub async fn many_tiny_entries_are_kept(h: &dyn Place) {
    let store = open(h).await;
    let keys = numbered("tiny/", 3_000);
    fill(&store, &keys).await;
    let store = reopen(h, store).await;
    let all = everything(&store).await.entries;
    assert_eq!(crate::support::names(&all), keys);
    assert!(all.iter().all(|entry| entry.value == entry.key.as_str()));
}

/// What a caller was given stays as it was when the entry changes.
pub async fn a_value_returned_stays_what_it_was(h: &dyn Place) {
    let store = open(h).await;
    put(&store, "k", "first").await;
    let held = store.get("k").await.unwrap().expect("it was put");
    put(&store, "k", "other").await;
    put(&open(h).await, "k", "third").await;
    assert_eq!(
        held.value, "first",
        "what a caller holds does not change under it"
    );
}
