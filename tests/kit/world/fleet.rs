//! The roles as processes of their own, on RabbitMQ and Redis.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::serve::Launch;
use super::setup::write_secret;
use super::{PATIENCE, World};
use crate::servers::{RabbitMq, Redis, SETTLING};
use crate::wire::{full, send};

/// A role that can be a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// All roles in one process.
    Serve,
    /// Takes webhooks.
    Ingress,
    /// Makes steps of merged changes.
    Planner,
    /// Carries steps out.
    Executor,
}

impl Role {
    const fn command(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Ingress => "ingress",
            Self::Planner => "planner",
            Self::Executor => "executor",
        }
    }

    const fn takes_webhooks(self) -> bool {
        matches!(self, Self::Serve | Self::Ingress)
    }
}

/// The Redis that stories share.
static REDIS: OnceCell<Redis> = OnceCell::const_new();

/// Which process: its role, and its number among those of the role.
pub(super) type Place = (Role, usize);

/// A process as it is started.
#[derive(Clone, Debug)]
pub(super) struct Member {
    place: Place,
    launch: Launch,
    /// Whether it is there from the beginning.
    at_once: bool,
}

impl Member {
    pub(super) const fn serve(launch: Launch) -> Self {
        Self {
            place: (Role::Serve, 0),
            launch,
            at_once: true,
        }
    }
}

/// What a fleet runs on, and how many processes of each role it has.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// RabbitMQ and Redis; none: those that all stories of this program share.
    servers: Option<(String, String)>,
    prefix: String,
    partitions: u16,
    counts: [(Role, usize); 3],
    /// So many more of each role are prepared, to be started by the story.
    spare: usize,
    settle: bool,
    keys: Vec<(&'static str, String)>,
    environments: Vec<(Place, (String, String))>,
    /// Processes that reach the servers on a way of their own: RabbitMQ, and Redis.
    ways: Vec<(Place, [String; 2])>,
}

/// The files of a process that reaches the servers on a way of its own, and the keys that name them.
fn way_files((role, number): Place) -> [(&'static str, String); 2] {
    ["queue", "locks"].map(|what| (what, format!("{what}-url.{}.{number}", role.command())))
}

impl Fleet {
    /// One process of each role, on these servers, with names of its own.
    pub fn on(queue: impl Into<String>, locks: impl Into<String>) -> Self {
        Self {
            servers: Some((queue.into(), locks.into())),
            ..Self::shared()
        }
    }

    /// One process of each role, on servers that all stories of this program share. They must be left alone.
    pub fn shared() -> Self {
        Self {
            servers: None,
            prefix: RabbitMq::prefix(),
            partitions: 4,
            counts: [(Role::Ingress, 1), (Role::Planner, 1), (Role::Executor, 1)],
            spare: 1,
            settle: false,
            keys: Vec::new(),
            environments: Vec::new(),
            ways: Vec::new(),
        }
    }

    /// Has the names of its queues and keys begin with this, on servers that are its own.
    #[must_use]
    pub fn named(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Spreads the steps over so many queues: 4 where nothing is said.
    #[must_use]
    pub const fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// Has one process reach RabbitMQ and Redis on a way of its own: as another user, or through a proxy.
    #[must_use]
    pub fn way(
        mut self,
        role: Role,
        number: usize,
        queue: impl Into<String>,
        locks: impl Into<String>,
    ) -> Self {
        self.ways.push(((role, number), [queue.into(), locks.into()]));
        self
    }

    /// So many processes of a role from the beginning.
    #[must_use]
    pub fn with(mut self, role: Role, count: usize) -> Self {
        for (other, number) in &mut self.counts {
            if *other == role {
                *number = count;
            }
        }
        self
    }

    /// Waits, after the queues were declared, until the broker can be killed without losing one.
    #[must_use]
    pub const fn settled(mut self) -> Self {
        self.settle = true;
        self
    }

    /// Sets a key of `[queue]`, as `max_attempts` to `3`.
    #[must_use]
    pub fn queue_key(mut self, key: &'static str, value: &str) -> Self {
        self.keys.push((key, value.to_owned()));
        self
    }

    /// Gives a process a variable of the environment, such as a failpoint.
    #[must_use]
    pub fn environment(mut self, role: Role, number: usize, name: &str, value: &str) -> Self {
        self.environments
            .push(((role, number), (name.to_owned(), value.to_owned())));
        self
    }

    /// What the names of its queues begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Adds what the configuration needs.
    pub(super) async fn configure(&self, home: &Path, config: &mut String) {
        let (queue, locks) = match &self.servers {
            Some(servers) => servers.clone(),
            None => (
                RabbitMq::shared().await.uri(),
                REDIS.get_or_init(Redis::start).await.uri(),
            ),
        };
        write_secret(&home.join("queue-url"), &queue);
        write_secret(&home.join("locks-url"), &locks);
        for (place, urls) in &self.ways {
            for ((_, file), url) in way_files(*place).iter().zip(urls) {
                write_secret(&home.join(file), url);
            }
        }
        let Self {
            prefix, partitions, ..
        } = self;
        let mut queue = format!(
            "[queue]\nurl_file = \"queue-url\"\nprefix = \"{prefix}\"\npartitions = {partitions}\nwaits = [\"100ms\", \"1s\"]\n"
        );
        for (key, value) in &self.keys {
            writeln!(queue, "{key} = {value}").expect("a string can be written to");
        }
        *config = config.replacen("[queue]\n", &queue, 1);
        write!(
            config,
            "\n[locks]\nurl_file = \"locks-url\"\nprefix = \"{prefix}\"\nlease = \"3s\"\nheartbeat = \"200ms\"\nexpiry = \"1500ms\"\n"
        )
        .expect("a string can be written to");
    }

    /// Declares the queues, and tells how each process is started.
    pub(super) async fn members(&self, launch: &Launch) -> Vec<Member> {
        declare(launch).await;
        if self.settle {
            tokio::time::sleep(SETTLING).await;
        }
        let mut members = Vec::new();
        for (role, count) in self.counts {
            for number in 0..count + self.spare {
                let place = (role, number);
                let name = format!("{}.{number}", role.command());
                let home = launch.home.join(&name);
                std::fs::create_dir(&home).expect("the folder of the test can be written");
                let environment = self.environments.iter().filter(|(of, _)| *of == place);
                let mut settings = launch.settings.clone();
                settings.push(format!("storage.directory={}", home.join("data").display()));
                if self.ways.iter().any(|(of, _)| *of == place) {
                    let files = way_files(place);
                    let set = |(what, file): &(&str, String)| {
                        format!("{what}.url_file={}", launch.home.join(file).display())
                    };
                    settings.extend(files.iter().map(set));
                }
                members.push(Member {
                    place,
                    launch: Launch {
                        command: role.command(),
                        environment: environment.map(|(_, variable)| variable.clone()).collect(),
                        name: Some(name),
                        home,
                        settings,
                        ..launch.clone()
                    },
                    at_once: number < count,
                });
            }
        }
        members
    }
}

/// Runs `lockflight topology`.
async fn declare(launch: &Launch) {
    let declared = Command::new(&launch.binary)
        .args(["topology", "--config"])
        .arg(&launch.config)
        .env_clear()
        .current_dir(&launch.home)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let declared = tokio::time::timeout(PATIENCE, declared).await;
    let declared = declared
        .unwrap_or_else(|_| panic!("the queues were not declared within {PATIENCE:?}"))
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", launch.binary.display()));
    assert!(
        declared.status.success(),
        "the queues cannot be declared: {}",
        String::from_utf8_lossy(&declared.stderr)
    );
}

async fn run_command(
    world: &World,
    launch: &Launch,
    settings: &[String],
    arguments: &[&str],
) -> (ExitStatus, String) {
    let command = Command::new(&launch.binary)
        .args(arguments)
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("LOCKFLIGHT_CONFIG", &launch.config)
        .current_dir(&launch.home)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(PATIENCE, command).await;
    let output = ended
        .unwrap_or_else(|_| panic!("{arguments:?} did not end within {PATIENCE:?}"))
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", launch.binary.display()));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    world.assert_no_secret_in("what a command printed", &text);
    (output.status, text)
}

impl World {
    /// Declares the queues once more, as an operator does who mends what is missing.
    pub async fn mend_topology(&self) {
        let any = self.launches.first().expect("a world has processes");
        declare(&any.launch).await;
    }

    /// Runs a command of `lockflight` on the fleet's configuration, as an operator does: how it ended, and what it printed on both ways.
    pub async fn command(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let launch = &self.launches.first().expect("a world has processes").launch;
        run_command(self, launch, &[], arguments).await
    }

    /// The same within one process, as `kubectl exec` does: with the configuration of that one.
    pub async fn command_in(&self, role: Role, number: usize, arguments: &[&str]) -> (ExitStatus, String) {
        let launch = &self.member(role, number).launch;
        run_command(self, launch, &launch.settings, arguments).await
    }

    fn member(&self, role: Role, number: usize) -> &Member {
        let found = self.launches.iter().find(|member| member.place == (role, number));
        found.unwrap_or_else(|| panic!("{role:?} {number} was not prepared"))
    }
    /// Returns where a process listens, as `http://…`.
    pub async fn url(&self, role: Role, number: usize) -> String {
        format!("http://{}", self.address_of(role, number).await)
    }

    /// Starts all processes that are there from the beginning.
    pub(super) async fn start_all(&self) {
        for member in self.launches.iter().filter(|member| member.at_once) {
            self.start_member(member).await;
        }
    }

    /// Starts a process: one that was killed or stopped, or a further one of its role.
    pub async fn start_one(&self, role: Role, number: usize) {
        self.start_member(self.member(role, number)).await;
    }

    /// Starts a process again, without the variables of the environment that it had at first.
    pub async fn start_healthy(&self, role: Role, number: usize) {
        let mut member = self.member(role, number).clone();
        member.launch.environment.clear();
        self.start_member(&member).await;
    }

    async fn start_member(&self, member: &Member) {
        let process = member.launch.start(&self.log).await;
        let is_doomed = !member.launch.environment.is_empty();
        if is_doomed {
            process.release();
        }
        let mut running = self.running.lock().await;
        assert!(
            running.insert(member.place, process).is_none(),
            "{:?} runs already",
            member.place
        );
        let taking = running.iter().filter(|((role, _), _)| role.takes_webhooks());
        self.front
            .point_at(taking.map(|(_, process)| process.address()).collect());
    }

    async fn take(&self, role: Role, number: usize) -> super::serve::Serve {
        let mut running = self.running.lock().await;
        let process = running
            .remove(&(role, number))
            .unwrap_or_else(|| panic!("{role:?} {number} does not run"));
        let taking = running.iter().filter(|((role, _), _)| role.takes_webhooks());
        self.front
            .point_at(taking.map(|(_, process)| process.address()).collect());
        process
    }

    /// Kills one process as a power cut would, and waits until it is gone.
    pub async fn kill_one(&self, role: Role, number: usize) {
        self.take(role, number).await.kill().await;
    }

    /// Asks one process to end, and returns how it did.
    pub async fn stop_one(&self, role: Role, number: usize) -> ExitStatus {
        self.take(role, number).await.stop().await
    }

    /// Waits until one process, which was started with something that kills it, is gone.
    pub async fn until_dead(&self, role: Role, number: usize) {
        let process = self.take(role, number).await;
        let ended = tokio::time::timeout(PATIENCE, process.end()).await;
        let status = ended.unwrap_or_else(|_| panic!("{role:?} {number} did not die within {PATIENCE:?}"));
        assert!(!status.success(), "{role:?} {number} ended in peace");
    }

    /// Stops one process where it is, as a machine that was suspended, or lets it go on.
    pub async fn freeze(&self, role: Role, number: usize, frozen: bool) {
        let running = self.running.lock().await;
        let process = running.get(&(role, number));
        process
            .unwrap_or_else(|| panic!("{role:?} {number} does not run"))
            .freeze(frozen);
    }

    async fn address_of(&self, role: Role, number: usize) -> SocketAddr {
        let running = self.running.lock().await;
        let process = running.get(&(role, number));
        process
            .unwrap_or_else(|| panic!("{role:?} {number} does not run"))
            .address()
    }

    /// Asks one process for a page, such as `/metrics`; the status and the text.
    pub async fn page(&self, role: Role, number: usize, path: &str) -> (u16, String) {
        let address = self.address_of(role, number).await;
        let request = Request::get(path)
            .header(header::HOST, address.to_string())
            .body(full(bytes::Bytes::new()))
            .expect("these are headers");
        let answer = send(address, request).await.expect("a process that runs answers");
        let status = answer.status().as_u16();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("a process ends its answer");
        (status, String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    /// Waits until one process says that it is ready, or that it is not.
    pub async fn until_ready(&self, role: Role, number: usize, ready: bool) {
        let wanted = if ready { 200 } else { 503 };
        let search = async {
            while self.page(role, number, "/readyz").await.0 != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(self.patience, search).await;
        found.unwrap_or_else(|_| panic!("{role:?} {number} was not {wanted} within {:?}", self.patience));
    }
}
