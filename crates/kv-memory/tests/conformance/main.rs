//! The suite on memory: plain, through every pointer and through every wrapper.

mod plain;
