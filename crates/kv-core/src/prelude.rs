//! What an application needs to use a store: `use kv_core::prelude::*;`.

pub use crate::{
    Consistency, Entry, Error, Key, KvStore, KvStoreExt, ListOptions, Revision, Transaction,
    WatchEvent, WatchOptions, WatchStart, WatchStore,
};
