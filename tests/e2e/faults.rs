//! A forge that fails: what was done is found, what was not is done, and nothing is done twice.

use std::time::Duration;

use http::Method;
use lockflight_sandbox::{Effect, Fault, RequestMatcher};
use lockflight_tests::world::{World, put};

use crate::policies::{DRY_RUN, LAB, LAB_APPROVED};
use crate::world;

fn rest(method: Method, below_repository: &str) -> RequestMatcher {
    RequestMatcher::rest(method, &format!("/repos/*/*/{below_repository}"))
}

/// Ways in which an answer goes wrong though everything was done, and in which nothing was done.
fn troubles() -> [Effect; 4] {
    [
        Effect::StatusAfterEffect(502),
        Effect::ResetAfterEffect,
        Effect::Status(503),
        Effect::ResetBefore,
    ]
}

/// Meets a write of a promotion with every trouble, each with a change of its own.
async fn trouble_with(world: &World, matcher: &RequestMatcher) {
    for (number, effect) in troubles().into_iter().enumerate() {
        let fault = Fault {
            matcher: matcher.clone(),
            times: 1,
            effect: effect.clone(),
        };
        world.forge.faults().add(fault);
        let path = format!("workspace/component-{number}/values.yaml");
        let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
        let [lab] = world.promotions_of(change).await;
        world.until_status(change, "success").await;
        assert_eq!(world.forge.faults().pending(), 0, "{effect:?} was met");
        let files = world.files_of(lab.number).await;
        assert_eq!(
            files,
            [(format!("clusters/lab/component-{number}/values.yaml"), "added")],
            "{effect:?}"
        );
    }
    world.quiet().await;
    assert_eq!(world.promotions().len(), troubles().len());
    assert_eq!(world.promotion_branches().len(), troubles().len());
}

#[tokio::test]
async fn trouble_with_the_opening_leaves_one_pull_request() {
    world(LAB)
        .without_previews()
        .run(async |world| trouble_with(world, &rest(Method::POST, "pulls")).await)
        .await;
}

#[tokio::test]
async fn trouble_with_the_push_leaves_one_pull_request() {
    world(LAB)
        .without_previews()
        .run(async |world| trouble_with(world, &RequestMatcher::git_receive_pack()).await)
        .await;
}

#[tokio::test]
async fn trouble_with_the_label_leaves_one_pull_request() {
    world(LAB)
        .without_previews()
        .run(async |world| trouble_with(world, &rest(Method::POST, "issues/*/labels")).await)
        .await;
}

#[tokio::test]
async fn trouble_with_the_status_leaves_one_pull_request() {
    world(LAB)
        .without_previews()
        .run(async |world| trouble_with(world, &rest(Method::POST, "statuses/*")).await)
        .await;
}

#[tokio::test]
async fn trouble_with_the_merge_merges_once() {
    world(LAB_APPROVED)
        .without_previews()
        .with_approver()
        .run(async |world| {
            for route in ["pulls/*/merge", "pulls/*/reviews"] {
                let method = if route.ends_with("merge") {
                    Method::PUT
                } else {
                    Method::POST
                };
                for (number, effect) in troubles().into_iter().enumerate() {
                    world.forge.faults().add(Fault {
                        matcher: rest(method.clone(), route),
                        times: 1,
                        effect,
                    });
                    let path = format!("workspace/{method}-{number}/values.yaml");
                    let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                    let [lab] = world.promotions_of(change).await;
                    let merged = world.until_merged(lab.number).await;
                    assert_eq!(merged.reviews.len(), 1, "{route}");
                    world.until_status(lab.number, "success").await;
                }
            }
        })
        .await;
}

#[tokio::test]
async fn trouble_with_the_comment_leaves_one_comment() {
    world(DRY_RUN)
        .without_previews()
        .run(async |world| {
            for (number, effect) in troubles().into_iter().enumerate() {
                let matcher = rest(Method::POST, "issues/*/comments");
                world.forge.faults().add(Fault {
                    matcher,
                    times: 1,
                    effect: effect.clone(),
                });
                let path = format!("workspace/component-{number}/values.yaml");
                let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                world.until_status(change, "success").await;
                assert_eq!(world.comments(change).len(), 1, "{effect:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_rate_limit_is_waited_for() {
    let second = Duration::from_secs(1);
    let limits = [
        (
            rest(Method::POST, "pulls"),
            Effect::SecondaryWithRetryAfter(second),
        ),
        (
            rest(Method::GET, "pulls/*"),
            Effect::SecondaryWithRetryAfter(second),
        ),
        (
            rest(Method::POST, "issues/*/labels"),
            Effect::RateLimitPrimary { reset_in: second },
        ),
    ];
    world(LAB)
        .without_previews()
        .run(async |world| {
            for (number, (matcher, effect)) in limits.into_iter().enumerate() {
                world.forge.faults().add(Fault {
                    matcher,
                    times: 1,
                    effect: effect.clone(),
                });
                let path = format!("workspace/component-{number}/values.yaml");
                let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                let [_lab] = world.promotions_of(change).await;
                world.until_status(change, "success").await;
                assert_eq!(world.forge.faults().pending(), 0, "{effect:?} was met");
            }
        })
        .await;
}

#[tokio::test]
async fn while_the_credentials_are_limited_nobody_asks() {
    world(LAB)
        .without_previews()
        .run(async |world| {
            let limit = Effect::SecondaryWithRetryAfter(Duration::from_secs(1));
            world.forge.faults().add(Fault {
                matcher: rest(Method::POST, "pulls"),
                times: 1,
                effect: limit,
            });
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let other = world
                .merge_change(&[put("workspace/search/values.yaml", "replicas: 3\n")])
                .await;
            let [_lab] = world.promotions_of(change).await;
            let [_lab] = world.promotions_of(other).await;
            let requests = world.forge.requests();
            let calls: Vec<_> = requests
                .iter()
                .filter(|request| !request.route.starts_with("git "))
                .collect();
            let limited = calls.iter().position(|call| call.status == Some(403)).unwrap();
            let waited = calls[limited + 1].at.unix() - calls[limited].at.unix();
            assert!(waited >= 1, "the next call came after {waited} s");
        })
        .await;
}
