//! What a signed delivery sets off.

use axum::body::Body;
use http::{HeaderValue, StatusCode};
use lockflight_promotion::InstallationId;
use lockflight_promotion::message::Body as Message;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::*;

#[tokio::test]
async fn a_merged_pull_request_is_published_as_ids_alone() {
    let ingress = start().await;
    let body = merged().to_string();
    let answered = ingress.send(delivery("pull_request", body.clone())).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED);
    assert_eq!(answered.body, json!({"status": "accepted", "delivery": GUID}));
    let envelope = ingress.take().await;
    assert_eq!(envelope.repo.id.get(), 35_129_377);
    assert_eq!(envelope.repo.name.to_string(), "acme/gitops");
    assert_eq!(envelope.repo.installation.map(InstallationId::get), Some(234));
    assert_eq!(envelope.delivery.as_str(), GUID);
    assert_eq!((envelope.attempt, &envelope.cause), (0, &None));
    let hash = format!("{:x}", Sha256::digest(&body));
    assert_eq!(
        envelope.id.as_str(),
        format!("delivery:{GUID}:{}", hash.get(..16).unwrap())
    );
    let Message::Delivery(delivery) = &envelope.body else {
        panic!("not a delivery: {envelope:?}");
    };
    assert_eq!(delivery.event, "pull_request");
    assert_eq!(delivery.action.as_deref(), Some("closed"));
    assert_eq!(delivery.body_sha256, hash);
    let hint = delivery.pull_request.as_ref().unwrap();
    assert_eq!((hint.number.get(), hint.merged), (12, true));
    assert!(!serde_json::to_string(&envelope).unwrap().contains(MARKER));
}

#[tokio::test]
async fn a_personal_token_has_no_installation() {
    let ingress = start().await;
    let mut body = merged();
    body.as_object_mut().unwrap().remove("installation");
    assert_eq!(ingress.status_of(pull_request(&body)).await, StatusCode::ACCEPTED);
    assert_eq!(ingress.take().await.repo.installation, None);
}

#[tokio::test]
async fn the_trace_begins_here_whatever_the_sender_says() {
    let ingress = start().await;
    let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut traces = vec![theirs.to_owned()];
    for _ in 0..2 {
        let mut request = pull_request(&merged());
        let headers = request.headers_mut();
        headers.insert("traceparent", HeaderValue::from_static(theirs));
        assert_eq!(ingress.status_of(request).await, StatusCode::ACCEPTED);
        traces.push(ingress.take().await.traceparent.to_string());
    }
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 3, "{traces:?}");
}

#[tokio::test]
async fn a_redelivery_is_published_again_under_the_same_id() {
    let ingress = start().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        assert_eq!(
            ingress.status_of(pull_request(&merged())).await,
            StatusCode::ACCEPTED
        );
        ids.push(ingress.take().await.id);
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn what_sets_nothing_off_is_accepted_and_not_published() {
    let ingress = start().await;
    let mut closed = merged();
    closed["pull_request"]["merged"] = json!(false);
    let mut unknown = merged();
    unknown["pull_request"].as_object_mut().unwrap().remove("merged");
    let mut labeled = merged();
    labeled["action"] = json!("labeled");
    for (event, body) in [
        ("pull_request", closed),
        ("pull_request", unknown),
        ("pull_request", labeled),
        ("push", json!({"ref": MARKER})),
        ("an_event_of_the_future", json!([MARKER])),
    ] {
        let answered = ingress.send(delivery(event, body.to_string())).await;
        assert_eq!(
            answered.status,
            StatusCode::ACCEPTED,
            "{event}: {}",
            answered.body
        );
        assert_eq!(answered.body["status"], "ignored", "{event}");
        assert_eq!(answered.body["delivery"], GUID);
    }
    assert_eq!(ingress.stored().await, 0);
}

#[tokio::test]
async fn the_end_of_a_promotion_is_told_even_if_it_was_not_merged() {
    let ingress = start().await;
    let mut closed = merged();
    closed["pull_request"]["merged"] = json!(false);
    closed["pull_request"]["head"]["ref"] = json!("promotions/7-main-0123456789ab");
    let answered = ingress.send(delivery("pull_request", closed.to_string())).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{}", answered.body);
    let Message::Delivery(told) = ingress.take().await.body else {
        panic!("a delivery was published as something else");
    };
    let hint = told.pull_request.unwrap();
    assert_eq!((told.action.as_deref(), hint.merged), (Some("closed"), false));
}

fn comment(action: &str, body: &str) -> Value {
    let mut event = merged();
    let repository = event["repository"].take();
    json!({
        "action": action,
        "issue": {"number": 12, "pull_request": {"merged_at": "2026-01-02T03:04:05Z"}},
        "comment": {"id": 1_042, "body": body},
        "repository": repository,
        "sender": {"id": 4, "login": "mona", "type": "User"},
    })
}

#[tokio::test]
async fn a_comment_that_may_be_a_command_is_published_as_ids_alone() {
    let ingress = start().await;
    let body = comment("created", &format!("/promote hold {MARKER}")).to_string();
    let answered = ingress.send(delivery("issue_comment", body)).await;
    assert_eq!(answered.body["status"], "accepted", "{}", answered.body);
    let envelope = ingress.take().await;
    assert!(!serde_json::to_string(&envelope).unwrap().contains(MARKER));
    assert_eq!(envelope.routing_key(), "delivery.issue_comment");
    let Message::Delivery(delivery) = envelope.body else {
        panic!("not a delivery: {envelope:?}");
    };
    assert_eq!(delivery.comment, Some(1_042));
    assert_eq!(delivery.action.as_deref(), Some("created"));
    let hint = delivery.pull_request.unwrap();
    assert_eq!((hint.number.get(), hint.merged), (12, true));
    let sender = delivery.sender.unwrap();
    assert_eq!((sender.id, sender.login.as_str()), (4, "mona"));
}

#[tokio::test]
async fn other_comments_are_not_published() {
    let ingress = start().await;
    let mut on_an_issue = comment("created", "/promote hold");
    on_an_issue["issue"]
        .as_object_mut()
        .unwrap()
        .remove("pull_request");
    let mut by_a_bot = comment("created", "/promote hold");
    by_a_bot["sender"]["type"] = json!("Bot");
    for body in [
        comment("edited", "/promote hold"),
        comment("deleted", "/promote hold"),
        comment("created", "> /promote hold"),
        comment("created", "thank you"),
        on_an_issue,
        by_a_bot,
    ] {
        let answered = ingress.send(delivery("issue_comment", body.to_string())).await;
        assert_eq!(answered.body["status"], "ignored", "{body}");
    }
    assert_eq!(ingress.stored().await, 0);
}

#[tokio::test]
async fn the_label_that_asks_for_a_plan_is_published_and_no_other() {
    let ingress = start().await;
    let mut body = merged();
    body["action"] = json!("labeled");
    body["sender"] = json!({"id": 4, "login": "mona", "type": "User"});
    for (label, status) in [("show-plan", "accepted"), ("bug", "ignored")] {
        body["label"] = json!({"name": label});
        let answered = ingress.send(pull_request(&body)).await;
        assert_eq!(answered.body["status"], status, "{label}");
    }
    assert_eq!(ingress.stored().await, 1);
    let Message::Delivery(delivery) = ingress.take().await.body else {
        panic!("not a delivery");
    };
    assert_eq!(delivery.label.as_deref(), Some("show-plan"));
    assert!(delivery.sender.is_some());
}

#[tokio::test]
async fn what_may_lead_an_open_pull_request_elsewhere_is_published() {
    let ingress = start().await;
    let mut body = merged();
    body["pull_request"]["merged"] = json!(false);
    let mut tell = async |action: &str, branch: &str, changes: Value| {
        body["action"] = json!(action);
        body["label"] = json!({"name": "bug"});
        body["changes"] = changes;
        body["pull_request"]["head"]["ref"] = json!(branch);
        let answered = ingress.send(pull_request(&body)).await;
        answered.body["status"].as_str().unwrap().to_owned()
    };
    let base = json!({"base": {"ref": {"from": "main"}}});
    for (action, changes) in [
        ("opened", Value::Null),
        ("synchronize", Value::Null),
        ("reopened", Value::Null),
        ("labeled", Value::Null),
        ("unlabeled", Value::Null),
        ("edited", base.clone()),
    ] {
        assert_eq!(
            tell(action, "feature", changes.clone()).await,
            "accepted",
            "{action}"
        );
        assert_eq!(
            tell(action, "promotions/1-a-0", changes).await,
            "ignored",
            "{action}"
        );
        let Message::Delivery(told) = ingress.take().await.body else {
            panic!("not a delivery");
        };
        assert_eq!(told.action.as_deref(), Some(action));
        assert!(!told.pull_request.unwrap().merged && told.label.is_none());
    }
    for (action, changes) in [
        ("edited", json!({"title": {"from": "a"}})),
        ("assigned", Value::Null),
        ("review_requested", Value::Null),
        ("closed", Value::Null),
    ] {
        assert_eq!(tell(action, "feature", changes).await, "ignored", "{action}");
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_a_pong() {
    let ingress = start().await;
    let body = json!({"zen": MARKER, "hook_id": 30, "hook": {"type": "App"}});
    let answered = ingress.send(delivery("ping", body.to_string())).await;
    assert_eq!(
        (answered.status, &answered.body["status"]),
        (StatusCode::OK, &json!("pong"))
    );
    assert_eq!(ingress.stored().await, 0);
}

#[tokio::test]
async fn a_form_with_the_payload_is_signed_as_a_whole_and_read() {
    let ingress = start().await;
    let form = |fields: &[(&str, &str)]| {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut request = delivery("pull_request", body);
        request.headers_mut().insert(
            "content-type",
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        request
    };
    let json = merged().to_string();
    assert_eq!(
        ingress.status_of(form(&[("payload", &json)])).await,
        StatusCode::ACCEPTED
    );
    assert_eq!(ingress.take().await.repo.name.to_string(), "acme/gitops");
    for fields in [
        &[("other", json.as_str())][..],
        &[("payload", &json), ("payload", &json)],
        &[("payload", "not json")],
        &[],
    ] {
        assert_eq!(
            ingress.status_of(form(fields)).await,
            StatusCode::BAD_REQUEST,
            "{fields:?}"
        );
    }
    assert_eq!(ingress.stored().await, 1, "the one that was taken");
}

#[tokio::test]
async fn the_headers_have_to_be_as_github_sends_them() {
    let ingress = start().await;
    type Change = fn(&mut http::HeaderMap);
    let changes: [(&str, Change, StatusCode); 9] = [
        (
            "no event",
            |h| drop(h.remove("x-github-event")),
            StatusCode::BAD_REQUEST,
        ),
        (
            "no delivery",
            |h| drop(h.remove("x-github-delivery")),
            StatusCode::BAD_REQUEST,
        ),
        (
            "two events",
            |h| assert!(h.append("x-github-event", HeaderValue::from_static("ping"))),
            StatusCode::BAD_REQUEST,
        ),
        (
            "two deliveries",
            |h| assert!(h.append("x-github-delivery", HeaderValue::from_static("a"))),
            StatusCode::BAD_REQUEST,
        ),
        (
            "an event with a line end in disguise",
            |h| drop(h.insert("x-github-event", HeaderValue::from_static("push%0a"))),
            StatusCode::BAD_REQUEST,
        ),
        (
            "an empty delivery",
            |h| drop(h.insert("x-github-delivery", HeaderValue::from_static(""))),
            StatusCode::BAD_REQUEST,
        ),
        (
            "a delivery that is none",
            |h| drop(h.insert("x-github-delivery", HeaderValue::from_static("<script>"))),
            StatusCode::BAD_REQUEST,
        ),
        (
            "another content type",
            |h| drop(h.insert("content-type", HeaderValue::from_static("text/plain"))),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            "no content type",
            |h| drop(h.remove("content-type")),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
    ];
    for (name, change, status) in changes {
        let mut request = pull_request(&merged());
        change(request.headers_mut());
        assert_eq!(ingress.status_of(request).await, status, "{name}");
    }
    let mut request = pull_request(&merged());
    request.headers_mut().insert(
        "content-type",
        HeaderValue::from_static("Application/JSON; charset=utf-8"),
    );
    assert_eq!(ingress.status_of(request).await, StatusCode::ACCEPTED);
    assert_eq!(ingress.stored().await, 1);
}

#[tokio::test]
async fn a_body_that_is_no_json_or_of_another_event_is_refused() {
    let ingress = start().await;
    let changed = |change: fn(&mut Value)| {
        let mut body = merged();
        change(&mut body);
        body.to_string().into_bytes()
    };
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let twice = merged()
        .to_string()
        .replacen("\"number\":12,", "\"number\":12,\"number\":12,", 1);
    let cases: [(&str, &str, Vec<u8>); 15] = [
        ("empty", "pull_request", vec![]),
        ("not JSON", "pull_request", b"hello".to_vec()),
        (
            "cut off",
            "pull_request",
            merged().to_string().into_bytes().split_off(10),
        ),
        ("not UTF-8", "pull_request", b"{\"action\": \"\xff\"}".to_vec()),
        ("not JSON, of an unknown event", "unheard_of", b"hello".to_vec()),
        ("as deep as a well", "pull_request", deep.into_bytes()),
        ("a list", "pull_request", b"[]".to_vec()),
        (
            "a ping",
            "pull_request",
            b"{\"zen\": \"x\", \"hook_id\": 1}".to_vec(),
        ),
        ("a pull request", "ping", merged().to_string().into_bytes()),
        (
            "a review",
            "pull_request",
            changed(|b| drop(b.as_object_mut().unwrap().remove("number"))),
        ),
        (
            "no pull request",
            "pull_request",
            changed(|b| b["pull_request"] = Value::Null),
        ),
        (
            "no repository",
            "pull_request",
            changed(|b| drop(b.as_object_mut().unwrap().remove("repository"))),
        ),
        (
            "two numbers",
            "pull_request",
            changed(|b| b["number"] = json!(13)),
        ),
        (
            "an odd name",
            "pull_request",
            changed(|b| b["repository"]["full_name"] = json!("a/b/../c")),
        ),
        ("a key twice", "pull_request", twice.into_bytes()),
    ];
    for (name, event, body) in cases {
        let answered = ingress.send(delivery(event, body)).await;
        assert_eq!(
            answered.status,
            StatusCode::BAD_REQUEST,
            "{name}: {}",
            answered.body
        );
        assert_eq!(answered.body["delivery"], GUID, "{name}");
    }
    assert_eq!(ingress.stored().await, 0);
}

#[tokio::test]
async fn real_payloads_of_every_event_are_taken() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/webhooks");
    let ingress = start().await;
    let (mut seen, mut expected) = (0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(name) = name.strip_suffix(".json") else {
            continue;
        };
        let event = name.split('.').next().unwrap();
        let body = std::fs::read(&path).unwrap();
        let payload: Value = serde_json::from_slice(&body).unwrap();
        let action = payload["action"].as_str().unwrap_or_default();
        let told = event == "pull_request"
            && if payload["pull_request"]["merged"] == true {
                action == "closed"
            } else {
                ["opened", "synchronize", "reopened", "labeled", "unlabeled"].contains(&action)
            };
        expected += usize::from(told);
        seen += 1;
        let answered = ingress.send(delivery(event, body)).await;
        let status = match (event, told) {
            ("ping", _) => "pong",
            (_, true) => "accepted",
            (_, false) => "ignored",
        };
        assert_eq!(answered.body["status"], status, "{name}: {}", answered.body);
    }
    assert!(seen > 20, "only {seen} payloads were found");
    assert_eq!(ingress.stored().await, expected);
}

#[tokio::test]
async fn only_post_is_taken_and_only_at_the_webhooks_path() {
    let ingress = start().await;
    let get = http::Request::get("/webhook").body(Body::empty()).unwrap();
    let answered = ingress.send(get).await;
    assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answered.headers["allow"], "POST");
    let mut elsewhere = config();
    elsewhere.path = "/hooks/github".to_owned();
    let ingress = start_with(elsewhere).await;
    let mut request = pull_request(&merged());
    *request.uri_mut() = "/hooks/github".parse().unwrap();
    assert_eq!(ingress.status_of(request).await, StatusCode::ACCEPTED);
}
