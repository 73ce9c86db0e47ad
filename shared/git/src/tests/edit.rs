use std::collections::BTreeMap;

use lockflight_promotion::{CommitOid, ErrorClass, TreeOid};
use proptest::prelude::*;

use super::{differing, path, spec};
use crate::testing::{Edit, REPO, Upstream, WHEN, branch, git_in};
use crate::{CommitError, Mirror};

async fn fetched(edits: &[Edit<'_>]) -> (Upstream, Mirror, CommitOid) {
    let upstream = Upstream::new();
    let commit = upstream.push("main", "one", edits);
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("main"), &commit).await.unwrap();
    (upstream, mirror, commit)
}

#[tokio::test]
async fn a_component_replaces_its_targets_and_nothing_else() {
    let (upstream, mirror, main) = fetched(&[
        Edit::Executable("src/c/run.sh", "1"),
        Edit::Symlink("src/c/link", "run.sh"),
        Edit::File("dst/one/c/old", "0"),
        Edit::File("dst/one/other", "0"),
        Edit::File("README", "0"),
    ])
    .await;
    let tree = upstream.tree(&main, "src/c");
    let made = mirror
        .commit(spec(
            &main,
            &[("dst/one/c", Some(&tree)), ("dst/two/deep/c", Some(&tree))],
        ))
        .await
        .unwrap();
    assert!(made.changed);
    assert_eq!(
        differing(&mirror, &main, &made.oid).await,
        [
            "dst/one/c/link",
            "dst/one/c/old",
            "dst/one/c/run.sh",
            "dst/two/deep/c/link",
            "dst/two/deep/c/run.sh"
        ]
    );
    // The same with a temporary index and the git program, date and author included.
    let expected = upstream.commit(
        &[&main],
        "Promote",
        &[
            Edit::Remove("dst/one/c"),
            Edit::Executable("dst/one/c/run.sh", "1"),
            Edit::Symlink("dst/one/c/link", "run.sh"),
            Edit::Executable("dst/two/deep/c/run.sh", "1"),
            Edit::Symlink("dst/two/deep/c/link", "run.sh"),
        ],
    );
    assert_eq!(made.oid, expected, "byte for byte what git makes");
    assert_eq!(made.tree, upstream.tree(&expected, ""));
    let info = mirror.commit_info(&made.oid).await.unwrap();
    assert_eq!((info.parents, info.committed_at), (vec![main.clone()], WHEN));
    assert_eq!(
        mirror
            .commit(spec(
                &main,
                &[("dst/two/deep/c", Some(&tree)), ("dst/one/c", Some(&tree))]
            ))
            .await
            .unwrap(),
        made,
        "the order of edits does not matter"
    );
}

#[tokio::test]
async fn a_directory_that_loses_its_last_entry_goes_too() {
    let (upstream, mirror, main) = fetched(&[Edit::File("a/b/c/f", "1"), Edit::File("keep", "1")]).await;
    let made = mirror.commit(spec(&main, &[("a/b/c", None)])).await.unwrap();
    assert_eq!(
        made.tree.as_str(),
        upstream.edited(Some(&main), &[Edit::Remove("a")])
    );
    assert_eq!(differing(&mirror, &main, &made.oid).await, ["a/b/c/f"]);
}

#[tokio::test]
async fn what_changes_nothing_makes_no_commit() {
    let (upstream, mirror, main) = fetched(&[
        Edit::File("src/c/f", "1"),
        Edit::File("dst/c/f", "1"),
        Edit::File("file", ""),
    ])
    .await;
    let tree = upstream.tree(&main, "src/c");
    for edits in [
        &[("dst/c", Some(&tree))][..],
        &[("gone", None), ("gone/below", None)][1..],
        &[("dst/gone/deep", None)],
        &[("file/below", None)],
        &[],
    ] {
        let made = mirror.commit(spec(&main, edits)).await.unwrap();
        assert!(!made.changed, "{edits:?}");
        assert_eq!((made.oid, made.paths), (main.clone(), Vec::new()));
    }
}

#[tokio::test]
async fn a_whole_repository_can_be_the_target() {
    let (upstream, mirror, main) = fetched(&[Edit::File("src/f", "1"), Edit::File("other", "1")]).await;
    let tree = upstream.tree(&main, "src");
    let made = mirror.commit(spec(&main, &[("", Some(&tree))])).await.unwrap();
    assert_eq!(made.tree, tree);
    let made = mirror.commit(spec(&main, &[("", None)])).await.unwrap();
    assert_eq!(made.tree.as_str(), upstream.git_with(&["mktree"], &[], b""));
}

#[tokio::test]
async fn a_file_in_the_way_is_a_clear_error() {
    let (upstream, mirror, main) = fetched(&[
        Edit::File("src/c/f", "1"),
        Edit::File("dst", "a file"),
        Edit::Symlink("link", "src"),
        Edit::File("there/c", "a file"),
    ])
    .await;
    let tree = upstream.tree(&main, "src/c");
    for (at, way) in [("dst/deep/c", "dst"), ("link/c", "link"), ("there/c", "there/c")] {
        let error = mirror
            .commit(spec(&main, &[(at, Some(&tree))]))
            .await
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::User);
        match &error {
            CommitError::InTheWay {
                path: wanted,
                at: found,
            } => {
                assert_eq!((wanted, found), (&path(at), &path(way)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn overlapping_edits_and_unknown_trees_are_refused() {
    let (upstream, mirror, main) = fetched(&[Edit::File("src/c/f", "1"), Edit::File("src/d/f", "2")]).await;
    let (one, other) = (upstream.tree(&main, "src/c"), upstream.tree(&main, "src/d"));
    for edits in [
        [("dst", Some(&one)), ("dst/c", Some(&one))],
        [("dst/c", Some(&one)), ("dst", None)],
        [("dst/c", Some(&one)), ("dst/c", Some(&other))],
        [("", Some(&one)), ("dst/c", Some(&other))],
        [("dst/c", Some(&one)), ("", Some(&one))],
    ] {
        let error = mirror.commit(spec(&main, &edits)).await.unwrap_err();
        assert!(
            matches!(error, CommitError::Overlap { .. }),
            "{edits:?}: {error:?}"
        );
    }
    let twice = [("dst/c", Some(&one)), ("dst/c", Some(&one))];
    assert!(mirror.commit(spec(&main, &twice)).await.unwrap().changed);
    let unknown = TreeOid::parse("1".repeat(40)).unwrap();
    assert!(matches!(
        mirror.commit(spec(&main, &[("dst/c", Some(&unknown))])).await,
        Err(CommitError::MissingTree { .. })
    ));
    let mut nobody = spec(&main, &[("dst/c", Some(&one))]);
    nobody.author.name = "a\nb <c>".into();
    assert!(matches!(mirror.commit(nobody).await, Err(CommitError::Identity)));
}

/// Files by path, none of them below another.
fn files() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof!["[ab]", "a[.-]b", "a b", "ü", "\\$\\^\\*"];
    let file = proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    proptest::collection::btree_map(file, "[01]", 1..10).prop_map(|files| {
        let paths: Vec<String> = files.keys().cloned().collect();
        files
            .into_iter()
            .filter(|(path, _)| !paths.iter().any(|other| path.starts_with(&format!("{other}/"))))
            .collect()
    })
}

/// Edits, none of them below another.
fn edits() -> impl Strategy<Value = BTreeMap<String, bool>> {
    let name = prop_oneof!["[abc]", "a[.-]b", "ü"];
    let target = proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    proptest::collection::btree_map(target, any::<bool>(), 1..5).prop_map(|edits| {
        let paths: Vec<String> = edits.keys().cloned().collect();
        edits
            .into_iter()
            .filter(|(path, _)| !paths.iter().any(|other| path.starts_with(&format!("{other}/"))))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any edit of any tree is what `read-tree` and `write-tree` of the git program make of it, and passes `git fsck`.
    #[test]
    fn tree_edits_equal_those_of_the_git_program(before in files(), source in files(), edits in edits()) {
        let upstream = Upstream::new();
        let mut all: Vec<(String, String)> = before.into_iter().collect();
        all.extend(source.iter().map(|(path, content)| (format!("source/{path}"), content.clone())));
        let all: Vec<Edit<'_>> = all.iter().map(|(path, content)| Edit::File(path, content)).collect();
        let main = upstream.push("main", "one", &all);
        let tree = upstream.tree(&main, "source");

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mirror = upstream.mirror();
        let made = runtime.block_on(async {
            let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
            let edits: Vec<_> = edits.iter().map(|(at, keep)| (at.as_str(), keep.then_some(&tree))).collect();
            mirror.commit(spec(&main, &edits)).await
        });

        let listed = upstream.git(&["ls-tree", "-r", "-z", "--name-only", main.as_str()]);
        let is_file = |path: &str| listed.split_terminator('\0').any(|file| file == path);
        let conflict = edits.iter().any(|(at, keep)| {
            let above = at.match_indices('/').map(|(end, _)| at.get(..end).unwrap());
            is_file(at) || *keep && above.clone().any(is_file)
        });
        match made {
            Err(CommitError::InTheWay { .. }) => prop_assert!(conflict),
            Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            Ok(made) => {
                prop_assert!(!conflict);
                let mut expected = Vec::new();
                for at in edits.keys() {
                    expected.push(Edit::Remove(at));
                }
                let copies: Vec<(String, &str)> = edits
                    .iter()
                    .filter(|(_, keep)| **keep)
                    .flat_map(|(at, _)| source.iter().map(move |(path, content)| (format!("{at}/{path}"), content.as_str())))
                    .collect();
                expected.extend(copies.iter().map(|(path, content)| Edit::File(path, content)));
                let tree = upstream.edited(Some(&main), &expected);
                prop_assert_eq!(made.tree.as_str(), &tree);
                let diff = upstream.git(&["diff-tree", "-r", "-z", "--no-renames", "--name-only", main.as_str(), &tree]);
                let diff: Vec<&str> = diff.split_terminator('\0').collect();
                prop_assert_eq!(runtime.block_on(differing(&mirror, &main, &made.oid)), diff);
                prop_assert_eq!(made.changed, tree != upstream.tree(&main, "").as_str());
                let dir = upstream.mirrors_config().root.join(format!("{REPO}.git"));
                git_in(&dir, &["fsck", "--strict", made.oid.as_str()], &[], b"");
            }
        }
    }
}
