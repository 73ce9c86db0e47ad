//! The ways to model environments below the directory: selected files, keys of a file, another branch, another repository.
//!
//! What is pushed has to pass `git fsck --strict` at the upstream, and its tree has to be the one that git's index makes of the same.

use std::collections::BTreeMap;
use std::path::Path;

use lockflight_git::testing::{REPO, branch, lease};
use lockflight_git::{CommitSpec, Mirror, PushOutcome, RefUpdate};
use lockflight_promotion::plan::{Edit, File, Keys};
use lockflight_promotion::values::KeyPath;
use lockflight_promotion::{CommitOid, RepoId, Selection, TreeOid};

use crate::place::{Dir, Node, Place, WAYS, Way, Writer, file, git_with, path, put, spec};

fn selection(include: &[&str], exclude: &[&str]) -> Selection {
    let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
    Selection {
        include: owned(include),
        exclude: owned(exclude),
    }
}

fn with(parent: &CommitOid, edits: Vec<(&str, Edit)>) -> CommitSpec {
    let mut spec = spec(parent, &[]);
    spec.edits = edits.into_iter().map(|(at, edit)| (path(at), edit)).collect();
    spec
}

async fn pushed(place: &Place, mirror: &Mirror, name: &str, commit: &CommitOid) {
    let update = RefUpdate {
        branch: branch(name),
        expected: None,
        new: Some(commit.clone()),
    };
    let outcome = mirror.push(&lease(), &[update]).await.unwrap();
    assert_eq!(outcome, [PushOutcome::Pushed], "{name}");
    assert_eq!(place.head(name).as_ref(), Some(commit), "{name}");
    place.assert_sound();
}

/// A line of `git ls-tree -r -z`: what stands there, by its path.
type Lines = BTreeMap<Vec<u8>, Vec<u8>>;

#[track_caller]
fn lines(place: &Place, tree: &str) -> Lines {
    let listed = git_with(&place.upstream, &["ls-tree", "-r", "-z", tree], &[], b"");
    let mut lines = Lines::new();
    for line in listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let tab = line.iter().position(|byte| *byte == b'\t').unwrap();
        lines.insert(line[tab + 1..].to_vec(), line[..tab].to_vec());
    }
    lines
}

/// The tree that git's index makes of these.
#[track_caller]
fn indexed(place: &Place, lines: &Lines) -> String {
    let index = place.home.path().join("index");
    std::fs::remove_file(&index).ok();
    let run = |arguments: &[&str], input: &[u8]| {
        git_with(&place.upstream, arguments, &[("GIT_INDEX_FILE", &index)], input)
    };
    let mut input = Vec::new();
    for (path, what) in lines {
        input.extend_from_slice(what);
        input.push(b'\t');
        input.extend_from_slice(path);
        input.push(0);
    }
    run(&["read-tree", "--empty"], b"");
    run(&["update-index", "-z", "--index-info"], &input);
    let tree = run(&["write-tree"], b"");
    String::from_utf8(tree).unwrap().trim().to_owned()
}

/// The tree of a commit with the selected files at `to` replaced by those of `tree`, file by file.
#[track_caller]
fn independent(
    place: &Place,
    base: &CommitOid,
    to: &str,
    tree: Option<&TreeOid>,
    selection: &Selection,
) -> String {
    let selector = selection.compile().unwrap();
    let selects = |path: &[u8]| selector.selects(&String::from_utf8_lossy(path));
    let prefix = format!("{to}/").into_bytes();
    let mut after = lines(place, base.as_str());
    after.retain(|path, _| !path.strip_prefix(&prefix[..]).is_some_and(selects));
    if let Some(tree) = tree {
        let arriving = lines(place, tree.as_str()).into_iter();
        let arriving = arriving.filter(|(path, _)| selects(path));
        after.extend(arriving.map(|(path, what)| ([&prefix[..], &path].concat(), what)));
    }
    indexed(place, &after)
}

/// Writes out a tree as `git checkout-index` does, and gives the files with their content.
fn checked_out(place: &Place, tree: &str) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, files);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let index = place.home.path().join("index");
    std::fs::remove_file(&index).ok();
    let out = tempfile::tempdir().unwrap();
    let work: [(&str, &Path); 2] = [("GIT_INDEX_FILE", &index), ("GIT_WORK_TREE", out.path())];
    git_with(&place.upstream, &["read-tree", tree], &work, b"");
    let prefix = format!("--prefix={}/", out.path().display());
    git_with(&place.upstream, &["checkout-index", "--all", &prefix], &work, b"");
    let mut files = BTreeMap::new();
    walk(out.path(), out.path(), &mut files);
    files
}

struct Case {
    name: &'static str,
    fill: fn(&mut Dir),
    include: &'static [&'static str],
    exclude: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "region values and overlays of the target stay, also those that the source lacks",
        fill: |root| {
            put(root, "src/c/values.yaml", file("new"));
            put(root, "src/c/values-region-eu.yaml", file("lab's"));
            put(root, "src/c/overlays/lab/patch.yaml", file("lab's"));
            put(root, "dst/c/values.yaml", file("old"));
            put(root, "dst/c/gone.yaml", file("old"));
            put(root, "dst/c/values-region-us.yaml", file("ours"));
            put(root, "dst/c/overlays/prod/patch.yaml", file("ours"));
        },
        include: &[],
        exclude: &["values-region-*.yaml", "overlays/"],
    },
    Case {
        name: "a change of the mode alone is a change, unless it is not selected",
        fill: |root| {
            for (at, node) in [("a.sh", Node::Executable(b"x".to_vec())), ("b.sh", file("x"))] {
                put(root, format!("src/c/{at}"), node.clone());
                put(root, format!("src/c/ours/{at}"), node);
            }
            for (at, node) in [("b.sh", Node::Executable(b"x".to_vec())), ("a.sh", file("x"))] {
                put(root, format!("dst/c/{at}"), node.clone());
                put(root, format!("dst/c/ours/{at}"), node);
            }
        },
        include: &[],
        exclude: &["ours"],
    },
    Case {
        name: "symlinks travel and stay as themselves",
        fill: |root| {
            put(root, "src/c/real.yaml", file("x"));
            put(root, "src/c/new.yaml", Node::Symlink(b"real.yaml".to_vec()));
            put(root, "src/c/kept", Node::Symlink(b"real.yaml".to_vec()));
            put(root, "dst/c/kept", Node::Symlink(b"/etc/passwd".to_vec()));
            put(root, "dst/c/new.yaml", file("was a file"));
        },
        include: &["*.yaml"],
        exclude: &[],
    },
    Case {
        name: "submodules of the target that are not selected stay",
        fill: |root| {
            put(root, "src/c/f.yaml", file("x"));
            put(root, "dst/c/module", Node::Submodule);
            put(root, "dst/c/deep/f.yaml", file("y"));
        },
        include: &["*.yaml"],
        exclude: &[],
    },
    Case {
        name: "names that are not UTF-8 are matched by what can be read of them",
        fill: |root| {
            put(root, b"src/c/caf\xe9.yaml", file("x"));
            put(root, b"src/c/\xff\xfe/\x80", file("y"));
            put(root, b"dst/c/caf\xe8.yaml", file("z"));
            put(root, b"dst/c/\xff\xfe/kept-\x81", file("z"));
        },
        include: &[],
        exclude: &["kept-*"],
    },
    Case {
        name: "files become directories and directories files, where nothing stays in the way",
        fill: |root| {
            put(root, "src/c/swap", file("file"));
            put(root, "src/c/paws/inside.yaml", file("dir"));
            put(root, "dst/c/swap/inside/deep.yaml", file("dir"));
            put(root, "dst/c/paws", file("file"));
            put(root, "dst/c/ours/inside", file("kept"));
            put(root, "src/c/ours", file("not selected"));
        },
        include: &[],
        exclude: &["ours"],
    },
    Case {
        name: "names that differ in case alone are different",
        fill: |root| {
            put(root, "src/c/README", file("1"));
            put(root, "src/c/values.yaml", file("1"));
            put(root, "dst/c/Readme", file("2"));
            put(root, "dst/c/VALUES.yaml", file("2"));
        },
        include: &[],
        exclude: &["VALUES.yaml"],
    },
    Case {
        name: "5,000 siblings, of which one in ten stays",
        fill: |root| {
            for number in 0..5_000 {
                put(root, format!("src/c/{number:05}.yaml"), file("new"));
                put(root, format!("dst/c/{number:05}.yaml"), file("old"));
                put(root, format!("dst/c{number:05}/f"), file("beside"));
            }
        },
        include: &[],
        exclude: &["*0.yaml"],
    },
    Case {
        name: "a component that is gone leaves what was not selected",
        fill: |root| {
            put(root, "src/other", file("x"));
            put(root, "dst/c/a/b", file("y"));
            put(root, "dst/c/a/values-region-eu.yaml", file("y"));
            put(root, "dst/c/b/c/d", file("y"));
        },
        include: &[],
        exclude: &["values-region-*.yaml"],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selections_of_hard_content_are_as_git_itself_would_make_them() {
    for way in WAYS {
        for case in CASES {
            let name = format!("{} ({way:?})", case.name);
            let place = Place::new(way).await;
            let mut root = Dir::new();
            (case.fill)(&mut root);
            let main = place.advance(&Writer::default().tree(&place, &root));
            let is_there = lines(&place, main.as_str())
                .keys()
                .any(|path| path.starts_with(b"src/c/"));
            let tree = is_there.then(|| place.tree_at(&main, "src/c"));
            let selection = selection(case.include, case.exclude);
            let expected = independent(&place, &main, "dst/c", tree.as_ref(), &selection);
            place.git(&["prune", "--expire=now"], b"");

            let mirror = place.mirror();
            let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
            let edits = vec![("dst/c", Edit::Selected(tree.clone(), selection))];
            let spec = with(&main, edits);
            assert_eq!(
                mirror.would_change(&main, &spec.edits).await.unwrap(),
                [true],
                "{name}"
            );
            let made = mirror
                .commit(spec.clone())
                .await
                .unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!(made.tree.as_str(), expected, "{name}");
            pushed(&place, &mirror, "promotions/1", &made.oid).await;
            assert_eq!(
                mirror.would_change(&made.oid, &spec.edits).await.unwrap(),
                [false],
                "{name}"
            );
            // The listing is what git lists.
            let places = [path("src/c"), path("dst/c")];
            let listings = mirror.listings(&made.oid, &places).await.unwrap();
            let all = lines(&place, made.oid.as_str());
            for place in &places {
                let prefix = format!("{place}/").into_bytes();
                let listed: BTreeMap<Vec<u8>, Vec<u8>> = all
                    .iter()
                    .filter_map(|(path, what)| Some((path.strip_prefix(&prefix[..])?.to_vec(), what.clone())))
                    .collect();
                let ours = listings[place].iter().map(|(path, file)| {
                    let kind = if file.mode == 0o160_000 { "commit" } else { "blob" };
                    (
                        path.clone(),
                        format!("{:06o} {kind} {}", file.mode, file.id).into_bytes(),
                    )
                });
                assert_eq!(ours.collect::<BTreeMap<_, _>>(), listed, "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_set_and_every_other_byte_stays() {
    const LAB: &str = "# lab\nimage:\n  tag: \"2\"\nreplicas: 1\n";
    const PROD: &str = "# production: ask first\r\nreplicas:   30   # many\r\nimage:\r\n  # changed by promotions alone\r\n  tag: \"1\"   # the tag\r\n";
    for way in WAYS {
        let place = Place::new(way).await;
        let mut root = Dir::new();
        put(&mut root, "apps/web/values-lab.yaml", file(LAB));
        for name in ["values-prod-a.yaml", "values-prod-b.yaml"] {
            put(
                &mut root,
                format!("apps/web/{name}"),
                Node::Executable(PROD.as_bytes().to_vec()),
            );
        }
        put(&mut root, "apps/web/chart/f", file("old"));
        put(&mut root, "apps/next/chart/f", file("new"));
        put(&mut root, "apps/web/.gitattributes", file("* text eol=lf\n"));
        let main = place.advance(&Writer::default().tree(&place, &root));
        let mirror = place.mirror();
        let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
        let from = path("apps/web/values-lab.yaml");
        let files = mirror
            .files(&main, std::slice::from_ref(&from), 1 << 20)
            .await
            .unwrap();
        let File::Text { blob, text } = &files[&from] else {
            panic!("{files:?}");
        };
        assert_eq!(text, LAB);
        let keys = Edit::Keys(Keys {
            blob: blob.clone(),
            keys: vec![KeyPath::parse("image.tag").unwrap()],
        });
        let edits = vec![
            ("apps/web/values-prod-b.yaml", keys.clone()),
            ("apps/web/values-prod-a.yaml", keys),
            (
                "apps/web/chart",
                Edit::Whole(Some(place.tree_at(&main, "apps/next/chart"))),
            ),
        ];
        let made = mirror.commit(with(&main, edits)).await.unwrap();
        pushed(&place, &mirror, "promotions/1", &made.oid).await;
        let after = PROD.replace("\"1\"", "\"2\"");
        let mut expected = lines(&place, main.as_str());
        let id = place.git(&["hash-object", "-w", "--stdin"], after.as_bytes());
        for name in ["values-prod-a.yaml", "values-prod-b.yaml"] {
            expected.insert(
                format!("apps/web/{name}").into_bytes(),
                format!("100755 blob {id}").into_bytes(),
            );
        }
        let chart = expected[&b"apps/next/chart/f"[..]].clone();
        expected.insert(b"apps/web/chart/f".to_vec(), chart);
        assert_eq!(made.tree.as_str(), indexed(&place, &expected), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_branch_gets_what_is_selected_of_a_component() {
    for way in WAYS {
        for is_orphan in [false, true] {
            let place = Place::new(way).await;
            let mut root = Dir::new();
            put(&mut root, "c/values.yaml", file("old"));
            let mut writer = Writer::default();
            let first = place.advance(&writer.tree(&place, &root));
            let mut theirs = Dir::new();
            put(&mut theirs, "c/values.yaml", file("old"));
            put(&mut theirs, "c/region.yaml", file("theirs"));
            put(&mut theirs, "policy", file("theirs"));
            let tree = writer.tree(&place, &theirs);
            let mut arguments = vec!["commit-tree", tree.as_str(), "-m", "theirs"];
            if !is_orphan {
                arguments.extend(["-p", first.as_str()]);
            }
            let head = place.git(&arguments, b"");
            place.git(&["update-ref", "refs/heads/env/prod", &head], b"");
            let head = CommitOid::parse(head).unwrap();
            put(&mut root, "c/values.yaml", file("new"));
            put(&mut root, "c/deep/er/new", Node::Executable(b"new".to_vec()));
            put(&mut root, "c/region.yaml", file("ours"));
            let main = place.advance(&writer.tree(&place, &root));
            let tree = place.tree_at(&main, "c");
            let selection = selection(&[], &["region.yaml"]);
            let expected = independent(&place, &head, "c", Some(&tree), &selection);
            place.git(&["prune", "--expire=now"], b"");

            let mirror = place.mirror();
            let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
            let fetched = mirror.fetch_branch(&branch("env/prod")).await.unwrap();
            assert_eq!(fetched.as_ref(), Some(&head));
            let edits = vec![("c", Edit::Selected(Some(tree), selection))];
            let made = mirror.commit(with(&head, edits)).await.unwrap();
            pushed(&place, &mirror, "promotions/1", &made.oid).await;
            assert_eq!(made.tree.as_str(), expected, "{way:?}, orphan: {is_orphan}");
            let parents = mirror.commit_info(&made.oid).await.unwrap().parents;
            assert_eq!(parents, [head]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_repository_gets_a_component_with_all_its_files_and_nothing_else() {
    for way in WAYS {
        let (source, target) = (Place::new(way).await, Place::new(Way::Http).await);
        // More than goes through memory in one piece.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let big: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take((12 << 20) / 8)
        .flatten()
        .collect();
        let mut root = Dir::new();
        put(&mut root, "private/key", file("hunter2"));
        put(&mut root, "c/big.bin", file(big.clone()));
        put(&mut root, "c/run.sh", Node::Executable(b"new".to_vec()));
        put(&mut root, "c/a/link", Node::Symlink(b"../run.sh".to_vec()));
        put(&mut root, b"c/caf\xe9/x", file("x"));
        put(&mut root, "c/region.yaml", file("of the source"));
        put(&mut root, "c/.gitattributes", file("*.bin filter=lfs\n"));
        put(
            &mut root,
            "c/pointer.bin",
            file("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
        );
        for number in 0..1_001 {
            put(
                &mut root,
                format!("c/many/{number:04}.yaml"),
                file(format!("{number}")),
            );
        }
        let change = source.advance(&Writer::default().tree(&source, &root));
        let tree = source.tree_at(&change, "c");
        let mut theirs = Dir::new();
        put(&mut theirs, "prod/c/run.sh", file("old"));
        put(&mut theirs, "prod/c/region.yaml", file("theirs"));
        put(&mut theirs, "README", file("theirs"));
        let head = target.advance(&Writer::default().tree(&target, &theirs));

        let mirrors = target.mirrors();
        let from = mirrors.open(RepoId::new(815), source.remote.clone());
        let to = mirrors.open(REPO, target.remote.clone());
        let _fetched = from.fetch(&branch("main"), &change).await.unwrap();
        let _fetched = to.fetch(&branch("main"), &head).await.unwrap();
        from.inspect(&change, &[(path("c"), Some(tree.clone()))])
            .await
            .unwrap();
        let brought = to.bring_from(&from, &change, &[path("c")]).await.unwrap();
        assert!(brought.objects > 1_001, "{brought:?}");
        let edits = vec![(
            "prod/c",
            Edit::Selected(Some(tree.clone()), selection(&[], &["region.yaml"])),
        )];
        let made = to.commit(with(&head, edits)).await.unwrap();
        pushed(&target, &to, "promotions/1", &made.oid).await;

        // The source's files, checked out by git, but for the one of the target.
        let mut expected: BTreeMap<String, Vec<u8>> = checked_out(&source, tree.as_str());
        expected.insert("region.yaml".to_owned(), b"theirs".to_vec());
        let prod = target.tree_at(&made.oid, "prod/c");
        assert!(checked_out(&target, prod.as_str()) == expected, "{way:?}");
        let modes = |place: &Place, tree: &TreeOid| {
            let mut lines = lines(place, tree.as_str());
            lines.remove(&b"region.yaml"[..]);
            lines
        };
        assert_eq!(modes(&target, &prod), modes(&source, &tree), "{way:?}");
        let held = target.git(
            &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"],
            b"",
        );
        for private in ["hunter2", "of the source"] {
            let id = source.git(&["hash-object", "--stdin"], private.as_bytes());
            assert!(held.lines().all(|line| line != id), "{way:?}: {private}");
        }
        // The next change costs what it changed.
        put(&mut root, "c/run.sh", Node::Executable(b"newer".to_vec()));
        let next = source.advance(&Writer::default().tree(&source, &root));
        let _fetched = from.fetch(&branch("main"), &next).await.unwrap();
        let brought = to.bring_from(&from, &next, &[path("c")]).await.unwrap();
        assert_eq!(brought.objects, 2, "a tree and a file");
        assert!(brought.bytes < 4_096, "{brought:?}");
    }
}
