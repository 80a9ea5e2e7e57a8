//! The messages of `docs/bucket.proto`; a test holds the two together.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) bucket_id: Bytes,
    #[prost(uint64, tag = "2")]
    pub(super) revision: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) base: Bytes,
    #[prost(uint64, tag = "4")]
    pub(super) base_revision: u64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) tail: Bytes,
    #[prost(message, repeated, tag = "6")]
    pub(super) writers: Vec<Writer>,
    #[prost(uint64, tag = "7")]
    pub(super) writers_complete_after: u64,
    #[prost(message, repeated, tag = "8")]
    pub(super) runs: Vec<Run>,
    #[prost(uint64, tag = "9")]
    pub(super) sweep_epoch: u64,
    #[prost(uint64, tag = "10")]
    pub(super) tombstones_dropped_through: u64,
    #[prost(uint64, repeated, tag = "11")]
    pub(super) recent_revisions: Vec<u64>,
    #[prost(fixed64, tag = "12")]
    pub(super) leader: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Run {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(uint64, tag = "2")]
    pub(super) written_after: u64,
    #[prost(uint64, tag = "3")]
    pub(super) raw_bytes: u64,
    #[prost(fixed64, repeated, tag = "4")]
    pub(super) segments: Vec<u64>,
    #[prost(uint32, repeated, tag = "5")]
    pub(super) segment_bytes: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Segment {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) bucket_id: Bytes,
    #[prost(fixed64, tag = "2")]
    pub(super) nonce: u64,
    #[prost(uint32, tag = "3")]
    pub(super) number: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) frame: Bytes,
    #[prost(bool, tag = "5")]
    pub(super) is_ahead: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Writer {
    #[prost(fixed64, tag = "1")]
    pub(super) id: u64,
    #[prost(uint64, tag = "2")]
    pub(super) counter: u64,
    #[prost(uint64, tag = "3")]
    pub(super) revision: u64,
    #[prost(message, optional, tag = "4")]
    pub(super) outcomes: Option<Outcomes>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Outcomes {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) ages: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) previous_ages: Vec<u64>,
    #[prost(uint32, repeated, tag = "3")]
    pub(super) left: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) refusals: Vec<Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Refusal {
    #[prost(uint32, tag = "1")]
    pub(super) transaction: u32,
    #[prost(uint32, tag = "2")]
    pub(super) condition: u32,
    #[prost(uint64, tag = "3")]
    pub(super) actual_age: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Offer {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) bucket_id: Bytes,
    #[prost(fixed64, tag = "2")]
    pub(super) leader: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) writer: u64,
    #[prost(uint64, tag = "4")]
    pub(super) counter: u64,
    #[prost(uint64, tag = "5")]
    pub(super) after: u64,
    #[prost(uint64, tag = "6")]
    pub(super) now_ns: u64,
    #[prost(message, repeated, tag = "7")]
    pub(super) transactions: Vec<Transaction>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Transaction {
    #[prost(message, repeated, tag = "1")]
    pub(super) conditions: Vec<Condition>,
    #[prost(message, repeated, tag = "2")]
    pub(super) operations: Vec<Operation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Condition {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(bool, tag = "2")]
    pub(super) exists: bool,
    #[prost(uint64, optional, tag = "3")]
    pub(super) at: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Operation {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) value: Option<Bytes>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) ttl_ns: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entries {
    #[prost(message, repeated, tag = "1")]
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) revision: u64,
    #[prost(uint64, optional, tag = "4")]
    pub(super) expires_at_ms: Option<u64>,
    #[prost(bool, tag = "5")]
    pub(super) removed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Commits {
    #[prost(message, repeated, tag = "1")]
    pub(super) commits: Vec<Commit>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Commit {
    #[prost(uint64, tag = "1")]
    pub(super) revision: u64,
    #[prost(message, repeated, tag = "2")]
    pub(super) changes: Vec<Change>,
    #[prost(message, optional, tag = "3")]
    pub(super) run: Option<Run>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Change {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) value: Option<Bytes>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) expires_at_ms: Option<u64>,
    #[prost(bool, tag = "4")]
    pub(super) reclaimed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bucket.proto");

    fn head() -> Head {
        Head {
            bucket_id: Bytes::from_static(b"0123456789abcdef"),
            revision: 1,
            base: Bytes::from_static(b"base"),
            base_revision: 2,
            tail: Bytes::from_static(b"tail"),
            writers: vec![Writer {
                id: 3,
                counter: 4,
                revision: 5,
                outcomes: Some(outcomes()),
            }],
            writers_complete_after: 6,
            runs: vec![run()],
            sweep_epoch: 7,
            tombstones_dropped_through: 8,
            recent_revisions: vec![9, 10],
            leader: 11,
        }
    }

    fn outcomes() -> Outcomes {
        Outcomes {
            ages: vec![1, 0],
            previous_ages: vec![2, 0],
            left: vec![1, 2],
            refusals: vec![Refusal {
                transaction: 1,
                condition: 2,
                actual_age: 3,
            }],
        }
    }

    fn offer() -> Offer {
        let condition = Condition {
            key: "k".into(),
            exists: true,
            at: Some(1),
        };
        let operation = Operation {
            key: "k".into(),
            value: Some(Bytes::from_static(b"v")),
            ttl_ns: Some(2),
        };
        Offer {
            bucket_id: Bytes::from_static(b"0123456789abcdef"),
            leader: 3,
            writer: 4,
            counter: 5,
            after: 6,
            now_ns: 7,
            transactions: vec![Transaction {
                conditions: vec![condition],
                operations: vec![operation],
            }],
        }
    }

    fn run() -> Run {
        Run {
            revision: 1,
            written_after: 2,
            raw_bytes: 3,
            segments: vec![4, 5],
            segment_bytes: vec![6, 7],
        }
    }

    fn segment() -> Segment {
        Segment {
            bucket_id: Bytes::from_static(b"0123456789abcdef"),
            nonce: 1,
            number: 2,
            frame: Bytes::from_static(b"frame"),
            is_ahead: true,
        }
    }

    fn entries() -> Entries {
        let value = Bytes::from_static(b"v");
        let entry = Entry {
            key: "k".into(),
            value,
            revision: 1,
            expires_at_ms: Some(2),
            removed: true,
        };
        Entries {
            entries: vec![entry],
        }
    }

    fn commits() -> Commits {
        let value = Some(Bytes::from_static(b"v"));
        let change = Change {
            key: "k".into(),
            value,
            expires_at_ms: Some(1),
            reclaimed: true,
        };
        Commits {
            commits: vec![Commit {
                revision: 1,
                changes: vec![change],
                run: Some(run()),
            }],
        }
    }

    /// Reads our bytes by the published schema, writes them again, and expects the same bytes and
    /// the same number of fields, none of them unknown.
    fn hold_together(pool: &DescriptorPool, name: &str, ours: &impl Message) {
        let descriptor = pool
            .get_message_by_name(&format!("kv.bucket.v1.{name}"))
            .unwrap();
        let bytes = ours.encode_to_vec();
        let theirs = DynamicMessage::decode(descriptor.clone(), &*bytes).unwrap();
        assert_eq!(
            theirs.unknown_fields().count(),
            0,
            "{name} has fields that the schema lacks"
        );
        assert_eq!(
            theirs.fields().count(),
            descriptor.fields().count(),
            "the schema of {name} has fields that the code lacks"
        );
        assert_eq!(theirs.encode_to_vec(), bytes, "{name}");
    }

    #[test]
    fn the_published_schema_and_the_code_are_the_same() {
        let directory = std::path::Path::new(SCHEMA).parent().unwrap();
        let files = protox::compile([SCHEMA], [directory]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
        hold_together(&pool, "Head", &head());
        hold_together(&pool, "Writer", &head().writers[0]);
        hold_together(&pool, "Entries", &entries());
        hold_together(&pool, "Entry", &entries().entries[0]);
        hold_together(&pool, "Commits", &commits());
        hold_together(&pool, "Commit", &commits().commits[0]);
        hold_together(&pool, "Change", &commits().commits[0].changes[0]);
        hold_together(&pool, "Run", &run());
        hold_together(&pool, "Segment", &segment());
        hold_together(&pool, "Outcomes", &outcomes());
        hold_together(&pool, "Refusal", &outcomes().refusals[0]);
        let transaction = &offer().transactions[0];
        hold_together(&pool, "Offer", &offer());
        hold_together(&pool, "Transaction", transaction);
        hold_together(&pool, "Condition", &transaction.conditions[0]);
        hold_together(&pool, "Operation", &transaction.operations[0]);
        assert_eq!(pool.all_messages().count(), 15);
    }
}
