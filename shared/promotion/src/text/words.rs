//! Parts of sentences that several texts share.

use super::markdown;
use crate::PathInRepo;
use crate::plan::{Skipped, Step};

/// `one thing`, `2 things`.
pub(super) fn count(count: usize, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {many}")
    }
}

/// `a`, `a and b`, `a, b and c`, `a, b and 7 more`: at most `most` names, which must be fit for their place already.
pub(super) fn list(names: impl IntoIterator<Item = String>, most: usize) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    if names.len() > most {
        let more = names.len() - most;
        names.truncate(most);
        names.push(format!("{more} more"));
    }
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        last
    } else {
        format!("{} and {last}", names.join(", "))
    }
}

/// A path as code; the root of the repository is `.`.
pub(super) fn path(path: &PathInRepo) -> String {
    markdown::code(if path.is_root() { "." } else { path.as_str() })
}

/// The step's components as code.
pub(super) fn components(step: &Step) -> String {
    list(step.components.iter().map(|name| markdown::code(name)), 20)
}

/// Where a step leads, as its policy calls it. Where the policy gave no name, the paths themselves.
pub(super) fn destination(step: &Step) -> String {
    if is_named(step) {
        markdown::text(&markdown::cut(&step.description, 200))
    } else {
        list(step.targets.iter().map(|target| path(&target.path)), 3)
    }
}

/// The same in few words, for places that know no Markdown.
pub(super) fn plain_destination(step: &Step) -> String {
    if is_named(step) {
        markdown::one_line(&step.description)
    } else {
        list(step.targets.iter().map(|target| target.path.to_string()), 1)
    }
}

/// Whether the policy names the targets. Without a name, the description is their paths, one after the other.
fn is_named(step: &Step) -> bool {
    let mut paths: Vec<&str> = step.targets.iter().map(|target| target.path.as_str()).collect();
    let mut words: Vec<&str> = step
        .description
        .split([' ', ','])
        .map(|word| word.trim_end_matches('/'))
        .filter(|word| !word.is_empty())
        .collect();
    paths.sort_unstable();
    words.sort_unstable();
    !words.is_empty() && paths != words
}

/// The start of the folded table of what was left out, its rows, and its end.
pub(super) fn skipped(skipped: &[Skipped]) -> (String, impl Iterator<Item = String>, &'static str) {
    let open = format!(
        "<details>\n<summary>Left out: {}</summary>\n\n| Component | Target | Why |\n|---|---|---|\n",
        skipped.len()
    );
    let rows = skipped.iter().map(|skipped| {
        format!(
            "| {} | {} | {} |",
            markdown::code(&skipped.component),
            path(&skipped.target),
            markdown::text(&markdown::cut(&skipped.reason, 1_000))
        )
    });
    (open, rows, "\n</details>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_people_do() {
        let names = |count: usize| (0..count).map(|n| n.to_string());
        assert_eq!(list(names(0), 3), "");
        assert_eq!(list(names(1), 3), "0");
        assert_eq!(list(names(2), 3), "0 and 1");
        assert_eq!(list(names(3), 3), "0, 1 and 2");
        assert_eq!(list(names(9), 3), "0, 1, 2 and 6 more");
    }
}
