//! Running git as a person would, without anybody's configuration.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A file of the first commit: path, mode, content.
#[derive(Clone, Debug)]
pub(super) struct FirstFile {
    pub(super) path: String,
    pub(super) mode: &'static str,
    pub(super) content: Vec<u8>,
}

pub(super) fn command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Mona")
            .env(format!("GIT_{role}_EMAIL"), "mona@example.com")
            .env(format!("GIT_{role}_DATE"), "2026-01-02T03:04:05Z");
    }
    command
}

/// Runs git, which has to succeed, and returns what it wrote to stdout, without the line end.
pub(super) async fn run(command: &mut Command, arguments: &[&str]) -> String {
    let output = command.args(arguments).output().await.expect("git is installed");
    assert!(
        output.status.success(),
        "git {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Makes a bare repository with one commit on `main`.
pub(super) async fn make_repository(directory: &Path, files: &[FirstFile]) {
    std::fs::create_dir_all(directory).expect("the folder of the test can be written");
    run(
        &mut command(directory),
        &["init", "--quiet", "--bare", "--initial-branch=main", "."],
    )
    .await;
    let mut child = command(directory)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin
        .write_all(&first_commit(files))
        .await
        .expect("git reads what it is told");
    drop(stdin);
    let status = child.wait().await.expect("a child can be waited for");
    assert!(status.success(), "git fast-import failed: {status}");
}

/// The stream for `git fast-import`.
fn first_commit(files: &[FirstFile]) -> Vec<u8> {
    let message = "Begin";
    let head = format!(
        "commit refs/heads/main\ncommitter Mona <mona@example.com> 1767323045 +0000\ndata {}\n{message}\n",
        message.len()
    );
    let mut stream = head.into_bytes();
    for FirstFile { path, mode, content } in files {
        let mut quoted = String::new();
        for c in path.chars() {
            match c {
                '"' | '\\' => write!(quoted, "\\{c}"),
                '\n' => write!(quoted, "\\n"),
                c => write!(quoted, "{c}"),
            }
            .expect("a string can be written to");
        }
        stream.extend(format!("M {mode} inline \"{quoted}\"\ndata {}\n", content.len()).into_bytes());
        stream.extend(content);
        stream.push(b'\n');
    }
    stream
}
