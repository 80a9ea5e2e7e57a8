//! A fake Kubernetes API server in the process, as a tower service under [`kube::Client`].
//!
//! It serves Namespaces, ConfigMaps and Secrets by the rules of the real server, so that client
//! code which is wrong fails on it as it would fail in a cluster. It needs no network, no thread
//! and no clock of its own: under a tokio runtime with paused time a minute passes at once.
//!
//! ```
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::Api;
//! use kube::api::{Patch, PatchParams};
//! use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = FakeApiServer::new();
//! server.edit(Kind::ConfigMap, "default", "settings", |object| {
//!     object["data"] = json!({ "color": "blue" });
//! })?;
//! server.inject(Fault::reset_after_apply().on(Verb::Patch));
//!
//! let api: Api<ConfigMap> = Api::default_namespaced(server.client());
//! let patch = Patch::Merge(json!({ "data": { "color": "red" } }));
//! let answer = api.patch("settings", &PatchParams::default(), &patch).await;
//!
//! assert!(answer.is_err(), "the answer got lost");
//! assert_eq!(api.get("settings").await?.data.unwrap_or_default()["color"], "red");
//! assert_eq!(server.requests().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What is served
//!
//! - The verbs get, list, watch, create, update, patch (merge and strategic), delete and
//!   deletecollection, with full or metadata-only answers, selectors, pages and dry runs.
//! - Versions: each write gets the next one over all kinds; a write that changes nothing gets none.
//!   Preconditions on version and uid. Reads at a version, watches from a version, bookmarks, 410.
//! - Validation of names, keys, labels, annotations, sizes and immutable objects.
//! - `managedFields`, finalizers, terminating namespaces; owner references on demand, by
//!   [`FakeApiServer::collect_garbage`].
//!
//! # What differs from a real server
//!
//! - JSON Patch and server-side apply are answered with 415; YAML too.
//! - Protobuf is served for ConfigMaps and Secrets, full objects only, with the names, labels,
//!   annotations, owners, finalizers, uid and version of their metadata; not for watches.
//! - `propagationPolicy` is ignored: every deletion is a background one.
//! - A namespace that is deleted stays until [`FakeApiServer::finish_namespaces`].
//! - `fieldValidation=Warn` sends no warnings, and `Strict` looks at the bodies of creates and
//!   updates only.
//! - The message about a patch that makes no object shows the patch, where the real one shows the
//!   result of some; the message about broken JSON has the words of another parser.
//! - At most 1,000 events, by default, may wait for a watch; the real server also counts the room in
//!   buffers of the network.
//!
//! Everything else that a client could rely on is in [`contract`]: cases that run against this server
//! and against a real one.

mod canned;
mod chaos;
mod clock;
pub mod contract;
mod decode;
mod events;
mod fault;
mod garbage;
mod handler;
mod kind;
mod log;
mod managed_fields;
mod object;
mod patch;
mod protobuf;
mod query;
mod read;
mod registry;
mod reply;
mod request;
mod rights;
mod selector;
mod server;
mod service;
mod shared;
mod status;
mod store;
mod validate;
mod verb;
mod watch;

pub use fault::Fault;
pub use kind::Kind;
pub use log::RequestRecord;
pub use rights::Rights;
pub use server::FakeApiServer;
pub use service::{BoxError, FakeService, ResponseBody};
pub use verb::Verb;
