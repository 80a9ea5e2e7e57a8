//! What a client may do: the rules of a Role.

use serde_json::Value;

use crate::kind::Kind;
use crate::request::ApiRequest;
use crate::selector::Selector;
use crate::status::{Result, denied};
use crate::verb::Verb;

/// The rules of a Role, for [`FakeApiServer::client_with_rights`].
///
/// What no rule allows is refused with 403 Forbidden, as by the RBAC authorizer. A rule with names
/// allows `list`, `watch` and `deletecollection` only with `fieldSelector=metadata.name=...`, and
/// never `create`.
///
/// [`FakeApiServer::client_with_rights`]: crate::FakeApiServer::client_with_rights
///
/// # Example
///
/// ```
/// use kv_fake_apiserver::{Rights, Verb};
///
/// let rights = Rights::new("system:serviceaccount:default:app")
///     .allow(&[Verb::Get, Verb::List], &["configmaps"])
///     .allow_named(&[Verb::Update], &["configmaps"], &["settings"]);
/// # let _ = rights;
/// ```
#[derive(Clone, Debug)]
pub struct Rights {
    user: String,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    verbs: Vec<String>,
    resources: Vec<String>,
    /// Empty means any.
    names: Vec<String>,
}

impl Rights {
    /// No right at all, for a user of this name.
    pub fn new(user: impl Into<String>) -> Rights {
        Rights {
            user: user.into(),
            rules: Vec::new(),
        }
    }

    /// Allows verbs on every object of some resources.
    pub fn allow(self, verbs: &[Verb], resources: &[&str]) -> Rights {
        self.allow_named(verbs, resources, &[])
    }

    /// Allows verbs on the named objects of some resources.
    pub fn allow_named(mut self, verbs: &[Verb], resources: &[&str], names: &[&str]) -> Rights {
        self.rules.push(Rule {
            verbs: verbs.iter().map(Verb::to_string).collect(),
            resources: resources
                .iter()
                .map(|resource| (*resource).to_owned())
                .collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        });
        self
    }

    /// Takes the `rules` of a Role or ClusterRole, as it is written in YAML or JSON.
    ///
    /// Rules of other API groups are left out, since the server has only the core group.
    ///
    /// # Example
    ///
    /// ```
    /// use kv_fake_apiserver::Rights;
    /// use serde_json::json;
    ///
    /// let role = json!({ "rules": [
    ///     { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "watch"] },
    /// ] });
    /// let rights = Rights::new("alice").with_rules(&role["rules"]);
    /// # let _ = rights;
    /// ```
    pub fn with_rules(mut self, rules: &Value) -> Rights {
        let core = |rule: &&Value| {
            texts(&rule["apiGroups"])
                .iter()
                .any(|g| g.is_empty() || g == "*")
        };
        let rules = rules
            .as_array()
            .into_iter()
            .flatten()
            .filter(core)
            .map(|rule| Rule {
                verbs: texts(&rule["verbs"]),
                resources: texts(&rule["resources"]),
                names: texts(&rule["resourceNames"]),
            });
        self.rules.extend(rules);
        self
    }

    /// Takes one verb away from every rule.
    pub fn without(mut self, verb: Verb) -> Rights {
        for rule in &mut self.rules {
            rule.verbs.retain(|allowed| allowed != verb.as_str());
        }
        self
    }

    pub(crate) fn check(&self, request: &ApiRequest) -> Result<()> {
        let selector = Selector::parse(&request.query).unwrap_or_default();
        let name = match request.verb {
            Verb::Create => "",
            Verb::List | Verb::Watch | Verb::DeleteCollection => {
                selector.single_name().unwrap_or_default()
            }
            _ => request.name(),
        };
        let resource = request.kind.plural();
        if self
            .rules
            .iter()
            .any(|rule| rule.allows(request.verb.as_str(), resource, name))
        {
            return Ok(());
        }
        // A request for a namespace counts as one inside of it.
        let namespace = request.namespace.as_deref().or(match request.kind {
            Kind::Namespace => request.name.as_deref(),
            Kind::ConfigMap | Kind::Secret => None,
        });
        Err(denied(
            &self.user,
            request.verb,
            request.kind,
            namespace,
            name,
        ))
    }
}

impl Rule {
    fn allows(&self, verb: &str, resource: &str, name: &str) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|item| item == word || item == "*");
        let named = self.names.is_empty() || self.names.iter().any(|allowed| allowed == name);
        has(&self.verbs, verb) && has(&self.resources, resource) && named
    }
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}
