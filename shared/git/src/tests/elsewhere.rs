//! Content of another branch, and of another repository.

use std::time::{Duration, Instant};

use lockflight_promotion::plan::Edit as Change;
use lockflight_promotion::{CommitOid, ErrorClass, Fence, Lease, RepoId, Selection};

use super::bridge::Bridge;
use super::{deep, path, spec};
use crate::foreign::Limits;
use crate::testing::{Edit, REPO, Upstream, branch, lease};
use crate::{
    BringError, FetchError, Mirror, Mirrors, PlainHttp, PushOutcome, RefUpdate, Remote, TransportError,
};

const SOURCE: RepoId = RepoId::new(815);

fn creation(name: &str, commit: &CommitOid) -> RefUpdate {
    RefUpdate {
        branch: branch(name),
        expected: None,
        new: Some(commit.clone()),
    }
}

fn mirrors(upstream: &Upstream) -> Mirrors {
    let mut config = upstream.mirrors_config();
    config.plain_http = PlainHttp::Loopback;
    Mirrors::new(config).unwrap()
}

async fn pushed(mirror: &Mirror, name: &str, commit: &CommitOid) {
    let outcome = mirror.push(&lease(), &[creation(name, commit)]).await.unwrap();
    assert_eq!(outcome, [PushOutcome::Pushed], "{name}");
}

/// An upstream whose `main` has `src/c`, and whose other branches have `dst` in one way or another.
fn branches() -> (Upstream, CommitOid) {
    let upstream = Upstream::new();
    let first = upstream.push(
        "main",
        "one",
        &[Edit::File("src/c/f", "0"), Edit::File("src/c/deep/er/g", "0")],
    );
    // Related: from before the change. Unrelated: a history of its own.
    upstream.set("related", &first);
    upstream.push(
        "related",
        "its own",
        &[
            Edit::File("dst/c/old", "1"),
            Edit::File("dst/c/values-region-eu.yaml", "eu"),
        ],
    );
    upstream.push(
        "orphan",
        "its own",
        &[
            Edit::File("dst/c/old", "2"),
            Edit::File("dst/c/values-region-eu.yaml", "eu"),
        ],
    );
    let main = upstream.push(
        "main",
        "two",
        &[
            Edit::Executable("src/c/f", "1"),
            Edit::File("src/c/deep/er/g", "1"),
            Edit::File("src/c/values-region-eu.yaml", "not this"),
        ],
    );
    upstream.git(&["gc", "--quiet", "--prune=now"]);
    (upstream, main)
}

#[tokio::test]
async fn a_component_goes_to_another_branch_whatever_that_has_in_common() {
    for on_wire in [true, false] {
        for name in ["related", "orphan"] {
            let (upstream, main) = branches();
            let bridge = Bridge::of(&upstream).await;
            let remote = if on_wire {
                bridge.remote()
            } else {
                upstream.remote()
            };
            let mirror = mirrors(&upstream).open(REPO, remote);
            let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
            let head = mirror.fetch_branch(&branch(name)).await.unwrap().unwrap();
            assert_eq!(Some(&head), upstream.head(name).as_ref());
            let tree = upstream.tree(&main, "src/c");
            let selection = Selection {
                include: Vec::new(),
                exclude: vec!["values-region-*.yaml".to_owned()],
            };

            let made = mirror
                .commit(spec(&head, &[("dst/c", Some(&tree))]))
                .await
                .unwrap();
            pushed(&mirror, "promotions/whole", &made.oid).await;
            assert_eq!(upstream.tree(&made.oid, "dst/c"), tree);

            let mut selected = spec(&head, &[]);
            selected.edits = vec![(path("dst/c"), Change::Selected(Some(tree), selection))];
            let made = mirror.commit(selected).await.unwrap();
            pushed(&mirror, "promotions/selected", &made.oid).await;
            let expected = upstream.commit(
                &[&head],
                "Promote",
                &[
                    Edit::Remove("dst/c/old"),
                    Edit::Executable("dst/c/f", "1"),
                    Edit::File("dst/c/deep/er/g", "1"),
                ],
            );
            assert_eq!(made.oid, expected, "{name}");
            upstream.git(&["fsck", "--strict", "--full"]);
            // What the head of one branch holds says nothing of the other.
            assert!(
                !mirror.is_descendant(&head, &main).await.unwrap(),
                "{name}, on the wire: {on_wire}"
            );
        }
    }
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

/// Two repositories: the one that content comes from, with something private, and the one that it goes to.
struct Two {
    source: Upstream,
    target: Upstream,
    /// What there is to promote.
    change: CommitOid,
    /// The head of the target.
    head: CommitOid,
}

fn two() -> Two {
    let source = Upstream::new();
    source.push("main", "one", &[Edit::File("src/private/key", "hunter2")]);
    let change = source.push(
        "main",
        "two",
        &[
            Edit::Executable("src/c/run.sh", "new"),
            Edit::File("src/c/same", "same"),
            Edit::File("src/c/deep/same", "same too"),
            Edit::File("src/c/deep/er/new", "new, too"),
            Edit::Symlink("src/c/link", "run.sh"),
            Edit::File("src/c/.gitattributes", "*.bin filter=lfs\n"),
            Edit::File("src/c/big.bin", POINTER),
            Edit::File("src/c/values-region-eu.yaml", "only of the source"),
        ],
    );
    let target = Upstream::new();
    let head = target.push(
        "main",
        "its own",
        &[
            Edit::File("dst/c/run.sh", "old"),
            Edit::File("dst/c/same", "same"),
            Edit::File("dst/c/deep/same", "same too"),
            Edit::File("dst/c/gone", "old"),
            Edit::File("dst/c/values-region-eu.yaml", "of the target"),
        ],
    );
    Two {
        source,
        target,
        change,
        head,
    }
}

impl Two {
    /// The mirrors of both, with what a step needs. They are on the wire, or else paths.
    async fn mirrors(&self, mirrors: &Mirrors, on_wire: [bool; 2]) -> (Mirror, Mirror) {
        let remote = async |upstream: &Upstream, on_wire: bool| {
            if on_wire {
                Bridge::of(upstream).await.remote()
            } else {
                upstream.remote()
            }
        };
        let source = mirrors.open(SOURCE, remote(&self.source, on_wire[0]).await);
        let target = mirrors.open(REPO, remote(&self.target, on_wire[1]).await);
        let _fetched = source.fetch(&branch("main"), &self.change).await.unwrap();
        let _fetched = target.fetch(&branch("main"), &self.head).await.unwrap();
        (source, target)
    }

    fn selected(&self) -> crate::CommitSpec {
        let tree = self.source.tree(&self.change, "src/c");
        let selection = Selection {
            include: Vec::new(),
            exclude: vec!["values-region-*.yaml".to_owned()],
        };
        let mut spec = spec(&self.head, &[]);
        spec.edits = vec![(path("dst/c"), Change::Selected(Some(tree), selection))];
        spec
    }

    /// The commit that git makes of the same in the target, if it has it already.
    fn expected(&self) -> CommitOid {
        self.target.commit(
            &[&self.head],
            "Promote",
            &[
                Edit::Executable("dst/c/run.sh", "new"),
                Edit::File("dst/c/deep/er/new", "new, too"),
                Edit::Symlink("dst/c/link", "run.sh"),
                Edit::File("dst/c/.gitattributes", "*.bin filter=lfs\n"),
                Edit::File("dst/c/big.bin", POINTER),
                Edit::Remove("dst/c/gone"),
            ],
        )
    }

    fn target_has(&self, id: &str) -> bool {
        let all = self
            .target
            .git(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
        all.lines().any(|line| line == id)
    }
}

#[tokio::test]
async fn a_component_goes_to_another_repository_with_what_that_lacks_and_no_more() {
    for on_wire in [[true, true], [false, false], [true, false], [false, true]] {
        let two = two();
        let all = mirrors(&two.target);
        let (source, target) = two.mirrors(&all, on_wire).await;
        let places = [path("src/c"), path("src/nothing"), path("src/c/same")];
        let brought = target.bring_from(&source, &two.change, &places).await.unwrap();
        // Three directories; of the files, those that a complete mirror has already are not brought.
        assert!(
            brought.objects >= 7 && brought.bytes > 0,
            "{on_wire:?}: {brought:?}"
        );
        let again = target.bring_from(&source, &two.change, &places).await.unwrap();
        assert_eq!(again.objects, 0, "{on_wire:?}");

        let tree = two.source.tree(&two.change, "src/c");
        let whole = target
            .commit(spec(
                &two.head,
                &[("dst/c", Some(&tree)), ("fresh/c", Some(&tree))],
            ))
            .await
            .unwrap();
        let selected = target.commit(two.selected()).await.unwrap();
        if on_wire[1] {
            let sent = target
                .slot
                .remembered(crate::read::oid(selected.oid.as_str()).unwrap())
                .unwrap();
            let same = [two.source.blob("same"), two.source.blob("same too")];
            assert!(
                sent.iter().all(|id| !same.contains(&id.to_string())),
                "{on_wire:?}: what stands there already is not sent"
            );
        }
        pushed(&target, "promotions/selected", &selected.oid).await;
        let private = two.source.blob("hunter2");
        let excluded = two.source.blob("only of the source");
        assert!(
            !two.target_has(&excluded) && !two.target_has(&private),
            "{on_wire:?}"
        );
        assert_eq!(selected.oid, two.expected(), "{on_wire:?}");

        pushed(&target, "promotions/whole", &whole.oid).await;
        assert_eq!(two.target.tree(&whole.oid, "dst/c"), tree);
        assert_eq!(two.target.tree(&whole.oid, "fresh/c"), tree);
        assert!(
            two.target_has(&excluded) && !two.target_has(&private),
            "{on_wire:?}"
        );
        two.target.git(&["fsck", "--strict", "--full"]);
        assert_eq!(
            two.target.git(&["show", &format!("{}:dst/c/big.bin", whole.oid)]),
            POINTER.trim_end()
        );
    }
}

#[tokio::test]
async fn a_worker_that_was_started_anew_still_sends_what_the_other_repository_lacks() {
    let two = two();
    let spec = two.selected();
    let made = {
        let all = mirrors(&two.target);
        let (source, target) = two.mirrors(&all, [true, true]).await;
        target
            .bring_from(&source, &two.change, &[path("src/c")])
            .await
            .unwrap();
        target.commit(spec.clone()).await.unwrap()
    };
    // The commit is here, but what it was made of is forgotten.
    {
        let all = mirrors(&two.target);
        let (_, target) = two.mirrors(&all, [true, true]).await;
        pushed(&target, "promotions/1", &made.oid).await;
    }
    two.target.git(&["update-ref", "-d", "refs/heads/promotions/1"]);
    two.target.git(&["prune", "--expire=now"]);
    // And the same when the commit is made again without a word of where the tree is from.
    let all = mirrors(&two.target);
    let (_, target) = two.mirrors(&all, [true, true]).await;
    let again = target.commit(spec).await.unwrap();
    assert_eq!(again, made);
    pushed(&target, "promotions/1", &made.oid).await;
    two.target.git(&["fsck", "--strict", "--full"]);
    assert_eq!(made.oid, two.expected());
}

#[tokio::test]
async fn too_much_is_not_brought() {
    for on_wire in [true, false] {
        let two = two();
        let all = mirrors(&two.target);
        let (source, target) = two.mirrors(&all, [on_wire, true]).await;
        let places = [path("src/c")];
        for limits in [
            Limits {
                objects: 10,
                bytes: 1 << 20,
            },
            Limits {
                objects: 100,
                bytes: 100,
            },
        ] {
            let error = target
                .bring_within(&source, &two.change, &places, limits)
                .await
                .unwrap_err();
            assert!(
                matches!(error, BringError::TooMuch { .. }),
                "{on_wire}: {error:?}"
            );
            assert_eq!(error.class(), ErrorClass::User);
        }
        assert!(
            target
                .bring_from(&source, &two.change, &places)
                .await
                .unwrap()
                .objects
                > 0,
            "the mirror is fit for use"
        );
    }
}

#[tokio::test]
async fn directories_that_lie_deep_in_each_other_are_brought_or_refused() {
    for (levels, fits) in [(480, true), (520, false)] {
        let mut two = two();
        let tree = deep(&two.source, "deep", levels);
        let root = format!("040000 tree {tree}\tdeep\n");
        let root = two.source.git_with(&["mktree"], &[], root.as_bytes());
        two.change = two.source.commit_tree(&[], "deep", &root);
        two.source.set("main", &two.change);
        let all = mirrors(&two.target);
        let (source, target) = two.mirrors(&all, [true, true]).await;
        let brought = target.bring_from(&source, &two.change, &[path("deep")]).await;
        if fits {
            assert_eq!(brought.unwrap().objects, levels + 2);
            let tree = two.source.tree(&two.change, "deep");
            let made = target
                .commit(spec(&two.head, &[("dst/c", Some(&tree))]))
                .await
                .unwrap();
            pushed(&target, "promotions/1", &made.oid).await;
        } else {
            assert_eq!(brought.unwrap_err().class(), ErrorClass::User);
        }
    }
}

#[tokio::test]
async fn nothing_is_brought_to_where_nothing_was_fetched_or_of_what_was_not() {
    let two = two();
    let all = mirrors(&two.target);
    let (source, target) = two.mirrors(&all, [true, true]).await;
    let unknown = CommitOid::parse("1".repeat(40)).unwrap();
    let error = target
        .bring_from(&source, &unknown, &[path("src")])
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry, "{error:?}");
    let empty = all.open(RepoId::new(99), two.target.remote());
    let error = empty
        .bring_from(&source, &two.change, &[path("src/c")])
        .await
        .unwrap_err();
    assert!(matches!(error, BringError::Here(_)), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
    // Of itself it has all that there is.
    let brought = target
        .bring_from(&target, &two.head, &[path("dst")])
        .await
        .unwrap();
    assert_eq!(brought.objects, 0);
}

#[tokio::test]
async fn a_repository_with_other_ids_is_told_apart() {
    let two = two();
    let home = tempfile::tempdir().unwrap();
    crate::testing::git_in(
        home.path(),
        &["init", "--quiet", "--bare", "--object-format=sha256", "other.git"],
        &[],
        b"",
    );
    let dir = home.path().join("other.git");
    let tree = crate::testing::git_in(&dir, &["mktree"], &[], b"");
    let commit = crate::testing::git_in(&dir, &["commit-tree", &tree, "-m", "one"], &[], b"");
    crate::testing::git_in(&dir, &["update-ref", "refs/heads/main", &commit], &[], b"");
    let all = mirrors(&two.target);
    let (_, target) = two.mirrors(&all, [true, true]).await;
    let other = all.open(
        RepoId::new(256),
        Remote {
            url: dir.display().to_string(),
            credentials: None,
        },
    );
    let error = other.fetch_branch(&branch("main")).await.unwrap_err();
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
    let commit = CommitOid::parse(commit).unwrap();
    let error = target
        .bring_from(&other, &commit, &[path("src")])
        .await
        .unwrap_err();
    let class = error.class();
    assert!(
        matches!(class, ErrorClass::User | ErrorClass::Retry),
        "{error:?}: the fetch has said why"
    );
    // A lease of one repository is none of the other.
    let elsewhere = Lease::issue(SOURCE, Fence(1), Instant::now() + Duration::from_secs(60));
    assert!(
        target
            .push(&elsewhere, &[creation("p", &two.head)])
            .await
            .is_err()
    );
}
