//! What is stored.

use bytes::Bytes;
use kv_core::{Key, Transaction};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// The size of the values that are put.
pub(crate) const VALUE_BYTES: usize = 100;

/// A value that nobody can compress, another one each time.
pub(crate) fn fresh_noise(bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    rand::rng().fill_bytes(&mut value);
    value.into()
}

/// A value that nobody can compress.
pub(crate) fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut value);
    value.into()
}

/// The value of an entry that a bucket is filled with, of the usual size.
pub(crate) fn entry_value(number: u64) -> Bytes {
    noise(number, VALUE_BYTES)
}

pub(crate) fn key(text: impl AsRef<str>) -> Key {
    Key::new(text.as_ref()).expect("a valid key")
}

/// A JSON document of 100 to 2,000 bytes, of the kind that controllers keep.
pub(crate) fn document(seed: u64) -> Bytes {
    const NAMES: [&str; 8] = [
        "web", "api", "worker", "cache", "billing", "search", "mailer", "gateway",
    ];
    const PHASES: [&str; 4] = ["Pending", "Approved", "Rejected", "RolledBack"];
    let mut random = StdRng::seed_from_u64(seed);
    let name = NAMES[random.random_range(0..NAMES.len())];
    let mut history = Vec::new();
    for step in 0..random.random_range(0..12) {
        history.push(serde_json::json!({
            "at": format!("2026-03-{:02}T{:02}:{:02}:{:02}Z", step + 1, random.random_range(0..24),
                random.random_range(0..60), random.random_range(0..60)),
            "by": format!("user-{:04}@example.com", random.random_range(0..2_000)),
            "phase": PHASES[random.random_range(0..PHASES.len())],
            "digest": format!("{:016x}", random.next_u64()),
        }));
    }
    let document = serde_json::json!({
        "deployment": format!("{name}-{}", random.random_range(0..500)),
        "replicas": random.random_range(1..40),
        "phase": PHASES[random.random_range(0..PHASES.len())],
        "uid": format!("{:016x}", random.next_u64()),
        "history": history,
    });
    document.to_string().into()
}

/// Entries for a bucket of k8s-kv: values of the usual size that nobody can compress.
pub(crate) fn contents(entries: u64) -> impl Iterator<Item = (String, Bytes)> {
    (0..entries).map(|number| (entry_key(number).to_string(), entry_value(number)))
}

/// The puts of many entries, in transactions.
pub(crate) fn transactions(
    count: u64,
    value: impl Fn(u64) -> Bytes,
) -> impl Iterator<Item = Transaction> {
    const A_TRANSACTION: u64 = 1_000;
    (0..count.div_ceil(A_TRANSACTION)).map(move |index| {
        let numbers = index * A_TRANSACTION..((index + 1) * A_TRANSACTION).min(count);
        numbers.fold(Transaction::new(), |transaction, number| {
            transaction.put(entry_key(number), value(number))
        })
    })
}

pub(crate) fn entry_key(number: u64) -> Key {
    key(format!("deployments/{number:07}"))
}
