//! An approvals store.
fn main() {}
