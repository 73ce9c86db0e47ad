use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, ErrorClass};

use super::path;
use crate::testing::{Edit, REPO, Upstream, branch};
use crate::{FetchError, Mirrors, MirrorsConfig, MirrorsError, ReadError, Remote, TransportError};

#[tokio::test]
async fn a_commit_is_fetched_once_and_only_when_it_is_missing() {
    let upstream = Upstream::new();
    let first = upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    let mirror = upstream.mirror();
    let fetched = mirror.fetch(&branch("main"), &first).await.unwrap();
    assert!(!fetched.skipped && fetched.bytes > 0, "{fetched:?}");
    let again = mirror.fetch(&branch("main"), &first).await.unwrap();
    assert!(again.skipped && again.bytes == 0, "{again:?}");
    assert_eq!(mirror.usage().round_trips(), 1);

    let second = upstream.push("main", "two", &[Edit::File("a/f", "2")]);
    assert!(!mirror.fetch(&branch("main"), &second).await.unwrap().skipped);
    assert!(
        mirror.fetch(&branch("main"), &first).await.unwrap().skipped,
        "older, but on the branch"
    );
    assert_eq!(
        mirror.blob(&second, &path("a/f"), 10).await.unwrap().unwrap(),
        b"2"
    );
    assert_eq!(mirror.parent(&second).await.unwrap(), Some(first));
}

#[tokio::test]
async fn many_tasks_that_need_one_commit_share_one_fetch() {
    let upstream = Upstream::new();
    let commit = upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    let mirror = upstream.mirror();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (mirror, commit) = (mirror.clone(), commit.clone());
            tokio::spawn(async move { mirror.fetch(&branch("main"), &commit).await.unwrap().skipped })
        })
        .collect();
    let mut fetched = 0;
    for task in tasks {
        fetched += u32::from(!task.await.unwrap());
    }
    assert_eq!(fetched, 1);
    assert_eq!(mirror.usage().fetches, 1);
}

#[tokio::test]
async fn only_the_branch_that_was_asked_for_is_fetched() {
    let upstream = Upstream::new();
    let main = upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    let other = upstream.push("other", "two", &[Edit::File("b/f", "2")]);
    upstream.git(&["update-ref", "refs/pull/7/head", other.as_str()]);
    upstream.git(&["tag", "v1", main.as_str()]);
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
    assert!(matches!(
        mirror.commit_info(&other).await,
        Err(ReadError::NotFetched(_))
    ));
}

#[tokio::test]
async fn a_branch_that_does_not_exist_is_none_and_a_remote_that_does_not_answer_is_an_error() {
    let upstream = Upstream::new();
    let head = upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    upstream.push("other/deep/main", "two", &[Edit::File("b/f", "2")]);
    let mirror = upstream.mirror();
    assert_eq!(
        mirror.fetch_branch(&branch("main")).await.unwrap(),
        Some(head.clone())
    );
    assert_eq!(mirror.fetch_branch(&branch("deep/main")).await.unwrap(), None);
    assert_eq!(mirror.remote_branch(&branch("deep/main")).await.unwrap(), None);
    assert_eq!(
        mirror.remote_branch(&branch("main")).await.unwrap(),
        Some(head.clone())
    );
    let gone = mirror
        .fetch(&branch("nope"), &CommitOid::parse("1".repeat(40)).unwrap())
        .await;
    assert!(matches!(&gone, Err(error @ FetchError::NoSuchBranch(_)) if error.class() == ErrorClass::User));

    std::fs::rename(upstream.path(), upstream.path().with_extension("away")).unwrap();
    let error = mirror.fetch_branch(&branch("main")).await.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transport {
                source: TransportError::NotFound { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert!(mirror.remote_branch(&branch("main")).await.is_err());
    assert!(
        mirror.fetch(&branch("main"), &head).await.unwrap().skipped,
        "it is here already"
    );
}

#[tokio::test]
async fn a_commit_that_is_not_on_the_branch_is_refused() {
    let upstream = Upstream::new();
    upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    let other = upstream.push("other", "two", &[Edit::File("b/f", "2")]);
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("other"), &other).await.unwrap();
    let error = mirror.fetch(&branch("main"), &other).await.unwrap_err();
    assert!(matches!(&error, FetchError::NotOnBranch { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
    let unknown = CommitOid::parse("1".repeat(40)).unwrap();
    assert!(matches!(
        mirror.fetch(&branch("main"), &unknown).await,
        Err(FetchError::NotOnBranch { .. })
    ));
}

#[tokio::test]
async fn a_branch_can_take_the_place_of_a_directory_of_branches() {
    let upstream = Upstream::new();
    let commit = upstream.push("a/b", "one", &[Edit::File("a/f", "1")]);
    let mirror = upstream.mirror();
    assert_eq!(
        mirror.fetch_branch(&branch("a/b")).await.unwrap(),
        Some(commit.clone())
    );
    upstream.git(&["update-ref", "-d", "refs/heads/a/b"]);
    upstream.set("a", &commit);
    assert_eq!(mirror.fetch_branch(&branch("a")).await.unwrap(), Some(commit));
    assert_eq!(mirror.fetch_branch(&branch("a/b")).await.unwrap(), None);
}

#[tokio::test]
async fn a_rewritten_branch_is_followed() {
    let upstream = Upstream::new();
    upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    let mirror = upstream.mirror();
    mirror.fetch_branch(&branch("main")).await.unwrap();
    let fresh = upstream.commit(&[], "another beginning", &[Edit::File("a/f", "3")]);
    upstream.set("main", &fresh);
    assert_eq!(mirror.fetch_branch(&branch("main")).await.unwrap(), Some(fresh));
}

/// Makes each object a file of its own.
fn loosen(dir: &std::path::Path) {
    let aside = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.join("objects/pack")).unwrap() {
        let file = file.unwrap();
        let moved = aside.path().join(file.file_name());
        std::fs::copy(file.path(), &moved).unwrap();
        std::fs::remove_file(file.path()).unwrap();
        if moved.extension().is_some_and(|extension| extension == "pack") {
            let pack = std::fs::read(moved).unwrap();
            crate::testing::git_in(dir, &["unpack-objects", "-q"], &[], &pack);
        }
    }
}

/// Each way of breaking a mirror between two fetches.
#[tokio::test]
async fn a_damaged_mirror_is_discarded_and_fetched_anew() {
    type Break = fn(&std::path::Path);
    let ways: [(&str, Break); 6] = [
        ("no HEAD", |dir| std::fs::remove_file(dir.join("HEAD")).unwrap()),
        ("no objects", |dir| {
            std::fs::remove_dir_all(dir.join("objects")).unwrap();
        }),
        ("a file in its place", |dir| {
            std::fs::remove_dir_all(dir).unwrap();
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("HEAD"), "nonsense").unwrap();
        }),
        ("a bad ref", |dir| {
            let refs = dir.join("refs/lockflight");
            for file in std::fs::read_dir(refs).unwrap() {
                std::fs::write(file.unwrap().path(), "nonsense").unwrap();
            }
        }),
        ("a cut pack", |dir| {
            for file in std::fs::read_dir(dir.join("objects/pack")).unwrap() {
                let file = file.unwrap().path();
                if file.extension().is_some_and(|extension| extension == "pack") {
                    let content = std::fs::read(&file).unwrap();
                    std::fs::remove_file(&file).unwrap();
                    std::fs::write(file, &content[..content.len() / 2]).unwrap();
                }
            }
        }),
        ("empty objects", |dir| {
            loosen(dir);
            for fan in std::fs::read_dir(dir.join("objects")).unwrap() {
                let fan = fan.unwrap().path();
                if fan.file_name().unwrap().len() != 2 {
                    continue;
                }
                for object in std::fs::read_dir(fan).unwrap() {
                    let object = object.unwrap().path();
                    std::fs::remove_file(&object).unwrap();
                    std::fs::write(object, "").unwrap();
                }
            }
        }),
    ];
    for (name, damage) in ways {
        let upstream = Upstream::new();
        let first = upstream.push("main", "one", &[Edit::File("a/f", "1")]);
        let mirror = upstream.mirror();
        let _fetched = mirror.fetch(&branch("main"), &first).await.unwrap();
        damage(&upstream.mirrors_config().root.join(format!("{REPO}.git")));
        let second = upstream.push("main", "two", &[Edit::File("a/f", "2")]);
        mirror
            .fetch(&branch("main"), &second)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let read = mirror.blob(&first, &path("a/f"), 10).await;
        assert_eq!(read.unwrap().unwrap(), b"1", "{name}");
    }
}

#[tokio::test]
async fn damage_that_a_read_finds_is_an_error_and_mended_by_the_next_fetch() {
    let upstream = Upstream::new();
    let commit = upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("main"), &commit).await.unwrap();
    loosen(&upstream.mirrors_config().root.join(format!("{REPO}.git")));
    let tree = upstream.tree(&commit, "a");
    let (fan, rest) = tree.as_str().split_at(2);
    let object = upstream
        .mirrors_config()
        .root
        .join(format!("{REPO}.git/objects/{fan}/{rest}"));
    std::fs::remove_file(&object).unwrap();

    for asked in ["a", "a/f", "a/nothing"] {
        let error = mirror.entry(&commit, &path(asked)).await.unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "{asked}: {error:?}");
        assert_eq!(error.class(), ErrorClass::Retry);
    }
    assert!(!mirror.fetch(&branch("main"), &commit).await.unwrap().skipped);
    assert_eq!(
        mirror.entry(&commit, &path("a")).await.unwrap(),
        Entry::Tree(tree)
    );
    assert_eq!(
        mirror.entry(&commit, &path("a/nothing")).await.unwrap(),
        Entry::Absent
    );
}

#[tokio::test]
async fn what_a_killed_process_left_behind_does_not_stop_the_next() {
    let upstream = Upstream::new();
    let first = upstream.push("main", "one", &[Edit::File("a/f", "1")]);
    {
        let mirror = upstream.mirror();
        let _fetched = mirror.fetch(&branch("main"), &first).await.unwrap();
    }
    let dir = upstream.mirrors_config().root.join(format!("{REPO}.git"));
    for reference in std::fs::read_dir(dir.join("refs/lockflight")).unwrap() {
        let reference = reference.unwrap().path();
        std::fs::write(reference.with_extension("lock"), "").unwrap();
    }
    for left in [
        "HEAD.lock",
        "config.lock",
        "packed-refs.lock",
        "shallow.lock",
        "objects/pack/tmp_pack_x",
    ] {
        std::fs::write(dir.join(left), "").unwrap();
    }
    std::fs::create_dir(upstream.mirrors_config().root.join("discarded-1")).unwrap();

    let second = upstream.push("main", "two", &[Edit::File("a/f", "2")]);
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("main"), &second).await.unwrap();
    assert!(!dir.join("objects/pack/tmp_pack_x").exists());
    assert!(!upstream.mirrors_config().root.join("discarded-1").exists());
    assert_eq!(mirror.usage().fetches, 1, "the mirror was kept");
}

#[tokio::test]
async fn a_sha256_repository_is_refused_with_a_clear_reason() {
    let upstream = Upstream::new();
    std::fs::remove_dir_all(upstream.path()).unwrap();
    std::fs::create_dir(upstream.path()).unwrap();
    upstream.git(&[
        "init",
        "--quiet",
        "--bare",
        "--object-format=sha256",
        "--initial-branch=main",
        ".",
    ]);
    let commit = upstream.push_sha256();
    let mirror = upstream.mirror();
    let error = mirror.fetch_branch(&branch("main")).await.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transport {
                source: TransportError::ObjectFormat { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert!(matches!(
        mirror.fetch(&branch("main"), &commit).await,
        Err(FetchError::Read(ReadError::ObjectFormat(_)))
    ));
}

impl Upstream {
    fn push_sha256(&self) -> CommitOid {
        let tree = self.git_with(&["mktree"], &[], b"");
        let commit = self.commit_tree(&[], "one", &tree);
        self.set("main", &commit);
        commit
    }
}

#[test]
fn a_root_belongs_to_one_process_at_a_time() {
    let upstream = Upstream::new();
    let first = Mirrors::new(upstream.mirrors_config()).unwrap();
    assert!(matches!(
        Mirrors::new(upstream.mirrors_config()),
        Err(MirrorsError::InUse { .. })
    ));
    drop(first);
    assert!(Mirrors::new(upstream.mirrors_config()).is_ok());
}

#[test]
fn a_missing_or_old_git_is_told_clearly() {
    let root = tempfile::tempdir().unwrap();
    let mut config = MirrorsConfig::new(root.path().join("mirrors"));
    config.git = root.path().join("no-such-git");
    let error = Mirrors::new(config.clone()).unwrap_err();
    assert!(error.to_string().contains("install git 2.39 or newer"), "{error}");

    for (says, fine) in [
        ("git version 2.38.1", false),
        ("git version 2.39.0", true),
        ("git version 3.0.0", true),
        ("git version 2.39.5 (Apple Git-154)", true),
        ("hello", false),
    ] {
        config.git = script(root.path(), &format!("echo '{says}'"));
        assert_eq!(Mirrors::new(config.clone()).is_ok(), fine, "{says}");
    }
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_refused_before_git_is_started() {
    let upstream = Upstream::new();
    let mut config = upstream.mirrors_config();
    config.allow_file = false;
    config.plain_http = crate::PlainHttp::Loopback;
    let mirrors = Mirrors::new(config).unwrap();
    for url in [
        "--upload-pack=touch x",
        "ext::sh -c touch% x",
        "ssh://git@example.com/a/b",
        "git@example.com:a/b",
        "git://example.com/a/b",
        "http://example.com/a/b",
        "http://127.0.0.1.example.com/a/b",
        "https://user:password@example.com/a/b",
        "https:///a/b",
        "file:///etc",
        "/etc",
        "../x",
        "http://127.0.0.1\\@example.com/",
    ] {
        let mirror = mirrors.open(
            REPO,
            Remote {
                url: url.into(),
                credentials: None,
            },
        );
        let error = mirror.remote_branch(&branch("main")).await.unwrap_err();
        assert!(matches!(&error, TransportError::Address(_)), "{url}: {error:?}");
        assert_eq!(error.class(), ErrorClass::User);
    }
}

/// An executable shell script with this body.
///
/// Another process writes it: were it open for writing in this one, a child that another test forks at that moment would hold
/// it open too, and running it would fail with "text file busy".
pub(super) fn script(dir: &std::path::Path, body: &str) -> std::path::PathBuf {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = dir.join(format!("script-{number}"));
    let written = std::process::Command::new("sh")
        .args([
            "-c",
            "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"",
            "sh",
        ])
        .arg(&file)
        .arg(body)
        .status()
        .unwrap();
    assert!(written.success());
    file
}
