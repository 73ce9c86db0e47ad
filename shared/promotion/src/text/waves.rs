//! How far a promotion is, wave by wave: the page behind the one sentence that the check run of a change is titled with.

use super::page::Page;
use super::{LIMIT, markdown};

const CUT: &str =
    "**Cut here:** GitHub takes no longer text. `/promote status` and the pull requests say the rest.";

/// The most pull requests that a row names.
const NAMED: usize = 20;

/// One wave of a flow, or one pull request where there are no waves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    /// What the policy calls the flow; none if it does not say.
    pub flow: Option<String>,
    /// What people call it.
    pub name: String,
    /// How it is, in plain text.
    pub how: String,
    /// Its pull requests, each with how it is, in Markdown, such as `#12 open`.
    pub pull_requests: Vec<String>,
}

/// The page, in Markdown. `sentence` is what it is titled with, uncut; `decided` is what people have decided, in Markdown.
#[must_use]
pub fn summary(sentence: &str, waves: &[Wave], decided: Option<&str>) -> String {
    let mut page = Page::new(LIMIT, CUT, "");
    page.block(&markdown::text(sentence));
    let has_flows = waves.iter().any(|wave| wave.flow.is_some());
    let rows = waves.iter().map(|wave| {
        let flow = if has_flows {
            let flow = wave.flow.as_deref().unwrap_or_default();
            format!("| {} ", markdown::text(flow))
        } else {
            String::new()
        };
        let more = wave.pull_requests.len().saturating_sub(NAMED);
        let mut named: Vec<String> = wave.pull_requests.iter().take(NAMED).cloned().collect();
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        format!(
            "{flow}| {} | {} | {} |",
            markdown::text(&wave.name),
            markdown::text(&wave.how),
            named.join(", ")
        )
    });
    let head = if has_flows {
        "| Flow | Wave | How it is | Pull requests |\n|---|---|---|---|\n"
    } else {
        "| Wave | How it is | Pull requests |\n|---|---|---|\n"
    };
    page.rows(head, rows, "");
    if let Some(decided) = decided {
        page.block(decided.trim_end());
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(name: &str, how: &str, pull_requests: &[&str]) -> Wave {
        Wave {
            flow: None,
            name: name.to_owned(),
            how: how.to_owned(),
            pull_requests: pull_requests.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn each_wave_has_a_row() {
        let waves = [
            wave("staging", "done", &["#12 merged"]),
            wave(
                "production/us|west",
                "waits for the merge",
                &["#13 open", "#14 open"],
            ),
        ];
        assert_eq!(
            summary("Waiting for @mona", &waves, Some("**Nobody holds** it.\n")),
            "Waiting for @&#8203;mona\n\n\
             | Wave | How it is | Pull requests |\n|---|---|---|\n\
             | staging | done | #12 merged |\n\
             | production/us\\|west | waits for the merge | #13 open, #14 open |\n\n\
             **Nobody holds** it.\n"
        );
    }

    #[test]
    fn flows_are_told_apart_where_they_have_names() {
        let mut named = wave("lab", "later", &[]);
        named.flow = Some("fast".to_owned());
        let text = summary("x", &[named, wave("staging", "later", &[])], None);
        assert!(text.contains("| fast | lab | later |  |"), "{text}");
        assert!(text.contains("|  | staging | later |  |"), "{text}");
    }

    #[test]
    fn many_are_counted_and_the_page_is_bounded() {
        let many: Vec<String> = (0..30).map(|n| format!("#{n} open")).collect();
        let mut one = wave("all", "x", &[]);
        one.pull_requests = many;
        let text = summary("x", std::slice::from_ref(&one), None);
        assert!(text.contains("#19 open, and 10 more"), "{text}");
        let text = summary("x", &vec![one; 5_000], None);
        assert!(text.len() <= LIMIT && text.contains("Cut here"), "{}", text.len());
    }
}
