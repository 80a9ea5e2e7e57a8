//! Files that are no store, are not ours, or are damaged.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

use std::fs;
use std::path::{Path, PathBuf};

use kv_core::{OpenMode, prelude::*};
use kv_redb::RedbStore;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

const EVERY_MODE: [OpenMode; 3] = [OpenMode::Open, OpenMode::Create, OpenMode::OpenOrCreate];

fn path_in(directory: &TempDir) -> PathBuf {
    directory.path().join("kv.redb")
}

async fn refusal(path: &Path, mode: OpenMode) -> Error {
    RedbStore::open(path, mode)
        .await
        .expect_err("the file should be refused")
}

/// Asserts that the file is refused as foreign, in every mode, and keeps every byte; returns why.
async fn assert_foreign(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let mut reason = String::new();
    for mode in EVERY_MODE {
        let error = refusal(path, mode).await;
        assert!(matches!(error, Error::Foreign { .. }), "{mode:?}: {error}");
        reason = error.to_string();
    }
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    reason
}

#[tokio::test]
async fn a_text_file_is_foreign() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(&directory);
    fs::write(&path, "dear diary\n".repeat(1_000)).unwrap();
    let reason = assert_foreign(&path).await;
    assert!(reason.contains("it is no redb database"), "{reason}");
    fs::write(&path, "x").unwrap();
    assert_foreign(&path).await;
}

#[tokio::test]
async fn an_empty_file_is_foreign() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(&directory);
    fs::write(&path, "").unwrap();
    let reason = assert_foreign(&path).await;
    assert!(reason.contains("it is empty"), "{reason}");
}

/// redb itself changes a file when it opens it: it marks it, repairs it, and frees pages.
#[tokio::test]
async fn a_redb_database_of_somebody_else_is_foreign_even_when_it_needs_a_repair() {
    const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("accounts");
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (path_in(&directory), directory.path().join("copy.redb"));
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(TABLE)
        .unwrap()
        .insert("anna", 7)
        .unwrap();
    transaction.commit().unwrap();
    // What a kill would leave.
    fs::copy(&path, &copy).unwrap();
    drop(database);
    for path in [path, copy] {
        let reason = assert_foreign(&path).await;
        assert!(reason.contains("other tables"), "{reason}");
    }
    fs::remove_file(path_in(&directory)).unwrap();
    drop(Database::create(path_in(&directory)).unwrap());
    assert_foreign(&path_in(&directory)).await;
}

#[tokio::test]
async fn a_database_with_our_tables_and_others_is_foreign() {
    const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("accounts");
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(&directory);
    drop(RedbStore::open(&path, OpenMode::Create).await.unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TABLE).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_foreign(&path).await;
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_unsupported_and_kept() {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("kv.meta");
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(&directory);
    drop(RedbStore::open(&path, OpenMode::Create).await.unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert("format", 2)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let before = fs::read(&path).unwrap();
    let error = refusal(&path, OpenMode::OpenOrCreate).await;
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("format 2") && text.contains("newer version"),
        "{text}"
    );
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
}

#[tokio::test]
async fn a_directory_is_foreign_and_a_missing_one_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    for mode in EVERY_MODE {
        let error = refusal(directory.path(), mode).await;
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        let missing = directory.path().join("missing").join("kv.redb");
        let error = refusal(&missing, mode).await;
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
        assert!(error.to_string().contains("the directory of"), "{error}");
    }
    let path = path_in(&directory);
    let error = refusal(&path, OpenMode::Open).await;
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn below_a_regular_file_there_is_no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = path_in(&directory);
    fs::write(&file, "a file").unwrap();
    for mode in EVERY_MODE {
        let error = refusal(&file.join("kv.redb"), mode).await;
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}

/// A store of some pages: its bytes and its entries.
struct Sample {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The entries, and what they were before the last commit.
    last: Vec<Entry>,
    previous: Vec<Entry>,
}

impl Sample {
    /// Of a store that was closed, or of one that was killed.
    async fn new(directory: &TempDir, closed: bool) -> Self {
        let path = path_in(directory);
        let store = RedbStore::open(&path, OpenMode::Create).await.unwrap();
        for key in 0..40 {
            let value = vec![key; 100 + usize::from(key) * 20];
            store.put(format!("key/{key:02}"), value).await.unwrap();
        }
        let previous = store.list("").await.unwrap();
        store.put("last", "").await.unwrap();
        let last = store.list("").await.unwrap();
        let killed = fs::read(&path).unwrap();
        drop(store);
        let bytes = if closed {
            fs::read(&path).unwrap()
        } else {
            killed
        };
        Self {
            path,
            bytes,
            last,
            previous,
        }
    }

    /// Opens the file with these bytes: right data or a typed error, nothing in between.
    async fn open(&self, bytes: &[u8], what: &str) -> Found {
        fs::write(&self.path, bytes).unwrap();
        let store = match RedbStore::open(&self.path, OpenMode::Open).await {
            Err(Error::Corrupt { .. } | Error::Foreign { .. } | Error::Unsupported { .. }) => {
                return Found::Damage;
            }
            Err(error) => panic!("{what}: {error:?}"),
            Ok(store) => store,
        };
        match store.list("").await {
            Ok(entries) if entries == self.last => Found::Last,
            Ok(entries) if entries == self.previous => Found::Previous,
            Ok(_) => panic!("{what}: wrong data"),
            Err(error) => panic!("{what}: {error:?}"),
        }
    }

    /// Flips bytes of the header and bytes all over the pages, and counts what was found: damage,
    /// and the commit before the last.
    async fn flip(&self, header: impl Iterator<Item = usize>, of_pages: usize) -> (usize, usize) {
        // Most of the pages is not in use, and zero.
        let used: Vec<usize> = (HEADER..self.bytes.len())
            .filter(|at| self.bytes[*at] != 0)
            .collect();
        let pages = used.iter().step_by(used.len().div_ceil(of_pages)).copied();
        let (mut damage, mut previous) = (0, 0);
        for at in header.chain(pages) {
            let mut bytes = self.bytes.clone();
            bytes[at] ^= 0xff;
            match self.open(&bytes, &format!("byte {at}")).await {
                Found::Last => {}
                Found::Damage => damage += 1,
                Found::Previous => previous += 1,
            }
        }
        let found = self.open(&self.bytes, "the undamaged file").await;
        assert_eq!(found, Found::Last);
        (damage, previous)
    }
}

/// The bytes of a file before its first page that redb reads.
const HEADER: usize = 320;

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Damage,
    Last,
    Previous,
}

#[tokio::test]
async fn a_truncated_file_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let sample = Sample::new(&directory, true).await;
    for percent in [1, 5, 10, 25, 50, 75, 99] {
        let length = sample.bytes.len() * percent / 100;
        let found = sample.open(&sample.bytes[..length], "a part").await;
        assert_eq!(found, Found::Damage, "{percent}%");
    }
}

#[tokio::test]
async fn every_flipped_byte_of_a_closed_file_is_harmless_or_reported() {
    let directory = tempfile::tempdir().unwrap();
    let sample = Sample::new(&directory, true).await;
    let (damage, previous) = sample.flip(0..HEADER, 100).await;
    assert!(damage > 100, "only {damage} were reported");
    assert_eq!(previous, 0);
}

/// Damage to what the last commit wrote looks as if the kill had come before the end of it.
#[tokio::test]
async fn a_flipped_byte_of_a_file_whose_process_was_killed_costs_the_last_commit_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let sample = Sample::new(&directory, false).await;
    let (damage, previous) = sample.flip((0..HEADER).step_by(3), 50).await;
    assert!(damage > 10, "only {damage} were reported");
    assert!(previous > 0, "the crate page is too modest");
}
