//! What goes where: flows under conditions, lists of components, depth, and what may not travel.

use lockflight_tests::world::put;

use crate::policies::{LAB, LAB_AND_TOOLS};
use crate::world;

const QUICK: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    conditions:
      prHasLabels: ["quick_promotion", "hotfix"]
    promotionPrs:
      - targetDescription: "Production at once"
        targetPaths: ["clusters/prod/us-west1/", "clusters/prod/europe-west4/"]
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
"#;

#[tokio::test]
async fn a_quick_promotion_goes_straight_to_production() {
    world(QUICK)
        .run(async |world| {
            let quick = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.label(quick, "quick_promotion").await;
            world.label(quick, "unrelated").await;
            world.merge(quick).await;
            let [production] = world.promotions_of(quick).await;
            assert_eq!(production.title, "🚀 Promotion: checkout ➡️  Production at once");
            world.merge(production.number).await;
            for region in ["us-west1", "europe-west4"] {
                let target = format!("clusters/prod/{region}/checkout");
                world
                    .assert_same_tree("main", "workspace/checkout", &target)
                    .await;
            }
            assert!(world.tree("main", "clusters/lab").await.is_empty());

            let slow = world
                .open_change(&[put("workspace/search/values.yaml", "replicas: 3\n")])
                .await;
            world.label(slow, "unrelated").await;
            world.merge(slow).await;
            let [lab] = world.promotions_of(slow).await;
            assert_eq!(lab.title, "🚀 Promotion: search ➡️  Lab");
        })
        .await;
}

const THREE_TARGETS: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Everywhere"
        targetPaths: ["clusters/lab/", "clusters/staging/", "clusters/prod/"]
"#;

#[tokio::test]
async fn a_block_list_keeps_a_component_from_a_target_and_says_so() {
    world(THREE_TARGETS)
        .run(async |world| {
            let change = world
                .merge_change(&[
                    put("workspace/checkout/values.yaml", "replicas: 3\n"),
                    put(
                        "workspace/checkout/telefonistka.yaml",
                        "promotionTargetBlockList:\n  - clusters/prod/.*\n",
                    ),
                    put("workspace/search/values.yaml", "replicas: 3\n"),
                ])
                .await;
            let [everywhere] = world.promotions_of(change).await;
            let body = everywhere.body.as_deref().unwrap();
            assert!(body.contains("Left out: 1"), "{body}");
            assert!(body.contains("promotionTargetBlockList"), "{body}");
            assert!(body.contains("telefonistka.yaml:2"), "the line is named: {body}");
            world.merge(everywhere.number).await;
            for place in ["lab", "staging"] {
                world
                    .assert_same_tree(
                        "main",
                        "workspace/checkout",
                        &format!("clusters/{place}/checkout"),
                    )
                    .await;
            }
            assert!(world.tree("main", "clusters/prod/checkout").await.is_empty());
            world
                .assert_same_tree("main", "workspace/search", "clusters/prod/search")
                .await;
        })
        .await;
}

#[tokio::test]
async fn an_allow_list_lets_a_component_only_to_its_targets_and_block_beats_allow() {
    let lists = "promotionTargetAllowList:\n  - clusters/lab\n  - clusters/staging\npromotionTargetBlockList:\n  - clusters/staging\n";
    world(THREE_TARGETS)
        .run(async |world| {
            let change = world
                .merge_change(&[
                    put("workspace/checkout/values.yaml", "replicas: 3\n"),
                    put("workspace/checkout/telefonistka.yaml", lists),
                ])
                .await;
            let [lab] = world.promotions_of(change).await;
            assert!(lab.body.as_deref().unwrap().contains("Left out: 2"));
            world.merge(lab.number).await;
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
            for place in ["staging", "prod"] {
                assert!(
                    world.tree("main", &format!("clusters/{place}")).await.is_empty(),
                    "{place}"
                );
            }
        })
        .await;
}

const DEPTH_2: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    componentPathExtraDepth: 1
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
"#;

#[tokio::test]
async fn with_depth_2_the_directory_of_a_team_is_no_component() {
    world(DEPTH_2)
        .file("clusters/lab/payments/ledger/values.yaml", "of: the lab\n")
        .file("workspace/payments/ledger/values.yaml", "of: the workspace\n")
        .run(async |world| {
            let change = world
                .merge_change(&[
                    put("workspace/payments/checkout/values.yaml", "replicas: 3\n"),
                    put("workspace/payments/OWNERS", "mona\n"),
                ])
                .await;
            let [lab] = world.promotions_of(change).await;
            assert_eq!(lab.title, "🚀 Promotion: payments/checkout ➡️  Lab");
            let files = world.files_of(lab.number).await;
            assert_eq!(
                files,
                [("clusters/lab/payments/checkout/values.yaml".to_owned(), "added")]
            );
        })
        .await;
}

#[tokio::test]
async fn names_with_spaces_and_signs_travel_like_any_other() {
    let component = "workspace/c++ (α) [x]";
    world(LAB)
        .run(async |world| {
            let values = format!("{component}/välues $1.yaml");
            let change = world.merge_change(&[put(&values, "replicas: 3\n")]).await;
            let [lab] = world.promotions_of(change).await;
            world.merge(lab.number).await;
            world
                .assert_same_tree("main", component, "clusters/lab/c++ (α) [x]")
                .await;
        })
        .await;
}

#[tokio::test]
async fn executables_and_symlinks_inside_a_component_travel_as_they_are() {
    world(LAB)
        .run(async |world| {
            let checkout = world.checkout("main").await;
            checkout
                .stage("100755", "#!/bin/sh\n", "workspace/tool/bin/run")
                .await;
            checkout.stage("120000", "bin/run", "workspace/tool/run").await;
            checkout.commit_staged("Add a tool").await;
            let branch = world.new_branch();
            checkout.push(&branch).await;
            let change = world.open(&branch).await;
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            world.merge(lab.number).await;
            world
                .assert_same_tree("main", "workspace/tool", "clusters/lab/tool")
                .await;
            let tree = world.tree("main", "clusters/lab/tool").await;
            assert_eq!(tree["bin/run"].0, "100755");
            assert_eq!(tree["run"].0, "120000");
        })
        .await;
}

/// What may not travel: mode, content, and a word of the reason.
const UNSAFE: [(&str, &str, &str); 2] = [
    ("120000", "../../secrets/key", "symlink"),
    ("160000", "1111111111111111111111111111111111111111", "submodule"),
];

#[tokio::test]
async fn what_leads_out_of_a_component_stops_its_step_and_no_other() {
    world(LAB_AND_TOOLS)
        .run(async |world| {
            for (mode, content, word) in UNSAFE {
                let checkout = world.checkout("main").await;
                checkout
                    .stage(mode, content, &format!("workspace/{word}/odd"))
                    .await;
                checkout
                    .stage("100644", "fine: true\n", &format!("tools/{word}/values.yaml"))
                    .await;
                checkout.commit_staged("Something odd and something fine").await;
                let branch = world.new_branch();
                checkout.push(&branch).await;
                let change = world.open(&branch).await;
                world.merge(change).await;
                world.until_status(change, "failure").await;
                let comment = world.until_comment(change, word).await;
                assert!(
                    comment.body.contains(&format!("workspace/{word}/odd")),
                    "{}",
                    comment.body
                );

                let [tools] = world.promotions_of(change).await;
                assert_eq!(tools.title, format!("🚀 Promotion: {word} ➡️  Lab's tools"));
                world.merge(tools.number).await;
                let (source, target) = (format!("tools/{word}"), format!("clusters/lab-tools/{word}"));
                world.assert_same_tree("main", &source, &target).await;
                world.until_status(tools.number, "success").await;
                world.quiet().await;
                assert_eq!(world.comments(change).len(), 1);
                let last = world.statuses(change).pop().unwrap();
                assert_eq!(
                    last.state, "failure",
                    "what stopped is what people have to know: {last:?}"
                );
            }
            // The next change of a sibling is not held up.
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}
