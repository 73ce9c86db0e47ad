//! Reading what GitHub answered.

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Call, ForgeError};
use crate::limit::text;
use crate::wire::Reply;

/// The longest that GitHub's words get in an error, in characters.
const LONGEST_MESSAGE: usize = 300;

/// An answer that was given on purpose: neither a limit, nor a stale token, nor a 5xx.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) call: Box<Call>,
    pub(crate) reply: Reply,
}

/// The body of GitHub's errors (<https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api>).
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Complaint {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    documentation_url: Option<String>,
    #[serde(default)]
    errors: Option<serde_json::Value>,
}

impl Complaint {
    /// Reads the complaint out of a body that may be anything.
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// GitHub's words: the message, and what it says about single fields.
    pub(crate) fn words(&self, status: StatusCode) -> String {
        let mut words = self
            .message
            .clone()
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned());
        for detail in self.details() {
            words.push_str("; ");
            words.push_str(&detail);
        }
        shorten(&words)
    }

    pub(crate) fn documentation(&self) -> &str {
        self.documentation_url.as_deref().unwrap_or_default()
    }

    /// Whether one of the errors is about `field` and has `code`.
    pub(crate) fn names(&self, field: &str, code: &str) -> bool {
        self.entries().any(|entry| {
            let is =
                |key: &str, value: &str| entry.get(key).and_then(serde_json::Value::as_str) == Some(value);
            is("field", field) && is("code", code)
        })
    }

    fn entries(&self) -> impl Iterator<Item = &serde_json::Value> {
        self.errors
            .as_ref()
            .and_then(serde_json::Value::as_array)
            .into_iter()
            .flatten()
    }

    fn details(&self) -> Vec<String> {
        self.entries()
            .filter_map(|entry| {
                let field = |key: &str| entry.get(key).and_then(serde_json::Value::as_str);
                match (entry.as_str(), field("message")) {
                    (Some(text), _) | (None, Some(text)) => Some(text.to_owned()),
                    (None, None) => Some(format!("{} is {}", field("field")?, field("code")?)),
                }
            })
            .collect()
    }
}

/// One line of at most 300 characters.
pub(crate) fn shorten(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_MESSAGE)
        .collect();
    if text.chars().nth(LONGEST_MESSAGE).is_some() {
        line.push('…');
    }
    line
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.reply.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.reply.headers
    }

    pub(crate) fn complaint(&self) -> Complaint {
        Complaint::read(&self.reply.body)
    }

    /// GitHub's words, for an answer that is not a success.
    pub(crate) fn words(&self) -> String {
        self.complaint().words(self.status())
    }

    /// The body of a success; anything else as the error it is.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, ForgeError> {
        let answer = self.success()?;
        serde_json::from_slice(&answer.reply.body).map_err(|source| ForgeError::Unreadable {
            call: answer.call,
            source,
        })
    }

    /// The answer itself if it is a success; anything else as the error it is.
    pub(crate) fn success(self) -> Result<Self, ForgeError> {
        if self.status().is_success() {
            Ok(self)
        } else {
            Err(self.error())
        }
    }

    /// What an answer that is not a success means when it was not expected.
    pub(crate) fn error(self) -> ForgeError {
        let message = self.words();
        let status = self.status();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => ForgeError::not_found(self.call),
            StatusCode::FORBIDDEN => {
                let accepted = text(&self.reply.headers, "x-accepted-github-permissions").map(shorten);
                let sso = self.reply.headers.contains_key("x-github-sso");
                ForgeError::forbidden(self.call, message, accepted.as_deref(), sso)
            }
            _ => ForgeError::Refused {
                call: self.call,
                status,
                message,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_words_include_what_it_says_about_fields() {
        let body = br#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","field":"head","code":"invalid"},
            {"message":"No commits between main and x"},"text"],"documentation_url":"https://docs.github.com"}"#;
        let complaint = Complaint::read(body);
        assert_eq!(
            complaint.words(StatusCode::UNPROCESSABLE_ENTITY),
            "Validation Failed; head is invalid; No commits between main and x; text"
        );
        assert!(complaint.names("head", "invalid"));
        assert!(!complaint.names("base", "invalid"));
    }

    #[test]
    fn a_body_that_is_no_json_is_not_quoted() {
        let complaint = Complaint::read(b"<html>secret</html>");
        assert_eq!(complaint.words(StatusCode::BAD_GATEWAY), "Bad Gateway");
    }

    #[test]
    fn words_are_one_bounded_line() {
        let long = shorten(&"ä\n".repeat(400));
        assert_eq!(long.chars().count(), 301);
        assert!(!long.contains('\n'));
    }
}
