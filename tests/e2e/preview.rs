//! What stands on a pull request before it is merged.

use http::Method;
use lockflight_sandbox::{CheckRun, HoldPoint, RequestMatcher};
use lockflight_tests::world::{MONA, REPOSITORY, Setup, World, put, remove};

use crate::native::native;
use crate::policies::LAB;
use crate::{LOCKFLIGHT, world};

const PREVIEW: &str = "lockflight/preview";

const WAVES: &str = "version: 1
environments:
  lab: { path: clusters/lab }
  production: { path: clusters/prod }
flows:
  - from: { path: workspace }
    waves:
      - { to: [lab] }
      - { to: [production] }
";

/// The check run on the head of a pull request.
fn check(world: &World, number: u64) -> Option<CheckRun> {
    let head = world.pull_request(number).head.sha;
    let runs = world.forge.check_runs(REPOSITORY, &head).unwrap();
    runs.into_iter().rfind(|run| run.name == PREVIEW)
}

async fn until_check(world: &World, number: u64, title: &str) -> CheckRun {
    world
        .until(&format!("a check run on #{number} that says {title:?}"), |_| {
            check(world, number).filter(|run| run.title.as_deref().is_some_and(|is| is.contains(title)))
        })
        .await
}

/// The preview's status on the head of a pull request.
async fn until_preview(world: &World, number: u64, text: &str) -> String {
    world
        .until(&format!("a preview of #{number} that says {text:?}"), |forge| {
            let head = forge.pull_request(REPOSITORY, number).ok()?.head.sha;
            let all = forge.statuses(REPOSITORY, &head).ok()?;
            let last = all.into_iter().rev().find(|status| status.context == PREVIEW)?;
            let said = last.description.unwrap_or_default();
            said.contains(text).then(|| format!("{} {said}", last.state))
        })
        .await
}

fn all_of(forge: &lockflight_sandbox::Forge, head: &str) -> usize {
    let all = forge.statuses(REPOSITORY, head).unwrap();
    all.iter().filter(|status| status.context == PREVIEW).count()
}

#[tokio::test]
async fn a_check_run_says_in_one_sentence_where_a_change_will_go() {
    native(WAVES)
        .as_app()
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let run = until_check(
                world,
                change,
                "Waiting to be merged; then goes to lab, then production",
            )
            .await;
            assert_eq!(run.conclusion.as_deref(), Some("success"));
            assert!(run.summary.unwrap().contains("clusters/prod"));

            // Another push is another head, and what is told again changes nothing.
            let branch = world.pull_request(change).head.branch;
            world
                .commit(&branch, &[remove("workspace"), put("README.md", "x\n")])
                .await;
            let run = until_check(world, change, "Nothing to promote: no changed file").await;
            assert_eq!(run.conclusion.as_deref(), Some("neutral"));
            world.quiet().await;
            let made = world.calls("POST /repos/{owner}/{repo}/check-runs");
            for delivery in world.forge.deliveries() {
                if delivery.event == "pull_request" {
                    world.forge.redeliver(delivery.id).unwrap();
                }
            }
            world.quiet().await;
            assert_eq!(world.calls("POST /repos/{owner}/{repo}/check-runs"), made);
            assert!(world.comments(change).is_empty(), "nothing needs a person");
        })
        .await;
}

#[tokio::test]
async fn where_check_runs_are_not_allowed_a_status_says_it() {
    world(LAB)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let said = until_preview(world, change, "Waiting to be merged; then goes to Lab").await;
            assert!(said.starts_with("success "), "{said}");
            assert!(
                world.statuses(change).is_empty(),
                "the other status tells of merged changes"
            );
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            world.quiet().await;
            let head = world.pull_request(lab.number).head.sha;
            assert_eq!(
                all_of(&world.forge, &head),
                0,
                "a promotion says itself where it goes"
            );
        })
        .await;
}

#[tokio::test]
async fn a_policy_is_checked_on_the_pull_request_that_edits_it() {
    native(WAVES)
        .as_app()
        .run(async |world| {
            let broken = WAVES.replace("to: [lab]", "to: [laab]");
            let change = world.open_change(&[put("lockflight.yaml", &broken)]).await;
            let run = until_check(world, change, "Policy error at lockflight.yaml:8:").await;
            assert_eq!(run.conclusion.as_deref(), Some("failure"));
            let [remark] = run.annotations.as_slice() else {
                panic!("{:?}", run.annotations)
            };
            assert_eq!((remark.path.as_str(), remark.start_line), ("lockflight.yaml", 8));
            world.until_comment(change, "can't be used").await;

            let mended = WAVES
                .replace("to: [production]", "to: [lab]")
                .replace("to: [lab] }\n      - { to: [lab]", "to: [production]");
            let branch = world.pull_request(change).head.branch;
            let edits = [
                put("lockflight.yaml", &mended),
                put("workspace/checkout/values.yaml", "replicas: 3\n"),
            ];
            world.commit(&branch, &edits).await;
            let run = until_check(
                world,
                change,
                "By its own policy: Waiting to be merged; then goes to production",
            )
            .await;
            assert_eq!(run.conclusion.as_deref(), Some("success"));
            let comment = world
                .until_comment(change, "by **its own** `lockflight.yaml`")
                .await;
            assert!(!comment.body.contains("can't be used"));
            assert_eq!(world.comments(change).len(), 1, "one comment, edited in place");
        })
        .await;
}

#[tokio::test]
async fn targets_that_have_drifted_are_shown_in_one_comment_that_goes_quiet_again() {
    native(WAVES)
        .as_app()
        .file("workspace/checkout/values.yaml", "image: 1\nreplicas: 3\n")
        .file("clusters/lab/checkout/values.yaml", "image: 1\nreplicas: 5\n")
        .file("clusters/prod/checkout/values.yaml", "image: 1\nreplicas: 3\n")
        .run(async |world| {
            // Production now lags behind, as it does while a change is under way: that is no drift.
            let edit = put("workspace/checkout/values.yaml", "image: 2\nreplicas: 3\n");
            world.commit("main", &[edit]).await;
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "image: 3\nreplicas: 3\n")])
                .await;
            until_check(
                world,
                change,
                "Drift: 1 target has content of its own. Waiting to be merged",
            )
            .await;
            let comment = world.until_comment(change, "**Drift:** 1 target differs").await;
            for text in [
                "-replicas: 5\n",
                "+replicas: 3\n",
                "/blame/",
                "`clusters/lab/checkout`",
            ] {
                assert!(
                    comment.body.contains(text),
                    "{text:?} is not in\n{}",
                    comment.body
                );
            }
            assert!(
                !comment.body.contains("#### `checkout` at `clusters/prod"),
                "{}",
                comment.body
            );

            // Somebody brings the target back, and pushes once more.
            let mend = put("clusters/lab/checkout/values.yaml", "image: 2\nreplicas: 3\n");
            world.commit("main", &[mend]).await;
            let branch = world.pull_request(change).head.branch;
            world
                .commit(&branch, &[put("workspace/checkout/more.yaml", "a: 1\n")])
                .await;
            until_check(world, change, "Waiting to be merged").await;
            let comment = world
                .until_comment(change, "nothing needs anybody any more")
                .await;
            assert!(!comment.body.contains("Drift"));
            assert_eq!(world.comments(change).len(), 1);
        })
        .await;
}

#[tokio::test]
async fn labels_are_heeded_where_the_policy_asks_for_them() {
    let policy = LAB.replace(
        "promotionPrs:",
        "conditions:\n      prHasLabels: [quick]\n    promotionPrs:",
    );
    world(&policy)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            until_preview(world, change, "Nothing to promote").await;
            world.label(change, "quick").await;
            until_preview(world, change, "then goes to Lab").await;
            world
                .forge
                .close_pull_request(REPOSITORY, change, MONA)
                .await
                .unwrap();
            world.quiet().await;
        })
        .await;
}

#[tokio::test]
async fn a_repository_without_a_policy_hears_nothing() {
    Setup::new(LOCKFLIGHT)
        .file("workspace/checkout/values.yaml", "replicas: 2\n")
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.quiet().await;
            let head = world.pull_request(change).head.sha;
            assert_eq!(all_of(&world.forge, &head), 0);
            assert!(world.comments(change).is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_kill_while_a_preview_is_said_leaves_one_comment_and_one_check_run() {
    native(WAVES)
        .as_app()
        .file("workspace/checkout/values.yaml", "replicas: 3\n")
        .file("clusters/lab/checkout/values.yaml", "replicas: 5\n")
        .run(async |world| {
            for effect in ["/repos/*/*/issues/*/comments", "/repos/*/*/check-runs"] {
                for point in [HoldPoint::BeforeEffect, HoldPoint::AfterEffect] {
                    let matcher = RequestMatcher::rest(Method::POST, effect);
                    let held = world.forge.faults().hold(matcher, point);
                    let path = format!("workspace/checkout/{}.yaml", world.new_branch().replace('/', "-"));
                    let change = world.open_change(&[put(&path, "a: 1\n")]).await;
                    world.until_held(effect, &held).await;
                    world.kill().await;
                    held.release();
                    world.restart().await;
                    until_check(world, change, "Drift: 1 target has content of its own.").await;
                    world.until_comment(change, "**Drift:**").await;
                    world.quiet().await;
                    assert_eq!(world.comments(change).len(), 1, "{effect} {point:?}");
                    let head = world.pull_request(change).head.sha;
                    let runs = world.forge.check_runs(REPOSITORY, &head).unwrap();
                    assert_eq!(runs.len(), 1, "{effect} {point:?}");
                }
            }
        })
        .await;
}
