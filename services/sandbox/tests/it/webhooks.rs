//! Webhooks as their receiver gets them.

use std::time::Duration;

use aws_lc_rs::hmac;
use http::{Method, StatusCode};
use lockflight_sandbox::{AppOptions, HookTarget, MergeMethod};
use serde_json::json;

use crate::apps::jwt;
use crate::receiver::Receiver;
use crate::support::{REPO, World, git};

async fn listening() -> (World, Receiver) {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.forge.set_webhook(REPO, &receiver.url, "secret").unwrap();
    world.forge.webhooks_idle().await;
    assert_eq!(
        receiver.find("ping").json()["hook"]["config"]["secret"],
        "********"
    );
    receiver.forget();
    (world, receiver)
}

#[tokio::test]
async fn webhooks_are_signed_over_the_bytes_that_are_sent() {
    let (world, receiver) = listening().await;
    world.pull_request("change", "a", "ü").await;
    world.forge.webhooks_idle().await;
    let got = receiver.find("pull_request opened");
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let digest: String = hmac::sign(&key, &got.body)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(got.header("x-hub-signature-256"), format!("sha256={digest}"));
    assert!(got.header("user-agent").starts_with("GitHub-Hookshot/"));
    assert_eq!(got.header("x-github-delivery").len(), 36);
    assert_eq!(got.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_push_a_merge_and_a_conversation_send_what_github_sends() {
    let (world, receiver) = listening().await;
    let remote = world.remote(&world.token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    let work = world.path("work");
    git(&work, &["checkout", "-qb", "change"]).await.fine();
    std::fs::write(work.join("new"), "x").unwrap();
    git(&work, &["add", "."]).await.fine();
    git(&work, &["commit", "-qm", "One"]).await.fine();
    git(&work, &["push", "-q", "origin", "change"]).await.fine();
    let number = world
        .forge
        .open_pull_request(REPO, "change", "main", "T", "bob")
        .await
        .unwrap();
    git(&work, &["commit", "-q", "--allow-empty", "-m", "Two"])
        .await
        .fine();
    git(&work, &["push", "-q", "origin", "change"]).await.fine();
    world
        .forge
        .label_pull_request(REPO, number, &["x"], "bob")
        .await
        .unwrap();
    world.forge.comment(REPO, number, "hi", "bob").await.unwrap();
    world.forge.approve(REPO, number, "ann").await.unwrap();
    let sha = world
        .forge
        .merge_pull_request(REPO, number, MergeMethod::Squash, "ann")
        .await
        .unwrap();
    world
        .forge
        .set_status(REPO, &sha, "ci", "success", "ann")
        .await
        .unwrap();
    world.forge.webhooks_idle().await;
    assert_eq!(
        receiver.names(),
        [
            "create",
            "issue_comment created",
            "pull_request closed",
            "pull_request labeled",
            "pull_request opened",
            "pull_request synchronize",
            "pull_request_review submitted",
            "push",
            "push",
            "push",
            "status",
        ]
    );
    let closed = receiver.find("pull_request closed").json();
    let pull = &closed["pull_request"];
    assert_eq!(
        (&pull["merged"], &pull["merged_by"]["login"]),
        (&json!(true), &json!("ann"))
    );
    assert_eq!(
        (&pull["merge_commit_sha"], &closed["sender"]["login"]),
        (&json!(sha), &json!("ann"))
    );
    assert_eq!(
        (&pull["base"]["repo"]["full_name"], &pull["labels"][0]["name"]),
        (&json!(REPO), &json!("x"))
    );
    let pushes: Vec<_> = receiver
        .got()
        .into_iter()
        .filter(|got| got.name() == "push")
        .collect();
    let first = pushes
        .iter()
        .map(crate::receiver::Got::json)
        .find(|push| push["created"] == true)
        .unwrap();
    assert_eq!(
        (&first["ref"], &first["commits"][0]["added"]),
        (&json!("refs/heads/change"), &json!(["new"]))
    );
    assert_eq!(first["before"], "0".repeat(40));
    assert_eq!(first["pusher"]["name"], "ann");
}

#[tokio::test]
async fn an_app_gets_its_installation_and_only_its_repositories() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.forge.create_repository("acme/other", "main").await.unwrap();
    let app = world.forge.add_app(AppOptions::new("pilot")).await.unwrap();
    let installation = world.forge.install(app.id, &[REPO]).unwrap();
    world
        .forge
        .set_webhook(HookTarget::App(app.id), &receiver.url, &app.webhook_secret)
        .unwrap();
    world
        .forge
        .commit_files("acme/other", "main", &[("a", Some(b"a"))], "A")
        .await
        .unwrap();
    world
        .forge
        .commit_files(REPO, "main", &[("a", Some(b"a"))], "A")
        .await
        .unwrap();
    world.forge.webhooks_idle().await;
    assert_eq!(receiver.names(), ["push"]);
    let push = receiver.find("push");
    assert_eq!(push.json()["installation"]["id"], json!(installation));
    assert_eq!(
        push.header("x-github-hook-installation-target-type"),
        "integration"
    );
}

#[tokio::test]
async fn a_failed_delivery_is_logged_and_sent_again_under_the_same_guid() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let app = world.forge.add_app(AppOptions::new("pilot")).await.unwrap();
    world.forge.install(app.id, &[REPO]).unwrap();
    world
        .forge
        .set_webhook(HookTarget::App(app.id), &receiver.url, "secret")
        .unwrap();
    world.forge.webhooks_idle().await;
    receiver.forget();
    receiver.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    world
        .forge
        .commit_files(REPO, "main", &[("a", Some(b"a"))], "A")
        .await
        .unwrap();
    world.forge.webhooks_idle().await;
    receiver.answer_with(StatusCode::ACCEPTED);
    let token = jwt(&app, json!(app.id), -60, 540);
    let ask = async |method, path: &str| world.try_call(&token, method, path, None, &[]).await.unwrap();
    let failed = ask(Method::GET, "/app/hook/deliveries?status=failure")
        .await
        .expect(200)
        .json();
    assert_eq!(failed.as_array().unwrap().len(), 1);
    assert_eq!(failed[0]["status"], "Invalid HTTP Response: 503");
    let own = format!("/app/hook/deliveries/{}", failed[0]["id"]);
    assert_eq!(
        ask(Method::GET, &own).await.expect(200).json()["request"]["payload"]["ref"],
        "refs/heads/main"
    );
    ask(Method::POST, &format!("{own}/attempts")).await.expect(202);
    world.forge.webhooks_idle().await;
    let got = receiver.got();
    assert_eq!(got.len(), 2);
    assert_eq!(
        got[0].header("x-github-delivery"),
        got[1].header("x-github-delivery")
    );
    assert_eq!(got[0].body, got[1].body);
    let log = world.forge.deliveries();
    let (first, second) = (&log[log.len() - 2], &log[log.len() - 1]);
    assert!(first.id != second.id && first.guid == second.guid && second.redelivery && second.succeeded());
    let page = ask(Method::GET, "/app/hook/deliveries?per_page=1")
        .await
        .expect(200);
    let next = page
        .header("link")
        .split(['<', '>'])
        .nth(1)
        .unwrap()
        .split("/api/v3")
        .nth(1)
        .unwrap()
        .to_owned();
    let below = ask(Method::GET, &next).await.expect(200).json();
    assert_eq!(below[0]["id"], json!(first.id));
}

#[tokio::test]
async fn webhooks_can_be_lost_forgotten_repeated_and_late() {
    let (world, receiver) = listening().await;
    let begin = world.forge.deliveries().len();
    let push = async |name: &str| {
        world
            .forge
            .commit_files(REPO, "main", &[(name, Some(b"x"))], name)
            .await
            .unwrap();
        world.forge.webhooks_idle().await;
    };
    world.forge.webhook_faults().drop_next(1);
    push("lost").await;
    assert_eq!(
        (receiver.got().len(), world.forge.deliveries().len() - begin),
        (0, 1)
    );
    assert_eq!(world.forge.deliveries()[begin].status_code, 0);
    world.forge.webhook_faults().forget_next(1);
    push("forgotten").await;
    assert_eq!(
        (receiver.got().len(), world.forge.deliveries().len() - begin),
        (0, 1)
    );
    world.forge.webhook_faults().repeat_next(1, 3);
    push("repeated").await;
    let guids: std::collections::BTreeSet<String> = receiver
        .got()
        .iter()
        .map(|got| got.header("x-github-delivery").to_owned())
        .collect();
    assert_eq!((receiver.got().len(), guids.len()), (3, 1));
    world.forge.webhook_faults().delay(Duration::from_millis(20));
    push("late").await;
    assert_eq!(receiver.got().len(), 4);
    world.forge.redeliver(world.forge.deliveries()[begin].id).unwrap();
    world.forge.webhooks_idle().await;
    assert_eq!(receiver.got().len(), 5);
}

#[tokio::test]
async fn changes_can_be_waited_for() {
    let world = World::start().await;
    let forge = world.forge.clone();
    let waiting = tokio::spawn(async move {
        forge
            .wait_for(Duration::from_secs(30), |forge| {
                forge.pull_request(REPO, 1).ok().filter(|pull| pull.merged)
            })
            .await
    });
    let number = world.pull_request("change", "a", "a").await;
    world
        .forge
        .merge_pull_request(REPO, number, MergeMethod::Merge, "ann")
        .await
        .unwrap();
    assert!(waiting.await.unwrap().is_some());
}
