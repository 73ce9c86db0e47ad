//! Time and space.

use std::time::{Duration, Instant};

use lockflight_outbound::{Address, Answer, Outbound, OutboundError};
use lockflight_promotion::ErrorClass;

use super::support::{Script, Server, answer, client, client_with, url};

async fn get(outbound: &Outbound, server: &Server) -> Result<Answer, OutboundError> {
    let address = Address::parse(&url(server, "/?token=secret")).unwrap();
    outbound.get(&address).await
}

#[tokio::test]
async fn a_server_that_drips_or_is_silent_meets_the_deadline() {
    for script in [
        Script::Silence,
        Script::Drip(concat!(
            "HTTP/1.1 200 OK\r\nX-Filling: ",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        )),
        Script::Drip("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"),
    ] {
        let server = Server::start(script.clone()).await;
        let outbound = client_with(&server, |config| config.deadline = Duration::from_millis(400));
        let began = Instant::now();
        let late = get(&outbound, &server).await.unwrap_err();
        assert!(matches!(late, OutboundError::Late { .. }), "{script:?}: {late}");
        assert_eq!(late.class(), ErrorClass::Retry);
        assert!(
            late.to_string().ends_with("did not answer within 400 ms"),
            "{late}"
        );
        assert!(!late.to_string().contains("secret"), "{late}");
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(400) && took < Duration::from_secs(30),
            "{took:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    ] {
        let server = Server::start(Script::Flood(head)).await;
        let outbound = client_with(&server, |config| config.max_response_bytes = 20_000);
        let cut = get(&outbound, &server).await.unwrap_err();
        assert!(
            matches!(cut, OutboundError::TooLong { limit: 20_000, .. }),
            "{cut}"
        );
        assert_eq!(cut.class(), ErrorClass::User);
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_cut() {
    let server = Server::start(Script::Flood("HTTP/1.1 200 OK\r\nX-Filling: ")).await;
    let failed = get(&client(&server), &server).await.unwrap_err();
    assert!(matches!(failed, OutboundError::Http { .. }), "{failed}");
    let many: Vec<String> = (0..65).map(|number| format!("X-{number}: a")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let server = Server::start(answer("200 OK", &many, "")).await;
    let failed = get(&client(&server), &server).await.unwrap_err();
    assert!(matches!(failed, OutboundError::Http { .. }), "{failed}");
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read() {
    let server = Server::start(answer("200 OK", &[], &"a".repeat(20_000))).await;
    let outbound = client_with(&server, |config| config.max_response_bytes = 20_000);
    assert_eq!(get(&outbound, &server).await.unwrap().body.len(), 20_000);
    let outbound = client_with(&server, |config| config.max_response_bytes = 19_999);
    let cut = get(&outbound, &server).await.unwrap_err();
    assert!(matches!(cut, OutboundError::TooLong { .. }), "{cut}");
}

#[tokio::test]
async fn what_is_no_http_or_breaks_off_is_an_error() {
    for script in [
        Script::Say("SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        Script::Say(String::new()),
        Script::Say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_owned()),
    ] {
        let server = Server::start(script.clone()).await;
        let failed = get(&client(&server), &server).await.unwrap_err();
        assert!(
            matches!(failed, OutboundError::Http { .. }),
            "{script:?}: {failed}"
        );
        assert_eq!(failed.class(), ErrorClass::Retry);
    }
}
