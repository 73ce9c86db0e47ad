//! A Redis of our own.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::process::{Process, installed, tail};
use super::{LOOK_AGAIN, PATIENCE, mortal, port};

/// How a Redis is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisSetup {
    append_only: bool,
    replica_of: Option<u16>,
}

/// A Redis that is killed when this is dropped. It keeps nothing over a restart, unless it was set up to.
#[derive(Debug)]
pub struct Redis {
    setup: RedisSetup,
    port: u16,
    process: Process,
    // Last: the process uses it.
    folder: TempDir,
}

impl RedisSetup {
    /// Writes every change to a file before it answers, and has them again after a restart.
    #[must_use]
    pub const fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    /// Copies another Redis, which may stand behind a proxy.
    #[must_use]
    pub const fn replica_of(mut self, port: u16) -> Self {
        self.replica_of = Some(port);
        self
    }

    /// Starts it and waits until it answers.
    pub async fn start(self) -> Redis {
        let redis = Redis {
            setup: self,
            port: port::free(),
            process: Process::none("redis-server"),
            folder: mortal::folder("lockflight-redis-"),
        };
        redis.run().await;
        redis
    }
}

impl Redis {
    /// Starts one that keeps nothing over a restart, and waits until it answers.
    pub async fn start() -> Self {
        RedisSetup::default().start().await
    }

    /// Returns its port on loopback.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns its address: `redis://127.0.0.1:PORT`.
    pub fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it with SIGKILL, and waits until it is gone.
    pub async fn kill(&self) {
        self.process.end(Signal::KILL).await;
    }

    /// Starts it again after [`Redis::kill`], on the same port, and waits until it answers.
    pub async fn restart(&self) {
        self.run().await;
    }

    /// Stops it in its tracks (SIGSTOP): connections stay, nothing is answered.
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on after [`Redis::pause`].
    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Runs a command with `redis-cli`, and returns what it prints, without the last line end.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new(installed("redis-cli", &[], "redis-tools"));
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("redis-cli {arguments:?} took longer than {PATIENCE:?}"));
        let output = output.expect("redis-cli can be run");
        let printed = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success(), "redis-cli {arguments:?}: {printed}");
        printed
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    async fn run(&self) {
        let mut command = mortal::command(&installed("redis-server", &[], "redis-server"));
        let log = File::options().create(true).append(true).open(self.log());
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--daemonize", "no"])
            .args(["--appendfsync", "always", "--appendonly"])
            .arg(if self.setup.append_only { "yes" } else { "no" })
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.expect("the server's folder can be written"))
            .stderr(Stdio::null());
        if let Some(port) = self.setup.replica_of {
            command.args(["--replicaof", "127.0.0.1", &port.to_string()]);
        }
        self.process.start(command).await;
        let up = async {
            while !answers(self.port).await {
                if let Some(status) = self.process.ended() {
                    self.process.forget();
                    panic!(
                        "redis-server ended ({status}) at its start:\n{}",
                        tail(&self.log())
                    );
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let up = tokio::time::timeout(PATIENCE, up).await;
        up.unwrap_or_else(|_| {
            panic!(
                "redis-server did not start within {PATIENCE:?}:\n{}",
                tail(&self.log())
            )
        });
    }
}

/// Whether it serves commands: while it still loads its data it answers with an error.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(&answer == b"+PONG\r\n")
    };
    matches!(tokio::time::timeout(PATIENCE, ask).await, Ok(Ok(true)))
}
