//! Waves, one after another: what opens the next one, what holds it back, and what survives the loss of everything but git and the forge.

use lockflight_tests::world::{HUBOT, REPOSITORY, Setup, put};

use crate::native::{change, native, said, until_said};

/// Staging, then one domain of production, then the rest.
fn policy(first: &str, second: &str) -> Setup {
    let yaml = format!(
        "
version: 1
environments:
  staging: {{ path: clusters/staging }}
  production:
    domains:
      us-west1: {{ path: clusters/prod/us-west1 }}
      us-east4: {{ path: clusters/prod/us-east4 }}
      europe-west4: {{ path: clusters/prod/europe-west4 }}
flows:
  - from: {{ path: workspace }}
    waves:
      - {{ to: [staging]{first} }}
      - {{ to: [production/us-west1]{second} }}
      - {{ to: [production], pull_requests: per-domain }}
"
    );
    native(&yaml).setting("promotion.merge_poll=200ms")
}

#[tokio::test]
async fn each_wave_begins_when_the_one_before_it_is_merged() {
    policy("", "")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            let named = format!("#{}", staging.number);
            until_said(world, change, &named).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);

            world.merge(staging.number).await;
            let [_, first] = world.promotions_of(change).await;
            assert_eq!(
                world.files_of(first.number).await,
                [("clusters/prod/us-west1/checkout/values.yaml".to_owned(), "added")]
            );
            world.quiet().await;
            assert_eq!(world.promotions().len(), 2);

            world.merge(first.number).await;
            let [_, _, third, fourth] = world.promotions_of(change).await;
            world.merge(third.number).await;
            world.merge(fourth.number).await;
            let status = world.until_status(change, "success").await;
            assert!(said(&status).starts_with("Promoted to"), "{}", said(&status));
            for domain in ["us-west1", "us-east4", "europe-west4"] {
                let target = format!("clusters/prod/{domain}/checkout");
                world
                    .assert_same_tree("main", "workspace/checkout", &target)
                    .await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_wave_that_merges_by_itself_needs_no_person() {
    policy(", merge: auto", ", merge: auto")
        .run(async |world| {
            let change = change(world).await;
            let [staging, first, ..] = world.promotions_of::<4>(change).await;
            assert!(world.pull_request(staging.number).merged);
            assert!(world.pull_request(first.number).merged);
        })
        .await;
}

#[tokio::test]
async fn a_wave_has_to_stand_before_the_next_one_begins() {
    policy(", gates: { soak: 3s }", "")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            world.merge(staging.number).await;
            until_said(world, change, "to stand until").await;
            assert_eq!(world.promotions().len(), 1);
            let [_, first] = world.promotions_of(change).await;
            let merged = world.pull_request(staging.number).merged_at.unwrap().unix();
            let opened = world.pull_request(first.number).created_at.unix();
            assert!(opened >= merged + 3, "merged at {merged}, opened at {opened}");
        })
        .await;
}

#[tokio::test]
async fn a_merge_by_itself_waits_for_the_approval_that_the_gate_asks_for() {
    policy(", merge: auto, gates: { approval: true }", "")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            until_said(world, change, "1 approval of").await;
            assert!(world.is_open(staging.number));
            let approved = world.forge.approve(REPOSITORY, staging.number, HUBOT).await;
            approved.unwrap();
            world.until_merged(staging.number).await;
            world.promotions_of::<2>(change).await;
        })
        .await;
}

#[tokio::test]
async fn a_check_on_the_merged_commit_opens_the_next_wave() {
    policy(", gates: { checks: [smoke] }", "")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            let merged = world.merge(staging.number).await;
            until_said(world, change, "the check smoke").await;
            assert_eq!(world.promotions().len(), 1);
            let set = world
                .forge
                .set_status(REPOSITORY, &merged, "smoke", "success", HUBOT)
                .await;
            set.unwrap();
            world.promotions_of::<2>(change).await;
        })
        .await;
}

#[tokio::test]
async fn a_freeze_keeps_a_wave_from_beginning() {
    native(
        "
version: 1
environments:
  staging: { path: clusters/staging }
  production: { path: clusters/prod }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging] }
      - { to: [production] }
freezes:
  - { environments: [production], cron: '* * * * *', duration: 1h, reason: 'the sale' }
",
    )
    .setting("promotion.merge_poll=200ms")
    .run(async |world| {
        let change = change(world).await;
        let [staging] = world.promotions_of(change).await;
        world.merge(staging.number).await;
        until_said(world, change, "the sale").await;
        world.quiet().await;
        assert_eq!(world.promotions().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_pull_request_that_people_closed_ends_the_way() {
    policy("", "")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            let closed = world
                .forge
                .close_pull_request(REPOSITORY, staging.number, HUBOT)
                .await;
            closed.unwrap();
            let status = world.until_status(change, "failure").await;
            assert!(said(&status).contains("closed by people"), "{}", said(&status));
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
        })
        .await;
}

#[tokio::test]
async fn a_death_between_two_waves_changes_nothing() {
    policy("", "")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            world.kill().await;
            world.merge(staging.number).await;
            world.restart().await;
            world.promotions_of::<2>(change).await;
        })
        .await;
}

#[tokio::test]
async fn the_loss_of_every_message_and_lock_between_two_waves_ends_in_the_same_place() {
    policy(", gates: { soak: 1s }", "")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            world.kill().await;
            world.lose_everything().await;
            world.restart().await;
            world.merge(staging.number).await;
            let [_, first] = world.promotions_of(change).await;

            // And once more, where the second wave is open.
            world.kill().await;
            world.lose_everything().await;
            world.restart().await;
            world.merge(first.number).await;
            let [_, _, third, fourth] = world.promotions_of(change).await;
            world.merge(third.number).await;
            world.merge(fourth.number).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(
                world.promotions().len(),
                4,
                "nothing is opened twice: {}",
                world.dump()
            );
            for domain in ["staging", "prod/us-west1", "prod/us-east4", "prod/europe-west4"] {
                let target = format!("clusters/{domain}/checkout");
                world
                    .assert_same_tree("main", "workspace/checkout", &target)
                    .await;
            }
        })
        .await;
}

#[tokio::test]
async fn the_gates_of_another_branch_hold_the_next_wave_back() {
    native(
        "
version: 1
environments:
  staging: { branch: env/staging, path: live }
  production: { branch: env/production, path: live }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging], gates: { checks: [smoke] } }
      - { to: [production] }
",
    )
    .setting("promotion.merge_poll=200ms")
    .run(async |world| {
        for branch in ["env/staging", "env/production"] {
            world
                .commit(branch, &[put("live/other/values.yaml", "kept: true\n")])
                .await;
        }
        let change = change(world).await;
        let [staging] = world.promotions_of(change).await;
        let merged = world.merge(staging.number).await;
        until_said(world, change, "the check smoke").await;
        world.quiet().await;
        assert_eq!(world.promotions().len(), 1);
        let set = world
            .forge
            .set_status(REPOSITORY, &merged, "smoke", "success", HUBOT)
            .await;
        set.unwrap();
        let [_, production] = world.promotions_of(change).await;
        assert_eq!(production.base.branch, "env/production");
        world.merge(production.number).await;
        world.until_status(change, "success").await;
    })
    .await;
}
