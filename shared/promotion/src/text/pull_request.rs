//! The body of a promotion pull request.

use super::links::Links;
use super::page::Page;
use super::words::{self, count, list, path};
use super::{LIMIT, markdown};
use crate::PrNumber;
use crate::change::{Change, Hop};
use crate::plan::{Step, Sync};
use crate::rollback::WayBack;
use crate::track::Replaced;

/// The line that Lockflight's part of a body ends with. What people write below it is theirs.
pub const END: &str = "<!-- lockflight:end -->\n";

const CUT: &str = "**Cut here:** GitHub takes no longer text. The files of this pull request show all of it.";

/// The most levels of the way that are drawn. Hops in the middle of a longer way are counted, not listed.
const LEVELS: usize = 20;

/// The body of the pull request that carries out `step` of `change`: the `marker` first, then what people read.
///
/// Never longer than [`LIMIT`] bytes; a longer one is cut with a sentence that says so. It nowhere mentions anybody.
#[must_use]
pub fn body(change: &Change, step: &Step, marker: &str, links: &Links) -> String {
    body_replacing(change, step, marker, links, &[])
}

/// The same where the pull request takes the place of others, of older changes: it says so.
#[must_use]
pub fn body_replacing(
    change: &Change,
    step: &Step,
    marker: &str,
    links: &Links,
    replaced: &[Replaced],
) -> String {
    let mut page = Page::new(LIMIT, CUT, END);
    let components = words::components(step);
    let (source, destination) = (markdown::code(&step.source), words::destination(step));
    let does = match &change.rollback {
        Some(back) => taken_back(change, step, back, &destination),
        None => format!("Promotes {components} from {source} to {destination}."),
    };
    page.block(&format!("{marker}\n{does}\n\n{}", awaited(step)));
    page.rows("**The way of this change**\n\n", way(change, step), "");
    if !replaced.is_empty() {
        let rows = replaced.iter().map(|replaced| {
            let brought = refer(change, step, replaced.change);
            format!("- {brought}, which #{} was to bring", replaced.number)
        });
        page.rows("**It also carries**\n\n", rows, "");
    }
    let open = format!(
        "**What it does**\n\nEach path below becomes what stands at its source in [{}]({}), file for file.\n\n| From | To | Content |\n|---|---|---|\n",
        markdown::code(&short(change.merged_as.as_str())),
        links.commit(&change.repo.name, &change.merged_as),
    );
    page.rows(&open, step.sync.iter().map(content), "");
    if !step.skipped.is_empty() {
        let (open, rows, close) = words::skipped(&step.skipped);
        page.rows(&open, rows, close);
    }
    page.finish()
}

/// What is taken back, who asked for it, and what that means.
fn taken_back(change: &Change, step: &Step, back: &WayBack, destination: &str) -> String {
    let of = refer(change, step, change.number);
    let because = if back.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", markdown::text(&back.reason))
    };
    format!(
        "Brings {} at {destination} back to what {} held before {of}. {} asked for that{because}.\n\nNothing else is brought there by Lockflight \
         until somebody writes `/promote release` on {of}.",
        words::components(step),
        markdown::code(&step.source),
        markdown::code(back.by.as_str()),
    )
}

/// What has to happen next.
const fn awaited(step: &Step) -> &'static str {
    if step.auto_merge {
        "It merges by itself as soon as the rules of the branch allow. Then the change goes on to what comes next."
    } else {
        "It waits for a person to review and merge it. Then the change goes on by itself to what comes next."
    }
}

/// The pull requests of the promotion so far, each one level below the one that caused it.
///
/// A hop names the pull request that caused it. The one that carried it out is the cause of the next hop, and of the last
/// hop it is the change itself.
fn way(change: &Change, step: &Step) -> Vec<String> {
    let refer = |number: PrNumber| refer(change, step, number);
    let hops = &change.lineage.hops;
    let (origin, author) = change
        .lineage
        .origin
        .as_ref()
        .map_or((change.number, &change.author), |origin| {
            (origin.number, &origin.author)
        });
    let source = hops.first().map_or(&step.source, |hop| &hop.source);
    let mut first = format!(
        "- {} by {} changed {}",
        refer(origin),
        markdown::code(author.as_str()),
        markdown::code(source)
    );
    if hops.is_empty() && change.lineage.origin.is_none() && !change.title.trim().is_empty() {
        let title = markdown::text(&markdown::cut(&change.title, 250));
        first.push_str(&format!(": “{title}”"));
    }

    let mut lines = vec![first];
    let carried_by = hops.iter().skip(1).map(|hop| hop.number).chain([change.number]);
    let mut level = 0;
    let hidden = hops.len().saturating_sub(LEVELS);
    for (at, (hop, number)) in hops.iter().zip(carried_by).enumerate() {
        if (LEVELS / 2..LEVELS / 2 + hidden).contains(&at) {
            if at == LEVELS / 2 {
                level += 1;
                lines.push(indented(level, &count(hidden, "step more", "steps more")));
            }
            continue;
        }
        level += 1;
        lines.push(indented(level, &hop_line(hop, &refer(number))));
    }
    let does = match change.rollback {
        Some(_) => "this pull request takes it back from",
        None => "this pull request brings it to",
    };
    lines.push(indented(
        level + 1,
        &format!("{does} {}", targets(step.targets.iter().map(|t| &t.path))),
    ));
    lines
}

/// A pull request of the repository of the change, as the pull request of the step names it.
fn refer(change: &Change, step: &Step, number: PrNumber) -> String {
    if step.targets.iter().all(|target| target.repo == change.repo.name) {
        format!("#{number}")
    } else {
        format!("{}#{number}", change.repo.name)
    }
}

/// What people wrote below Lockflight's part of a body.
#[must_use]
pub fn below(body: &str) -> &str {
    body.split_once(END.trim_end()).map_or("", |(_, below)| {
        below
            .strip_prefix("\r\n")
            .or_else(|| below.strip_prefix('\n'))
            .unwrap_or(below)
    })
}

/// A marker that grew too long lost hops: the one before such a gap has no targets.
fn hop_line(hop: &Hop, reference: &str) -> String {
    if hop.targets.is_empty() {
        "a part of the way is too long to be shown".to_owned()
    } else {
        format!("{reference} brought it to {}", targets(&hop.targets))
    }
}

fn targets<'p>(paths: impl IntoIterator<Item = &'p crate::PathInRepo>) -> String {
    list(paths.into_iter().map(path), 5)
}

fn indented(level: usize, line: &str) -> String {
    format!("{}- {line}", "  ".repeat(level))
}

fn content(sync: &Sync) -> String {
    let content = sync.tree.as_ref().map_or_else(
        || "removed, as at its source".to_owned(),
        |tree| format!("tree {}", markdown::code(&short(tree.as_str()))),
    );
    format!("| {} | {} | {content} |", path(&sync.from), path(&sync.to))
}

/// The first digits of an object id: enough for people.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}
