//! What is measured: a forge, RabbitMQ and Redis of our own, and processes of the real binary, configured as they are by default.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockflight_sandbox::{Forge, ForgeOptions, HookTarget, MergeMethod, UserKind};
use lockflight_tests::servers::{RabbitMq, Redis};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::command;
use crate::http::{Client, Webhook};
use crate::report::progress;

/// No wait for something takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

const LOCKFLIGHT: &str = env!("CARGO_BIN_EXE_lockflight");
const SECRET: &str = "bench-webhook-secret-bench-webhook-secret";
const PERSON: &str = "mona";
const BOT: &str = "lockflight-bot";

/// A forge and servers.
pub(crate) struct Stage {
    pub(crate) forge: Forge,
    pub(crate) rabbit: RabbitMq,
    pub(crate) token: String,
    count: AtomicU32,
    _redis: Redis,
    // Last: all of the above use it.
    data: TempDir,
}

/// A process of `lockflight`. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    pid: u32,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let data = TempDir::new().expect("there is a folder for temporary files");
        let forge = Forge::start(ForgeOptions::new(data.path().join("forge"))).await;
        let forge = forge.expect("loopback has a free port");
        forge.add_user(PERSON, UserKind::User);
        let token = forge
            .personal_token(BOT)
            .expect("the system gives random numbers");
        let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
        let stage = Self {
            forge,
            rabbit,
            token,
            count: AtomicU32::new(0),
            _redis: redis,
            data,
        };
        stage.secret("token", &stage.token);
        stage.secret("webhook-secret", SECRET);
        stage.secret("queue-url", &stage.rabbit.uri());
        stage.secret("locks-url", &stage._redis.uri());
        let common = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[webhook]\nsecret_file = \"webhook-secret\"\n\
             [github]\napi_url = \"{}\"\ntoken_file = \"token\"\n",
            stage.forge.api_url()
        );
        stage.write("alone.toml", &common);
        let servers = "[queue]\nurl_file = \"queue-url\"\n[locks]\nurl_file = \"locks-url\"\n";
        stage.write("fleet.toml", &format!("{common}{servers}"));
        stage.declare("lockflight").await;
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// A folder that was not there before.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = self.path(&format!("{name}.{count}"));
        std::fs::create_dir(&folder).expect("the folder for temporary files can be written");
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the folder for temporary files can be written");
    }

    fn secret(&self, name: &str, secret: &str) {
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(self.path(name));
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, secret.as_bytes()));
        written.expect("the folder for temporary files can be written");
    }

    /// Declares queues whose names begin with `prefix`.
    pub(crate) async fn declare(&self, prefix: &str) {
        let declared = self
            .lockflight(&[
                "topology",
                "--config",
                "fleet.toml",
                "--set",
                &format!("queue.prefix={prefix}"),
            ])
            .output()
            .await
            .expect("the binary can be started");
        let said = String::from_utf8_lossy(&declared.stderr);
        assert!(declared.status.success(), "the queues cannot be declared: {said}");
    }

    fn lockflight(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(LOCKFLIGHT);
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            .env("HOME", self.data.path())
            .current_dir(self.data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts a process of a role (or `serve`) with an empty folder of its own, and waits until it is ready.
    pub(crate) async fn start(&self, role: &str) -> Process {
        let home = self.fresh(role);
        let log = home.join("log");
        let config = if role == "serve" {
            "alone.toml"
        } else {
            "fleet.toml"
        };
        let storage = format!("storage.directory={}", home.join("data").display());
        let mut child = self
            .lockflight(&[role, "--config", config, "--set", &storage])
            .stderr(File::create(&log).expect("the folder for temporary files can be written"))
            .spawn()
            .expect("the binary can be started");
        let up = async {
            loop {
                if let Some(address) = address_in(&log) {
                    return address;
                }
                let ended = child.try_wait().expect("a child can be asked");
                assert!(ended.is_none(), "`{role}` ended:\n{}", read(&log));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let address = within(up, role).await;
        let pid = child.id().expect("it runs");
        let process = Process { child, address, pid };
        let ready = async {
            while process.page("/readyz").await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(ready, "readiness").await;
        process
    }

    /// Makes a repository with these files and a hook that nobody answers: what it would send is in the forge's log.
    pub(crate) async fn repository(&self, name: &str, files: &[(String, String)]) {
        let forge = &self.forge;
        forge
            .create_repository(name, "main")
            .await
            .expect("a repository can be made");
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_bytes())))
            .collect();
        forge
            .commit_files(name, "main", &files, "Begin")
            .await
            .expect("an empty repository can be committed to");
        forge
            .set_webhook(HookTarget::repository(name), "http://127.0.0.1:9/webhook", SECRET)
            .expect("it is on loopback");
    }

    /// Has a person change files, open a pull request and merge it: its number, and the webhook that tells of it.
    pub(crate) async fn merge(&self, repository: &str, files: &[(String, String)]) -> (u64, Webhook) {
        let forge = &self.forge;
        let branch = format!("{PERSON}/{}", self.count.fetch_add(1, Ordering::Relaxed));
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_bytes())))
            .collect();
        let work = async {
            forge.commit_files(repository, &branch, &files, "Change").await?;
            let number = forge
                .open_pull_request(repository, &branch, "main", "Change", PERSON)
                .await?;
            forge
                .merge_pull_request(repository, number, MergeMethod::Merge, PERSON)
                .await?;
            Ok::<_, lockflight_sandbox::ForgeError>(number)
        };
        let number = work.await.expect("a person can merge");
        let id = forge.repository_id(repository).expect("it is there");
        let found = forge
            .wait_for(PATIENCE, |forge| {
                forge.deliveries().into_iter().rev().find(|delivery| {
                    delivery.repository_id == Some(id)
                        && delivery.event == "pull_request"
                        && delivery.action.as_deref() == Some("closed")
                        && serde_json::from_slice::<serde_json::Value>(&delivery.payload)
                            .is_ok_and(|payload| payload["number"] == number)
                })
            })
            .await
            .expect("the forge tells of a merge");
        (number, Webhook::new(&found.guid, found.payload, SECRET))
    }

    /// Git as the bot, in a folder, with the token where the configuration is, and not in the arguments.
    pub(crate) fn git(&self, folder: &Path) -> Command {
        command::git(folder, &self.token)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in std::fs::read_dir(self.data.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let log = read(&entry.path().join("log"));
            let lines: Vec<_> = log.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(20)) {
                progress(&format!("{}: {line}", entry.file_name().to_string_lossy()));
            }
        }
        progress(&format!("{:?}", self.forge.usage().routes));
    }
}

impl Process {
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let (status, body) = Client::connect(self.address).await.get(path).await;
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// The sum of the values that `/metrics` has of a name.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.page("/metrics").await;
        let lines = page.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Its memory that is resident now, in MB.
    pub(crate) fn memory(&self) -> f64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid)));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.expect("a process that runs has memory") / 1_024.0
    }

    /// Processor time that it and the children that it has waited for have used.
    pub(crate) fn processor(&self) -> Duration {
        processor(&self.pid.to_string())
    }

    /// Gives it these processors alone, as `0-1`.
    pub(crate) fn pin(&self, processors: &str) {
        pin(&self.pid.to_string(), processors);
    }

    fn signal(&self, signal: &str) {
        let done = std::process::Command::new("kill")
            .args([signal, &self.pid.to_string()])
            .status();
        assert!(done.expect("there is a kill").success(), "the process runs");
    }

    /// Stops it where it is.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM");
        let ended = within(self.child.wait(), "the end of a process").await;
        assert!(
            ended.expect("a child can be waited for").success(),
            "a process ended badly"
        );
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("a child can be killed");
    }
}

/// Gives a process with all its threads these processors alone.
pub(crate) fn pin(process: &str, processors: &str) {
    let done = std::process::Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", processors, process])
        .stdout(Stdio::null())
        .status();
    let done = done.expect("taskset is installed (sudo apt-get install util-linux)");
    assert!(done.success(), "a process can be given to processors");
}

/// Processor time that a process (`self` for this one) and the children that it has waited for have used.
pub(crate) fn processor(process: &str) -> Duration {
    let stat = read(Path::new(&format!("/proc/{process}/stat")));
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    // proc(5): utime, stime, cutime and cstime are the fields 14 to 17, in hundredths of a second.
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

pub(crate) async fn within<T>(work: impl Future<Output = T>, what: &str) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("this took longer than {PATIENCE:?}: {what}"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn address_in(log: &Path) -> Option<SocketAddr> {
    let text = read(log);
    let (_, rest) = ["listening for webhooks on http://", "its health is on http://"]
        .iter()
        .find_map(|said| text.split_once(said))?;
    let end = rest.find(|c: char| c.is_whitespace() || c == '/')?;
    rest.get(..end)?.parse().ok()
}
