//! Awkward content: links, submodules, executable files, renames.

use serde_json::{Value, json};

use crate::world::{World, sha_of};

const COMMIT: &str = "3f1c9a7b5d2e4f60718293a4b5c6d7e8f9012345";

/// Puts entries with modes on a new branch.
async fn branch_with(world: &World, branch: &str, entries: Value) {
    let repo = world.repo();
    let main = world
        .mona
        .get(&format!("{repo}/git/ref/heads/main"))
        .await
        .expect(200);
    let parent = sha_of(&main["object"]);
    let commit = world
        .mona
        .get(&format!("{repo}/git/commits/{parent}"))
        .await
        .expect(200);
    let tree = json!({"base_tree": sha_of(&commit["tree"]), "tree": entries});
    let tree = sha_of(
        &world
            .mona
            .post(&format!("{repo}/git/trees"), &tree)
            .await
            .expect(201),
    );
    let commit = json!({"message": "Awkward", "tree": tree, "parents": [parent]});
    let commit = sha_of(
        &world
            .mona
            .post(&format!("{repo}/git/commits"), &commit)
            .await
            .expect(201),
    );
    let made = json!({"ref": format!("refs/heads/{branch}"), "sha": commit});
    world
        .mona
        .post(&format!("{repo}/git/refs"), &made)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_link_a_submodule_and_an_executable_file_are_told_apart() {
    let world = World::start().await;
    let modules = "[submodule \"sub\"]\n\tpath = sub\n\turl = https://example.org/sub.git\n";
    let entries = json!([
        {"path": "inside", "mode": "120000", "type": "blob", "content": "README.md"},
        {"path": "outside", "mode": "120000", "type": "blob", "content": "../../etc/passwd"},
        {"path": "run.sh", "mode": "100755", "type": "blob", "content": "#!/bin/sh\n"},
        {"path": "sub", "mode": "160000", "type": "commit", "sha": COMMIT},
        {"path": ".gitmodules", "mode": "100644", "type": "blob", "content": modules},
    ]);
    branch_with(&world, "awkward", entries).await;
    let contents = |path: &str| format!("{}/contents/{path}?ref=awkward", world.repo());

    let inside = world.mona.get(&contents("inside")).await.expect(200);
    assert_eq!(
        (&inside["type"], &inside["size"]),
        (&json!("file"), &json!(9)),
        "a link to a file is that file"
    );
    let outside = world.mona.get(&contents("outside")).await.expect(200);
    assert_eq!(
        (&outside["type"], &outside["target"]),
        (&json!("symlink"), &json!("../../etc/passwd"))
    );
    let sub = world.mona.get(&contents("sub")).await.expect(200);
    assert_eq!(sub["type"], "submodule");
    assert_eq!(sub["submodule_git_url"], "https://example.org/sub.git");
    let top = world.mona.get(&contents("")).await.expect(200);
    assert!(top.as_array().unwrap().len() >= 7);

    let tree = world
        .mona
        .get(&format!("{}/git/trees/awkward", world.repo()))
        .await
        .expect(200);
    let mode = |path: &str| {
        let entries = tree["tree"].as_array().unwrap();
        entries.iter().find(|entry| entry["path"] == path).unwrap()["mode"].clone()
    };
    assert_eq!(
        [mode("inside"), mode("run.sh"), mode("sub")],
        ["120000", "100755", "160000"]
    );
    world.finish().await;
}

#[tokio::test]
async fn a_rename_names_the_path_it_came_from() {
    let world = World::start().await;
    let text = (0..40).map(|line| format!("line {line}\n")).collect::<String>();
    world
        .push("main", &[("workspace/app/long.yaml", Some(&text))])
        .await;
    let changes = [
        ("workspace/app/long.yaml", None),
        ("workspace/app/moved.yaml", Some(text.as_str())),
    ];
    let number = world.open_pull_request("rename", &changes).await;
    let files = world
        .mona
        .get(&format!("{}/pulls/{number}/files", world.repo()))
        .await
        .expect(200);
    assert_eq!(files.as_array().unwrap().len(), 1, "{files}");
    assert_eq!(files[0]["status"], "renamed");
    assert_eq!(files[0]["previous_filename"], "workspace/app/long.yaml");
    assert_eq!(files[0]["changes"], 0);
    world.finish().await;
}

#[tokio::test]
async fn a_change_of_the_mode_alone_is_a_change() {
    let world = World::start().await;
    let entries = json!([{"path": "README.md", "mode": "100755", "type": "blob", "content": "A fleet.\n"}]);
    branch_with(&world, "mode", entries).await;
    let wanted = json!({"title": "Make it run", "head": "mode", "base": "main"});
    let made = world
        .mona
        .post(&format!("{}/pulls", world.repo()), &wanted)
        .await
        .expect(201);
    assert_eq!(made["changed_files"], 1);
    let files = world
        .mona
        .get(&format!("{}/pulls/{}/files", world.repo(), made["number"]))
        .await
        .expect(200);
    assert_eq!(
        (&files[0]["filename"], &files[0]["changes"]),
        (&json!("README.md"), &json!(0))
    );
    world.finish().await;
}
