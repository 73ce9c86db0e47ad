//! Processes and folders that go with this process, however it goes.
//!
//! A destructor does not run when a test's process is killed, nor for what a `static` holds. So a child asks Linux for SIGKILL on its
//! parent's death (`setpriv --pdeathsig`, since a hook between fork and exec takes `unsafe`). Linux counts the *thread* that forked as the parent,
//! and threads of tests end early: all children are therefore started by one thread that never ends. Folders are removed by a small
//! shell that waits for the end of its standard input, which is ours.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

use tempfile::TempDir;
use tokio::sync::oneshot;

type Order = (Command, oneshot::Sender<std::io::Result<Child>>);

/// Waits until its input ends, and removes the folders that it has read. What is just dying may still write once.
const JANITOR: &str = r#"
trap '' HUP INT TERM
folders=$(cat)
for round in 1 2 3 4 5 6 7 8 9 10; do
    left=
    IFS='
'
    for folder in $folders; do
        rm -rf -- "$folder" 2>/dev/null
        if [ -e "$folder" ]; then left=yes; fi
    done
    if [ -z "$left" ] && [ "$round" -gt 1 ]; then exit 0; fi
    sleep 0.2
done
"#;

/// Returns a command that is killed when the thread that starts it ends.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts a [`command`], which is killed when this process ends.
pub(super) async fn spawn(command: Command) -> Child {
    static NURSERY: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        let thread = std::thread::Builder::new().name("nursery".to_owned());
        let started = thread.spawn(move || {
            for (mut command, answer) in orders {
                // Whoever asked may have gone: then nobody would end the child.
                if let Err(Ok(mut orphan)) = answer.send(command.spawn()) {
                    orphan.kill().and_then(|()| orphan.wait()).ok();
                }
            }
        });
        started.expect("a thread can be started");
        sender
    });
    let (answer, child) = oneshot::channel();
    nursery.send((command, answer)).expect("the nursery never ends");
    let child = child.await.expect("the nursery answers");
    child.unwrap_or_else(|error| {
        panic!("a server can't be started with setpriv: {error}\nInstall it with: sudo apt-get install util-linux")
    })
}

/// Makes a folder that is removed when it is dropped, and at the latest when this process ends.
pub(super) fn folder(prefix: &str) -> TempDir {
    static JANITOR_INPUT: OnceLock<Mutex<Child>> = OnceLock::new();
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .expect("the folder for temporary files can be written");
    let janitor = JANITOR_INPUT.get_or_init(|| {
        let child = Command::new("sh")
            .args(["-c", JANITOR])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // An interrupt from the keyboard is for the tests; this has to come after it.
            .process_group(0)
            .spawn();
        Mutex::new(child.expect("there is a shell"))
    });
    let path = folder
        .path()
        .to_str()
        .expect("the folder has a plain name")
        .to_owned();
    let mut janitor = janitor.lock().unwrap_or_else(PoisonError::into_inner);
    let input = janitor.stdin.as_mut().expect("it was asked for");
    writeln!(input, "{path}").expect("the shell reads until we end");
    folder
}
