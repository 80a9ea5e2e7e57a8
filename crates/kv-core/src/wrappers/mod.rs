mod prefix;
mod read_only;
mod typed;

pub use prefix::PrefixStore;
pub use read_only::ReadOnlyStore;
pub use typed::{Codec, Json, TypedEntry, TypedStore};
