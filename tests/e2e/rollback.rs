//! A change that turned out bad is taken back: what stood before it is promoted in its place, and stays until somebody lets it go.

use lockflight_sandbox::{Access, PullRequest, Status};
use lockflight_tests::world::{HUBOT, MONA, REPOSITORY, Setup, World, put, remove};

use crate::native::{native, said, until_said};
use crate::policies::LAB_BY_ITSELF;
use crate::world;

/// What tells of a rollback.
const ROLLBACK: &str = "lockflight/rollback";

fn policy() -> Setup {
    native(
        "
version: 1
environments:
  staging: { path: clusters/staging }
  production:
    path: 'clusters/prod/{domain}'
    domains: { west: , east: }
flows:
  - from: { path: workspace }
    select: { exclude: ['region.yaml'] }
    waves:
      - { to: [staging], merge: auto }
      - { to: [production], pull_requests: per-domain, merge: auto }
",
    )
    .setting("promotion.merge_poll=200ms")
}

async fn replicas(world: &World, number: u32) -> u64 {
    let content = format!("replicas: {number}\n");
    world
        .merge_change(&[put("workspace/checkout/values.yaml", &content)])
        .await
}

/// The last status of a rollback.
fn told(world: &World, change: u64) -> Option<Status> {
    let head = world.pull_request(change).head.sha;
    let all = world.forge.statuses(REPOSITORY, &head).unwrap();
    all.into_iter().rev().find(|status| status.context == ROLLBACK)
}

async fn until_told(world: &World, change: u64, text: &str) -> Status {
    world
        .until(&format!("a rollback of #{change} that says {text:?}"), |_| {
            told(world, change).filter(|status| said(status).contains(text))
        })
        .await
}

async fn done(world: &World, number: u64, command: &str) {
    let comment = world.say(number, command, MONA).await;
    world.until_reaction(number, comment, "rocket").await;
}

async fn refused(world: &World, number: u64, command: &str, by: &str, why: &str) {
    let comment = world.say(number, command, by).await;
    world.until_reaction(number, comment, "confused").await;
    world.until_comment(number, why).await;
}

/// What takes something back, oldest first.
fn ways_back(world: &World) -> Vec<PullRequest> {
    let mut all = world.promotions();
    all.retain(|one| one.title.starts_with("⏪"));
    all
}

async fn assert_everywhere(world: &World, content: &str) {
    for place in ["staging", "prod/west", "prod/east"] {
        let path = format!("clusters/{place}/checkout/values.yaml");
        assert_eq!(
            world.file("main", &path).await.as_deref(),
            Some(content),
            "{place}"
        );
    }
}

#[tokio::test]
async fn what_stood_before_goes_through_the_same_waves_and_stays_until_it_is_let_go() {
    policy()
        .file("clusters/prod/west/checkout/region.yaml", "region: west\n")
        .run(async |world| {
            let good = replicas(world, 2).await;
            until_said(world, good, "Promoted to").await;
            let bad = world
                .merge_change(&[
                    put("workspace/checkout/values.yaml", "replicas: 0\n"),
                    put("workspace/checkout/new.yaml", "new: true\n"),
                ])
                .await;
            until_said(world, bad, "Promoted to").await;
            assert_everywhere(world, "replicas: 0\n").await;

            done(world, bad, "/promote rollback all it serves nobody").await;
            let record = world.until_comment(bad, "it serves nobody").await;
            assert!(record.body.contains("`mona`"), "{}", record.body);
            let end = until_told(world, bad, "held until /promote release").await;
            assert_eq!(end.state, "success");
            assert_everywhere(world, "replicas: 2\n").await;
            assert_eq!(
                world.file("main", "clusters/prod/east/checkout/new.yaml").await,
                None
            );
            let region = "clusters/prod/west/checkout/region.yaml";
            assert_eq!(
                world.file("main", region).await.as_deref(),
                Some("region: west\n")
            );
            let back = ways_back(world);
            assert_eq!(back.len(), 3, "{}", world.dump());
            let body = back[0].body.clone().unwrap();
            assert!(
                body.contains(&format!("#{bad}")) && body.contains("it serves nobody"),
                "{body}"
            );
            until_said(world, bad, "Rolled back by mona: it serves nobody").await;

            // The next change still has what was bad in it, and waits.
            let next = world
                .merge_change(&[put("workspace/checkout/other.yaml", "other: true\n")])
                .await;
            until_said(world, next, &format!("/promote release on #{bad}")).await;
            // Another component is none of it.
            let other = world
                .merge_change(&[put("workspace/cart/values.yaml", "replicas: 1\n")])
                .await;
            until_said(world, other, "Promoted to").await;
            world.quiet().await;
            assert_everywhere(world, "replicas: 2\n").await;

            let fix = replicas(world, 3).await;
            done(world, bad, "/promote release").await;
            until_told(world, bad, "Let go").await;
            until_said(world, fix, "Promoted to").await;
            world.quiet().await;
            assert_everywhere(world, "replicas: 3\n").await;
            for read in [bad, next, fix] {
                world.comments(read);
            }
            assert!(!world.log().contains("ERROR"), "{}", world.dump());
        })
        .await;
}

#[tokio::test]
async fn one_target_is_taken_back_and_the_others_go_on() {
    policy()
        .run(async |world| {
            let good = replicas(world, 2).await;
            until_said(world, good, "Promoted to").await;
            let bad = replicas(world, 0).await;
            until_said(world, bad, "Promoted to").await;
            refused(world, bad, "/promote rollback prduction", MONA, "production").await;
            assert!(ways_back(world).is_empty());
            done(world, bad, "/promote rollback production/west only there").await;
            world.until_comment(bad, "only there").await;
            until_told(world, bad, "held until /promote release").await;
            let west = world
                .file("main", "clusters/prod/west/checkout/values.yaml")
                .await;
            assert_eq!(west.as_deref(), Some("replicas: 2\n"));
            let east = world
                .file("main", "clusters/prod/east/checkout/values.yaml")
                .await;
            assert_eq!(east.as_deref(), Some("replicas: 0\n"));
            assert_eq!(ways_back(world).len(), 1);

            let next = replicas(world, 5).await;
            until_said(world, next, &format!("/promote release on #{bad}")).await;
            world
                .until("the next change in the east", |_| {
                    let merged = world.promotions().into_iter().filter(|one| one.merged);
                    merged
                        .filter(|one| one.head.branch.starts_with(&format!("promotions/{next}-")))
                        .count()
                        .ge(&2)
                        .then_some(())
                })
                .await;
            let west = world
                .file("main", "clusters/prod/west/checkout/values.yaml")
                .await;
            assert_eq!(west.as_deref(), Some("replicas: 2\n"));
        })
        .await;
}

#[tokio::test]
async fn who_may_not_write_takes_nothing_back_and_what_is_open_can_t_be() {
    policy()
        .run(async |world| {
            world.forge.set_access(REPOSITORY, HUBOT, Access::Read).unwrap();
            let change = replicas(world, 2).await;
            until_said(world, change, "Promoted to").await;
            refused(
                world,
                change,
                "/promote rollback all",
                HUBOT,
                "It needs the role write",
            )
            .await;
            let open = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 7\n")])
                .await;
            refused(world, open, "/promote rollback all", MONA, "not").await;
            refused(
                world,
                change,
                "/promote rollback",
                MONA,
                "A rollback names the target",
            )
            .await;
            world.quiet().await;
            assert!(ways_back(world).is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_component_that_the_change_created_goes_and_one_that_it_removed_comes_back() {
    policy()
        .run(async |world| {
            let good = replicas(world, 2).await;
            until_said(world, good, "Promoted to").await;
            let bad = world
                .merge_change(&[
                    remove("workspace/checkout"),
                    put("workspace/cart/values.yaml", "replicas: 1\n"),
                ])
                .await;
            until_said(world, bad, "Promoted to").await;
            assert!(world.tree("main", "clusters/staging/checkout").await.is_empty());
            done(world, bad, "/promote rollback all").await;
            until_told(world, bad, "held until /promote release").await;
            world.comments(bad);
            assert_everywhere(world, "replicas: 2\n").await;
            assert!(world.tree("main", "clusters/prod/east/cart").await.is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_death_in_the_middle_and_the_loss_of_everything_end_in_the_same_place() {
    policy()
        .run(async |world| {
            let good = replicas(world, 2).await;
            until_said(world, good, "Promoted to").await;
            let bad = replicas(world, 0).await;
            until_said(world, bad, "Promoted to").await;
            let comment = world.say(bad, "/promote rollback all", MONA).await;
            world
                .until("the first way back", |_| {
                    (!ways_back(world).is_empty()).then_some(())
                })
                .await;
            world.kill().await;
            world.lose_everything().await;
            world.restart().await;
            // Somebody looks.
            done(world, bad, "/promote replan").await;
            until_told(world, bad, "held until /promote release").await;
            world.quiet().await;
            assert_everywhere(world, "replicas: 2\n").await;
            assert_eq!(
                ways_back(world).len(),
                3,
                "nothing is opened twice: {}",
                world.dump()
            );
            world.until_reaction(bad, comment, "rocket").await;
            world.comments(bad);
        })
        .await;
}

/// Each way to tell environments apart.
#[tokio::test]
async fn it_is_the_same_on_a_branch_of_its_own() {
    native(
        "
version: 1
environments:
  production: { branch: env/production, path: live }
flows:
  - from: { path: workspace }
    waves: [{ to: [production] }]
",
    )
    .setting("promotion.merge_poll=200ms")
    .run(async |world| {
        world
            .commit("env/production", &[put("live/other/values.yaml", "kept: true\n")])
            .await;
        let file = "live/checkout/values.yaml";
        for number in [2, 0] {
            let change = replicas(world, number).await;
            let [promotion] = world.promotions_of(change).await;
            world.merge(promotion.number).await;
            if number > 0 {
                continue;
            }
            done(world, change, "/promote rollback all").await;
            let back = world.until("the way back", |_| ways_back(world).pop()).await;
            assert_eq!(back.base.branch, "env/production");
            world.merge(back.number).await;
            until_told(world, change, "held until /promote release").await;
            world.comments(change);
        }
        let live = world.file("env/production", file).await;
        assert_eq!(live.as_deref(), Some("replicas: 2\n"));
        let other = world.file("env/production", "live/other/values.yaml").await;
        assert_eq!(other.as_deref(), Some("kept: true\n"));
    })
    .await;
}

#[tokio::test]
async fn keys_of_a_single_instance_are_set_back_and_nothing_else_is() {
    native(
        "
version: 1
environments:
  staging: { path: apps, file: 'values-{environment}.yaml' }
  production: { path: apps, file: 'values-{environment}.yaml' }
flows:
  - from: staging
    keys: [image.tag]
    waves: [{ to: [production] }]
",
    )
    .file("apps/web/values-staging.yaml", "image:\n  tag: v1\n")
    .file(
        "apps/web/values-production.yaml",
        "image:\n  tag: v1 # live\nreplicas: 9\n",
    )
    .setting("promotion.merge_poll=200ms")
    .run(async |world| {
        let bad = world
            .merge_change(&[put("apps/web/values-staging.yaml", "image:\n  tag: v2\n")])
            .await;
        let [promotion] = world.promotions_of(bad).await;
        world.merge(promotion.number).await;
        let live = "apps/web/values-production.yaml";
        let content = world.file("main", live).await.unwrap();
        assert_eq!(content, "image:\n  tag: v2 # live\nreplicas: 9\n");
        // Somebody changes something else there in the meantime.
        world
            .commit("main", &[put(live, "image:\n  tag: v2 # live\nreplicas: 12\n")])
            .await;
        done(world, bad, "/promote rollback all").await;
        let back = world.until("the way back", |_| ways_back(world).pop()).await;
        world.merge(back.number).await;
        until_told(world, bad, "held until /promote release").await;
        world.comments(bad);
        let content = world.file("main", live).await.unwrap();
        assert_eq!(content, "image:\n  tag: v1 # live\nreplicas: 12\n");
    })
    .await;
}

#[tokio::test]
async fn telefonistkas_policy_rolls_back_too() {
    world(LAB_BY_ITSELF)
        .setting("promotion.merge_poll=200ms")
        .run(async |world| {
            let mut last = 0;
            for number in [2, 0] {
                last = replicas(world, number).await;
                let [lab] = world.promotions_of(last).await;
                world.until_merged(lab.number).await;
            }
            done(world, last, "/promote rollback all").await;
            let back = world.until("the way back", |_| ways_back(world).pop()).await;
            world.until_merged(back.number).await;
            until_told(world, last, "held until /promote release").await;
            world.comments(last);
            let lab = world.file("main", "clusters/lab/checkout/values.yaml").await;
            assert_eq!(lab.as_deref(), Some("replicas: 2\n"));
            let next = replicas(world, 4).await;
            until_said(world, next, &format!("#{last}")).await;
            world.quiet().await;
            let lab = world.file("main", "clusters/lab/checkout/values.yaml").await;
            assert_eq!(lab.as_deref(), Some("replicas: 2\n"), "it is held");
        })
        .await;
}
