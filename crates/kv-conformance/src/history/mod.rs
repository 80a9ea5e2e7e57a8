//! Histories of concurrent calls, and whether they are linearizable.
//!
//! A [`Recorder`] notes what clients do; [`check`] decides, key by key, whether there is an order
//! of the calls that explains every answer and in which no call comes before one that had ended
//! when it began.
//!
//! Clients in several processes write journals, which [`read`] puts together:
//!
//! ```
//! use kv_conformance::history::{self, Recorder};
//! use kv_conformance::journal::{Journal, machine_nanos};
//! use kv_core::Key;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let directory = std::env::temp_dir().join(format!("kv-history-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory).unwrap();
//! # let path = directory.join("client-7.jsonl");
//! // In each client process, which has a number of its own:
//! let file = std::fs::File::create(&path)?;
//! let recorder = Recorder::new(Journal::of_client(7, machine_nanos).with_file(file));
//! # let store = kv_memory::MemoryStore::new();
//! # let key = Key::new("k").unwrap();
//! recorder.put(&store, &key).await.ok();
//! recorder.get(&store, &key).await.ok();
//!
//! // Afterwards, in the process that checks, with the files of all clients:
//! let file = std::io::BufReader::new(std::fs::File::open(&path)?);
//! let calls = history::read([file])?;
//! assert_eq!(calls.len(), 2);
//! assert_eq!(history::check(&calls), Ok(()));
//! # std::fs::remove_dir_all(directory)?;
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```

mod checker;
mod recorder;

use kv_core::Key;

pub use checker::{check, is_linearizable};
pub use recorder::{Answer, Begun, Recorder, read};

/// What is stored under a key: a number that no other call of the history writes; `None`: nothing.
pub type Value = Option<u64>;

/// One call on one key, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The key.
    pub key: Key,
    /// When it began. Only the order of the times matters.
    pub invoked: u64,
    /// When it ended; `None`: its outcome is unknown, so that it may have been applied at any
    /// time after it began, or never.
    pub returned: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What a [`Call`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It read this.
    Read(Value),
    /// It wrote this, or deleted, whatever was there.
    Write(Value),
    /// It wrote `new` in the place of `old`.
    Replace {
        /// What the condition asked for.
        old: Value,
        /// What was written.
        new: Value,
    },
    /// It was refused, because this was not there.
    Refused(Value),
}

impl Action {
    /// What is stored after the action on what was stored before; `None`: the action does not
    /// fit, it cannot have taken place then.
    fn apply(self, before: Value) -> Option<Value> {
        match self {
            Self::Read(found) => (found == before).then_some(before),
            Self::Write(new) => Some(new),
            Self::Replace { old, new } => (old == before).then_some(new),
            Self::Refused(expected) => (expected != before).then_some(before),
        }
    }
}
