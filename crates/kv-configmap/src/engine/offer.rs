//! What a writer hands to the one that writes for all: its batch, in an object of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kv_core::{Condition, Key, Limits, Operation, Revision, Transaction};
use prost::Message;

use super::head::{BucketId, FORMAT};
use super::propose::Forwarded;
use super::writers::BatchId;
use super::{DecodeError, envelope, proto};

/// How much one offer may have: what is more is worth a write of its own.
const TRANSACTIONS: usize = 64;
const OPERATIONS: usize = 128;
const BYTES: usize = 16 * 1024;

/// A batch that another writer may commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    pub(crate) bucket: BucketId,
    /// Whom it is made to.
    pub(crate) leader: u64,
    pub(crate) batch: BatchId,
    /// The commit up to which the writer knows that the batch is not applied.
    pub(crate) after: Revision,
    /// The writer's time, by which it is decided about.
    pub(crate) now: SystemTime,
    pub(crate) transactions: Vec<Arc<Transaction>>,
}

impl Offer {
    /// The bytes of its object. `None`: it is too large to be offered.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        if self.transactions.len() > TRANSACTIONS || operations(&self.transactions) > OPERATIONS {
            return None;
        }
        let since_epoch = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let transactions = self.transactions.iter();
        let transactions: Option<_> = transactions.map(|one| transaction_to_proto(one)).collect();
        let message = proto::Offer {
            bucket_id: Bytes::copy_from_slice(&self.bucket.0),
            leader: self.leader,
            writer: self.batch.writer,
            counter: self.batch.counter,
            after: self.after.get(),
            now_ns: nanos(since_epoch)?,
            transactions: transactions?,
        };
        if message.encoded_len() > BYTES {
            return None;
        }
        Some(envelope::seal(
            envelope::OFFER,
            FORMAT,
            &message.encode_to_vec(),
        ))
    }

    /// What there is to decide about.
    pub(crate) fn to_forwarded(&self) -> Forwarded {
        Forwarded {
            batch: self.batch,
            after: self.after,
            now: self.now,
            transactions: self.transactions.clone(),
        }
    }

    pub(crate) fn decode(bytes: &Bytes, limits: &Limits) -> Result<Self, DecodeError> {
        let payload = envelope::open(envelope::OFFER, bytes, FORMAT)?;
        if payload.len() > BYTES {
            return Err(content("it is too large"));
        }
        let message = proto::Offer::decode(payload);
        let message = message.map_err(|error| DecodeError::Content(error.to_string()))?;
        let id = message.bucket_id.as_ref().try_into();
        let id = id.map_err(|_| content("the bucket id has not 16 bytes"))?;
        if message.transactions.len() > TRANSACTIONS {
            return Err(content("it has too many transactions"));
        }
        let transactions = message.transactions.into_iter();
        let transactions: Result<Vec<_>, _> = transactions
            .map(|one| transaction_from_proto(one, limits).map(Arc::new))
            .collect();
        let transactions = transactions?;
        if operations(&transactions) > OPERATIONS {
            return Err(content("it has too many operations"));
        }
        Ok(Self {
            bucket: BucketId(id),
            leader: message.leader,
            batch: BatchId {
                writer: message.writer,
                counter: message.counter,
            },
            after: Revision::new(message.after),
            now: UNIX_EPOCH + Duration::from_nanos(message.now_ns),
            transactions,
        })
    }
}

/// How many conditions and operations there are.
fn operations(transactions: &[Arc<Transaction>]) -> usize {
    let touched = transactions.iter();
    touched
        .map(|one| one.conditions().len() + one.operations().len())
        .sum()
}

fn transaction_to_proto(transaction: &Transaction) -> Option<proto::Transaction> {
    let operations = transaction.operations().iter();
    let operations: Option<_> = operations.map(operation_to_proto).collect();
    Some(proto::Transaction {
        conditions: transaction
            .conditions()
            .iter()
            .map(condition_to_proto)
            .collect(),
        operations: operations?,
    })
}

fn transaction_from_proto(
    message: proto::Transaction,
    limits: &Limits,
) -> Result<Transaction, DecodeError> {
    let mut transaction = Transaction::new();
    for condition in message.conditions {
        transaction = transaction.with_condition(condition_from_proto(condition)?);
    }
    for operation in message.operations {
        transaction = transaction.with_operation(operation_from_proto(operation)?);
    }
    let checked = transaction.check(limits);
    checked.map_err(|error| DecodeError::Content(error.to_string()))?;
    Ok(transaction)
}

fn condition_to_proto(condition: &Condition) -> proto::Condition {
    let (exists, at) = match condition {
        Condition::Absent(_) => (false, None),
        Condition::Exists(_) => (true, None),
        Condition::At(_, revision) => (true, Some(revision.get())),
    };
    proto::Condition {
        key: condition.key().as_str().to_owned(),
        exists,
        at,
    }
}

fn condition_from_proto(condition: proto::Condition) -> Result<Condition, DecodeError> {
    let key = key(condition.key)?;
    Ok(match (condition.exists, condition.at) {
        (_, Some(revision)) => Condition::At(key, Revision::new(revision)),
        (true, None) => Condition::Exists(key),
        (false, None) => Condition::Absent(key),
    })
}

fn operation_to_proto(operation: &Operation) -> Option<proto::Operation> {
    let key = operation.key().as_str().to_owned();
    Some(match operation {
        Operation::Put { value, ttl, .. } => proto::Operation {
            key,
            value: Some(value.clone()),
            ttl_ns: match ttl {
                Some(ttl) => Some(nanos(*ttl)?),
                None => None,
            },
        },
        Operation::Delete { .. } => proto::Operation {
            key,
            value: None,
            ttl_ns: None,
        },
    })
}

fn operation_from_proto(operation: proto::Operation) -> Result<Operation, DecodeError> {
    let key = key(operation.key)?;
    Ok(match operation.value {
        Some(value) => Operation::Put {
            key,
            value,
            ttl: operation.ttl_ns.map(Duration::from_nanos),
        },
        None => Operation::Delete { key },
    })
}

fn key(text: String) -> Result<Key, DecodeError> {
    Key::new(text).map_err(|error| DecodeError::Content(error.to_string()))
}

fn nanos(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_nanos()).ok()
}

fn content(what: &str) -> DecodeError {
    DecodeError::Content(what.to_owned())
}
