//! New versions that get into a GitOps repository by `lockflight bump`.

use std::path::Path;
use std::process::Stdio;

use lockflight_sandbox::{Forge, ForgeOptions, MergeMethod, PullRequest, PullRequestState, UserKind};
use lockflight_tests::proxy::ValidatingProxy;
use serde_json::Value;
use tempfile::TempDir;

use crate::LOCKFLIGHT;

const TARGET: &str = "acme/gitops";
const VALUES: &str =
    "# Owned by the shop.\nimage:\n    repository: shop   # ours\n    tag: 'v1'\nreplicas: 2\n";
const COMMIT: &str = "1111111111111111111111111111111111111111";
const LATER: &str = "2222222222222222222222222222222222222222";

/// A forge with one repository, whose default branch is not `main`.
struct Bumped {
    forge: Forge,
    proxy: ValidatingProxy,
    token: String,
    folder: TempDir,
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, code, "stdout: {stdout}\nstderr: {stderr}");
        self
    }

    #[track_caller]
    fn outcome(&self) -> String {
        let document: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(document["apiVersion"], "lockflight/v1");
        document["outcome"].as_str().unwrap().to_owned()
    }
}

impl Bumped {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let forge = Forge::start(ForgeOptions::new(folder.path().join("forge")))
            .await
            .unwrap();
        forge.create_repository(TARGET, "trunk").await.unwrap();
        forge.add_user("mona", UserKind::User);
        let files: [(&str, Option<&[u8]>); 3] = [
            ("workspace/shop/values.yaml", Some(VALUES.as_bytes())),
            ("workspace/shop/version.json", Some(b"{ \"tag\" : \"v1\" }")),
            ("workspace/shop/version.toml", Some(b"tag = \"v1\" # it\n")),
        ];
        forge
            .commit_files(TARGET, "trunk", &files, "Begin")
            .await
            .unwrap();
        let token = forge.personal_token("release-bot").unwrap();
        let proxy = ValidatingProxy::start(&forge.url()).await;
        Self {
            forge,
            proxy,
            token,
            folder,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs it as a build of `acme/shop` does.
    async fn bump(&self, commit: &str, arguments: &[&str]) -> Ended {
        self.bump_with(commit, arguments, &[("GITHUB_OAUTH_TOKEN", self.token.as_str())])
            .await
    }

    async fn bump_with(&self, commit: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let output = tokio::process::Command::new(LOCKFLIGHT)
            .arg("bump")
            .args(arguments)
            .args(["-o", "json"])
            .current_dir(self.path())
            .env_clear()
            .env("TARGET_REPO", TARGET)
            .env("GITHUB_HOST", self.proxy.url())
            .env("GITHUB_REPOSITORY", "acme/shop")
            .env("GITHUB_SHA", commit)
            .env("GITHUB_ACTOR", "mona")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let ended = Ended {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(
            !ended.stdout.contains(&self.token) && !ended.stderr.contains(&self.token),
            "the token is not told"
        );
        ended
    }

    fn pulls(&self) -> Vec<PullRequest> {
        self.forge.pull_requests(TARGET).unwrap()
    }

    #[track_caller]
    fn only_pull(&self) -> PullRequest {
        let pulls = self.pulls();
        let [only] = <[PullRequest; 1]>::try_from(pulls).unwrap();
        only
    }

    async fn file(&self, revision: &str, path: &str) -> String {
        let bytes = self
            .forge
            .read_file(TARGET, revision, path)
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }

    async fn mode(&self, revision: &str, directory: &str, name: &str) -> String {
        let files = self.forge.list_files(TARGET, revision, directory).await.unwrap();
        files[name].0.clone()
    }
}

const YAML: [&str; 5] = [
    "yaml",
    "-f",
    "workspace/shop/values.yaml",
    "--address",
    ".image.tag",
];

fn yaml(version: &str) -> Vec<&str> {
    [YAML.as_slice(), &["-n", version]].concat()
}

#[tokio::test]
async fn a_key_is_set_in_a_pull_request_and_everything_else_stays() {
    let it = Bumped::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let token = ("GITHUB_OAUTH_TOKEN", it.token.as_str());
    let ended = it
        .bump_with(COMMIT, &yaml("v2"), &[token, ("TRACEPARENT", trace)])
        .await
        .expect(0);
    assert_eq!(ended.outcome(), "opened");
    assert!(ended.stderr.contains("+    tag: 'v2'"), "{}", ended.stderr);
    let pull = it.only_pull();
    assert_eq!(
        pull.title,
        "acme/shop🚠 Bumping version @ workspace/shop/values.yaml"
    );
    let body = format!("Bumping version triggered by acme/shop@{COMMIT}");
    assert_eq!(pull.body.as_deref(), Some(body.as_str()));
    assert_eq!(pull.base.branch, "trunk");
    assert_eq!(
        (pull.labels, pull.assignees),
        (vec!["promotion".to_owned()], vec!["mona".to_owned()])
    );
    let values = it.file(&pull.head.sha, "workspace/shop/values.yaml").await;
    assert_eq!(values, VALUES.replace("v1", "v2"));
    let repo = it.forge.repository_dir(TARGET).unwrap();
    let message = std::process::Command::new("git")
        .args(["log", "-1", "--format=%B", &pull.head.sha])
        .current_dir(repo)
        .output()
        .unwrap();
    let message = String::from_utf8(message.stdout).unwrap();
    assert!(
        message.contains(&format!(
            "Bumped-From: acme/shop@{COMMIT}\nTraceparent: {trace}\n"
        )),
        "{message}"
    );
    it.proxy.finish();
}

#[tokio::test]
async fn each_format_and_each_way_leaves_the_rest_as_it_is() {
    let it = Bumped::start().await;
    std::fs::write(it.path().join("new.yaml"), "image:\n  tag: v7\n").unwrap();
    let cases: [(&[&str], &str, &str); 5] = [
        (
            &["yaml", "--address", "tag", "-n", "v2"],
            "workspace/shop/version.json",
            "{ \"tag\" : \"v2\" }",
        ),
        (
            &["yaml", "--address", "tag", "-n", "v2"],
            "workspace/shop/version.toml",
            "tag = \"v2\" # it\n",
        ),
        (
            &["regex", "-r", r"tag: '(\S*)'", "-n", "tag: 'x-${1}'"],
            "workspace/shop/values.yaml",
            &VALUES.replace("v1", "x-v1"),
        ),
        (
            &["overwrite", "-c", "new.yaml"],
            "workspace/shop/values.yaml",
            "image:\n  tag: v7\n",
        ),
        (
            &["overwrite", "-c", "new.yaml"],
            "workspace/new/version.yaml",
            "image:\n  tag: v7\n",
        ),
    ];
    for (arguments, file, expected) in cases {
        let all = [arguments, &["--target-file", file]].concat();
        assert_eq!(
            it.bump(COMMIT, &all).await.expect(0).outcome(),
            "opened",
            "{arguments:?}"
        );
        // Newest last, or first: found by its file.
        let newest = it.pulls().into_iter().max_by_key(|pull| pull.number).unwrap();
        assert_eq!(it.file(&newest.head.sha, file).await, expected, "{arguments:?}");
    }
    assert_eq!(
        it.pulls().len(),
        cases.len(),
        "each has a pull request of its own"
    );
    it.proxy.finish();
}

#[tokio::test]
async fn a_second_run_brings_its_own_pull_request_up_to_date() {
    let it = Bumped::start().await;
    it.bump(COMMIT, &yaml("v2")).await.expect(0);
    let first = it.only_pull();
    assert_eq!(
        it.bump(COMMIT, &yaml("v2")).await.expect(0).outcome(),
        "up_to_date"
    );
    assert_eq!(it.only_pull().head.sha, first.head.sha, "nothing is pushed twice");

    // Somebody else's change of the same file has to be carried along.
    let moved = VALUES.replace("replicas: 2", "replicas: 5");
    let file = [("workspace/shop/values.yaml", Some(moved.as_bytes()))];
    it.forge
        .commit_files(TARGET, "trunk", &file, "Scale")
        .await
        .unwrap();
    assert_eq!(it.bump(LATER, &yaml("v3")).await.expect(0).outcome(), "updated");
    let second = it.only_pull();
    assert_eq!(second.number, first.number);
    assert_eq!(
        second.body,
        Some(format!("Bumping version triggered by acme/shop@{LATER}"))
    );
    let values = it.file(&second.head.sha, "workspace/shop/values.yaml").await;
    assert_eq!(values, moved.replace("v1", "v3"));
    it.forge
        .merge_pull_request(TARGET, second.number, MergeMethod::Squash, "mona")
        .await
        .unwrap();
    assert_eq!(it.file("trunk", "workspace/shop/values.yaml").await, values);

    // The branch is still there, and its pull request merged: the next version gets a new one.
    assert_eq!(it.bump(LATER, &yaml("v4")).await.expect(0).outcome(), "opened");
    assert_eq!(it.pulls().len(), 2);
    it.proxy.finish();
}

#[tokio::test]
async fn what_is_as_it_should_be_opens_nothing_and_closes_what_wanted_something_else() {
    let it = Bumped::start().await;
    assert_eq!(
        it.bump(COMMIT, &yaml("v1")).await.expect(0).outcome(),
        "unchanged"
    );
    assert!(it.pulls().is_empty());
    assert!(
        !it.forge
            .branches(TARGET)
            .unwrap()
            .keys()
            .any(|name| name.contains("bump"))
    );

    it.bump(COMMIT, &yaml("v2")).await.expect(0);
    assert_eq!(it.bump(LATER, &yaml("v1")).await.expect(0).outcome(), "closed");
    assert_eq!(it.only_pull().state, PullRequestState::Closed);
    // What it closed itself, it may open again.
    assert_eq!(it.bump(LATER, &yaml("v2")).await.expect(0).outcome(), "opened");
    it.proxy.finish();
}

#[tokio::test]
async fn what_a_person_closed_is_not_opened_again_for_the_same_content() {
    let it = Bumped::start().await;
    it.bump(COMMIT, &yaml("v2")).await.expect(0);
    let pull = it.only_pull();
    it.forge
        .close_pull_request(TARGET, pull.number, "mona")
        .await
        .unwrap();
    assert_eq!(it.bump(LATER, &yaml("v2")).await.expect(0).outcome(), "declined");
    assert_eq!(it.pulls().len(), 1);
    assert_eq!(it.bump(LATER, &yaml("v3")).await.expect(0).outcome(), "opened");
    assert_eq!(it.pulls().len(), 2);
    it.proxy.finish();
}

#[tokio::test]
async fn commits_of_people_on_its_branch_are_left_alone() {
    let it = Bumped::start().await;
    it.bump(COMMIT, &yaml("v2")).await.expect(0);
    let pull = it.only_pull();
    let file = [("workspace/shop/more.yaml", Some(b"more: true\n".as_slice()))];
    let theirs = it
        .forge
        .commit_files(TARGET, &pull.head.branch, &file, "More")
        .await
        .unwrap();
    let ended = it.bump(LATER, &yaml("v3")).await.expect(1);
    assert!(ended.stderr.contains(&theirs), "{}", ended.stderr);
    assert!(ended.stderr.contains("not overwritten"), "{}", ended.stderr);
    let tip = it.forge.branch(TARGET, &pull.head.branch).unwrap();
    assert_eq!(tip, Some(theirs));
    it.proxy.finish();
}

/// What `git` does in a clone of the branch of a bump, with a file that is not the bump's beside it.
async fn push_beside(it: &Bumped, branch: &str, commit: &[&str]) -> String {
    let repo = it.forge.repository_dir(TARGET).unwrap();
    let clone = it.path().join("clone");
    let git = |at: &Path, arguments: &[&str]| {
        let ended = std::process::Command::new("git")
            .args(["-c", "user.name=Mona", "-c", "user.email=mona@example.com"])
            .args(arguments)
            .current_dir(at)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{arguments:?}: {words}");
    };
    let address = repo.to_str().unwrap();
    git(
        it.path(),
        &["clone", "--quiet", "--branch", branch, address, "clone"],
    );
    std::fs::write(clone.join("more.yaml"), "more: true\n").unwrap();
    git(&clone, &["add", "more.yaml"]);
    git(&clone, &[&["commit", "--quiet"], commit].concat());
    let to = format!("HEAD:{branch}");
    git(&clone, &["push", "--quiet", "--force", "origin", &to]);
    it.forge.refresh(TARGET).await.unwrap();
    it.forge.branch(TARGET, branch).unwrap().unwrap()
}

#[tokio::test]
async fn what_a_reviewer_amended_is_not_dropped() {
    let it = Bumped::start().await;
    it.bump(COMMIT, &yaml("v2")).await.expect(0);
    let pull = it.only_pull();
    let theirs = push_beside(&it, &pull.head.branch, &["--amend", "--no-edit"]).await;
    assert_ne!(theirs, pull.head.sha);
    let ended = it.bump(LATER, &yaml("v3")).await.expect(1);
    for words in [theirs.as_str(), "more.yaml", "not overwritten"] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let tip = it.forge.branch(TARGET, &pull.head.branch).unwrap();
    assert_eq!(tip, Some(theirs));
    it.proxy.finish();
}

#[tokio::test]
async fn a_commit_that_only_says_it_is_ours_is_neither_up_to_date_nor_merged() {
    let it = Bumped::start().await;
    it.bump(COMMIT, &yaml("v2")).await.expect(0);
    let pull = it.only_pull();
    let message = format!("Bumping version\n\nBumped-From: acme/shop@{COMMIT}");
    let theirs = push_beside(&it, &pull.head.branch, &["--message", &message]).await;
    let arguments = [yaml("v2"), vec!["--auto-merge"]].concat();
    let ended = it.bump(COMMIT, &arguments).await.expect(1);
    for words in [theirs.as_str(), "more.yaml", "not overwritten"] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert_eq!(it.only_pull().state, PullRequestState::Open);
    assert!(!it.only_pull().merged);
    it.proxy.finish();
}

#[tokio::test]
async fn the_mode_of_a_file_is_kept() {
    let it = Bumped::start().await;
    let repo = it.forge.repository_dir(TARGET).unwrap();
    let clone = it.path().join("clone");
    let git = |arguments: &[&str]| {
        let ended = std::process::Command::new("git")
            .args(["-c", "user.name=Mona", "-c", "user.email=mona@example.com"])
            .args(arguments)
            .current_dir(if clone.exists() { &clone } else { it.path() })
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(
            ended.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
    };
    git(&["clone", "--quiet", repo.to_str().unwrap(), "clone"]);
    std::fs::write(clone.join("install.sh"), "#!/bin/sh\nVERSION=v1\n").unwrap();
    git(&["add", "install.sh"]);
    git(&["update-index", "--chmod=+x", "install.sh"]);
    git(&["commit", "--quiet", "--message", "A script"]);
    git(&["push", "--quiet", "origin", "HEAD:trunk"]);
    it.forge.refresh(TARGET).await.unwrap();
    let arguments = [
        "regex",
        "-f",
        "install.sh",
        "-r",
        "VERSION=.*",
        "-n",
        "VERSION=v2",
    ];
    it.bump(COMMIT, &arguments).await.expect(0);
    let pull = it.only_pull();
    assert_eq!(
        it.file(&pull.head.sha, "install.sh").await,
        "#!/bin/sh\nVERSION=v2\n"
    );
    assert_eq!(it.mode(&pull.head.sha, "", "install.sh").await, "100755");
    it.proxy.finish();
}

#[tokio::test]
async fn auto_merge_merges_what_may_be_merged() {
    let it = Bumped::start().await;
    let arguments = [yaml("v2"), vec!["--auto-merge"]].concat();
    let ended = it.bump(COMMIT, &arguments).await.expect(0);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["merge"]["outcome"], "merged");
    assert!(it.only_pull().merged);
    assert_eq!(
        it.file("trunk", "workspace/shop/values.yaml").await,
        VALUES.replace("v1", "v2")
    );
    it.proxy.finish();
}

#[tokio::test]
async fn what_cannot_be_done_is_told_by_the_exit_code() {
    let it = Bumped::start().await;
    let values = "workspace/shop/values.yaml";
    let cases: [(&[&str], i32, &str); 10] = [
        (
            &["yaml", "-f", "gone.yaml", "--address", "a", "-n", "b"],
            5,
            "gone.yaml",
        ),
        (
            &["yaml", "-f", values, "--address", ".image.digest", "-n", "b"],
            5,
            "image.digest",
        ),
        (
            &["yaml", "-f", values, "--address", ".image", "-n", "b"],
            4,
            "expected a single value",
        ),
        (
            &["yaml", "-f", values, "--address", ".a[]", "-n", "b"],
            2,
            "many items",
        ),
        (
            &["regex", "-f", values, "-r", "nothing like it", "-n", "b"],
            5,
            "nothing like it",
        ),
        (
            &["regex", "-f", values, "-r", "(", "-n", "b"],
            2,
            "regular expression",
        ),
        (
            &["regex", "-f", "workspace/shop", "-r", "a", "-n", "b"],
            5,
            "a directory",
        ),
        (&["overwrite", "-f", values, "-c", "nowhere"], 5, "nowhere"),
        (
            &["overwrite", "-f", "../values.yaml", "-c", "nowhere"],
            2,
            "target-file",
        ),
        (
            &[
                "yaml",
                "-t",
                "acme/none",
                "-f",
                values,
                "--address",
                "a",
                "-n",
                "b",
            ],
            5,
            "acme/none",
        ),
    ];
    for (arguments, code, word) in cases {
        let ended = it.bump(COMMIT, arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "{arguments:?}: {}", ended.stderr);
    }
    let nobody = it.bump_with(COMMIT, &yaml("v2"), &[]).await.expect(1);
    assert!(nobody.stderr.contains("GITHUB_OAUTH_TOKEN"), "{}", nobody.stderr);
    let wrong = [("GITHUB_OAUTH_TOKEN", "ghp_wrong")];
    it.bump_with(COMMIT, &yaml("v2"), &wrong).await.expect(6);
    assert!(it.pulls().is_empty());
    it.proxy.finish();
}
