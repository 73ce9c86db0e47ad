//! Webhooks that come often, late, or not at all.

use futures::future::join_all;
use lockflight_tests::world::{REPOSITORY, World, put};

use crate::policies::{DRY_RUN, LAB};
use crate::world;

/// Sends a webhook as often as that at the same time, and again whatever was not taken, until each was taken once.
async fn flood(world: &World, change: u64, times: usize) {
    let lost = world.merge_delivery(change).await;
    assert!(!lost.succeeded(), "the forge's own delivery was to be lost");
    let post = world.signed("pull_request", &lost.guid, lost.payload.clone());
    let mut left = times;
    for _round in 0..50 {
        let answers = join_all((0..left).map(|_| world.post(&post))).await;
        assert!(
            answers.iter().all(|answer| [202, 503].contains(answer)),
            "{answers:?}"
        );
        left = answers.iter().filter(|answer| **answer == 503).count();
        if left == 0 {
            return;
        }
    }
    panic!("{left} of {times} deliveries were never taken");
}

#[tokio::test]
async fn a_hundred_deliveries_at_once_give_one_branch_and_one_pull_request() {
    world(LAB)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.forge.webhook_faults().drop_next(1);
            world.merge(change).await;
            flood(world, change, 100).await;
            let [lab] = world.promotions_of(change).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            assert_eq!(world.promotion_branches(), [lab.head.branch]);
            assert_eq!(world.statuses(change).len(), 1);
            assert_eq!(
                world.calls("POST /repos/{owner}/{repo}/pulls"),
                1,
                "nobody else even tried"
            );
        })
        .await;
}

#[tokio::test]
async fn a_hundred_deliveries_at_once_give_one_comment() {
    world(DRY_RUN)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.forge.webhook_faults().drop_next(1);
            world.merge(change).await;
            flood(world, change, 100).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(world.comments(change).len(), 1);
            assert_eq!(world.statuses(change).len(), 1);
        })
        .await;
}

#[tokio::test]
async fn a_lost_webhook_is_made_good_by_its_redelivery() {
    world(LAB)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.forge.webhook_faults().drop_next(1);
            world.merge(change).await;
            assert!(!world.merge_delivery(change).await.succeeded());
            world.quiet().await;
            assert!(world.promotions().is_empty(), "nobody can know of the merge");

            world.redeliver_merge(change).await;
            let [lab] = world.promotions_of(change).await;
            world
                .assert_same_tree(&lab.head.sha, "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn a_webhook_that_comes_while_serve_is_down_is_made_good_by_its_redelivery() {
    world(LAB)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.kill().await;
            world.merge(change).await;
            assert!(!world.merge_delivery(change).await.succeeded());
            world.restart().await;
            world.redeliver_merge(change).await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}

#[tokio::test]
async fn redelivering_what_was_done_does_nothing() {
    world(LAB)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            for _ in 0..3 {
                world.redeliver_merge(change).await;
                world.quiet().await;
            }
            assert_eq!(
                world.statuses(change).len(),
                1,
                "a status that stands is not set again"
            );
            world.merge(lab.number).await;
            world.until_status(lab.number, "success").await;
            world.redeliver_merge(change).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1, "one that is merged is done");
            let pull = world.pull_request(lab.number);
            assert_eq!((pull.labels.len(), pull.assignees.len()), (1, 1));
            let told = world.statuses(change).pop().and_then(|status| status.description);
            assert_eq!(told, Some(format!("Merged #{} Lab", lab.number)));
        })
        .await;
}

#[tokio::test]
async fn each_webhook_may_come_three_times() {
    world(LAB)
        .run(async |world| {
            world.forge.webhook_faults().repeat_next(u32::MAX, 3);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            world.merge(lab.number).await;
            world.until_status(lab.number, "success").await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn an_earlier_change_that_comes_late_does_not_undo_a_later_one() {
    world(LAB)
        .file("workspace/checkout/values.yaml", "replicas: 1\n")
        .file("clusters/lab/checkout/values.yaml", "replicas: 1\n")
        .run(async |world| {
            let early = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 2\n")])
                .await;
            world.forge.webhook_faults().drop_next(1);
            world.merge(early).await;
            world.merge_delivery(early).await;
            let late = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(late).await;
            world.merge(lab.number).await;
            world.until_status(lab.number, "success").await;

            world.redeliver_merge(early).await;
            world.until_status(early, "success").await;
            world.quiet().await;
            assert_eq!(
                world.promotions().len(),
                1,
                "order is by ancestry, not by arrival"
            );
            let lab = world.file("main", "clusters/lab/checkout/values.yaml").await;
            assert_eq!(lab.as_deref(), Some("replicas: 3\n"));
        })
        .await;
}

#[tokio::test]
async fn a_merge_into_another_branch_promotes_nothing() {
    world(LAB)
        .run(async |world| {
            world
                .commit(
                    "release",
                    &[put("workspace/checkout/values.yaml", "replicas: 3\n")],
                )
                .await;
            let branch = world.new_branch();
            world
                .commit(&branch, &[put("workspace/search/values.yaml", "replicas: 3\n")])
                .await;
            let opened = world
                .forge
                .open_pull_request(REPOSITORY, &branch, "release", "Elsewhere", "mona")
                .await;
            let number = opened.unwrap();
            world.merge(number).await;
            let closed = world
                .open_change(&[put("workspace/search/values.yaml", "replicas: 4\n")])
                .await;
            world
                .forge
                .close_pull_request(REPOSITORY, closed, "mona")
                .await
                .unwrap();
            world.merge_delivery(closed).await;
            world.quiet().await;
            assert!(world.promotions().is_empty());
            assert!(
                world.statuses(number).is_empty() && world.statuses(closed).is_empty(),
                "nobody is told"
            );
        })
        .await;
}
