//! The refusals of the server, worded like the real ones.

use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary};

use crate::kind::Kind;
use crate::verb::Verb;

/// An answer, or the refusal that the server sends in its place.
pub(crate) type Result<T> = std::result::Result<T, Box<Status>>;

/// A refusal without details.
pub(crate) fn failure(code: u16, reason: &str, message: impl Into<String>) -> Box<Status> {
    Box::new(Status {
        status: Some(StatusSummary::Failure),
        code,
        message: message.into(),
        metadata: None,
        reason: reason.to_owned(),
        details: None,
    })
}

fn failure_of(code: u16, reason: &str, kind: Kind, name: &str, message: String) -> Box<Status> {
    let mut status = failure(code, reason, message);
    status.details = Some(StatusDetails {
        name: name.to_owned(),
        ..details(kind.plural())
    });
    status
}

/// Empty details about a resource.
pub(crate) fn details(kind: &str) -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: kind.to_owned(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}

pub(crate) fn not_found(kind: Kind, name: &str) -> Box<Status> {
    let message = format!("{} \"{name}\" not found", kind.plural());
    failure_of(404, "NotFound", kind, name, message)
}

pub(crate) fn already_exists(kind: Kind, name: &str) -> Box<Status> {
    let message = format!("{} \"{name}\" already exists", kind.plural());
    failure_of(409, "AlreadyExists", kind, name, message)
}

/// A conflict; most name the resource, some the kind.
pub(crate) fn conflict(resource: &str, name: &str, why: &str) -> Box<Status> {
    let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
    let mut status = failure(409, "Conflict", message);
    status.details = Some(StatusDetails {
        name: name.to_owned(),
        ..details(resource)
    });
    status
}

/// The refusal of a write whose `resourceVersion` is not the object's.
pub(crate) fn modified(kind: Kind, name: &str) -> Box<Status> {
    let why = "the object has been modified; please apply your changes to the latest version and \
               try again";
    conflict(kind.plural(), name, why)
}

pub(crate) fn bad_request(message: impl Into<String>) -> Box<Status> {
    failure(400, "BadRequest", message)
}

pub(crate) fn forbidden(kind: Kind, name: &str, why: &str) -> Box<Status> {
    let message = if name.is_empty() {
        format!("{} is forbidden: {why}", kind.plural())
    } else {
        format!("{} \"{name}\" is forbidden: {why}", kind.plural())
    };
    failure_of(403, "Forbidden", kind, name, message)
}

pub(crate) fn namespace_terminating(kind: Kind, name: &str, namespace: &str) -> Box<Status> {
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut status = forbidden(kind, name, &why);
    if let Some(details) = &mut status.details {
        details.causes.push(StatusCause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
    }
    status
}

/// A version the server's history no longer reaches.
pub(crate) fn expired(asked: u64, oldest: u64) -> Box<Status> {
    failure(
        410,
        "Expired",
        format!("too old resource version: {asked} ({oldest})"),
    )
}

/// The page of a listing whose version the server's history no longer reaches.
pub(crate) fn page_expired() -> Box<Status> {
    failure(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can \
         start a new list without the continue parameter, or use the continue token in this \
         response to retrieve the remainder of the results. Continuing with the provided token \
         results in an inconsistent list - objects that were created, modified, or deleted \
         between the time the first chunk was returned and now may show up in the list.",
    )
}

/// The version of a listing that the server's history no longer reaches.
pub(crate) fn list_expired() -> Box<Status> {
    failure(
        410,
        "Expired",
        "The resourceVersion for the provided list is too old.",
    )
}

/// A version that does not exist yet.
pub(crate) fn version_too_large(asked: u64, current: u64) -> Box<Status> {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let mut status = failure(504, "Timeout", format!("Timeout: {message}"));
    let mut details = details("");
    details.retry_after_seconds = 1;
    details.causes.push(StatusCause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    });
    status.details = Some(details);
    status
}

pub(crate) fn body_too_large(limit: usize) -> Box<Status> {
    let message = format!("Request entity too large: limit is {limit}");
    failure(413, "RequestEntityTooLarge", message)
}

pub(crate) fn method_not_allowed() -> Box<Status> {
    let message = "the server does not allow this method on the requested resource";
    with_empty_details(failure(405, "MethodNotAllowed", message))
}

/// The refusal of a path below the API that names no resource.
pub(crate) fn unknown_resource() -> Box<Status> {
    let message = "the server could not find the requested resource";
    with_empty_details(failure(404, "NotFound", message))
}

pub(crate) fn not_acceptable() -> Box<Status> {
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, \
                   application/yaml, application/vnd.kubernetes.protobuf";
    with_empty_details(failure(406, "NotAcceptable", message))
}

/// The refusal of an answer in the form of a list for one object, or the other way round.
pub(crate) fn wrong_form(message: String) -> Box<Status> {
    failure(406, "NotAcceptable", message)
}

pub(crate) fn unknown_patch_type() -> Box<Status> {
    with_empty_details(failure(
        415,
        "UnsupportedMediaType",
        "415: Unsupported Media Type",
    ))
}

fn with_empty_details(mut status: Box<Status>) -> Box<Status> {
    status.details = Some(details(""));
    status
}

/// The refusal of a request by access control.
pub(crate) fn denied(
    user: &str,
    verb: Verb,
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
) -> Box<Status> {
    let scope = match namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let resource = kind.plural();
    let why =
        format!("User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"\" {scope}");
    forbidden(kind, name, &why)
}

/// One finding of a validation.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn invalid(field: impl Into<String>, value: &str, why: &str) -> Finding {
        Finding {
            reason: "FieldValueInvalid",
            field: field.into(),
            message: format!("Invalid value: {value}: {why}"),
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Finding {
        Finding {
            reason: "FieldValueForbidden",
            field: field.into(),
            message: format!("Forbidden: {why}"),
        }
    }

    pub(crate) fn required(field: impl Into<String>, why: &str) -> Finding {
        Finding {
            reason: "FieldValueRequired",
            field: field.into(),
            message: format!("Required value: {why}"),
        }
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &str, supported: &str) -> Finding {
        Finding {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message: format!("Unsupported value: {value:?}: supported values: {supported}"),
        }
    }

    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Finding {
        Finding {
            reason: "FieldValueTooLong",
            field: field.into(),
            message: format!("Too long: may not be more than {limit} bytes"),
        }
    }
}

/// The refusal of an object that broke a rule.
pub(crate) fn invalid(kind: Kind, name: &str, findings: Vec<Finding>) -> Box<Status> {
    let mut sentences: Vec<String> = Vec::new();
    for finding in &findings {
        let sentence = format!("{}: {}", finding.field, finding.message);
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    let text = match sentences.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let mut status = failure(
        422,
        "Invalid",
        format!("{kind} \"{name}\" is invalid: {text}"),
    );
    let causes = findings.into_iter().map(|finding| StatusCause {
        reason: finding.reason.to_owned(),
        message: finding.message,
        field: finding.field,
    });
    status.details = Some(StatusDetails {
        name: name.to_owned(),
        causes: causes.collect(),
        ..details(kind.name())
    });
    status
}

/// The refusal of a query whose parameters contradict each other.
pub(crate) fn invalid_options(finding: Finding) -> Box<Status> {
    let Finding {
        reason,
        field,
        message,
    } = finding;
    let text = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}");
    let mut status = failure(422, "Invalid", text);
    let cause = StatusCause {
        reason: reason.to_owned(),
        message,
        field,
    };
    status.details = Some(StatusDetails {
        group: "meta.k8s.io".to_owned(),
        causes: vec![cause],
        ..details("ListOptions")
    });
    status
}

/// The refusal of a patch whose result is not an object of the kind.
pub(crate) fn unusable_patch(patched: &str, why: &str) -> Box<Status> {
    let finding = Finding::invalid("patch", &format!("{patched:?}"), why);
    let message = format!(" \"\" is invalid: patch: {}", finding.message);
    let mut status = failure(422, "Invalid", message);
    let mut details = details("");
    details.causes.push(StatusCause {
        reason: finding.reason.to_owned(),
        message: finding.message,
        field: finding.field,
    });
    status.details = Some(details);
    status
}
