//! Gates, read from servers.

use std::time::Duration;

use lockflight_outbound::{Outbound, OutboundConfig, Reading, read_http, read_prometheus};
use lockflight_promotion::gate::{Expectation, HttpGate, PrometheusGate};
use serde_json::json;

use super::support::{Script, Server, answer, client, client_with, says, url};

fn http_gate(url: String) -> HttpGate {
    HttpGate {
        name: "ready".to_owned(),
        url,
        pointer: "/status".to_owned(),
        expect: Expectation::Equals(json!("ok")),
        every_s: 60,
    }
}

fn prometheus_gate(url: String) -> PrometheusGate {
    PrometheusGate {
        name: "errors".to_owned(),
        url,
        query: "sum(rate(errors{job=\"a b\"}[$window])) / $window".to_owned(),
        expect: Expectation::Below(1.into()),
        window_s: 600,
        every_s: 60,
    }
}

fn reason(reading: Reading) -> String {
    match reading {
        Reading::Unreadable { reason } => {
            assert!(
                reason.chars().count() <= 200 && !reason.contains(char::is_control),
                "{reason:?}"
            );
            reason
        }
        other => panic!("it was read: {other:?}"),
    }
}

#[tokio::test]
async fn a_gate_is_what_the_server_says() {
    let server = Server::start(says(r#"{"status": "ok"}"#)).await;
    let reading = read_http(&client(&server), &http_gate(url(&server, "/ready"))).await;
    let detail = "/status is \"ok\"".to_owned();
    assert_eq!(reading, Reading::Holds { detail });

    let server = Server::start(says(r#"{"status": "degraded"}"#)).await;
    let reading = read_http(&client(&server), &http_gate(url(&server, "/ready"))).await;
    let detail = "/status is \"degraded\", not \"ok\"".to_owned();
    assert_eq!(reading, Reading::DoesNotHold { detail });
}

#[tokio::test]
async fn whatever_is_no_whole_answer_closes_the_gate_and_says_why() {
    let ok = r#"{"status": "ok", "secret": "hunter2"}"#;
    let json = "Content-Type: application/json";
    for (script, wanted) in [
        (
            answer("302 Found", &["Location: http://a.example/", json], ok),
            "answered 302, and redirects are not followed",
        ),
        (
            answer("500 Internal Server Error", &[json], ok),
            "answered 500, not 200",
        ),
        (answer("204 No Content", &[json], ""), "answered 204, not 200"),
        (
            answer("200 OK", &["Content-Type: text/html"], "<html>hunter2"),
            "answered with \"text/html\" in place of JSON",
        ),
        (
            answer("200 OK", &["Content-Type: text/html; charset=utf-8"], ok),
            "in place of JSON",
        ),
        (answer("200 OK", &[], ok), "in place of JSON"),
        (
            answer("200 OK", &[json], "<html>hunter2"),
            "what is no JSON (line 1, column 1)",
        ),
        (answer("200 OK", &[json], ""), "what is no JSON"),
        (
            answer("200 OK", &[json], r#"{"status": "ok"} hunter2"#),
            "what is no JSON",
        ),
        (answer("200 OK", &[json], &"[".repeat(10_000)), "what is no JSON"),
        (
            answer("200 OK", &[json, "Content-Encoding: gzip"], ok),
            "compressed its answer",
        ),
        (
            answer("200 OK", &[json], r#"{"state": "hunter2"}"#),
            "there is nothing at /status",
        ),
        (Script::Silence, "did not answer within 400 ms"),
        (
            Script::Flood("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"),
            "answered with more than 65536 bytes",
        ),
        (
            Script::Say(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{}"
                    .to_owned(),
            ),
            "did not answer as HTTP wants it",
        ),
    ] {
        let is_silent = matches!(script, Script::Silence);
        let server = Server::start(script).await;
        let outbound = client_with(&server, |config| {
            if is_silent {
                config.deadline = Duration::from_millis(400);
            }
        });
        let said = reason(read_http(&outbound, &http_gate(url(&server, "/ready?token=hunter2"))).await);
        assert!(said.contains(wanted), "{said:?} does not say {wanted:?}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn an_address_that_may_not_be_called_closes_the_gate_and_says_what_to_do() {
    let outbound = Outbound::new(OutboundConfig::default()).unwrap();
    for (url, wanted) in [
        (
            "https://gate.example.com/x",
            "\"gate.example.com\" may not be called; whoever runs Lockflight can add it to [outbound] allowed_hosts",
        ),
        (
            "http://10.0.0.1:9090/x",
            "\"http://10.0.0.1:9090\" may not be called",
        ),
        ("gate.example.com", "write it as https://host/path"),
        ("https://u:hunter2@gate.example.com/", "has a user or a password"),
    ] {
        for said in [
            reason(read_http(&outbound, &http_gate(url.to_owned())).await),
            reason(read_prometheus(&outbound, &prometheus_gate(url.to_owned())).await),
        ] {
            assert!(said.contains(wanted) && !said.contains("hunter2"), "{said}");
        }
    }
}

#[tokio::test]
async fn prometheus_is_asked_with_the_window_put_into_the_query() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.25"]}]}}"#;
    let server = Server::start(says(body)).await;
    let reading = read_prometheus(&client(&server), &prometheus_gate(url(&server, "/prefix/"))).await;
    let detail = "it is 0.25, below 1 is asked for".to_owned();
    assert_eq!(reading, Reading::Holds { detail });
    let asked = server.heads().remove(0);
    let query = "sum%28rate%28errors%7Bjob%3D%22a+b%22%7D%5B10m%5D%29%29+%2F+10m";
    assert!(
        asked.starts_with(&format!("GET /prefix/api/v1/query?query={query} HTTP/1.1\r\n")),
        "{asked}"
    );
}

#[tokio::test]
async fn what_prometheus_refuses_closes_the_gate() {
    let error = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\""}"#;
    let json = "Content-Type: application/json";
    let server = Server::start(answer("400 Bad Request", &[json], error)).await;
    let said = reason(read_prometheus(&client(&server), &prometheus_gate(url(&server, ""))).await);
    assert!(
        said.ends_with("refuses the query: bad_data: invalid parameter \"query\""),
        "{said}"
    );
    let server = Server::start(answer("502 Bad Gateway", &["Content-Type: text/html"], "<html>")).await;
    let said = reason(read_prometheus(&client(&server), &prometheus_gate(url(&server, ""))).await);
    assert!(said.ends_with("answered 502, not 200"), "{said}");
}
