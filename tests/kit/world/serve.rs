//! A process of `lockflight` as a child: `serve`, or one role of a fleet.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{PATIENCE, lock};

/// What a process says once it is up, before its address: `serve` and the ingress, and the other roles.
const UP: [&str; 2] = ["listening for webhooks on http://", "its health is on http://"];

/// The lines that the processes have written to stderr, in all their lives.
#[derive(Clone, Debug)]
pub(super) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
    /// Set when `serve` has ended though nobody had asked it to.
    died: watch::Sender<Option<ExitStatus>>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            lines: Arc::default(),
            count: watch::Sender::new(0),
            died: watch::Sender::new(None),
        }
    }

    fn add(&self, line: String) {
        lock(&self.lines).push(line);
        self.count.send_modify(|count| *count += 1);
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.lines).len()
    }

    pub(super) fn text(&self) -> String {
        lock(&self.lines).join("\n")
    }

    /// Waits until so many lines have this text.
    pub(super) async fn lines_with(&self, text: &str, times: usize) {
        let mut count = self.count.subscribe();
        loop {
            count.borrow_and_update();
            if lock(&self.lines)
                .iter()
                .filter(|line| line.contains(text))
                .count()
                >= times
            {
                return;
            }
            count.changed().await.expect("the sender lives in the same log");
        }
    }

    /// Returns the first line with this text, once there is one.
    pub(super) async fn line_with(&self, text: &str) -> String {
        self.line_after(0, text).await
    }

    pub(super) async fn line_after(&self, begin: usize, text: &str) -> String {
        self.line_where(begin, |line| line.contains(text)).await
    }

    async fn line_where(&self, begin: usize, is: impl Fn(&str) -> bool) -> String {
        let mut count = self.count.subscribe();
        loop {
            count.borrow_and_update();
            let found = lock(&self.lines)
                .iter()
                .skip(begin)
                .find(|line| is(line))
                .cloned();
            if let Some(found) = found {
                return found;
            }
            count.changed().await.expect("the sender lives in the same log");
        }
    }

    /// Waits until a process ends though nobody has asked it to.
    pub(super) async fn death(&self) -> ExitStatus {
        let mut died = self.died.subscribe();
        let status = died
            .wait_for(Option::is_some)
            .await
            .expect("the sender lives in the same log");
        status.expect("it was waited for")
    }
}

/// How a process is started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// `serve`, `ingress`, `planner` or `executor`.
    pub(super) command: &'static str,
    /// Its name in the log, where there is more than one process.
    pub(super) name: Option<String>,
    /// The directory that is its own.
    pub(super) home: PathBuf,
    /// Variables of its environment, beside `PATH` and `HOME`.
    pub(super) environment: Vec<(String, String)>,
    /// Further ones, which it has again when it is started again.
    pub(super) variables: Vec<(String, String)>,
    pub(super) binary: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log_filter: String,
    /// Keys that are set over those of the file.
    pub(super) settings: Vec<String>,
}

/// A process that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Serve {
    pid: Pid,
    address: SocketAddr,
    /// Whether its end is expected.
    released: Arc<AtomicBool>,
    ended: watch::Receiver<Option<ExitStatus>>,
    keeper: JoinHandle<()>,
}

impl Launch {
    /// Starts the process and waits until it is up.
    pub(super) async fn start(&self, log: &Log) -> Serve {
        let begin = log.len();
        let (home, command) = (&self.home, self.command);
        let mut child = Command::new(&self.binary)
            .arg("--log")
            .arg(&self.log_filter)
            .args([command, "--config"])
            .arg(&self.config)
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            .env("HOME", home)
            .envs(self.variables.clone())
            .envs(self.environment.clone())
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.binary.display()));
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        let pid = pid.expect("a child that was not waited for has a process id");
        let released = Arc::new(AtomicBool::new(false));
        let (tell, ended) = watch::channel(None);
        read_lines(&mut child, self.name.clone(), log.clone());
        let keeper = tokio::spawn(keep(child, log.clone(), Arc::clone(&released), tell));
        let mut serve = Serve {
            pid,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            released,
            ended,
            keeper,
        };

        let mark = self.mark();
        let is_up = |line: &str| line.starts_with(&mark) && UP.iter().any(|up| line.contains(up));
        let up = tokio::select! {
            line = log.line_where(begin, is_up) => line,
            status = serve.end() => panic!("`{command}` ended ({status}) before it was up:\n{}", log.text()),
            () = tokio::time::sleep(PATIENCE) => panic!("`{command}` does not come up:\n{}", log.text()),
        };
        let address = UP
            .iter()
            .find_map(|said| up.split_once(said))
            .and_then(|(_, rest)| rest.split(|c: char| c.is_whitespace() || c == '/').next());
        serve.address = address
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("this line should name an address: {up}"));
        serve
    }

    /// What each of its lines begins with in the log.
    fn mark(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(String::new, |name| format!("[{name}] "))
    }
}

fn read_lines(child: &mut Child, name: Option<String>, log: Log) {
    let stderr = child.stderr.take().expect("it was asked for");
    // It ends with the pipe.
    drop(tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line);
            log.add(
                name.as_ref()
                    .map_or_else(|| line.to_string(), |name| format!("[{name}] {line}")),
            );
        }
    }));
}

/// Waits for the end of the child. The child is killed when this is aborted.
async fn keep(
    mut child: Child,
    log: Log,
    released: Arc<AtomicBool>,
    tell: watch::Sender<Option<ExitStatus>>,
) {
    let status = child.wait().await.expect("a child can be waited for");
    tell.send_replace(Some(status));
    if !released.load(Ordering::SeqCst) {
        log.died.send_replace(Some(status));
    }
}

impl Serve {
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended, whoever wanted that.
    pub(super) async fn end(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = *ended
            .wait_for(Option::is_some)
            .await
            .expect("its keeper waits for the child");
        status.expect("it was waited for")
    }

    /// Sends it a signal, unless it has ended: then the number may be another's already.
    fn signal(&self, signal: Signal) {
        self.released.store(true, Ordering::SeqCst);
        if self.ended.borrow().is_none() {
            // It may have ended in this moment.
            kill_process(self.pid, signal).ok();
        }
    }

    /// Lets it end by itself without the story failing for it.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    /// Stops it where it is, as a machine that was suspended, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        if self.ended.borrow().is_none() {
            kill_process(self.pid, signal).ok();
        }
    }

    /// Ends it at once, and waits until it is gone.
    pub(super) async fn kill(self) {
        self.signal(Signal::KILL);
        self.end().await;
    }

    /// Asks it to end, and returns how it did.
    pub(super) async fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(PATIENCE, self.end()).await;
        ended.unwrap_or_else(|_| panic!("a process did not end within {PATIENCE:?} after SIGTERM"))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.keeper.abort();
    }
}
