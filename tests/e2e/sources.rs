//! How a change comes to `main` makes no difference.

use lockflight_sandbox::{HoldPoint, MergeMethod, RequestMatcher};
use lockflight_tests::world::put;

use crate::policies::LAB;
use crate::world;

#[tokio::test]
async fn merge_squash_and_rebase_promote_the_same() {
    let methods = [MergeMethod::Merge, MergeMethod::Squash, MergeMethod::Rebase];
    world(LAB)
        .run(async |world| {
            let mut changes = Vec::new();
            // All begin at the same commit, so that `main` has moved on when the later ones are merged.
            for method in methods {
                let component = format!("workspace/{method:?}");
                let branch = world.new_branch();
                world
                    .commit(
                        &branch,
                        &[put(&format!("{component}/values.yaml"), "replicas: 1\n")],
                    )
                    .await;
                world
                    .commit(
                        &branch,
                        &[put(&format!("{component}/service.yaml"), "kind: Service\n")],
                    )
                    .await;
                world
                    .commit(
                        &branch,
                        &[put(&format!("{component}/values.yaml"), "replicas: 2\n")],
                    )
                    .await;
                changes.push((method, world.open(&branch).await));
            }
            for (method, change) in changes {
                world.merge_by(change, method).await;
                let [lab] = world.promotions_of(change).await;
                assert_eq!(lab.title, format!("🚀 Promotion: {method:?} ➡️  Lab"));
                let mut files = world.files_of(lab.number).await;
                files.sort();
                let path = |file: &str| format!("clusters/lab/{method:?}/{file}");
                assert_eq!(
                    files,
                    [(path("service.yaml"), "added"), (path("values.yaml"), "added")],
                    "{method:?}"
                );
                let (source, target) = (
                    format!("workspace/{method:?}"),
                    format!("clusters/lab/{method:?}"),
                );
                world.assert_same_tree(&lab.head.sha, &source, &target).await;
            }
        })
        .await;
}

#[tokio::test]
async fn promotion_pull_requests_may_be_merged_in_any_way() {
    let chain = format!(
        "{LAB}  - sourcePath: \"clusters/lab/\"\n    promotionPrs:\n      - targetDescription: Production\n        targetPaths: [\"clusters/prod/\"]\n"
    );
    world(&chain)
        .run(async |world| {
            for method in [MergeMethod::Squash, MergeMethod::Rebase] {
                let component = format!("{method:?}");
                let path = format!("workspace/{component}/values.yaml");
                let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                let [lab] = world.promotions_of(change).await;
                world.merge_by(lab.number, method).await;
                let [production] = world.promotions_of(lab.number).await;
                world.merge_by(production.number, method).await;
                world.until_status(production.number, "success").await;
                let target = format!("clusters/prod/{component}");
                world
                    .assert_same_tree("main", &format!("workspace/{component}"), &target)
                    .await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_change_of_many_commits_with_a_merge_in_it_promotes_what_it_changed() {
    world(LAB)
        .run(async |world| {
            let branch = world.new_branch();
            world
                .commit(&branch, &[put("workspace/checkout/values.yaml", "replicas: 1\n")])
                .await;
            // Somebody else's change, merged into the branch as people do it.
            world
                .commit("main", &[put("workspace/search/values.yaml", "replicas: 9\n")])
                .await;
            let checkout = world.checkout(&branch).await;
            checkout
                .git(&["merge", "--quiet", "--no-edit", "origin/main"])
                .await;
            checkout.push(&branch).await;
            let change = world.open(&branch).await;
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            assert_eq!(
                world.files_of(lab.number).await,
                [("clusters/lab/checkout/values.yaml".to_owned(), "added")]
            );
        })
        .await;
}

#[tokio::test]
async fn what_is_merged_while_a_promotion_is_made_is_neither_carried_nor_undone() {
    world(LAB)
        .file("clusters/lab/search/values.yaml", "replicas: 1\n")
        .run(async |world| {
            let held = world
                .forge
                .faults()
                .hold(RequestMatcher::git_receive_pack(), HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the push", &held).await;
            world
                .commit("main", &[put("clusters/lab/search/values.yaml", "replicas: 2\n")])
                .await;
            held.release();
            let [lab] = world.promotions_of(change).await;
            assert_eq!(
                world.files_of(lab.number).await,
                [("clusters/lab/checkout/values.yaml".to_owned(), "added")]
            );
            world.merge(lab.number).await;
            let search = world.file("main", "clusters/lab/search/values.yaml").await;
            assert_eq!(search.as_deref(), Some("replicas: 2\n"));
        })
        .await;
}
