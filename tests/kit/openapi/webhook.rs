//! The webhook half: headers, signature, payload.

use hmac::{Hmac, Mac as _};
use http::HeaderMap;
use serde_json::Value;
use sha2::Sha256;

use super::schema::Schemas;
use super::{Side, Violation};

/// GitHub delivers no larger payload
/// (<https://docs.github.com/webhooks/webhook-events-and-payloads#payload-cap>).
const PAYLOAD_CAP: usize = 25 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Webhooks {
    document: Value,
    schemas: Schemas,
}

impl Webhooks {
    pub(super) fn new(text: &str) -> Self {
        // OpenAPI 3.1 is JSON Schema 2020-12 already: nothing to convert.
        let mut document: Value = serde_json::from_str(text).expect("the vendored description is JSON");
        let schemas = Schemas::new("webhooks", &mut document);
        Self { document, schemas }
    }

    pub(super) fn check_payload(&self, event: &str, payload: &Value) -> Vec<Violation> {
        let action = payload.get("action").and_then(Value::as_str);
        let exchange = match action {
            Some(action) => format!("webhook {event}/{action}"),
            None => format!("webhook {event}"),
        };
        let violation = |place: String, message: String| Violation {
            side: Side::Webhook,
            exchange: exchange.clone(),
            place,
            message,
        };
        let name = match action {
            Some(action) => format!("{event}-{action}"),
            None => event.to_owned(),
        }
        .replace('_', "-");
        let schema = self
            .document
            .get("webhooks")
            .and_then(|webhooks| webhooks.get(&name))
            .and_then(|webhook| webhook.pointer("/post/requestBody/content/application~1json/schema"));
        let Some(schema) = schema else {
            let message = "no webhook of the description; if GitHub has it, add it to WEBHOOKS in subset.py";
            return vec![violation(String::new(), message.to_owned())];
        };
        self.schemas
            .errors(&name, schema, payload)
            .into_iter()
            .map(|error| violation(error.pointer, error.message))
            .collect()
    }

    pub(super) fn check_delivery(&self, headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Vec<Violation> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let event = text("x-github-event").unwrap_or_default();
        let mut found = Vec::new();
        let mut add = |place: &str, message: &str| {
            found.push(Violation {
                side: Side::Webhook,
                exchange: format!("webhook {event}"),
                place: place.to_owned(),
                message: message.to_owned(),
            });
        };
        // Every webhook documents the same headers, so those of `ping` stand for all.
        let documented = self
            .document
            .pointer("/webhooks/ping/post/parameters")
            .and_then(Value::as_array);
        for name in documented
            .into_iter()
            .flatten()
            .filter_map(|header| header.get("name")?.as_str())
        {
            if text(name).is_none_or(str::is_empty) {
                add(name, "GitHub sends this header with every delivery");
            }
        }
        if !text("user-agent").is_some_and(|agent| agent.starts_with("GitHub-Hookshot/")) {
            add("User-Agent", "GitHub's begins with GitHub-Hookshot/");
        }
        if !text("content-type").is_some_and(|media| media.starts_with("application/json")) {
            add("Content-Type", "is not application/json");
        }
        if !text("x-github-delivery").is_some_and(is_uuid) {
            add("X-GitHub-Delivery", "is not a GUID");
        }
        if text("x-hub-signature-256") != Some(signature(secret, body).as_str()) {
            add("X-Hub-Signature-256", "does not match the body");
        }
        if body.len() > PAYLOAD_CAP {
            add("", "the payload is larger than GitHub delivers");
        }
        match serde_json::from_slice(body) {
            Ok(payload) => found.extend(self.check_payload(event, &payload)),
            Err(error) => add("", &format!("the payload is not JSON: {error}")),
        }
        found
    }
}

/// Returns the value of `X-Hub-Signature-256` for a body.
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest
        .iter()
        .fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_githubs_documentation() {
        assert_eq!(
            signature(b"It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn a_uuid_has_five_groups_of_hexadecimal_digits() {
        assert!(is_uuid("0b989ba4-242f-11e5-81e1-c7b6966d2516"));
        assert!(!is_uuid("0b989ba4-242f-11e5-81e1-c7b6966d251g"));
        assert!(!is_uuid("1700000000"));
    }
}
