use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, ErrorClass, TreeOid};

use super::{differing, nested, path, spec};
use crate::inspect::{LIMITS, Limits, inspect_within};
use crate::objects::Objects;
use crate::testing::{Edit, Upstream, branch};
use crate::{InspectError, Mirror, ReadError};

async fn fetched(edits: &[Edit<'_>]) -> (Upstream, Mirror, CommitOid) {
    let upstream = Upstream::new();
    let commit = upstream.push("main", "one", edits);
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("main"), &commit).await.unwrap();
    (upstream, mirror, commit)
}

#[tokio::test]
async fn entries_tell_directories_files_and_proven_absence_apart() {
    let (upstream, mirror, commit) = fetched(&[
        Edit::File("d/file", "x"),
        Edit::Symlink("link", "d"),
        Edit::Submodule("module", &"1".repeat(40)),
        Edit::File("ünï cödé/f", "x"),
    ])
    .await;
    let asked = [
        "",
        "d",
        "d/file",
        "d/file/below",
        "link",
        "link/file",
        "module",
        "nothing",
        "nothing/below",
        "ünï cödé",
    ];
    let answers = mirror.entries(&commit, &asked.map(path)).await.unwrap();
    assert_eq!(answers.len(), asked.len());
    let at = |name: &str| answers[&path(name)].clone();
    assert_eq!(at(""), Entry::Tree(upstream.tree(&commit, "")));
    assert_eq!(at("d"), Entry::Tree(upstream.tree(&commit, "d")));
    assert_eq!(at("ünï cödé"), Entry::Tree(upstream.tree(&commit, "ünï cödé")));
    for no_directory in ["d/file", "d/file/below", "link", "link/file", "module"] {
        assert_eq!(at(no_directory), Entry::NotADirectory, "{no_directory}");
    }
    for absent in ["nothing", "nothing/below"] {
        assert_eq!(at(absent), Entry::Absent, "{absent}");
    }
}

#[tokio::test]
async fn a_blob_is_read_whole_or_not_at_all() {
    let (_upstream, mirror, commit) = fetched(&[
        Edit::File("d/file", "12345"),
        Edit::Symlink("link", "d/file"),
        Edit::Submodule("module", &"1".repeat(40)),
    ])
    .await;
    assert_eq!(
        mirror.blob(&commit, &path("d/file"), 5).await.unwrap().unwrap(),
        b"12345"
    );
    assert_eq!(mirror.blob(&commit, &path("d/nothing"), 5).await.unwrap(), None);
    let error = |name: &'static str, max| {
        let (mirror, commit) = (mirror.clone(), commit.clone());
        async move { mirror.blob(&commit, &path(name), max).await.unwrap_err() }
    };
    assert!(matches!(
        error("d/file", 4).await,
        ReadError::TooBig { size: 5, max: 4, .. }
    ));
    assert!(matches!(error("link", 100).await, ReadError::Symlink { .. }));
    assert!(matches!(error("d", 100).await, ReadError::NotAFile { .. }));
    assert!(matches!(error("module", 100).await, ReadError::NotAFile { .. }));
    let unknown = CommitOid::parse("1".repeat(40)).unwrap();
    assert!(matches!(
        mirror.blob(&unknown, &path("d/file"), 100).await,
        Err(ReadError::NotFetched(_))
    ));
}

#[tokio::test]
async fn a_parent_with_more_entries_than_an_api_lists_is_read_whole() {
    for siblings in [1_001, 5_000] {
        let upstream = Upstream::new();
        let blob = upstream.blob("x");
        let component = upstream.git_with(&["mktree"], &[], format!("100644 blob {blob}\tf\n").as_bytes());
        let parent: String = (0..siblings)
            .map(|number| format!("040000 tree {component}\tc{number:05}\n"))
            .collect();
        let parent = upstream.git_with(&["mktree"], &[], parent.as_bytes());
        let root = format!("040000 tree {parent}\tsrc\n040000 tree {parent}\tdst\n");
        let root = upstream.git_with(&["mktree"], &[], root.as_bytes());
        let commit = upstream.commit_tree(&[], "one", &root);
        upstream.set("main", &commit);
        let mirror = upstream.mirror();
        let _fetched = mirror.fetch(&branch("main"), &commit).await.unwrap();
        let last = path(&format!("src/c{:05}", siblings - 1));
        let component = TreeOid::parse(component).unwrap();
        assert_eq!(
            mirror.entry(&commit, &last).await.unwrap(),
            Entry::Tree(component.clone())
        );
        assert_eq!(
            mirror.entry(&commit, &path("src/c99999")).await.unwrap(),
            Entry::Absent
        );

        let changed = mirror
            .commit(spec(
                &commit,
                &[("dst/c00000", None), ("dst/new", Some(&component))],
            ))
            .await
            .unwrap();
        assert_eq!(
            differing(&mirror, &commit, &changed.oid).await,
            ["dst/c00000/f", "dst/new/f"]
        );
    }
}

async fn inspect(edits: &[Edit<'_>]) -> Result<(), InspectError> {
    let (upstream, mirror, commit) = fetched(edits).await;
    let tree = upstream.tree(&commit, "src/c");
    mirror
        .inspect(
            &commit,
            &[
                (path("src/c"), Some(tree.clone())),
                (path("src/gone"), None),
                (path("src/c"), Some(tree)),
            ],
        )
        .await
}

#[tokio::test]
async fn what_stays_inside_its_component_may_travel() {
    inspect(&[
        Edit::Executable("src/c/run.sh", "#!/bin/sh"),
        Edit::File("src/c/.gitkeep", ""),
        Edit::File("src/c/deep/er/file", "x"),
        Edit::Symlink("src/c/link", "deep/er/file"),
        Edit::Symlink("src/c/deep/up", "../run.sh"),
        Edit::Symlink("src/c/deep/dangling", "nothing"),
        // Not part of what travels.
        Edit::Symlink("src/other", "/etc/passwd"),
        Edit::Submodule("src/module", &"1".repeat(40)),
    ])
    .await
    .unwrap();
}

#[tokio::test]
async fn what_leads_out_of_its_component_stops_the_step_and_says_where() {
    for (edit, at) in [
        (Edit::Symlink("src/c/l", "/etc/passwd"), "src/c/l"),
        (Edit::Symlink("src/c/l", "../d/file"), "src/c/l"),
        (Edit::Symlink("src/c/l", "../c/file"), "src/c/l"),
        (Edit::Symlink("src/c/a/b/l", "../../../x"), "src/c/a/b/l"),
        (
            Edit::Submodule("src/c/module", "1111111111111111111111111111111111111111"),
            "src/c/module",
        ),
        (
            Edit::Submodule("src/c/a/module", "1111111111111111111111111111111111111111"),
            "src/c/a/module",
        ),
    ] {
        let error = inspect(&[Edit::File("src/c/file", "x"), edit]).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::User);
        match error {
            InspectError::Unsafe(found) => assert_eq!(found.path, at, "{found}"),
            other => panic!("{edit:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_symlink_through_another_cannot_lead_out_either() {
    // `t` is the top of the component; `p/q/d` leads there, so `p/q/d/../x` is `src/x`.
    let error = inspect(&[
        Edit::File("src/c/t/file", "x"),
        Edit::Symlink("src/c/p/q/d", "../../t"),
        Edit::Symlink("src/c/out", "p/q/d/../../x"),
    ])
    .await
    .unwrap_err();
    assert!(matches!(error, InspectError::Unsafe(found) if found.path == "src/c/out"));
}

/// Trees that git's index refuses but `git mktree` makes. They never come by a checked push; a hostile server may send them.
#[tokio::test]
async fn names_that_a_file_system_could_mistake_stop_the_step() {
    let evil: [&[u8]; 10] = [
        b".git",
        b".GIT",
        b"..",
        b".",
        b"git~1",
        b".git ",
        b"a\\b",
        b"new\nline",
        "\u{202e}txt".as_bytes(),
        ".g\u{200c}it".as_bytes(),
    ];
    for name in evil {
        let upstream = Upstream::new();
        let blob = upstream.blob("x");
        let mut lines = format!("100644 blob {blob}\t").into_bytes();
        lines.extend_from_slice(name);
        lines.push(0);
        let tree = upstream.git_with(&["mktree", "-z"], &[], &lines);
        let source = upstream.git_with(&["mktree"], &[], format!("040000 tree {tree}\tc\n").as_bytes());
        let root = upstream.git_with(
            &["mktree"],
            &[],
            format!("040000 tree {source}\tsrc\n").as_bytes(),
        );
        let commit = upstream.commit_tree(&[], "evil", &root);
        upstream.set("main", &commit);
        // Opened as it is: most of these do not get through the fetch.
        let local = crate::LocalRepository::open(upstream.path()).unwrap();
        let sync = [(path("src/c"), Some(upstream.tree(&commit, "src/c")))];
        let error = local.inspect(&commit, &sync).unwrap_err();
        assert!(
            matches!(&error, InspectError::Unsafe(found) if found.reason.contains("name")),
            "{name:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_name_that_is_not_utf8_may_travel() {
    let upstream = Upstream::new();
    let blob = upstream.blob("x");
    let mut lines = format!("100644 blob {blob}\t").into_bytes();
    lines.extend_from_slice(b"caf\xe9\0");
    let tree = upstream.git_with(&["mktree", "-z"], &[], &lines);
    let source = upstream.git_with(&["mktree"], &[], format!("040000 tree {tree}\tc\n").as_bytes());
    let root = upstream.git_with(
        &["mktree"],
        &[],
        format!("040000 tree {source}\tsrc\n").as_bytes(),
    );
    let commit = upstream.commit_tree(&[], "latin-1", &root);
    upstream.set("main", &commit);
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("main"), &commit).await.unwrap();
    let tree = upstream.tree(&commit, "src/c");
    mirror
        .inspect(&commit, &[(path("src/c"), Some(tree.clone()))])
        .await
        .unwrap();
    let made = mirror
        .commit(spec(&commit, &[("dst/c", Some(&tree))]))
        .await
        .unwrap();
    assert_eq!(
        differing(&mirror, &commit, &made.oid).await,
        ["dst/c/caf\u{fffd}"]
    );
}

/// What inspecting a component that is a tree of `nested` says, within `limits`.
#[expect(
    clippy::unwrap_in_result,
    reason = "only what the inspection says is a result"
)]
fn inspect_nested(leaf: &str, levels: usize, width: usize, limits: Limits) -> Result<(), InspectError> {
    let upstream = Upstream::new();
    let leaf = leaf
        .replace("BLOB", &upstream.blob("x"))
        .replace("INSIDE", &upstream.blob("f"))
        .replace("OUTSIDE", &upstream.blob("/etc/passwd"));
    let tree = nested(&upstream, &leaf, levels, width);
    let source = upstream.git_with(&["mktree"], &[], format!("040000 tree {tree}\tc\n").as_bytes());
    let root = format!("040000 tree {source}\tsrc\n");
    let root = upstream.git_with(&["mktree"], &[], root.as_bytes());
    let commit = upstream.commit_tree(&[], "nested", &root);
    let sync = [(path("src/c"), Some(upstream.tree(&commit, "src/c")))];
    let repo = git2::Repository::open(upstream.path()).unwrap();
    inspect_within(&Objects::complete(&repo).unwrap(), &commit, &sync, limits)
}

#[test]
fn a_tree_that_stands_in_many_places_is_looked_through_once() {
    let limits = Limits {
        entries: 100,
        ..LIMITS
    };
    // Ten million paths in eight trees of 71 entries.
    inspect_nested("100644 blob BLOB\tf\n", 7, 10, limits).unwrap();
    // What a place decides about is looked at in each place, and found in the last as in the first.
    let error = inspect_nested("120000 blob OUTSIDE\tl\n", 2, 3, limits).unwrap_err();
    assert!(
        matches!(&error, InspectError::Unsafe(found) if found.path == "src/c/00/00/l"),
        "{error:?}"
    );
}

#[test]
fn more_than_can_be_looked_through_stops_the_step() {
    let limits = Limits {
        entries: 1_000,
        ..LIMITS
    };
    let leaf = "100644 blob BLOB\tf\n120000 blob INSIDE\tl\n";
    inspect_nested(leaf, 2, 10, limits).unwrap();
    let few_targets = Limits {
        targets: 10,
        ..LIMITS
    };
    for (levels, limits, says) in [(7, limits, "1000 files"), (2, few_targets, "10 bytes")] {
        let error = inspect_nested(leaf, levels, 10, limits).unwrap_err();
        assert_eq!(error.class(), ErrorClass::User);
        assert!(
            matches!(&error, InspectError::Unsafe(found) if found.path == "src/c" && found.reason.contains(says)),
            "{error:?}"
        );
    }
}

#[test]
fn a_tree_that_is_met_again_may_not_make_an_over_long_path() {
    let upstream = Upstream::new();
    let blob = upstream.blob("x");
    let mut tree = upstream.git_with(&["mktree"], &[], format!("100644 blob {blob}\tf\n").as_bytes());
    for _ in 0..14 {
        let line = format!("040000 tree {tree}\t{}\n", "n".repeat(200));
        tree = upstream.git_with(&["mktree"], &[], line.as_bytes());
    }
    // At `a` it fits; below seven more such directories it does not.
    let mut deep = tree.clone();
    for _ in 0..7 {
        let line = format!("040000 tree {deep}\t{}\n", "m".repeat(200));
        deep = upstream.git_with(&["mktree"], &[], line.as_bytes());
    }
    let lines = format!("040000 tree {tree}\ta\n040000 tree {deep}\tb\n");
    let source = upstream.git_with(&["mktree"], &[], lines.as_bytes());
    let root = format!("040000 tree {source}\tc\n");
    let root = upstream.git_with(&["mktree"], &[], root.as_bytes());
    let commit = upstream.commit_tree(&[], "long", &root);
    let local = crate::LocalRepository::open(upstream.path()).unwrap();
    let inspect = |at: &str| local.inspect(&commit, &[(path(at), Some(upstream.tree(&commit, at)))]);
    inspect("c/a").unwrap();
    let error = inspect("c").unwrap_err();
    assert!(
        matches!(&error, InspectError::Unsafe(found) if found.reason.contains("longer than 4096")),
        "{error:?}"
    );
}

#[tokio::test]
async fn only_what_stands_in_the_commit_is_inspected() {
    let (upstream, mirror, commit) = fetched(&[Edit::File("src/c/f", "1"), Edit::File("src/d/f", "2")]).await;
    let other = upstream.tree(&commit, "src/d");
    let error = mirror
        .inspect(&commit, &[(path("src/c"), Some(other))])
        .await
        .unwrap_err();
    assert!(matches!(&error, InspectError::Mismatch { .. }));
    assert_eq!(error.class(), ErrorClass::Bug);
}
