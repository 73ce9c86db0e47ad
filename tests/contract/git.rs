//! The real `git` against the sandbox, through the proxy.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::world::World;

/// Runs git without anything of the machine it runs on. The token goes through a header from the environment.
fn git(folder: &Path, token: &str, arguments: &[&str]) -> Output {
    Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .envs([
            ("HOME", folder.to_str().unwrap()),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("LC_ALL", "C"),
            ("GIT_AUTHOR_NAME", "Mona"),
            ("GIT_AUTHOR_EMAIL", "mona@example.org"),
            ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
            ("GIT_COMMITTER_NAME", "Mona"),
            ("GIT_COMMITTER_EMAIL", "mona@example.org"),
            ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "http.extraHeader"),
            (
                "GIT_CONFIG_VALUE_0",
                &format!(
                    "Authorization: Basic {}",
                    STANDARD.encode(format!("x-access-token:{token}"))
                ),
            ),
        ])
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs git on a thread of its own: the forge answers on this one.
async fn run(folder: &Path, token: &str, arguments: &[&str]) -> Output {
    let (folder, token) = (folder.to_owned(), token.to_owned());
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    #[expect(clippy::disallowed_methods, reason = "a test has no span to carry")]
    let output = tokio::task::spawn_blocking(move || {
        git(
            &folder,
            &token,
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    });
    output.await.unwrap()
}

#[tokio::test]
async fn clone_and_push_pass_through_and_the_push_is_told() {
    let world = World::start().await;
    let home = TempDir::new().unwrap();
    let url = format!("{}/acme/gitops.git", world.proxy.url());
    let token = &world.mona_token;
    succeeds(&run(home.path(), token, &["clone", "-q", &url, "clone"]).await);
    let clone = home.path().join("clone");
    // More than git's post buffer of 1 MiB, and nothing that compresses: a chunked request.
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    })
    .take(400_000)
    .flatten()
    .collect();
    std::fs::write(clone.join("noise"), noise).unwrap();
    succeeds(&run(&clone, token, &["checkout", "-qb", "noisy"]).await);
    succeeds(&run(&clone, token, &["add", "noise"]).await);
    succeeds(&run(&clone, token, &["commit", "-qm", "Noise"]).await);
    succeeds(&run(&clone, token, &["push", "-q", "origin", "noisy"]).await);
    let head = succeeds(&run(&clone, token, &["rev-parse", "HEAD"]).await);
    let told = world
        .app_hooks
        .wait_for("push", |delivery| delivery.payload["ref"] == "refs/heads/noisy")
        .await;
    assert_eq!(told.payload["after"], head.as_str());
    assert_eq!(told.payload["created"], true);
    world.finish().await;
}

#[tokio::test]
async fn a_wrong_token_gets_nothing_from_git() {
    let world = World::start().await;
    let home = TempDir::new().unwrap();
    let url = format!("{}/acme/gitops.git", world.proxy.url());
    let refused = run(home.path(), "gho_wrong", &["clone", "-q", &url, "clone"]).await;
    assert!(!refused.status.success());
    assert!(!home.path().join("clone").exists());
    world.finish().await;
}
