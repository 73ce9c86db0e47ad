//! A RabbitMQ of our own.
//!
//! The distribution's wrapper changes the user and leaves processes behind, so the server's own script is called. With
//! `RUNNING_UNDER_SYSTEMD` set that script *becomes* the Erlang machine, so our child is the broker and signals reach it. The node finds
//! others through a daemon, `epmd`, that it would start and leave behind: it gets one of its own, on a port of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::process::{Process, installed, tail};
use super::{LOOK_AGAIN, PATIENCE, mortal, port};

const PACKAGE: &str = "rabbitmq-server";

/// Where distributions and RabbitMQ's own archive put the scripts that the wrappers in `PATH` stand for.
const FOLDERS: &[&str] = &["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"];

/// So often a start is tried on other ports, when others were faster to take those found free.
const STARTS: u32 = 3;

/// How a broker is to be.
#[derive(Clone, Copy, Debug)]
pub struct RabbitMqSetup {
    consumer_timeout: Duration,
    dead_letter_timeout: Duration,
}

/// A broker that is killed when this is dropped.
#[derive(Debug)]
pub struct RabbitMq {
    place: Place,
    node: Process,
    // The last two are used by the node, and go after it.
    _epmd: Process,
    folder: TempDir,
}

/// What identifies a node.
#[derive(Clone, Debug)]
struct Place {
    folder: PathBuf,
    name: String,
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
}

impl Default for RabbitMqSetup {
    fn default() -> Self {
        Self {
            consumer_timeout: Duration::from_mins(30),
            dead_letter_timeout: Duration::from_secs(5),
        }
    }
}

impl RabbitMqSetup {
    /// After what time the broker takes back a delivery that is not settled, and closes its channel. RabbitMQ's default: 30 minutes. It
    /// looks each second.
    #[must_use]
    pub const fn consumer_timeout(mut self, timeout: Duration) -> Self {
        self.consumer_timeout = timeout;
        self
    }

    /// After what time a dead letter that its target did not confirm is sent again. Here 5 seconds; RabbitMQ's default is 3 minutes.
    #[must_use]
    pub const fn dead_letter_timeout(mut self, timeout: Duration) -> Self {
        self.dead_letter_timeout = timeout;
        self
    }

    /// Starts a broker and waits until it speaks AMQP: 4 to 10 seconds.
    pub async fn start(self) -> RabbitMq {
        for _ in 1..STARTS {
            match self.try_start().await {
                Ok(broker) => return broker,
                Err(log) if log.contains("eaddrinuse") => {}
                Err(log) => panic!("{log}"),
            }
        }
        self.try_start().await.unwrap_or_else(|log| panic!("{log}"))
    }

    async fn try_start(self) -> Result<RabbitMq, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = mortal::folder("lockflight-rabbitmq-");
        let place = Place {
            folder: folder.path().to_owned(),
            name: format!(
                "lockflight-{}-{}@localhost",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ),
            port: port::free(),
            distribution_port: port::free(),
            epmd_port: port::free(),
        };
        self.write_files(&place);
        let epmd = Process::none("epmd");
        let mut command = mortal::command(&installed("epmd", &[], PACKAGE));
        command
            .env("ERL_EPMD_PORT", place.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(&place.folder);
        epmd.start(command).await;
        until_open(place.epmd_port).await;
        let broker = RabbitMq {
            place,
            node: Process::none("the broker"),
            _epmd: epmd,
            folder,
        };
        broker.run().await?;
        Ok(broker)
    }

    fn write_files(self, place: &Place) {
        for folder in ["home", "mnesia", "log", "conf"] {
            fs::create_dir(place.folder.join(folder)).expect("the broker's folder can be written");
        }
        let write = |name: &str, text: &str| {
            fs::write(place.folder.join("conf").join(name), text)
                .expect("the broker's folder can be written");
        };
        let port = place.port;
        write(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\n\
                 log.file.level = info\n\
                 vm_memory_high_watermark.absolute = 1GB\n\
                 disk_free_limit.absolute = 100MB\n\
                 raft.wal_max_size_bytes = 33554432\n"
            ),
        );
        let (consumers, dead_letters) = (
            self.consumer_timeout.as_millis(),
            self.dead_letter_timeout.as_millis(),
        );
        write(
            "advanced.config",
            &format!(
                "[{{rabbit, [{{channel_tick_interval, 1000}}, {{consumer_timeout, {consumers}}}, \
                 {{dead_letter_worker_publisher_confirm_timeout, {dead_letters}}}]}}].\n"
            ),
        );
        write("enabled_plugins", "[].\n");
        write("env.conf", "");
    }
}

impl RabbitMq {
    /// Starts a broker and waits until it speaks AMQP: 4 to 10 seconds.
    pub async fn start() -> Self {
        RabbitMqSetup::default().start().await
    }

    /// Returns the one broker that all tests of this process share, and that ends with the process. Use a [prefix](RabbitMq::prefix) or
    /// a [vhost](RabbitMq::vhost) of your own on it. A test that harms the broker starts its own.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Returns a prefix for names on the broker that nobody else in this process has.
    pub fn prefix() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the broker's port on loopback.
    pub const fn port(&self) -> u16 {
        self.place.port
    }

    /// Returns the address of the default vhost, as `guest`.
    pub fn uri(&self) -> String {
        Self::uri_at(self.place.port)
    }

    /// Returns the address of the default vhost as seen through a proxy on that port of loopback.
    pub fn uri_at(port: u16) -> String {
        format!("amqp://guest:guest@127.0.0.1:{port}/%2f")
    }

    /// Makes a vhost that `guest` may use, and returns its address.
    pub async fn vhost(&self, name: &str) -> String {
        let plain = name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '-');
        assert!(plain, "a vhost's name is put into an address as it is: {name:?}");
        self.ctl(&["add_vhost", name]).await;
        self.ctl(&["set_permissions", "-p", name, "guest", ".*", ".*", ".*"])
            .await;
        format!("amqp://guest:guest@127.0.0.1:{}/{name}", self.place.port)
    }

    /// Ends the broker with SIGKILL, and waits until it is gone. Leave [`SETTLING`](super::SETTLING) after a declaration.
    pub async fn kill(&self) {
        self.node.end(Signal::KILL).await;
    }

    /// Has the broker end in order (SIGTERM), and waits until it has.
    pub async fn stop(&self) {
        self.node.end(Signal::TERM).await;
    }

    /// Starts the broker again after [`RabbitMq::kill`] or [`RabbitMq::stop`], on its data and its port, and waits until it speaks AMQP.
    pub async fn restart(&self) {
        self.run().await.unwrap_or_else(|log| panic!("{log}"));
    }

    /// Stops the broker in its tracks (SIGSTOP): connections stay, nothing is answered.
    pub fn pause(&self) {
        self.node.signal(Signal::STOP);
    }

    /// Lets the broker go on after [`RabbitMq::pause`].
    pub fn resume(&self) {
        self.node.signal(Signal::CONT);
    }

    /// Raises or ends the broker's memory alarm. While there is one it takes no message from any connection, and goes on delivering.
    pub async fn memory_alarm(&self, on: bool) {
        let watermark: &[&str] = if on { &["0.0000001"] } else { &["absolute", "1GB"] };
        self.ctl(&[&["set_vm_memory_high_watermark"], watermark].concat())
            .await;
    }

    /// Runs `rabbitmqctl`, which has to succeed, and returns what it prints. Takes about two seconds.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let program = installed("rabbitmqctl", FOLDERS, PACKAGE);
        let mut command = tokio::process::Command::from(self.place.command(&program));
        command
            .args(["--quiet", "--timeout", "30"])
            .args(arguments)
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("rabbitmqctl {arguments:?} took longer than {PATIENCE:?}"));
        let output = output.expect("rabbitmqctl can be run");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// Returns the end of the broker's log.
    pub fn log(&self) -> String {
        let log = format!("{}.log", self.place.name);
        tail(&self.folder.path().join("log").join(log))
    }

    async fn run(&self) -> Result<(), String> {
        let mut command = self
            .place
            .command(&installed("rabbitmq-server", FOLDERS, PACKAGE));
        let console = self.folder.path().join("console");
        let open = || {
            let file = File::options().create(true).append(true).open(&console);
            file.expect("the broker's folder can be written")
        };
        command.stdout(open()).stderr(open());
        self.node.start(command).await;
        let report = || format!("{}\n{}", tail(&console), self.log());
        let up = async {
            while !speaks_amqp(self.place.port).await {
                if let Some(status) = self.node.ended() {
                    self.node.forget();
                    return Err(format!("the broker ended ({status}) at its start:\n{}", report()));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        let up = tokio::time::timeout(PATIENCE, up).await;
        up.unwrap_or_else(|_| {
            Err(format!(
                "the broker did not start within {PATIENCE:?}:\n{}",
                report()
            ))
        })
    }
}

impl Place {
    /// A script of RabbitMQ, for this node.
    fn command(&self, program: &Path) -> Command {
        let path = |name: &str| self.folder.join(name);
        let mut command = mortal::command(program);
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            .env("LANG", "C.UTF-8")
            .env("HOME", path("home"))
            .env("RABBITMQ_CONF_ENV_FILE", path("conf/env.conf"))
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_CONFIG_FILE", path("conf/rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("conf/advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("conf/enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("conf/generated"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }
}

async fn until_open(port: u16) {
    let open = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let open = tokio::time::timeout(PATIENCE, open).await;
    open.unwrap_or_else(|_| panic!("nothing listens on port {port} after {PATIENCE:?}"));
}

/// Whether the broker answers as AMQP 0-9-1 wants: with the method `Connection.Start`. It listens a little before it does.
async fn speaks_amqp(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"AMQP\0\0\x09\x01").await?;
        let mut frame = [0; 11];
        stream.read_exact(&mut frame).await?;
        // A method frame on channel 0, its size, class 10, method 10.
        std::io::Result::Ok(frame.starts_with(&[1, 0, 0]) && frame.ends_with(&[0, 10, 0, 10]))
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(5), ask).await,
        Ok(Ok(true))
    )
}
