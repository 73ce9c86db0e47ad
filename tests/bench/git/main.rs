//! What git costs in large repositories. `tests/bench/run git` builds and runs it; docs/benchmarks.md explains the numbers.
//!
//! Everything is compared with something that is measured in the same run, in turns: a bare push of the same commit, the same in a
//! repository with a hundredth of the files, and what others do, who clone.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that can't go on has nothing to report"
)]

mod batch;
mod clones;
mod cold;
#[path = "../command.rs"]
mod command;
mod executor;
mod memory;
mod planning;
#[path = "../report.rs"]
mod report;
mod repositories;
mod rivals;
mod silent;
mod stage;
#[path = "../stats.rs"]
mod stats;
mod timed;
mod warm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Report;
use stage::Stage;

const BENCHMARKS: [&str; 6] = ["warm", "cold", "batch", "clones", "planning", "memory"];

const USAGE: &str = "usage: tests/bench/run git [--quick] [--check] [--in=FOLDER] [NAME...]\n\n\
    --quick       few rounds, in repositories of 1k and 10k files: to see that it works\n\
    --check       fail if a goal is missed\n\
    --in=FOLDER   where the forge and all clones are: /dev/shm if it is there\n\
    NAME          warm, cold, batch, clones, planning, memory; all of them without a name";

/// A file system in memory, where Linux has one.
const MEMORY: &str = "/dev/shm";

/// How thorough to be.
#[derive(Clone, Copy, Debug)]
struct Plan {
    quick: bool,
}

impl Plan {
    const fn rounds(self, quick: usize, usual: usize) -> usize {
        if self.quick { quick } else { usual }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // Cargo adds `--bench` by itself.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    if arguments == [memory::FLAG] {
        memory::serve().await;
        return ExitCode::SUCCESS;
    }
    let (flags, names): (Vec<_>, Vec<_>) = arguments.iter().partition(|one| one.starts_with("--"));
    let folder = flags.iter().find_map(|flag| flag.strip_prefix("--in="));
    let known = flags
        .iter()
        .all(|flag| ["--quick", "--check"].contains(&flag.as_str()) || flag.starts_with("--in="))
        && names.iter().all(|name| BENCHMARKS.contains(&name.as_str()));
    if !known {
        report::progress(USAGE);
        return ExitCode::from(2);
    }
    let has = |flag: &str| flags.iter().any(|one| *one == flag);
    let wanted = |name: &str| names.is_empty() || names.iter().any(|one| *one == name);
    let plan = Plan {
        quick: has("--quick"),
    };
    let folder = folder.map_or_else(
        || {
            let memory = Path::new(MEMORY);
            if memory.is_dir() {
                memory.to_owned()
            } else {
                std::env::temp_dir()
            }
        },
        PathBuf::from,
    );

    let mut report = Report::begin(plan.quick);
    if names.is_empty() || names.iter().any(|name| *name != "planning") {
        let on = file_system(&folder).await;
        report::say(&format!("on        {on}"));
        Box::pin(in_repositories(&folder, &on, &wanted, plan, &mut report)).await;
    }
    if wanted("planning") {
        planning::measure(plan, &mut report);
    }
    let missed = report.end();
    if has("--check") && missed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

async fn in_repositories(
    folder: &Path,
    on: &str,
    wanted: &impl Fn(&str) -> bool,
    plan: Plan,
    report: &mut Report,
) {
    let stage = Stage::set(folder).await;
    let mut shapes = vec![&repositories::K1, &repositories::K10];
    if !plan.quick {
        shapes.extend([&repositories::K100, &repositories::M1]);
    }
    report.head(&["repository", "files", "widest directory"]);
    let mut loaded = Vec::new();
    for shape in shapes.into_iter().chain([&repositories::K10_WIDE]) {
        report.row(&[
            shape.name.to_owned(),
            shape.files().to_string(),
            shape.components.to_string(),
        ]);
        loaded.push(stage.load(shape).await);
    }
    let Some((wide, repositories)) = loaded.split_last() else {
        return;
    };
    if wanted("warm") {
        warm::measure(&stage, repositories, plan, report).await;
    }
    if wanted("cold") {
        cold::measure(&stage, repositories, wide, plan, report).await;
    }
    if wanted("batch") {
        batch::measure(&stage, repositories, plan, report).await;
    }
    if wanted("memory")
        && let Some(large) = repositories.last()
    {
        memory::measure(&stage, large, plan, report).await;
    }
    if wanted("clones") {
        clones::measure(&stage, repositories, on, plan, report).await;
    }
}

/// The kind of file system that a folder is on.
async fn file_system(folder: &Path) -> String {
    let mut command = tokio::process::Command::new("stat");
    command.args(["--file-system", "--format=%T"]).arg(folder);
    command::run(&mut command).await.trim().to_owned()
}
