//! Schemas of one OpenAPI document, compiled when they are first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Registry, ValidationError};
use serde_json::{Value, json};

/// Longer messages are cut: they carry the instance, which may be a whole pull request.
const MESSAGE_LIMIT: usize = 240;

/// The components of a document, and what was compiled against them.
pub(super) struct Schemas {
    registry: Registry<'static>,
    compiled: Mutex<HashMap<String, Arc<jsonschema::Validator>>>,
}

/// Where in an instance something is wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SchemaError {
    /// A JSON pointer into the instance; empty for the whole of it.
    pub(super) pointer: String,
    pub(super) message: String,
}

impl Schemas {
    /// Takes the components out of `document` and makes every reference in it absolute, so that any schema of it can be
    /// compiled by itself. `name` tells the documents of one process apart.
    pub(super) fn new(name: &str, document: &mut Value) -> Self {
        let base = format!("https://{name}.lockflight.test/");
        make_references_absolute(document, &base);
        let components = json!({ "components": document.get("components").cloned().unwrap_or(Value::Null) });
        let registry = Registry::new()
            .draft(Draft::Draft202012)
            .add(&base, Draft::Draft202012.create_resource(components))
            .and_then(|builder| builder.prepare())
            .expect("the vendored schemas refer to nothing outside of themselves");
        Self {
            registry,
            compiled: Mutex::default(),
        }
    }

    /// Returns what is wrong with `instance`. The `key` names the schema, so that it is compiled once.
    pub(super) fn errors(&self, key: &str, schema: &Value, instance: &Value) -> Vec<SchemaError> {
        let validator = self.validator(key, schema);
        let mut found = Vec::new();
        for error in validator.iter_errors(instance) {
            push_leaves(&error, &mut found);
        }
        found
    }

    fn validator(&self, key: &str, schema: &Value) -> Arc<jsonschema::Validator> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = compiled.entry(key.to_owned()).or_insert_with(|| {
            let validator = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .with_registry(&self.registry)
                .should_validate_formats(true)
                // The addresses of bots are `1+name[bot]@users.noreply.github.com`, which no grammar of addresses takes.
                .with_format("email", |_| true)
                .offline()
                .build(schema)
                .unwrap_or_else(|error| panic!("the vendored schema of {key} does not compile: {error}"));
            Arc::new(validator)
        });
        Arc::clone(entry)
    }
}

impl std::fmt::Debug for Schemas {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Schemas").finish_non_exhaustive()
    }
}

fn make_references_absolute(value: &mut Value, base: &str) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object.iter_mut() {
                match inner {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        *target = format!("{base}{target}");
                    }
                    _ => make_references_absolute(inner, base),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| make_references_absolute(item, base)),
        _ => {}
    }
}

/// "Not valid under any of" helps nobody: the alternative that fits best says what is missing.
fn push_leaves(error: &ValidationError<'_>, found: &mut Vec<SchemaError>) {
    if let ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } =
        error.kind()
    {
        let here = error.instance_path();
        let best = context
            .iter()
            .filter(|branch| !branch.is_empty())
            .min_by_key(|branch| {
                let is_other_kind = branch.iter().any(|inner| {
                    inner.instance_path() == here
                        && matches!(
                            inner.kind(),
                            ValidationErrorKind::Type { .. } | ValidationErrorKind::Enum { .. }
                        )
                });
                (is_other_kind, branch.len())
            });
        if let Some(branch) = best {
            branch.iter().for_each(|inner| push_leaves(inner, found));
            return;
        }
    }
    let mut message = error.to_string();
    if message.chars().count() > MESSAGE_LIMIT {
        // The end of the message is the statement, its beginning the instance.
        let tail: Vec<char> = message.chars().rev().take(MESSAGE_LIMIT).collect();
        message = std::iter::once('…').chain(tail.into_iter().rev()).collect();
    }
    found.push(SchemaError {
        pointer: error.instance_path().to_string(),
        message,
    });
}
