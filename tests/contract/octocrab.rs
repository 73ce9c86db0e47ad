//! The client that Lockflight uses has to understand the sandbox, answer by answer and webhook by webhook.

use octocrab::Octocrab;
use octocrab::models::webhook_events::WebhookEvent;
use octocrab::models::{AppId, StatusState};
use octocrab::params::repos::Reference;
use serde_json::json;

use crate::world::{World, sha_of};

#[tokio::test]
async fn octocrab_understands_what_a_person_asks() {
    let world = World::start().await;
    let number = world
        .open_pull_request("octo", &[("workspace/app/values.yaml", Some("replicas: 9\n"))])
        .await;
    let crab = Octocrab::builder()
        .base_uri(world.proxy.api_url())
        .unwrap()
        .personal_token(world.mona_token.clone())
        .build()
        .unwrap();
    let repos = crab.repos("acme", "gitops");
    assert_eq!(repos.get().await.unwrap().name, "gitops");
    repos
        .get_ref(&Reference::Branch("main".to_owned()))
        .await
        .unwrap();
    let content = repos
        .get_content()
        .path("workspace/app/values.yaml")
        .send()
        .await
        .unwrap();
    assert_eq!(content.items.len(), 1);

    let pulls = crab.pulls("acme", "gitops");
    let pull = pulls.get(number).await.unwrap();
    assert_eq!(pull.number, number);
    assert_eq!(pulls.list().send().await.unwrap().items.len(), 1);
    assert_eq!(pulls.list_files(number).await.unwrap().items.len(), 1);
    assert!(pulls.list_reviews(number).send().await.unwrap().items.is_empty());
    let sha = pull.head.sha;

    let issues = crab.issues("acme", "gitops");
    let comment = issues.create_comment(number, "Hello").await.unwrap();
    assert_eq!(comment.body.as_deref(), Some("Hello"));
    assert_eq!(issues.list_comments(number).send().await.unwrap().items.len(), 1);
    assert_eq!(
        issues
            .add_labels(number, &["promotion".to_owned()])
            .await
            .unwrap()
            .len(),
        1
    );
    issues.add_assignees(number, &["hubot"]).await.unwrap();

    let status = repos
        .create_status(sha.clone(), StatusState::Success)
        .context("lockflight".to_owned());
    status
        .description("All is well.".to_owned())
        .send()
        .await
        .unwrap();
    let combined = repos
        .combined_status_for_ref(&Reference::Branch("octo".to_owned()))
        .await
        .unwrap();
    assert_eq!(combined.state, StatusState::Success);

    let merged = pulls.merge(number).sha(sha).send().await.unwrap();
    assert!(merged.merged);
    world.finish().await;
}

#[tokio::test]
async fn octocrab_understands_what_an_app_asks() {
    let world = World::start().await;
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(world.app_key().as_bytes()).unwrap();
    let crab = Octocrab::builder()
        .base_uri(world.proxy.api_url())
        .unwrap()
        .app(AppId(world.app_id()), key)
        .build()
        .unwrap();
    assert_eq!(crab.apps().get().await.unwrap().id, AppId(world.app_id()));
    let installations = crab.apps().installations().send().await.unwrap().items;
    assert_eq!(installations.len(), 1);
    let installed = crab
        .apps()
        .get_repository_installation("acme", "gitops")
        .await
        .unwrap();
    assert_eq!(installed.id, installations[0].id);

    let installation = crab.installation(installed.id).unwrap();
    assert_eq!(
        installation.repos("acme", "gitops").get().await.unwrap().name,
        "gitops"
    );
    world.forge.webhooks_idle().await;
    let deliveries = crab.apps().webhook_deliveries().send().await.unwrap();
    assert!(!deliveries.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn octocrab_understands_every_webhook() {
    let world = World::start().await;
    let number = world
        .open_pull_request("hooks", &[("workspace/app/values.yaml", Some("replicas: 4\n"))])
        .await;
    let (mona, repo) = (&world.mona, world.repo());
    mona.post(
        &format!("{repo}/issues/{number}/comments"),
        &json!({"body": "Hello"}),
    )
    .await
    .expect(201);
    mona.post(
        &format!("{repo}/issues/{number}/labels"),
        &json!({"labels": ["promotion"]}),
    )
    .await
    .expect(200);
    let head = mona.get(&format!("{repo}/pulls/{number}")).await.expect(200);
    mona.post(
        &format!("{repo}/statuses/{}", sha_of(&head["head"])),
        &json!({"state": "success"}),
    )
    .await
    .expect(201);
    mona.put(&format!("{repo}/pulls/{number}/merge"), &json!({}))
        .await
        .expect(200);
    world
        .app_hooks
        .wait_for("pull_request", |delivery| delivery.action() == "closed")
        .await;
    world.forge.webhooks_idle().await;
    for delivery in world
        .app_hooks
        .deliveries()
        .into_iter()
        .chain(world.repository_hooks.deliveries())
    {
        let body = delivery.payload.to_string();
        let parsed = WebhookEvent::try_from_header_and_body(&delivery.event, &body);
        assert!(
            parsed.is_ok(),
            "{}/{}: {parsed:?}",
            delivery.event,
            delivery.action()
        );
    }
    world.finish().await;
}
