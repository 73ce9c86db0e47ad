//! A newer change comes while the promotion pull request of an older one is still open.

use http::Method;
use lockflight_sandbox::{HoldPoint, PullRequest, RequestMatcher};
use lockflight_tests::world::{MONA, REPOSITORY, Setup, World, put};

use crate::native::{native, said, until_said};

/// One environment, to which everything goes in one pull request.
fn policy(supersede: &str) -> Setup {
    let yaml = format!(
        "
version: 1
environments:
  staging: {{ path: clusters/staging }}
defaults: {{ supersede: {supersede} }}
flows:
  - from: {{ path: workspace }}
    waves:
      - {{ to: [staging] }}
"
    );
    native(&yaml).setting("promotion.merge_poll=200ms")
}

async fn change(world: &World, component: &str, replicas: u32) -> u64 {
    let path = format!("workspace/{component}/values.yaml");
    let content = format!("replicas: {replicas}\n");
    world.merge_change(&[put(&path, &content)]).await
}

/// The promotion pull requests that are open, oldest first.
fn open(world: &World) -> Vec<PullRequest> {
    let mut promotions = world.promotions();
    promotions.retain(|one| world.is_open(one.number));
    promotions
}

async fn until_closed(world: &World, number: u64) {
    let what = format!("the end of #{number}");
    world
        .until(&what, |_| (!world.is_open(number)).then_some(()))
        .await;
}

#[tokio::test]
async fn the_pull_request_of_an_older_change_is_closed_in_favour_of_the_newer_one() {
    policy("close")
        .run(async |world| {
            let older = change(world, "checkout", 2).await;
            let [first] = world.promotions_of(older).await;
            let newer = change(world, "checkout", 3).await;
            let [second] = world.promotions_of(newer).await;
            until_closed(world, first.number).await;
            world
                .until_comment(first.number, &format!("Superseded by #{}", second.number))
                .await;
            until_said(world, older, &format!("Superseded by #{}", second.number)).await;
            world.quiet().await;
            let body = world.pull_request(second.number).body.unwrap();
            assert!(
                body.contains(&format!("#{older}, which #{} was to bring", first.number)),
                "{body}"
            );
            assert_eq!(open(world).len(), 1);

            world.merge(second.number).await;
            world.until_status(newer, "success").await;
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/staging/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn what_is_told_again_supersedes_nothing_twice() {
    policy("close")
        .run(async |world| {
            let older = change(world, "checkout", 2).await;
            let [first] = world.promotions_of(older).await;
            let newer = change(world, "checkout", 3).await;
            let [second] = world.promotions_of(newer).await;
            until_said(world, older, "Superseded by").await;
            for change in [older, newer, older] {
                world.redeliver_merge(change).await;
            }
            world.quiet().await;
            assert_eq!(world.comments(first.number).len(), 1);
            assert_eq!(world.promotions().len(), 2);
            assert!(world.is_open(second.number));
            assert!(said(world.statuses(older).last().unwrap()).starts_with("Superseded by"));
        })
        .await;
}

#[tokio::test]
async fn one_that_people_open_again_is_theirs() {
    policy("close")
        .run(async |world| {
            let older = change(world, "checkout", 2).await;
            let [first] = world.promotions_of(older).await;
            let newer = change(world, "checkout", 3).await;
            until_closed(world, first.number).await;
            until_said(world, older, "Superseded by").await;
            world.comments(first.number);
            let reopened = world
                .forge
                .reopen_pull_request(REPOSITORY, first.number, MONA)
                .await;
            reopened.unwrap();
            world.redeliver_merge(newer).await;
            world.redeliver_merge(older).await;
            world.quiet().await;
            assert!(world.is_open(first.number));
            assert_eq!(open(world).len(), 2);
        })
        .await;
}

#[tokio::test]
async fn commits_of_people_are_not_closed_away() {
    policy("close")
        .run(async |world| {
            let older = change(world, "checkout", 2).await;
            let [first] = world.promotions_of(older).await;
            world
                .commit(
                    &first.head.branch,
                    &[put("clusters/staging/checkout/extra.yaml", "a: b\n")],
                )
                .await;
            let newer = change(world, "checkout", 3).await;
            let [second] = world.promotions_of(newer).await;
            world
                .until_comment(first.number, &format!("#{} is newer", second.number))
                .await;
            world.quiet().await;
            assert!(world.is_open(first.number));
            assert!(world.is_open(second.number));
            assert_eq!(world.comments(first.number).len(), 1);
        })
        .await;
}

#[tokio::test]
async fn an_older_change_whose_webhook_comes_late_opens_nothing() {
    policy("close")
        .run(async |world| {
            let look = RequestMatcher::rest(Method::GET, "/repos/*/*/pulls");
            let held = world.forge.faults().hold(look, HoldPoint::BeforeEffect);
            let older = change(world, "checkout", 2).await;
            world.until_held("the look of the older change", &held).await;
            let newer = change(world, "checkout", 3).await;
            held.release();
            world.until_status(newer, "success").await;
            world.until_status(older, "success").await;
            world.quiet().await;
            let [second] = open(world).try_into().unwrap();
            assert!(second.head.branch.starts_with(&format!("promotions/{newer}-")));
            world.redeliver_merge(older).await;
            world.quiet().await;
            assert_eq!(open(world).len(), 1);
            assert!(world.is_open(second.number));
            for promotion in world.promotions() {
                world.comments(promotion.number);
            }
        })
        .await;
}

#[tokio::test]
async fn one_that_brings_more_than_the_newer_change_stays() {
    policy("close")
        .run(async |world| {
            let older = world
                .merge_change(&[
                    put("workspace/checkout/values.yaml", "replicas: 2\n"),
                    put("workspace/basket/values.yaml", "replicas: 2\n"),
                ])
                .await;
            let [first] = world.promotions_of(older).await;
            let newer = change(world, "checkout", 3).await;
            world.promotions_of::<1>(newer).await;
            let other = change(world, "search", 1).await;
            world.promotions_of::<1>(other).await;
            world.quiet().await;
            assert_eq!(open(world).len(), 3);
            assert!(world.is_open(first.number));
        })
        .await;
}

#[tokio::test]
async fn where_the_policy_leaves_them_both_stand_side_by_side() {
    policy("leave")
        .run(async |world| {
            let older = change(world, "checkout", 2).await;
            let [first] = world.promotions_of(older).await;
            let newer = change(world, "checkout", 3).await;
            world.promotions_of::<1>(newer).await;
            world.quiet().await;
            assert_eq!(open(world).len(), 2);
            assert!(world.is_open(first.number));
        })
        .await;
}

#[tokio::test]
async fn the_newer_change_goes_on_from_wave_to_wave_for_both() {
    native(
        "
version: 1
environments:
  staging: { path: clusters/staging }
  production: { path: clusters/production }
defaults: { supersede: close }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging] }
      - { to: [production] }
",
    )
    .setting("promotion.merge_poll=200ms")
    .run(async |world| {
        let older = change(world, "checkout", 2).await;
        let [first] = world.promotions_of(older).await;
        let newer = change(world, "checkout", 3).await;
        let [second] = world.promotions_of(newer).await;
        until_closed(world, first.number).await;
        world.comments(first.number);
        until_said(world, older, &format!("Superseded by #{}", second.number)).await;
        world.until_status(older, "success").await;
        world.comments(first.number);

        world.merge(second.number).await;
        let [_, production] = world.promotions_of(newer).await;
        world.merge(production.number).await;
        until_said(world, newer, "Promoted to").await;
        world.quiet().await;
        assert_eq!(world.promotions().len(), 3, "the older change has no second wave");
        world
            .assert_same_tree("main", "workspace/checkout", "clusters/production/checkout")
            .await;
    })
    .await;
}
