//! The judge is judged: what is broken on purpose has to be told.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, Request};
use lockflight_tests::client::Client;
use lockflight_tests::fixtures::handmade_webhooks;
use lockflight_tests::openapi::{Side, Validator};
use lockflight_tests::proxy::ValidatingProxy;
use serde_json::{Value, json};

const SHA: &str = "3f1c9a7b5d2e4f60718293a4b5c6d7e8f9012345";

fn git_ref() -> Value {
    json!({
        "ref": "refs/heads/main",
        "node_id": "REF_1",
        "url": "https://api.github.com/repos/o/r/git/refs/heads/main",
        "object": {"type": "commit", "sha": SHA, "url": "https://api.github.com/repos/o/r/git/commits/1"},
    })
}

/// Judges an answer to `GET /repos/o/r/git/ref/heads/main`, and returns the places and messages.
fn answer(status: u16, body: &Value) -> Vec<(String, String)> {
    Validator::github()
        .check(
            "GET",
            "/repos/o/r/git/ref/heads/main",
            "",
            b"",
            status,
            body.to_string().as_bytes(),
        )
        .into_iter()
        .map(|violation| {
            assert_eq!(violation.side, Side::Response, "{violation}");
            (violation.place, violation.message)
        })
        .collect()
}

fn asked(method: &str, path: &str, query: &str, body: &Value) -> Vec<String> {
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    Validator::github()
        .check_request(method, path, query, &bytes)
        .into_iter()
        .map(|violation| format!("{}: {}", violation.place, violation.message))
        .collect()
}

#[test]
fn a_right_answer_passes() {
    assert_eq!(answer(200, &git_ref()), []);
}

#[test]
fn a_missing_field_is_told() {
    let mut body = git_ref();
    body.pointer_mut("/object")
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove("sha");
    let found = answer(200, &body);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "/object");
    assert!(found[0].1.contains("\"sha\" is a required property"), "{found:?}");
}

#[test]
fn a_wrong_type_length_or_null_is_told() {
    for (pointer, wrong) in [
        ("/ref", json!(1)),
        ("/object/sha", json!("abc")),
        ("/node_id", Value::Null),
    ] {
        let mut body = git_ref();
        *body.pointer_mut(pointer).unwrap() = wrong;
        let found = answer(200, &body);
        assert_eq!(
            found.iter().map(|(place, _)| place.as_str()).collect::<Vec<_>>(),
            [pointer]
        );
    }
}

#[test]
fn an_undocumented_status_is_told_and_a_real_one_is_not() {
    assert_eq!(answer(418, &json!({"message": "x"})).len(), 1);
    assert_eq!(answer(201, &git_ref()).len(), 1);
    assert_eq!(answer(429, &json!({"message": "secondary rate limit"})), []);
    assert_eq!(answer(502, &json!("not an object")), []);
}

#[test]
fn an_error_without_a_message_is_told() {
    assert_eq!(
        answer(429, &json!({"error": "x"})),
        [(
            "/message".to_owned(),
            "an error of GitHub is an object with a `message`".to_owned()
        )]
    );
}

#[test]
fn a_body_that_is_not_json_or_should_not_be_there_is_told() {
    let validator = Validator::github();
    assert_eq!(
        validator
            .check_response("GET", "/rate_limit", 200, b"<html>")
            .len(),
        1
    );
    assert_eq!(
        validator
            .check_response("DELETE", "/repos/o/r/git/refs/heads/x", 204, b"{}")
            .len(),
        1
    );
    assert_eq!(
        validator.check_response("DELETE", "/repos/o/r/git/refs/heads/x", 204, b""),
        []
    );
}

#[test]
fn an_unknown_operation_is_told() {
    assert_eq!(asked("GET", "/repos/o/r/actions/runs", "", &Value::Null).len(), 1);
    // The one that octocrab has wrong: GitHub documents PATCH.
    assert_eq!(
        asked("POST", "/repos/o/r/issues/comments/1", "", &json!({"body": "x"})).len(),
        1
    );
}

#[test]
fn a_wrong_parameter_is_told() {
    let none = Value::Null;
    assert!(asked("GET", "/repos/o/r/pulls", "state=open&per_page=100", &none).is_empty());
    assert!(asked("GET", "/repos/o/r/pulls", "state=merged", &none)[0].starts_with("state:"));
    assert!(
        asked("GET", "/repos/o/r/pulls", "perpage=100", &none)[0].starts_with("perpage: GitHub documents no")
    );
    assert!(asked("GET", "/repos/o/r/pulls", "per_page=many", &none)[0].starts_with("per_page:"));
    assert!(asked("GET", "/repos/o/r/pulls/latest", "", &none)[0].starts_with("pull_number:"));
}

#[test]
fn a_wrong_request_body_is_told() {
    let path = "/repos/o/r/pulls";
    assert!(asked("POST", path, "", &json!({"title": "t", "head": "h", "base": "b"})).is_empty());
    assert_eq!(asked("POST", path, "", &Value::Null), [": a body is required"]);
    assert!(
        asked("POST", path, "", &json!({"title": "t", "head": "h"}))[0].contains("\"base\" is a required")
    );
    let misspelt = json!({"title": "t", "head": "h", "base": "b", "text": "x"});
    assert_eq!(
        asked("POST", path, "", &misspelt),
        ["/text: GitHub documents no field of this name here"]
    );
}

#[test]
fn the_description_finds_each_of_its_operations() {
    let validator = Validator::github();
    assert_eq!(validator.operations().len(), 60);
    for name in validator.operations() {
        let (method, template) = name.split_once(' ').unwrap();
        let path = template.replace("{", "").replace("}", "");
        assert_eq!(validator.operation(method, &path), Some(name));
    }
}

#[test]
fn a_repository_may_be_named_by_its_id() {
    // GitHub's `Link` headers say so, though its reference does not.
    let operation = Validator::github().operation("GET", "/repositories/700001/pulls");
    assert_eq!(operation, Some("GET /repos/{owner}/{repo}/pulls"));
    assert_eq!(
        Validator::github().operation("GET", "/repositories/gitops/pulls"),
        None
    );
}

#[test]
fn a_wrong_webhook_is_told() {
    let validator = Validator::github();
    let merged = &handmade_webhooks()[0];
    let body: Value = serde_json::from_slice(&merged.body).unwrap();
    for pointer in [
        "/pull_request/head/sha",
        "/pull_request/merged",
        "/repository/full_name",
        "/sender/login",
    ] {
        let mut broken = body.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        broken
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(field);
        let found = validator.check_webhook("pull_request", &broken);
        assert!(
            found.iter().any(|violation| violation.place == parent),
            "{pointer}: {found:?}"
        );
    }
    assert_eq!(
        validator
            .check_webhook("pull_request", &json!({"action": "exploded"}))
            .len(),
        1
    );
    assert!(!validator.check_webhook("push", &body).is_empty());
}

#[test]
fn a_wrong_delivery_is_told() {
    let merged = &handmade_webhooks()[0];
    let mut headers = HeaderMap::new();
    let good = [
        ("user-agent", "GitHub-Hookshot/044aadd"),
        ("content-type", "application/json"),
        ("x-github-hook-id", "1"),
        ("x-github-event", "pull_request"),
        ("x-github-hook-installation-target-id", "2"),
        ("x-github-hook-installation-target-type", "integration"),
        ("x-github-delivery", "0b989ba4-242f-11e5-81e1-c7b6966d2516"),
    ];
    for (name, value) in good {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let places = |headers: &HeaderMap, body: &[u8]| -> Vec<String> {
        let found = Validator::github().check_delivery(headers, body, b"secret");
        found.into_iter().map(|violation| violation.place).collect()
    };
    assert_eq!(
        places(&headers, &merged.body),
        ["X-Hub-Signature-256", "X-Hub-Signature-256"],
        "it has none yet"
    );

    headers.insert("x-hub-signature-256", HeaderValue::from_static("sha256=00"));
    assert_eq!(places(&headers, &merged.body), ["X-Hub-Signature-256"]);

    let signature = lockflight_tests::openapi::signature(b"secret", &merged.body);
    headers.insert("x-hub-signature-256", HeaderValue::from_str(&signature).unwrap());
    assert_eq!(places(&headers, &merged.body), Vec::<String>::new());

    headers.insert("x-github-delivery", HeaderValue::from_static("1700000000"));
    headers.insert("user-agent", HeaderValue::from_static("curl/8"));
    assert_eq!(
        places(&headers, &merged.body),
        ["User-Agent", "X-GitHub-Delivery"]
    );
}

/// Names its own address in `Link`, as a forge does that does not look at `Host`.
async fn next_page(
    axum::extract::State(own): axum::extract::State<String>,
) -> ([(&'static str, String); 1], axum::Json<Value>) {
    let link = format!("<{own}/api/v3/app/installations?page=2>; rel=\"next\"");
    ([("link", link)], axum::Json(json!([])))
}

/// Serves a forge that is wrong, and echoes what it is sent under `/git`.
async fn broken_forge() -> String {
    let echo = |request: Request<Body>| async move {
        let host = request.headers().get("host").cloned().unwrap();
        ([("x-seen-host", host)], request.into_body())
    };
    let router = Router::new()
        .route(
            "/api/v3/rate_limit",
            get(async || axum::Json(json!({"rate": {}}))),
        )
        .route("/api/v3/app", get(async || "plain text"))
        .route("/api/graphql", post(async || axum::Json(json!({}))))
        .route("/api/v3/app/installations", get(next_page))
        .route("/git", post(echo));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router.with_state(format!("http://{address}"));
    drop(tokio::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    }));
    format!("http://{address}")
}

#[tokio::test]
async fn the_proxy_records_a_broken_answer_and_passes_it_on() {
    let proxy = ValidatingProxy::start(&broken_forge().await).await;
    let answer = Client::new(proxy.address(), "/api/v3").get("/rate_limit").await;
    assert_eq!(answer.expect(200), json!({"rate": {}}));
    let found = proxy.take_violations();
    assert!(
        found
            .iter()
            .any(|violation| violation.message.contains("\"resources\" is a required")),
        "{found:?}"
    );
    assert_eq!(proxy.operations(), ["GET /rate_limit"]);
    proxy.finish();
}

#[tokio::test]
async fn the_proxy_tells_a_wrong_media_type_and_a_wrong_graphql_call() {
    let proxy = ValidatingProxy::start(&broken_forge().await).await;
    let client = Client::new(proxy.address(), "");
    client.get("/api/v3/app").await;
    let places: Vec<String> = proxy
        .take_violations()
        .into_iter()
        .map(|violation| violation.place)
        .collect();
    assert!(places.contains(&"Content-Type".to_owned()), "{places:?}");

    client
        .post("/api/graphql", &json!({"query": "query { viewer { login } }"}))
        .await;
    let sides: Vec<Side> = proxy
        .take_violations()
        .into_iter()
        .map(|violation| violation.side)
        .collect();
    assert_eq!(sides, [Side::Request, Side::Request, Side::Response]);
}

#[tokio::test]
#[should_panic(expected = "GitHub's description was broken")]
async fn a_proxy_that_saw_a_violation_fails_the_test_when_it_is_dropped() {
    let proxy = ValidatingProxy::start(&broken_forge().await).await;
    Client::new(proxy.address(), "/api/v3").get("/rate_limit").await;
    drop(proxy);
}

#[tokio::test]
async fn the_next_page_leads_through_the_proxy() {
    let proxy = ValidatingProxy::start(&broken_forge().await).await;
    let answer = Client::new(proxy.address(), "/api/v3")
        .get("/app/installations")
        .await;
    assert_eq!(
        answer.link("next"),
        Some(format!("{}/app/installations?page=2", proxy.api_url()))
    );
    assert_eq!(answer.link("prev"), None);
    proxy.finish();
}

#[tokio::test]
async fn other_paths_stream_through_unread_with_the_host_of_the_client() {
    let proxy = ValidatingProxy::start(&broken_forge().await).await;
    let large = "x".repeat(8 * 1024 * 1024);
    let answer = Client::new(proxy.address(), "").post("/git", &large).await;
    assert_eq!(answer.body.len(), large.len() + 2);
    assert_eq!(answer.headers["x-seen-host"], proxy.address().to_string());
    assert!(proxy.exchanges().is_empty());
    proxy.finish();
}

#[tokio::test]
async fn a_forge_that_hangs_up_looks_so_through_the_proxy() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let upstream = listener.local_addr().unwrap();
    drop(tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    }));
    let proxy = ValidatingProxy::start(&format!("http://{upstream}")).await;
    let client = Client::new(proxy.address(), "/api/v3");
    assert!(
        client
            .try_ask("GET", "/rate_limit", None::<&Value>)
            .await
            .is_err()
    );
    assert_eq!(proxy.exchanges()[0].status, 0);
}
