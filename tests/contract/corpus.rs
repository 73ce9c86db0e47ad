//! The fixtures themselves.

use lockflight_tests::fixtures::{handmade_webhooks, webhook_corpus};
use lockflight_tests::openapi::{Validator, report};
use serde_json::Value;

#[test]
fn every_handmade_payload_is_what_github_documents() {
    let payloads = handmade_webhooks();
    assert!(!payloads.is_empty());
    for payload in payloads {
        let body: Value = serde_json::from_slice(&payload.body).unwrap();
        let found = Validator::github().check_webhook(&payload.event, &body);
        assert!(found.is_empty(), "{}:\n{}", payload.file, report(&found));
    }
}

#[test]
fn the_merged_pull_request_is_there_because_the_corpus_has_none() {
    let is_merged = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap();
        body.pointer("/pull_request/merged") == Some(&Value::Bool(true))
    };
    assert!(!webhook_corpus().iter().any(|payload| is_merged(&payload.body)));
    assert!(handmade_webhooks().iter().any(|payload| is_merged(&payload.body)));
}

#[test]
fn the_corpus_holds_every_event_that_is_read_and_some_that_are_not() {
    let corpus = webhook_corpus();
    let read = [
        "ping",
        "push",
        "pull_request",
        "issue_comment",
        "pull_request_review",
        "status",
        "installation",
    ];
    let ignored = ["star", "release", "workflow_run", "github_app_authorization"];
    for event in read.into_iter().chain(ignored) {
        assert!(
            corpus.iter().any(|payload| payload.event == event),
            "no example of {event}"
        );
    }
    for payload in corpus {
        assert!(
            serde_json::from_slice::<Value>(&payload.body).is_ok(),
            "{} is not JSON",
            payload.file
        );
    }
}
