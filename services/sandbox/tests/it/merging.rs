//! Merging, in all three ways and with all refusals.

use http::Method;
use lockflight_sandbox::{ForgeError, MergeMethod, Protection, PullRequestState, RepositorySettings};
use serde_json::json;

use crate::support::{Answer, REPO, World, git};

async fn merge(world: &World, number: u64, body: serde_json::Value) -> Answer {
    world
        .call(
            Method::PUT,
            &format!("/repos/acme/gitops/pulls/{number}/merge"),
            Some(body),
        )
        .await
}

/// A pull request of two commits, on a base that has gone on since.
async fn two_commits(world: &World) -> u64 {
    let number = world.pull_request("change", "a", "a\n").await;
    world
        .forge
        .commit_files(REPO, "change", &[("b", Some(b"b\n"))], "Second\n\nWith a body")
        .await
        .unwrap();
    world
        .forge
        .commit_files(REPO, "main", &[("c", Some(b"c\n"))], "Meanwhile")
        .await
        .unwrap();
    number
}

async fn log(world: &World, format: &str) -> String {
    let dir = world.forge.repository_dir(REPO).unwrap();
    git(&dir, &["log", "-3", &format!("--format={format}"), "main"])
        .await
        .fine()
        .out
}

#[tokio::test]
async fn a_merge_commit_has_two_parents_and_githubs_message() {
    let world = World::start().await;
    let number = two_commits(&world).await;
    let base = world.forge.branch(REPO, "main").unwrap().unwrap();
    let head = world.forge.pull_request(REPO, number).unwrap().head.sha;
    let answer = merge(&world, number, json!({"sha": head}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&answer["merged"], &answer["message"]),
        (&json!(true), &json!("Pull Request successfully merged"))
    );
    let dir = world.forge.repository_dir(REPO).unwrap();
    let told = git(&dir, &["show", "-s", "--format=%H|%P|%cn|%B", "main"])
        .await
        .fine()
        .out;
    let sha = answer["sha"].as_str().unwrap();
    let expected = format!("{sha}|{base} {head}|GitHub|Merge pull request #1 from acme/change\n\nA change");
    assert_eq!(told.trim(), expected);
    let pull = world.forge.pull_request(REPO, number).unwrap();
    assert_eq!((pull.merged, pull.merged_by.as_deref()), (true, Some("ann")));
    assert_eq!(pull.merge_commit_sha.as_deref(), Some(sha));
    // Its files are still those that it brought.
    let files = world.forge.pull_request_files(REPO, number).await.unwrap();
    assert_eq!(files, [("a".into(), "added"), ("b".into(), "added")]);
    let pulls = world
        .get(&format!("/repos/acme/gitops/commits/{sha}/pulls"))
        .await
        .json();
    assert_eq!(pulls[0]["number"], json!(number));
}

#[tokio::test]
async fn a_squash_is_one_commit_with_the_list_of_all() {
    let world = World::start().await;
    let number = two_commits(&world).await;
    merge(&world, number, json!({"merge_method": "squash"}))
        .await
        .expect(200);
    let told = log(&world, "%p|%B").await;
    assert!(
        told.contains("|A change (#1)\n\n* Change a file\n\n* Second\n\nWith a body"),
        "{told}"
    );
    assert_eq!(
        told.lines()
            .next()
            .unwrap()
            .split('|')
            .next()
            .unwrap()
            .split(' ')
            .count(),
        1
    );
    let files = world.forge.list_files(REPO, "main", "").await.unwrap();
    assert!(["a", "b", "c"].iter().all(|path| files.contains_key(*path)));
}

#[tokio::test]
async fn a_rebase_makes_every_commit_anew() {
    let world = World::start().await;
    let number = two_commits(&world).await;
    let head = world.forge.pull_request(REPO, number).unwrap().head.sha;
    let answer = merge(&world, number, json!({"merge_method": "rebase"}))
        .await
        .expect(200)
        .json();
    assert_ne!(answer["sha"], json!(head));
    assert_eq!(log(&world, "%s").await, "Second\nChange a file\nMeanwhile\n");
    let files = world.forge.pull_request_files(REPO, number).await.unwrap();
    assert_eq!(files.len(), 2);
}

#[tokio::test]
async fn a_moved_head_is_a_conflict_and_nothing_is_merged() {
    let world = World::start().await;
    let number = two_commits(&world).await;
    let base = world.forge.branch(REPO, "main").unwrap();
    let answer = merge(&world, number, json!({"sha": "0".repeat(40)}))
        .await
        .expect(409);
    assert_eq!(
        answer.complaint(),
        "Head branch was modified. Review and try the merge again."
    );
    assert_eq!(world.forge.branch(REPO, "main").unwrap(), base);
}

#[tokio::test]
async fn what_cannot_be_merged_is_405() {
    let world = World::start().await;
    let number = world.pull_request("change", "a", "a\n").await;
    world
        .forge
        .commit_files(REPO, "main", &[("a", Some(b"other\n"))], "Conflict")
        .await
        .unwrap();
    let answer = merge(&world, number, json!({})).await.expect(405);
    assert_eq!(answer.complaint(), "Pull Request is not mergeable");
    let pull = world.get("/repos/acme/gitops/pulls/1").await.json();
    assert_eq!(
        (&pull["mergeable"], &pull["mergeable_state"]),
        (&json!(false), &json!("dirty"))
    );

    let fine = world.pull_request("fine", "b", "b\n").await;
    let settings = RepositorySettings {
        allow_squash_merge: false,
        ..RepositorySettings::default()
    };
    world.forge.set_repository_settings(REPO, settings).unwrap();
    let answer = merge(&world, fine, json!({"merge_method": "squash"}))
        .await
        .expect(405);
    assert_eq!(
        answer.complaint(),
        "Squash merges are not allowed on this repository."
    );
    merge(&world, fine, json!({})).await.expect(200);
    merge(&world, fine, json!({})).await.expect(405);
    merge(&world, 99, json!({})).await.expect(404);
}

#[tokio::test]
async fn a_protected_base_waits_for_statuses_and_approvals() {
    let world = World::start().await;
    let number = world.pull_request("change", "a", "a\n").await;
    let head = world.forge.pull_request(REPO, number).unwrap().head.sha;
    let protection = Protection {
        required_contexts: vec!["ci".into()],
        required_approvals: 1,
    };
    world
        .forge
        .protect_branch(REPO, "main", Some(protection))
        .unwrap();
    let mut complaints = Vec::new();
    complaints.push(merge(&world, number, json!({})).await.expect(405).complaint());
    world
        .forge
        .set_status(REPO, &head, "ci", "pending", "ann")
        .await
        .unwrap();
    complaints.push(merge(&world, number, json!({})).await.expect(405).complaint());
    world
        .forge
        .set_status(REPO, &head, "ci", "failure", "ann")
        .await
        .unwrap();
    complaints.push(merge(&world, number, json!({})).await.expect(405).complaint());
    world
        .forge
        .set_status(REPO, &head, "ci", "success", "ann")
        .await
        .unwrap();
    complaints.push(merge(&world, number, json!({})).await.expect(405).complaint());
    assert_eq!(
        complaints,
        [
            "Required status check \"ci\" is expected.",
            "Required status check \"ci\" is pending.",
            "Required status check \"ci\" is failing.",
            "At least 1 approving review is required by reviewers with write access.",
        ]
    );
    world.forge.approve(REPO, number, "ann").await.unwrap();
    merge(&world, number, json!({})).await.expect(200);
}

#[tokio::test]
async fn a_head_that_gets_into_the_base_by_a_push_is_merged() {
    let world = World::start().await;
    let number = world.pull_request("change", "a", "a\n").await;
    let head = world.forge.pull_request(REPO, number).unwrap().head.sha;
    let path = "/repos/acme/gitops/git/refs/heads/main";
    world
        .call(Method::PATCH, path, Some(json!({"sha": head})))
        .await
        .expect(200);
    let pull = world.forge.pull_request(REPO, number).unwrap();
    assert_eq!((pull.state, pull.merged), (PullRequestState::Closed, true));
    assert_eq!(pull.merge_commit_sha, Some(head));
}

#[tokio::test]
async fn of_many_who_merge_at_once_one_does() {
    let world = World::start().await;
    let number = two_commits(&world).await;
    let answers = futures::future::join_all((0..6).map(|_| merge(&world, number, json!({})))).await;
    let mut codes: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [200, 405, 405, 405, 405, 405]);
}

#[tokio::test]
async fn the_head_branch_goes_after_the_merge_where_it_should() {
    let world = World::start().await;
    let number = world.pull_request("change", "a", "a\n").await;
    let settings = RepositorySettings {
        delete_branch_on_merge: true,
        ..RepositorySettings::default()
    };
    world.forge.set_repository_settings(REPO, settings).unwrap();
    world
        .forge
        .merge_pull_request(REPO, number, MergeMethod::Squash, "ann")
        .await
        .unwrap();
    assert_eq!(world.forge.branch(REPO, "change").unwrap(), None);
    assert!(world.forge.pull_request(REPO, number).unwrap().merged);
    let again = world
        .forge
        .merge_pull_request(REPO, number, MergeMethod::Squash, "ann")
        .await;
    assert!(matches!(again, Err(ForgeError::NotMergeable(_))));
}
