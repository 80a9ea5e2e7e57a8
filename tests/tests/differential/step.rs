use std::time::Duration;

use kv_core::{Bytes, OpenMode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One thing to do to a store. It depends on nothing but the seed, so that steps can be left out:
/// what it refers to is looked up when it is done.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Commit {
        handle: usize,
        conditions: Vec<Condition>,
        operations: Vec<Operation>,
    },
    Get {
        handle: usize,
        key: &'static str,
        level: Level,
    },
    List {
        handle: usize,
        prefix: &'static str,
        start_after: Option<&'static str>,
        limit: Option<usize>,
        level: Level,
    },
    /// Goes on with the last listing that was begun through the handle `of`.
    NextPage {
        handle: usize,
        of: usize,
    },
    /// Moves the clock.
    Advance(Duration),
    /// Moves the clock to where the next entry expires, or a nanosecond less.
    Expire {
        is_early: bool,
    },
    /// Drops a handle and opens it anew.
    Reopen {
        handle: usize,
    },
    /// Drops all handles, then opens them anew.
    Restart,
    /// Opens one more handle and drops it.
    Open(OpenMode),
    Teardown {
        handle: usize,
    },
    /// Lets the store flush and merge what it has put off.
    Maintain,
}

/// How many handles there are.
pub(crate) const HANDLES: usize = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Absent(&'static str),
    Exists(&'static str),
    At(&'static str, Which),
    /// Whatever holds of the key now: it is absent, or at its revision.
    Fits(&'static str),
}

/// A revision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// That of the key.
    Of(&'static str),
    /// That of the commit so many commits ago; the last one is none ago.
    Ago(usize),
    /// Before every commit.
    Zero,
    /// One that is never given out.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Put {
        key: &'static str,
        value: Value,
        ttl: Option<Duration>,
    },
    Delete {
        key: &'static str,
    },
}

/// How new the answer to a read must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Linearizable,
    AtLeast(Which),
    Cached,
}

/// A value by its description, which is what a failure shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// Bytes that compress well.
    Plain { bytes: usize, seed: u8 },
    /// Bytes that do not.
    Noise { bytes: usize, seed: u8 },
}

impl Value {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Plain { bytes, .. } | Self::Noise { bytes, .. } => bytes,
        }
    }

    pub(crate) fn bytes(self) -> Bytes {
        match self {
            Self::Plain { bytes, seed } => vec![b'a' + seed; bytes].into(),
            Self::Noise { bytes, seed } => {
                let mut noise = vec![0; bytes];
                StdRng::seed_from_u64(seed.into()).fill_bytes(&mut noise);
                noise.into()
            }
        }
    }
}
