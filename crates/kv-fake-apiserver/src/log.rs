//! What was asked of the server, so that tests can count.

use std::collections::VecDeque;

use crate::kind::Kind;
use crate::request::ApiRequest;
use crate::verb::Verb;

/// The most requests that are remembered; the oldest are dropped.
const LIMIT: usize = 100_000;

/// One request that reached the server, from [`FakeApiServer::requests`].
///
/// [`FakeApiServer::requests`]: crate::FakeApiServer::requests
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// What it asked for.
    pub verb: Verb,
    /// The kind it asked about.
    pub kind: Kind,
    /// The namespace in the URL.
    pub namespace: Option<String>,
    /// The name in the URL.
    pub name: Option<String>,
    /// The query of the URL, not decoded.
    pub query: String,
    /// Whether it wanted only the metadata.
    pub metadata_only: bool,
    /// The size of its body.
    pub body_bytes: usize,
    /// The code of the answer; nothing while it is worked on, and for an answer that never came.
    pub code: Option<u16>,
}

/// The number of a request in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    records: VecDeque<RequestRecord>,
    /// The ticket of the oldest record.
    first: u64,
}

impl RequestLog {
    pub(crate) fn open(&mut self, request: &ApiRequest) -> Ticket {
        if self.records.len() == LIMIT {
            self.records.pop_front();
            self.first += 1;
        }
        self.records.push_back(RequestRecord {
            verb: request.verb,
            kind: request.kind,
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            query: request.raw_query.clone(),
            metadata_only: request.metadata_only,
            body_bytes: request.body_bytes,
            code: None,
        });
        Ticket(self.first + self.records.len() as u64 - 1)
    }

    pub(crate) fn close(&mut self, ticket: Ticket, code: u16) {
        let index = ticket
            .0
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.records.get_mut(index)) {
            record.code = Some(code);
        }
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        self.records.iter().cloned().collect()
    }

    pub(crate) fn reset(&mut self) {
        self.first += self.records.len() as u64;
        self.records.clear();
    }
}
