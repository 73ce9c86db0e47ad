//! The REST half: operations, parameters, bodies.

use std::borrow::Cow;

use axum::extract::Query;
use http::Uri;
use serde_json::{Map, Value};

use super::route::Template;
use super::schema::Schemas;
use super::{Side, UNDOCUMENTED_BUT_REAL, Violation, convert};

#[derive(Debug)]
pub(super) struct Rest {
    document: Value,
    schemas: Schemas,
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct Operation {
    /// `GET /repos/{owner}/{repo}`
    name: String,
    method: String,
    template: Template,
    parameters: Vec<Parameter>,
    /// The schema of the JSON body and whether there has to be one.
    body: Option<(Value, bool)>,
    responses: Map<String, Value>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    place: String,
    required: bool,
    schema: Value,
}

impl Rest {
    pub(super) fn new(text: &str) -> Self {
        let mut document: Value = serde_json::from_str(text).expect("the vendored description is JSON");
        correct(&mut document);
        convert::to_json_schema(&mut document);
        let schemas = Schemas::new("rest", &mut document);
        let operations = operations(&document);
        Self {
            document,
            schemas,
            operations,
        }
    }

    pub(super) fn operations(&self) -> Vec<&str> {
        self.operations
            .iter()
            .map(|operation| operation.name.as_str())
            .collect()
    }

    pub(super) fn operation(&self, method: &str, path: &str) -> Option<&str> {
        self.find(method, path)
            .map(|(operation, _)| operation.name.as_str())
    }

    fn find(&self, method: &str, path: &str) -> Option<(&Operation, Vec<(&str, String)>)> {
        let path = with_name(path);
        self.operations
            .iter()
            .filter(|operation| operation.method == method)
            .filter_map(|operation| Some((operation, operation.template.captures(&path)?)))
            .max_by_key(|(operation, _)| operation.template.literals())
    }

    pub(super) fn check_request(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Vec<Violation> {
        let mut found = Findings::new(Side::Request, format!("{method} {path}"));
        let Some((operation, captures)) = self.find(method, path) else {
            found.add(
                "",
                "no operation of the description; if GitHub has it, add it to OPERATIONS in subset.py",
            );
            return found.list;
        };
        for (name, value) in &captures {
            self.check_parameter(operation, "path", name, value, &mut found);
        }
        self.check_query(operation, query, &mut found);
        self.check_request_body(operation, body, &mut found);
        found.list
    }

    fn check_query(&self, operation: &Operation, query: &str, found: &mut Findings) {
        let pairs = Uri::builder()
            .path_and_query(format!("/?{query}"))
            .build()
            .ok()
            .and_then(|uri| Query::<Vec<(String, String)>>::try_from_uri(&uri).ok());
        let Some(Query(pairs)) = pairs else {
            found.add("?", format!("the query cannot be read: {query}"));
            return;
        };
        for (name, value) in &pairs {
            self.check_parameter(operation, "query", name, value, found);
        }
        for parameter in &operation.parameters {
            let is_missing = !pairs.iter().any(|(name, _)| *name == parameter.name);
            if parameter.place == "query" && parameter.required && is_missing {
                found.add(&parameter.name, "a required query parameter is missing");
            }
        }
    }

    fn check_parameter(
        &self,
        operation: &Operation,
        place: &str,
        name: &str,
        value: &str,
        found: &mut Findings,
    ) {
        let known = operation
            .parameters
            .iter()
            .find(|parameter| parameter.place == place && parameter.name == name);
        let Some(parameter) = known else {
            found.add(
                name,
                format!("GitHub documents no {place} parameter of this name here"),
            );
            return;
        };
        let instance = match parameter.schema.get("type").and_then(Value::as_str) {
            Some("integer" | "number" | "boolean") => {
                serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))
            }
            _ => Value::String(value.to_owned()),
        };
        let key = format!("{} {place} {name}", operation.name);
        for error in self.schemas.errors(&key, &parameter.schema, &instance) {
            found.add(name, error.message);
        }
    }

    fn check_request_body(&self, operation: &Operation, body: &[u8], found: &mut Findings) {
        let Some((schema, required)) = &operation.body else {
            // GitHub ignores a body that it does not expect; octocrab sends `null` or `{}` with some POSTs.
            if !matches!(body, b"" | b"null" | b"{}") {
                found.add("", "GitHub documents no body here");
            }
            return;
        };
        if body.is_empty() {
            if *required {
                found.add("", "a body is required");
            }
            return;
        }
        let Ok(instance) = serde_json::from_slice::<Value>(body) else {
            found.add("", "the body is not JSON");
            return;
        };
        for error in self
            .schemas
            .errors(&format!("{} body", operation.name), schema, &instance)
        {
            found.add(&error.pointer, error.message);
        }
        // The schemas allow anything beside what they list, so a misspelt field would pass and be ignored by GitHub.
        if let (Some(known), Value::Object(sent)) = (self.known_properties(schema), &instance) {
            for name in sent.keys().filter(|name| !known.contains(name)) {
                found.add(&format!("/{name}"), "GitHub documents no field of this name here");
            }
        }
    }

    /// Returns the names that the body of a request may have, or nothing where the schema is open.
    fn known_properties<'s>(&'s self, schema: &'s Value) -> Option<Vec<&'s String>> {
        let schema = self.resolved(schema);
        if schema
            .get("additionalProperties")
            .is_some_and(|more| more != &Value::Bool(false))
        {
            return None;
        }
        let mut names: Vec<&String> = schema.get("properties")?.as_object()?.keys().collect();
        for branch in ["allOf", "anyOf", "oneOf"]
            .iter()
            .filter_map(|keyword| schema.get(*keyword)?.as_array())
        {
            for inner in branch {
                names.extend(
                    inner
                        .get("properties")
                        .and_then(Value::as_object)
                        .into_iter()
                        .flat_map(Map::keys),
                );
            }
        }
        Some(names)
    }

    pub(super) fn check_response(
        &self,
        method: &str,
        path: &str,
        status: u16,
        body: &[u8],
    ) -> Vec<Violation> {
        let mut found = Findings::new(Side::Response, format!("{method} {path} -> {status}"));
        // A path outside of the description is the client's fault, and told there.
        let Some((operation, _)) = self.find(method, path) else {
            return found.list;
        };
        match operation.responses.get(&status.to_string()) {
            Some(response) => {
                self.check_documented(operation, status, self.resolved(response), body, &mut found);
            }
            None if status >= 500 => {}
            None if UNDOCUMENTED_BUT_REAL.contains(&status) => check_error(body, &mut found),
            None => found.add(
                "",
                format!("status {status} is not documented for {}", operation.name),
            ),
        }
        found.list
    }

    fn check_documented(
        &self,
        operation: &Operation,
        status: u16,
        response: &Value,
        body: &[u8],
        found: &mut Findings,
    ) {
        let media = response.get("content").and_then(|content| {
            content
                .get("application/json")
                .or_else(|| content.as_object()?.values().next())
        });
        let Some(schema) = media.and_then(|media| media.get("schema")) else {
            // Errors that are listed without a body have one nonetheless.
            if status >= 400 {
                check_error(body, found);
            } else if !body.is_empty() {
                found.add("", "GitHub documents no body here");
            }
            return;
        };
        match serde_json::from_slice::<Value>(body) {
            Ok(instance) => {
                for error in self
                    .schemas
                    .errors(&format!("{} {status}", operation.name), schema, &instance)
                {
                    found.add(&error.pointer, error.message);
                }
            }
            Err(error) => found.add("", format!("the body is not JSON: {error}")),
        }
    }

    /// Follows a reference to a component, which [`Schemas`] made absolute.
    fn resolved<'v>(&'v self, value: &'v Value) -> &'v Value {
        follow(&self.document, value)
    }
}

/// Holds an error that has no schema to what all of GitHub's errors have.
fn check_error(body: &[u8], found: &mut Findings) {
    let error: Option<Value> = serde_json::from_slice(body).ok();
    if !error.is_some_and(|error| error.get("message").is_some_and(Value::is_string)) {
        found.add("/message", "an error of GitHub is an object with a `message`");
    }
}

fn follow<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    value
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|target| target.split_once('#'))
        .and_then(|(_, pointer)| document.pointer(pointer))
        .unwrap_or(value)
}

/// Undoes the one mistake of the description that we met: in the list of installations the account has to be a user *and*
/// an enterprise, while the schema of a single installation says, as GitHub answers, a user *or* an enterprise.
fn correct(document: &mut Value) {
    let account = "/paths/~1app~1installations/get/responses/200/content/application~1json/schema/items/properties/account";
    let account = document.pointer_mut(account).and_then(Value::as_object_mut);
    let account = account.expect("the description still has the list of installations");
    let either = account
        .remove("allOf")
        .expect("GitHub has mended its description: remove this correction");
    account.insert("anyOf".to_owned(), either);
}

/// GitHub's `Link` headers name a repository by its id (`/repositories/1296269/pulls`), which its reference does not list.
fn with_name(path: &str) -> Cow<'_, str> {
    let by_id = path
        .strip_prefix("/repositories/")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    match by_id {
        Some((id, rest)) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => Cow::Owned(
            format!("/repos/by-id/{id}/{rest}")
                .trim_end_matches('/')
                .to_owned(),
        ),
        _ => Cow::Borrowed(path),
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    let paths = document
        .get("paths")
        .and_then(Value::as_object)
        .expect("the description has paths");
    for (path, item) in paths {
        for (method, raw) in item.as_object().expect("a path is an object") {
            let parameters: Vec<&Value> = raw
                .get("parameters")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|parameter| follow(document, parameter))
                .collect();
            let text = |parameter: &Value, key: &str| {
                parameter
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let is_multi = |name: &str| {
                parameters.iter().any(|parameter| {
                    text(parameter, "name") == name
                        && parameter.get("x-multi-segment").and_then(Value::as_bool) == Some(true)
                })
            };
            let method = method.to_uppercase();
            found.push(Operation {
                name: format!("{method} {path}"),
                template: Template::parse(path, is_multi),
                parameters: parameters
                    .iter()
                    .map(|parameter| Parameter {
                        name: text(parameter, "name"),
                        place: text(parameter, "in"),
                        required: parameter
                            .get("required")
                            .and_then(Value::as_bool)
                            .unwrap_or(false),
                        schema: parameter.get("schema").cloned().unwrap_or(Value::Bool(true)),
                    })
                    .collect(),
                body: raw.get("requestBody").and_then(|body| {
                    let schema = body.pointer("/content/application~1json/schema")?.clone();
                    Some((
                        schema,
                        body.get("required").and_then(Value::as_bool).unwrap_or(false),
                    ))
                }),
                responses: raw
                    .get("responses")
                    .and_then(Value::as_object)
                    .cloned()
                    .expect("an operation has responses"),
                method,
            });
        }
    }
    found
}

struct Findings {
    side: Side,
    exchange: String,
    list: Vec<Violation>,
}

impl Findings {
    fn new(side: Side, exchange: String) -> Self {
        Self {
            side,
            exchange,
            list: Vec::new(),
        }
    }

    fn add(&mut self, place: &str, message: impl Into<String>) {
        self.list.push(Violation {
            side: self.side,
            exchange: self.exchange.clone(),
            place: place.to_owned(),
            message: message.into(),
        });
    }
}
