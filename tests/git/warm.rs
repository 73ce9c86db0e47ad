//! Mirrors that are in use.

use std::collections::BTreeMap;

use lockflight_git::{ChangedPaths, MergedPullRequest, PushOutcome};

use crate::scene::{Scene, branch, components, creation, path, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_promotion_looks_once_fetches_once_and_pushes_once() {
    let scene = Scene::new().await;
    let first = scene.begin(components(&["dev", "prod"], 100));
    let mirror = scene.mirror();
    let main = branch("main");
    let _fetched = mirror.fetch(&main, &first).await.unwrap();
    let commit = scene.promote(&mirror, &first, "dev/c0001", &["prod/c0001"]).await;
    let outcomes = scene.push(&mirror, &[creation("p/1", &commit)]).await;
    assert_eq!(outcomes, [PushOutcome::Pushed]);

    let second = scene.write("main", "dev/c0001/f0.yaml", "changed");
    scene.forge.reset_usage();
    // The planner's part, then the executor's.
    let _fetched = mirror.fetch(&main, &second).await.unwrap();
    let changed = mirror
        .changed_paths(MergedPullRequest {
            merged_as: second.clone(),
            commits: 1,
            changed_files: 1,
            files: None,
        })
        .await
        .unwrap();
    assert_eq!(
        changed,
        ChangedPaths::Known {
            paths: vec!["dev/c0001/f0.yaml".to_owned()],
            before: Some(first),
        }
    );
    assert_eq!(mirror.fetch_branch(&main).await.unwrap(), Some(second.clone()));
    assert!(mirror.is_descendant(&second, &second).await.unwrap());
    let commit = scene
        .promote(&mirror, &second, "dev/c0001", &["prod/c0001"])
        .await;
    let outcomes = scene.push(&mirror, &[creation("p/2", &commit)]).await;
    assert_eq!(outcomes, [PushOutcome::Pushed]);
    let requests = scene.requests();
    let count = |route: &str| requests.iter().filter(|request| *request == route).count();
    // Two looks at where the branch is, and one fetch.
    assert_eq!(count("git upload-pack"), 3, "{requests:?}");
    assert_eq!(count("git receive-pack"), 1, "{requests:?}");
    assert!(requests.len() <= 5, "{requests:?}");
    assert!(scene.forge.usage().git().bytes_out < 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_here_costs_nothing() {
    let scene = Scene::new().await;
    let head = scene.begin(components(&["dev"], 10));
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    scene.forge.reset_usage();
    assert!(mirror.fetch(&branch("main"), &head).await.unwrap().skipped);
    assert_eq!(scene.requests(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_an_old_branch_brings_no_old_history() {
    let scene = Scene::new().await;
    let begin = scene.begin(components(&["dev"], 20));
    scene.git(&["update-ref", "refs/heads/old", begin.as_str()]);
    let tip = scene.write_often(
        200,
        &["dev/c0001/f0.yaml", "dev/c0007/f0.yaml", "dev/c0019/f0.yaml"],
    );
    let mirror = scene.mirror();
    let main = branch("main");
    let _fetched = mirror.fetch(&main, &tip).await.unwrap();
    let before = scene.held("commit").len();
    let work = scene.write("old", "dev/c0003/f1.yaml", "changed");
    let files = BTreeMap::from([("dev/c0003/f1.yaml".to_owned(), Some("changed".to_owned()))]);
    let merge = scene.commit("main", &[&tip, &work], &files);
    let _fetched = mirror.fetch(&main, &merge).await.unwrap();
    assert_eq!(scene.held("commit").len(), before + 2);
    let changed = mirror
        .changed_paths(MergedPullRequest {
            merged_as: merge.clone(),
            commits: 1,
            changed_files: 1,
            files: None,
        })
        .await
        .unwrap();
    assert!(
        matches!(&changed, ChangedPaths::Known { paths, .. } if *paths == ["dev/c0003/f1.yaml"]),
        "{changed:?}"
    );
    // Only a question about the old branch brings what it stands on.
    assert!(mirror.is_descendant(&merge, &work).await.unwrap());
    assert!(!mirror.is_descendant(&tip, &work).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_promotions_are_one_push() {
    let scene = Scene::new().await;
    let head = scene.begin(components(&["dev", "prod"], 40));
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let mut updates = Vec::new();
    for number in 0..8 {
        let commit = scene
            .promote(
                &mirror,
                &head,
                &format!("dev/c{number:04}"),
                &[&format!("prod/c{number:04}")],
            )
            .await;
        updates.push(creation(&format!("p/{number}"), &commit));
    }
    scene.forge.reset_usage();
    let outcomes = scene.push(&mirror, &updates).await;
    assert_eq!(outcomes, vec![PushOutcome::Pushed; 8]);
    assert_eq!(scene.forge.usage().git().pushes, 1);
    scene.git(&["fsck", "--strict", "--connectivity-only"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_an_earlier_process_made_is_pushed_with_all_it_needs() {
    let scene = Scene::new().await;
    let head = scene.begin(components(&["dev", "prod"], 10));
    let (first, second) = {
        let mirror = scene.mirror();
        let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
        let first = scene
            .promote(&mirror, &head, "dev/c0001", &["prod/c0001", "prod/new"])
            .await;
        // On top of a commit that the server never saw.
        let tree = scene.tree(&head, "dev/c0002");
        let second = mirror
            .commit(spec(&first, &["prod/c0002"], Some(&tree)))
            .await
            .unwrap();
        (first, second.oid)
    };
    let mirror = scene.mirror();
    let outcomes = scene
        .push(&mirror, &[creation("p/2", &second), creation("p/1", &first)])
        .await;
    assert_eq!(outcomes, vec![PushOutcome::Pushed; 2]);
    let mirror = scene.other_mirror();
    let found = mirror.fetch_branch(&branch("p/2")).await.unwrap();
    assert_eq!(found, Some(second.clone()));
    let tree = mirror.entry(&second, &path("prod/c0002")).await.unwrap();
    assert_eq!(
        tree,
        lockflight_promotion::plan::Entry::Tree(scene.tree(&head, "dev/c0002"))
    );
    scene.git(&["fsck", "--strict", "--connectivity-only"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_lacks_is_sent_after_all() {
    let scene = Scene::new().await;
    let head = scene.begin(components(&["dev", "prod"], 10));
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let first = scene.promote(&mirror, &head, "dev/c0001", &["prod/c0001"]).await;
    let tree = scene.tree(&head, "dev/c0002");
    let second = mirror
        .commit(spec(&first, &["prod/c0002"], Some(&tree)))
        .await
        .unwrap();
    // The first was never pushed, and the second alone does not bring it.
    let outcomes = scene.push(&mirror, &[creation("p/2", &second.oid)]).await;
    assert_eq!(outcomes, [PushOutcome::Pushed]);
    scene.git(&["fsck", "--strict", "--connectivity-only"]);
}
