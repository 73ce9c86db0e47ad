//! Faults, as the client meets them.

use std::time::Duration;

use http::Method;
use lockflight_sandbox::{Effect, Fault, HoldPoint, RequestMatcher};
use serde_json::json;

use crate::support::{REPO, World, git};

const COMMENTS: &str = "/repos/acme/gitops/issues/1/comments";

fn comments(times: u32, effect: Effect) -> Fault {
    let matcher = RequestMatcher::rest(Method::POST, "/repos/*/*/issues/*/comments");
    Fault {
        matcher,
        times,
        effect,
    }
}

#[tokio::test]
async fn a_broken_connection_leaves_the_effect_or_none() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let body = Some(json!({"body": "hi"}));
    let write = async || {
        world
            .try_call(&world.token, Method::POST, COMMENTS, body.clone(), &[])
            .await
    };
    let count = || world.forge.pull_request(REPO, 1).unwrap().comments.len();
    world.forge.faults().add(comments(1, Effect::ResetBefore));
    write().await.expect_err("no answer");
    assert_eq!(count(), 0);
    world.forge.faults().add(comments(1, Effect::ResetAfterEffect));
    write().await.expect_err("no answer");
    assert_eq!(count(), 1);
    write().await.unwrap().expect(201);
    let statuses: Vec<Option<u16>> = world
        .forge
        .requests()
        .into_iter()
        .filter(|one| one.method == Method::POST && one.route.ends_with("/comments"))
        .map(|one| one.status)
        .collect();
    assert_eq!(statuses, [None, None, Some(201)]);
}

#[tokio::test]
async fn statuses_and_limits_are_those_of_github() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let write = async || world.post(COMMENTS, json!({"body": "hi"})).await;
    let faults = world.forge.faults();
    faults.add(comments(1, Effect::Status(502)));
    assert_eq!(write().await.expect(502).header("content-type"), "text/html");
    faults.add(comments(1, Effect::StatusAfterEffect(500)));
    write().await.expect(500);
    faults.add(comments(
        1,
        Effect::RateLimitPrimary {
            reset_in: Duration::from_secs(90),
        },
    ));
    let limited = write().await.expect(403);
    assert_eq!(limited.header("x-ratelimit-remaining"), "0");
    assert!(limited.header("retry-after").is_empty());
    faults.add(comments(
        1,
        Effect::SecondaryWithRetryAfter(Duration::from_secs(7)),
    ));
    assert_eq!(write().await.expect(403).header("retry-after"), "7");
    faults.add(comments(1, Effect::SecondaryWithoutHeaders));
    let limited = write().await.expect(403);
    assert!(limited.header("retry-after").is_empty() && limited.header("x-ratelimit-remaining") != "0");
    let message = "Base branch was modified. Review and try the merge again.";
    faults.add(Fault {
        matcher: RequestMatcher::rest(Method::PUT, "/repos/{owner}/{repo}/pulls/{number}/merge"),
        times: 1,
        effect: Effect::Refuse {
            status: 405,
            message: message.into(),
        },
    });
    let path = "/repos/acme/gitops/pulls/1/merge";
    assert_eq!(
        world
            .call(Method::PUT, path, Some(json!({})))
            .await
            .expect(405)
            .complaint(),
        message
    );
    assert_eq!(world.forge.pull_request(REPO, 1).unwrap().comments.len(), 1);
    assert_eq!(faults.pending(), 0);
}

#[tokio::test]
async fn a_held_request_waits_where_it_should() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let count = || world.forge.pull_request(REPO, 1).unwrap().comments.len();
    for (point, expected) in [(HoldPoint::BeforeEffect, 0), (HoldPoint::AfterEffect, 2)] {
        let matcher = RequestMatcher::rest(Method::POST, "/repos/**").in_repository(REPO);
        let held = world.forge.faults().hold(matcher, point);
        let watch = async {
            held.arrived().await;
            let seen = count();
            held.release();
            seen
        };
        let (answer, seen) = tokio::join!(world.post(COMMENTS, json!({"body": "hi"})), watch);
        answer.expect(201);
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_push_that_lands_without_an_answer_has_landed() {
    let world = World::start().await;
    let remote = world.remote(&world.token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    let work = world.path("work");
    git(&work, &["commit", "-q", "--allow-empty", "-m", "x"])
        .await
        .fine();
    let tip = git(&work, &["rev-parse", "HEAD"])
        .await
        .fine()
        .out
        .trim()
        .to_owned();
    let push = |effect| Fault {
        matcher: RequestMatcher::git_receive_pack(),
        times: 1,
        effect,
    };
    world.forge.faults().add(push(Effect::Status(503)));
    assert!(!git(&work, &["push", "-q", "origin", "main"]).await.ok);
    assert_ne!(world.forge.branch(REPO, "main").unwrap(), Some(tip.clone()));
    world.forge.faults().add(push(Effect::ResetAfterEffect));
    assert!(!git(&work, &["push", "-q", "origin", "main"]).await.ok);
    assert_eq!(world.forge.branch(REPO, "main").unwrap(), Some(tip));
    git(&work, &["push", "-q", "origin", "main"]).await.fine();
}

#[tokio::test]
async fn a_fetch_can_fail_too() {
    let world = World::start().await;
    let remote = world.remote(&world.token);
    let dir = world.dir.path();
    for matcher in [
        RequestMatcher::git_upload_pack(),
        RequestMatcher::git_upload_pack().on_advertisement(),
    ] {
        world.forge.faults().add(Fault {
            matcher,
            times: 1,
            effect: Effect::ResetBefore,
        });
        let said = git(dir, &["clone", "-q", &remote, "work"]).await;
        assert!(!said.ok, "{}", said.err);
    }
    git(dir, &["clone", "-q", &remote, "work"]).await.fine();
}
