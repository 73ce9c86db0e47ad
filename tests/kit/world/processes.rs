//! What every user of the machine can see of a process.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Pid;

/// A process, as `/proc` shows it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its arguments, the program first. Every user can see them.
    pub arguments: Vec<String>,
}

/// Returns what the process has started, and what that has started.
pub(super) fn descendants(root: Pid) -> Vec<Process> {
    let parents: BTreeMap<i32, i32> = fs::read_dir("/proc")
        .expect("this is Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, parent(pid)?)))
        .collect();
    let root = root.as_raw_nonzero().get();
    let descends = |mut pid: i32| {
        while let Some(parent) = parents.get(&pid) {
            if *parent == root {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let found = parents.keys().copied().filter(|pid| descends(*pid));
    // One that has ended in this moment has nothing to show.
    found
        .filter_map(|pid| {
            Some(Process {
                arguments: strings(pid, "cmdline")?,
            })
        })
        .filter(|process| !process.arguments.is_empty())
        .collect()
}

/// The fourth field of `stat`, counted behind the program's name in parentheses, which may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn strings(pid: i32, file: &str) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    Some(
        parts
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect(),
    )
}
