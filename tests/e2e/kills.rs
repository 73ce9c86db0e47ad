//! `kill -9` of `serve` before and after each of its effects. After a restart everything is there once, as if nothing had happened.

use http::Method;
use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::world::{APPROVER, Setup, World, put};

use crate::policies::{DRY_RUN, LAB, LAB_APPROVED};
use crate::world;

const POINTS: [HoldPoint; 2] = [HoldPoint::BeforeEffect, HoldPoint::AfterEffect];

fn rest(method: Method, below_repository: &str) -> RequestMatcher {
    RequestMatcher::rest(method, &format!("/repos/*/*/{below_repository}"))
}

/// Kills `serve` at both points of an effect, each with a change of its own, and returns the changes.
async fn kill_at(world: &World, effect: &RequestMatcher) -> [u64; 2] {
    let mut changes = [0; 2];
    for (point, number) in POINTS.into_iter().zip(&mut changes) {
        let held = world.forge.faults().hold(effect.clone(), point);
        let path = format!("workspace/{point:?}/values.yaml");
        *number = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
        world.until_held(&format!("{effect:?}"), &held).await;
        world.kill().await;
        held.release();
        world.restart().await;
    }
    changes
}

/// One change, one pull request, the right tree, one status.
async fn assert_promoted_once(world: &World, changes: [u64; 2]) {
    for (point, change) in POINTS.into_iter().zip(changes) {
        let [lab] = world.promotions_of(change).await;
        world.until_status(change, "success").await;
        assert_eq!((lab.labels.len(), lab.assignees.len()), (1, 1));
        let component = format!("{point:?}");
        let (source, target) = (
            format!("workspace/{component}"),
            format!("clusters/lab/{component}"),
        );
        world.assert_same_tree(&lab.head.sha, &source, &target).await;
        let files = world.files_of(lab.number).await;
        assert_eq!(
            files,
            [(format!("{target}/values.yaml"), "added")],
            "and nothing else"
        );
        let told = world.statuses(change);
        assert!(
            told.iter().all(|status| status.state == "success"),
            "nobody was alarmed: {told:?}"
        );
    }
    world.quiet().await;
    assert_eq!(world.promotions().len(), 2);
    assert_eq!(world.promotion_branches().len(), 2);
}

async fn a_kill_leaves_one_pull_request(effect: RequestMatcher) {
    world(LAB)
        .without_previews()
        .run(async |world| {
            let changes = kill_at(world, &effect).await;
            assert_promoted_once(world, changes).await;
        })
        .await;
}

#[tokio::test]
async fn a_kill_at_the_push_leaves_one_pull_request() {
    a_kill_leaves_one_pull_request(RequestMatcher::git_receive_pack()).await;
}

#[tokio::test]
async fn a_kill_at_the_opening_leaves_one_pull_request() {
    a_kill_leaves_one_pull_request(rest(Method::POST, "pulls")).await;
}

#[tokio::test]
async fn a_kill_at_the_label_leaves_one_pull_request() {
    a_kill_leaves_one_pull_request(rest(Method::POST, "issues/*/labels")).await;
}

#[tokio::test]
async fn a_kill_at_the_assignee_leaves_one_pull_request() {
    a_kill_leaves_one_pull_request(rest(Method::POST, "issues/*/assignees")).await;
}

#[tokio::test]
async fn a_kill_at_the_status_leaves_one_pull_request() {
    a_kill_leaves_one_pull_request(rest(Method::POST, "statuses/*")).await;
}

#[tokio::test]
async fn a_kill_at_the_fetch_leaves_one_pull_request() {
    a_kill_leaves_one_pull_request(RequestMatcher::git_upload_pack()).await;
}

#[tokio::test]
async fn a_kill_at_the_reading_of_the_pull_request_leaves_one_pull_request() {
    a_kill_leaves_one_pull_request(rest(Method::GET, "pulls/*")).await;
}

#[tokio::test]
async fn a_kill_at_the_comment_leaves_one_comment() {
    world(DRY_RUN)
        .without_previews()
        .run(async |world| {
            let changes = kill_at(world, &rest(Method::POST, "issues/*/comments")).await;
            for change in changes {
                world.until_status(change, "success").await;
            }
            world.quiet().await;
            for change in changes {
                assert_eq!(world.comments(change).len(), 1);
                assert_eq!(world.statuses(change).len(), 1);
            }
            assert!(world.promotions().is_empty());
        })
        .await;
}

fn with_approvals() -> Setup {
    world(LAB_APPROVED).without_previews().with_approver()
}

/// One approval, by the second identity and of the right commit, and one merge of that commit.
async fn assert_merged_once(world: &World, changes: [u64; 2]) {
    for change in changes {
        let [lab] = world.promotions_of(change).await;
        let merged = world.until_merged(lab.number).await;
        let approvals: Vec<_> = merged
            .reviews
            .iter()
            .map(|review| (review.author.as_str(), &review.commit_id))
            .collect();
        assert_eq!(approvals, [(APPROVER, &merged.head.sha)]);
        assert_eq!(merged.merged_by.as_deref(), Some(world.bot()));
    }
    world.quiet().await;
    assert_eq!(world.promotions().len(), 2);
    for point in POINTS {
        let component = format!("{point:?}");
        world
            .assert_same_tree(
                "main",
                &format!("workspace/{component}"),
                &format!("clusters/lab/{component}"),
            )
            .await;
    }
}

#[tokio::test]
async fn a_kill_at_the_approval_leaves_one_approval() {
    with_approvals()
        .run(async |world| {
            let changes = kill_at(world, &rest(Method::POST, "pulls/*/reviews")).await;
            assert_merged_once(world, changes).await;
        })
        .await;
}

#[tokio::test]
async fn a_kill_at_the_merge_leaves_one_merge() {
    with_approvals()
        .run(async |world| {
            let changes = kill_at(world, &rest(Method::PUT, "pulls/*/merge")).await;
            assert_merged_once(world, changes).await;
        })
        .await;
}

#[tokio::test]
async fn a_kill_right_after_the_webhook_was_taken_loses_nothing() {
    world(LAB)
        .without_previews()
        .run(async |world| {
            let mut changes = Vec::new();
            for round in 0..3 {
                let path = format!("workspace/round-{round}/values.yaml");
                let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                assert!(world.merge_delivery(change).await.succeeded());
                world.kill().await;
                world.restart().await;
                changes.push(change);
            }
            for change in changes {
                let [_lab] = world.promotions_of(change).await;
            }
        })
        .await;
}
