//! What a simulation takes hold of: randomness, the places where a process can die, and bugs that
//! are planted to see that they are found. Nothing of it is there without the feature
//! `simulation`, which only tests set.

use rand::rngs::StdRng;
#[cfg(feature = "simulation")]
use std::sync::{Arc, Mutex, PoisonError};

/// A step after or before which a process can die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each name says where it is")]
pub enum CrashPoint {
    BeforeCreate,
    Created,
    BeforeSegmentsOfCommit,
    SegmentsOfCommitMade,
    BeforeWrite,
    Written,
    FlushPlanned,
    SegmentsOfFlushMade,
    Flushed,
    MergePlanned,
    SegmentsOfMergeMade,
    Merged,
    BeforeObsoleteRemoved,
    ObsoleteRemoved,
    SweepListed,
    SweepEpochRaised,
    OrphanRemoved,
    BeforeTeardown,
    HeadRemoved,
    SegmentsOfTeardownRemoved,
    BeforeOffer,
    Offered,
    OffersRemoved,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::BeforeCreate,
        Self::Created,
        Self::BeforeSegmentsOfCommit,
        Self::SegmentsOfCommitMade,
        Self::BeforeWrite,
        Self::Written,
        Self::FlushPlanned,
        Self::SegmentsOfFlushMade,
        Self::Flushed,
        Self::MergePlanned,
        Self::SegmentsOfMergeMade,
        Self::Merged,
        Self::BeforeObsoleteRemoved,
        Self::ObsoleteRemoved,
        Self::SweepListed,
        Self::SweepEpochRaised,
        Self::OrphanRemoved,
        Self::BeforeTeardown,
        Self::HeadRemoved,
        Self::SegmentsOfTeardownRemoved,
        Self::BeforeOffer,
        Self::Offered,
        Self::OffersRemoved,
    ];
}

/// A mistake that can be made in a store like this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A write does not name the version that it was decided on.
    UnconditionalWrite,
    /// A refusal is answered on a state that may be old.
    VerdictOnStaleBase,
    /// A write of unknown outcome is decided about again, under a new batch id.
    NewBatchAfterUnknown,
    /// After a conflict nobody looks whether the batch was applied.
    BatchIdIgnored,
    /// A conflict is taken for a success.
    ConflictSwallowed,
    /// Callers are answered before the write is sent.
    AnswerBeforeWrite,
    /// A linearizable read is answered from what is known.
    StaleRead,
    /// What a write of ours led to is taken over after a newer state.
    KnownStateGoesBack,
    /// What a read found is taken over after a newer state.
    OldReadTakenOver,
    /// A head is written before the segments that it names.
    SegmentsAfterHead,
    /// Orphans are removed without raising the sweep epoch, and without looking for what is about
    /// to be named.
    SweepWithoutEpoch,
    /// A merge leaves out tombstones that older runs still need.
    TombstoneDropped,
    /// A bucket that is made anew begins with its first revision again.
    RevisionReused,
    /// A flush is put in place on a base that it was not planned on.
    FlushOfAnotherBase,
    /// Watchers are not told that commits are missing.
    GapNotTold,
    /// Of several commits that came at once, watchers are told the last.
    CommitsCoalesced,
    /// Segments that are merged away are removed before the head that no longer names them is
    /// written.
    ObsoleteRemovedEarly,
    /// A batch of another writer is committed without looking whether it was before.
    OfferTakenTwice,
    /// Whoever has offered a batch decides about it anew without looking whether it was committed.
    OfferForgotten,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::UnconditionalWrite,
        Self::VerdictOnStaleBase,
        Self::NewBatchAfterUnknown,
        Self::BatchIdIgnored,
        Self::ConflictSwallowed,
        Self::AnswerBeforeWrite,
        Self::StaleRead,
        Self::KnownStateGoesBack,
        Self::OldReadTakenOver,
        Self::SegmentsAfterHead,
        Self::SweepWithoutEpoch,
        Self::TombstoneDropped,
        Self::RevisionReused,
        Self::FlushOfAnotherBase,
        Self::GapNotTold,
        Self::CommitsCoalesced,
        Self::ObsoleteRemovedEarly,
        Self::OfferTakenTwice,
        Self::OfferForgotten,
    ];
}

/// How a simulation takes hold of a store.
#[cfg(feature = "simulation")]
pub struct Simulation {
    random: Mutex<StdRng>,
    bug: Option<Bug>,
    dies: Box<dyn Fn(CrashPoint) -> bool + Send + Sync>,
}

#[cfg(feature = "simulation")]
impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("bug", &self.bug)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "simulation")]
impl Simulation {
    /// With randomness from `seed`, one bug or none, and a process that dies where `dies` says so.
    pub fn new(
        seed: u64,
        bug: Option<Bug>,
        dies: impl Fn(CrashPoint) -> bool + Send + Sync + 'static,
    ) -> Self {
        use rand::SeedableRng;
        Self {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            bug,
            dies: Box::new(dies),
        }
    }
}

/// The simulation, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    #[cfg(feature = "simulation")]
    simulation: Option<Arc<Simulation>>,
}

#[cfg(feature = "simulation")]
impl Hooks {
    pub(crate) fn new(simulation: Simulation) -> Self {
        Self {
            simulation: Some(Arc::new(simulation)),
        }
    }

    /// Randomness of its own.
    pub(crate) fn random(&self) -> StdRng {
        match &self.simulation {
            Some(simulation) => {
                use rand::SeedableRng;
                let mut random = simulation
                    .random
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                StdRng::from_rng(&mut *random)
            }
            None => rand::make_rng(),
        }
    }

    /// Goes no further where the process dies here.
    pub(crate) async fn reach(&self, point: CrashPoint) {
        let simulation = self.simulation.as_ref();
        if simulation.is_some_and(|simulation| (simulation.dies)(point)) {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn bug(&self) -> Option<Bug> {
        self.simulation
            .as_ref()
            .and_then(|simulation| simulation.bug)
    }
}

#[cfg(not(feature = "simulation"))]
impl Hooks {
    pub(crate) fn random(&self) -> StdRng {
        rand::make_rng()
    }

    #[allow(clippy::unused_async, reason = "as with the simulation")]
    pub(crate) async fn reach(&self, _: CrashPoint) {}

    pub(crate) fn bug(&self) -> Option<Bug> {
        None
    }
}

impl Hooks {
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug() == Some(bug)
    }
}
