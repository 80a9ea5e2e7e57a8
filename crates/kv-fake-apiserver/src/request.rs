//! A request, understood.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};

use crate::kind::Kind;
use crate::protobuf::{self, PROTOBUF};
use crate::query::{Query, decode};
use crate::status::{
    Result, bad_request, method_not_allowed, not_acceptable, unknown_resource, wrong_form,
};
use crate::verb::Verb;

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct ApiRequest {
    pub(crate) verb: Verb,
    pub(crate) kind: Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) query: Query,
    pub(crate) raw_query: String,
    /// Whether only the metadata is to be answered.
    pub(crate) metadata_only: bool,
    /// Whether the answer is to be protobuf.
    pub(crate) wants_protobuf: bool,
    pub(crate) content_type: String,
    pub(crate) user_agent: String,
    /// In JSON, whatever it came in.
    pub(crate) body: Bytes,
    /// The size of the body as it came.
    pub(crate) body_bytes: usize,
}

impl ApiRequest {
    /// Understands a request, whose body is added later.
    pub(crate) fn parse(parts: &Parts) -> Result<ApiRequest> {
        let target = Target::parse(parts.uri.path())?;
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let query = Query::parse(&raw_query);
        let verb = verb(&parts.method, target.name.is_some(), &query)?;
        let (form, wants_protobuf) = Form::parse(text(&parts.headers, header::ACCEPT))?;
        form.check(verb, target.kind)?;
        if wants_protobuf && target.kind == Kind::Namespace {
            return Err(not_acceptable());
        }
        Ok(ApiRequest {
            verb,
            kind: target.kind,
            namespace: target.namespace,
            name: target.name,
            query,
            raw_query,
            metadata_only: form != Form::Full,
            wants_protobuf,
            content_type: media_type(text(&parts.headers, header::CONTENT_TYPE)),
            user_agent: text(&parts.headers, header::USER_AGENT).to_owned(),
            body: Bytes::new(),
            body_bytes: 0,
        })
    }

    pub(crate) fn with_body(mut self, body: Bytes) -> Result<ApiRequest> {
        self.body_bytes = body.len();
        self.body = body;
        if self.content_type == PROTOBUF {
            let object = protobuf::to_json(self.kind, &self.body);
            let object = object.ok_or_else(|| bad_request("the body is no such object"))?;
            self.body = object.to_string().into();
            self.content_type = "application/json".to_owned();
        }
        Ok(self)
    }

    /// The name in the URL, or nothing for a collection.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The namespace in the URL, or nothing for all of them.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// The name in the body, which is the only one that a create has.
    pub(crate) fn body_name(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body["metadata"]["name"].as_str().map(str::to_owned)
    }

    /// The name that `managedFields` records for the writer.
    pub(crate) fn manager(&self) -> String {
        let agent = self
            .user_agent
            .split('/')
            .next()
            .filter(|agent| !agent.is_empty());
        self.query
            .get("fieldManager")
            .or(agent)
            .unwrap_or("unknown")
            .to_owned()
    }
}

struct Target {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
}

impl Target {
    fn parse(path: &str) -> Result<Target> {
        let path = path.strip_prefix("/api/v1/").ok_or_else(unknown_resource)?;
        let parts: Vec<String> = path.trim_end_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (namespace, plural, name) = match parts.as_slice() {
            ["namespaces"] => (None, "namespaces", None),
            ["namespaces", name] => (None, "namespaces", Some(*name)),
            ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
            ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name)),
            [plural] => (None, *plural, None),
            _ => return Err(unknown_resource()),
        };
        let kind = Kind::from_plural(plural).ok_or_else(unknown_resource)?;
        if namespace.is_some() && !kind.is_namespaced() {
            return Err(unknown_resource());
        }
        Ok(Target {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        })
    }
}

fn verb(method: &Method, named: bool, query: &Query) -> Result<Verb> {
    match (method.as_str(), named) {
        ("GET", true) => Ok(Verb::Get),
        ("GET", false) if query.flag("watch") => Ok(Verb::Watch),
        ("GET", false) => Ok(Verb::List),
        ("POST", false) => Ok(Verb::Create),
        ("PUT", true) => Ok(Verb::Update),
        ("PATCH", true) => Ok(Verb::Patch),
        ("DELETE", true) => Ok(Verb::Delete),
        ("DELETE", false) => Ok(Verb::DeleteCollection),
        _ => Err(method_not_allowed()),
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn media_type(text: &str) -> String {
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// The form of the answer, as the `Accept` header asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Full,
    Metadata,
    MetadataList,
}

impl Form {
    /// Takes the first alternative that the server has, as the real one does; and says whether it
    /// is protobuf.
    fn parse(accept: &str) -> Result<(Form, bool)> {
        if accept.is_empty() {
            return Ok((Form::Full, false));
        }
        let served = |alternative: &&str| {
            let media_type = media_type(alternative);
            matches!(
                media_type.as_str(),
                "application/json" | "*/*" | "application/*" | PROTOBUF
            )
        };
        let form = |alternative: &str| {
            let parameters = alternative.split(';').map(str::trim);
            match parameters
                .filter_map(|parameter| parameter.strip_prefix("as="))
                .next()
            {
                None => Some(Form::Full),
                Some("PartialObjectMetadata") => Some(Form::Metadata),
                Some("PartialObjectMetadataList") => Some(Form::MetadataList),
                Some(_) => None,
            }
        };
        accept
            .split(',')
            .filter(served)
            .find_map(|one| Some((form(one)?, media_type(one) == PROTOBUF)))
            .ok_or_else(not_acceptable)
    }

    fn check(self, verb: Verb, kind: Kind) -> Result<()> {
        let list = matches!(verb, Verb::List | Verb::DeleteCollection);
        match self {
            Form::Metadata if list => Err(wrong_form(format!(
                "you requested PartialObjectMetadata, but the requested object is a list \
                 (*core.{kind}List)"
            ))),
            Form::MetadataList if !list => Err(wrong_form(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list \
                 (*core.{kind})"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiRequest, Kind, Verb};

    fn parse(method: &str, uri: &str) -> Result<ApiRequest, u16> {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .expect("a request");
        ApiRequest::parse(&request.into_parts().0).map_err(|status| status.code)
    }

    #[test]
    fn paths_name_kind_namespace_and_object() {
        let request = parse("GET", "/api/v1/namespaces/a/configmaps/b").expect("understood");
        assert_eq!((request.verb, request.kind), (Verb::Get, Kind::ConfigMap));
        assert_eq!((request.namespace(), request.name()), ("a", "b"));
        let request = parse("DELETE", "/api/v1/namespaces/a").expect("understood");
        assert_eq!(
            (request.verb, request.kind),
            (Verb::Delete, Kind::Namespace)
        );
        let request = parse("POST", "/api/v1/namespaces").expect("understood");
        assert_eq!(
            (request.verb, request.kind),
            (Verb::Create, Kind::Namespace)
        );
        let request = parse("GET", "/api/v1/secrets?watch=1").expect("understood");
        assert_eq!((request.verb, request.namespace), (Verb::Watch, None));
    }

    #[test]
    fn what_is_not_served_is_refused() {
        assert_eq!(parse("GET", "/apis/apps/v1/deployments").err(), Some(404));
        assert_eq!(parse("GET", "/api/v1/namespaces/a/pods").err(), Some(404));
        assert_eq!(
            parse("POST", "/api/v1/namespaces/a/configmaps/b").err(),
            Some(405)
        );
    }
}
