//! Clone, fetch and push with the real `git`.

use http::Method;
use lockflight_sandbox::{Access, AppOptions, Level};

use crate::apps::installation_token;
use crate::support::{REPO, World, git};

#[tokio::test]
async fn a_clone_and_a_push_work_and_the_pull_request_follows_its_branch() {
    let world = World::start().await;
    let number = world
        .pull_request("change", "lab/app.yaml", "replicas: 2\n")
        .await;
    let remote = world.remote(&world.token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    let work = world.path("work");
    git(&work, &["checkout", "-q", "change"]).await.fine();
    std::fs::write(work.join("lab/more.yaml"), "more\n").unwrap();
    git(&work, &["add", "."]).await.fine();
    git(&work, &["commit", "-qm", "More"]).await.fine();
    git(&work, &["push", "-q", "origin", "change"]).await.fine();
    let tip = git(&work, &["rev-parse", "HEAD"])
        .await
        .fine()
        .out
        .trim()
        .to_owned();
    let pull = world.forge.pull_request(REPO, number).unwrap();
    assert_eq!(pull.head.sha, tip);
    let files = world.forge.pull_request_files(REPO, number).await.unwrap();
    assert_eq!(
        files,
        [
            ("lab/app.yaml".into(), "modified"),
            ("lab/more.yaml".into(), "added")
        ]
    );
    let listed = git(&work, &["ls-remote", "origin", "refs/pull/*"])
        .await
        .fine()
        .out;
    assert_eq!(listed, format!("{tip}\trefs/pull/{number}/head\n"));
}

#[tokio::test]
async fn refs_of_pull_requests_cannot_be_pushed() {
    let world = World::start().await;
    let remote = world.remote(&world.token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    let said = git(&world.path("work"), &["push", "origin", "main:refs/pull/7/head"]).await;
    assert!(!said.ok && said.err.contains("hidden ref"), "{}", said.err);
}

#[tokio::test]
async fn a_stale_lease_is_refused_and_one_of_many_creators_wins() {
    let world = World::start().await;
    let remote = world.remote(&world.token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    let work = world.path("work");
    git(&work, &["commit", "-q", "--allow-empty", "-m", "Mine"])
        .await
        .fine();
    let moved = world
        .forge
        .commit_files(REPO, "main", &[("x", Some(b"x"))], "Theirs")
        .await
        .unwrap();
    let before = git(&work, &["rev-parse", "HEAD~1"]).await.fine().out;
    let lease = format!("--force-with-lease=refs/heads/main:{}", before.trim());
    let said = git(
        &work,
        &["push", "--porcelain", &lease, "origin", "HEAD:refs/heads/main"],
    )
    .await;
    assert!(
        !said.ok && said.out.contains("stale info"),
        "{}{}",
        said.out,
        said.err
    );
    assert_eq!(
        world.forge.branch(REPO, "main").unwrap().as_deref(),
        Some(moved.as_str())
    );

    let commits = ["a", "b", "c", "d"];
    for name in commits {
        git(&work, &["branch", name]).await.fine();
        git(&work, &["checkout", "-q", name]).await.fine();
        git(&work, &["commit", "-q", "--allow-empty", "-m", name])
            .await
            .fine();
    }
    let push = |name: &'static str| {
        let work = work.clone();
        async move {
            let refspec = format!("{name}:refs/heads/bot");
            git(
                &work,
                &["push", "--force-with-lease=refs/heads/bot:", "origin", &refspec],
            )
            .await
            .ok
        }
    };
    let won = futures::future::join_all(commits.map(push)).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let moves = world.forge.branches(REPO).unwrap();
    assert!(moves.contains_key("bot"));
}

#[tokio::test]
async fn git_is_told_who_may_not_come_in_and_why() {
    let world = World::start().await;
    let dir = world.dir.path();
    let said = git(dir, &["ls-remote", &world.forge.git_url(REPO)]).await;
    assert!(
        !said.ok && said.err.contains("Authentication failed"),
        "{}",
        said.err
    );
    let said = git(dir, &["ls-remote", &world.remote("ghp_wrong")]).await;
    assert!(
        !said.ok && said.err.contains("Invalid username or token"),
        "{}",
        said.err
    );
    let said = git(
        dir,
        &[
            "ls-remote",
            &world.remote(&world.token).replace("gitops", "other"),
        ],
    )
    .await;
    assert!(
        !said.ok && said.err.contains("Repository not found"),
        "{}",
        said.err
    );

    world.forge.set_access(REPO, "eve", Access::Read).unwrap();
    let eve = world.remote(&world.forge.personal_token("eve").unwrap());
    git(dir, &["clone", "-q", &eve, "work"]).await.fine();
    let said = git(&world.path("work"), &["push", "origin", "main:refs/heads/x"]).await;
    assert!(
        !said.ok && said.err.contains("Permission to acme/gitops.git denied to eve"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn an_installation_token_opens_its_own_repository_only() {
    let world = World::start().await;
    world.forge.create_repository("acme/other", "main").await.unwrap();
    let mut options = AppOptions::new("pilot");
    options.permissions.insert("contents".into(), Level::Write);
    let app = world.forge.add_app(options).await.unwrap();
    let installation = world.forge.install(app.id, &[REPO, "acme/other"]).unwrap();
    let narrowing = serde_json::json!({"repository_ids": [world.forge.repository_id(REPO).unwrap()]});
    let token = installation_token(&world, &app, installation, narrowing).await;
    let remote = world.remote(&token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    git(
        &world.path("work"),
        &["push", "-q", "origin", "main:refs/heads/by-app"],
    )
    .await
    .fine();
    let said = git(
        world.dir.path(),
        &["ls-remote", &remote.replace("gitops", "other")],
    )
    .await;
    assert!(
        !said.ok && said.err.contains("Repository not found"),
        "{}",
        said.err
    );
    world.forge.expire_installation_tokens();
    let said = git(world.dir.path(), &["ls-remote", &remote]).await;
    assert!(
        !said.ok && said.err.contains("Authentication failed"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn partial_clones_and_objects_by_id_are_served() {
    let world = World::start().await;
    let remote = world.remote(&world.token);
    let dir = world.dir.path();
    git(
        dir,
        &["clone", "-q", "--bare", "--filter=blob:none", &remote, "partial"],
    )
    .await
    .fine();
    let tip = world.forge.branch(REPO, "main").unwrap().unwrap();
    git(dir, &["init", "-q", "--bare", "single"]).await.fine();
    git(
        &world.path("single"),
        &["fetch", "-q", "--depth=1", &remote, &tip],
    )
    .await
    .fine();
    let kind = git(&world.path("single"), &["cat-file", "-t", &tip]).await.fine();
    assert_eq!(kind.out.trim(), "commit");
    let blob = git(&world.path("partial"), &["cat-file", "-p", "main:lab/app.yaml"])
        .await
        .fine();
    assert_eq!(blob.out, "replicas: 1\n");
}

#[tokio::test]
async fn round_trips_and_bytes_of_git_are_counted() {
    let world = World::start().await;
    world.forge.reset_usage();
    let remote = world.remote(&world.token);
    git(world.dir.path(), &["clone", "-q", &remote, "work"])
        .await
        .fine();
    let work = world.path("work");
    git(&work, &["commit", "-q", "--allow-empty", "-m", "x"])
        .await
        .fine();
    git(&work, &["push", "-q", "origin", "main"]).await.fine();
    // A request is counted when all of its answer is sent, which may be a moment after the client has it.
    let usage = world.forge.usage();
    let git = usage.repositories[REPO].git;
    assert_eq!((git.pushes, git.looks), (1, 1), "{git:?}");
    assert!(git.fetches > git.looks, "{git:?}");
    assert!(git.bytes_in > 100 && git.bytes_out > 300, "{git:?}");
    let push = world
        .forge
        .requests()
        .into_iter()
        .find(|one| one.route == "git receive-pack")
        .unwrap();
    assert_eq!(
        (push.method, push.status, push.actor.as_str()),
        (Method::POST, Some(200), "ann")
    );
}

#[tokio::test]
async fn an_imported_repository_is_a_copy() {
    let world = World::start().await;
    let source = world.path("source");
    std::fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q", "-b", "trunk"]).await.fine();
    std::fs::write(source.join("file"), "content\n").unwrap();
    git(&source, &["add", "."]).await.fine();
    git(&source, &["commit", "-qm", "One"]).await.fine();
    let tip = git(&source, &["rev-parse", "HEAD"])
        .await
        .fine()
        .out
        .trim()
        .to_owned();
    world.forge.import_repository("acme/copy", &source).await.unwrap();
    assert_eq!(world.forge.default_branch("acme/copy").unwrap(), "trunk");
    assert_eq!(
        world.forge.branch("acme/copy", "trunk").unwrap(),
        Some(tip.clone())
    );
    world
        .forge
        .commit_files("acme/copy", "trunk", &[("file", None)], "Gone")
        .await
        .unwrap();
    assert_eq!(git(&source, &["rev-parse", "HEAD"]).await.fine().out.trim(), tip);
    assert!(
        git(&source, &["status", "--porcelain"])
            .await
            .fine()
            .out
            .is_empty()
    );
    let remotes = git(&world.forge.repository_dir("acme/copy").unwrap(), &["remote"])
        .await
        .fine();
    assert_eq!(remotes.out, "");

    git(&source, &["checkout", "-q", "--detach"]).await.fine();
    git(
        &source,
        &["commit", "-q", "--allow-empty", "-m", "Beside every branch"],
    )
    .await
    .fine();
    let tip = git(&source, &["rev-parse", "HEAD"])
        .await
        .fine()
        .out
        .trim()
        .to_owned();
    world
        .forge
        .import_repository("acme/detached", &source)
        .await
        .unwrap();
    assert_eq!(world.forge.default_branch("acme/detached").unwrap(), "main");
    assert_eq!(world.forge.branch("acme/detached", "main").unwrap(), Some(tip));
}
