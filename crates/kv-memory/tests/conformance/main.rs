//! The suite on memory: plain, through every pointer and through every wrapper; and what proves
//! that the suite can fail.

mod plain;
mod pointers;
mod prefix;
mod read_only;
mod sensitivity;
mod typed;
mod wrapped;
