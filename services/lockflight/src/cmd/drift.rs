//! `lockflight drift`: which targets differ from what their sources would make of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use lockflight_git::{Committed, LocalError, LocalRepository};
use lockflight_promotion::plan::{Skipped, Step, Sync};
use lockflight_promotion::policy::{Directories, NATIVE_FILE, Policy, TELEFONISTKA_FILE};
use lockflight_promotion::text::drift::FileDrift;
use lockflight_promotion::{BranchName, CommitOid, PathInRepo};
use serde::Serialize;

use super::{not_found, validate};
use crate::cli::drift::DriftArgs;
use crate::cli::{ListFormat, ReportFormat};
use crate::exit::Exit;
use crate::offline::{Offline, OfflineError};

/// Files that are larger are only named, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// The most bytes of differences that are kept, of all files together.
const MOST: usize = 4 * 1024 * 1024;

/// Prints what differs.
pub(crate) fn run(args: &DriftArgs) -> anyhow::Result<Exit> {
    let repo = match LocalRepository::open(&args.repo) {
        Err(error @ LocalError::NotARepository { .. }) => return Ok(not_found(&error.into())),
        opened => opened?,
    };
    let head = match repo.resolve(&args.head) {
        Err(error @ LocalError::NoSuchRevision { .. }) => return Ok(not_found(&error.into())),
        head => head?,
    };
    let plain = Offline::new(&repo, head.clone(), head.clone(), BTreeSet::new())?;
    let found = match plain.policy() {
        Ok(None) => {
            return Ok(not_found(&anyhow::anyhow!(
                "there is neither {NATIVE_FILE} nor {TELEFONISTKA_FILE} at {head}, so nothing is promoted"
            )));
        }
        Ok(Some(policy)) => search(&repo, &head, &policy, args),
        Err(error) => Err(error),
    };
    let found = match found {
        Ok(found) => found,
        Err(OfflineError::Policy(errors)) => {
            validate::print(ReportFormat::Human, errors.iter(), [], &mut std::io::stderr())?;
            return Ok(Exit::Invalid);
        }
        Err(OfflineError::Other(error)) => return Err(error),
    };
    let mut out = std::io::stdout().lock();
    match args.output {
        ListFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &Document::new(&head, &found))?;
            writeln!(out)?;
        }
        ListFormat::Table => table(&found, &mut out)?,
    }
    Ok(if args.exit_code && !found.drifts.is_empty() {
        Exit::Differences
    } else {
        Exit::Success
    })
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    drifts: Vec<Drift>,
    /// What can't be compared, or is kept apart by policy.
    skipped: BTreeSet<Skipped>,
    notes: BTreeSet<String>,
}

/// One component at one target that differs.
#[derive(Debug)]
struct Drift {
    component: String,
    from: PathInRepo,
    to: PathInRepo,
    /// The branch of the target, if it is another one than that of the head.
    branch: Option<String>,
    /// The policy file and the line of the flow.
    flow: (String, usize),
    files: Vec<FileDrift>,
    /// Why the files are not known.
    stopped: Option<String>,
}

/// Plans all components of all flows as if each had changed just now: what there is to do then is the drift.
fn search(
    repo: &LocalRepository,
    head: &CommitOid,
    policy: &Policy,
    args: &DriftArgs,
) -> Result<Report, OfflineError> {
    let mut report = Report::default();
    // A flow that begins on another branch is looked at as if the change were there, and one that asks for a label as if the change had it.
    let mut looks: BTreeMap<(Option<&BranchName>, BTreeSet<String>), BTreeSet<usize>> = BTreeMap::new();
    let mut sources: BTreeMap<Option<&BranchName>, Vec<String>> = BTreeMap::new();
    for (index, flow) in policy.flows().iter().enumerate() {
        if !flow.conditions.any_author.is_empty() {
            report.notes.insert(format!(
                "the flow at {}:{} holds for changes of certain authors only, and was left out",
                flow.reference.file, flow.reference.line
            ));
            continue;
        }
        let one: BTreeSet<String> = flow.conditions.any_label.first().cloned().into_iter().collect();
        let branch = flow.source.branch.as_ref();
        looks.entry((branch, one)).or_default().insert(index);
    }
    let mut room = MOST;
    for ((branch, labels), flows) in looks {
        let mut offline = Offline::new(repo, head.clone(), head.clone(), labels.clone())?;
        if let Some(branch) = branch {
            let Some(tip) = offline.tip(branch)? else {
                report.notes.insert(format!(
                    "there is no branch {branch} in this repository, so the flows that begin there were left out"
                ));
                continue;
            };
            offline = Offline::new(repo, tip.clone(), tip, labels)?.onto(branch.clone());
        }
        let files = match sources.entry(branch) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => slot.insert(files(repo, offline.head(), policy)?),
        };
        let mut plan = offline.plan_paths(policy, files.clone())?;
        report.skipped.extend(plan.skipped.drain(..).filter(|skipped| {
            (args.components.is_empty() || args.components.contains(&skipped.component))
                && is_wanted_target(args, &skipped.target)
        }));
        report.notes.extend(plan.notes.drain(..));
        for mut step in plan.steps {
            if !flows.contains(&step.flow.index) {
                continue;
            }
            step.sync
                .retain(|sync| is_wanted(args, sync) && is_wanted_target(args, &sync.to));
            if !step.sync.is_empty() {
                report
                    .drifts
                    .extend(of_step(repo, &offline, &step, &mut room, args)?);
            }
        }
    }
    report.drifts.sort_by(|one, other| {
        (&one.from, &one.branch, &one.to).cmp(&(&other.from, &other.branch, &other.to))
    });
    Ok(report)
}

/// The files of all sources at a commit. No content is read.
pub(super) fn files(
    repo: &LocalRepository,
    head: &CommitOid,
    policy: &Policy,
) -> anyhow::Result<Vec<String>> {
    let mut directories = BTreeSet::new();
    for flow in policy.flows() {
        directories.insert(match &flow.source.directories {
            Directories::One { path, .. } => path.clone(),
            // What a pattern means may be anywhere.
            Directories::Pattern(_) => PathInRepo::default(),
        });
    }
    let directories: Vec<PathInRepo> = match directories.first() {
        Some(root) if root.is_root() => vec![root.clone()],
        _ => directories.into_iter().collect(),
    };
    let mut files = Vec::new();
    for (directory, listing) in repo.listings(head, &directories)? {
        for path in listing.keys() {
            let path = String::from_utf8_lossy(path);
            files.push(if directory.is_root() {
                path.into_owned()
            } else {
                format!("{directory}/{path}")
            });
        }
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

fn is_wanted(args: &DriftArgs, sync: &Sync) -> bool {
    let is = |path: &str, name: &str| {
        path == name || path.strip_suffix(name).is_some_and(|above| above.ends_with('/'))
    };
    args.components.is_empty()
        || args.components.iter().any(|name| {
            let name = name.trim_matches('/');
            let from = sync.from.as_str();
            is(from, name)
                || (sync.keys.is_some() && from.rsplit_once('/').is_some_and(|(at, _)| is(at, name)))
        })
}

fn is_wanted_target(args: &DriftArgs, target: &PathInRepo) -> bool {
    args.targets.is_empty()
        || args.targets.iter().any(|wanted| {
            PathInRepo::parse(wanted.trim_matches('/')).is_ok_and(|wanted| target.is_within(&wanted))
        })
}

/// What a step would change, file by file: made in memory as an executor would make it, and compared with what stands there.
fn of_step(
    repo: &LocalRepository,
    offline: &Offline<'_>,
    step: &Step,
    room: &mut usize,
    args: &DriftArgs,
) -> anyhow::Result<Vec<Drift>> {
    let mut drifts: Vec<Drift> = step
        .sync
        .iter()
        .map(|sync| Drift {
            component: name_of(step, sync),
            from: sync.from.clone(),
            to: sync.to.clone(),
            branch: step.base.as_ref().map(ToString::to_string),
            flow: (step.flow.file.clone(), step.flow.line),
            files: Vec::new(),
            stopped: None,
        })
        .collect();
    match offline.preview(step) {
        Err(error) => {
            for drift in &mut drifts {
                drift.stopped = Some(format!("{error:#}"));
            }
        }
        Ok(committed) => {
            let (_, parent) = offline.parent_of(step)?;
            for path in &committed.paths {
                let within = |drift: &&mut Drift| {
                    path == drift.to.as_str()
                        || path
                            .strip_prefix(drift.to.as_str())
                            .is_some_and(|rest| drift.to.is_root() || rest.starts_with('/'))
                };
                if let Some(drift) = drifts.iter_mut().find(within) {
                    let file = compared(repo, &parent, &committed, path, *room > 0 && !args.no_diff);
                    *room = room.saturating_sub(file.diff.len());
                    drift.files.push(file);
                }
            }
        }
    }
    Ok(drifts)
}

/// The component's name: one of the step's that its source path ends with.
fn name_of(step: &Step, sync: &Sync) -> String {
    let from = sync.from.as_str();
    let ends = |name: &&String| {
        from == name.as_str()
            || from.ends_with(&format!("/{name}"))
            || (sync.keys.is_some() && format!("/{from}").contains(&format!("/{name}/")))
    };
    let longest = step.components.iter().filter(ends).max_by_key(|name| name.len());
    longest.cloned().unwrap_or_else(|| from.to_owned())
}

/// One file as it stands at the target, and as it would be. What can't be read as text has no difference to show.
fn compared(
    repo: &LocalRepository,
    parent: &CommitOid,
    committed: &Committed,
    path: &str,
    with_diff: bool,
) -> FileDrift {
    let Ok(path) = PathInRepo::parse(path) else {
        return FileDrift::of(PathInRepo::default(), None, None);
    };
    let read = |commit: &CommitOid| repo.blob(commit, &path, LARGEST);
    let (before, after) = (read(parent), read(&committed.oid));
    let is_there = |read: &Result<Option<Vec<u8>>, _>| !matches!(read, Ok(None));
    let (in_target, in_source) = (is_there(&before), is_there(&after));
    let diff = match (&before, &after) {
        (Ok(before), Ok(after)) if with_diff => {
            FileDrift::of(path.clone(), before.as_deref(), after.as_deref()).diff
        }
        _ => String::new(),
    };
    FileDrift {
        path,
        in_source,
        in_target,
        diff,
    }
}

/// A line of a difference as it is printed. Its content is anybody's: control characters would reach the terminal, and what a CI
/// runner takes for a command would be carried out. So each line begins with a mark, for GitHub's `::` counts at its beginning only,
/// and what counts anywhere in a line (`##[`, `##vso[`, `##teamcity[`) is taken apart.
pub(super) fn printable(line: &str) -> String {
    let mut shown = String::with_capacity(line.len() + 2);
    shown.push_str("| ");
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        shown.push(if is_unseen(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        });
        if c == '#'
            && let Some(rest) = chars.as_str().strip_prefix('#')
            && rest
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .starts_with('[')
        {
            shown.push(' ');
        }
    }
    shown
}

/// Whether a character steers what shows it: control characters but the tab, line ends that are none, and what turns the direction.
fn is_unseen(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn counts(file: &FileDrift) -> (usize, usize) {
    let lines = |sign: char| file.diff.lines().filter(|line| line.starts_with(sign)).count();
    (lines('+'), lines('-'))
}

/// The document of `-o json`. Its fields are a promise: they are only ever added to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'r> {
    api_version: &'static str,
    head: &'r str,
    drifts: Vec<DriftDocument<'r>>,
    skipped: Vec<SkippedDocument<'r>>,
    notes: Vec<&'r str>,
}

#[derive(Serialize)]
struct DriftDocument<'r> {
    component: &'r str,
    from: &'r str,
    to: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<&'r str>,
    file: &'r str,
    line: usize,
    files: Vec<FileDocument<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'r str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileDocument<'r> {
    path: &'r str,
    in_source: bool,
    in_target: bool,
    diff: &'r str,
}

#[derive(Serialize)]
struct SkippedDocument<'r> {
    component: &'r str,
    target: &'r str,
    reason: &'r str,
}

impl<'r> Document<'r> {
    fn new(head: &'r CommitOid, report: &'r Report) -> Self {
        Self {
            api_version: "lockflight/v1",
            head: head.as_str(),
            drifts: report.drifts.iter().map(DriftDocument::new).collect(),
            skipped: report
                .skipped
                .iter()
                .map(|skipped| SkippedDocument {
                    component: &skipped.component,
                    target: skipped.target.as_str(),
                    reason: &skipped.reason,
                })
                .collect(),
            notes: report.notes.iter().map(String::as_str).collect(),
        }
    }
}

impl<'r> DriftDocument<'r> {
    fn new(drift: &'r Drift) -> Self {
        Self {
            component: &drift.component,
            from: drift.from.as_str(),
            to: drift.to.as_str(),
            branch: drift.branch.as_deref(),
            file: &drift.flow.0,
            line: drift.flow.1,
            files: drift
                .files
                .iter()
                .map(|file| FileDocument {
                    path: file.path.as_str(),
                    in_source: file.in_source,
                    in_target: file.in_target,
                    diff: &file.diff,
                })
                .collect(),
            stopped: drift.stopped.as_deref(),
        }
    }
}

fn table(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    if report.drifts.is_empty() {
        writeln!(out, "No drift.")?;
    }
    for drift in &report.drifts {
        let at = drift
            .branch
            .as_ref()
            .map(|branch| format!(" on {branch}"))
            .unwrap_or_default();
        let (file, line) = &drift.flow;
        writeln!(
            out,
            "{} at {}{at}: differs from {} ({file}:{line})",
            drift.component, drift.to, drift.from
        )?;
        if let Some(reason) = &drift.stopped {
            writeln!(out, "  can't be promoted: {reason}")?;
        }
        for file in &drift.files {
            let (more, less) = counts(file);
            let what = match (file.in_source, file.in_target) {
                (true, false) => "is not at the target",
                (false, true) => "is only at the target",
                _ => "differs",
            };
            writeln!(out, "  {} {what} (+{more} -{less})", file.path)?;
            for line in file.diff.lines() {
                writeln!(out, "    {}", printable(line))?;
            }
        }
    }
    if !report.skipped.is_empty() {
        writeln!(out, "\nLeft out:")?;
    }
    for skipped in &report.skipped {
        writeln!(
            out,
            "  {} at {}: {}",
            skipped.component, skipped.target, skipped.reason
        )?;
    }
    for note in &report.notes {
        writeln!(out, "\nNote: {note}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_difference_is_no_command_and_steers_no_terminal() {
        for (line, shown) in [
            ("+a:\tb ## c", "| +a:\tb ## c"),
            ("::error::x", "| ::error::x"),
            ("+\u{1b}[2J\rx\u{202e}y", "| +\u{fffd}[2J\u{fffd}x\u{fffd}y"),
            ("+##[add-mask]x", "| +# #[add-mask]x"),
            ("+###vso[task.x]y", "| +## #vso[task.x]y"),
            ("-##teamcity[x]", "| -# #teamcity[x]"),
        ] {
            assert_eq!(printable(line), shown, "{line:?}");
        }
    }

    #[test]
    fn the_table_shows_no_control_characters() {
        let path = PathInRepo::parse("a/values.yaml").unwrap();
        let file = FileDrift::of(path.clone(), Some(b"a\n"), Some(b"::x::\x1b[2J\n"));
        let drift = Drift {
            component: "a".to_owned(),
            from: path.clone(),
            to: path,
            branch: None,
            flow: ("lockflight.yaml".to_owned(), 1),
            files: vec![file],
            stopped: None,
        };
        let report = Report {
            drifts: vec![drift],
            ..Report::default()
        };
        let mut out = Vec::new();
        table(&report, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\n    | -a\n    | +::x::\u{fffd}[2J\n"), "{text}");
        assert!(text.contains("(+1 -1)"), "{text}");
    }
}
