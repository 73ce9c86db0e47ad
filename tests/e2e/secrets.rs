//! No secret is seen anywhere. Every story looks at its end through the log, pull requests, comments, statuses and commits; these look
//! where a story does not.

use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::world::put;

use crate::policies::{LAB, LAB_APPROVED};
use crate::world;

/// A process that is started for it could be seen by everybody on the machine, with its arguments.
#[tokio::test]
async fn no_process_is_started_to_talk_to_a_forge() {
    world(LAB)
        .without_previews()
        .run(async |world| {
            for matcher in [
                RequestMatcher::git_upload_pack(),
                RequestMatcher::git_receive_pack(),
            ] {
                let held = world
                    .forge
                    .faults()
                    .hold(matcher.clone(), HoldPoint::BeforeEffect);
                let path = format!("workspace/{}/values.yaml", world.new_branch().replace('/', "-"));
                let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                world.until_held("git", &held).await;
                let children = world.children().await;
                assert!(children.is_empty(), "{children:?}");
                held.release();
                let [_lab] = world.promotions_of(change).await;
            }
        })
        .await;
}

#[tokio::test]
async fn no_secret_is_in_the_most_talkative_log() {
    world(LAB_APPROVED)
        .with_approver()
        .logging("trace")
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            world.until_merged(lab.number).await;
            world.until_status(lab.number, "success").await;
            assert!(
                world.log().contains("TRACE") || world.log().contains("DEBUG"),
                "it was to be talkative"
            );
        })
        .await;
}

#[tokio::test]
async fn no_secret_of_an_app_is_in_the_most_talkative_log() {
    world(LAB)
        .as_app()
        .logging("trace")
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}
