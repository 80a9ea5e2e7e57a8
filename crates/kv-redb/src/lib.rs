//! A key-value store in one file on disk.
