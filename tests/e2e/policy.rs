//! Policies that only tell, and policies that cannot be used.

use lockflight_sandbox::{Effect, Fault, RequestMatcher};
use lockflight_tests::world::put;

use crate::policies::{DRY_RUN, LAB};
use crate::world;

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    world(DRY_RUN)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let status = world.until_status(change, "success").await;
            assert_eq!(
                status.description.as_deref(),
                Some("Dry run: would open 1 promotion pull request")
            );
            let comment = world.until_comment(change, "Dry run").await;
            for word in ["checkout", "Lab", "workspace", "clusters/lab"] {
                assert!(comment.body.contains(word), "no {word} in {}", comment.body);
            }
            world.quiet().await;
            assert!(world.promotions().is_empty());
            assert!(world.promotion_branches().is_empty(), "nothing was pushed");
            assert_eq!(world.comments(change).len(), 1);
        })
        .await;
}

const BROKEN: &str = r#"promotionPaths:
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
  - sourcePath: "clusters/(lab/"
    promotionPrs:
      - targetPaths: ["clusters/prod/"]
"#;

#[tokio::test]
async fn a_broken_policy_promotes_nothing_and_says_where_it_is_broken() {
    world(LAB)
        .run(async |world| {
            let edits = [
                put("telefonistka.yaml", BROKEN),
                put("workspace/checkout/values.yaml", "replicas: 3\n"),
            ];
            let change = world.merge_change(&edits).await;
            let status = world.until_status(change, "failure").await;
            let description = status.description.unwrap();
            assert!(description.contains("telefonistka.yaml:6:"), "{description}");
            let comment = world.until_comment(change, "telefonistka.yaml:6:").await;
            assert!(comment.body.contains("Nothing was promoted"), "{}", comment.body);
            world.redeliver_merge(change).await;
            world.quiet().await;
            assert!(world.promotions().is_empty(), "not even by the flow that is fine");
            assert_eq!(world.comments(change).len(), 1);

            // Once it is mended, the next change goes its way.
            let mended = [
                put("telefonistka.yaml", LAB),
                put("workspace/search/values.yaml", "replicas: 3\n"),
            ];
            let change = world.merge_change(&mended).await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}

#[tokio::test]
async fn a_broken_list_of_a_component_promotes_nothing() {
    world(LAB)
        .run(async |world| {
            let edits = [
                put("workspace/checkout/values.yaml", "replicas: 3\n"),
                put(
                    "workspace/checkout/telefonistka.yaml",
                    "promotionTargetBlockList:\n  - 'clusters/(prod'\n",
                ),
            ];
            let change = world.merge_change(&edits).await;
            world.until_status(change, "failure").await;
            world
                .until_comment(change, "workspace/checkout/telefonistka.yaml:2:")
                .await;
            world.quiet().await;
            assert!(world.promotions().is_empty());
        })
        .await;
}

#[tokio::test]
async fn the_policy_of_the_merge_commit_counts_and_not_that_of_today() {
    world(LAB)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.forge.webhook_faults().drop_next(1);
            world.merge(change).await;
            world.merge_delivery(change).await;
            world
                .commit(
                    "main",
                    &[put(
                        "telefonistka.yaml",
                        &LAB.replace("clusters/lab", "clusters/elsewhere"),
                    )],
                )
                .await;
            world.redeliver_merge(change).await;
            let [lab] = world.promotions_of(change).await;
            assert_eq!(
                world.files_of(lab.number).await,
                [("clusters/lab/checkout/values.yaml".to_owned(), "added")]
            );
        })
        .await;
}

#[tokio::test]
async fn a_change_that_concerns_no_flow_says_so_and_no_more() {
    world(LAB)
        .run(async |world| {
            let change = world
                .merge_change(&[put("README.md", "A fleet.\n"), put("workspace/README.md", "x\n")])
                .await;
            let status = world.until_status(change, "success").await;
            let description = status.description.unwrap();
            assert!(description.starts_with("Nothing to promote: "), "{description}");
            assert!(world.comments(change).is_empty() && world.promotions().is_empty());
        })
        .await;
}

#[tokio::test]
async fn what_may_not_be_read_is_told_on_the_pull_request() {
    world(LAB)
        .without_previews()
        .run(async |world| {
            world.forge.faults().add(Fault {
                matcher: RequestMatcher::git_upload_pack(),
                times: 1,
                effect: Effect::Status(403),
            });
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_status(change, "failure").await;
            world.until_comment(change, "Nothing was promoted").await;
            world.redeliver_merge(change).await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}
