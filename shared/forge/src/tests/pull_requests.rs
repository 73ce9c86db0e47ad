//! Opening and merging: every expected outcome is a value.

use axum::http::Method;
use lockflight_promotion::{BranchName, CommitOid, ErrorClass, PrNumber};
use serde_json::{Value, json};

use super::fake::{BASE, Fake, HEAD, REPO, pull, say};
use crate::{
    CreatePullRequest, ForgeError, MergeMethod, MergeOutcome, NewPullRequest, PullRequestEdit,
    PullRequestState,
};

const SEVEN: PrNumber = PrNumber::new(7);

fn new() -> NewPullRequest {
    NewPullRequest {
        title: "Promote".to_owned(),
        body: "text".to_owned(),
        head: BranchName::parse("promotions/7").unwrap(),
        base: BranchName::parse("main").unwrap(),
    }
}

fn head() -> CommitOid {
    CommitOid::parse(HEAD).unwrap()
}

#[tokio::test]
async fn opening_tells_created_existing_and_empty_apart() {
    let fake = Fake::start().await;
    let refused = |message: &str| {
        say(
            422,
            &json!({"message": "Validation Failed", "errors": [{"message": message}]}),
        )
    };
    fake.on(
        Method::POST,
        &format!("{REPO}/pulls"),
        [
            say(201, &pull(8)),
            refused("A pull request already exists for acme:promotions/7."),
            refused("No commits between main and promotions/7"),
            say(
                422,
                &json!({"message": "Validation Failed", "errors": [{"resource": "PullRequest", "field": "head", "code": "invalid"}]}),
            ),
            say(422, &json!({"message": "Validation Failed", "errors": [{"message": "body is too long"}]})),
        ],
    );
    let client = fake.client().await;
    let created = client.create_pull_request(&new()).await.unwrap();
    assert!(matches!(created, CreatePullRequest::Created(pull) if pull.number == PrNumber::new(8)));
    assert_eq!(
        fake.asked()[0].body,
        json!({"title": "Promote", "body": "text", "head": "promotions/7", "base": "main"})
    );
    assert_eq!(
        client.create_pull_request(&new()).await.unwrap(),
        CreatePullRequest::AlreadyExists
    );
    assert_eq!(
        client.create_pull_request(&new()).await.unwrap(),
        CreatePullRequest::NoCommitsBetween
    );

    let unseen = client.create_pull_request(&new()).await.unwrap_err();
    assert!(matches!(unseen, ForgeError::NotYetVisible { .. }), "{unseen:?}");
    assert_eq!(unseen.class(), ErrorClass::Retry);

    let refused = client.create_pull_request(&new()).await.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::User);
    assert!(refused.to_string().contains("body is too long"), "{refused}");
}

#[tokio::test]
async fn an_edit_sends_only_what_changes() {
    let fake = Fake::start().await;
    fake.on(Method::PATCH, &format!("{REPO}/pulls/7"), [say(200, &pull(7))]);
    let edit = PullRequestEdit {
        state: Some(PullRequestState::Closed),
        ..PullRequestEdit::default()
    };
    fake.client()
        .await
        .update_pull_request(SEVEN, &edit)
        .await
        .unwrap();
    assert_eq!(fake.asked()[0].body, json!({"state": "closed"}));
}

/// Merges with `answers` to the PUT, while the pull request looks like `now`.
async fn merge(method: MergeMethod, answers: Vec<(u16, Value)>, now: Value) -> (MergeOutcome, Vec<String>) {
    let fake = Fake::start().await;
    let answers = answers.into_iter().map(|(status, body)| say(status, &body));
    fake.on(Method::PUT, &format!("{REPO}/pulls/7/merge"), answers);
    fake.on(Method::GET, &format!("{REPO}/pulls/7"), [say(200, &now)]);
    let settings =
        json!({"allow_merge_commit": false, "allow_squash_merge": false, "allow_rebase_merge": true});
    fake.on(Method::GET, REPO, [say(200, &settings)]);
    let client = fake.client().await;
    let outcome = client.merge(SEVEN, &head(), method).await.unwrap();
    let methods = fake
        .asked()
        .iter()
        .filter(|asked| asked.method == Method::PUT)
        .map(|asked| {
            assert_eq!(asked.body["sha"], HEAD);
            asked.body["merge_method"].as_str().unwrap().to_owned()
        })
        .collect();
    (outcome, methods)
}

fn with(field: &str, value: Value) -> Value {
    let mut pull = pull(7);
    pull[field] = value;
    pull
}

fn not_allowed(message: &str) -> (u16, Value) {
    (405, json!({"message": message}))
}

#[tokio::test]
async fn merging_pins_the_head() {
    let done = (200, json!({"sha": BASE, "merged": true, "message": "done"}));
    let (outcome, methods) = merge(MergeMethod::Squash, vec![done], pull(7)).await;
    assert_eq!(outcome, MergeOutcome::Merged(CommitOid::parse(BASE).unwrap()));
    assert_eq!(methods, ["squash"]);

    let moved = (
        409,
        json!({"message": "Head branch was modified. Review and try the merge again."}),
    );
    let (outcome, _) = merge(MergeMethod::Merge, vec![moved], pull(7)).await;
    assert_eq!(outcome, MergeOutcome::HeadMoved);
}

#[tokio::test]
async fn a_405_is_read_together_with_the_pull_request() {
    let plain = "Pull Request is not mergeable";
    let mut merged = pull(7);
    merged["merged_at"] = json!("2026-11-22T10:00:00Z");
    merged["state"] = json!("closed");
    merged["merge_commit_sha"] = json!(BASE);
    let mut moved = pull(7);
    moved["head"]["sha"] = json!(BASE);
    let mut unknown = with("mergeable", Value::Null);
    unknown["mergeable_state"] = json!("unknown");
    let transient = |message: &str, now: Value| (message.to_owned(), now);

    let (outcome, _) = merge(MergeMethod::Merge, vec![not_allowed(plain)], merged).await;
    let commit = Some(CommitOid::parse(BASE).unwrap());
    assert_eq!(outcome, MergeOutcome::AlreadyMerged { commit });

    let (outcome, _) = merge(MergeMethod::Merge, vec![not_allowed(plain)], moved).await;
    assert_eq!(outcome, MergeOutcome::HeadMoved);

    for ((message, now), expected) in [
        (
            transient(
                "Base branch was modified. Review and try the merge again.",
                pull(7),
            ),
            true,
        ),
        (transient(plain, unknown), true),
        (transient(plain, with("mergeable_state", json!("dirty"))), false),
        (transient(plain, with("mergeable_state", json!("blocked"))), false),
        (transient(plain, with("state", json!("closed"))), false),
    ] {
        let (outcome, methods) = merge(MergeMethod::Merge, vec![not_allowed(&message)], now).await;
        let MergeOutcome::NotMergeable { reason, transient } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(transient, expected, "{reason}");
        assert_eq!(methods.len(), 1);
    }
}

#[tokio::test]
async fn auto_picks_a_method_that_the_repository_allows_and_remembers_it() {
    let fake = Fake::start().await;
    let done = json!({"sha": BASE, "merged": true, "message": "done"});
    fake.on(
        Method::PUT,
        &format!("{REPO}/pulls/7/merge"),
        [
            say(
                405,
                &json!({"message": "Merge commits are not allowed on this repository."}),
            ),
            say(200, &done),
        ],
    );
    let settings =
        json!({"allow_merge_commit": false, "allow_squash_merge": false, "allow_rebase_merge": true});
    fake.on(Method::GET, REPO, [say(200, &settings)]);
    let client = fake.client().await;
    for _ in 0..2 {
        let outcome = client.merge(SEVEN, &head(), MergeMethod::Auto).await.unwrap();
        assert_eq!(outcome, MergeOutcome::Merged(CommitOid::parse(BASE).unwrap()));
    }
    let methods: Vec<Value> = fake
        .asked()
        .iter()
        .filter(|asked| asked.method == Method::PUT)
        .map(|asked| asked.body["merge_method"].clone())
        .collect();
    assert_eq!(methods, ["merge", "rebase", "rebase"]);
}

#[tokio::test]
async fn a_chosen_method_that_is_not_allowed_is_told_and_not_replaced() {
    let words = "Squash merges are not allowed on this repository.";
    let (outcome, methods) = merge(MergeMethod::Squash, vec![not_allowed(words)], pull(7)).await;
    let reason = words.to_owned();
    assert_eq!(
        outcome,
        MergeOutcome::NotMergeable {
            reason,
            transient: false
        }
    );
    assert_eq!(methods, ["squash"]);
}
