//! What is merged without a person, and what is not.

use http::Method;
use lockflight_sandbox::{HoldPoint, Protection, RequestMatcher};
use lockflight_tests::world::{APPROVER, MONA, REPOSITORY, World, put};

use crate::policies::{LAB_APPROVED, LAB_BY_ITSELF};
use crate::world;

/// What `serve` is told so that it looks soon whether a merge has become possible.
const LOOK_SOON: &str = "promotion.merge_poll=200ms";

#[tokio::test]
async fn it_merges_the_commit_that_it_made() {
    world(LAB_BY_ITSELF)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            let merged = world.until_merged(lab.number).await;
            assert_eq!(merged.merged_by.as_deref(), Some(world.bot()));
            assert_eq!(merged.head.sha, lab.head.sha);
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

/// Requires the status `ci` for whatever is merged into `main`.
fn require_ci(world: &World) {
    let protection = Protection {
        required_contexts: vec!["ci".to_owned()],
        required_approvals: 0,
    };
    world
        .forge
        .protect_branch(REPOSITORY, "main", Some(protection))
        .unwrap();
}

async fn pass_ci(world: &World, number: u64) {
    let head = world.pull_request(number).head.sha;
    world
        .forge
        .set_status(REPOSITORY, &head, "ci", "success", MONA)
        .await
        .unwrap();
}

/// Merges a change under protection, and returns the promotion pull request that now waits for `ci`.
async fn waiting_for_ci(world: &World) -> u64 {
    require_ci(world);
    let change = world
        .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
        .await;
    pass_ci(world, change).await;
    world.merge(change).await;
    let [lab] = world.promotions_of(change).await;
    until_refused(world, lab.number).await;
    lab.number
}

/// Waits until Lockflight has tried to merge, and was refused.
async fn until_refused(world: &World, number: u64) {
    let path = format!("/repos/{REPOSITORY}/pulls/{number}/merge");
    world
        .until("a merge that is refused", |forge| {
            let requests = forge.requests();
            let refused = requests
                .iter()
                .any(|one| one.path.ends_with(&path) && one.status == Some(405));
            refused.then_some(())
        })
        .await;
    assert!(world.is_open(number));
}

#[tokio::test]
async fn it_waits_for_a_required_status() {
    world(LAB_BY_ITSELF)
        .setting(LOOK_SOON)
        .run(async |world| {
            let lab = waiting_for_ci(world).await;
            pass_ci(world, lab).await;
            world.until_merged(lab).await;
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn a_merge_that_waits_survives_a_kill() {
    world(LAB_BY_ITSELF)
        .setting(LOOK_SOON)
        .run(async |world| {
            let lab = waiting_for_ci(world).await;
            world.kill().await;
            pass_ci(world, lab).await;
            world.restart().await;
            world.until_merged(lab).await;
        })
        .await;
}

#[tokio::test]
async fn a_persons_push_leaves_the_merge_to_people() {
    world(LAB_BY_ITSELF)
        .setting(LOOK_SOON)
        .run(async |world| {
            let lab = waiting_for_ci(world).await;
            let branch = world.pull_request(lab).head.branch;
            let checkout = world.checkout(&branch).await;
            checkout.write("clusters/lab/checkout/values.yaml", "replicas: 4\n");
            let theirs = checkout.commit_all("Make it four").await;
            checkout.push(&branch).await;
            pass_ci(world, lab).await;
            world
                .until_comment(1, "commits that Lockflight did not make")
                .await;
            world.quiet().await;
            let pull = world.pull_request(lab);
            assert!(!pull.merged);
            assert_eq!(pull.head.sha, theirs, "what people pushed stands");
        })
        .await;
}

#[tokio::test]
async fn what_is_pushed_between_the_last_look_and_the_merge_is_not_merged() {
    world(LAB_BY_ITSELF)
        .run(async |world| {
            let merging = RequestMatcher::rest(Method::PUT, "/repos/*/*/pulls/*/merge");
            let held = world.forge.faults().hold(merging, HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the merge", &held).await;
            let [lab] = world.promotions_of(change).await;
            let checkout = world.checkout(&lab.head.branch).await;
            checkout.write("clusters/lab/checkout/values.yaml", "replicas: 4\n");
            let theirs = checkout.commit_all("Make it four").await;
            checkout.push(&lab.head.branch).await;
            held.release();
            world
                .until_comment(change, "commits that Lockflight did not make")
                .await;
            world.quiet().await;
            let pull = world.pull_request(lab.number);
            assert_eq!((pull.merged, pull.head.sha), (false, theirs));
        })
        .await;
}

#[tokio::test]
async fn a_merge_of_a_person_in_the_meantime_is_fine() {
    world(LAB_BY_ITSELF)
        .setting(LOOK_SOON)
        .run(async |world| {
            let lab = waiting_for_ci(world).await;
            world.forge.protect_branch(REPOSITORY, "main", None).unwrap();
            // Whoever comes second finds it merged.
            drop(
                world
                    .forge
                    .merge_pull_request(REPOSITORY, lab, lockflight_sandbox::MergeMethod::Squash, MONA)
                    .await,
            );
            world.until_merged(lab).await;
            world.quiet().await;
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn the_second_identity_approves_the_commit_before_it_is_merged() {
    world(LAB_APPROVED)
        .with_approver()
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.forge.approve(REPOSITORY, change, "hubot").await.unwrap();
            let protection = Protection {
                required_contexts: Vec::new(),
                required_approvals: 1,
            };
            world
                .forge
                .protect_branch(REPOSITORY, "main", Some(protection))
                .unwrap();
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            let merged = world.until_merged(lab.number).await;
            let reviews: Vec<_> = merged
                .reviews
                .iter()
                .map(|review| (review.author.as_str(), &review.commit_id))
                .collect();
            assert_eq!(reviews, [(APPROVER, &merged.head.sha)]);
        })
        .await;
}

#[tokio::test]
async fn the_second_identity_never_approves_what_people_pushed() {
    world(&LAB_APPROVED.replace("autoMerge: true", "autoMerge: false"))
        .with_approver()
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            let ours = lab.head.sha;
            world
                .until("the approval", |forge| {
                    let reviews = forge.pull_request(REPOSITORY, lab.number).unwrap().reviews;
                    (reviews.len() == 1).then_some(())
                })
                .await;
            let checkout = world.checkout(&lab.head.branch).await;
            checkout.write("clusters/lab/checkout/values.yaml", "replicas: 4\n");
            checkout.commit_all("Make it four").await;
            checkout.push(&lab.head.branch).await;
            world.redeliver_merge(change).await;
            world.until_logged("has commits that are not ours").await;
            world.quiet().await;
            let reviews = world.pull_request(lab.number).reviews;
            let approved: Vec<&str> = reviews.iter().map(|review| review.commit_id.as_str()).collect();
            assert_eq!(approved, [ours.as_str()]);
        })
        .await;
}

#[tokio::test]
async fn without_a_second_identity_the_pull_request_waits_for_people_and_the_log_says_why() {
    world(&LAB_APPROVED.replace("autoMerge: true", "autoMerge: false"))
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            world.until_logged("[github.approver]").await;
            assert!(world.is_open(lab.number));
            assert!(world.pull_request(lab.number).reviews.is_empty());
        })
        .await;
}

#[tokio::test]
async fn an_answer_that_is_not_known_yet_is_waited_for() {
    world(LAB_BY_ITSELF)
        .run(async |world| {
            world.forge.set_mergeable_unknown_reads(2);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            world.until_merged(lab.number).await;
        })
        .await;
}
