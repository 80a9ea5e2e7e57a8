//! Memory behind each pointer that forwards.

use std::sync::Arc;

use kv_core::{KvStore, WatchStore};
use kv_memory::MemoryStore;

use crate::wrapped::{Wrap, Wrapped};

macro_rules! pointer {
    ($name:ident, $suite:literal, $pointer:expr) => {
        struct $name;

        impl Wrap for $name {
            const NAME: &'static str = $suite;

            fn wrap(store: MemoryStore) -> Arc<dyn KvStore> {
                Arc::new($pointer(store))
            }

            fn wrap_watch(store: MemoryStore) -> Option<Arc<dyn WatchStore>> {
                Some(Arc::new($pointer(store)))
            }
        }
    };
}

fn shared(store: MemoryStore) -> Arc<dyn WatchStore> {
    Arc::new(store)
}

fn boxed(store: MemoryStore) -> Box<dyn WatchStore> {
    Box::new(store)
}

fn borrowed(store: MemoryStore) -> &'static dyn WatchStore {
    Box::leak(Box::new(store))
}

pointer!(Shared, "memory-arc-dyn", shared);
pointer!(Boxed, "memory-box-dyn", boxed);
pointer!(Borrowed, "memory-ref-dyn", borrowed);

mod shared_suite {
    kv_conformance::suite!(super::Wrapped<super::Shared>);
}

mod boxed_suite {
    kv_conformance::suite!(super::Wrapped<super::Boxed>);
}

mod borrowed_suite {
    kv_conformance::suite!(super::Wrapped<super::Borrowed>);
}
