//! How a merged change is told of: by a check run whose title is one sentence and whose page shows each wave, or by a status.

use lockflight_sandbox::CheckRun;
use lockflight_tests::world::{MONA, Setup, World};

use crate::native::{change, native, until_said};

fn policy() -> Setup {
    native(
        "version: 1
environments:
  lab: { path: clusters/lab }
  production:
    path: 'clusters/prod/{domain}'
    domains: { west: , east: }
flows:
  - from: { path: workspace }
    waves:
      - { to: [lab], gates: { soak: 2s } }
      - { to: [production], pull_requests: per-domain }
",
    )
    .setting("promotion.merge_poll=200ms")
}

async fn until_titled(world: &World, change: u64, title: &str) -> CheckRun {
    world
        .until(&format!("a check run on #{change} titled {title:?}"), |_| {
            world
                .check_run(change)
                .filter(|run| run.title.as_deref().is_some_and(|is| is.contains(title)))
        })
        .await
}

fn page(run: CheckRun) -> String {
    run.summary.unwrap_or_default()
}

#[tokio::test]
async fn a_check_run_shows_each_wave_and_is_updated_in_place() {
    policy()
        .as_app()
        .run(async |world| {
            let change = change(world).await;
            let [lab] = world.promotions_of(change).await;
            let run = until_titled(
                world,
                change,
                &format!("Waiting for the merge of #{} (lab); then production", lab.number),
            )
            .await;
            assert_eq!(
                (run.status.as_str(), run.conclusion.as_deref()),
                ("in_progress", None)
            );
            let id = run.id;
            let text = page(run);
            assert!(text.contains(&format!("#{} open |", lab.number)), "{text}");
            assert!(text.contains("| later |"), "{text}");

            world.merge(lab.number).await;
            let run = until_titled(world, change, "to stand until").await;
            let text = page(run);
            assert!(text.contains(&format!("| #{} merged |", lab.number)), "{text}");

            let [_, one, other] = world.promotions_of(change).await;
            let run = until_titled(world, change, "(production/").await;
            let text = page(run);
            assert!(text.contains("| lab | done |"), "{text}");
            for number in [one.number, other.number] {
                assert!(text.contains(&format!("#{number} open")), "{text}");
                world.merge(number).await;
            }
            let run = until_titled(world, change, "Promoted to lab, production").await;
            assert_eq!(run.conclusion.as_deref(), Some("success"));
            assert_eq!(run.id, id, "it is the same run from the beginning to the end");
            assert!(world.statuses(change).is_empty(), "a status would say it twice");
        })
        .await;
}

#[tokio::test]
async fn what_people_decided_stands_on_the_page_too() {
    policy()
        .as_app()
        .run(async |world| {
            let change = change(world).await;
            let [lab] = world.promotions_of(change).await;
            let hold = world
                .say(change, "/promote hold until 4h release party", MONA)
                .await;
            world.until_reaction(change, hold, "rocket").await;
            world.until_comment(change, "release party").await;
            world.merge(lab.number).await;
            let run = until_titled(world, change, "Held by mona").await;
            let text = page(run);
            assert!(text.contains("release party"), "{text}");
            // Who asks for the status reads the same sentence.
            let status = world.say(change, "/promote status", MONA).await;
            world.until_reaction(change, status, "rocket").await;
            let answer = world.until_comment(change, "**Promotion of").await;
            assert!(answer.body.contains("Held by mona"), "{}", answer.body);

            let abort = world.say(change, "/promote abort", MONA).await;
            world.until_reaction(change, abort, "rocket").await;
            let run = until_titled(world, change, "Aborted by mona").await;
            assert_eq!(run.conclusion.as_deref(), Some("failure"));
        })
        .await;
}

#[tokio::test]
async fn who_may_write_no_check_runs_says_it_by_a_status() {
    policy()
        .run(async |world| {
            let change = change(world).await;
            let [lab] = world.promotions_of(change).await;
            until_said(world, change, &format!("the merge of #{}", lab.number)).await;
            assert!(world.check_run(change).is_none());
            assert_eq!(world.calls("POST /repos/{owner}/{repo}/check-runs"), 0);
        })
        .await;
}
