//! From an understood request to its answer.

use serde_json::{Value, json};

use crate::decode::{check_kind, decode, unknown_fields};
use crate::kind::Kind;
use crate::object::Object;
use crate::patch::PatchKind;
use crate::read::{Listing, Page, Version};
use crate::registry::{Deleted, Preconditions, Registry, Writer};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::selector::Selector;
use crate::status::{Result, bad_request, failure, not_found, unknown_patch_type, unusable_patch};
use crate::store::Key;
use crate::verb::Verb;

/// The version that must exist before the request can be answered.
pub(crate) fn awaited_version(request: &ApiRequest) -> Result<u64> {
    match request.verb {
        Verb::Get => Version::parse(&request.query).map(Version::least),
        Verb::List => Listing::parse(&request.query).map(|listing| listing.least_version()),
        _ => Ok(0),
    }
}

/// Answers any request but a watch.
pub(crate) fn answer(registry: &mut Registry, request: &ApiRequest, now: &str) -> Result<Reply> {
    let writer = Writer {
        manager: request.manager(),
        now: now.to_owned(),
        dry_run: request.query.dry_run(),
    };
    let key = Key::new(request.kind, request.namespace(), request.name());
    let object = match request.verb {
        Verb::Get => return get(registry, request, &key),
        Verb::List | Verb::Watch => return list(registry, request),
        Verb::Delete => return delete(registry, request, writer, &key),
        Verb::DeleteCollection => return delete_collection(registry, request, writer),
        Verb::Create => {
            let value = body_object(request)?;
            registry.create(&writer, request.kind, request.namespace(), value)?
        }
        Verb::Update => registry.replace(&writer, &key, body_object(request)?)?,
        Verb::Patch => patch(registry, request, &writer, &key)?,
    };
    let code = if request.verb == Verb::Create {
        201
    } else {
        200
    };
    Ok(Reply::json(code, object.render(request.metadata_only)))
}

fn get(registry: &Registry, request: &ApiRequest, key: &Key) -> Result<Reply> {
    let object = registry
        .store
        .get(key)
        .ok_or_else(|| not_found(key.kind, &key.name))?;
    Ok(Reply::json(200, object.render(request.metadata_only)))
}

fn list(registry: &Registry, request: &ApiRequest) -> Result<Reply> {
    let listing = Listing::parse(&request.query)?;
    let page = listing.read(&registry.store, request.kind, request.namespace())?;
    Ok(Reply::json(
        200,
        page.render(request.kind, request.metadata_only),
    ))
}

fn parse_json(request: &ApiRequest) -> Result<Value> {
    serde_json::from_slice(&request.body).map_err(|error| bad_request(error.to_string()))
}

fn body_object(request: &ApiRequest) -> Result<Value> {
    if !matches!(request.content_type.as_str(), "" | "application/json") {
        return Err(unsupported_media_type(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    let kind = request.kind;
    let unfit = |why| {
        bad_request(format!(
            "{kind} in version \"v1\" cannot be handled as a {kind}: {why}"
        ))
    };
    let body = parse_json(request).map_err(|status| {
        let why = &status.message;
        bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get \
             version/kind; json parse error: {why}"
        ))
    })?;
    if !body.is_object() {
        return Err(bad_request(format!(
            "the object provided is unrecognized (must be of type {kind})"
        )));
    }
    check_kind(kind, &body).map_err(bad_request)?;
    if request.query.get("fieldValidation") == Some("Strict") {
        check_fields(kind, &body).map_err(unfit)?;
    }
    decode(kind, body).map_err(unfit)
}

fn check_fields(kind: Kind, body: &Value) -> std::result::Result<(), String> {
    let unknown = unknown_fields(kind, body);
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown: Vec<_> = unknown
        .iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    Err(format!("strict decoding error: {}", unknown.join(", ")))
}

fn unsupported_media_type(accepted: &str) -> Box<kube::core::Status> {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    );
    failure(415, "UnsupportedMediaType", message)
}

fn patch(
    registry: &mut Registry,
    request: &ApiRequest,
    writer: &Writer,
    key: &Key,
) -> Result<std::sync::Arc<Object>> {
    let patch_kind =
        PatchKind::from_media_type(&request.content_type).ok_or_else(unknown_patch_type)?;
    let undecodable = |why: &str| bad_request(format!("error decoding patch: {why}"));
    let change = parse_json(request).map_err(|status| undecodable(&status.message))?;
    if !change.is_object() {
        return Err(undecodable(
            "json: cannot unmarshal into Go value of type map[string]interface {}",
        ));
    }
    let kind = request.kind;
    let shown = String::from_utf8_lossy(&request.body);
    registry.patch(writer, key, |mut value| {
        patch_kind.apply(&mut value, change);
        let decoded = check_kind(kind, &value).and_then(|()| decode(kind, value));
        decoded.map_err(|why| unusable_patch(&shown, &why))
    })
}

fn delete_options(request: &ApiRequest, writer: &mut Writer) -> Result<Preconditions> {
    if request.body.is_empty() {
        return Ok(Preconditions::default());
    }
    let options = parse_json(request)?;
    writer.dry_run |= options["dryRun"][0] == "All";
    let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    Ok(Preconditions {
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    })
}

fn delete(
    registry: &mut Registry,
    request: &ApiRequest,
    mut writer: Writer,
    key: &Key,
) -> Result<Reply> {
    let preconditions = delete_options(request, &mut writer)?;
    match registry.delete(&writer, key, &preconditions)? {
        Deleted::Marked(object) => Ok(Reply::json(200, object.render(request.metadata_only))),
        Deleted::Gone(object) => Ok(Reply::json(200, success(key.kind, &object).to_string())),
    }
}

fn success(kind: Kind, object: &Object) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": { "name": object.name(), "kind": kind.plural(), "uid": object.uid() },
    })
}

fn delete_collection(
    registry: &mut Registry,
    request: &ApiRequest,
    mut writer: Writer,
) -> Result<Reply> {
    let preconditions = delete_options(request, &mut writer)?;
    let selector = Selector::parse(&request.query)?;
    let listed = registry.store.list(request.kind, request.namespace());
    let doomed: Vec<_> = listed
        .filter(|object| selector.matches(object))
        .cloned()
        .collect();
    let revision = registry.store.revision();
    for object in &doomed {
        let key = Key::new(request.kind, object.namespace(), object.name());
        registry.delete(&writer, &key, &preconditions)?;
    }
    let page = Page::of(revision, doomed);
    Ok(Reply::json(
        200,
        page.render(request.kind, request.metadata_only),
    ))
}
