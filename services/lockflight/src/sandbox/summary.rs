//! The table that `--once` ends with: what each promotion pull request cost, counted at the forge and in the journal.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use lockflight_fleet::embedded::EmbeddedFleet;
use lockflight_fleet::{Journal as _, Offset};
use lockflight_promotion::message::{Body, Outcome, Phase};
use lockflight_sandbox::{Forge, RecordedRequest};

use crate::exit::Exit;
use crate::sandbox::change::FirstChange;
use crate::sandbox::driver::Ended;

/// The parts of a promotion in the order in which they happen; the first four are the planner's.
const PHASES: [&str; 10] = [
    "read_pull_request",
    "fetch",
    "read_trees",
    "plan",
    "look",
    "refresh",
    "commit",
    "push",
    "open",
    "labels",
];

/// What one promotion pull request cost.
#[derive(Debug, Default)]
struct Row {
    repository: String,
    number: u64,
    source: u64,
    title: String,
    rest_calls: u32,
    git_round_trips: u64,
    git_bytes: u64,
    phases: BTreeMap<String, u64>,
}

/// Prints the table and the verdict.
pub(crate) async fn print(
    forge: &Forge,
    fleet: &EmbeddedFleet,
    change: &FirstChange,
    ended: &Ended,
    ready: Duration,
) -> anyhow::Result<Exit> {
    let rows = rows(forge, fleet, change).await?;
    let usage = forge.usage();
    let mut out = std::io::stdout().lock();
    write_rows(&rows, &mut out)?;
    let git = usage.git();
    writeln!(out)?;
    writeln!(out, "promotion pull requests   {}", rows.len())?;
    writeln!(
        out,
        "REST calls in all         {} ({} of them writes)",
        usage.rest_calls, usage.rest_mutations
    )?;
    writeln!(
        out,
        "git in all                {} requests, {} to the forge, {} from it",
        git.round_trips,
        bytes(git.bytes_in),
        bytes(git.bytes_out)
    )?;
    writeln!(out, "ready after               {:.2} s", ready.as_secs_f32())?;
    writeln!(out, "from merge to quiet       {:.2} s", ended.took.as_secs_f32())?;
    if let Some(peak) = peak_memory() {
        writeln!(
            out,
            "peak memory               {} (this process: forge and all roles)",
            bytes(peak)
        )?;
    }
    writeln!(out)?;
    if ended.failures.is_empty() && !rows.is_empty() {
        writeln!(out, "Every target equals its source.")?;
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        writeln!(out, "FAILED: no promotion pull request was opened")?;
    }
    for failure in &ended.failures {
        writeln!(out, "FAILED: {failure}")?;
    }
    Ok(Exit::Failed)
}

/// The rows, in the order in which the pull requests were opened.
async fn rows(forge: &Forge, fleet: &EmbeddedFleet, change: &FirstChange) -> anyhow::Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut planning: BTreeMap<u64, Vec<Phase>> = BTreeMap::new();
    let mut place = Offset::START;
    loop {
        let records = fleet.read(place, 500).await?;
        let Some(last) = records.last() else { break };
        place = last.offset;
        for envelope in records.iter().filter_map(|record| record.envelope()) {
            match &envelope.body {
                Body::Outcome(Outcome::Planned { number, phases, .. }) => {
                    planning.insert(number.get(), phases.clone());
                }
                Body::Outcome(Outcome::PullRequestOpened {
                    number,
                    url,
                    source,
                    rest_calls,
                    phases,
                    ..
                }) => {
                    let number = number.get();
                    let is_in = |name: &&str| url.ends_with(&format!("/{name}/pull/{number}"));
                    let repository = change.repositories().find(is_in).unwrap_or(&change.repository);
                    let known = rows
                        .iter()
                        .position(|row| row.number == number && row.repository == repository);
                    let place = known.unwrap_or_else(|| {
                        rows.push(Row {
                            repository: repository.to_owned(),
                            number,
                            source: source.get(),
                            ..Row::default()
                        });
                        rows.len() - 1
                    });
                    let Some(row) = rows.get_mut(place) else { continue };
                    row.rest_calls += rest_calls;
                    let planned = planning.get(&source.get()).into_iter().flatten();
                    for phase in planned.chain(phases) {
                        *row.phases.entry(phase.name.clone()).or_default() += phase.ms;
                    }
                }
                _ => {}
            }
        }
    }
    for row in &mut rows {
        let title = forge.pull_request(&row.repository, row.number)?.title;
        row.title = if row.repository == change.repository {
            title
        } else {
            format!("{}: {title}", row.repository)
        };
    }
    // Whatever git did since the pull request before was opened was done for this one.
    let mut opened = rows.iter_mut();
    let (mut trips, mut moved) = (0, 0);
    for request in forge.requests() {
        if request
            .repository
            .as_deref()
            .is_none_or(|name| !change.repositories().any(|ours| ours == name))
        {
            continue;
        }
        if request.route.starts_with("git ") {
            trips += 1;
            moved += request.bytes_in + request.bytes_out;
        } else if opens_pull_request(&request)
            && let Some(row) = opened.next()
        {
            (row.git_round_trips, row.git_bytes) = (trips, moved);
            (trips, moved) = (0, 0);
        }
    }
    Ok(rows)
}

fn opens_pull_request(request: &RecordedRequest) -> bool {
    request.method.as_str() == "POST"
        && request.route == "/repos/{owner}/{repo}/pulls"
        && request.status == Some(201)
}

fn write_rows(rows: &[Row], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\n{:<5} {:<5} {:>4} {:>4} {:>9}  milliseconds: planner | executor",
        "PR", "from", "REST", "git", "bytes"
    )?;
    let short = [
        "read", "fetch", "trees", "plan", "look", "fetch", "commit", "push", "open", "labels",
    ];
    write!(out, "{:31}", "")?;
    for (place, name) in short.iter().enumerate() {
        write!(out, "{}{name:>7}", if place == 4 { " |" } else { "" })?;
    }
    writeln!(out, "  title")?;
    for row in rows {
        write!(
            out,
            "{:<5} {:<5} {:>4} {:>4} {:>9}  ",
            format!("#{}", row.number),
            format!("#{}", row.source),
            row.rest_calls,
            row.git_round_trips,
            bytes(row.git_bytes)
        )?;
        for (place, phase) in PHASES.iter().enumerate() {
            let ms = row
                .phases
                .get(*phase)
                .map_or_else(|| "-".to_owned(), u64::to_string);
            write!(out, "{}{ms:>7}", if place == 4 { " |" } else { "" })?;
        }
        writeln!(out, "  {}", row.title)?;
    }
    Ok(())
}

/// The most memory that this process has had resident, in bytes (Linux: `VmHWM` of proc(5)).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1000),
        _ => format!("{} MB", count / 1_000_000),
    }
}
