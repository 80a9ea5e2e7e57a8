//! What the tests of the whole workspace share: a place in an API server, fake or real, and the
//! harness that examines buckets there.

pub mod chaos;

mod docs;
mod harness;
mod place;

pub use harness::{BucketHarness, Suite};
pub use place::{Fake, Place, Real, client, client_as};
