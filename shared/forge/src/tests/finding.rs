//! Finding repositories by name, editing and closing what is there.

use axum::http::Method;
use lockflight_promotion::{BranchName, ErrorClass, InstallationId, PrNumber, RepoId, RepoName};
use serde_json::{Value, json};

use super::fake::{Fake, REPO, pull, say};
use crate::{Closing, ForgeError, PullRequestEdit};

const MINT: &str = "/app/installations/9/access_tokens";
const SEVEN: PrNumber = PrNumber::new(7);

fn name(name: &str) -> RepoName {
    RepoName::parse(name).unwrap()
}

fn shown(id: u64, name: &str) -> Value {
    json!({"id": id, "full_name": name, "default_branch": "trunk", "private": true})
}

/// A fake on which the App is installed on `else/where` as installation 9.
async fn installed() -> Fake {
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        "/repos/else/where/installation",
        [say(200, &json!({"id": 9}))],
    );
    let minted = json!({"token": "ghs_unused", "expires_at": "2999-01-01T00:00:00Z",
                        "repositories": [shown(77, "Else/where")]});
    fake.on(Method::POST, MINT, [say(201, &minted)]);
    fake
}

#[tokio::test]
async fn a_repository_of_another_owner_is_found_with_the_least_that_github_allows() {
    let fake = installed().await;
    let forge = fake.app();
    let found = forge.find(&name("else/where")).await.unwrap().unwrap();
    assert_eq!(found.repository.id, RepoId::new(77));
    assert_eq!(found.repository.name.to_string(), "Else/where");
    assert_eq!(found.repository.installation, Some(InstallationId::new(9)));
    assert_eq!(found.default_branch.as_str(), "trunk");
    assert_eq!(
        fake.asked()[1].body,
        json!({"repositories": ["where"], "permissions": {"metadata": "read"}})
    );
    assert!(
        fake.asked()
            .iter()
            .all(|asked| !asked.authorization().contains("ghs_")),
        "the token is not used"
    );

    forge.find(&name("Else/Where")).await.unwrap().unwrap();
    assert_eq!(fake.asked().len(), 2, "it is remembered for a while");
}

#[tokio::test]
async fn a_repository_that_the_app_does_not_see_is_none_and_looked_for_again() {
    let fake = Fake::start().await;
    let forge = fake.app();
    assert_eq!(forge.find(&name("else/where")).await.unwrap(), None);
    assert_eq!(forge.find(&name("else/where")).await.unwrap(), None);
    assert_eq!(fake.asked().len(), 2);

    let fake = installed().await;
    let words = "There is at least one repository that does not exist or is not accessible to the parent installation.";
    fake.on(Method::POST, MINT, [say(422, &json!({"message": words}))]);
    assert_eq!(fake.app().find(&name("else/where")).await.unwrap(), None);
}

#[tokio::test]
async fn an_installation_that_gives_no_token_is_an_error_that_names_it() {
    let fake = installed().await;
    let suspended = json!({"message": "This installation has been suspended"});
    fake.on(Method::POST, MINT, [say(403, &suspended)]);
    let error = fake.app().find(&name("else/where")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Installation { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("else/where (installation 9)") && text.contains("suspended"),
        "{text}"
    );
}

#[tokio::test]
async fn a_former_name_leads_to_the_repository_by_its_id() {
    let fake = installed().await;
    let moved = say(301, &json!({"message": "Moved"})).with(
        "location",
        format!("{}/api/v3/repositories/77/installation", fake.origin),
    );
    fake.on(Method::GET, "/repos/else/former/installation", [moved]);
    fake.on(
        Method::GET,
        "/repositories/77/installation",
        [say(200, &json!({"id": 9}))],
    );
    let found = fake.app().find(&name("else/former")).await.unwrap().unwrap();
    assert_eq!(found.repository.name, name("else/where"));
    assert_eq!(
        fake.asked().last().unwrap().body,
        json!({"repository_ids": [77], "permissions": {"metadata": "read"}})
    );
}

#[tokio::test]
async fn a_token_that_reaches_another_repository_finds_nothing() {
    let fake = installed().await;
    for repositories in [
        json!([shown(78, "else/other")]),
        json!([]),
        json!([shown(77, "else/where"), shown(78, "else/other")]),
    ] {
        let minted = json!({"token": "ghs_unused", "expires_at": "2999-01-01T00:00:00Z", "repositories": repositories});
        fake.on(Method::POST, MINT, [say(201, &minted)]);
        let error = fake.app().find(&name("else/where")).await.unwrap_err();
        assert!(error.to_string().contains("exactly this repository"), "{error}");
    }
}

#[tokio::test]
async fn a_personal_token_finds_by_name_and_proves_it_for_later_writes() {
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        "/repos/else/where",
        [say(200, &shown(77, "else/where"))],
    );
    fake.on(
        Method::POST,
        "/repos/else/where/issues/7/labels",
        [say(200, &json!([]))],
    );
    let forge = fake.forge();
    let found = forge.find(&name("else/where")).await.unwrap().unwrap();
    assert_eq!(found.repository.installation, None);
    let client = forge.repository(&found.repository).await.unwrap();
    client.add_labels(SEVEN, &["a".to_owned()]).await.unwrap();
    assert_eq!(fake.asked().len(), 2, "the name was proven by finding it");
    assert_eq!(forge.find(&name("no/where")).await.unwrap(), None);
}

#[tokio::test]
async fn finding_waits_for_a_limit_and_for_nothing_else() {
    let fake = Fake::start().await;
    let limited = say(429, &json!({"message": "slow"})).with("retry-after", "30");
    fake.on(Method::GET, "/repos/else/where", [limited]);
    let error = fake.forge().find(&name("else/where")).await.unwrap_err();
    assert!(matches!(error.class(), ErrorClass::RetryAfter(_)), "{error:?}");
}

#[tokio::test]
async fn a_pull_request_that_is_closed_already_is_not_closed_again() {
    let path = format!("{REPO}/pulls/7");
    let with = |fields: Value| {
        let mut pull = pull(7);
        pull.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        pull
    };
    let closed = with(json!({"state": "closed"}));
    let merged = with(json!({"state": "closed", "merged": true, "merged_at": "2026-11-22T11:00:00Z"}));

    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        &path,
        [say(200, &pull(7)), say(200, &closed), say(200, &merged)],
    );
    fake.on(Method::PATCH, &path, [say(200, &closed)]);
    let client = fake.client().await;
    let outcome = client.close_pull_request(SEVEN).await.unwrap();
    assert!(matches!(outcome, Closing::Closed(_)), "{outcome:?}");
    assert_eq!(fake.asked()[1].body, json!({"state": "closed"}));
    let outcome = client.close_pull_request(SEVEN).await.unwrap();
    assert!(matches!(outcome, Closing::AlreadyClosed(_)), "{outcome:?}");
    let outcome = client.close_pull_request(SEVEN).await.unwrap();
    assert!(matches!(outcome, Closing::Merged(_)), "{outcome:?}");
    assert_eq!(fake.count(&Method::PATCH, &path), 1);
}

#[tokio::test]
async fn a_closing_without_an_answer_is_unknown_and_found_done_the_next_time() {
    let path = format!("{REPO}/pulls/7");
    let mut closed = pull(7);
    closed["state"] = json!("closed");
    let fake = Fake::start().await;
    fake.on(Method::GET, &path, [say(200, &pull(7)), say(200, &closed)]);
    fake.on(Method::PATCH, &path, [super::fake::broken()]);
    let client = fake.client().await;
    let error = client.close_pull_request(SEVEN).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unknown { .. }), "{error:?}");
    let outcome = client.close_pull_request(SEVEN).await.unwrap();
    assert!(matches!(outcome, Closing::AlreadyClosed(_)), "{outcome:?}");
    assert_eq!(fake.count(&Method::PATCH, &path), 1);
}

#[tokio::test]
async fn an_edit_can_lead_a_pull_request_elsewhere() {
    let fake = Fake::start().await;
    fake.on(Method::PATCH, &format!("{REPO}/pulls/7"), [say(200, &pull(7))]);
    let edit = PullRequestEdit {
        title: Some("New".to_owned()),
        body: Some("text".to_owned()),
        base: Some(BranchName::parse("main").unwrap()),
        state: None,
    };
    fake.client()
        .await
        .update_pull_request(SEVEN, &edit)
        .await
        .unwrap();
    assert_eq!(
        fake.asked()[0].body,
        json!({"title": "New", "body": "text", "base": "main"})
    );
}
