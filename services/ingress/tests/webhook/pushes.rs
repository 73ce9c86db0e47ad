//! Pushes, which are kept as they came where they may be passed on to others.

use axum::body::Body;
use http::{Request, StatusCode};
use lockflight_ingress::IngressConfig;
use lockflight_promotion::message::{Body as Message, PushV1};
use serde_json::{Value, json};

use crate::harness::*;

fn forwarding() -> IngressConfig {
    IngressConfig {
        forwards: true,
        ..config()
    }
}

/// What GitHub sends of a push, cut to what has a meaning here and a few neighbours.
fn pushed() -> Value {
    let oid = "0123456789012345678901234567890123456789";
    json!({
        "ref": "refs/heads/main", "before": oid, "after": oid, "created": false, "deleted": false, "forced": false,
        "commits": [
            {"id": oid, "message": MARKER, "added": ["a/new.yaml"], "removed": [], "modified": ["a/old.yaml", "é/ü"]},
            {"id": oid, "message": "m", "added": ["b/x"], "removed": ["a/new.yaml", "c/gone"], "modified": []},
        ],
        "pusher": {"name": "octocat", "email": "octocat@github.com"},
        "repository": {"id": 35_129_377, "full_name": "acme/gitops", "default_branch": "main", "master_branch": "main"},
        "installation": {"id": 234},
    })
}

fn push_of(message: Message) -> PushV1 {
    let Message::Push(push) = message else {
        panic!("a push was published as something else");
    };
    *push
}

#[tokio::test]
async fn a_push_to_the_default_branch_is_kept_as_it_came() {
    let ingress = start_with(forwarding()).await;
    // Spaces that no writer of JSON would write.
    let body = format!(" {}\n", serde_json::to_string_pretty(&pushed()).unwrap());
    let signature = sign(SECRET, body.as_bytes());
    let request = unsigned("push")
        .header("x-hub-signature-256", &signature)
        .header("user-agent", "GitHub-Hookshot/044aadd")
        .header("authorization", "Basic c2VjcmV0")
        .header("x-forwarded-for", "192.0.2.1")
        .body(Body::from(body.clone()))
        .unwrap();
    let answered = ingress.send(request).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{}", answered.body);
    assert_eq!(answered.body["status"], "accepted");
    assert_eq!(ingress.stored().await, 0, "the journal does not get it");
    let envelope = ingress.take().await;
    assert!(envelope.id.as_str().starts_with(&format!("push:{GUID}:")));
    assert_eq!(envelope.repo.name.to_string(), "acme/gitops");
    assert!(!format!("{envelope:?}").contains(MARKER), "it is shown in logs");
    let push = push_of(envelope.body);
    assert_eq!(push.branch.as_str(), "main");
    assert_eq!(push.paths, ["a/new.yaml", "a/old.yaml", "é/ü", "b/x", "c/gone"]);
    assert_eq!(push.original.body, body);
    let headers: Vec<(&str, &str)> = push
        .original
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        headers,
        [
            ("content-type", "application/json"),
            ("user-agent", "GitHub-Hookshot/044aadd"),
            ("x-github-event", "push"),
            ("x-github-delivery", GUID),
            ("x-hub-signature-256", signature.as_str()),
        ]
    );
}

#[tokio::test]
async fn a_push_that_came_as_a_form_is_kept_as_a_form() {
    let ingress = start_with(forwarding()).await;
    let encoded: String = pushed()
        .to_string()
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let body = format!("payload={encoded}");
    let request = Request::post("/webhook")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-github-event", "push")
        .header("x-github-delivery", GUID)
        .header("x-hub-signature-256", sign(SECRET, body.as_bytes()))
        .body(Body::from(body.clone()))
        .unwrap();
    assert_eq!(ingress.status_of(request).await, StatusCode::ACCEPTED);
    let push = push_of(ingress.take().await.body);
    assert_eq!(push.original.body, body);
    assert_eq!(push.paths.len(), 5);
}

#[tokio::test]
async fn pushes_that_concern_nobody_are_not_published() {
    let ingress = start_with(forwarding()).await;
    for (field, value) in [
        ("ref", json!("refs/heads/topic")),
        ("ref", json!("refs/tags/main")),
        ("deleted", json!(true)),
        ("commits", json!([])),
    ] {
        let mut body = pushed();
        body[field] = value;
        let answered = ingress.send(delivery("push", body.to_string())).await;
        assert_eq!(answered.status, StatusCode::ACCEPTED, "{field}");
        assert_eq!(answered.body["status"], "ignored", "{field}");
    }
    let mut large = pushed();
    large["commits"][0]["message"] = json!("x".repeat(9 << 20));
    let answered = ingress.send(delivery("push", large.to_string())).await;
    assert_eq!(answered.body["message"], "it is too large to be passed on");
    let silent = start().await;
    let answered = silent.send(delivery("push", pushed().to_string())).await;
    assert_eq!(answered.body["status"], "ignored", "where nothing is passed on");
    for ingress in [ingress, silent] {
        assert_eq!(ingress.fleet_depth().await, 0);
    }
}

#[tokio::test]
async fn what_is_sent_under_the_name_of_a_push_has_to_be_one() {
    let ingress = start_with(forwarding()).await;
    let answered = ingress.send(delivery("push", merged().to_string())).await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{}", answered.body);
    assert_eq!(ingress.fleet_depth().await, 0);
}
