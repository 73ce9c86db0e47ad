//! Who is believed.

use axum::body::Body;
use http::StatusCode;
use lockflight_ingress::{IngressConfig, IngressError, router};
use lockflight_runtime::{Health, Secret, Shutdown};

use crate::harness::*;

#[tokio::test]
async fn the_example_of_github_gets_past_the_signature_and_fails_as_json() {
    let ingress = start().await;
    let request = unsigned("ping")
        .header(
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        )
        .body(Body::from("Hello, World!"))
        .unwrap();
    assert_eq!(ingress.status_of(request).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_delivery_that_is_not_signed_right_is_refused_and_leaves_no_trace() {
    let ingress = start().await;
    let body = merged().to_string();
    let good = sign(SECRET, body.as_bytes());
    let digits = good.strip_prefix("sha256=").unwrap();
    let wrong = sign("another secret", body.as_bytes());
    let cases: [(&str, Vec<(&str, String)>); 9] = [
        ("absent", vec![]),
        ("wrong", vec![("x-hub-signature-256", wrong.clone())]),
        (
            "of another body",
            vec![("x-hub-signature-256", sign(SECRET, b"{}"))],
        ),
        (
            "sha1 only",
            vec![("x-hub-signature", format!("sha1={}", "0".repeat(40)))],
        ),
        (
            "sha256 under the name of sha1",
            vec![("x-hub-signature", good.clone())],
        ),
        (
            "twice",
            vec![
                ("x-hub-signature-256", good.clone()),
                ("x-hub-signature-256", good.clone()),
            ],
        ),
        (
            "twice, one wrong",
            vec![
                ("x-hub-signature-256", good.clone()),
                ("x-hub-signature-256", wrong),
            ],
        ),
        (
            "not hexadecimal",
            vec![("x-hub-signature-256", format!("sha256={}", "z".repeat(64)))],
        ),
        (
            "truncated",
            vec![(
                "x-hub-signature-256",
                format!("sha256={}", digits.get(..63).unwrap()),
            )],
        ),
    ];
    for (name, headers) in cases {
        let mut request = unsigned("pull_request");
        for (header, value) in headers {
            request = request.header(header, value);
        }
        let answered = ingress
            .send(request.body(Body::from(body.clone())).unwrap())
            .await;
        assert_eq!(answered.status, StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(answered.body["status"], "refused", "{name}");
        assert!(
            answered.body["message"].as_str().unwrap().len() > 40,
            "{name}: {}",
            answered.body
        );
    }
    assert_eq!(ingress.stored().await, 0);
}

#[tokio::test]
async fn during_a_rotation_both_secrets_count() {
    let ingress = start_with(IngressConfig::new(vec![secret("new"), secret("old")])).await;
    let body = merged().to_string();
    for (secret, status) in [
        ("new", StatusCode::ACCEPTED),
        ("old", StatusCode::ACCEPTED),
        ("older", StatusCode::UNAUTHORIZED),
        ("", StatusCode::UNAUTHORIZED),
    ] {
        let request = unsigned("pull_request")
            .header("x-hub-signature-256", sign(secret, body.as_bytes()))
            .body(Body::from(body.clone()))
            .unwrap();
        assert_eq!(ingress.status_of(request).await, status, "{secret:?}");
    }
    assert_eq!(ingress.stored().await, 2);
}

#[tokio::test]
async fn nothing_is_parsed_before_the_signature_fits() {
    let ingress = start().await;
    // Each of these would be refused with another code, had it been looked at.
    for (event, body) in [("pull_request", "{not json"), ("", "{}"), ("pull_request", "{}")] {
        let request = unsigned(event)
            .header("x-hub-signature-256", sign("wrong", body.as_bytes()))
            .body(Body::from(body))
            .unwrap();
        assert_eq!(
            ingress.status_of(request).await,
            StatusCode::UNAUTHORIZED,
            "{body}"
        );
    }
}

#[tokio::test]
async fn without_a_usable_secret_it_does_not_start() {
    let fleet = start().await.fleet;
    let health = Health::new(Shutdown::new());
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    for secrets in [
        vec![Secret::from_file(dir.path().join("absent"))],
        vec![Secret::from_file(empty)],
        vec![secret(SECRET), secret("")],
    ] {
        let refused = router(IngressConfig::new(secrets), fleet.clone(), &health).unwrap_err();
        assert!(matches!(refused, IngressError::Secret(_)), "{refused}");
    }
    let none = router(IngressConfig::new(vec![]), fleet, &health).unwrap_err();
    assert!(matches!(none, IngressError::Secrets(0)));
}
