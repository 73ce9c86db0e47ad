//! What the fleet costs. `tests/bench/run` builds and runs it; docs/benchmarks.md explains the numbers.
//!
//! Everything is compared with something that is measured in the same run, in turns: raw lapin, the forge's own time, the same requests
//! without Lockflight, one executor. The numbers by themselves say little on another machine.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that can't go on has nothing to report"
)]

mod command;
mod fairness;
mod floor;
mod http;
mod ingress;
mod latency;
mod policies;
mod raw;
mod report;
mod stage;
mod stats;
mod throughput;

use std::process::ExitCode;

use report::Report;
use stage::Stage;

const BENCHMARKS: [&str; 5] = ["ingress", "latency", "hot", "many", "fairness"];

const USAGE: &str = "usage: tests/bench/run [--quick] [--check] [NAME...]\n\n\
    --quick   few rounds: to see that it works\n\
    --check   fail if a goal is missed\n\
    NAME      ingress, latency, hot, many, fairness; all of them without a name";

/// How thorough to be.
#[derive(Clone, Copy, Debug)]
struct Plan {
    quick: bool,
}

impl Plan {
    const fn rounds(self, quick: usize, usual: usize) -> usize {
        if self.quick { quick } else { usual }
    }

    const fn either(self, quick: u64, usual: u64) -> u64 {
        if self.quick { quick } else { usual }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // Cargo adds `--bench` by itself.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let (flags, names): (Vec<_>, Vec<_>) = arguments.iter().partition(|one| one.starts_with("--"));
    let known = flags
        .iter()
        .all(|flag| ["--quick", "--check"].contains(&flag.as_str()))
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

    let mut report = Report::begin(plan.quick);
    // A stage of its own for each, so that none finds what another has left.
    if wanted("ingress") {
        Box::pin(ingress::measure(&Stage::set().await, plan, &mut report)).await;
    }
    if wanted("latency") {
        Box::pin(latency::measure(&Stage::set().await, plan, &mut report)).await;
    }
    if wanted("hot") {
        Box::pin(throughput::hot(&Stage::set().await, plan, &mut report)).await;
    }
    if wanted("many") {
        Box::pin(throughput::many(&Stage::set().await, plan, &mut report)).await;
    }
    if wanted("fairness") {
        Box::pin(fairness::measure(&Stage::set().await, plan, &mut report)).await;
    }
    let missed = report.end();
    if has("--check") && missed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
