//! The contract in executable form: one suite that every backend passes.
