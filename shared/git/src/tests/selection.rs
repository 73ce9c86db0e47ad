//! Selections against a naive model, and what is said where one can't be applied.

use std::collections::BTreeMap;

use git2::{Index, IndexEntry, IndexTime, Oid, Repository};
use lockflight_promotion::plan::{Edit as Change, Entry};
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo, Selection, TreeOid};
use proptest::prelude::*;

use super::bridge::Bridge;
use super::{deep, path, spec};
use crate::testing::{Edit, REPO, Upstream, WHEN, branch};
use crate::{CommitError, CommitSpec, Identity, LocalRepository, Mirrors, PlainHttp};

fn selection(include: &[&str], exclude: &[&str]) -> Selection {
    let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
    Selection {
        include: owned(include),
        exclude: owned(exclude),
    }
}

fn selecting(
    parent: &CommitOid,
    to: &str,
    tree: Option<&TreeOid>,
    include: &[&str],
    exclude: &[&str],
) -> CommitSpec {
    let mut spec = spec(parent, &[]);
    spec.edits = vec![(
        path(to),
        Change::Selected(tree.cloned(), selection(include, exclude)),
    )];
    spec
}

/// An upstream with these files, read in place.
fn local(edits: &[Edit<'_>]) -> (Upstream, LocalRepository, CommitOid) {
    let upstream = Upstream::new();
    let main = upstream.push("main", "one", edits);
    let local = LocalRepository::open(upstream.path()).unwrap();
    (upstream, local, main)
}

#[test]
fn what_is_not_selected_stays_and_what_the_source_lacks_goes() {
    let (upstream, local, main) = local(&[
        Edit::Executable("src/run.sh", "new"),
        Edit::File("src/values.yaml", "new"),
        Edit::File("src/values-region-eu.yaml", "of the source"),
        Edit::File("src/chart/new.yaml", "new"),
        Edit::File("dst/run.sh", "old"),
        Edit::File("dst/values.yaml", "old"),
        Edit::File("dst/values-region-eu.yaml", "of the target"),
        Edit::File("dst/values-region-us.yaml", "of the target alone"),
        Edit::File("dst/chart/gone.yaml", "old"),
        Edit::File("dst/chart/values-region-eu.yaml", "deep"),
        Edit::File("dst/only/gone.yaml", "old"),
        Edit::File("beside", "x"),
    ]);
    let tree = upstream.tree(&main, "src");
    let made = local
        .preview(&selecting(
            &main,
            "dst",
            Some(&tree),
            &[],
            &["values-region-*.yaml"],
        ))
        .unwrap();
    let expected = upstream.edited(
        Some(&main),
        &[
            Edit::Executable("dst/run.sh", "new"),
            Edit::File("dst/values.yaml", "new"),
            Edit::File("dst/chart/new.yaml", "new"),
            Edit::Remove("dst/chart/gone.yaml"),
            Edit::Remove("dst/only"),
        ],
    );
    assert_eq!(made.tree.as_str(), expected);
    assert_eq!(
        made.paths,
        [
            "dst/chart/gone.yaml",
            "dst/chart/new.yaml",
            "dst/only/gone.yaml",
            "dst/run.sh",
            "dst/values.yaml"
        ]
    );
    // A component that is gone leaves what was not selected.
    let made = local
        .preview(&selecting(&main, "dst", None, &[], &["values-region-*.yaml"]))
        .unwrap();
    assert_eq!(
        local.listings(&made.oid, &[path("dst")]).unwrap()[&path("dst")]
            .keys()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect::<Vec<_>>(),
        [
            "chart/values-region-eu.yaml",
            "values-region-eu.yaml",
            "values-region-us.yaml"
        ]
    );
    // And one of which all was selected goes as a whole.
    let made = local
        .preview(&selecting(&main, "dst", None, &["**"], &["nothing"]))
        .unwrap();
    assert_eq!(
        local.entries(&made.oid, &[path("dst")]).unwrap()[&path("dst")],
        Entry::Absent
    );
}

#[test]
fn a_file_that_stays_and_a_directory_that_arrives_in_its_place_are_told() {
    let (upstream, local, main) = local(&[
        Edit::File("src/a.yaml/inside.txt", "x"),
        Edit::File("src/b.txt", "x"),
        Edit::File("dst/a.yaml", "kept"),
        Edit::File("dst/b.txt/kept.yaml", "kept"),
        Edit::File("file", "x"),
    ]);
    let tree = upstream.tree(&main, "src");
    for (include, way) in [("inside.txt", "dst/a.yaml"), ("/b.txt", "dst/b.txt")] {
        let exclude: &[&str] = &["*.yaml"];
        // Where `a.yaml` is excluded, so is all in it: only an include reaches into it.
        let exclude = if include == "inside.txt" { &[] } else { exclude };
        let error = local
            .preview(&selecting(&main, "dst", Some(&tree), &[include], exclude))
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::User);
        match error {
            CommitError::InTheWay { at, .. } => assert_eq!(at, path(way)),
            other => panic!("{other:?}"),
        }
        let edit = Change::Selected(Some(tree.clone()), selection(&[include], exclude));
        assert_eq!(
            local.would_change(&main, &[(path("dst"), edit)]).unwrap(),
            [true],
            "the commit tells why"
        );
    }
    let error = local
        .preview(&selecting(&main, "file", Some(&tree), &["*"], &[]))
        .unwrap_err();
    assert!(matches!(error, CommitError::InTheWay { .. }), "{error:?}");
    let error = local
        .preview(&selecting(&main, "dst", Some(&tree), &["[a"], &[]))
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::User);
    assert!(matches!(error, CommitError::Selection { .. }), "{error:?}");
}

#[tokio::test]
async fn directories_that_a_selection_does_not_touch_are_never_read() {
    let upstream = Upstream::new();
    let main = upstream.push(
        "main",
        "one",
        &[
            Edit::File("src/taken/deep/a", "1"),
            Edit::File("src/left/deep/b", "1"),
            Edit::File("dst/taken/deep/a", "0"),
            Edit::File("dst/left/deep/b", "0"),
            Edit::File("dst/left/deep/c", "0"),
        ],
    );
    let bridge = Bridge::of(&upstream).await;
    let mut config = upstream.mirrors_config();
    config.plain_http = PlainHttp::Loopback;
    let mirror = Mirrors::new(config).unwrap().open(REPO, bridge.remote());
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
    let tree = upstream.tree(&main, "src/taken");
    let edits = [
        // Wholly selected, and wholly left out.
        (
            path("dst/taken"),
            Change::Selected(Some(tree.clone()), selection(&["deep"], &[])),
        ),
        (
            path("dst/left"),
            Change::Selected(Some(tree), selection(&[], &["deep"])),
        ),
    ];
    let mut spec = spec(&main, &[]);
    spec.edits = edits.to_vec();
    assert_eq!(mirror.would_change(&main, &edits).await.unwrap(), [true, false]);
    let made = mirror.commit(spec).await.unwrap();
    assert_eq!(
        made.tree.as_str(),
        upstream.edited(Some(&main), &[Edit::File("dst/taken/deep/a", "1")])
    );
    let dir = upstream.mirrors_config().root.join(format!("{REPO}.git"));
    let mirror = Repository::open_bare(dir).unwrap();
    let holds = |at: &str| {
        let id = upstream.git(&["rev-parse", &format!("{main}:{at}")]);
        mirror.odb().unwrap().exists(Oid::from_str(&id).unwrap())
    };
    assert!(!holds("dst/left/deep"));
    assert!(!holds("dst/taken/deep/a") && !holds("src/taken/deep/a"));
}

#[test]
fn directories_that_lie_deep_in_each_other_are_merged_or_refused() {
    let upstream = Upstream::new();
    for (levels, fits) in [(95, true), (105, false)] {
        let tree = |content: &str| deep(&upstream, content, levels);
        let root = format!(
            "040000 tree {}\tdst\n040000 tree {}\tsrc\n",
            tree("old"),
            tree("new")
        );
        let root = upstream.git_with(&["mktree"], &[], root.as_bytes());
        let main = upstream.commit_tree(&[], "one", &root);
        let local = LocalRepository::open(upstream.path()).unwrap();
        let wanted = upstream.tree(&main, "src");
        let spec = selecting(&main, "dst", Some(&wanted), &["f"], &["nothing"]);
        assert_eq!(local.would_change(&main, &spec.edits).unwrap(), [true]);
        let (made, listed) = (local.preview(&spec), local.listings(&main, &[path("dst")]));
        if fits {
            assert_eq!(
                local.entries(&made.unwrap().oid, &[path("dst")]).unwrap()[&path("dst")],
                Entry::Tree(wanted)
            );
            assert_eq!(listed.unwrap()[&path("dst")].len(), 1);
        } else {
            assert_eq!(made.unwrap_err().class(), ErrorClass::User);
            assert_eq!(listed.unwrap_err().class(), ErrorClass::User);
        }
    }
}

/// Files by path: mode and content. None of them is below another.
type Files = BTreeMap<Vec<u8>, (u32, u8)>;

fn is_below(path: &[u8], other: &[u8]) -> bool {
    path.len() > other.len() && path.starts_with(other) && path[other.len()] == b'/'
}

fn clashes(files: &Files) -> bool {
    files
        .keys()
        .any(|path| files.keys().any(|other| is_below(path, other)))
}

fn files() -> impl Strategy<Value = Files> {
    let name = prop_oneof![
        4 => "[ab]".prop_map(String::into_bytes),
        2 => prop_oneof![Just("a.yaml"), Just("b.yaml"), Just("a-b"), Just("a b"), Just("ü")].prop_map(|name| name.as_bytes().to_vec()),
        1 => Just(b"\xff\xfe".to_vec()),
    ];
    let file = proptest::collection::vec(name, 1..5).prop_map(|names| names.join(&b'/'));
    let mode = prop_oneof![4 => Just(0o100_644), 1 => Just(0o100_755), 1 => Just(0o120_000)];
    proptest::collection::btree_map(file, (mode, 0_u8..3), 0..14).prop_map(|mut files: Files| {
        let paths: Vec<Vec<u8>> = files.keys().cloned().collect();
        files.retain(|path, _| !paths.iter().any(|other| is_below(path, other)));
        files
    })
}

fn globs() -> impl Strategy<Value = Vec<String>> {
    let glob = prop_oneof![
        Just("*.yaml"),
        Just("a"),
        Just("/a"),
        Just("b/"),
        Just("a/**"),
        Just("a/*"),
        Just("**/b"),
        Just("**"),
        Just("{a,b}/a"),
        Just("a*"),
        Just("/b/a.yaml"),
        Just("\u{fffd}*"),
        Just("ü"),
        Just("[ab]/[ab]"),
    ];
    proptest::collection::vec(glob.prop_map(str::to_owned), 0..3)
}

/// The tree of these files below `at`, as libgit2's index makes it.
fn written(repo: &Repository, sides: &[(&str, &Files)]) -> Oid {
    let mut index = Index::new().unwrap();
    for (at, files) in sides {
        for (path, (mode, content)) in *files {
            let id = repo.blob(&[b'0' + content]).unwrap();
            index
                .add(&IndexEntry {
                    ctime: IndexTime::new(0, 0),
                    mtime: IndexTime::new(0, 0),
                    dev: 0,
                    ino: 0,
                    mode: *mode,
                    uid: 0,
                    gid: 0,
                    file_size: 0,
                    id,
                    flags: 0,
                    flags_extended: 0,
                    path: [at.as_bytes(), b"/", path].concat(),
                })
                .unwrap();
        }
    }
    index.write_tree_to(repo).unwrap()
}

fn tree_id(id: Oid) -> TreeOid {
    TreeOid::parse(id.to_string()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of any two directories and any globs: what a file-by-file copy would make, or a clash where that has one.
    #[test]
    fn a_selection_is_what_a_copy_of_file_by_file_makes(
        before in files(),
        source in files(),
        include in globs(),
        exclude in globs(),
        gone in proptest::bool::weighted(0.1),
    ) {
        let home = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(home.path()).unwrap();
        let source = if gone { Files::new() } else { source };
        let root = written(&repo, &[("dst", &before), ("src", &source), ("z", &Files::from([(b"f".to_vec(), (0o100_644, 0))]))]);
        let tree = repo.find_tree(root).unwrap();
        let who = git2::Signature::new("Ada", "ada@example.com", &git2::Time::new(WHEN, 0)).unwrap();
        let main = repo.commit(None, &who, &who, "one", &tree, &[]).unwrap();
        let main = CommitOid::parse(main.to_string()).unwrap();
        let wanted = tree.get_name("src").map(|entry| tree_id(entry.id()));

        let selection = Selection { include, exclude };
        let selector = selection.compile().unwrap();
        let selects = |path: &[u8]| selector.selects(&String::from_utf8_lossy(path));
        let mut expected: Files = before.clone();
        expected.retain(|path, _| !selects(path));
        let arriving = source.iter().filter(|(path, _)| selects(path));
        expected.extend(arriving.map(|(path, file)| (path.clone(), *file)));

        let local = LocalRepository::open(home.path()).unwrap();
        let edits = vec![(PathInRepo::parse("dst").unwrap(), Change::Selected(wanted, selection))];
        let spec = CommitSpec {
            parent: main.clone(),
            edits: edits.clone(),
            message: "Promote".into(),
            author: Identity { name: "Ada".into(), email: "ada@example.com".into() },
            when: WHEN,
        };
        let would = local.would_change(&main, &edits).unwrap();
        match local.preview(&spec) {
            Err(CommitError::InTheWay { .. }) => {
                prop_assert!(clashes(&expected));
                prop_assert_eq!(would, vec![true]);
            }
            Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            Ok(made) => {
                prop_assert!(!clashes(&expected), "a clash was not noticed");
                let tree = written(&repo, &[("dst", &expected), ("src", &source), ("z", &Files::from([(b"f".to_vec(), (0o100_644, 0))]))]);
                prop_assert_eq!(made.tree.clone(), tree_id(tree));
                prop_assert_eq!(would, vec![made.changed]);
                // Again, it changes nothing, and the same makes the same.
                let again = CommitSpec { parent: made.oid.clone(), ..spec.clone() };
                prop_assert!(!local.preview(&again).unwrap().changed);
                prop_assert_eq!(local.preview(&spec).unwrap(), made);
            }
        }
    }
}
