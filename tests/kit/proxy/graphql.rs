//! The one GraphQL mutation that Lockflight uses: `minimizeComment`.
//!
//! <https://docs.github.com/graphql/reference/mutations#minimizecomment>

use http::StatusCode;
use serde_json::Value;

/// `ReportedContentClassifiers` of GitHub's schema (`@octokit/graphql-schema` 15.26.1).
const CLASSIFIERS: [&str; 7] = [
    "ABUSE",
    "DUPLICATE",
    "LOW_QUALITY",
    "OFF_TOPIC",
    "OUTDATED",
    "RESOLVED",
    "SPAM",
];

pub(super) fn check_request(method: &str, body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if method != "POST" {
        found.push(format!("GraphQL is asked with POST, not {method}"));
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        found.push("the body is not JSON".to_owned());
        return found;
    };
    let Some(query) = body.get("query").and_then(Value::as_str) else {
        found.push("the body has no `query` of type string".to_owned());
        return found;
    };
    if !query.contains("mutation") || !query.contains("minimizeComment") {
        found.push(
            "only the mutation minimizeComment(input: {subjectId, classifier}) is known here".to_owned(),
        );
    }
    let variables = body.get("variables").unwrap_or(&Value::Null);
    if !(variables.is_object() || variables.is_null()) {
        found.push("`variables` is not an object".to_owned());
    }
    let is_classifier = |text: &str| CLASSIFIERS.contains(&text);
    let mut words = query.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
    if !words.any(is_classifier) && !any_string(variables, &is_classifier) {
        found.push(format!("no classifier out of {CLASSIFIERS:?}"));
    }
    found
}

pub(super) fn check_response(status: StatusCode, body: &[u8]) -> Vec<String> {
    if status != StatusCode::OK {
        return Vec::new();
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return vec!["the body is not JSON".to_owned()];
    };
    if let Some(errors) = body.get("errors") {
        let are_errors = errors.as_array().is_some_and(|errors| {
            !errors.is_empty()
                && errors
                    .iter()
                    .all(|error| error.get("message").is_some_and(Value::is_string))
        });
        return if are_errors {
            Vec::new()
        } else {
            vec!["`errors` is not a list of messages".to_owned()]
        };
    }
    let comment = body.pointer("/data/minimizeComment/minimizedComment");
    if comment.is_some_and(Value::is_object) {
        Vec::new()
    } else {
        vec!["neither `errors` nor data.minimizeComment.minimizedComment".to_owned()]
    }
}

fn any_string(value: &Value, wanted: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => wanted(text),
        Value::Array(items) => items.iter().any(|item| any_string(item, wanted)),
        Value::Object(fields) => fields.values().any(|field| any_string(field, wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_classifier_is_told() {
        let body = br#"{"query":"mutation { minimizeComment(input: {subjectId: \"x\", classifier: OUTDATEDX}) { clientMutationId } }"}"#;
        assert_eq!(check_request("POST", body).len(), 1);
    }

    #[test]
    fn a_classifier_may_come_in_the_variables() {
        let body = br#"{"query":"mutation($input: MinimizeCommentInput!) { minimizeComment(input: $input) { minimizedComment { isMinimized } } } # subjectId",
            "variables":{"input":{"subjectId":"x","classifier":"OUTDATED"}}}"#;
        assert_eq!(check_request("POST", body), Vec::<String>::new());
    }

    #[test]
    fn an_answer_without_data_and_errors_is_told() {
        assert_eq!(check_response(StatusCode::OK, b"{}").len(), 1);
        assert!(check_response(StatusCode::OK, br#"{"errors":[{"message":"no"}]}"#).is_empty());
    }
}
