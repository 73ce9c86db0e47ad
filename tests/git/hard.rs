//! Content that real repositories bring: what may travel arrives as git itself would have put it there, and what must not stops the step.
//!
//! Each case is a component at `src/c` that goes to `dst/c`, where something may stand already, and to `fresh/place/c`, where nothing
//! does. It goes over HTTP and over a path. The pushed commit has to pass `git fsck --strict` at the upstream, and its tree has to be the
//! one that git's index makes.

use lockflight_git::testing::{branch, lease};
use lockflight_git::{CommitError, FetchError, InspectError, PushOutcome, RefUpdate, TransportError};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, ErrorClass, TreeOid};

use crate::place::{Dir, Node, Place, WAYS, Way, Writer, file, path, put, spec};

struct Case {
    name: &'static str,
    /// Fills the root directory.
    fill: fn(&mut Dir),
    ends: Ends,
}

enum Ends {
    /// It arrives.
    Travels,
    /// The component at `src/c` goes away at the targets.
    Removes,
    /// The inspection stops it at that path, and says that.
    Stops(&'static str, &'static str),
    /// Something stands in the way at the target.
    InTheWay(&'static str),
}

const CASES: &[Case] = &[
    Case {
        name: "exec bits travel, and a change of the mode alone is a change",
        fill: |root| {
            put(root, "src/c/run.sh", Node::Executable(b"#!/bin/sh\n".to_vec()));
            put(root, "src/c/plain.sh", file("#!/bin/sh\n"));
            put(root, "dst/c/run.sh", file("#!/bin/sh\n"));
            put(root, "dst/c/plain.sh", Node::Executable(b"#!/bin/sh\n".to_vec()));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "symlinks inside the component travel",
        fill: |root| {
            put(root, "src/c/a/real.yaml", file("x: 1\n"));
            put(root, "src/c/here", Node::Symlink(b"a/real.yaml".to_vec()));
            put(root, "src/c/a/b/up", Node::Symlink(b"../real.yaml".to_vec()));
            put(root, "src/c/a/dir", Node::Symlink(b"b".to_vec()));
            put(root, "src/c/dangling", Node::Symlink(b"nothing".to_vec()));
            put(root, "dst/c/here", file("was a file"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "a symlink out of the component stops",
        fill: |root| {
            put(root, "src/d/secret", file("x"));
            put(root, "src/c/a/out", Node::Symlink(b"../../d/secret".to_vec()));
        },
        ends: Ends::Stops("src/c/a/out", "leads out of the component"),
    },
    Case {
        name: "an absolute symlink stops",
        fill: |root| put(root, "src/c/out", Node::Symlink(b"/etc/passwd".to_vec())),
        ends: Ends::Stops("src/c/out", "leads out of the component"),
    },
    Case {
        name: "a submodule stops",
        fill: |root| {
            put(root, "src/c/f", file("x"));
            put(root, "src/c/a/module", Node::Submodule);
        },
        ends: Ends::Stops("src/c/a/module", "submodule"),
    },
    Case {
        name: "what stands inside the target goes, submodules and symlinks included",
        fill: |root| {
            put(root, "src/c/f", file("x"));
            put(root, "dst/c/module", Node::Submodule);
            put(root, "dst/c/out", Node::Symlink(b"/etc/passwd".to_vec()));
            put(root, "dst/c/only/here", file("y"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "a submodule where the target shall be is in the way",
        fill: |root| {
            put(root, "src/c/f", file("x"));
            put(root, "dst/c", Node::Submodule);
        },
        ends: Ends::InTheWay("dst/c"),
    },
    Case {
        name: "a file where a directory of the target shall be is in the way",
        fill: |root| {
            put(root, "src/c/f", file("x"));
            put(root, "dst", file("y"));
        },
        ends: Ends::InTheWay("dst"),
    },
    Case {
        name: "names that are not UTF-8 travel",
        fill: |root| {
            put(root, b"src/c/caf\xe9.yaml", file("x"));
            put(root, b"src/c/\xff\xfe/\x80", file("y"));
            put(root, b"dst/c/caf\xe8.yaml", file("z"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "a name with a newline stops",
        fill: |root| put(root, "src/c/new\nline", file("x")),
        ends: Ends::Stops("src/c/new\nline", "control"),
    },
    Case {
        name: "strange names beside the component stay as they are",
        fill: |root| {
            put(root, "src/c/f", file("x"));
            put(root, "src/new\nline", file("1"));
            put(root, b"dst/\xff", file("2"));
            put(root, "dst/tab\there", file("3"));
            put(root, "dst/quote\"back", file("4"));
            put(root, "dst/module", Node::Submodule);
            put(root, "dst/away", Node::Symlink(b"../../..".to_vec()));
            put(root, "-dash", file("5"));
            put(root, ":(glob)**", file("6"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "files become directories, and directories files",
        fill: |root| {
            put(root, "src/c/swap", file("file"));
            put(root, "src/c/paws/inside", file("dir"));
            put(root, "dst/c/swap/inside/deep", file("dir"));
            put(root, "dst/c/paws", file("file"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "a rename of case alone travels, and so do names that differ in case alone",
        fill: |root| {
            put(root, "src/c/README", file("1"));
            put(root, "src/c/Makefile", file("2"));
            put(root, "src/c/makefile", file("3"));
            put(root, "dst/c/Readme", file("1"));
            put(root, "dst/C/untouched", file("4"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "filters of attributes are never run",
        fill: |root| {
            let attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n*.key filter=git-crypt diff=git-crypt\n\
                              *.txt text eol=crlf\n* ident export-subst working-tree-encoding=UTF-16\n";
            put(root, ".gitattributes", file(attributes));
            put(root, "src/c/.gitattributes", file(attributes));
            let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
            put(root, "src/c/big.bin", file(pointer));
            put(
                root,
                "src/c/secret.key",
                file(b"\0GITCRYPT\0\x01\x02\xff".to_vec()),
            );
            put(root, "src/c/lines.txt", file("one\r\ntwo\nthree"));
            put(root, "src/c/ident", file("$Id$ $Format:%H$\n"));
            put(root, "dst/c/lines.txt", file("one\n"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "an empty upstream but for the component is target enough",
        fill: |root| put(root, "src/c/f", file("")),
        ends: Ends::Travels,
    },
    Case {
        name: "a component that is gone leaves nothing behind, not even its empty parents",
        fill: |root| {
            put(root, "src/other", file("x"));
            put(root, "dst/c/a/b", file("y"));
            put(root, "fresh/place/c/f", file("z"));
        },
        ends: Ends::Removes,
    },
    Case {
        name: "a component that is gone leaves its siblings",
        fill: |root| {
            put(root, "src/other", file("x"));
            put(root, "dst/c/a/b", file("y"));
            put(root, "dst/c.yaml", file("y"));
            put(
                root,
                "fresh/place/c",
                Node::Dir(Dir::from([(b"f".to_vec(), file("z"))])),
            );
            put(root, "fresh/place/c-2/f", file("z"));
        },
        ends: Ends::Removes,
    },
    Case {
        name: "siblings that begin with the same name keep their order",
        fill: |root| {
            put(root, "src/c/f", file("x"));
            for name in ["c-a", "c.b", "c.yaml", "c0", "cc", "b", "c component"] {
                put(root, format!("dst/{name}"), file(name));
                put(root, format!("src/{name}/f"), file(name));
                put(root, format!("fresh/place/{name}/f"), file(name));
            }
        },
        ends: Ends::Travels,
    },
    Case {
        name: "deep and long paths travel",
        fill: |root| {
            let long = "n".repeat(179);
            put(
                root,
                format!("src/c/1/2/3/4/5/6/7/8/9/10/{long}/{long}.yaml"),
                file("x"),
            );
            put(root, "src/c/.gitkeep", file(""));
            put(root, "src/c/.github/CODEOWNERS", file("* @acme/web\n"));
        },
        ends: Ends::Travels,
    },
    Case {
        name: "1,001 siblings",
        fill: |root| siblings(root, 1_001),
        ends: Ends::Travels,
    },
    Case {
        name: "5,000 siblings",
        fill: |root| siblings(root, 5_000),
        ends: Ends::Travels,
    },
];

/// So many components at source and targets, and as many files in the component.
fn siblings(root: &mut Dir, count: usize) {
    for number in 0..count {
        put(root, format!("src/c{number:05}/f"), file("x"));
        put(root, format!("dst/c{number:05}/f"), file("y"));
        put(root, format!("fresh/place/c{number:05}/f"), file("y"));
        put(root, format!("src/c/{number:05}.yaml"), file("z"));
    }
    put(root, "dst/c/00000.yaml", file("old"));
}

const TARGETS: [&str; 2] = ["dst/c", "fresh/place/c"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hard_content_over_http_is_as_git_itself_would_make_it() {
    for case in CASES {
        drive(case, Way::Http).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hard_content_over_a_path_is_as_git_itself_would_make_it() {
    for case in CASES {
        drive(case, Way::Path).await;
    }
}

async fn drive(case: &Case, way: Way) {
    let name = format!("{} ({way:?})", case.name);
    let place = Place::new(way).await;
    let mut root = Dir::new();
    (case.fill)(&mut root);
    let main = place.advance(&Writer::default().tree(&place, &root));
    place.assert_sound();

    let mirror = place.mirror();
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
    let source = match mirror.entry(&main, &path("src/c")).await.unwrap() {
        Entry::Tree(tree) => {
            assert_eq!(tree, place.tree_at(&main, "src/c"), "{name}");
            Some(tree)
        }
        Entry::Absent => None,
        Entry::NotADirectory => panic!("{name}: the source is no directory"),
    };
    let inspected = mirror.inspect(&main, &[(path("src/c"), source.clone())]).await;
    if let Ends::Stops(at, says) = case.ends {
        match inspected {
            Err(InspectError::Unsafe(found)) => {
                assert_eq!(found.path, at, "{name}");
                assert!(found.to_string().contains(says), "{name}: {found}");
            }
            other => panic!("{name}: {other:?}"),
        }
        return;
    }
    inspected.unwrap_or_else(|error| panic!("{name}: {error:?}"));

    let edits = TARGETS.map(|target| (target, source.as_ref()));
    let made = mirror.commit(spec(&main, &edits)).await;
    if let Ends::InTheWay(way) = case.ends {
        match made {
            Err(CommitError::InTheWay { at, .. }) => assert_eq!(at, path(way), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        return;
    }
    let made = made.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(made.changed, "{name}");
    let outcome = mirror
        .push(&lease(), &[update(&made.oid)])
        .await
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(outcome, [PushOutcome::Pushed], "{name}");

    assert_eq!(place.head("promotions/1").as_ref(), Some(&made.oid), "{name}");
    assert_eq!(place.head("main").as_ref(), Some(&main), "{name}");
    place.assert_sound();
    let pushed = place.git(&["rev-parse", &format!("{}^{{tree}}", made.oid)], b"");
    assert_eq!(pushed, made.tree.as_str(), "{name}");
    assert_eq!(pushed, place.independent(&main, &edits), "{name}");
    if let Ends::Travels = case.ends {
        for target in TARGETS {
            assert_eq!(Some(place.tree_at(&made.oid, target)), source, "{name}");
        }
    }
}

fn update(new: &CommitOid) -> RefUpdate {
    RefUpdate {
        branch: branch("promotions/1"),
        expected: None,
        new: Some(new.clone()),
    }
}

/// 100 MB that cannot be compressed, in the component that travels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_of_100_megabytes_travels_and_is_never_read() {
    const SIZE: usize = 100 << 20;
    for way in WAYS {
        let place = Place::new(way).await;
        for setting in [["core.compression", "0"], ["core.bigFileThreshold", "1m"]] {
            place.git(&["config", setting[0], setting[1]], b"");
        }
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let big: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(SIZE / 8)
        .flatten()
        .collect();
        let big = place.git(&["hash-object", "-w", "--stdin"], &big);
        let mut root = Dir::new();
        put(&mut root, "src/c/big.bin", Node::Blob(big.clone()));
        put(&mut root, "src/c/small", file("x"));
        put(&mut root, "dst/c/small", file("y"));
        let main = place.advance(&Writer::default().tree(&place, &root));

        let mirror = place.mirror();
        let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
        let tree = place.tree_at(&main, "src/c");
        mirror
            .inspect(&main, &[(path("src/c"), Some(tree.clone()))])
            .await
            .unwrap();
        let edits = [("dst/c", Some(&tree))];
        let made = mirror.commit(spec(&main, &edits)).await.unwrap();
        let outcome = mirror.push(&lease(), &[update(&made.oid)]).await.unwrap();
        assert_eq!(outcome, [PushOutcome::Pushed], "{way:?}");
        assert_eq!(made.tree.as_str(), place.independent(&main, &edits), "{way:?}");
        assert_eq!(
            place.git(&["rev-parse", &format!("{}:dst/c/big.bin", made.oid)], b""),
            big,
            "{way:?}"
        );
        if let Some(sent) = place.sent() {
            assert!(sent < 64 << 10, "{sent} bytes came over the network");
        }
    }
}

#[tokio::test]
async fn a_repository_with_sha_256_is_refused_with_a_clear_reason() {
    for way in WAYS {
        let place = Place::new(way).await;
        std::fs::remove_dir_all(&place.upstream).unwrap();
        std::fs::create_dir(&place.upstream).unwrap();
        let init = [
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            "--object-format=sha256",
            ".",
        ];
        place.git(&init, b"");
        let mut root = Dir::new();
        put(&mut root, "src/c/f", file("x"));
        let tree = Writer::default().tree(&place, &root);
        let commit = place.git(&["commit-tree", &tree, "-m", "one"], b"");
        place.git(&["update-ref", "refs/heads/main", &commit], b"");

        let mirror = place.mirror();
        let error = mirror.fetch_branch(&branch("main")).await.unwrap_err();
        assert!(
            matches!(
                &error,
                FetchError::Transport {
                    source: TransportError::ObjectFormat { .. },
                    ..
                }
            ),
            "{way:?}: {error:?}"
        );
        assert_eq!(error.class(), ErrorClass::User, "{way:?}");
        assert!(texts(&error).contains("SHA-256"), "{way:?}: {}", texts(&error));
        // The same when its ids are all that is known of it.
        let need = CommitOid::parse(commit).unwrap();
        let error = mirror.fetch(&branch("main"), &need).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::User, "{way:?}");
        assert!(texts(&error).contains("SHA-256"), "{way:?}: {}", texts(&error));
    }
}

/// An error and its sources.
fn texts(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[tokio::test]
async fn a_tree_that_is_not_the_one_that_stands_there_does_not_travel() {
    for way in WAYS {
        let place = Place::new(way).await;
        let mut root = Dir::new();
        put(&mut root, "src/c/f", file("x"));
        put(&mut root, "src/d/f", file("y"));
        let main = place.advance(&Writer::default().tree(&place, &root));
        let mirror = place.mirror();
        let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
        let other: TreeOid = place.tree_at(&main, "src/d");
        let error = mirror
            .inspect(&main, &[(path("src/c"), Some(other))])
            .await
            .unwrap_err();
        assert!(
            matches!(error, InspectError::Mismatch { .. }),
            "{way:?}: {error:?}"
        );
    }
}
