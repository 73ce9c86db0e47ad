//! What somebody reads who asks where a change goes.

use super::page::Page;
use super::words::{self, count, list, path};
use super::{LIMIT, markdown};
use crate::plan::{Plan, Step};

const CUT: &str = "**Cut here:** GitHub takes no longer text.";

/// Where a change goes, in Markdown, without a tag; at most [`LIMIT`] bytes. `is_merged` is whether it has been merged. With a component,
/// only what is about that one.
#[must_use]
pub fn plan(plan: &Plan, is_merged: bool, component: Option<&str>) -> String {
    let mut page = Page::new(LIMIT, CUT, "");
    planned(&mut page, plan, is_merged, component);
    page.finish()
}

/// Adds where a change goes to a page.
pub(super) fn planned(page: &mut Page, plan: &Plan, is_merged: bool, component: Option<&str>) {
    let is_about = |name: &str| component.is_none_or(|wanted| wanted == name);
    let steps: Vec<&Step> = plan
        .steps
        .iter()
        .filter(|step| step.components.iter().any(|name| is_about(name)))
        .collect();
    let what = component.map_or_else(|| "This change".to_owned(), markdown::code);
    let when = if is_merged {
        "goes, as planned now"
    } else {
        "will go, if it is merged as it is"
    };
    if steps.is_empty() {
        page.block(&format!("**Plan:** {what} {when}, nowhere."));
    } else {
        let how_many = count(steps.len(), "promotion pull request", "promotion pull requests");
        page.block(&format!("**Plan:** {what} {when}, by {how_many}."));
        let rows = steps.iter().map(|step| row(step));
        page.rows(
            "| To | Components | From | Paths | Merged by |\n|---|---|---|---|---|\n",
            rows,
            "",
        );
    }
    let skipped: Vec<_> = plan
        .skipped
        .iter()
        .filter(|skipped| is_about(&skipped.component))
        .cloned()
        .collect();
    if !skipped.is_empty() {
        let (open, rows, close) = words::skipped(&skipped);
        page.rows(&open, rows, close);
    }
    if !plan.notes.is_empty() {
        let notes = plan
            .notes
            .iter()
            .map(|note| format!("- {}", markdown::text(&markdown::cut(note, 1_000))));
        page.rows("**Note**\n\n", notes, "");
    }
    if steps.is_empty() && skipped.is_empty() {
        page.block(
            "Either no flow of the policy begins at the changed paths, or every target has this content already.",
        );
    }
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
