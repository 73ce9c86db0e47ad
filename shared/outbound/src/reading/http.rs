//! Gates that an HTTP server answers with JSON.

use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use lockflight_promotion::gate::{Expectation, HttpGate};
use serde_json::Value;

use super::{Reading, is_met, wanted, words};
use crate::{Address, Answer, Outbound};

/// Reads a gate: asks its address, and compares the value at its pointer.
pub async fn read_http(outbound: &Outbound, gate: &HttpGate) -> Reading {
    let asked = async {
        let address = Address::parse(&gate.url).map_err(|error| error.to_string())?;
        let answer = outbound.get(&address).await.map_err(|error| error.in_full())?;
        if answer.status != StatusCode::OK {
            return Err(format!("{address} answered {}", status(&answer)));
        }
        json(&answer).map_err(|what| format!("{address} {what}"))
    };
    match asked.await {
        Ok(answer) => compare(gate, &answer),
        Err(reason) => Reading::unreadable(&reason),
    }
}

/// A status that is not 200, for people.
pub(super) fn status(answer: &Answer) -> String {
    let code = answer.status.as_u16();
    if answer.status.is_redirection() {
        format!("{code}, and redirects are not followed")
    } else {
        format!("{code}, not 200")
    }
}

/// The body, which has to be JSON and say so.
pub(super) fn json(answer: &Answer) -> Result<Value, String> {
    if let Some(encoding) = answer.headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err("compressed its answer, which was not asked for".to_owned());
    }
    let kind = answer.headers.get(CONTENT_TYPE);
    let kind = kind.map_or("", |kind| kind.to_str().unwrap_or_default());
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if !is_json {
        return Err(format!("answered with {} in place of JSON", words::quoted(&kind)));
    }
    // Where it breaks is said, not what stands there.
    serde_json::from_slice(&answer.body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("answered with what is no JSON (line {line}, column {column})")
    })
}

fn compare(gate: &HttpGate, answer: &Value) -> Reading {
    let pointer = if gate.pointer.is_empty() {
        "the answer".to_owned()
    } else {
        words::line(&gate.pointer, 60)
    };
    let Some(found) = answer.pointer(&gate.pointer) else {
        return Reading::unreadable(&format!("there is nothing at {pointer} in the answer"));
    };
    let (shown, wanted) = (words::value(found), wanted(&gate.expect));
    let is_so = match (&gate.expect, found) {
        (Expectation::Equals(value), found) if value == found => Some(true),
        // `3` is `3.0`. Of two whole numbers that differ, the nearest f64 may be the same.
        (Expectation::Equals(Value::Number(value)), Value::Number(number))
            if value.is_f64() || number.is_f64() =>
        {
            number.as_f64().and_then(|number| is_met(&gate.expect, number))
        }
        (Expectation::Equals(_), _) => Some(false),
        (_, Value::Number(number)) => number.as_f64().and_then(|number| is_met(&gate.expect, number)),
        _ => None,
    };
    match is_so {
        Some(true) => Reading::holds(&format!("{pointer} is {shown}")),
        Some(false) => Reading::does_not_hold(&format!("{pointer} is {shown}, not {wanted}")),
        None => Reading::unreadable(&format!("{pointer} is {shown}, which can't be {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gate(pointer: &str, expect: Value) -> HttpGate {
        HttpGate {
            name: "gate".to_owned(),
            url: "https://gate.example.com".to_owned(),
            pointer: pointer.to_owned(),
            expect: serde_json::from_value(expect).unwrap(),
            every_s: 60,
        }
    }

    #[test]
    fn the_value_at_the_pointer_decides() {
        let answer = json!({
            "status": "ok", "ready": true, "errors": 3, "rate": 0.5, "nothing": null, "list": [1, 2],
            "large": 9_007_199_254_740_993_u64, "a/b": {"~": "c"},
        });
        let holds = |detail: &str| Reading::holds(detail);
        let not = |detail: &str| Reading::does_not_hold(detail);
        let unreadable = |reason: &str| Reading::unreadable(reason);
        for (pointer, expect, wanted) in [
            ("/status", json!({"equals": "ok"}), holds("/status is \"ok\"")),
            (
                "/status",
                json!({"equals": "no"}),
                not("/status is \"ok\", not \"no\""),
            ),
            ("/status", json!({"equals": 1}), not("/status is \"ok\", not 1")),
            ("/ready", json!({"equals": true}), holds("/ready is true")),
            (
                "/ready",
                json!({"equals": "true"}),
                not("/ready is true, not \"true\""),
            ),
            ("/errors", json!({"equals": 3.0}), holds("/errors is 3")),
            ("/errors", json!({"below": 3}), not("/errors is 3, not below 3")),
            ("/errors", json!({"at_most": 3}), holds("/errors is 3")),
            ("/errors", json!({"above": 2.5}), holds("/errors is 3")),
            (
                "/errors",
                json!({"at_least": 4}),
                not("/errors is 3, not at least 4"),
            ),
            ("/rate", json!({"below": 1}), holds("/rate is 0.5")),
            ("/nothing", json!({"equals": null}), holds("/nothing is null")),
            ("/a~1b/~0", json!({"equals": "c"}), holds("/a~1b/~0 is \"c\"")),
            ("/list/1", json!({"equals": 2}), holds("/list/1 is 2")),
            ("/list", json!({"equals": 2}), not("/list is a list, not 2")),
            (
                "",
                json!({"equals": "ok"}),
                not("the answer is an object, not \"ok\""),
            ),
            (
                "/absent",
                json!({"equals": null}),
                unreadable("there is nothing at /absent in the answer"),
            ),
            (
                "status",
                json!({"equals": "ok"}),
                unreadable("there is nothing at status in the answer"),
            ),
            (
                "/status",
                json!({"below": 1}),
                unreadable("/status is \"ok\", which can't be below 1"),
            ),
            (
                "/nothing",
                json!({"at_most": 1}),
                unreadable("/nothing is null, which can't be at most 1"),
            ),
            (
                "/ready",
                json!({"at_least": 1}),
                unreadable("/ready is true, which can't be at least 1"),
            ),
            (
                "/large",
                json!({"equals": 9_007_199_254_740_992_u64}),
                not("/large is 9007199254740993, not 9007199254740992"),
            ),
            (
                "/large",
                json!({"equals": 9_007_199_254_740_993_u64}),
                holds("/large is 9007199254740993"),
            ),
        ] {
            assert_eq!(
                compare(&gate(pointer, expect.clone()), &answer),
                wanted,
                "{pointer} {expect}"
            );
        }
    }

    #[test]
    fn what_is_shown_is_short_and_clean() {
        let answer = json!({"text": format!("\u{1b}[31m{}\n@everyone", "x".repeat(5000))});
        let Reading::DoesNotHold { detail } = compare(&gate("/text", json!({"equals": "ok"})), &answer)
        else {
            panic!("it does not hold");
        };
        assert!(detail.chars().count() <= super::super::MAX_CHARS, "{detail}");
        assert!(!detail.contains(char::is_control), "{detail:?}");
    }
}
