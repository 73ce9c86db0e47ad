//! What is printed: the machine, a table per benchmark, and whether the goals are met.

use std::fmt::Write as _;
use std::time::Instant;

use lockflight_sandbox::Timestamp;

/// Collects rows, goals and remarks.
pub(crate) struct Report {
    began: Instant,
    missed: usize,
    goals: String,
}

impl Report {
    pub(crate) fn begin(quick: bool) -> Self {
        say(&format!("machine   {}", machine()));
        say(&format!("date      {}", Timestamp::now()));
        say(&format!(
            "load      {} (averages of 1, 5 and 15 minutes, before)",
            load()
        ));
        if quick {
            say("rounds    few (--quick): good to see that it works, not to be believed");
        }
        Self {
            began: Instant::now(),
            missed: 0,
            goals: String::new(),
        }
    }

    pub(crate) fn title(&self, title: &str) {
        let after = self.began.elapsed().as_secs();
        say(&format!(
            "\n## {title}    [load {}, {after} s after the start]\n",
            load()
        ));
    }

    pub(crate) fn head(&self, columns: &[&str]) {
        say(&format!("| {} |", columns.join(" | ")));
        say(&format!("|{}", "---|".repeat(columns.len())));
    }

    pub(crate) fn row(&self, cells: &[String]) {
        say(&format!("| {} |", cells.join(" | ")));
    }

    /// Notes a goal and what was seen of it.
    pub(crate) fn goal(&mut self, what: &str, goal: &str, seen: &str, met: bool) {
        self.missed += usize::from(!met);
        let verdict = if met { "met" } else { "MISSED" };
        writeln!(self.goals, "| {what} | {goal} | {seen} | {verdict} |").expect("a string can be written to");
    }

    /// Prints the goals; returns how many were missed.
    pub(crate) fn end(self) -> usize {
        self.title("Goals");
        self.head(&["what", "goal", "seen", ""]);
        say(self.goals.trim_end());
        say(&format!("\nload      {} (after)", load()));
        self.missed
    }
}

#[expect(clippy::print_stdout, reason = "the result of a benchmark is what it prints")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Says what is done now, without it being part of the result.
#[expect(
    clippy::print_stderr,
    reason = "whoever waits wants to see that something happens"
)]
pub(crate) fn progress(line: &str) {
    eprintln!("  .. {line}");
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = cpus.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models
        .clone()
        .next()
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    format!("{} cores, {model}", models.count())
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
