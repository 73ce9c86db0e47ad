//! Removing a component is promoted; nothing else ever looks like a removal.

use http::Method;
use lockflight_sandbox::{Effect, Fault, RequestMatcher};
use lockflight_tests::world::{Setup, put, remove};

use crate::policies::LAB;
use crate::world;

/// `checkout` and `search`, in the workspace and in the lab.
fn two_components() -> Setup {
    let mut setup = world(LAB);
    for place in ["workspace", "clusters/lab"] {
        for component in ["checkout", "search"] {
            setup = setup
                .file(&format!("{place}/{component}/values.yaml"), "replicas: 2\n")
                .file(
                    &format!("{place}/{component}/templates/service.yaml"),
                    "kind: Service\n",
                );
        }
    }
    setup
}

#[tokio::test]
async fn a_removed_component_is_deleted_downstream() {
    two_components()
        .run(async |world| {
            let change = world.merge_change(&[remove("workspace/search")]).await;
            let [lab] = world.promotions_of(change).await;
            let mut files = world.files_of(lab.number).await;
            files.sort();
            let path = |file: &str| format!("clusters/lab/search/{file}");
            assert_eq!(
                files,
                [
                    (path("templates/service.yaml"), "removed"),
                    (path("values.yaml"), "removed")
                ]
            );
            world.merge(lab.number).await;
            assert!(world.tree("main", "clusters/lab/search").await.is_empty());
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn the_last_component_of_a_source_can_be_removed() {
    world(LAB)
        .file("workspace/checkout/values.yaml", "replicas: 2\n")
        .file("clusters/lab/checkout/values.yaml", "replicas: 2\n")
        .run(async |world| {
            let change = world.merge_change(&[remove("workspace/checkout")]).await;
            let [lab] = world.promotions_of(change).await;
            assert_eq!(
                world.files_of(lab.number).await,
                [("clusters/lab/checkout/values.yaml".to_owned(), "removed")]
            );
        })
        .await;
}

#[tokio::test]
async fn a_rename_clears_the_old_path() {
    two_components()
        .run(async |world| {
            let checkout = world.checkout("main").await;
            checkout
                .git(&["mv", "workspace/search", "workspace/finder"])
                .await;
            checkout.commit_staged("Rename search").await;
            let branch = world.new_branch();
            checkout.push(&branch).await;
            let change = world.open(&branch).await;
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            assert!(
                lab.title.contains("finder") && lab.title.contains("search"),
                "{}",
                lab.title
            );
            world.merge(lab.number).await;
            assert!(world.tree("main", "clusters/lab/search").await.is_empty());
            world
                .assert_same_tree("main", "workspace/finder", "clusters/lab/finder")
                .await;
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn a_file_that_moves_between_components_leaves_the_one_and_enters_the_other() {
    two_components()
        .run(async |world| {
            let checkout = world.checkout("main").await;
            checkout
                .git(&[
                    "mv",
                    "workspace/search/values.yaml",
                    "workspace/checkout/search-values.yaml",
                ])
                .await;
            checkout.commit_staged("Move a file").await;
            let branch = world.new_branch();
            checkout.push(&branch).await;
            let change = world.open(&branch).await;
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            world.merge(lab.number).await;
            for component in ["checkout", "search"] {
                let (source, target) = (
                    format!("workspace/{component}"),
                    format!("clusters/lab/{component}"),
                );
                world.assert_same_tree("main", &source, &target).await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_read_that_fails_never_deletes() {
    let faults: [(&str, RequestMatcher, Effect); 6] = [
        // The first, since the answer is remembered.
        (
            "refs",
            RequestMatcher::git_upload_pack().on_advertisement(),
            Effect::Status(503),
        ),
        (
            "get",
            RequestMatcher::rest(Method::GET, "/repos/*/*/pulls/*"),
            Effect::Status(502),
        ),
        (
            "reset",
            RequestMatcher::rest(Method::GET, "/repos/*/*/pulls/*"),
            Effect::ResetBefore,
        ),
        ("pack", RequestMatcher::git_upload_pack(), Effect::Status(500)),
        ("cut", RequestMatcher::git_upload_pack(), Effect::ResetBefore),
        (
            "list",
            RequestMatcher::rest(Method::GET, "/repos/*/*/pulls"),
            Effect::Status(500),
        ),
    ];
    two_components()
        .without_previews()
        .run(async |world| {
            for (name, matcher, effect) in faults {
                world.forge.faults().add(Fault {
                    matcher,
                    times: 2,
                    effect,
                });
                let path = format!("workspace/checkout/{name}.yaml");
                let change = world.merge_change(&[put(&path, "new: true\n")]).await;
                let [lab] = world.promotions_of(change).await;
                assert_eq!(world.forge.faults().pending(), 0, "{name}: the fault was met");
                assert_eq!(
                    world.files_of(lab.number).await,
                    [(format!("clusters/lab/checkout/{name}.yaml"), "added")],
                    "{name}: nothing is removed"
                );
                world.merge(lab.number).await;
                world.until_status(lab.number, "success").await;
            }
            world
                .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                .await;
        })
        .await;
}

#[tokio::test]
async fn a_directory_with_a_thousand_and_one_entries_loses_none() {
    let mut setup = world(LAB);
    // More than the contents API lists of a directory. The last one by name is changed.
    for number in 0..1_001 {
        for place in ["workspace", "clusters/lab"] {
            setup = setup.file(
                &format!("{place}/component-{number:04}/values.yaml"),
                "replicas: 1\n",
            );
        }
    }
    setup
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/component-1000/values.yaml", "replicas: 2\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            let expected = ("clusters/lab/component-1000/values.yaml".to_owned(), "modified");
            assert_eq!(world.files_of(lab.number).await, [expected]);
            world.merge(lab.number).await;
            assert_eq!(world.tree("main", "clusters/lab").await.len(), 1_001);
        })
        .await;
}
