//! What people do meanwhile stands.

use http::Method;
use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::world::{MONA, REPOSITORY, World, put};

use crate::policies::LAB;
use crate::world;

/// The branch that a push is about to make: the executor has looked whether there is a pull request from it.
fn branch_that_is_pushed(world: &World) -> String {
    let requests = world.forge.requests();
    let paths = requests.iter().rev().map(|request| &request.path);
    let looked_for = paths
        .filter_map(|path| path.split_once("head=")?.1.split('&').next())
        .next();
    let head = looked_for.unwrap_or_else(|| panic!("nothing was looked for: {requests:?}"));
    let head = head.replace("%2F", "/").replace("%3A", ":");
    let (_, branch) = head.split_once(':').unwrap();
    branch.to_owned()
}

#[tokio::test]
async fn a_branch_that_people_have_made_is_left_alone() {
    world(LAB)
        .run(async |world| {
            let held = world
                .forge
                .faults()
                .hold(RequestMatcher::git_receive_pack(), HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the push", &held).await;
            let branch = branch_that_is_pushed(world);
            assert!(branch.starts_with(&format!("promotions/{change}-")), "{branch}");
            let checkout = world.checkout("main").await;
            checkout.write("notes.md", "Mine.\n");
            let theirs = checkout.commit_all("Take the name").await;
            checkout.push(&branch).await;
            held.release();

            let comment = world.until_comment(change, &branch).await;
            assert!(comment.body.contains("left as they are"), "{}", comment.body);
            world.until_status(change, "failure").await;
            world.redeliver_merge(change).await;
            world.quiet().await;
            assert_eq!(world.forge.branch(REPOSITORY, &branch).unwrap(), Some(theirs));
            assert!(world.promotions().is_empty());
            assert_eq!(world.comments(change).len(), 1);

            // As the comment says: with the branch out of the way, a redelivery does it.
            world.forge.delete_branch(REPOSITORY, &branch).await.unwrap();
            world.redeliver_merge(change).await;
            let [lab] = world.promotions_of(change).await;
            world
                .assert_same_tree(&lab.head.sha, "workspace/checkout", "clusters/lab/checkout")
                .await;
            world.until_status(change, "success").await;
        })
        .await;
}

#[tokio::test]
async fn a_branch_that_holds_just_what_ours_would_is_taken_as_it_is() {
    world(LAB)
        .run(async |world| {
            let held = world
                .forge
                .faults()
                .hold(RequestMatcher::git_receive_pack(), HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the push", &held).await;
            let branch = branch_that_is_pushed(world);
            // As after an upgrade or a rename between two attempts: the same content, another commit.
            let checkout = world.checkout("main").await;
            checkout.write("clusters/lab/checkout/values.yaml", "replicas: 3\n");
            let alike = checkout.commit_all("The same in other words").await;
            checkout.push(&branch).await;
            held.release();

            let [lab] = world.promotions_of(change).await;
            assert_eq!(lab.head.sha, alike);
        })
        .await;
}

#[tokio::test]
async fn what_people_push_between_our_push_and_the_pull_request_stands() {
    world(LAB)
        .run(async |world| {
            let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
            let held = world.forge.faults().hold(opening, HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the pull request", &held).await;
            let branches = world.promotion_branches();
            let [branch] = branches.as_slice() else {
                panic!("{branches:?}")
            };
            let checkout = world.checkout(branch).await;
            checkout.write("clusters/lab/checkout/values.yaml", "replicas: 4\n");
            let theirs = checkout.commit_all("Make it four").await;
            checkout.push(branch).await;
            held.release();

            let [lab] = world.promotions_of(change).await;
            world.redeliver_merge(change).await;
            world.quiet().await;
            assert_eq!(world.pull_request(lab.number).head.sha, theirs);
            assert_eq!(world.forge.branch(REPOSITORY, branch).unwrap(), Some(theirs));
        })
        .await;
}

#[tokio::test]
async fn what_people_push_before_a_kill_and_restart_stands() {
    world(LAB)
        .run(async |world| {
            let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
            let held = world.forge.faults().hold(opening, HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the pull request", &held).await;
            world.kill().await;
            held.release();
            let branches = world.promotion_branches();
            let [branch] = branches.as_slice() else {
                panic!("{branches:?}")
            };
            let checkout = world.checkout(branch).await;
            checkout.write("clusters/lab/checkout/values.yaml", "replicas: 4\n");
            let theirs = checkout.commit_all("Make it four").await;
            checkout.push(branch).await;
            world.restart().await;

            world.until_comment(change, branch).await;
            world.quiet().await;
            assert_eq!(world.forge.branch(REPOSITORY, branch).unwrap(), Some(theirs));
        })
        .await;
}

#[tokio::test]
async fn a_pull_request_of_our_branch_into_another_one_is_not_taken_for_ours() {
    world(LAB)
        .run(async |world| {
            let other = [("README.md", Some(&b"release"[..]))];
            world
                .forge
                .commit_files(REPOSITORY, "release", &other, "Release")
                .await
                .unwrap();
            let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
            let held = world.forge.faults().hold(opening, HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the pull request", &held).await;
            world.kill().await;
            held.release();
            let branches = world.promotion_branches();
            let [branch] = branches.as_slice() else {
                panic!("{branches:?}")
            };
            let theirs = world
                .forge
                .open_pull_request(
                    REPOSITORY,
                    branch,
                    "release",
                    "Straight to the release",
                    "mallory",
                )
                .await
                .unwrap();
            world
                .forge
                .close_pull_request(REPOSITORY, theirs, "mallory")
                .await
                .unwrap();
            world.restart().await;

            let ours = world
                .until("the pull request into main", |forge| {
                    let mut pulls = forge.pull_requests(REPOSITORY).unwrap();
                    pulls.retain(|pull| &pull.head.branch == branch && pull.base.branch == "main");
                    pulls.pop()
                })
                .await;
            let status = world.until_status(change, "success").await;
            let said = status.description.unwrap();
            assert!(said.starts_with(&format!("Opened #{} ", ours.number)), "{said}");
        })
        .await;
}

#[tokio::test]
async fn a_pull_request_that_a_person_closed_is_not_opened_again() {
    world(LAB)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            world
                .forge
                .close_pull_request(REPOSITORY, lab.number, MONA)
                .await
                .unwrap();
            world.redeliver_merge(change).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            assert!(!world.is_open(lab.number));
            world
                .forge
                .delete_branch(REPOSITORY, &lab.head.branch)
                .await
                .unwrap();
            world.redeliver_merge(change).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1, "not even when its branch is gone");
            assert!(world.promotion_branches().is_empty());

            // Other content is another matter.
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 4\n")])
                .await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}

#[tokio::test]
async fn an_edited_lineage_begins_anew() {
    let chain = format!(
        "{LAB}  - sourcePath: \"clusters/lab/\"\n    promotionPrs:\n      - targetDescription: Production\n        targetPaths: [\"clusters/prod/\"]\n"
    );
    world(&chain)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            let body = lab.body.unwrap();
            let (marker, rest) = body.split_once('\n').unwrap();
            let edited = format!(
                "{}
{rest}",
                marker.replacen(" -->", "0 -->", 1)
            );
            world
                .forge
                .edit_pull_request(REPOSITORY, lab.number, None, Some(&edited), MONA)
                .await
                .unwrap();
            world.merge(lab.number).await;
            let [production] = world.promotions_of(lab.number).await;
            world.until_logged("is not one that we signed").await;
            assert_eq!(
                world.files_of(production.number).await.len(),
                1,
                "it decides nothing but what is shown"
            );
        })
        .await;
}
