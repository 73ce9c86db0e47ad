//! Pushing to git's own server side.

use std::time::{Duration, Instant};

use git2::{ObjectType, Oid};
use lockflight_promotion::{CommitOid, Fence, Lease};

use super::{Here, oid, want, wire};
use crate::push_report::Report;
use crate::testing::{Edit, REPO, Upstream, branch, lease};
use crate::tests::bridge::Bridge;
use crate::wire::{Filter, Wire};
use crate::{PushError, RefUpdate, TransportError};

/// A commit on top of a fetched one that has no files here, made of a tree that is copied by its id.
struct Made {
    commit: CommitOid,
    objects: Vec<Oid>,
}

/// Fetches the commit without any file or deep tree, and puts `name` = the tree at `b` on top, by raw objects.
async fn made(wire: &Wire, server: &Bridge, here: &Here, base: &CommitOid, name: &str) -> Made {
    let request = crate::wire::Request {
        filter: Some(Filter::TreeDepth(1)),
        deepen: Some(crate::wire::Deepen::To(std::num::NonZeroU32::MIN)),
        ..want(oid(base))
    };
    wire.fetch(&server.remote(), &here.path(), &request)
        .await
        .unwrap();
    here.set_shallow(&[oid(base)]);
    let repo = here.repo();
    let odb = repo.odb().unwrap();
    let root = repo.find_commit(oid(base)).unwrap().tree().unwrap();
    let b = root.get_name("b").unwrap().id();
    let mut content = Vec::new();
    for entry in &root {
        content.extend_from_slice(format!("{:o} {}\0", entry.filemode(), entry.name().unwrap()).as_bytes());
        content.extend_from_slice(entry.id().as_bytes());
    }
    content.extend_from_slice(format!("40000 {name}\0").as_bytes());
    content.extend_from_slice(b.as_bytes());
    let tree = odb.write(ObjectType::Tree, &content).unwrap();
    let who = "Ada <ada@example.com> 1700000000 +0000";
    let text = format!("tree {tree}\nparent {base}\nauthor {who}\ncommitter {who}\n\nPromote {name}\n");
    let commit = odb.write(ObjectType::Commit, text.as_bytes()).unwrap();
    Made {
        commit: CommitOid::parse(commit.to_string()).unwrap(),
        objects: vec![commit, tree],
    }
}

fn update(name: &str, expected: Option<&CommitOid>, new: Option<&CommitOid>) -> RefUpdate {
    RefUpdate {
        branch: branch(name),
        expected: expected.cloned(),
        new: new.cloned(),
    }
}

fn upstream() -> (Upstream, CommitOid) {
    let upstream = Upstream::new();
    let edits = [Edit::File("a/f", "1"), Edit::File("b/deep/f", "2")];
    let base = upstream.push("main", "one", &edits);
    (upstream, base)
}

async fn push(
    wire: &Wire,
    server: &Bridge,
    here: &Here,
    updates: &[RefUpdate],
    objects: &[Oid],
) -> Result<Report, PushError> {
    wire.push(&server.remote(), &here.path(), &lease(), REPO, updates, objects)
        .await
}

/// The summary of each branch; nothing for one that was moved.
fn summaries(report: &Report) -> Vec<(&str, char, &str)> {
    report
        .refs
        .iter()
        .map(|reported| {
            let name = reported.reference.strip_prefix("refs/heads/").unwrap();
            (name, reported.flag, reported.summary.as_str())
        })
        .collect()
}

#[tokio::test]
async fn a_branch_is_made_moved_and_removed() {
    let (upstream, base) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let first = made(&wire, &server, &here, &base, "c1").await;
    let second = made(&wire, &server, &here, &base, "c2").await;
    server.asked();

    let create = update("p", None, Some(&first.commit));
    let report = push(
        &wire,
        &server,
        &here,
        std::slice::from_ref(&create),
        &first.objects,
    )
    .await
    .unwrap();
    assert_eq!(summaries(&report), [("p", ' ', "")]);
    assert_eq!(upstream.head("p"), Some(first.commit.clone()));
    assert_eq!(
        server.asked(),
        [
            "GET /info/refs?service=git-receive-pack",
            "POST /git-receive-pack"
        ]
    );
    assert_eq!(
        upstream.git(&["rev-parse", "p:c1"]),
        upstream.git(&["rev-parse", "main:b"])
    );

    let onward = update("p", Some(&first.commit), Some(&second.commit));
    let report = push(
        &wire,
        &server,
        &here,
        std::slice::from_ref(&onward),
        &second.objects,
    )
    .await
    .unwrap();
    assert_eq!(summaries(&report), [("p", ' ', "")]);
    assert_eq!(
        server.asked(),
        ["POST /git-receive-pack"],
        "what the host can do is known"
    );

    // Nothing new has to travel for a branch at a commit that is there.
    let beside = update("q", None, Some(&base));
    let report = push(&wire, &server, &here, &[beside], &[]).await.unwrap();
    assert_eq!(summaries(&report), [("q", ' ', "")]);
    assert_eq!(upstream.head("q"), Some(base));

    server.asked();
    let remove = update("p", Some(&second.commit), None);
    let report = push(&wire, &server, &here, &[remove], &[]).await.unwrap();
    assert_eq!(summaries(&report), [("p", ' ', "")]);
    assert_eq!(upstream.head("p"), None);
    assert_eq!(
        server.asked(),
        ["POST /git-upload-pack", "POST /git-receive-pack"]
    );
    upstream.git(&["fsck", "--full", "--strict"]);
}

#[tokio::test]
async fn a_branch_that_is_elsewhere_is_left_there() {
    let (upstream, base) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let made = made(&wire, &server, &here, &base, "c1").await;
    let theirs = upstream.push("p", "theirs", &[Edit::File("x", "1")]);
    for stale in [
        update("p", None, Some(&made.commit)),
        update("p", Some(&base), Some(&made.commit)),
        update("p", Some(&base), None),
        update("p", None, None),
        update("p", Some(&base), Some(&base)),
    ] {
        let report = push(&wire, &server, &here, std::slice::from_ref(&stale), &made.objects)
            .await
            .unwrap();
        let verdict = crate::push_report::verdict(&stale, &report).unwrap();
        assert!(
            matches!(verdict, crate::push_report::Verdict::Elsewhere(_)),
            "{stale:?}: {verdict:?}"
        );
        assert_eq!(upstream.head("p"), Some(theirs.clone()));
    }
}

/// git's receive-pack removes a branch whatever it is at, when it does not know the commit that it should be at.
#[tokio::test]
async fn a_branch_is_not_removed_for_a_commit_that_the_server_does_not_know() {
    let (upstream, _) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let theirs = upstream.push("p", "theirs", &[Edit::File("x", "1")]);
    let unknown = CommitOid::parse("5".repeat(40)).unwrap();
    let remove = update("p", Some(&unknown), None);
    let report = push(&wire, &server, &here, &[remove], &[]).await.unwrap();
    assert_eq!(summaries(&report), [("p", '!', "[rejected] (stale info)")]);
    assert_eq!(upstream.head("p"), Some(theirs));
}

#[tokio::test]
async fn of_several_branches_all_are_moved_or_none() {
    let (upstream, base) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let first = made(&wire, &server, &here, &base, "c1").await;
    let second = made(&wire, &server, &here, &base, "c2").await;
    upstream.set("q", &base);
    let objects: Vec<Oid> = first.objects.iter().chain(&second.objects).copied().collect();
    let mut updates = vec![
        update("p", None, Some(&first.commit)),
        update("q", None, Some(&second.commit)),
    ];
    let report = push(&wire, &server, &here, &updates, &objects).await.unwrap();
    assert_eq!(report.refs.len(), 2);
    assert!(
        report.refs.iter().all(|reported| reported.flag == '!'),
        "{report:?}"
    );
    assert_eq!(
        (upstream.head("p"), upstream.head("q")),
        (None, Some(base.clone()))
    );

    updates[1].expected = Some(base);
    let report = push(&wire, &server, &here, &updates, &objects).await.unwrap();
    assert_eq!(summaries(&report), [("p", ' ', ""), ("q", ' ', "")]);
    assert_eq!(upstream.head("q"), Some(second.commit.clone()));

    // One of them can't be sent: the other waits for a push without it.
    updates[0] = update("p", Some(&second.commit), None);
    updates[1] = update("r", None, Some(&second.commit));
    let report = push(&wire, &server, &here, &updates, &[]).await.unwrap();
    assert_eq!(
        summaries(&report),
        [
            ("r", '!', "[rejected] (atomic push failed)"),
            ("p", '!', "[rejected] (stale info)")
        ]
    );
    assert_eq!(
        (upstream.head("p"), upstream.head("r")),
        (Some(first.commit), None)
    );
}

#[tokio::test]
async fn a_server_that_lacks_an_object_says_so_and_moves_nothing() {
    let (upstream, base) = upstream();
    for config in [
        ("receive.fsckObjects", "false"),
        ("receive.fsckObjects", "true"),
        ("transfer.unpackLimit", "1"),
    ] {
        upstream.git(&["config", config.0, config.1]);
        let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
        let made = made(&wire, &server, &here, &base, "c1").await;
        let create = update("p", None, Some(&made.commit));
        for part in [&made.objects[..1], &[]] {
            let pushed = push(&wire, &server, &here, std::slice::from_ref(&create), part).await;
            let lacks = matches!(
                &pushed,
                Err(PushError::Transport(TransportError::LacksObjects { .. }))
            );
            assert!(lacks, "{config:?}: {pushed:?}");
        }
        assert_eq!(upstream.head("p"), None);
    }
}

#[tokio::test]
async fn a_rule_of_the_server_is_told_in_its_words() {
    let (upstream, base) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let hook = upstream.path().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let script = format!(
        "#!/bin/sh\necho 'error: GH006: Protected branch {}' >&2\nexit 1\n",
        super::TOKEN
    );
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let made = made(&wire, &server, &here, &base, "c1").await;
    let create = update("p", None, Some(&made.commit));
    let report = push(&wire, &server, &here, &[create], &made.objects)
        .await
        .unwrap();
    assert_eq!(
        summaries(&report),
        [("p", '!', "[remote rejected] (pre-receive hook declined)")]
    );
    assert_eq!(report.server, "error: GH006: Protected branch [secret]");
}

#[tokio::test]
async fn without_a_lease_nothing_is_sent() {
    let (upstream, base) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let made = made(&wire, &server, &here, &base, "c1").await;
    server.asked();
    let over = Lease::issue(REPO, Fence(1), Instant::now() - Duration::from_secs(1));
    let create = update("p", None, Some(&made.commit));
    let pushed = wire
        .push(
            &server.remote(),
            &here.path(),
            &over,
            REPO,
            &[create],
            &made.objects,
        )
        .await;
    assert!(matches!(pushed, Err(PushError::Lease(_))), "{pushed:?}");
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn an_object_that_is_not_here_is_not_pushed_without() {
    let (upstream, base) = upstream();
    let (server, wire, here) = (Bridge::of(&upstream).await, wire(), Here::new());
    let made = made(&wire, &server, &here, &base, "c1").await;
    let create = update("p", None, Some(&made.commit));
    let unknown = Oid::from_str(&"5".repeat(40)).unwrap();
    let pushed = push(&wire, &server, &here, &[create], &[made.objects[0], unknown]).await;
    assert!(matches!(pushed, Err(PushError::Read(_))), "{pushed:?}");
    assert_eq!(upstream.head("p"), None);
}
