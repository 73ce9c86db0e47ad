//! What a plan reads.

use std::collections::BTreeMap;

use lockflight_git::{ChangedPaths, MergedPullRequest};
use lockflight_promotion::plan::Entry;

use crate::scene::{POLICY, Scene, branch, components, path};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_ten_thousand_files_is_read_level_by_level_and_without_a_file() {
    let scene = Scene::new().await;
    let mut files = components(&["dev"], 1_000);
    let first = scene.begin(files.clone());
    files.remove(POLICY);
    let count = files.len() as u64;
    let changed = files
        .into_iter()
        .map(|(file, content)| (file, Some(format!("{content}changed\n"))))
        .collect();
    let head = scene.commit("main", &[&first], &changed);
    scene.forge.reset_usage();
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let question = MergedPullRequest {
        merged_as: head.clone(),
        commits: 1,
        changed_files: count,
        files: None,
    };
    let ChangedPaths::Known { paths, before } = mirror.changed_paths(question).await.unwrap() else {
        panic!("it is not known");
    };
    assert_eq!(before, Some(first));
    assert_eq!(paths.len() as u64, count);
    let components: Vec<_> = (0..1_000)
        .map(|number| path(&format!("dev/c{number:04}")))
        .collect();
    let entries = mirror.entries(&head, &components).await.unwrap();
    assert!(entries.values().all(|entry| matches!(entry, Entry::Tree(_))));
    let policies: Vec<_> = components
        .iter()
        .map(|component| component.join(&path(POLICY)))
        .collect();
    let policies = mirror.blobs(&head, &policies, 1_000).await.unwrap();
    assert!(policies.values().all(|policy| matches!(policy, Ok(None))));
    assert_eq!(scene.held("blob").len(), 0);
    let requests = scene.requests();
    // Capabilities, the branch, commits, roots, `dev`, components, `templates`.
    assert!(requests.len() <= 8, "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_five_thousand_is_one_object() {
    let scene = Scene::new().await;
    let files: BTreeMap<String, String> = (0..5_000)
        .map(|number| (format!("many/c{number:04}/f"), number.to_string()))
        .collect();
    scene.begin(files);
    let head = scene.write("main", "many/c2500/f", "changed");
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let before = mirror.usage();
    let all: Vec<_> = (0..5_000)
        .map(|number| path(&format!("many/c{number:04}")))
        .collect();
    let entries = mirror.entries(&head, &all).await.unwrap();
    assert_eq!(entries.len(), 5_000);
    assert_eq!(mirror.usage().lazy_objects - before.lazy_objects, 1);
    let changed = mirror
        .changed_paths(MergedPullRequest {
            merged_as: head.clone(),
            commits: 1,
            changed_files: 1,
            files: None,
        })
        .await
        .unwrap();
    assert!(
        matches!(&changed, ChangedPaths::Known { paths, .. } if *paths == ["many/c2500/f"]),
        "{changed:?}"
    );
    assert_eq!(scene.held("blob").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_moved_and_changed_are_believed_without_reading_them() {
    let scene = Scene::new().await;
    let first = scene.begin(components(&["dev"], 3));
    let moved = BTreeMap::from([
        ("dev/c0001/f0.yaml".to_owned(), None),
        ("dev/c0001/g0.yaml".to_owned(), Some("dev 1 0\nmore\n".to_owned())),
    ]);
    let head = scene.commit("main", &[&first], &moved);
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let ask = |changed_files| {
        mirror.changed_paths(MergedPullRequest {
            merged_as: head.clone(),
            commits: 1,
            changed_files,
            files: None,
        })
    };
    for possible in [1, 2] {
        assert!(
            matches!(ask(possible).await.unwrap(), ChangedPaths::Known { paths, .. } if paths.len() == 2),
            "{possible}"
        );
    }
    for impossible in [0, 3] {
        assert_eq!(ask(impossible).await.unwrap(), ChangedPaths::NeedsFileList);
    }
    assert_eq!(scene.held("blob").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_many_components_are_read_in_one_go() {
    let scene = Scene::new().await;
    let mut files = components(&["dev"], 30);
    for number in 0..20 {
        files.insert(format!("dev/c{number:04}/{POLICY}"), format!("a: {number}\n"));
    }
    let head = scene.begin(files);
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let before = mirror.usage();
    let policies: Vec<_> = (0..30)
        .map(|number| path(&format!("dev/c{number:04}/{POLICY}")))
        .collect();
    let read = mirror.blobs(&head, &policies, 1_000).await.unwrap();
    assert_eq!(
        read.values().filter(|read| matches!(read, Ok(Some(_)))).count(),
        20
    );
    assert_eq!(
        mirror.usage().lazy_fetches - before.lazy_fetches,
        3,
        "`dev`, components, files"
    );
    assert_eq!(scene.held("blob").len(), 20);
}
