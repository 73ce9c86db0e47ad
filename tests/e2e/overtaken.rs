//! Changes that have been overtaken by later ones before their promotion was carried out, and what must not be taken for that.

use http::Method;
use lockflight_sandbox::{HoldPoint, Protection, RequestMatcher};
use lockflight_tests::world::{MONA, REPOSITORY, World, put};

use crate::policies::{LAB, LAB_BY_ITSELF};
use crate::world;

async fn pass_ci(world: &World, number: u64) {
    let head = world.pull_request(number).head.sha;
    world
        .forge
        .set_status(REPOSITORY, &head, "ci", "success", MONA)
        .await
        .unwrap();
}

fn the_look() -> RequestMatcher {
    RequestMatcher::rest(Method::GET, "/repos/*/*/pulls")
}

#[tokio::test]
async fn what_was_reverted_while_a_merge_waited_is_not_merged_by_itself() {
    world(LAB_BY_ITSELF)
        .without_previews()
        .setting("promotion.merge_poll=200ms")
        .file("workspace/checkout/values.yaml", "replicas: 2\n")
        .file("clusters/lab/checkout/values.yaml", "replicas: 2\n")
        .run(async |world| {
            let protection = Protection {
                required_contexts: vec!["ci".to_owned()],
                required_approvals: 0,
            };
            world
                .forge
                .protect_branch(REPOSITORY, "main", Some(protection))
                .unwrap();
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            pass_ci(world, change).await;
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            let revert = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 2\n")])
                .await;
            pass_ci(world, revert).await;
            world.merge(revert).await;
            world.until_status(revert, "success").await;
            pass_ci(world, lab.number).await;
            world
                .until_comment(change, "later content of the same source")
                .await;
            world.quiet().await;
            assert!(!world.pull_request(lab.number).merged);
        })
        .await;
}

#[tokio::test]
async fn a_part_that_was_reverted_is_left_out_of_a_promotion_that_comes_late() {
    world(LAB_BY_ITSELF)
        .without_previews()
        .file("workspace/a/v.yaml", "v: 0\n")
        .file("clusters/lab/a/v.yaml", "v: 0\n")
        .file("workspace/b/v.yaml", "v: 0\n")
        .file("clusters/lab/b/v.yaml", "v: 0\n")
        .run(async |world| {
            let held = world.forge.faults().hold(the_look(), HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[
                    put("workspace/a/v.yaml", "v: 1\n"),
                    put("workspace/b/v.yaml", "v: 1\n"),
                ])
                .await;
            world.until_held("the look", &held).await;
            let revert = world.merge_change(&[put("workspace/a/v.yaml", "v: 0\n")]).await;
            held.release();
            world.until_status(revert, "success").await;
            let [lab] = world.promotions_of(change).await;
            world.until_merged(lab.number).await;
            let at = async |path: &str| world.file("main", path).await;
            assert_eq!(at("clusters/lab/a/v.yaml").await, at("workspace/a/v.yaml").await);
            assert_eq!(at("clusters/lab/b/v.yaml").await, at("workspace/b/v.yaml").await);
        })
        .await;
}

#[tokio::test]
async fn a_merge_the_wrong_way_round_hides_no_promotion() {
    world(LAB)
        .without_previews()
        .file("workspace/checkout/values.yaml", "replicas: 2\n")
        .file("clusters/lab/checkout/values.yaml", "replicas: 2\n")
        .run(async |world| {
            let checkout = world.checkout("main").await;
            checkout.write("notes.md", "Mine.\n");
            checkout.commit_all("A commit of mine").await;
            let held = world.forge.faults().hold(the_look(), HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the look", &held).await;
            // What `git pull` and `git push` do: the first parents of main are mine from now on.
            checkout.git(&["fetch", "origin"]).await;
            checkout.git(&["merge", "--no-edit", "origin/main"]).await;
            checkout.push("main").await;
            held.release();
            let [lab] = world.promotions_of(change).await;
            world.merge(lab.number).await;
            let lab = world.file("main", "clusters/lab/checkout/values.yaml").await;
            assert_eq!(lab, world.file("main", "workspace/checkout/values.yaml").await);
        })
        .await;
}
