//! The rules of reading: which version a GET or LIST answers with, and how lists are paged.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kube::core::Status;
use serde_json::json;

use crate::kind::Kind;
use crate::object::Object;
use crate::query::Query;
use crate::selector::Selector;
use crate::status::{
    Finding, Result, bad_request, failure, invalid_options, list_expired, page_expired,
};
use crate::store::Store;

/// The version that a reader wants its answer to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The newest.
    MostRecent,
    /// That one or a newer one; zero accepts any.
    NotOlderThan(u64),
    /// Exactly that one.
    Exact(u64),
}

impl Version {
    pub(crate) fn parse(query: &Query) -> Result<Version> {
        const SUPPORTED: &str = "\"Exact\", \"NotOlderThan\", \"\"";
        const FIELD: &str = "resourceVersionMatch";
        let asked = query
            .get("resourceVersion")
            .map(parse_version)
            .transpose()?;
        let forbid = |why| Err(invalid_options(Finding::forbidden(FIELD, why)));
        match (asked, query.get(FIELD)) {
            (Some(0), Some("Exact")) => {
                forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
            }
            (Some(version), Some("Exact")) => Ok(Version::Exact(version)),
            (Some(version), None | Some("NotOlderThan")) => Ok(Version::NotOlderThan(version)),
            (None, None) => Ok(Version::MostRecent),
            (None, Some("Exact" | "NotOlderThan")) => {
                forbid("resourceVersionMatch is forbidden unless resourceVersion is provided")
            }
            (_, Some(other)) => Err(invalid_options(Finding::unsupported(
                FIELD, other, SUPPORTED,
            ))),
        }
    }

    /// The version that must exist before the answer can be given.
    pub(crate) fn least(self) -> u64 {
        match self {
            Version::MostRecent => 0,
            Version::NotOlderThan(version) | Version::Exact(version) => version,
        }
    }
}

/// A version that is no number is a failure of the server's own, as on the real one.
pub(crate) fn parse_version(text: &str) -> Result<u64> {
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        failure(
            500,
            "",
            format!("resourceVersion: Invalid value: {text:?}: {why}"),
        )
    })
}

/// A page of a listing.
#[derive(Debug)]
pub(crate) struct Page {
    revision: u64,
    objects: Vec<Arc<Object>>,
    next: Option<String>,
    remaining: Option<usize>,
}

/// What a listing asks for.
#[derive(Debug)]
pub(crate) struct Listing {
    selector: Selector,
    version: Version,
    limit: usize,
    after: Option<Continue>,
}

/// Where the next page starts, and at which version the listing is read.
#[derive(Debug)]
struct Continue {
    revision: u64,
    namespace: String,
    name: String,
}

impl Listing {
    pub(crate) fn parse(query: &Query) -> Result<Listing> {
        let after = query.get("continue").map(Continue::parse).transpose()?;
        let version = Version::parse(query).map_err(unreadable_version)?;
        if after.is_some() && !matches!(version, Version::MostRecent | Version::NotOlderThan(0)) {
            let why = "specifying resource version is not allowed when using continue";
            return Err(bad_request(why));
        }
        Ok(Listing {
            selector: Selector::parse(query)?,
            version,
            limit: limit(query)?,
            after,
        })
    }

    /// The version that must exist before the answer can be given.
    pub(crate) fn least_version(&self) -> u64 {
        self.version.least()
    }

    fn expired(&self) -> Box<Status> {
        if self.after.is_some() {
            page_expired()
        } else {
            list_expired()
        }
    }

    pub(crate) fn read(&self, store: &Store, kind: Kind, namespace: &str) -> Result<Page> {
        let revision = match (&self.after, self.version) {
            (Some(after), _) => after.revision,
            (None, Version::Exact(version)) => version,
            (None, _) => store.revision(),
        };
        let objects = store
            .list_at(kind, namespace, revision)
            .ok_or_else(|| self.expired())?;
        let left = objects.into_iter().filter(|object| {
            let unread = self
                .after
                .as_ref()
                .is_none_or(|after| after.precedes(object));
            unread && self.selector.matches(object)
        });
        let mut objects: Vec<_> = left.collect();
        let remaining = objects.len().saturating_sub(self.limit);
        objects.truncate(self.limit);
        let more = objects.last().filter(|_| remaining > 0);
        Ok(Page {
            revision,
            next: more.map(|last| Continue::after(revision, last).token()),
            remaining: (remaining > 0 && self.selector.is_empty()).then_some(remaining),
            objects,
        })
    }
}

impl Continue {
    fn after(revision: u64, object: &Object) -> Continue {
        Continue {
            revision,
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        }
    }

    fn precedes(&self, object: &Object) -> bool {
        (object.namespace(), object.name()) > (self.namespace.as_str(), self.name.as_str())
    }

    fn token(&self) -> String {
        let token = json!({ "v": "meta.k8s.io/v1", "rv": self.revision,
            "start": format!("{}/{}", self.namespace, self.name) });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn parse(token: &str) -> Result<Continue> {
        let refuse = || bad_request("continue key is not valid");
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| refuse())?;
        let token: serde_json::Value = serde_json::from_slice(&json).map_err(|_| refuse())?;
        let revision = token["rv"].as_u64().ok_or_else(refuse)?;
        let start = token["start"]
            .as_str()
            .and_then(|start| start.split_once('/'));
        let (namespace, name) = start.ok_or_else(refuse)?;
        Ok(Continue {
            revision,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl Page {
    /// The page of a listing without versions, as deletecollection answers.
    pub(crate) fn of(revision: u64, objects: Vec<Arc<Object>>) -> Page {
        Page {
            revision,
            objects,
            next: None,
            remaining: None,
        }
    }

    pub(crate) fn render(&self, kind: Kind, metadata_only: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": self.revision.to_string() });
        if let Some(next) = &self.next {
            metadata["continue"] = next.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        let (list, version) = match metadata_only {
            true => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            false => (kind.name(), "v1"),
        };
        let head = format!(
            "{{\"kind\":\"{list}List\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":["
        );
        let mut out = head.into_bytes();
        if metadata_only && self.objects.is_empty() {
            // The real server writes its empty slice of metadata as null.
            out.pop();
            out.extend_from_slice(b"null}");
            return Bytes::from(out);
        }
        for (at, object) in self.objects.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&object.render_item(metadata_only));
        }
        out.extend_from_slice(b"]}");
        Bytes::from(out)
    }
}

/// A list says otherwise than a GET that it can't read a version.
fn unreadable_version(status: Box<Status>) -> Box<Status> {
    if status.code != 500 {
        return status;
    }
    bad_request(format!("invalid resource version: {}", status.message))
}

/// Zero means no limit.
fn limit(query: &Query) -> Result<usize> {
    let limit = query.number("limit")?.filter(|limit| *limit > 0);
    Ok(limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX))
}
