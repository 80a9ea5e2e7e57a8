//! `kv`, the command-line tool for key-value stores.

fn main() {}
