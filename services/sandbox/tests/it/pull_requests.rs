//! Opening, listing and reading pull requests.

use http::Method;
use lockflight_sandbox::{Limits, PullRequestState};
use serde_json::{Value, json};

use crate::support::{REPO, World};

const PULLS: &str = "/repos/acme/gitops/pulls";

#[tokio::test]
async fn a_second_pull_request_for_the_same_branches_is_refused_in_githubs_words() {
    let world = World::start().await;
    world
        .forge
        .commit_files(REPO, "change", &[("a", Some(b"a"))], "A")
        .await
        .unwrap();
    let new = json!({"title": "A change", "head": "acme:change", "base": "main", "body": "Why"});
    let made = world.post(PULLS, new.clone()).await.expect(201).json();
    assert_eq!(
        (&made["number"], &made["user"]["login"]),
        (&json!(1), &json!("ann"))
    );
    let again = world.post(PULLS, new).await.expect(422);
    assert_eq!(again.json()["message"], "Validation Failed");
    assert_eq!(
        again.complaint(),
        "A pull request already exists for acme:change."
    );
    assert_eq!(again.json()["errors"][0]["resource"], "PullRequest");
}

#[tokio::test]
async fn many_who_open_the_same_pull_request_at_once_get_one() {
    let world = World::start().await;
    world
        .forge
        .commit_files(REPO, "change", &[("a", Some(b"a"))], "A")
        .await
        .unwrap();
    let new = json!({"title": "A change", "head": "change", "base": "main"});
    let calls = (0..8).map(|_| world.post(PULLS, new.clone()));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(world.forge.pull_requests(REPO).unwrap().len(), 1);
}

#[tokio::test]
async fn pull_requests_that_make_no_sense_are_refused() {
    let world = World::start().await;
    world
        .forge
        .commit_files(REPO, "change", &[("a", Some(b"a"))], "A")
        .await
        .unwrap();
    let tip = world.forge.branch(REPO, "main").unwrap().unwrap();
    world
        .post(
            "/repos/acme/gitops/git/refs",
            json!({"ref": "refs/heads/same", "sha": tip}),
        )
        .await
        .expect(201);
    for (head, base, complaint) in [
        ("same", "main", "No commits between main and same"),
        ("none", "main", ""),
        ("change", "none", ""),
        ("stranger:change", "main", ""),
    ] {
        let answer = world
            .post(PULLS, json!({"title": "T", "head": head, "base": base}))
            .await
            .expect(422);
        if complaint.is_empty() {
            assert_eq!(answer.json()["errors"][0]["code"], "invalid", "{}", answer.text);
        } else {
            assert_eq!(answer.complaint(), complaint);
        }
    }
    let long = "x".repeat(65_537);
    let new = json!({"title": "T", "head": "change", "base": "main", "body": long});
    assert!(
        world
            .post(PULLS, new)
            .await
            .expect(422)
            .complaint()
            .contains("too long")
    );
    world
        .post(PULLS, json!({"title": " ", "head": "change", "base": "main"}))
        .await
        .expect(422);
    world.call(Method::POST, PULLS, Some(json!([]))).await.expect(422);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_cut_into_pages() {
    let world = World::start().await;
    for index in 1..=5 {
        world
            .pull_request(&format!("change-{index}"), &format!("file-{index}"), "x")
            .await;
    }
    world.forge.close_pull_request(REPO, 2, "ann").await.unwrap();
    let numbers = async |query: &str| -> Vec<u64> {
        let answer = world.get(&format!("{PULLS}{query}")).await.expect(200).json();
        answer
            .as_array()
            .unwrap()
            .iter()
            .map(|pull| pull["number"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers("").await, [5, 4, 3, 1]);
    assert_eq!(
        numbers("?state=all&sort=created&direction=asc").await,
        [1, 2, 3, 4, 5]
    );
    assert_eq!(numbers("?state=closed").await, [2]);
    assert_eq!(numbers("?head=acme:change-3").await, [3]);
    assert_eq!(numbers("?head=stranger:change-3").await, [0_u64; 0]);
    // Without an owner GitHub takes no notice of the filter.
    assert_eq!(numbers("?head=change-3").await, [5, 4, 3, 1]);
    assert_eq!(numbers("?base=other").await, [0_u64; 0]);
    let page = world
        .get(&format!("{PULLS}?state=all&per_page=2&page=2"))
        .await
        .expect(200);
    assert_eq!(page.json().as_array().unwrap().len(), 2);
    assert!(
        page.header("link").contains("per_page=2&page=3>; rel=\"next\""),
        "{}",
        page.header("link")
    );
}

#[tokio::test]
async fn files_come_from_git_with_renames_and_counts_and_end_at_the_cap() {
    let limits = Limits {
        pull_request_files: 3,
        ..Limits::default()
    };
    let world = World::with(|options| options.limits = limits).await;
    world
        .forge
        .commit_files(
            REPO,
            "change",
            &[
                ("lab/app.yaml", None),
                ("lab/renamed.yaml", Some(b"replicas: 1\n")),
                ("README.md", Some(b"# GitOps\nmore\n")),
                ("new file.txt", Some(b"one\ntwo\n")),
            ],
            "Change",
        )
        .await
        .unwrap();
    world
        .forge
        .open_pull_request(REPO, "change", "main", "T", "bob")
        .await
        .unwrap();
    // The base goes on: its changes are none of the pull request's.
    world
        .forge
        .commit_files(REPO, "main", &[("elsewhere", Some(b"x"))], "Other")
        .await
        .unwrap();
    let files = world.get(&format!("{PULLS}/1/files")).await.expect(200).json();
    let told: Vec<(&str, &str, u64, u64)> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let count = |name: &str| file[name].as_u64().unwrap();
            let text = |name: &str| file[name].as_str().unwrap();
            (
                text("filename"),
                text("status"),
                count("additions"),
                count("deletions"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("README.md", "modified", 1, 0),
            ("lab/renamed.yaml", "renamed", 0, 0),
            ("new file.txt", "added", 2, 0),
        ]
    );
    assert_eq!(files[1]["previous_filename"], "lab/app.yaml");
    assert_eq!(files[0]["patch"], "@@ -1 +1,2 @@\n # GitOps\n+more");
    let pull = world.get(&format!("{PULLS}/1")).await.expect(200).json();
    assert_eq!((&pull["changed_files"], &pull["commits"]), (&json!(3), &json!(1)));
    assert_eq!(
        (&pull["mergeable"], &pull["mergeable_state"]),
        (&json!(true), &json!("clean"))
    );
}

#[tokio::test]
async fn mergeable_is_unknown_for_as_long_as_asked_for() {
    let world = World::with(|options| options.mergeable_unknown_reads = 2).await;
    world.pull_request("change", "a", "a").await;
    let mut told = Vec::new();
    for _read in 0..3 {
        told.push(world.get(&format!("{PULLS}/1")).await.expect(200).json()["mergeable"].clone());
    }
    assert_eq!(told, [Value::Null, Value::Null, json!(true)]);
    world
        .forge
        .commit_files(REPO, "change", &[("a", Some(b"b"))], "More")
        .await
        .unwrap();
    assert_eq!(
        world.get(&format!("{PULLS}/1")).await.json()["mergeable"],
        Value::Null
    );
}

#[tokio::test]
async fn a_pull_request_is_edited_closed_and_reopened() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let edit = json!({"title": "Better", "body": "Because", "state": "closed"});
    let edited = world
        .call(Method::PATCH, &format!("{PULLS}/1"), Some(edit))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&edited["title"], &edited["state"]),
        (&json!("Better"), &json!("closed"))
    );
    let open = json!({"state": "open"});
    world
        .call(Method::PATCH, &format!("{PULLS}/1"), Some(open.clone()))
        .await
        .expect(200);
    world.forge.delete_branch(REPO, "change").await.unwrap();
    let pull = world.forge.pull_request(REPO, 1).unwrap();
    assert_eq!((pull.state, pull.merged), (PullRequestState::Closed, false));
    let refused = world
        .call(Method::PATCH, &format!("{PULLS}/1"), Some(open))
        .await
        .expect(422);
    assert!(
        refused.complaint().contains("has been deleted"),
        "{}",
        refused.text
    );
    // The head is still there to be looked at.
    assert_eq!(
        world.get(&format!("{PULLS}/1/files")).await.expect(200).json()[0]["filename"],
        "a"
    );
}

#[tokio::test]
async fn comparisons_and_pull_requests_of_a_commit_are_known() {
    let limits = Limits {
        compare_files: 1,
        ..Limits::default()
    };
    let world = World::with(|options| options.limits = limits).await;
    let number = world.pull_request("feature/x", "a", "a").await;
    world
        .forge
        .commit_files(REPO, "feature/x", &[("b", Some(b"b"))], "B")
        .await
        .unwrap();
    world
        .forge
        .commit_files(REPO, "main", &[("c", Some(b"c"))], "C")
        .await
        .unwrap();
    let compared = world
        .get("/repos/acme/gitops/compare/main...feature/x")
        .await
        .expect(200)
        .json();
    assert_eq!(compared["status"], "diverged");
    assert_eq!(
        (&compared["ahead_by"], &compared["behind_by"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(compared["files"].as_array().unwrap().len(), 1);
    world
        .get("/repos/acme/gitops/compare/main...nothing")
        .await
        .expect(404);
    let head = world.forge.pull_request(REPO, number).unwrap().head.sha;
    let pulls = world
        .get(&format!("/repos/acme/gitops/commits/{head}/pulls"))
        .await
        .expect(200)
        .json();
    assert_eq!(pulls[0]["number"], json!(number));
    let commit = world
        .get("/repos/acme/gitops/commits/feature/x")
        .await
        .expect(200)
        .json();
    assert_eq!(commit["sha"], json!(head));
    let asked = world.forge.requests();
    assert!(
        asked
            .iter()
            .any(|one| one.route == "/repos/{owner}/{repo}/commits/{commit_sha}/pulls")
    );
}
