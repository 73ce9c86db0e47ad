//! Comments, labels, assignees, reviews, statuses and checks.

use http::Method;
use lockflight_sandbox::{AppOptions, Limits, UserKind};
use serde_json::{Value, json};

use crate::apps::installation_token;
use crate::support::{REPO, World};

fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|one| one[field].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn comments_are_written_edited_and_bounded() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let path = "/repos/acme/gitops/issues/1/comments";
    let whole = "ü".repeat(65_536);
    world.post(path, json!({"body": whole})).await.expect(201);
    let refused = world
        .post(path, json!({"body": format!("{whole}x")}))
        .await
        .expect(422);
    assert_eq!(
        refused.complaint(),
        "Body is too long (maximum is 65536 characters)"
    );
    world.post(path, json!({"body": " "})).await.expect(422);
    let id = world.post(path, json!({"body": "one"})).await.expect(201).json()["id"]
        .as_u64()
        .unwrap();
    let own = format!("/repos/acme/gitops/issues/comments/{id}");
    // GitHub has PATCH only.
    world.post(&own, json!({"body": "two"})).await.expect(405);
    let edited = world
        .call(Method::PATCH, &own, Some(json!({"body": "two"})))
        .await
        .expect(200)
        .json();
    assert_eq!(edited["body"], "two");
    let listed = world.get(&format!("{path}?per_page=1&page=2")).await.expect(200);
    assert_eq!(listed.json()[0]["id"], json!(id));
    world.call(Method::DELETE, &own, None).await.expect(204);
    world.get(&own).await.expect(404);
}

#[tokio::test]
async fn an_app_cannot_change_what_others_wrote() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let comment = world.forge.comment(REPO, 1, "mine", "bob").await.unwrap();
    let app = world.forge.add_app(AppOptions::new("pilot")).await.unwrap();
    let installation = world.forge.install(app.id, &[REPO]).unwrap();
    let token = installation_token(&world, &app, installation, json!({})).await;
    let path = format!("/repos/acme/gitops/issues/comments/{}", comment.id);
    let body = Some(json!({"body": "theirs"}));
    world
        .try_call(&token, Method::PATCH, &path, body, &[])
        .await
        .unwrap()
        .expect(403);
}

#[tokio::test]
async fn labels_are_made_when_they_are_put_on() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let path = "/repos/acme/gitops/issues/1/labels";
    world
        .post(
            "/repos/acme/gitops/labels",
            json!({"name": "promotion", "color": "FF0000"}),
        )
        .await
        .expect(201);
    let again = world
        .post("/repos/acme/gitops/labels", json!({"name": "Promotion"}))
        .await
        .expect(422);
    assert_eq!(again.json()["errors"][0]["code"], "already_exists");
    let labels = world
        .post(path, json!({"labels": ["Promotion", "new one"]}))
        .await
        .expect(200)
        .json();
    assert_eq!(names(&labels, "name"), ["promotion", "new one"]);
    assert_eq!(labels[0]["color"], "ff0000");
    let labels = world
        .post(path, json!(["promotion", "third"]))
        .await
        .expect(200)
        .json();
    assert_eq!(names(&labels, "name"), ["promotion", "new one", "third"]);
    let left = world
        .call(Method::DELETE, &format!("{path}/new%20one"), None)
        .await
        .expect(200)
        .json();
    assert_eq!(names(&left, "name"), ["promotion", "third"]);
    let gone = world
        .call(Method::DELETE, &format!("{path}/new%20one"), None)
        .await
        .expect(404);
    assert_eq!(gone.complaint(), "Label does not exist");
}

#[tokio::test]
async fn strangers_and_bots_are_not_assigned_and_no_word_is_said() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    world.forge.add_user("carol", UserKind::User);
    world.forge.add_user("robot", UserKind::Bot);
    let path = "/repos/acme/gitops/issues/1/assignees";
    let issue = world
        .post(path, json!({"assignees": ["nobody", "robot", "Carol"]}))
        .await
        .expect(201)
        .json();
    assert_eq!(names(&issue["assignees"], "login"), ["carol"]);
    let reviewers = "/repos/acme/gitops/pulls/1/requested_reviewers";
    world
        .post(reviewers, json!({"reviewers": ["nobody"]}))
        .await
        .expect(422);
    let pull = world
        .post(reviewers, json!({"reviewers": ["carol"]}))
        .await
        .expect(201)
        .json();
    assert_eq!(names(&pull["requested_reviewers"], "login"), ["carol"]);
}

#[tokio::test]
async fn nobody_approves_their_own_pull_request() {
    let world = World::start().await;
    let number = world.pull_request("change", "a", "a").await;
    let path = format!("/repos/acme/gitops/pulls/{number}/reviews");
    let bob = world.forge.personal_token("bob").unwrap();
    let approve = Some(json!({"event": "APPROVE"}));
    let refused = world
        .try_call(&bob, Method::POST, &path, approve.clone(), &[])
        .await
        .unwrap()
        .expect(422);
    assert_eq!(
        refused.json()["errors"],
        json!(["Can not approve your own pull request"])
    );
    let review = world.call(Method::POST, &path, approve).await.expect(200).json();
    let head = world.forge.pull_request(REPO, number).unwrap().head.sha;
    assert_eq!(
        (&review["state"], &review["commit_id"]),
        (&json!("APPROVED"), &json!(head))
    );
    assert_eq!(
        world
            .get(&path)
            .await
            .expect(200)
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn statuses_are_bounded_and_combined() {
    let limits = Limits {
        statuses_per_context: 2,
        ..Limits::default()
    };
    let world = World::with(|options| options.limits = limits).await;
    let tip = world.forge.branch(REPO, "main").unwrap().unwrap();
    let path = format!("/repos/acme/gitops/statuses/{tip}");
    let set = async |state: &str, context: &str| {
        world
            .post(
                &path,
                json!({"state": state, "context": context, "description": "One sentence"}),
            )
            .await
    };
    set("pending", "plan").await.expect(201);
    set("success", "other").await.expect(201);
    let combined = async || {
        world
            .get("/repos/acme/gitops/commits/main/status")
            .await
            .expect(200)
            .json()
    };
    assert_eq!(combined().await["state"], "pending");
    set("success", "plan").await.expect(201);
    let told = combined().await;
    assert_eq!(
        (&told["state"], &told["total_count"]),
        (&json!("success"), &json!(2))
    );
    set("success", "plan").await.expect(422);
    set("great", "plan").await.expect(422);
    let long = json!({"state": "success", "description": "x".repeat(141)});
    let refused = world.post(&path, long).await.expect(422);
    assert_eq!(
        refused.complaint(),
        "description is too long (maximum is 140 characters)"
    );
    let nowhere = format!("/repos/acme/gitops/statuses/{}", "1".repeat(40));
    let refused = world
        .post(&nowhere, json!({"state": "success"}))
        .await
        .expect(422);
    assert!(
        refused.complaint().starts_with("No commit found for SHA"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn check_runs_belong_to_apps() {
    let world = World::start().await;
    let tip = world.forge.branch(REPO, "main").unwrap().unwrap();
    let path = "/repos/acme/gitops/check-runs";
    let new = json!({"name": "plan", "head_sha": tip, "status": "in_progress"});
    world.post(path, new.clone()).await.expect(403);
    let app = world.forge.add_app(AppOptions::new("pilot")).await.unwrap();
    let installation = world.forge.install(app.id, &[REPO]).unwrap();
    let token = installation_token(&world, &app, installation, json!({})).await;
    let run = world
        .try_call(&token, Method::POST, path, Some(new), &[])
        .await
        .unwrap()
        .expect(201)
        .json();
    let done = json!({"conclusion": "success", "output": {"title": "T", "summary": "S"}});
    let own = format!("{path}/{}", run["id"]);
    let run = world
        .try_call(&token, Method::PATCH, &own, Some(done), &[])
        .await
        .unwrap()
        .expect(200)
        .json();
    assert_eq!(
        (&run["status"], &run["conclusion"]),
        (&json!("completed"), &json!("success"))
    );
    let listed = world
        .get("/repos/acme/gitops/commits/main/check-runs?check_name=plan")
        .await
        .json();
    assert_eq!(listed["total_count"], 1);
}
