//! The rules of writing: what a create, update, patch or delete does to the stored objects.

use std::sync::Arc;

use kube::core::Status;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::managed_fields;
use crate::object::{Object, has_finalizers, is_terminating, metadata_mut, metadata_text};
use crate::status::{
    Result, already_exists, bad_request, conflict, failure, modified, namespace_terminating,
    not_found,
};
use crate::store::{Key, Store};
use crate::validate;

/// Who writes, when, and whether it is only a rehearsal.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    pub(crate) now: String,
    pub(crate) dry_run: bool,
}

/// What a delete asks to be true of the object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// What became of an object that was to be deleted.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It is gone.
    Gone(Arc<Object>),
    /// It is marked, and goes once its finalizers are taken away.
    Marked(Arc<Object>),
}

/// The objects, and the rules that guard them.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) store: Store,
    rng: StdRng,
}

impl Registry {
    pub(crate) fn new(seed: u64) -> Registry {
        let mut rng = StdRng::seed_from_u64(seed);
        // Not 1, so that version 1 is too old here as it is on a server that has lived.
        let first_revision = rng.random_range(1_000..2_000);
        Registry {
            store: Store::new(first_revision),
            rng,
        }
    }

    fn uid(&mut self) -> String {
        let random: u128 = self.rng.random();
        let uuid = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{uuid:032x}");
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        parts.join("-")
    }

    fn generated_name(&mut self, prefix: &str) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let letters = (0..5).map(|_| char::from(LETTERS[self.rng.random_range(0..LETTERS.len())]));
        let suffix: String = letters.collect();
        format!("{prefix}{suffix}")
    }

    /// Creates an object, given in normal form.
    pub(crate) fn create(
        &mut self,
        writer: &Writer,
        kind: Kind,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<Object>> {
        check_namespace(kind, namespace, &mut value)?;
        if metadata_text(&value, "name").is_empty() {
            let prefix = metadata_text(&value, "generateName").to_owned();
            if !prefix.is_empty() {
                let name = self.generated_name(&prefix);
                metadata_mut(&mut value).insert("name".to_owned(), name.into());
            }
        }
        let uid = self.uid();
        let versioned = stamp(kind, &mut value, uid, writer);
        let name = metadata_text(&value, "name").to_owned();
        self.admit(kind, namespace, &name)?;
        validate::object(kind, &value)?;
        if versioned {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(failure(500, "", message));
        }
        let key = Key::new(kind, namespace, &name);
        if self.store.get(&key).is_some() {
            return Err(already_exists(kind, &name));
        }
        if writer.dry_run {
            return Ok(Arc::new(Object::rehearsed(kind, value)));
        }
        Ok(self.store.put(key, value))
    }

    /// Nothing is created in a namespace that is missing or on its way out.
    fn admit(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        if !kind.is_namespaced() {
            return Ok(());
        }
        match self.store.get(&Key::new(Kind::Namespace, "", namespace)) {
            None => Err(not_found(Kind::Namespace, namespace)),
            Some(found) if found.is_terminating() => {
                Err(namespace_terminating(kind, name, namespace))
            }
            Some(_) => Ok(()),
        }
    }

    /// Replaces an object by one in normal form.
    pub(crate) fn replace(
        &mut self,
        writer: &Writer,
        key: &Key,
        mut value: Value,
    ) -> Result<Arc<Object>> {
        check_namespace(key.kind, &key.namespace, &mut value)?;
        check_name(&key.name, &value)?;
        let found = self.existing(key)?;
        let uid = metadata_text(&value, "uid");
        if !uid.is_empty() && uid != found.uid() {
            return Err(wrong_uid(key, uid, found.uid()));
        }
        self.update(writer, key, &found, value)
    }

    /// Changes an object by a function that gives the changed one in normal form.
    pub(crate) fn patch(
        &mut self,
        writer: &Writer,
        key: &Key,
        change: impl FnOnce(Value) -> Result<Value>,
    ) -> Result<Arc<Object>> {
        let found = self.existing(key)?;
        let mut value = change(found.to_full())?;
        check_namespace(key.kind, &key.namespace, &mut value)?;
        check_name(&key.name, &value)?;
        self.update(writer, key, &found, value)
    }

    fn existing(&self, key: &Key) -> Result<Arc<Object>> {
        self.store
            .get(key)
            .cloned()
            .ok_or_else(|| not_found(key.kind, &key.name))
    }

    fn update(
        &mut self,
        writer: &Writer,
        key: &Key,
        found: &Arc<Object>,
        mut value: Value,
    ) -> Result<Arc<Object>> {
        check_version(key, found, &value)?;
        inherit(found.value(), &mut value);
        managed_fields::on_update(found.value(), &mut value, &writer.manager, &writer.now);
        validate::change(key.kind, found.value(), &value)?;
        if value == *found.value() {
            return Ok(Arc::clone(found));
        }
        let released = is_terminating(&value) && !has_finalizers(&value);
        if released && key.kind.is_namespaced() && !writer.dry_run {
            self.store.remove(key);
        } else if !writer.dry_run {
            return Ok(self.store.put(key.clone(), value));
        }
        Ok(Arc::new(Object::new(key.kind, value, found.revision())))
    }

    /// Deletes an object.
    pub(crate) fn delete(
        &mut self,
        writer: &Writer,
        key: &Key,
        preconditions: &Preconditions,
    ) -> Result<Deleted> {
        let found = self.existing(key)?;
        preconditions.check(key, &found)?;
        if key.kind == Kind::Namespace || has_finalizers(found.value()) {
            return self.mark(writer, key, &found).map(Deleted::Marked);
        }
        if writer.dry_run {
            return Ok(Deleted::Gone(found));
        }
        let gone = self
            .store
            .remove(key)
            .ok_or_else(|| not_found(key.kind, &key.name))?;
        Ok(Deleted::Gone(gone))
    }

    fn mark(&mut self, writer: &Writer, key: &Key, found: &Arc<Object>) -> Result<Arc<Object>> {
        if found.is_terminating() {
            return Ok(Arc::clone(found));
        }
        let mut value = found.value().clone();
        let metadata = metadata_mut(&mut value);
        metadata.insert("deletionTimestamp".to_owned(), writer.now.clone().into());
        if key.kind == Kind::Namespace {
            value["status"]["phase"] = "Terminating".into();
        } else {
            metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
        }
        if writer.dry_run {
            return Ok(Arc::new(Object::new(key.kind, value, found.revision())));
        }
        Ok(self.store.put(key.clone(), value))
    }
}

impl Preconditions {
    fn check(&self, key: &Key, found: &Object) -> Result<()> {
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != found.uid()) {
            let hint = "The object might have been deleted and then recreated";
            return Err(delete_conflict(key, "UID", uid, found.uid(), hint));
        }
        let version = found.revision().to_string();
        if let Some(asked) = self
            .resource_version
            .as_deref()
            .filter(|asked| *asked != version)
        {
            let hint = "The object might have been modified";
            return Err(delete_conflict(
                key,
                "ResourceVersion",
                asked,
                &version,
                hint,
            ));
        }
        Ok(())
    }
}

fn delete_conflict(key: &Key, what: &str, asked: &str, found: &str, hint: &str) -> Box<Status> {
    let why = format!(
        "the {what} in the precondition ({asked}) does not match the {what} in record ({found}). \
         {hint}"
    );
    conflict(key.kind.name(), &key.name, &why)
}

/// The refusal of a PUT that names another uid, in the words of the storage layer.
fn wrong_uid(key: &Key, asked: &str, found: &str) -> Box<Status> {
    let (resource, namespace, name) = (key.kind.plural(), &key.namespace, &key.name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{resource}/{namespace}/{name}, \
         ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {asked}, \
         UID in object meta: {found}"
    );
    conflict(resource, name, &why)
}

fn check_namespace(kind: Kind, namespace: &str, value: &mut Value) -> Result<()> {
    let given = metadata_text(value, "namespace");
    if !kind.is_namespaced() {
        metadata_mut(value).remove("namespace");
        return Ok(());
    }
    if !given.is_empty() && given != namespace {
        return Err(bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata_mut(value).insert("namespace".to_owned(), namespace.into());
    Ok(())
}

fn check_name(name: &str, value: &Value) -> Result<()> {
    let given = metadata_text(value, "name");
    if given.is_empty() {
        return Err(bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

fn check_version(key: &Key, found: &Object, value: &Value) -> Result<()> {
    let given = metadata_text(value, "resourceVersion");
    if given.is_empty() {
        return Ok(());
    }
    match given.parse::<u64>() {
        Ok(version) if version == 0 || version == found.revision() => Ok(()),
        Ok(_) => Err(modified(key.kind, &key.name)),
        Err(_) => {
            let message = format!("strconv.ParseUint: parsing {given:?}: invalid syntax");
            Err(failure(500, "", message))
        }
    }
}

/// Writes what only the server decides; tells whether the client had set a version.
fn stamp(kind: Kind, value: &mut Value, uid: String, writer: &Writer) -> bool {
    let metadata = metadata_mut(value);
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.remove(field);
    }
    let version = metadata.remove("resourceVersion");
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), writer.now.clone().into());
    if kind == Kind::Namespace {
        let name = metadata.get("name").cloned().unwrap_or_default();
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        labels["kubernetes.io/metadata.name"] = name;
        value["spec"] = json!({ "finalizers": ["kubernetes"] });
        value["status"] = json!({ "phase": "Active" });
    }
    managed_fields::on_create(value, &writer.manager, &writer.now);
    // A version that is no number is overlooked.
    let version = version
        .as_ref()
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok());
    version.is_some_and(|version: u64| version != 0)
}

const KEPT: [&str; 5] = [
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
];

/// Fills in what a client may leave out, and puts back what it may not change.
fn inherit(old: &Value, new: &mut Value) {
    let before = &old["metadata"];
    let metadata = metadata_mut(new);
    metadata
        .entry("uid")
        .or_insert_with(|| before["uid"].clone());
    for field in KEPT {
        match before.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}
