//! Writes: never twice, always told.

use std::time::Duration;

use axum::http::Method;
use lockflight_promotion::{CommitOid, ErrorClass, Login, PrNumber};
use serde_json::json;

use super::fake::{Fake, HEAD, REPO, REPO_ID, TOKEN, broken, pull, raw, repository, say, silent};
use crate::{Approval, Assigned, Auth, ForgeError, Hook, Status, StatusState};

const SEVEN: PrNumber = PrNumber::new(7);

fn comments() -> String {
    format!("{REPO}/issues/7/comments")
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_and_never_repeated() {
    for (name, answer) in [
        ("5xx", raw(502, "<html>")),
        ("reset", broken()),
        ("silence", silent()),
    ] {
        let fake = Fake::start().await;
        fake.on(Method::POST, &comments(), [answer]);
        let mut config = fake.config(Auth::token(TOKEN));
        config.request_timeout = Duration::from_millis(300);
        let client = fake.client_with(config).await;
        let error = client.create_comment(SEVEN, "hello").await.unwrap_err();
        assert!(matches!(error, ForgeError::Unknown { .. }), "{name}: {error:?}");
        assert_eq!(error.class(), ErrorClass::Retry, "{name}");
        assert_eq!(fake.asked().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_secondary_limit_without_headers_stops_writes_for_a_minute() {
    let fake = Fake::start().await;
    let body = json!({"message": "You have exceeded a secondary rate limit. Please wait."});
    fake.on(Method::POST, &comments(), [say(403, &body)]);
    let error = fake
        .client()
        .await
        .create_comment(SEVEN, "hello")
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::RetryAfter(Duration::from_secs(60)));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn even_a_short_limit_does_not_repeat_a_write() {
    let fake = Fake::start().await;
    fake.on(
        Method::POST,
        &comments(),
        [say(429, &json!({"message": "slow"})).with("retry-after", "1")],
    );
    let error = fake
        .client()
        .await
        .create_comment(SEVEN, "hello")
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::RetryAfter(Duration::from_secs(1)));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_comment_is_updated_with_patch_and_may_be_gone() {
    let fake = Fake::start().await;
    let comment = json!({"id": 5, "node_id": "IC_5", "user": null, "body": "new", "html_url": "https://x",
                         "created_at": "2026-11-22T10:00:00Z"});
    fake.on(
        Method::PATCH,
        &format!("{REPO}/issues/comments/5"),
        [say(200, &comment)],
    );
    let client = fake.client().await;
    let updated = client.update_comment(5, "new").await.unwrap().unwrap();
    assert_eq!((updated.body.as_str(), updated.author.as_str()), ("new", "ghost"));
    assert_eq!(fake.asked()[0].body, json!({"body": "new"}));
    assert_eq!(client.update_comment(6, "new").await.unwrap(), None);
}

#[tokio::test]
async fn graphql_is_asked_beside_the_rest_api_of_enterprise_server() {
    let fake = Fake::start().await;
    let done = say(
        200,
        &json!({"data": {"minimizeComment": {"minimizedComment": {"isMinimized": true}}}}),
    );
    let refused = say(
        200,
        &json!({"data": null, "errors": [{"type": "FORBIDDEN", "message": "not yours"}]}),
    );
    fake.on_target(Method::POST, "/api/graphql", [done, refused]);
    let client = fake.client().await;
    client.minimize_comment("IC_5").await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked[0].target, "/api/graphql");
    assert_eq!(asked[0].authorization(), format!("Bearer {TOKEN}"));
    assert_eq!(asked[0].body["variables"], json!({"id": "IC_5"}));
    assert!(
        asked[0].body["query"]
            .as_str()
            .unwrap()
            .contains("classifier: OUTDATED")
    );

    let error = client.minimize_comment("IC_5").await.unwrap_err();
    assert!(error.to_string().contains("not yours"), "{error}");
}

#[tokio::test]
async fn a_renamed_repository_gets_the_same_write_at_its_new_place() {
    let fake = Fake::start().await;
    let moved = say(307, &json!({"message": "Moved"})).with(
        "location",
        format!("{}/api/v3/repositories/42/issues/7/comments", fake.origin),
    );
    fake.on(Method::POST, &comments(), [moved]);
    let comment = json!({"id": 5, "node_id": "IC_5", "user": null, "body": "hi", "html_url": "https://x",
                         "created_at": "2026-11-22T10:00:00Z"});
    fake.on(
        Method::POST,
        "/repositories/42/issues/7/comments",
        [say(201, &comment)],
    );
    fake.client().await.create_comment(SEVEN, "hi").await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        (asked[1].method.as_str(), &asked[1].body),
        ("POST", &json!({"body": "hi"}))
    );
}

#[tokio::test]
async fn a_redirect_that_leads_away_is_not_followed() {
    for location in [
        "https://elsewhere.example/api/v3/repositories/42/issues/7/comments".to_owned(),
        "/api/v3/repositories/99/issues/7/comments".to_owned(),
        "/not-the-api/repositories/42".to_owned(),
        // Within the API, but by a name, which may be anybody's.
        "/api/v3/repos/other/name/issues/7/comments".to_owned(),
        "/api/v3/repos/acme/gitops/issues/8/comments".to_owned(),
        "/api/v3/repositories/42/../99/issues/7/comments".to_owned(),
        "/api/v3/repositories/42/%2e%2E/99/issues/7/comments".to_owned(),
        "/api/v3/repositories/042/issues/7/comments".to_owned(),
        "/api/v3/user".to_owned(),
    ] {
        let fake = Fake::start().await;
        fake.on(
            Method::POST,
            &comments(),
            [say(307, &json!({})).with("location", location.clone())],
        );
        let error = fake.client().await.create_comment(SEVEN, "hi").await.unwrap_err();
        assert!(
            matches!(
                error,
                ForgeError::Redirected { .. } | ForgeError::RedirectedElsewhere { .. }
            ),
            "{location}: {error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Reject);
        assert_eq!(fake.asked().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn people_who_cannot_be_assigned_are_told_and_fail_nothing() {
    let fake = Fake::start().await;
    let path = format!("{REPO}/issues/7/assignees");
    let mut seven = pull(7);
    seven["assignees"] = json!([{"login": "Octocat", "type": "User"}]);
    fake.on(
        Method::POST,
        &path,
        [
            say(201, &seven),
            say(201, &seven),
            say(422, &json!({"message": "Validation Failed"})),
        ],
    );
    let client = fake.client().await;
    let octocat = Login::parse("octocat").unwrap();
    let hubot = Login::parse("hubot").unwrap();
    let assign = |who: Vec<Login>| {
        let client = client.clone();
        async move { client.add_assignees(SEVEN, &who).await.unwrap() }
    };
    assert_eq!(assign(vec![octocat.clone()]).await, Assigned::All);
    assert_eq!(
        assign(vec![octocat, hubot.clone()]).await,
        Assigned::Without(vec![hubot.clone()])
    );
    assert_eq!(
        assign(vec![hubot]).await,
        Assigned::Refused("Validation Failed".to_owned())
    );
    assert_eq!(assign(vec![]).await, Assigned::All);
    assert_eq!(fake.asked().len(), 3, "nobody to assign is no call");
}

#[tokio::test]
async fn labels_that_cannot_be_put_are_an_error_with_githubs_words() {
    let fake = Fake::start().await;
    let path = format!("{REPO}/issues/7/labels");
    fake.on(
        Method::POST,
        &path,
        [say(200, &json!([])), say(422, &json!({"message": "too long"}))],
    );
    let client = fake.client().await;
    client.add_labels(SEVEN, &["a".to_owned()]).await.unwrap();
    assert_eq!(fake.asked()[0].body, json!({"labels": ["a"]}));
    let error = client.add_labels(SEVEN, &["a".to_owned()]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::User);
    assert!(error.to_string().contains("too long"), "{error}");
}

#[tokio::test]
async fn an_approval_is_of_one_commit_and_never_of_our_own_pull_request() {
    let fake = Fake::start().await;
    let path = format!("{REPO}/pulls/7/reviews");
    let given = json!({"id": 3, "user": {"login": "approver", "type": "User"}, "state": "APPROVED", "commit_id": HEAD});
    let own = json!({"message": "Unprocessable Entity", "errors": ["Can not approve your own pull request"]});
    fake.on(Method::POST, &path, [say(200, &given), say(422, &own)]);
    let client = fake.client().await;
    let head = CommitOid::parse(HEAD).unwrap();
    let approval = client.approve(SEVEN, &head, "fine").await.unwrap();
    assert!(matches!(approval, Approval::Given(review) if review.commit.as_ref() == Some(&head)));
    assert_eq!(
        fake.asked()[0].body,
        json!({"commit_id": HEAD, "event": "APPROVE", "body": "fine"})
    );
    assert_eq!(
        client.approve(SEVEN, &head, "fine").await.unwrap(),
        Approval::OwnPullRequest
    );
}

#[tokio::test]
async fn a_status_is_set_with_a_short_line_and_read_by_its_context() {
    let fake = Fake::start().await;
    fake.on(
        Method::POST,
        &format!("{REPO}/statuses/{HEAD}"),
        [say(201, &json!({}))],
    );
    let other = json!({"state": "success", "context": "ci", "description": null, "target_url": null});
    let ours =
        json!({"state": "pending", "context": "lockflight", "description": "On its way", "target_url": null});
    fake.on(
        Method::GET,
        &format!("{REPO}/commits/{HEAD}/status?per_page=100&page=1"),
        [say(200, &json!({"state": "pending", "statuses": [other, ours]}))],
    );
    let client = fake.client().await;
    let head = CommitOid::parse(HEAD).unwrap();
    let status = Status {
        state: StatusState::Success,
        context: "lockflight".to_owned(),
        description: "x".repeat(200),
        target_url: None,
    };
    client.set_status(&head, &status).await.unwrap();
    let body = &fake.asked()[0].body;
    assert_eq!(body["description"].as_str().unwrap().chars().count(), 140);
    assert_eq!(body["state"], "success");
    assert!(body.get("target_url").is_none());

    let found = client.status(&head, "lockflight").await.unwrap().unwrap();
    assert_eq!(
        (found.state, found.description.as_str()),
        (StatusState::Pending, "On its way")
    );
    assert_eq!(client.status(&head, "nobody").await.unwrap(), None);
}

#[tokio::test]
async fn failed_deliveries_are_found_over_pages_and_asked_for_again() {
    let fake = Fake::start().await;
    let attempt = |id: u64, guid: &str, second: u64, status: u64| {
        json!({"id": id, "guid": guid, "delivered_at": format!("1970-01-01T00:00:{second:02}Z"),
               "redelivery": false, "status": "x", "status_code": status, "event": "pull_request"})
    };
    let hook = Hook::Repository {
        name: repository(None).name,
        id: 12,
    };
    let base = format!("{REPO}/hooks/12/deliveries");
    let next = format!(
        "<{}/api/v3{base}?per_page=100&cursor=v1>; rel=\"next\"",
        fake.origin
    );
    fake.on(
        Method::GET,
        &format!("{base}?per_page=100"),
        [say(200, &json!([attempt(4, "b", 50, 202), attempt(3, "a", 40, 502)])).with("link", next.clone())],
    );
    fake.on(
        Method::GET,
        &format!("{base}?per_page=100&cursor=v1"),
        [say(200, &json!([attempt(2, "b", 30, 502), attempt(1, "c", 10, 502)])).with("link", next)],
    );
    fake.on(
        Method::POST,
        &format!("{base}/3/attempts"),
        [say(202, &json!({}))],
    );
    let forge = fake.forge();
    let failed = forge.failed_deliveries(&hook, 20).await.unwrap();
    assert_eq!(
        failed.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(fake.asked().len(), 2, "what is older than asked for is not read");
    forge.redeliver(&hook, 3).await.unwrap();
    assert_eq!(fake.count(&Method::POST, &format!("{base}/3/attempts")), 1);
}

#[tokio::test]
async fn a_name_that_another_repository_has_taken_is_not_written_to() {
    let fake = Fake::start().await;
    fake.on(Method::GET, REPO, [say(200, &json!({"id": 99}))]);
    fake.on(
        Method::POST,
        &format!("{REPO}/issues/7/labels"),
        [say(200, &json!([]))],
    );
    let client = fake.forge().repository(&repository(None)).await.unwrap();
    let is_refused = |error: &ForgeError| matches!(error, ForgeError::OtherRepository { .. });
    let error = client.add_labels(SEVEN, &["a".to_owned()]).await.unwrap_err();
    assert!(is_refused(&error), "{error:?}");
    let error = client.git_credentials().await.unwrap_err();
    assert!(is_refused(&error), "{error:?}");
    let error = client.minimize_comment("IC_5").await.unwrap_err();
    assert!(is_refused(&error), "{error:?}");
    assert!(fake.asked().iter().all(|asked| asked.method == Method::GET));
}

#[tokio::test]
async fn a_name_is_proven_once_for_all_clients_before_the_first_write() {
    let fake = Fake::start().await;
    fake.on(Method::GET, REPO, [say(200, &json!({"id": REPO_ID}))]);
    fake.on(
        Method::POST,
        &format!("{REPO}/issues/7/labels"),
        [say(200, &json!([]))],
    );
    let forge = fake.forge();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let forge = forge.clone();
            tokio::spawn(async move {
                let client = forge.repository(&repository(None)).await.unwrap();
                client.add_labels(SEVEN, &["a".to_owned()]).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fake.count(&Method::GET, REPO), 1);

    // Until another repository is seen behind it.
    let mut other = pull(7);
    other["base"]["repo"]["id"] = json!(99);
    fake.on(Method::GET, &format!("{REPO}/pulls/7"), [say(200, &other)]);
    let client = forge.repository(&repository(None)).await.unwrap();
    client.pull_request(SEVEN).await.unwrap_err();
    fake.on(Method::GET, REPO, [say(200, &json!({"id": 99}))]);
    let error = client.add_labels(SEVEN, &["a".to_owned()]).await.unwrap_err();
    assert!(matches!(error, ForgeError::OtherRepository { .. }), "{error:?}");
}

#[tokio::test]
async fn a_pull_request_that_was_read_proves_the_name_without_a_call() {
    let fake = Fake::start().await;
    fake.on(Method::GET, &format!("{REPO}/pulls/7"), [say(200, &pull(7))]);
    fake.on(
        Method::POST,
        &format!("{REPO}/issues/7/labels"),
        [say(200, &json!([]))],
    );
    let forge = fake.forge();
    let reader = forge.repository(&repository(None)).await.unwrap();
    reader.pull_request(SEVEN).await.unwrap();
    let writer = forge.repository(&repository(None)).await.unwrap();
    writer.add_labels(SEVEN, &["a".to_owned()]).await.unwrap();
    assert_eq!(fake.asked().len(), 2);
}
