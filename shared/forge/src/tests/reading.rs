//! Reads: what is tried again, what is whole, what is refused.

use std::time::Duration;

use axum::http::Method;
use lockflight_promotion::{BranchName, ErrorClass, PrNumber, RepoId};
use serde_json::{Value, json};

use super::fake::{API, Fake, REPO, TOKEN, broken, pull, raw, repository, say, silent};
use crate::{Auth, Forge, ForgeError};

const SEVEN: PrNumber = PrNumber::new(7);

fn path(below: &str) -> String {
    format!("{REPO}{below}")
}

/// Everything that an error says, its causes included.
fn all_words(error: &ForgeError) -> String {
    format!("{error} {error:?}")
}

#[tokio::test]
async fn a_read_is_tried_again_after_a_failure_in_passing() {
    let fake = Fake::start().await;
    let answers = [raw(502, "<html>oops</html>"), broken(), say(200, &pull(7))];
    fake.on(Method::GET, &path("/pulls/7"), answers);
    let found = fake.client().await.pull_request(SEVEN).await.unwrap();
    assert_eq!(found.number, SEVEN);
    assert_eq!(fake.count(&Method::GET, &path("/pulls/7")), 3);
}

#[tokio::test]
async fn a_read_that_keeps_failing_is_given_up_as_retry_without_quoting_the_page() {
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        &path("/pulls/7"),
        [raw(502, "<html>internal detail</html>")],
    );
    let forge = fake.forge();
    let client = forge.repository(&repository(None)).await.unwrap();
    let error = client.pull_request(SEVEN).await.unwrap_err();
    assert!(
        matches!(&error, ForgeError::Unavailable { status, .. } if status.as_u16() == 502),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::Retry);
    assert!(!all_words(&error).contains("internal detail"));
    assert_eq!(fake.count(&Method::GET, &path("/pulls/7")), 4);

    assert_eq!(client.calls(), 4, "tries that failed count");
    let calls = forge.calls();
    assert_eq!(calls.total(), 4);
    assert_eq!(calls.of("GET", "/repos/{owner}/{repo}/pulls/{pull_number}"), 4);
    assert_eq!(calls.routes[0].status, "5xx");
}

#[tokio::test]
async fn a_server_that_never_answers_is_not_waited_for() {
    let fake = Fake::start().await;
    fake.on(Method::GET, &path("/pulls/7"), [silent()]);
    let mut config = fake.config(Auth::token(TOKEN));
    config.request_timeout = Duration::from_millis(30);
    let client = Forge::new(config)
        .unwrap()
        .repository(&repository(None))
        .await
        .unwrap();
    let error = client.pull_request(SEVEN).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
}

#[tokio::test]
async fn a_pull_request_that_is_not_visible_yet_is_looked_for_again() {
    let fake = Fake::start().await;
    let missing = say(404, &json!({"message": "Not Found"}));
    fake.on(
        Method::GET,
        &path("/pulls/7"),
        [missing.clone(), missing, say(200, &pull(7))],
    );
    fake.client().await.pull_request(SEVEN).await.unwrap();
    assert_eq!(fake.count(&Method::GET, &path("/pulls/7")), 3);
}

#[tokio::test]
async fn what_does_not_exist_is_rejected_after_three_looks() {
    let fake = Fake::start().await;
    let error = fake.client().await.pull_request(SEVEN).await.unwrap_err();
    assert!(matches!(error, ForgeError::NotFound { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Reject);
    assert!(
        error
            .to_string()
            .contains("does not exist or the token cannot see it"),
        "{error}"
    );
    assert_eq!(fake.count(&Method::GET, &path("/pulls/7")), 3);
}

#[tokio::test]
async fn a_limit_is_told_and_nobody_knocks_until_it_is_over() {
    let fake = Fake::start().await;
    let limited = say(429, &json!({"message": "slow down"})).with("retry-after", "30");
    fake.on(Method::GET, &path("/pulls/7"), [limited, say(200, &pull(7))]);
    let client = fake.client().await;
    let error = client.pull_request(SEVEN).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::RetryAfter(Duration::from_secs(30)));

    let again = client.comments(SEVEN).await.unwrap_err();
    assert!(
        matches!(again.class(), ErrorClass::RetryAfter(wait) if wait <= Duration::from_secs(30)),
        "{again:?}"
    );
    assert_eq!(fake.asked().len(), 1, "the second call must not reach GitHub");
}

#[tokio::test]
async fn a_used_up_primary_limit_is_waited_for_until_its_reset() {
    let fake = Fake::start().await;
    let limited = say(403, &json!({"message": "API rate limit exceeded"}))
        .with("date", "Thu, 01 Jan 1970 00:00:10 GMT")
        .with("x-ratelimit-limit", "5000")
        .with("x-ratelimit-remaining", "0")
        .with("x-ratelimit-reset", "110");
    fake.on(Method::GET, &path("/pulls/7"), [limited]);
    let forge = fake.forge();
    let client = forge.repository(&repository(None)).await.unwrap();
    let error = client.pull_request(SEVEN).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::RetryAfter(Duration::from_secs(101)));
    let limit = forge.calls().limits["token"];
    assert_eq!((limit.limit, limit.remaining, limit.resets_at), (5_000, 0, 110));
}

#[tokio::test]
async fn a_limit_of_a_moment_is_slept_out_by_a_read() {
    let fake = Fake::start().await;
    let limited = say(429, &json!({"message": "slow down"})).with("retry-after", "1");
    fake.on(Method::GET, &path("/pulls/7"), [limited, say(200, &pull(7))]);
    fake.client().await.pull_request(SEVEN).await.unwrap();
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let fake = Fake::start().await;
    let body = json!({"message": "Resource not accessible by personal access token"});
    fake.on(Method::GET, &path("/pulls/7"), [say(403, &body)]);
    let error = fake.client().await.pull_request(SEVEN).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::User);
    assert!(error.to_string().contains("\"Pull requests: read\""), "{error}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_bad_token_is_rejected_at_once_and_never_shown() {
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        &path("/pulls/7"),
        [say(401, &json!({"message": "Bad credentials"}))],
    );
    let forge = fake.forge();
    let client = forge.repository(&repository(None)).await.unwrap();
    let error = client.pull_request(SEVEN).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Reject);
    assert!(
        error.to_string().contains("not valid (Bad credentials)"),
        "{error}"
    );
    assert_eq!(fake.asked().len(), 1);
    assert_eq!(fake.asked()[0].authorization(), format!("Bearer {TOKEN}"));
    for shown in [all_words(&error), format!("{forge:?}"), format!("{client:?}")] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[tokio::test]
async fn each_request_names_itself_once() {
    let fake = Fake::start().await;
    fake.on(Method::GET, &path("/pulls/7"), [say(200, &pull(7))]);
    fake.client().await.pull_request(SEVEN).await.unwrap();
    let headers = fake.asked()[0].headers.clone();
    let agents: Vec<_> = headers.get_all("user-agent").iter().collect();
    assert_eq!(agents, [concat!("lockflight/", env!("CARGO_PKG_VERSION"))]);
    assert_eq!(headers["accept"], "application/vnd.github+json");
    assert_eq!(headers["x-github-api-version"], "2022-11-28");
}

#[tokio::test]
async fn pages_are_followed_by_path_whatever_host_the_link_names() {
    let fake = Fake::start().await;
    let comment = |id: u64| {
        json!({"id": id, "node_id": "IC", "user": {"login": "octocat", "type": "User"}, "body": "hi",
               "html_url": "https://x", "created_at": "2026-11-22T10:00:00Z"})
    };
    let next = format!(
        "<https://inside.example{API}/repositories/42/issues/7/comments?per_page=100&page=2>; rel=\"next\""
    );
    fake.on(
        Method::GET,
        &path("/issues/7/comments?per_page=100"),
        [say(200, &json!([comment(1), comment(2)])).with("link", next)],
    );
    fake.on(
        Method::GET,
        "/repositories/42/issues/7/comments?per_page=100&page=2",
        [say(200, &json!([comment(3)]))],
    );
    let comments = fake.client().await.comments(SEVEN).await.unwrap();
    assert_eq!(
        comments.iter().map(|comment| comment.id).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(
        fake.asked()
            .iter()
            .all(|asked| asked.authorization() == format!("Bearer {TOKEN}"))
    );
}

#[tokio::test]
async fn a_list_that_goes_on_where_we_cannot_follow_is_an_error() {
    let fake = Fake::start().await;
    let answer = say(200, &json!([])).with("link", "<https://elsewhere.example/steal>; rel=\"next\"");
    fake.on(Method::GET, &path("/issues/7/comments?per_page=100"), [answer]);
    let error = fake.client().await.comments(SEVEN).await.unwrap_err();
    assert!(matches!(error, ForgeError::Redirected { .. }), "{error:?}");
}

#[tokio::test]
async fn a_list_that_never_ends_is_an_error() {
    let fake = Fake::start().await;
    let target = path("/issues/7/comments?per_page=100");
    let answer = say(200, &json!([])).with("link", format!("<{API}{target}>; rel=\"next\""));
    fake.on(Method::GET, &target, [answer]);
    let error = fake.client().await.comments(SEVEN).await.unwrap_err();
    assert!(
        matches!(error, ForgeError::Endless { pages: 100, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_list_of_files_that_is_not_whole_is_an_error() {
    let file = json!({"filename": "a/b.yaml", "status": "renamed", "previous_filename": "a/a.yaml"});
    for (changed_files, listed, is_whole) in [(2, 2, true), (3, 2, false), (0, 0, true), (0, 2, false)] {
        let fake = Fake::start().await;
        let mut seven = pull(7);
        seven["changed_files"] = json!(changed_files);
        fake.on(Method::GET, &path("/pulls/7"), [say(200, &seven)]);
        let files = Value::from(vec![file.clone(); listed]);
        fake.on(
            Method::GET,
            &path("/pulls/7/files?per_page=100"),
            [say(200, &files)],
        );
        match fake.client().await.files(SEVEN).await {
            Ok(files) => assert!(is_whole && files.len() == listed, "{changed_files} {listed}"),
            Err(error) => {
                assert!(
                    !is_whole && matches!(error, ForgeError::FilesCapped { .. }),
                    "{error:?}"
                );
                assert_eq!(error.class(), ErrorClass::User);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_far_too_large_is_not_read() {
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        &path("/pulls/7"),
        [raw(200, " ".repeat(crate::wire::MAX_BODY + 1))],
    );
    let error = fake.client().await.pull_request(SEVEN).await.unwrap_err();
    assert!(matches!(error, ForgeError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_that_now_belongs_to_another_repository_is_not_used() {
    let fake = Fake::start().await;
    let mut other = pull(7);
    other["base"]["repo"]["id"] = json!(99);
    fake.on(Method::GET, &path("/pulls/7"), [say(200, &other)]);
    let error = fake.client().await.pull_request(SEVEN).await.unwrap_err();
    assert!(
        matches!(&error, ForgeError::OtherRepository { found, .. } if *found == RepoId::new(99)),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::Reject);
}

#[tokio::test]
async fn a_branch_is_looked_up_by_owner_and_name() {
    let fake = Fake::start().await;
    let target = path("/pulls?head=acme%3Apromotions%2F7%2Bx&state=all&per_page=100");
    fake.on(Method::GET, &target, [say(200, &json!([pull(9)]))]);
    let head = BranchName::parse("promotions/7+x").unwrap();
    let found = fake.client().await.find_pull_requests(&head).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].merge_commit, None, "a trial merge is not the merge");
}

#[tokio::test]
async fn an_https_address_is_never_asked_in_the_clear() {
    let fake = Fake::start().await;
    let mut config = fake.config(Auth::token(TOKEN));
    config.api_url = config.api_url.replace("http://", "https://");
    match Forge::new(config) {
        Ok(forge) => {
            let client = forge.repository(&repository(None)).await.unwrap();
            let error = client.pull_request(SEVEN).await.unwrap_err();
            assert!(matches!(error, ForgeError::Unreachable { .. }), "{error:?}");
        }
        // A machine without root certificates.
        Err(error) => assert!(matches!(error, ForgeError::Tls { .. }), "{error:?}"),
    }
    assert!(fake.asked().is_empty());
}
