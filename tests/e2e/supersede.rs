//! A newer change comes while the promotion pull request of an older one is still open.

use http::Method;
use lockflight_sandbox::{HoldPoint, Protection, PullRequest, RequestMatcher};
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

/// Waits until a change says that its step goes with this pull request.
async fn until_carried(world: &World, change: u64, by: u64) {
    world.until_comment(change, &format!("- #{by} to staging")).await;
    until_said(world, change, &format!("Opened #{by} staging")).await;
}

#[tokio::test]
async fn the_pull_request_of_an_older_change_is_brought_up_to_the_newer_ones() {
    policy("update")
        .run(async |world| {
            let first = change(world, "checkout", 2).await;
            let [staging] = world.promotions_of(first).await;
            let second = change(world, "checkout", 3).await;
            until_carried(world, second, staging.number).await;
            let third = world
                .merge_change(&[
                    put("workspace/checkout/values.yaml", "replicas: 4\n"),
                    put("workspace/basket/values.yaml", "replicas: 4\n"),
                ])
                .await;
            until_carried(world, third, staging.number).await;
            for older in [first, second] {
                until_said(world, older, &format!("Superseded by #{}", staging.number)).await;
            }
            for change in [first, second, third, first] {
                world.redeliver_merge(change).await;
            }
            world.quiet().await;
            let [now] = world.promotions().try_into().unwrap();
            assert_eq!(now.title, "🚀 Promotion: basket,checkout ➡️  staging");
            let body = now.body.unwrap();
            for older in [first, second] {
                let line = format!("#{older}, which #{} was to bring", staging.number);
                assert!(body.contains(&line), "{body}");
            }
            for change in [second, third] {
                assert_eq!(world.comments(change).len(), 1);
            }
            for component in ["checkout", "basket"] {
                let (source, target) = (
                    format!("workspace/{component}"),
                    format!("clusters/staging/{component}"),
                );
                world.assert_same_tree(&now.head.sha, &source, &target).await;
            }

            world.merge(staging.number).await;
            for change in [third, first, second] {
                world.redeliver_merge(change).await;
            }
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            assert_eq!(world.promotion_branches().len(), 1);
            until_said(world, third, "Merged").await;
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/staging/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn one_that_was_brought_up_and_that_people_close_is_not_opened_again() {
    policy("update")
        .run(async |world| {
            let older = change(world, "checkout", 2).await;
            let [staging] = world.promotions_of(older).await;
            let newer = change(world, "checkout", 3).await;
            until_carried(world, newer, staging.number).await;
            world
                .forge
                .close_pull_request(REPOSITORY, staging.number, MONA)
                .await
                .unwrap();
            for change in [newer, older] {
                world.redeliver_merge(change).await;
            }
            until_said(world, newer, "Closed by people").await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            assert!(!world.is_open(staging.number));
        })
        .await;
}

#[tokio::test]
async fn commits_of_people_are_not_overwritten() {
    policy("update")
        .run(async |world| {
            let older = change(world, "checkout", 2).await;
            let [first] = world.promotions_of(older).await;
            let theirs = world
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
            assert_eq!(world.pull_request(first.number).head.sha, theirs);
            assert!(world.is_open(first.number) && world.is_open(second.number));
            world
                .assert_same_tree(
                    &second.head.sha,
                    "workspace/checkout",
                    "clusters/staging/checkout",
                )
                .await;
        })
        .await;
}

#[tokio::test]
async fn a_kill_while_one_is_brought_up_leaves_one_pull_request() {
    for (method, path) in [
        (None, ""),
        (Some(Method::PATCH), "/repos/*/*/pulls/*"),
        (Some(Method::POST), "/repos/*/*/issues/*/comments"),
    ] {
        for point in [HoldPoint::BeforeEffect, HoldPoint::AfterEffect] {
            policy("update")
                .run(async |world| {
                    let older = change(world, "checkout", 2).await;
                    let [staging] = world.promotions_of(older).await;
                    world.quiet().await;
                    let effect = match &method {
                        Some(method) => RequestMatcher::rest(method.clone(), path),
                        None => RequestMatcher::git_receive_pack(),
                    };
                    let held = world.forge.faults().hold(effect.clone(), point);
                    let newer = change(world, "checkout", 3).await;
                    world.until_held(&format!("{effect:?}"), &held).await;
                    world.kill().await;
                    held.release();
                    world.restart().await;
                    until_carried(world, newer, staging.number).await;
                    until_said(world, older, &format!("Superseded by #{}", staging.number)).await;
                    world.quiet().await;
                    let [now] = world.promotions().try_into().unwrap();
                    assert_eq!(now.comments.len(), 0, "nobody was alarmed");
                    assert_eq!(world.comments(newer).len(), 1);
                    world
                        .assert_same_tree(&now.head.sha, "workspace/checkout", "clusters/staging/checkout")
                        .await;
                })
                .await;
        }
    }
}

#[tokio::test]
async fn one_that_was_brought_up_is_merged_by_itself_and_leads_on() {
    native(
        "
version: 1
environments:
  staging: { path: clusters/staging }
  production: { path: clusters/production }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging], merge: auto }
      - { to: [production] }
",
    )
    .setting("promotion.merge_poll=200ms")
    .run(async |world| {
        let protection = Protection {
            required_contexts: vec!["ci".to_owned()],
            required_approvals: 0,
        };
        let pass = async |number: u64| {
            let head = world.pull_request(number).head.sha;
            let passed = world
                .forge
                .set_status(REPOSITORY, &head, "ci", "success", MONA)
                .await;
            passed.unwrap();
        };
        let older = change(world, "checkout", 2).await;
        let [first, ..] = {
            world
                .forge
                .protect_branch(REPOSITORY, "main", Some(protection))
                .unwrap();
            world.promotions_of::<1>(older).await
        };
        let newer = world
            .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
            .await;
        pass(newer).await;
        world.merge(newer).await;
        world
            .until_comment(newer, &format!("- #{} to staging", first.number))
            .await;
        until_said(world, older, &format!("Superseded by #{}", first.number)).await;
        assert!(world.is_open(first.number));
        pass(first.number).await;
        world.until_merged(first.number).await;
        let [production] = world.promotions_of(newer).await;
        pass(production.number).await;
        world.merge(production.number).await;
        until_said(world, newer, "Promoted to").await;
        world.quiet().await;
        assert_eq!(world.promotions().len(), 2, "the older change has no second wave");
        world
            .assert_same_tree("main", "workspace/checkout", "clusters/production/checkout")
            .await;
    })
    .await;
}

#[tokio::test]
async fn it_is_the_same_where_an_environment_is_a_branch_and_for_each_of_several_targets() {
    native(
        "
version: 1
environments:
  staging: { branch: env/staging }
  production:
    domains:
      us: { path: clusters/us }
      eu: { path: clusters/eu }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging] }
  - from: { path: apps }
    waves:
      - { to: [production], pull_requests: per-domain }
",
    )
    .run(async |world| {
        let checkout = world.checkout("main").await;
        checkout.push("env/staging").await;
        let older = world
            .merge_change(&[put("workspace/checkout/values.yaml", "v: 1\n")])
            .await;
        let [staging] = world.promotions_of(older).await;
        let newer = world
            .merge_change(&[put("workspace/checkout/values.yaml", "v: 2\n")])
            .await;
        until_carried(world, newer, staging.number).await;
        let head = world.pull_request(staging.number).head.sha;
        assert_eq!(
            world.file(&head, "checkout/values.yaml").await.as_deref(),
            Some("v: 2\n")
        );
        world.merge(staging.number).await;
        let at = world.file("env/staging", "checkout/values.yaml").await;
        assert_eq!(at.as_deref(), Some("v: 2\n"));
        until_said(world, older, &format!("Superseded by #{}", staging.number)).await;

        let older = world
            .merge_change(&[put("apps/shop/values.yaml", "v: 1\n")])
            .await;
        let [us, eu] = world.promotions_of(older).await;
        let newer = world
            .merge_change(&[put("apps/shop/values.yaml", "v: 2\n")])
            .await;
        for promotion in [&us, &eu] {
            let said = format!("- #{} to", promotion.number);
            world.until_comment(newer, &said).await;
        }
        until_said(world, older, "Superseded by").await;
        world.redeliver_merge(newer).await;
        world.quiet().await;
        assert_eq!(world.comments(newer).len(), 1);
        for promotion in [us, eu] {
            let head = world.pull_request(promotion.number).head.sha;
            for (path, _) in world.files_of(promotion.number).await {
                assert_eq!(world.file(&head, &path).await.as_deref(), Some("v: 2\n"));
            }
        }
        assert_eq!(world.promotions().len(), 3);
    })
    .await;
}
