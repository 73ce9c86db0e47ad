//! The faults of the sandbox are answers, too: a client must not be able to tell them from GitHub's.

use std::time::Duration;

use http::Method;
use lockflight_sandbox::{Effect, Fault, RequestMatcher};
use serde_json::{Value, json};

use crate::world::World;

fn once(world: &World, method: Method, path: &str, effect: Effect) {
    world.forge.faults().add(Fault {
        matcher: RequestMatcher::rest(method, path),
        times: 1,
        effect,
    });
}

#[tokio::test]
async fn limits_and_failures_look_like_githubs() {
    let world = World::start().await;
    let repo = world.repo();
    let path = "/repos/{owner}/{repo}";
    let header = |answer: &lockflight_tests::client::Answer, name: &str| {
        answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };

    once(
        &world,
        Method::GET,
        path,
        Effect::RateLimitPrimary {
            reset_in: Duration::from_secs(60),
        },
    );
    let primary = world.mona.get(&repo).await;
    primary.expect(403);
    assert_eq!(header(&primary, "x-ratelimit-remaining").as_deref(), Some("0"));
    assert!(header(&primary, "x-ratelimit-reset").is_some());

    once(
        &world,
        Method::GET,
        path,
        Effect::SecondaryWithRetryAfter(Duration::from_secs(7)),
    );
    let secondary = world.mona.get(&repo).await;
    assert!(
        secondary.expect(403)["message"]
            .as_str()
            .unwrap()
            .contains("secondary rate limit")
    );
    assert_eq!(header(&secondary, "retry-after").as_deref(), Some("7"));

    once(&world, Method::GET, path, Effect::SecondaryWithoutHeaders);
    let secondary = world.mona.get(&repo).await;
    secondary.expect(403);
    assert_eq!(header(&secondary, "retry-after"), None);

    for status in [500, 502, 503] {
        once(&world, Method::GET, path, Effect::Status(status));
        assert_eq!(world.mona.get(&repo).await.status, status);
    }
    let busy = Effect::Refuse {
        status: 405,
        message: "Base branch was modified.".into(),
    };
    once(&world, Method::PUT, "/repos/{owner}/{repo}/pulls/*/merge", busy);
    let refused = world
        .mona
        .put(&format!("{repo}/pulls/1/merge"), &json!({}))
        .await
        .expect(405);
    assert_eq!(refused["message"], "Base branch was modified.");
    assert_eq!(world.forge.faults().pending(), 0);
    world.finish().await;
}

#[tokio::test]
async fn an_answer_may_be_lost_after_the_effect() {
    let world = World::start().await;
    let repo = world.repo();
    world
        .push("lost", &[("workspace/app/values.yaml", Some("replicas: 11\n"))])
        .await;
    let wanted = json!({"title": "Lost", "head": "lost", "base": "main"});
    let pulls = format!("{repo}/pulls");

    once(
        &world,
        Method::POST,
        "/repos/{owner}/{repo}/pulls",
        Effect::ResetBefore,
    );
    assert!(world.mona.try_ask("POST", &pulls, Some(&wanted)).await.is_err());
    assert_eq!(
        world.mona.get(&format!("{pulls}?state=all")).await.expect(200),
        json!([])
    );

    once(
        &world,
        Method::POST,
        "/repos/{owner}/{repo}/pulls",
        Effect::ResetAfterEffect,
    );
    assert!(world.mona.try_ask("POST", &pulls, Some(&wanted)).await.is_err());
    let made = world
        .mona
        .get(&format!("{pulls}?head=acme:lost"))
        .await
        .expect(200);
    assert_eq!(made.as_array().map(Vec::len), Some(1), "{made}");
    let lost = world
        .proxy
        .exchanges()
        .iter()
        .filter(|exchange| exchange.status == 0)
        .count();
    assert_eq!(lost, 2, "the proxy passes a broken connection on");
    world.mona.post(&pulls, &wanted).await.expect(422);

    once(
        &world,
        Method::POST,
        "/repos/{owner}/{repo}/issues/*/comments",
        Effect::StatusAfterEffect(502),
    );
    let comments = format!("{repo}/issues/{}/comments", made[0]["number"]);
    assert_eq!(
        world
            .mona
            .post(&comments, &json!({"body": "Twice?"}))
            .await
            .status,
        502
    );
    let there: Value = world.mona.get(&comments).await.expect(200);
    assert_eq!(there.as_array().map(Vec::len), Some(1));
    world.finish().await;
}
