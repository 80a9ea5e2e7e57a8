//! The contract of a key-value store: the trait, its types, its errors and its wrappers.
