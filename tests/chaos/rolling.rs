//! Processes that are asked to end in the middle of their work, as an upgrade does.

use http::Method;
use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::world::{Fleet, Role, put};

use crate::on;
use crate::policies::LAB;

fn rest(method: Method, below_repository: &str) -> RequestMatcher {
    RequestMatcher::rest(method, &format!("/repos/*/*/{below_repository}"))
}

/// SIGTERM while a request is on its way: the executor finishes what it has, ends in peace, and the next one goes on.
async fn a_term_in_the_middle_is_finished(request: RequestMatcher) {
    on(Fleet::shared(), LAB)
        .run(async |world| {
            let held = world.forge.faults().hold(request.clone(), HoldPoint::AfterEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held(&format!("{request:?}"), &held).await;
            let stopped = async {
                let stopped = world.stop_one(Role::Executor, 0).await;
                assert!(stopped.success(), "{stopped}");
            };
            let released = async {
                world.until_logged("finishing what is in hand").await;
                held.release();
            };
            tokio::join!(stopped, released);
            world.start_one(Role::Executor, 1).await;
            let [lab] = world.promotions_of(change).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            assert_eq!(world.promotion_branches(), [lab.head.branch]);
        })
        .await;
}

#[tokio::test]
async fn a_term_during_the_push_is_finished() {
    a_term_in_the_middle_is_finished(RequestMatcher::git_receive_pack()).await;
}

#[tokio::test]
async fn a_term_during_the_opening_is_finished() {
    a_term_in_the_middle_is_finished(rest(Method::POST, "pulls")).await;
}

#[tokio::test]
async fn a_term_during_the_status_is_finished() {
    a_term_in_the_middle_is_finished(rest(Method::POST, "statuses/*")).await;
}
