//! Mirrors that are in use.

use std::collections::BTreeMap;

use lockflight_git::{Ahead, ChangedPaths, FetchError, MergedPullRequest, PushOutcome};
use lockflight_promotion::{CommitOid, ErrorClass};

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
async fn a_branch_behind_the_end_of_what_is_here_is_brought() {
    let scene = Scene::new().await;
    scene.begin(components(&["dev"], 5));
    let tip = scene.write_often(300, &["dev/c0001/f0.yaml"]);
    scene.git(&["update-ref", "refs/heads/old", "main~200"]);
    let (old, older) = (scene.head("old"), scene.git(&["rev-parse", "main~250"]));
    let mirror = scene.mirror();
    let main = branch("main");
    let _fetched = mirror.fetch(&main, &tip).await.unwrap();
    let dir = scene.mirror_dir();
    std::fs::write(dir.join("witness"), "").unwrap();
    let before = mirror.usage();
    assert_eq!(
        mirror.fetch_branch(&branch("old")).await.unwrap(),
        Some(old.clone())
    );
    assert_eq!(
        mirror.usage().fetches - before.fetches,
        2,
        "one that brought nothing, and one that begins"
    );
    let _fetched = mirror.fetch(&branch("old"), &old).await.unwrap();
    assert!(mirror.is_descendant(&tip, &old).await.unwrap());

    // The branch itself is set back.
    scene.git(&["update-ref", "refs/heads/main", &older]);
    let older = scene.head("main");
    assert_eq!(mirror.fetch_branch(&main).await.unwrap(), Some(older.clone()));
    let _fetched = mirror.fetch(&main, &older).await.unwrap();
    assert!(mirror.is_descendant(&old, &older).await.unwrap());
    let commit = scene.promote(&mirror, &older, "dev/c0001", &["dev/c0002"]).await;
    let outcomes = scene.push(&mirror, &[creation("p/1", &commit)]).await;
    assert_eq!(outcomes, [PushOutcome::Pushed]);
    assert!(dir.join("witness").exists(), "the mirror was thrown away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_has_nothing_in_common_with_what_is_here_is_only_begun() {
    let scene = Scene::new().await;
    scene.begin(components(&["dev"], 100));
    let tip = scene.write_often(600, &["dev/c0001/f0.yaml", "dev/c0002/templates/f7.yaml"]);
    let page = BTreeMap::from([("index.html".to_owned(), Some("hello".to_owned()))]);
    let page = scene.commit("gh-pages", &[], &page);
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("gh-pages"), &page).await.unwrap();
    let before = mirror.usage();
    let _fetched = mirror.fetch(&branch("main"), &tip).await.unwrap();
    let after = mirror.usage();
    assert_eq!(scene.held("commit").len(), 1 + 64);
    assert!(scene.held("tree").len() <= 4, "{:?}", scene.held("tree"));
    assert!(after.bytes_received - before.bytes_received < 30_000, "{after:?}");
    let commit = scene.promote(&mirror, &tip, "dev/c0001", &["dev/c0003"]).await;
    let outcomes = scene.push(&mirror, &[creation("p/1", &commit)]).await;
    assert_eq!(outcomes, [PushOutcome::Pushed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_made_anew_with_a_long_history_is_only_begun() {
    let scene = Scene::new().await;
    scene.begin(components(&["dev"], 5));
    let tip = scene.write_often(3_500, &["dev/c0001/f0.yaml"]);
    scene.git(&["update-ref", "refs/heads/next", tip.as_str()]);
    let first = BTreeMap::from([("index.html".to_owned(), Some("hello".to_owned()))]);
    let first = scene.commit("main", &[], &first);
    let mirror = scene.mirror();
    let main = branch("main");
    let _fetched = mirror.fetch(&main, &first).await.unwrap();
    scene.git(&["update-ref", "refs/heads/main", tip.as_str()]);
    let before = mirror.usage();
    let _fetched = mirror.fetch(&main, &tip).await.unwrap();
    let after = mirror.usage();
    assert_eq!(after.fetches - before.fetches, 2, "{after:?}");
    assert_eq!(scene.held("commit").len(), 1 + 64);
    assert!(
        after.bytes_received - before.bytes_received < 200_000,
        "{after:?}"
    );
    assert_eq!(mirror.fetch_branch(&main).await.unwrap(), Some(tip));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_that_another_task_is_writing_is_no_damage() {
    let scene = Scene::new().await;
    let first = scene.begin(components(&["dev"], 5));
    let mirror = scene.mirror();
    let main = branch("main");
    let _fetched = mirror.fetch(&main, &first).await.unwrap();
    let refs = scene.mirror_dir().join("refs/lockflight");
    let tracking = std::fs::read_dir(&refs).unwrap().next().unwrap().unwrap().path();
    let lock = tracking.with_extension("lock");
    std::fs::write(&lock, "").unwrap();
    let second = scene.write("main", "dev/c0001/f0.yaml", "changed");
    let error = mirror.fetch(&main, &second).await.unwrap_err();
    assert!(matches!(error, FetchError::Busy { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
    std::fs::remove_file(&lock).unwrap();
    let _fetched = mirror.fetch(&main, &second).await.unwrap();
    assert!(tracking.exists(), "the mirror was kept");
    assert!(mirror.is_descendant(&second, &first).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_a_commit_is_brought_ahead_only_where_a_step_is_open() {
    let scene = Scene::new().await;
    scene.begin(components(&["dev", "prod"], 5));
    let tip = scene.write_often(60, &["dev/c0001/f0.yaml"]);
    let promoted = CommitOid::parse(scene.git(&["rev-parse", "main~50"])).unwrap();
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &promoted).await.unwrap();
    let step = |from: &str, to: &str| Ahead {
        promoted: promoted.clone(),
        moves: vec![(path(from), path(to))],
    };
    // The same content as in the promoted commit.
    mirror
        .bring_ahead(&tip, 500, &[step("dev/c0002", "dev/c0002")])
        .await;
    let trees = scene.held("tree").len();
    assert!(trees < 45, "{trees}");
    mirror
        .bring_ahead(&tip, 500, &[step("dev/c0001", "prod/c0001")])
        .await;
    let before = mirror.usage();
    let line = mirror
        .entries_back(&tip, &promoted, 500, &[path("dev/c0001")])
        .await
        .unwrap();
    assert_eq!(line.len(), 50);
    assert_eq!(mirror.usage(), before, "all of it was there");
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
