use std::time::{Duration, Instant};

use lockflight_promotion::{CommitOid, ErrorClass, Fence, Lease, RepoId};

use super::spec;
use crate::testing::{Edit, REPO, Upstream, branch, lease};
use crate::{Mirror, PushError, PushOutcome, RefUpdate};

fn update(name: &str, expected: Option<&CommitOid>, new: Option<&CommitOid>) -> RefUpdate {
    RefUpdate {
        branch: branch(name),
        expected: expected.cloned(),
        new: new.cloned(),
    }
}

async fn one(mirror: &Mirror, update: RefUpdate) -> PushOutcome {
    let mut outcomes = mirror.push(&lease(), &[update]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// An upstream, its mirror with `main` fetched, and a promotion commit in it.
async fn promoted() -> (Upstream, Mirror, CommitOid, CommitOid) {
    let upstream = Upstream::new();
    let main = upstream.push(
        "main",
        "one",
        &[Edit::File("src/c/f", "1"), Edit::File("dst/c/f", "0")],
    );
    let mirror = upstream.mirror();
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
    let tree = upstream.tree(&main, "src/c");
    let commit = mirror
        .commit(spec(&main, &[("dst/c", Some(&tree))]))
        .await
        .unwrap();
    assert!(commit.changed);
    (upstream, mirror, main, commit.oid)
}

#[tokio::test]
async fn a_branch_is_made_and_the_same_push_again_changes_nothing() {
    let (upstream, mirror, _, commit) = promoted().await;
    let make = || update("promotions/1", None, Some(&commit));
    assert_eq!(one(&mirror, make()).await, PushOutcome::Pushed);
    assert_eq!(upstream.head("promotions/1"), Some(commit.clone()));
    assert_eq!(one(&mirror, make()).await, PushOutcome::AlreadyThere);
    assert_eq!(upstream.git(&["show", &format!("{commit}:dst/c/f")]), "1");
    upstream.git(&["fsck", "--strict"]);
    assert_eq!(mirror.usage().pushes, 2);
}

#[tokio::test]
async fn the_push_of_a_human_is_never_overwritten() {
    let (upstream, mirror, main, commit) = promoted().await;
    assert_eq!(
        one(&mirror, update("p", None, Some(&commit))).await,
        PushOutcome::Pushed
    );
    let theirs = upstream.push("p", "by hand", &[Edit::File("dst/c/f", "mine")]);
    let moved = PushOutcome::Moved {
        actual: Some(theirs.clone()),
    };
    assert_eq!(one(&mirror, update("p", None, Some(&main))).await, moved);
    assert_eq!(one(&mirror, update("p", Some(&commit), Some(&main))).await, moved);
    assert_eq!(one(&mirror, update("p", Some(&commit), None)).await, moved);
    assert_eq!(upstream.head("p"), Some(theirs));
}

#[tokio::test]
async fn a_branch_that_a_human_deleted_is_not_made_again() {
    let (upstream, mirror, main, commit) = promoted().await;
    assert_eq!(
        one(&mirror, update("p", None, Some(&commit))).await,
        PushOutcome::Pushed
    );
    upstream.git(&["update-ref", "-d", "refs/heads/p"]);
    assert_eq!(
        one(&mirror, update("p", Some(&commit), Some(&main))).await,
        PushOutcome::Moved { actual: None }
    );
    assert_eq!(upstream.head("p"), None);
}

#[tokio::test]
async fn a_branch_moves_and_goes_when_it_is_where_it_is_expected() {
    let (upstream, mirror, main, commit) = promoted().await;
    assert_eq!(
        one(&mirror, update("p", None, Some(&commit))).await,
        PushOutcome::Pushed
    );
    // Backwards too: a promotion may be made anew from another base.
    assert_eq!(
        one(&mirror, update("p", Some(&commit), Some(&main))).await,
        PushOutcome::Pushed
    );
    assert_eq!(upstream.head("p"), Some(main.clone()));
    assert_eq!(
        one(&mirror, update("p", Some(&main), None)).await,
        PushOutcome::Pushed
    );
    assert_eq!(upstream.head("p"), None);
    assert_eq!(
        one(&mirror, update("p", Some(&main), None)).await,
        PushOutcome::AlreadyThere
    );
    assert_eq!(
        one(&mirror, update("p", None, None)).await,
        PushOutcome::AlreadyThere
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_creators_exactly_one_wins() {
    let upstream = Upstream::new();
    let main = upstream.push("main", "one", &[Edit::File("src/c/f", "1")]);
    let tree = upstream.tree(&main, "src/c");
    // Workers of their own, each with its own mirrors: the server's compare-and-swap alone stands between them.
    let mut racers = Vec::new();
    for racer in 0..4 {
        let mut config = upstream.mirrors_config();
        config.root.push(racer.to_string());
        let mirror = crate::Mirrors::new(config).unwrap().open(REPO, upstream.remote());
        let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
        let mut spec = spec(&main, &[("dst/c", Some(&tree))]);
        spec.message = format!("racer {racer}");
        let commit = mirror.commit(spec).await.unwrap().oid;
        racers.push((mirror, commit));
    }
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(racers.len()));
    let tasks: Vec<_> = racers
        .into_iter()
        .map(|(mirror, commit)| {
            let start = start.clone();
            tokio::spawn(async move {
                start.wait().await;
                let lease = lease();
                let updates = [update("p", None, Some(&commit))];
                loop {
                    match mirror.push(&lease, &updates).await {
                        Ok(outcomes) => return (commit, outcomes[0].clone()),
                        Err(PushError::NotTaken { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            })
        })
        .collect();
    let mut winners = Vec::new();
    let mut losers = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (commit, PushOutcome::Pushed) => winners.push(commit),
            (_, PushOutcome::Moved { actual }) => losers.push(actual),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(losers.len(), 3);
    assert_eq!(upstream.head("p").as_ref(), winners.first());
    assert!(losers.iter().all(|actual| actual.as_ref() == winners.first()));
}

#[tokio::test]
async fn a_refused_branch_does_not_hold_up_the_others() {
    let (upstream, mirror, _, commit) = promoted().await;
    let hook = upstream.path().join("hooks");
    std::fs::create_dir_all(&hook).unwrap();
    let script = super::fetch::script(
        &hook,
        "case $1 in refs/heads/locked) echo 'GH006: Protected branch update failed' >&2; exit 1;; esac",
    );
    std::fs::rename(script, hook.join("update")).unwrap();
    let theirs = upstream.push("taken", "by hand", &[Edit::File("x", "1")]);
    let outcomes = mirror
        .push(
            &lease(),
            &[
                update("locked", None, Some(&commit)),
                update("taken", None, Some(&commit)),
                update("free", None, Some(&commit)),
            ],
        )
        .await
        .unwrap();
    assert!(
        matches!(&outcomes[0], PushOutcome::Refused { reason } if reason.contains("hook declined") && reason.contains("GH006")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], PushOutcome::Moved { actual: Some(theirs) });
    assert_eq!(outcomes[2], PushOutcome::Pushed);
    assert_eq!(upstream.head("free"), Some(commit));
}

fn many(commit: &CommitOid, names: &[&str]) -> Vec<RefUpdate> {
    names
        .iter()
        .map(|name| update(name, None, Some(commit)))
        .collect()
}

#[tokio::test]
async fn many_branches_are_one_push_as_long_as_all_can_be_moved() {
    let (upstream, mirror, _, commit) = promoted().await;
    let updates = many(&commit, &["p/1", "p/2", "p/3", "p/4"]);
    let outcomes = mirror.push(&lease(), &updates).await.unwrap();
    assert_eq!(outcomes, vec![PushOutcome::Pushed; 4]);
    assert_eq!(mirror.usage().pushes, 1);
    assert_eq!(upstream.head("p/4"), Some(commit.clone()));
    // Those that are there already hold up nobody, and one that was taken holds up the others for one more push.
    let theirs = upstream.push("p/6", "by hand", &[Edit::File("x", "1")]);
    let updates = many(&commit, &["p/4", "p/5", "p/6", "p/7"]);
    let outcomes = mirror.push(&lease(), &updates).await.unwrap();
    assert_eq!(
        outcomes,
        [
            PushOutcome::AlreadyThere,
            PushOutcome::Pushed,
            PushOutcome::Moved { actual: Some(theirs) },
            PushOutcome::Pushed,
        ]
    );
    assert_eq!(mirror.usage().pushes, 3);
}

#[tokio::test]
async fn a_rule_that_refuses_a_push_as_a_whole_is_tracked_down_to_the_branch_that_it_is_about() {
    let (upstream, mirror, _, commit) = promoted().await;
    let hook = upstream.path().join("hooks");
    std::fs::create_dir_all(&hook).unwrap();
    let script = super::fetch::script(
        &hook,
        "if grep -q refs/heads/locked; then echo 'GH013: Repository rule violations found' >&2; exit 1; fi",
    );
    std::fs::rename(script, hook.join("pre-receive")).unwrap();
    let updates = many(&commit, &["a", "b", "locked", "c", "d"]);
    let outcomes = mirror.push(&lease(), &updates).await.unwrap();
    assert!(
        matches!(&outcomes[2], PushOutcome::Refused { reason } if reason.contains("GH013")),
        "{outcomes:?}"
    );
    for (name, outcome) in [("a", 0), ("b", 1), ("c", 3), ("d", 4)] {
        assert_eq!(outcomes[outcome], PushOutcome::Pushed, "{name}");
        assert_eq!(upstream.head(name), Some(commit.clone()), "{name}");
    }
}

#[tokio::test]
async fn a_branch_that_another_of_the_same_push_leaves_no_room_for_holds_up_nobody_else() {
    let (upstream, mirror, main, commit) = promoted().await;
    upstream.set("p", &main);
    let updates = many(&commit, &["a", "p/1", "b", "q", "q/1"]);
    let outcomes = mirror.push(&lease(), &updates).await.unwrap();
    assert_eq!(outcomes[0], PushOutcome::Pushed);
    assert!(
        matches!(&outcomes[1], PushOutcome::Refused { .. }),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[2], PushOutcome::Pushed);
    assert_eq!(outcomes[3], PushOutcome::Pushed);
    assert!(
        matches!(&outcomes[4], PushOutcome::Refused { .. }),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_branch_that_another_leaves_no_room_for_is_refused() {
    let (upstream, mirror, main, commit) = promoted().await;
    upstream.set("p", &main);
    let outcome = one(&mirror, update("p/1", None, Some(&commit))).await;
    assert!(matches!(&outcome, PushOutcome::Refused { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_stale_lease_is_refused_and_nothing_is_pushed() {
    let (upstream, mirror, _, commit) = promoted().await;
    let updates = [update("p", None, Some(&commit))];
    let late = Lease::issue(REPO, Fence(1), Instant::now());
    let error = mirror.push(&late, &updates).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry, "{error:?}");
    let foreign = Lease::issue(RepoId::new(1), Fence(1), Instant::now() + Duration::from_secs(60));
    let error = mirror.push(&foreign, &updates).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Bug, "{error:?}");
    assert_eq!(upstream.head("p"), None);
    assert_eq!(mirror.usage().pushes, 0);
}

#[tokio::test]
async fn what_is_not_here_or_named_twice_is_not_pushed() {
    let (upstream, mirror, main, commit) = promoted().await;
    let unknown = CommitOid::parse("1".repeat(40)).unwrap();
    assert!(matches!(
        mirror.push(&lease(), &[update("p", None, Some(&unknown))]).await,
        Err(PushError::Read(_))
    ));
    assert!(matches!(
        mirror
            .push(
                &lease(),
                &[update("p", None, Some(&commit)), update("p", None, Some(&main))]
            )
            .await,
        Err(PushError::NamedTwice(_))
    ));
    assert_eq!(mirror.push(&lease(), &[]).await.unwrap(), []);
    assert_eq!(upstream.head("p"), None);
}
