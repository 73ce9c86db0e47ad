//! Git as it is, whatever the person who runs this has configured.

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::process::Command;

/// Git in a folder, as whom the token belongs to. The token is where the configuration is, and not in the arguments.
pub(crate) fn git(folder: &Path, token: &str) -> Command {
    let basic = STANDARD.encode(format!("x-access-token:{token}"));
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "http.extraHeader")
        .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command, which has to succeed. Returns what it printed.
pub(crate) async fn run(command: &mut Command) -> String {
    let output = command.output().await.expect("the program is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that reads `input`, which has to succeed.
pub(crate) async fn feed(command: &mut Command, input: &[u8]) {
    use tokio::io::AsyncWriteExt as _;
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program is installed");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input).await.expect("it reads what it is told");
    drop(stdin);
    let output = child.wait_with_output().await.expect("a child can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
