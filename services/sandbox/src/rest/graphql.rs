//! The two GraphQL mutations on comments: hiding one, and showing it again.
//!
//! GitHub's REST API cannot do this. The answer has the fields that were selected, under their aliases.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::{Body, Call};
use super::graphql_syntax::{Field, Literal, parse};
use super::{Answer, ok};
use crate::auth::{Actor, Need, authorize};
use crate::error::ForgeError;
use crate::ids::{id_of_node, node_id};
use crate::operations::conversation;

/// GitHub's `ReportedContentClassifiers`.
const CLASSIFIERS: [&str; 7] = [
    "ABUSE",
    "DUPLICATE",
    "LOW_QUALITY",
    "OFF_TOPIC",
    "OUTDATED",
    "RESOLVED",
    "SPAM",
];

#[derive(Debug, Deserialize)]
pub(super) struct Document {
    query: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
}

/// One entry of the `errors` list.
struct Problem {
    kind: Option<&'static str>,
    path: String,
    message: String,
}

impl Problem {
    fn shape(&self) -> Value {
        let mut shape = json!({"path": [self.path], "message": self.message});
        if let Some(kind) = self.kind {
            shape["type"] = kind.into();
        }
        shape
    }
}

/// `POST /graphql`
pub(super) async fn post(call: Call, Body(document): Body<Document>) -> Answer {
    if call.actor == Actor::Anonymous {
        return Err(ForgeError::Forbidden(
            "This endpoint requires you to be authenticated.".into(),
        ));
    }
    let variables = document.variables.unwrap_or_default();
    let text = document.query.unwrap_or_default();
    let fields = match parse(&text) {
        Ok(fields) => fields,
        Err(message) => return ok(&json!({"errors": [{"message": message}]})),
    };
    let mut data = Map::new();
    let mut problems = Vec::new();
    for field in &fields {
        let name = field.answer_name().to_owned();
        match field.name.as_str() {
            "minimizeComment" | "unminimizeComment" => match minimize(&call, field, &variables) {
                Ok(shape) => {
                    data.insert(name, shape);
                }
                Err(problem) => {
                    if problem.kind.is_some() {
                        data.insert(name, Value::Null);
                    }
                    problems.push(problem);
                }
            },
            "viewer" => {
                let login = call.actor.login().to_owned();
                data.insert(
                    name,
                    select(field, &json!({"login": login, "__typename": "User"})),
                );
            }
            other => problems.push(Problem {
                kind: None,
                path: name,
                message: format!("Field '{other}' doesn't exist on this forge"),
            }),
        }
    }
    let mut answer = Map::new();
    // A document that is wrong in itself has no data at all.
    if problems.iter().all(|problem| problem.kind.is_some()) {
        answer.insert("data".into(), data.into());
    }
    if !problems.is_empty() {
        let errors: Vec<Value> = problems.iter().map(Problem::shape).collect();
        answer.insert("errors".into(), errors.into());
    }
    ok(&answer.into())
}

fn minimize(call: &Call, field: &Field, variables: &Map<String, Value>) -> Result<Value, Problem> {
    let path = || field.answer_name().to_owned();
    let invalid = |message: String| Problem {
        kind: None,
        path: path(),
        message,
    };
    let input = field
        .arguments
        .get("input")
        .map(|input| input.resolve(variables))
        .ok_or_else(|| {
            invalid(format!(
                "Field '{}' is missing required arguments: input",
                field.name
            ))
        })?;
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    let subject =
        text("subjectId").ok_or_else(|| invalid("Argument 'subjectId' on InputObject is required".into()))?;
    let hide = field.name == "minimizeComment";
    let reason = if hide {
        let classifier = text("classifier")
            .ok_or_else(|| invalid("Argument 'classifier' on InputObject is required".into()))?;
        if !CLASSIFIERS.contains(&classifier) {
            return Err(invalid(format!(
                "Argument 'classifier' on InputObject 'MinimizeCommentInput' has an invalid value ({classifier}). \
                 Expected type 'ReportedContentClassifiers!'."
            )));
        }
        Some(classifier.to_lowercase().replace('_', "-"))
    } else {
        None
    };
    let not_found = || Problem {
        kind: Some("NOT_FOUND"),
        path: path(),
        message: format!("Could not resolve to a node with the global id of '{subject}'"),
    };
    let id = id_of_node("IC", subject).ok_or_else(not_found)?;
    let repo = {
        let state = call.inner.state();
        let (key, _) = state.find_comment(id).ok_or_else(not_found)?;
        let repository = state.repository(key).map_err(|_gone| not_found())?;
        authorize(&call.actor, repository, Need::WRITE_ISSUES).map_err(|error| match error {
            ForgeError::NotFound(_) => not_found(),
            other => Problem {
                kind: Some("FORBIDDEN"),
                path: path(),
                message: other.to_string(),
            },
        })?;
        state.repo_ref(key).map_err(|_gone| not_found())?
    };
    conversation::minimize(&call.inner, &repo, id, reason.clone()).map_err(|_gone| not_found())?;
    let comment = json!({
        "__typename": "IssueComment",
        "id": node_id("IC", id),
        "isMinimized": hide,
        "minimizedReason": reason,
        "viewerCanMinimize": true,
    });
    let (minimized, unminimized) = if hide {
        (comment, Value::Null)
    } else {
        (Value::Null, comment)
    };
    let whole = json!({
        "clientMutationId": text("clientMutationId"),
        "minimizedComment": minimized,
        "unminimizedComment": unminimized,
    });
    Ok(select(field, &whole))
}

/// Keeps what was selected.
fn select(field: &Field, whole: &Value) -> Value {
    if field.selection.is_empty() || whole.is_null() {
        return whole.clone();
    }
    let chosen: Map<String, Value> = field
        .selection
        .iter()
        .map(|wanted| {
            let value = whole.get(&wanted.name).unwrap_or(&Value::Null);
            (wanted.answer_name().to_owned(), select(wanted, value))
        })
        .collect();
    chosen.into()
}

impl Literal {
    fn resolve(&self, variables: &Map<String, Value>) -> Value {
        match self {
            Self::Variable(name) => variables.get(name).cloned().unwrap_or(Value::Null),
            Self::Value(value) => value.clone(),
            Self::Object(fields) => {
                let fields: Map<String, Value> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.resolve(variables)))
                    .collect();
                fields.into()
            }
        }
    }
}
