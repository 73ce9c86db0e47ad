//! A server's process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::{LOOK_AGAIN, PATIENCE, mortal};

/// A process that can be killed, paused and started again. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Mutex<Option<Child>>,
}

impl Process {
    pub(super) const fn none(name: &'static str) -> Self {
        Self {
            name,
            child: Mutex::new(None),
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it; it must not run.
    pub(super) async fn start(&self, command: Command) {
        assert!(self.child().is_none(), "{} runs already", self.name);
        let child = mortal::spawn(command).await;
        let before = self.child().replace(child);
        assert!(
            before.is_none(),
            "{} was started twice at the same time",
            self.name
        );
    }

    /// Returns how it ended, if it has.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child();
        let child = child.as_mut()?;
        child.try_wait().expect("a child can be asked for its end")
    }

    /// Returns its process id. It must run.
    pub(super) fn pid(&self) -> u32 {
        let mut child = self.child();
        let child = child
            .as_mut()
            .unwrap_or_else(|| panic!("{} does not run", self.name));
        let ended = child.try_wait().expect("a child can be asked for its end");
        assert!(ended.is_none(), "{} has ended by itself: {ended:?}", self.name);
        child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a child has a process id");
        // It was not waited for, so the number is still its own.
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{} can't be signalled: {error}", self.name));
    }

    /// Sends a signal that ends it, and waits until it is gone.
    pub(super) async fn end(&self, signal: Signal) {
        self.signal(signal);
        let gone = async {
            while self.ended().is_none() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let gone = tokio::time::timeout(PATIENCE, gone).await;
        gone.unwrap_or_else(|_| panic!("{} did not end within {PATIENCE:?} after {signal:?}", self.name));
        drop(self.child().take());
    }

    /// Forgets one that has ended.
    pub(super) fn forget(&self) {
        if let Some(mut child) = self.child().take() {
            child.kill().and_then(|()| child.wait()).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Finds a program of a server, or fails with the command that installs it.
pub(super) fn installed(program: &str, folders: &[&str], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = folders
        .iter()
        .map(PathBuf::from)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file()).unwrap_or_else(|| {
        panic!(
            "this test needs {program}, which is not installed.\nInstall it with: sudo apt-get install {package} \
             (tests/run does so without starting the package's service)"
        )
    })
}

/// Returns the end of what a server has written.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
    end.join("\n")
}
