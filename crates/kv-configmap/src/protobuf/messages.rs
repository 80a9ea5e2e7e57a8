//! The messages of `k8s.io/apimachinery/pkg/runtime/generated.proto`,
//! `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto` and `k8s.io/api/core/v1/generated.proto`,
//! with the fields that are needed here.

use bytes::Bytes;
use prost::Message;

/// What every object begins with, before an [`Unknown`].
pub(super) const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, PartialEq, Message)]
pub(super) struct Unknown {
    #[prost(message, optional, tag = "1")]
    pub(super) type_meta: Option<TypeMeta>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeMeta {
    #[prost(string, tag = "1")]
    pub(super) api_version: String,
    #[prost(string, tag = "2")]
    pub(super) kind: String,
}

/// What a map travels as; the values of labels and annotations are text.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pair {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectMeta {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(string, tag = "5")]
    pub(super) uid: String,
    #[prost(string, tag = "6")]
    pub(super) resource_version: String,
    #[prost(message, repeated, tag = "11")]
    pub(super) labels: Vec<Pair>,
    #[prost(message, repeated, tag = "12")]
    pub(super) annotations: Vec<Pair>,
    #[prost(message, repeated, tag = "13")]
    pub(super) owner_references: Vec<OwnerReference>,
    #[prost(message, repeated, tag = "17")]
    pub(super) managed_fields: Vec<ManagedFields>,
}

/// Only the empty one is ever sent.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ManagedFields {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OwnerReference {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) uid: String,
    #[prost(string, tag = "5")]
    pub(super) api_version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfigMap {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "3")]
    pub(super) binary_data: Vec<Pair>,
    #[prost(bool, optional, tag = "4")]
    pub(super) immutable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Secret {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "2")]
    pub(super) data: Vec<Pair>,
    #[prost(bool, optional, tag = "5")]
    pub(super) immutable: Option<bool>,
}

/// A list of objects, each still encoded.
#[derive(Clone, PartialEq, Message)]
pub(super) struct List {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(super) items: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "3")]
    pub(crate) message: String,
    #[prost(string, tag = "4")]
    pub(crate) reason: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) details: Option<StatusDetails>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct StatusDetails {
    #[prost(uint32, tag = "5")]
    pub(crate) retry_after_seconds: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialObjectMetadata {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchEvent {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(message, optional, tag = "2")]
    pub(super) object: Option<RawExtension>,
}

/// An object, with all that it begins with.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RawExtension {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) raw: Bytes,
}
