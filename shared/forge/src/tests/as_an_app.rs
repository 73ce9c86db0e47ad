//! As a GitHub App: one narrow token per repository.

use axum::http::Method;
use lockflight_promotion::{ErrorClass, PrNumber, RepoName};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::fake::{Fake, REPO, REPO_ID, pull, repository, say};
use crate::{Auth, Forge, ForgeError, Permissions};

const SEVEN: PrNumber = PrNumber::new(7);

fn mint(installation: u64) -> String {
    format!("/app/installations/{installation}/access_tokens")
}

fn minted(token: &str, name: &str) -> super::fake::Say {
    say(
        201,
        &json!({"token": token, "expires_at": "1970-01-01T01:00:00Z", "permissions": {},
                "repository_selection": "selected", "repositories": [{"id": REPO_ID, "full_name": name}]}),
    )
    .with("date", "Thu, 01 Jan 1970 00:00:00 GMT")
}

async fn fake() -> Fake {
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        &format!("{REPO}/installation"),
        [say(200, &json!({"id": 5, "app_id": 7}))],
    );
    fake.on(
        Method::POST,
        &mint(5),
        [minted("ghs_one", "acme/gitops"), minted("ghs_two", "acme/gitops")],
    );
    fake.on(Method::GET, &format!("{REPO}/pulls/7"), [say(200, &pull(7))]);
    fake
}

#[tokio::test]
async fn ten_at_once_mint_one_token() {
    let fake = fake().await;
    let forge = fake.app();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let forge = forge.clone();
            tokio::spawn(async move {
                let client = forge.repository(&repository(Some(5))).await.unwrap();
                client.pull_request(SEVEN).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fake.count(&Method::POST, &mint(5)), 1);
    assert_eq!(fake.count(&Method::GET, &format!("{REPO}/pulls/7")), 10);
    assert_eq!(
        forge
            .calls()
            .of("POST", "/app/installations/{installation_id}/access_tokens"),
        1
    );
}

#[tokio::test]
async fn a_token_is_asked_for_one_repository_and_few_permissions() {
    let fake = fake().await;
    let client = fake.app().repository(&repository(None)).await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked[0].target, "/api/v3/repos/acme/gitops/installation");
    assert_eq!(
        asked[1].body,
        json!({"repository_ids": [REPO_ID],
               "permissions": {"contents": "write", "pull_requests": "write", "statuses": "write"}})
    );
    for request in &asked {
        let jwt = request.authorization().strip_prefix("Bearer ").unwrap();
        assert_eq!(jwt.split('.').count(), 3, "the App signs for itself");
    }
    assert_eq!(client.git_credentials().await.unwrap().expose_secret(), "ghs_one");
    client.pull_request(SEVEN).await.unwrap();
    assert_eq!(fake.asked().last().unwrap().authorization(), "Bearer ghs_one");
}

#[tokio::test]
async fn an_approver_asks_for_less() {
    let fake = fake().await;
    let mut config = fake.config(Auth::app(7, super::fake::KEY.as_str()));
    config.permissions = Permissions::approver();
    Forge::new(config)
        .unwrap()
        .repository(&repository(Some(5)))
        .await
        .unwrap();
    assert_eq!(
        fake.asked()[0].body["permissions"],
        json!({"contents": "read", "pull_requests": "write"})
    );
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let fake = fake().await;
    let bad = say(401, &json!({"message": "Bad credentials"}));
    fake.on(
        Method::GET,
        &format!("{REPO}/pulls/7"),
        [bad.clone(), say(200, &pull(7)), bad],
    );
    let client = fake.app().repository(&repository(Some(5))).await.unwrap();
    client.pull_request(SEVEN).await.unwrap();
    assert_eq!(fake.count(&Method::POST, &mint(5)), 2);
    assert_eq!(fake.asked().last().unwrap().authorization(), "Bearer ghs_two");

    let error = client.pull_request(SEVEN).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unauthorized { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Reject);
    assert_eq!(fake.count(&Method::POST, &mint(5)), 3, "no storm of new tokens");
}

#[tokio::test]
async fn a_write_with_a_stale_token_is_sent_again_with_a_new_one() {
    let fake = fake().await;
    let path = format!("{REPO}/issues/7/labels");
    fake.on(
        Method::POST,
        &path,
        [
            say(401, &json!({"message": "Bad credentials"})),
            say(200, &json!([])),
        ],
    );
    let client = fake.app().repository(&repository(Some(5))).await.unwrap();
    client.add_labels(SEVEN, &["a".to_owned()]).await.unwrap();
    assert_eq!(fake.count(&Method::POST, &path), 2);
}

#[tokio::test]
async fn a_token_about_to_expire_is_not_used_again() {
    let fake = fake().await;
    let expired = say(
        201,
        &json!({"token": "ghs_old", "expires_at": "1970-01-01T00:00:00Z",
                "repositories": [{"id": REPO_ID, "full_name": "acme/gitops"}]}),
    )
    .with("date", "Thu, 01 Jan 1970 00:00:00 GMT");
    fake.on(
        Method::POST,
        &mint(5),
        [expired, minted("ghs_new", "acme/gitops")],
    );
    let client = fake.app().repository(&repository(Some(5))).await.unwrap();
    assert_eq!(client.git_credentials().await.unwrap().expose_secret(), "ghs_new");
}

#[tokio::test]
async fn a_message_with_the_wrong_installation_gets_no_token() {
    let fake = fake().await;
    let words = "There is at least one repository that does not exist or is not accessible to the parent installation.";
    fake.on(Method::POST, &mint(6), [say(422, &json!({"message": words}))]);
    let forge = fake.app();
    forge.repository(&repository(Some(5))).await.unwrap();
    let error = forge.repository(&repository(Some(6))).await.unwrap_err();
    assert!(matches!(error, ForgeError::Installation { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Reject);
    let text = error.to_string();
    assert!(
        text.contains("installation 6") && text.contains("statuses: write"),
        "{text}"
    );

    forge.repository(&repository(Some(5))).await.unwrap();
    assert_eq!(fake.count(&Method::POST, &mint(5)), 1, "the right token stays");
}

#[tokio::test]
async fn a_repository_without_the_app_is_told() {
    let fake = Fake::start().await;
    let error = fake.app().repository(&repository(None)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ForgeError::Installation {
                installation: None,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("installed on the repository"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_that_reaches_more_than_was_asked_for_is_not_used() {
    let fake = fake().await;
    let wide = json!({"token": "ghs_wide", "expires_at": "1970-01-01T01:00:00Z",
        "repositories": [{"id": REPO_ID, "full_name": "acme/gitops"}, {"id": 43, "full_name": "acme/other"}]});
    fake.on(Method::POST, &mint(5), [say(201, &wide)]);
    let error = fake.app().repository(&repository(Some(5))).await.unwrap_err();
    assert!(error.to_string().contains("exactly this repository"), "{error}");
}

#[tokio::test]
async fn a_token_that_does_not_tell_what_it_reaches_is_not_used() {
    let fake = fake().await;
    let wide =
        json!({"token": "ghs_wide", "expires_at": "2999-01-01T01:00:00Z", "repository_selection": "all"});
    fake.on(Method::POST, &mint(5), [say(201, &wide)]);
    let error = fake.app().repository(&repository(Some(5))).await.unwrap_err();
    assert!(error.to_string().contains("exactly this repository"), "{error}");
}

#[tokio::test]
async fn a_renamed_repository_is_used_by_its_new_name() {
    let fake = fake().await;
    fake.on(Method::POST, &mint(5), [minted("ghs_one", "acme/fleet")]);
    fake.on(Method::GET, "/repos/acme/fleet/pulls/7", [say(200, &pull(7))]);
    let client = fake.app().repository(&repository(Some(5))).await.unwrap();
    assert_eq!(client.name(), &RepoName::parse("acme/fleet").unwrap());
    assert!(client.git_url().ends_with("/acme/fleet.git"));
    client.pull_request(SEVEN).await.unwrap();
}

#[tokio::test]
async fn a_limit_stops_only_its_own_installation() {
    let fake = fake().await;
    let limited = say(429, &json!({"message": "slow"})).with("retry-after", "30");
    fake.on(Method::GET, &format!("{REPO}/pulls/7"), [limited]);
    let forge = fake.app();
    let client = forge.repository(&repository(Some(5))).await.unwrap();
    client.pull_request(SEVEN).await.unwrap_err();

    let mut other = repository(Some(9));
    other.id = lockflight_promotion::RepoId::new(43);
    other.name = RepoName::parse("else/where").unwrap();
    let token = json!({"token": "ghs_9", "expires_at": "2999-01-01T01:00:00Z",
                       "repositories": [{"id": 43, "full_name": "else/where"}]});
    fake.on(Method::POST, &mint(9), [say(201, &token)]);
    fake.on(
        Method::GET,
        "/repos/else/where/issues/7/comments?per_page=100",
        [say(200, &Value::Array(Vec::new()))],
    );
    forge
        .repository(&other)
        .await
        .unwrap()
        .comments(SEVEN)
        .await
        .unwrap();
    let asked = fake.asked().len();
    let error = client.comments(SEVEN).await.unwrap_err();
    assert!(matches!(error, ForgeError::RateLimited { .. }), "{error:?}");
    assert_eq!(fake.asked().len(), asked);
}

#[tokio::test]
async fn an_app_knows_its_bot_and_a_user_its_login() {
    let fake = fake().await;
    fake.on(
        Method::GET,
        "/app",
        [say(200, &json!({"id": 7, "slug": "lockflight"}))],
    );
    fake.on(
        Method::GET,
        "/user",
        [say(200, &json!({"login": "octocat", "id": 1}))],
    );
    let app = fake.app();
    assert_eq!(app.identity().await.unwrap().login.as_str(), "lockflight[bot]");
    app.identity().await.unwrap();
    assert_eq!(fake.count(&Method::GET, "/app"), 1, "asked once");
    let user = fake.forge().identity().await.unwrap();
    assert_eq!((user.login.as_str(), user.id), ("octocat", Some(1)));
}

#[tokio::test]
async fn a_key_that_is_none_is_told_at_the_start() {
    let fake = Fake::start().await;
    let error = Forge::new(fake.config(Auth::app(7, "-----BEGIN NONSENSE-----"))).unwrap_err();
    assert!(matches!(error, ForgeError::Signing { .. }), "{error:?}");
    let error = Forge::new(fake.config(Auth::token("two words"))).unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    assert!(!error.to_string().contains("two words"), "{error}");
    Forge::new(fake.config(Auth::token("  trimmed\n"))).unwrap();
}
