//! What the forge sends: each delivery is held to GitHub's description by the receiver; here is which ones come, and when.

use http::StatusCode;
use lockflight_tests::hooks::{Delivery, HookReceiver};
use serde_json::json;

use crate::world::{World, sha_of};

fn names(receiver: &HookReceiver) -> Vec<String> {
    let mut names: Vec<String> = receiver
        .deliveries()
        .iter()
        .map(|delivery| match delivery.action() {
            "" => delivery.event.clone(),
            action => format!("{}/{action}", delivery.event),
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn a_life_of_a_pull_request_is_told_to_app_and_repository() {
    let world = World::start().await;
    let number = world
        .open_pull_request("life", &[("workspace/app/values.yaml", Some("replicas: 5\n"))])
        .await;
    let (mona, hubot, repo) = (&world.mona, &world.hubot, world.repo());
    let (pull, issue) = (
        format!("{repo}/pulls/{number}"),
        format!("{repo}/issues/{number}"),
    );

    world
        .push("life", &[("workspace/app/more.yaml", Some("a: 1\n"))])
        .await;
    mona.patch(&pull, &json!({"title": "Another title"}))
        .await
        .expect(200);
    mona.patch(&pull, &json!({"state": "closed"})).await.expect(200);
    mona.patch(&pull, &json!({"state": "open"})).await.expect(200);
    mona.post(&format!("{issue}/labels"), &json!({"labels": ["promotion"]}))
        .await
        .expect(200);
    mona.delete(&format!("{issue}/labels/promotion"))
        .await
        .expect(200);
    mona.post(&format!("{issue}/assignees"), &json!({"assignees": ["hubot"]}))
        .await
        .expect(201);
    mona.post(
        &format!("{pull}/requested_reviewers"),
        &json!({"reviewers": ["hubot"]}),
    )
    .await
    .expect(201);
    hubot
        .post(&format!("{pull}/reviews"), &json!({"event": "APPROVE"}))
        .await
        .expect(200);
    let comment = mona
        .post(&format!("{issue}/comments"), &json!({"body": "One"}))
        .await
        .expect(201);
    let comment = format!("{repo}/issues/comments/{}", comment["id"]);
    mona.patch(&comment, &json!({"body": "Two"})).await.expect(200);
    let head = sha_of(&mona.get(&pull).await.expect(200)["head"]);
    mona.post(
        &format!("{repo}/statuses/{head}"),
        &json!({"state": "pending", "context": "x"}),
    )
    .await
    .expect(201);
    let run = json!({"name": "plan", "head_sha": head, "status": "completed", "conclusion": "success"});
    world
        .installation_client()
        .await
        .post(&format!("{repo}/check-runs"), &run)
        .await
        .expect(201);
    mona.put(&format!("{pull}/merge"), &json!({"sha": head}))
        .await
        .expect(200);
    mona.delete(&format!("{repo}/git/refs/heads/life"))
        .await
        .expect(204);

    let deleted = |delivery: &Delivery| delivery.payload["ref"] == "life";
    for receiver in [&world.app_hooks, &world.repository_hooks] {
        receiver.wait_for("delete", deleted).await;
        world.forge.webhooks_idle().await;
        let came = names(receiver);
        let wanted = [
            "create",
            "delete",
            "issue_comment/created",
            "issue_comment/edited",
            "pull_request/assigned",
            "pull_request/closed",
            "pull_request/edited",
            "pull_request/labeled",
            "pull_request/opened",
            "pull_request/reopened",
            "pull_request/review_requested",
            "pull_request/synchronize",
            "pull_request/unlabeled",
            "pull_request_review/submitted",
            "push",
            "status",
        ];
        for name in wanted {
            assert!(came.iter().any(|came| came == name), "no {name} among {came:?}");
        }
    }
    let merged = world.app_hooks.wait_for("pull_request", |got| {
        got.action() == "closed" && got.payload["pull_request"]["merged"] == true
    });
    let merged = merged.await.payload;
    assert!(merged["pull_request"]["merge_commit_sha"].is_string());
    assert!(
        merged["installation"]["id"].is_u64(),
        "an App is told which installation it is"
    );
    world.finish().await;
}

#[tokio::test]
async fn the_same_delivery_comes_again_with_the_same_id_when_it_is_asked_for() {
    let world = World::start().await;
    world.app_hooks.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    let number = world
        .open_pull_request("again", &[("workspace/app/values.yaml", Some("replicas: 6\n"))])
        .await;
    let opened = |delivery: &Delivery| delivery.action() == "opened" && delivery.payload["number"] == number;
    let first = world.app_hooks.wait_for("pull_request", opened).await;
    world.forge.webhooks_idle().await;

    let app = world.app_client();
    let failed = app
        .get("/app/hook/deliveries?status=failure&per_page=100")
        .await
        .expect(200);
    let failed = failed
        .as_array()
        .unwrap()
        .iter()
        .find(|delivery| delivery["guid"] == first.id.as_str())
        .unwrap()
        .clone();
    assert_eq!(failed["status_code"], 503);
    world.app_hooks.answer_with(StatusCode::ACCEPTED);
    app.post(
        &format!("/app/hook/deliveries/{}/attempts", failed["id"]),
        &json!({}),
    )
    .await
    .expect(202);
    let second = world.app_hooks.wait_for_nth("pull_request", 2, opened).await;
    assert_eq!((second.id, second.payload), (first.id, first.payload));
    world.finish().await;
}
