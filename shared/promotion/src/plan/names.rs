//! Names that people and retries rely on: a step's branch and its pull request's title.

use sha2::{Digest as _, Sha256};

use crate::BranchName;
use crate::change::{Change, hex};

/// What the names of all promotion branches begin with.
pub const BRANCHES: &str = "promotions/";

/// The longest title, in characters. GitHub cuts at 256.
pub(super) const MAX_TITLE: usize = 250;
/// The most bytes of the source branch in ours: `promotions/`, a number of 20 digits, two dashes and 12 digits fit beside it
/// within the 244 bytes of a branch name.
const MAX_BRANCH_PART: usize = 180;
/// How much of a description stands in a title that is too long.
const SHORT_DESCRIPTION: usize = 120;

/// `promotions/<pr>-<source branch>-<12 hex>`. `identity` is what the step is: its flow, its targets and its change.
pub(super) fn branch(change: &Change, identity: &[u8]) -> BranchName {
    let digest = hex(&Sha256::digest(identity));
    let digest = digest.get(..12).unwrap_or(&digest);
    let source = branch_part(&change.head_branch);
    BranchName::from_valid(format!("{BRANCHES}{}-{source}-{digest}", change.number))
}

/// What of a branch name may stand within ours: letters and digits of any script, and what neither git nor a shell takes for
/// something else. The rest becomes a dash, as a slash does in Telefonistka's names.
fn branch_part(branch: &str) -> String {
    let mut part = String::new();
    for c in branch.chars() {
        let c = match c {
            // Two dots, or one before `lock`, mean something to git; one alone does not, since more text follows ours.
            '.' if part.ends_with('.') => '-',
            c if c.is_alphanumeric() || "-_.+=@,".contains(c) => c,
            _ => '-',
        };
        if part.len() + c.len_utf8() > MAX_BRANCH_PART {
            break;
        }
        part.push(c);
    }
    if part.is_empty() {
        "change".to_owned()
    } else {
        part
    }
}

/// `🚀 Promotion: <components> ➡️  <description>`, or `⏪ Rollback:` and so on, at most 250 characters. What does not fit is counted.
pub(super) fn title(change: &Change, components: &[String], description: &str) -> String {
    let what = match change.rollback {
        Some(_) => "⏪ Rollback",
        None => "🚀 Promotion",
    };
    titled(what, components, description)
}

fn titled(what: &str, components: &[String], description: &str) -> String {
    let components: Vec<String> = components.iter().map(|name| neutral(name)).collect();
    let description = neutral(description);
    let whole = |components: &str, description: &str| format!("{what}: {components} ➡️  {description}");
    let fits = |title: &String| title.chars().count() <= MAX_TITLE;

    let all = whole(&components.join(","), &description);
    if fits(&all) {
        return all;
    }
    let short = cut(&description, SHORT_DESCRIPTION);
    // The most names that fit beside the whole description, or else beside what a title has room for.
    for description in [description.as_str(), short.as_str()] {
        let room = MAX_TITLE.checked_sub(whole("", description).chars().count());
        if let Some(names) = room.and_then(|room| listing(&components, room)) {
            return whole(&names, description);
        }
    }
    let room = MAX_TITLE.saturating_sub(whole("", &short).chars().count());
    let more = match components.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let first = components.first().map(String::as_str).unwrap_or_default();
    let first = cut(first, room.saturating_sub(more.chars().count()));
    whole(&format!("{first}{more}"), &short)
}

/// As many names as fit into `room` characters with a word on the rest; none if not even one does.
fn listing(names: &[String], room: usize) -> Option<String> {
    let all: usize = names.iter().map(|name| name.chars().count() + 1).sum();
    if all <= room + 1 {
        return Some(names.join(","));
    }
    let mut used = 0;
    let mut best = None;
    for (index, name) in names.iter().enumerate() {
        used += name.chars().count() + usize::from(index > 0);
        if used > room {
            break;
        }
        let rest = names.len() - index - 1;
        if used + format!(" and {rest} more").chars().count() <= room {
            best = Some((index + 1, rest));
        }
    }
    let (count, rest) = best?;
    let named = names.get(..count)?.join(",");
    Some(format!("{named} and {rest} more"))
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(3)).collect();
    short.push_str("...");
    short.chars().take(room).collect()
}

/// The text on one line, without what changes the direction of text, and with nothing that GitHub takes for a person or an issue:
/// a title becomes the subject of a merge commit, where both are links.
fn neutral(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_mark = false;
    for c in text.chars() {
        let c = match c {
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                continue;
            }
            c => c,
        };
        if after_mark && c.is_alphanumeric() {
            out.push('\u{200b}');
        }
        after_mark = matches!(c, '@' | '#');
        out.push(c);
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn title(components: &[String], description: &str) -> String {
        titled("🚀 Promotion", components, description)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_title_names_the_components_and_where_they_go() {
        assert_eq!(
            title(&names(&["nginx", "redis"]), "Staging"),
            "🚀 Promotion: nginx,redis ➡️  Staging"
        );
    }

    #[test]
    fn a_long_title_counts_the_components_that_it_leaves_out() {
        let many: Vec<String> = (0..50).map(|n| format!("component-{n:02}")).collect();
        let title = title(&many, "Production");
        assert!(
            title.starts_with("🚀 Promotion: component-00,component-01,"),
            "{title}"
        );
        assert!(title.ends_with(" more ➡️  Production"), "{title}");
        assert!(title.chars().count() > 230, "{title}");
    }

    #[test]
    fn a_long_description_is_cut_and_a_long_name_too() {
        let long = "x".repeat(400);
        let one = title(&names(&["nginx"]), &long);
        assert!(
            one.starts_with("🚀 Promotion: nginx ➡️  xxx") && one.ends_with("..."),
            "{one}"
        );
        let both = title(&[long.clone(), long.clone()], &long);
        assert!(both.contains("... and 1 more ➡️  "), "{both}");
    }

    #[test]
    fn a_title_mentions_nobody() {
        let title = title(&names(&["a\nb", "@acme/ops"]), "fixes #12 \u{202e}");
        assert_eq!(title, "🚀 Promotion: a b,@\u{200b}acme/ops ➡️  fixes #\u{200b}12");
    }

    #[test]
    fn a_source_branch_becomes_part_of_a_branch_name() {
        for (head, part) in [
            ("feature/nginx", "feature-nginx"),
            ("", "change"),
            ("..", ".-"),
            ("a..b", "a.-b"),
            ("x.lock", "x.lock"),
            ("@{u}", "@-u-"),
            ("ünïcode 日本", "ünïcode-日本"),
            ("$(rm)`'\"", "--rm----"),
        ] {
            assert_eq!(branch_part(head), part, "{head:?}");
        }
        assert_eq!(branch_part(&"ü".repeat(300)).len(), 180);
    }

    proptest! {
        #[test]
        fn a_title_is_never_too_long(components in proptest::collection::vec(any::<String>(), 0..40), description in any::<String>()) {
            let title = title(&components, &description);
            prop_assert!(title.chars().count() <= MAX_TITLE);
            prop_assert!(!title.chars().any(char::is_control));
        }

        #[test]
        fn a_long_title_is_never_too_long(component in "[a-z@ü]{0,300}", count in 0_usize..5, description in "[a-z#ü ]{0,300}") {
            prop_assert!(title(&vec![component; count], &description).chars().count() <= MAX_TITLE);
        }

        #[test]
        fn a_branch_name_is_always_valid(head in any::<String>(), number in any::<u64>()) {
            let name = format!("promotions/{number}-{}-0123456789ab", branch_part(&head));
            prop_assert!(BranchName::parse(name.clone()).is_ok(), "{name:?}");
        }
    }
}
