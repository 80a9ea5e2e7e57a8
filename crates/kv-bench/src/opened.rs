//! A bucket's content, fetched: what it took.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

/// All entries, by key.
pub(crate) type Entries = BTreeMap<String, Bytes>;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Opened {
    pub(crate) micros: u64,
    pub(crate) entries: u64,
    /// What the process holds afterwards, and the most that it has held.
    pub(crate) held_bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// The label of the objects that [`by_hand`] reads.
pub(crate) const LABEL: &str = "kv-bench/by-hand";

/// One LIST, and each object decompressed and decoded into a map.
pub(crate) async fn by_hand(
    client: Client,
    namespace: &str,
    bucket: &str,
) -> anyhow::Result<Entries> {
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let listed = maps
        .list(&ListParams::default().labels(&format!("{LABEL}={bucket}")))
        .await?;
    let mut entries = Entries::new();
    for object in listed {
        let data = object.binary_data.context("no data")?;
        let stored = data.get("data").context("no data")?;
        decode(&zstd::decode_all(&stored.0[..])?, &mut entries)?;
    }
    Ok(entries)
}

/// Lengths and bytes of keys and values, in turn.
pub(crate) fn encode(entries: impl Iterator<Item = (String, Bytes)>) -> Vec<u8> {
    let mut raw = Vec::new();
    for (key, value) in entries {
        for part in [key.as_bytes(), &value] {
            raw.extend((part.len() as u32).to_le_bytes());
            raw.extend(part);
        }
    }
    raw
}

fn decode(raw: &[u8], entries: &mut Entries) -> anyhow::Result<()> {
    let mut parts = raw;
    while !parts.is_empty() {
        let key = String::from_utf8(take(&mut parts)?.to_vec())?;
        entries.insert(key, Bytes::copy_from_slice(take(&mut parts)?));
    }
    Ok(())
}

fn take<'a>(parts: &mut &'a [u8]) -> anyhow::Result<&'a [u8]> {
    let (length, rest) = parts.split_at_checked(4).context("cut")?;
    let length = u32::from_le_bytes(length.try_into()?) as usize;
    let (part, rest) = rest.split_at_checked(length).context("cut")?;
    *parts = rest;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let entries: Entries = [("a", "1"), ("b", "")]
            .map(|(key, value)| (key.to_owned(), Bytes::from(value)))
            .into();
        let mut decoded = Entries::new();
        decode(&encode(entries.clone().into_iter()), &mut decoded).unwrap();
        assert_eq!(decoded, entries);
        assert!(decode(&[1, 0], &mut decoded).is_err());
    }
}
