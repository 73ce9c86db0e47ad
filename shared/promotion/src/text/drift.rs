//! Differences between a source and its targets that no change under way explains.

use similar::TextDiff;

use super::links::Links;
use super::markdown;
use super::page::Page;
use super::words::{count, path};
use crate::{CommitOid, PathInRepo, RepoName};

/// The most bytes of one file's diff, so that one large file does not hide the others.
const DIFF_LIMIT: usize = 12_000;

/// The most pairs of lines that are looked through for the smallest diff.
const MOST_PAIRS: usize = 25_000_000;

/// How many lines that are the same surround those that differ.
const DIFF_CONTEXT: usize = 3;

/// What differs, as of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftReport {
    /// The repository.
    pub repo: RepoName,
    /// The commit that was compared.
    pub commit: CommitOid,
    /// The components that differ, each at one target.
    pub drifts: Vec<Drift>,
}

/// A component that differs at one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The component's name.
    pub component: String,
    /// Its path at the source.
    pub from: PathInRepo,
    /// Its path at the target.
    pub to: PathInRepo,
    /// The files that differ.
    pub files: Vec<FileDrift>,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDrift {
    /// The path within the component.
    pub path: PathInRepo,
    /// Whether the source has it.
    pub in_source: bool,
    /// Whether the target has it.
    pub in_target: bool,
    /// The unified diff that leads from the target to the source; empty if the content is not text.
    pub diff: String,
}

impl FileDrift {
    /// The differences of two contents: that of the target and that of the source, each none where there is no such file. Empty
    /// if one is not text.
    #[must_use]
    pub fn of(path: PathInRepo, target: Option<&[u8]>, source: Option<&[u8]>) -> Self {
        let text =
            |content: Option<&[u8]>| std::str::from_utf8(content.unwrap_or_default()).map(str::to_owned);
        let diff = match (text(target), text(source)) {
            (Ok(target), Ok(source)) if !target.contains('\0') && !source.contains('\0') => {
                unified(&target, &source)
            }
            _ => String::new(),
        };
        Self {
            path,
            in_source: source.is_some(),
            in_target: target.is_some(),
            diff,
        }
    }
}

/// The unified diff of two texts. Where finding the smallest one would take too long, one that replaces everything.
fn unified(before: &str, after: &str) -> String {
    let (old, new) = (before.lines().count(), after.lines().count());
    if old.saturating_mul(new) > MOST_PAIRS {
        let all = |sign: &str, text: &str| {
            text.lines()
                .map(|line| format!("{sign}{line}\n"))
                .collect::<String>()
        };
        return format!("@@ -1,{old} +1,{new} @@\n{}{}", all("-", before), all("+", after));
    }
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(DIFF_CONTEXT)
        .to_string()
}

/// Adds what differs to a page, where something does.
pub(super) fn found(page: &mut Page, report: &DriftReport, links: &Links) {
    let targets = count(report.drifts.len(), "target differs", "targets differ");
    page.block(&format!(
        "**Drift:** {targets} from the source already, apart from this change. Nothing is blocked. Promoting a component \
         there overwrites what is shown here (`-` is the target, `+` the source)."
    ));
    for drift in &report.drifts {
        page.block(&format!(
            "#### {} at {}\n\nCompared with {}: {}.",
            markdown::code(&drift.component),
            path(&drift.to),
            path(&drift.from),
            count(drift.files.len(), "file differs", "files differ"),
        ));
        for file in &drift.files {
            file_drift(page, report, drift, file, links);
        }
    }
}

fn file_drift(page: &mut Page, report: &DriftReport, drift: &Drift, file: &FileDrift, links: &Links) {
    let blame = |name: &str, root: &PathInRepo| {
        let address = links.blame(&report.repo, &report.commit, &root.join(&file.path));
        format!("[{name}]({address})")
    };
    let mut heading = path(&file.path);
    match (file.in_source, file.in_target) {
        (true, true) => heading.push_str(&format!(
            " (who changed it: {}, {})",
            blame("source", &drift.from),
            blame("target", &drift.to)
        )),
        (true, false) => heading.push_str(&format!(
            " is not at the target (who changed it: {})",
            blame("source", &drift.from)
        )),
        (false, true) => heading.push_str(&format!(
            " is only at the target (who changed it: {})",
            blame("target", &drift.to)
        )),
        (false, false) => {}
    }
    if file.diff.trim().is_empty() {
        page.block(&format!("{heading}\n\nThe content is not text."));
        return;
    }
    let whole = format!("{heading}\n\n{}", markdown::fence("diff", &file.diff));
    if whole.len() <= DIFF_LIMIT.min(page.room()) {
        page.block(&whole);
        return;
    }
    // The sentence, the fences and the escapes in the diff need room of their own, so fewer lines are tried until it fits.
    let room = DIFF_LIMIT.min(page.room());
    let lines: Vec<&str> = file.diff.lines().collect();
    let mut kept = lines
        .iter()
        .scan(0, |bytes, line| {
            *bytes += line.len() + 1;
            (*bytes <= room).then_some(())
        })
        .count();
    while kept > 0 {
        let shown = lines.get(..kept).unwrap_or_default().join("\n");
        let left = count(lines.len() - kept, "line more is", "lines more are");
        let part = format!(
            "{heading}\n\n{}\n{left} not shown.",
            markdown::fence("diff", &shown)
        );
        if part.len() <= room {
            page.block(&part);
            return;
        }
        kept -= kept.div_ceil(8);
    }
    if room < DIFF_LIMIT {
        page.stop();
    } else {
        page.block(&format!("{heading}\n\nIts lines are too long to be shown."));
    }
}
