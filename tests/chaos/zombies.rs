//! A process that was suspended, and goes on when its work has long been given to another.

use http::Method;
use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::servers::{RabbitMq, Redis};
use lockflight_tests::world::{Fleet, Role, put};

use crate::on;
use crate::policies::LAB;

/// Suspends the executor in the middle of a request, past its lease and until the broker has given it up; then lets it go on.
async fn a_zombie_changes_nothing(request: RequestMatcher, point: HoldPoint) {
    let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
    // So that the broker gives up on who is silent within seconds.
    let queue = format!("{}?heartbeat=1", rabbit.uri());
    on(Fleet::on(queue, redis.uri()), LAB)
        .run(async |world| {
            let held = world.forge.faults().hold(request.clone(), point);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held(&format!("{request:?}"), &held).await;
            world.freeze(Role::Executor, 0, true).await;
            world.start_one(Role::Executor, 1).await;
            let [lab] = world.promotions_of(change).await;
            world.until_status(change, "success").await;
            held.release();
            world.freeze(Role::Executor, 0, false).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            assert_eq!(world.promotion_branches(), std::slice::from_ref(&lab.head.branch));
            assert_eq!(world.pull_request(lab.number).head.sha, lab.head.sha);
            assert!(
                world
                    .statuses(change)
                    .iter()
                    .all(|status| status.state == "success")
            );
            world
                .assert_same_tree(&lab.head.sha, "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn a_zombie_that_was_about_to_push_changes_nothing() {
    a_zombie_changes_nothing(RequestMatcher::git_receive_pack(), HoldPoint::BeforeEffect).await;
}

#[tokio::test]
async fn a_zombie_that_was_about_to_open_changes_nothing() {
    let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
    a_zombie_changes_nothing(opening, HoldPoint::BeforeEffect).await;
}

#[tokio::test]
async fn a_zombie_that_had_just_opened_changes_nothing() {
    let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
    a_zombie_changes_nothing(opening, HoldPoint::AfterEffect).await;
}

/// The client of a push is killed; the push lands all the same, later. Whoever comes next finds it.
#[tokio::test]
async fn a_push_whose_client_was_killed_and_that_lands_late_is_found() {
    on(Fleet::shared().with(Role::Executor, 2), LAB)
        .run(async |world| {
            let push = RequestMatcher::git_receive_pack();
            let held = world.forge.faults().hold(push, HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the push", &held).await;
            world.kill().await;
            world.restart().await;
            held.release();
            let [lab] = world.promotions_of(change).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            assert_eq!(world.promotion_branches(), [lab.head.branch]);
        })
        .await;
}
