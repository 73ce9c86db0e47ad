//! What a hostile repository or server may try. Nothing of it reaches a branch, and nothing of it is run.

use std::path::Path;

use lockflight_git::testing::{REPO, branch};
use lockflight_git::{Credentials, FetchError, InspectError, Mirrors, Remote, TransportError};
use lockflight_promotion::{ErrorClass, PathInRepo};

use crate::place::{Dir, Node, Place, WAYS, Writer, config, file, path, put};

/// Names that a file system, a terminal or a person could mistake, as a file and as a directory of a component.
const NAMES: [&[u8]; 22] = [
    b"..",
    b".",
    b".git",
    b".GIT",
    b".Git",
    b"git~1",
    b"GIT~1",
    b".git ",
    b".git.",
    b".git::$INDEX_ALLOCATION",
    b".git\\x",
    ".g\u{200c}it".as_bytes(),
    ".gi\u{200d}t".as_bytes(),
    "\u{feff}.git".as_bytes(),
    ".git\u{206a}".as_bytes(),
    b"a\\..\\..\\b",
    b"new\nline",
    b"bell\x07",
    b"escape\x1b[31m",
    b"delete\x7f",
    "\u{202e}lmay.ppa".as_bytes(),
    "isolate\u{2066}d".as_bytes(),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_could_be_mistaken_never_travels() {
    for way in WAYS {
        let place = Place::new(way).await;
        let mirror = place.mirror();
        for name in NAMES {
            for inside in [false, true] {
                let mut root = Dir::new();
                let at = [b"src/c/", name].concat();
                if inside {
                    put(&mut root, [&at[..], b"/config"].concat(), file("x"));
                } else {
                    put(&mut root, &at, file("x"));
                }
                put(&mut root, "src/c/harmless", file("x"));
                // A history of its own, so that each is looked at by itself.
                place.git(&["update-ref", "-d", "refs/heads/main"], b"");
                let main = place.advance(&Writer::default().tree(&place, &root));
                let shown = format!(
                    "{:?} ({way:?}, a directory: {inside})",
                    String::from_utf8_lossy(name)
                );

                // git's own checks refuse some of it on arrival, the inspection the rest.
                match mirror.fetch(&branch("main"), &main).await {
                    Err(error) => {
                        assert!(
                            matches!(
                                &error,
                                FetchError::Transport {
                                    source: TransportError::Malformed { .. },
                                    ..
                                }
                            ),
                            "{shown}: {error:?}"
                        );
                        assert_eq!(error.class(), ErrorClass::User, "{shown}");
                    }
                    Ok(_) => {
                        let sync = [(path("src/c"), Some(place.tree_at(&main, "src/c")))];
                        let error = mirror.inspect(&main, &sync).await.unwrap_err();
                        assert!(
                            matches!(&error, InspectError::Unsafe(found) if found.reason.contains("name")),
                            "{shown}: {error:?}"
                        );
                        assert_eq!(error.class(), ErrorClass::User, "{shown}");
                        // Whoever reads about it sees no trick.
                        let text = error.to_string();
                        assert!(!text.chars().any(|c| c.is_control()), "{shown}: {text:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_policy_can_name_none_of_them_either() {
    for name in NAMES {
        let name = String::from_utf8_lossy(name);
        for path in [format!("apps/{name}"), format!("apps/{name}/c")] {
            assert!(PathInRepo::parse(&path).is_err(), "{path:?}");
        }
    }
}

#[tokio::test]
async fn a_symlink_is_never_followed_by_a_read() {
    for way in WAYS {
        let place = Place::new(way).await;
        let mut root = Dir::new();
        put(&mut root, "link", Node::Symlink(b"/etc".to_vec()));
        put(&mut root, "loop", Node::Symlink(b"loop".to_vec()));
        put(&mut root, "policy", Node::Symlink(b"/etc/passwd".to_vec()));
        let main = place.advance(&Writer::default().tree(&place, &root));
        let mirror = place.mirror();
        let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
        assert!(mirror.blob(&main, &path("policy"), 1 << 20).await.is_err());
        assert!(mirror.blob(&main, &path("loop"), 1 << 20).await.is_err());
        assert_eq!(
            mirror.blob(&main, &path("link/passwd"), 1 << 20).await.unwrap(),
            None
        );
    }
}

/// Commands that git would run if it were asked to by an attribute, a configuration file, a hook or an object of the repository.
#[tokio::test]
async fn nothing_that_a_repository_brings_is_run() {
    for way in WAYS {
        let place = Place::new(way).await;
        let pwned = place.home.path().join("pwned");
        let command = format!("touch {}", pwned.display());
        let mut root = Dir::new();
        put(
            &mut root,
            ".gitattributes",
            file("* filter=evil diff=evil merge=evil\n"),
        );
        put(
            &mut root,
            ".gitconfig",
            file(format!("[core]\n\tfsmonitor = {command}\n\thooksPath = hooks\n")),
        );
        put(
            &mut root,
            ".gitmodules",
            file(format!(
                "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack={command}\n\tupdate = !{command}\n"
            )),
        );
        put(&mut root, "x", Node::Submodule);
        for hook in ["pre-push", "reference-transaction", "post-checkout", "post-merge"] {
            put(
                &mut root,
                format!("hooks/{hook}"),
                Node::Executable(format!("#!/bin/sh\n{command}\n").into()),
            );
        }
        put(&mut root, "src/c/f", file("x"));
        let main = place.advance(&Writer::default().tree(&place, &root));

        let mirror = place.mirror();
        // git refuses the submodule's address on arrival where it looks at the file at all; a part of the repository has no such file.
        match mirror.fetch(&branch("main"), &main).await {
            Ok(_) => {
                let tree = place.tree_at(&main, "src/c");
                let sync = [(path("src/c"), Some(tree.clone()))];
                mirror.inspect(&main, &sync).await.unwrap();
                let edits = [("dst/c", Some(&tree))];
                let made = mirror.commit(crate::place::spec(&main, &edits)).await.unwrap();
                assert_eq!(made.tree.as_str(), place.independent(&main, &edits), "{way:?}");
            }
            Err(error) => assert_eq!(error.class(), ErrorClass::User, "{way:?}: {error:?}"),
        }
        assert!(!pwned.exists(), "{way:?}");
    }
}

#[tokio::test]
async fn the_token_is_nowhere_on_disk_and_in_no_error() {
    const TOKEN: &str = "ghp_c4n4ryC4n4ryc4n4ry";
    let place = Place::new(crate::place::Way::Http).await;
    let main = place.advance(&Writer::default().tree(&place, &Dir::from([(b"f".to_vec(), file("x"))])));
    let good = place.mirror();
    let _fetched = good.fetch(&branch("main"), &main).await.unwrap();

    let root = place.home.path().join("others");
    let remote = Remote {
        url: place.remote.url.clone(),
        credentials: Some(Credentials::token(TOKEN.to_owned().into())),
    };
    let mirror = Mirrors::new(config(&root)).unwrap().open(REPO, remote);
    let error = mirror.fetch(&branch("main"), &main).await.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transport {
                source: TransportError::AuthenticationFailed { .. },
                ..
            }
        ),
        "{error:?}"
    );
    let mut said = format!("{error:?} {mirror:?}");
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = next {
        said.push_str(&error.to_string());
        next = error.source();
    }
    assert!(!said.contains("c4n4ry"), "{said}");
    let token = secrecy::ExposeSecret::expose_secret(&place.remote.credentials.as_ref().unwrap().token);
    for root in [place.home.path().join("mirrors"), root] {
        for file in files(&root) {
            let content = std::fs::read(&file).unwrap();
            for secret in [TOKEN, token] {
                assert!(!holds(&content, secret.as_bytes()), "{}", file.display());
            }
        }
    }
}

fn holds(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
