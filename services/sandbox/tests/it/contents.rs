//! Files, directories and the git database.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use lockflight_sandbox::Limits;
use serde_json::{Value, json};

use crate::support::{REPO, World, git};

#[tokio::test]
async fn a_directory_with_too_many_entries_is_cut_off_without_a_word() {
    let limits = Limits {
        directory_entries: 3,
        tree_entries: 4,
        ..Limits::default()
    };
    let world = World::with(|options| options.limits = limits).await;
    let files: Vec<(String, Option<&[u8]>)> = (0..5)
        .map(|index| (format!("many/{index}"), Some(b"x".as_slice())))
        .collect();
    let files: Vec<(&str, Option<&[u8]>)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), *content))
        .collect();
    world
        .forge
        .commit_files(REPO, "main", &files, "Many")
        .await
        .unwrap();
    let listed = world.get("/repos/acme/gitops/contents/many").await.expect(200);
    assert_eq!(listed.json().as_array().unwrap().len(), 3);
    assert_eq!(listed.header("link"), "");
    let tree = world
        .get("/repos/acme/gitops/git/trees/main?recursive=1")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&tree["truncated"], tree["tree"].as_array().unwrap().len()),
        (&json!(true), 4)
    );
    let tree = world
        .get("/repos/acme/gitops/git/trees/main")
        .await
        .expect(200)
        .json();
    assert_eq!(tree["truncated"], false);
}

#[tokio::test]
async fn files_links_and_directories_are_told_apart() {
    let world = World::start().await;
    let remote = world.remote(&world.token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    let work = world.path("work");
    std::os::unix::fs::symlink("../README.md", work.join("lab/inside")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", work.join("lab/outside")).unwrap();
    std::fs::write(work.join("big"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
    git(&work, &["add", "."]).await.fine();
    git(&work, &["commit", "-qm", "Links"]).await.fine();
    git(&work, &["push", "-q", "origin", "main"]).await.fine();
    let get = async |path: &str| world.get(&format!("/repos/acme/gitops/contents/{path}")).await;
    let file = get("lab/app.yaml").await.expect(200).json();
    let content = file["content"].as_str().unwrap().replace('\n', "");
    assert_eq!(STANDARD.decode(content).unwrap(), b"replicas: 1\n");
    let inside = get("lab/inside").await.expect(200).json();
    assert_eq!((&inside["type"], &inside["size"]), (&json!("file"), &json!(9)));
    let outside = get("lab/outside").await.expect(200).json();
    assert_eq!(
        (&outside["type"], &outside["target"]),
        (&json!("symlink"), &json!("/etc/hostname"))
    );
    let big = get("big").await.expect(200).json();
    assert_eq!((&big["encoding"], &big["content"]), (&json!("none"), &json!("")));
    let raw = [("accept", "application/vnd.github.raw+json")];
    let path = "/repos/acme/gitops/contents/README.md?ref=main";
    let raw = world
        .try_call(&world.token, Method::GET, path, None, &raw)
        .await
        .unwrap();
    assert_eq!(raw.expect(200).text, "# GitOps\n");
    let root = get("").await.expect(200).json();
    let kinds: Vec<&str> = root
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["file", "file", "dir", "dir"]);
    get("nothing").await.expect(404);
    let unknown = world
        .get("/repos/acme/gitops/contents/README.md?ref=none")
        .await
        .expect(404);
    assert_eq!(unknown.complaint(), "No commit found for the ref none");
}

#[tokio::test]
async fn a_commit_made_through_the_git_database_is_the_one_git_makes() {
    let world = World::start().await;
    let api = "/repos/acme/gitops/git";
    let head = world
        .get(&format!("{api}/ref/heads/main"))
        .await
        .expect(200)
        .json()["object"]["sha"]
        .clone();
    let parent = world
        .get(&format!("{api}/commits/{}", head.as_str().unwrap()))
        .await
        .expect(200)
        .json();
    let blob = world
        .post(
            &format!("{api}/blobs"),
            json!({"content": STANDARD.encode("binary\0"), "encoding": "base64"}),
        )
        .await
        .expect(201)
        .json();
    let entries = json!([
        {"path": "bin/run", "mode": "100755", "type": "blob", "sha": blob["sha"]},
        {"path": "lab/app.yaml", "mode": "100644", "type": "blob", "content": "replicas: 3\n"},
        {"path": "README.md", "mode": "100644", "type": "blob", "sha": Value::Null},
        {"path": "copy", "mode": "040000", "type": "tree", "sha": parent["tree"]["sha"]},
    ]);
    let tree = json!({"base_tree": parent["tree"]["sha"], "tree": entries});
    let tree = world.post(&format!("{api}/trees"), tree).await.expect(201).json();
    let person = json!({"name": "Ann", "email": "ann@example.com", "date": "2023-11-14T22:13:20Z"});
    let commit = json!({
        "message": "By hand", "tree": tree["sha"], "parents": [head], "author": person, "committer": person,
    });
    let commit = world
        .post(&format!("{api}/commits"), commit)
        .await
        .expect(201)
        .json();
    let sha = commit["sha"].as_str().unwrap();

    let dir = world.forge.repository_dir(REPO).unwrap();
    let listed = git(&dir, &["ls-tree", "-r", sha]).await.fine().out;
    let paths: Vec<&str> = listed
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    let copied = ["copy/README.md", "copy/lab/app.yaml", "copy/prod/app.yaml"];
    assert_eq!(
        paths,
        [&["bin/run"], &copied[..], &["lab/app.yaml", "prod/app.yaml"]].concat()
    );
    assert!(listed.starts_with("100755"));
    let parent = format!("-p{}", head.as_str().unwrap());
    let own = git(
        &dir,
        &[
            "commit-tree",
            "-m",
            "By hand",
            &parent,
            tree["sha"].as_str().unwrap(),
        ],
    )
    .await;
    // `commit-tree -m` adds a newline to the message, the API does not.
    assert_ne!(own.fine().out.trim(), sha);

    let new = json!({"ref": "refs/heads/by/hand", "sha": sha});
    world.post(&format!("{api}/refs"), new.clone()).await.expect(201);
    assert_eq!(
        world
            .post(&format!("{api}/refs"), new)
            .await
            .expect(422)
            .complaint(),
        "Reference already exists"
    );
    let back = Some(json!({"sha": head}));
    let path = format!("{api}/refs/heads/by/hand");
    let refused = world.call(Method::PATCH, &path, back).await.expect(422);
    assert_eq!(refused.complaint(), "Update is not a fast forward");
    world
        .call(Method::PATCH, &path, Some(json!({"sha": head, "force": true})))
        .await
        .expect(200);
    let matching = world
        .get(&format!("{api}/matching-refs/heads/by"))
        .await
        .expect(200)
        .json();
    assert_eq!(matching[0]["ref"], "refs/heads/by/hand");
    world.call(Method::DELETE, &path, None).await.expect(204);
    world.call(Method::DELETE, &path, None).await.expect(422);
    world.get(&format!("{api}/ref/heads/by")).await.expect(404);
}

#[tokio::test]
async fn trees_that_could_do_harm_are_refused() {
    let world = World::start().await;
    for path in ["../x", ".git/config", "a//b", "/a", "a/./b"] {
        let tree = json!({"tree": [{"path": path, "mode": "100644", "type": "blob", "content": "x"}]});
        world.post("/repos/acme/gitops/git/trees", tree).await.expect(422);
    }
}

#[tokio::test]
async fn branches_with_slashes_and_their_protection_are_found() {
    let world = World::start().await;
    world
        .forge
        .commit_files(REPO, "feature/x", &[("a", Some(b"a"))], "A")
        .await
        .unwrap();
    let branch = world
        .get("/repos/acme/gitops/branches/feature/x")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&branch["name"], &branch["protected"]),
        (&json!("feature/x"), &json!(false))
    );
    let path = "/repos/acme/gitops/branches/feature/x/protection";
    assert_eq!(
        world.get(path).await.expect(404).complaint(),
        "Branch not protected"
    );
    let protection = lockflight_sandbox::Protection {
        required_approvals: 2,
        ..Default::default()
    };
    world
        .forge
        .protect_branch(REPO, "feature/x", Some(protection))
        .unwrap();
    let told = world.get(path).await.expect(200).json();
    assert_eq!(
        told["required_pull_request_reviews"]["required_approving_review_count"],
        2
    );
    assert_eq!(
        world
            .get("/repos/acme/gitops/branches/none")
            .await
            .expect(404)
            .complaint(),
        "Branch not found"
    );
}
