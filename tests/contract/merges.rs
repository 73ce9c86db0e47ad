//! How a merge ends: three methods, and the ways in which it is refused.

use lockflight_sandbox::{Protection, RepositorySettings};
use serde_json::{Value, json};

use crate::world::{REPOSITORY, World, sha_of};

const VALUES: &str = "workspace/app/values.yaml";

async fn commit(world: &World, sha: &Value) -> Value {
    world
        .mona
        .get(&format!("{}/git/commits/{}", world.repo(), sha.as_str().unwrap()))
        .await
        .expect(200)
}

#[tokio::test]
async fn each_method_gives_the_tree_of_the_head_and_its_own_parents() {
    for (method, parents) in [("merge", 2), ("squash", 1), ("rebase", 1)] {
        let world = World::start().await;
        let number = world
            .open_pull_request("one", &[(VALUES, Some("replicas: 7\n"))])
            .await;
        world
            .push("one", &[("workspace/app/two.yaml", Some("b: 2\n"))])
            .await;
        let pull = format!("{}/pulls/{number}", world.repo());
        let read = world.mona.get(&pull).await.expect(200);
        let wanted_tree = sha_of(&commit(&world, &read["head"]["sha"]).await["tree"]);
        let base = sha_of(&read["base"]);
        let body = json!({"merge_method": method, "sha": read["head"]["sha"], "commit_title": "A title", "commit_message": "A text"});
        let body = if method == "rebase" {
            json!({"merge_method": method})
        } else {
            body
        };
        let merged = world.mona.put(&format!("{pull}/merge"), &body).await.expect(200);
        let made = commit(&world, &merged["sha"]).await;
        assert_eq!(sha_of(&made["tree"]), wanted_tree, "{method}");
        assert_eq!(made["parents"].as_array().unwrap().len(), parents, "{method}");
        let compared = world
            .mona
            .get(&format!("{}/compare/{base}...main", world.repo()))
            .await
            .expect(200);
        let commits = match method {
            "merge" => 3,
            "squash" => 1,
            _ => 2,
        };
        assert_eq!(compared["ahead_by"], commits, "{method}");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_conflict_a_missing_approval_a_closed_one_and_a_forbidden_method_are_405() {
    let world = World::start().await;
    let (mona, repo) = (&world.mona, world.repo());
    let first = world
        .open_pull_request("first", &[(VALUES, Some("replicas: 1\n"))])
        .await;
    let second = world
        .open_pull_request("second", &[(VALUES, Some("replicas: 3\n"))])
        .await;
    let merge = |number: u64| format!("{repo}/pulls/{number}/merge");

    let settings = RepositorySettings {
        allow_squash_merge: false,
        ..RepositorySettings::default()
    };
    world.forge.set_repository_settings(REPOSITORY, settings).unwrap();
    mona.put(&merge(first), &json!({"merge_method": "squash"}))
        .await
        .expect(405);

    let protection = Protection {
        required_contexts: vec!["ci".into()],
        required_approvals: 1,
    };
    world
        .forge
        .protect_branch(REPOSITORY, "main", Some(protection))
        .unwrap();
    mona.get(&format!("{repo}/branches/main/protection"))
        .await
        .expect(200);
    mona.get(&format!("{repo}/branches/main")).await.expect(200);
    mona.put(&merge(first), &json!({})).await.expect(405);
    world.forge.protect_branch(REPOSITORY, "main", None).unwrap();

    mona.put(&merge(first), &json!({})).await.expect(200);
    let conflicting = mona.get(&format!("{repo}/pulls/{second}")).await.expect(200);
    assert_eq!(
        (&conflicting["mergeable"], &conflicting["mergeable_state"]),
        (&json!(false), &json!("dirty"))
    );
    mona.put(&merge(second), &json!({})).await.expect(405);

    mona.patch(&format!("{repo}/pulls/{second}"), &json!({"state": "closed"}))
        .await
        .expect(200);
    mona.put(&merge(second), &json!({})).await.expect(405);
    mona.put(&merge(9_999), &json!({})).await.expect(404);
    world.finish().await;
}

#[tokio::test]
async fn whether_it_can_be_merged_may_be_unknown_at_first() {
    let world = World::start().await;
    world.forge.set_mergeable_unknown_reads(2);
    let number = world
        .open_pull_request("later", &[(VALUES, Some("replicas: 8\n"))])
        .await;
    let pull = format!("{}/pulls/{number}", world.repo());
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(world.mona.get(&pull).await.expect(200)["mergeable"].clone());
    }
    assert_eq!(seen.last(), Some(&json!(true)), "{seen:?}");
    assert!(seen.contains(&Value::Null), "{seen:?}");
    world.finish().await;
}
