//! What would be opened, had the policy not asked for a dry run.

use super::page::Page;
use super::words::{self, count, list, path};
use super::{LIMIT, markdown};
use crate::change::Change;
use crate::plan::{Plan, Step};

const CUT: &str = "**Cut here:** GitHub takes no longer text.";

/// The comment on the merged pull request, in Markdown, without its tag (see [`super::comment::wrap`]). At most
/// [`LIMIT`] bytes.
#[must_use]
pub fn dry_run(change: &Change, plan: &Plan) -> String {
    let mut page = Page::new(LIMIT, CUT, "");
    let merged = markdown::code(&change.merged_as.as_str().chars().take(12).collect::<String>());
    if plan.steps.is_empty() {
        page.block(&format!(
            "**Dry run:** {merged} would open no promotion pull request."
        ));
    } else {
        page.block(&format!(
            "**Dry run:** {merged} would open {}. Nothing was opened, because the policy asks for a dry run.",
            count(
                plan.steps.len(),
                "promotion pull request",
                "promotion pull requests"
            ),
        ));
        page.rows(
            "| To | Components | From | Paths | Merged by |\n|---|---|---|---|---|\n",
            plan.steps.iter().map(row),
            "",
        );
    }
    if !plan.notes.is_empty() {
        let notes = plan
            .notes
            .iter()
            .map(|note| format!("- {}", markdown::text(&markdown::cut(note, 1_000))));
        page.rows("**Note**\n\n", notes, "");
    }
    if !plan.skipped.is_empty() {
        let (open, rows, close) = words::skipped(&plan.skipped);
        page.rows(&open, rows, close);
    }
    page.finish()
}

fn row(step: &Step) -> String {
    let paths = list(step.targets.iter().map(|target| path(&target.path)), 10);
    let merged_by = if step.auto_merge {
        "itself"
    } else {
        "a person, after review"
    };
    format!(
        "| {} | {} | {} | {paths} | {merged_by} |",
        words::destination(step),
        words::components(step),
        markdown::code(&step.source),
    )
}
