//! The store of approvals, on any backend: what an application would keep of this example.

use std::collections::BTreeMap;

use kv_core::prelude::*;
use kv_core::{TypedEntry, TypedStore};
use serde::{Deserialize, Serialize};

/// How many replicas have to vote for a resource.
const QUORUM: usize = 2;

/// What is stored under the name of a resource, as JSON.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Approval {
    pub(crate) approved: bool,
    /// All votes, of whichever replica.
    pub(crate) votes: u64,
    pub(crate) replicas: BTreeMap<String, Ballot>,
}

/// The votes of one replica on one resource.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) votes: u64,
    /// How many of them were counted before: none, if the store keeps its promises.
    pub(crate) doubled: u64,
    /// The number of the last vote. A replica numbers its votes, over all resources, from 1.
    pub(crate) last: u64,
}

/// One vote; the replica and the number tell it from every other one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vote<'a> {
    pub(crate) replica: &'a str,
    pub(crate) number: u64,
    /// Whether it may have been cast before, by somebody who never heard the answer.
    pub(crate) in_doubt: bool,
}

impl Approval {
    fn count(&mut self, vote: Vote<'_>) {
        let ballot = self.replicas.entry(vote.replica.to_owned()).or_default();
        let is_counted = vote.number <= ballot.last;
        if is_counted && vote.in_doubt {
            return;
        }
        ballot.votes += 1;
        ballot.doubled += u64::from(is_counted);
        ballot.last = ballot.last.max(vote.number);
        self.votes += 1;
        self.approved = self.replicas.len() >= QUORUM;
    }
}

/// Approvals by the name of the resource, such as `deployments/prod/web`.
#[derive(Debug)]
pub(crate) struct Approvals<S> {
    store: TypedStore<S, Approval>,
}

impl<S: KvStore> Approvals<S> {
    pub(crate) fn new(store: S) -> Self {
        let store = TypedStore::new(store);
        Self { store }
    }

    /// Counts a vote exactly once.
    pub(crate) async fn vote(&self, resource: &str, mut vote: Vote<'_>) -> Result<(), Error> {
        loop {
            let count = |approval: Option<Approval>| {
                let mut approval = approval.unwrap_or_default();
                approval.count(vote);
                Some(approval)
            };
            match self.store.modify(resource, count).await {
                // The store can't know whether the vote was counted, but its number tells. We look
                // for it where we would count it: the write may still be on its way, so that a
                // read now and a write later could count it twice.
                Err(Error::Indeterminate { .. }) => vote.in_doubt = true,
                voted => return voted.map(|_| ()),
            }
        }
    }

    /// The number of the last vote of a replica; 0: it has not voted yet.
    pub(crate) async fn last_vote(&self, replica: &str) -> Result<u64, Error> {
        let approvals = self.list("").await?;
        let ballots = approvals
            .iter()
            .filter_map(|approval| approval.value.replicas.get(replica));
        Ok(ballots.map(|ballot| ballot.last).max().unwrap_or(0))
    }

    /// The approvals of the resources whose names begin with `prefix`, all from one snapshot.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<TypedEntry<Approval>>, Error> {
        self.store.list(prefix).await
    }
}
