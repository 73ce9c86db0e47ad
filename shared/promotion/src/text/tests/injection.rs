//! Whatever people call their titles, paths and components, a text made of them has our own structure and no other.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use regex::Regex;

use super::super::drift::{Drift, DriftReport, FileDrift};
use super::super::failure;
use super::super::{LIMIT, Links, dry_run, markdown, pull_request, sample};
use super::drifts::drift;
use crate::PathInRepo;
use crate::change::Change;
use crate::plan::{Plan, Skipped, Step};
use crate::policy::PolicyError;

const MARKER: &str = "<!-- lockflight:v1 e30 00 -->";
const WEB: &str = "https://forge.example";

/// Pieces that have an effect somewhere in GitHub, and ordinary ones.
const PIECES: &[&str] = &[
    "@",
    "@alice",
    "@acme/team",
    "a@b.example",
    "#1",
    "GH-2",
    "acme/app#3",
    "fixes ",
    "closes: #4",
    "https://evil.example",
    "www.evil.example",
    "[x](https://evil.example)",
    "![x](y)",
    "[x]",
    "[^1]",
    "<!--",
    "-->",
    "<!-- lockflight:v1 x y -->",
    "<!-- lockflight:end -->",
    "<script>",
    "</details>",
    "<details>",
    "<img src=x>",
    "</code>",
    "&lt;",
    "&#64;",
    "&#x3c;!--",
    "`",
    "``",
    "```",
    "````",
    "~~~",
    "|",
    "\\",
    "\\|",
    "*",
    "**",
    "_",
    "$$",
    "\n",
    "\r\n",
    "\n\n",
    "\n\n---\n",
    "\n# ",
    "\n- ",
    "> ",
    "- ",
    "1. ",
    "# ",
    "===",
    "    ",
    "\t",
    "\0",
    "\u{1b}[31m",
    "\u{202e}",
    "\u{2066}",
    "\u{200b}",
    "\u{2028}",
    " ",
    "a",
    "/",
    "nginx",
    "日本語",
    "é",
    "🚀",
    ":tada:",
    "{{ x }}",
    "%0a",
    "(",
    ")",
    "!",
    "x",
];

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![4 => select(PIECES).prop_map(str::to_owned), 1 => ".{0,5}"];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// What of a text may be in a path.
fn as_path(text: &str) -> PathInRepo {
    let allowed: String = text
        .chars()
        .filter(|&c| !c.is_control() && c != '\\' && !matches!(c, '\u{202e}' | '\u{2066}'))
        .collect();
    let path = allowed
        .split('/')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/");
    PathInRepo::parse(path).unwrap_or_else(|_| sample::path("fallback"))
}

#[derive(Debug)]
struct Case {
    change: Change,
    step: Step,
}

prop_compose! {
    fn cases()(title in nasty(), source in nasty(), description in nasty(), names in prop::collection::vec(nasty(), 1..4),
               reason in nasty(), later: bool) -> Case {
        let mut change = if later { sample::later_change() } else { sample::change() };
        change.title = title;
        change.head_branch.clone_from(&source);
        let mut step = sample::step_to_staging();
        if let Some(hop) = change.lineage.hops.first_mut() {
            hop.source.clone_from(&source);
            hop.targets = names.iter().map(|name| as_path(name)).collect();
        }
        step.source = source;
        step.description = description;
        for (sync, name) in step.sync.iter_mut().zip(&names) {
            sync.to = sync.to.join(&as_path(name));
        }
        for (target, name) in step.targets.iter_mut().zip(&names) {
            target.path = as_path(name);
        }
        step.skipped = names
            .iter()
            .map(|name| Skipped { component: name.clone(), target: as_path(name), reason: reason.clone() })
            .collect();
        step.components = names;
        Case { change, step }
    }
}

/// What GitHub would make of a text.
#[derive(Debug, Default)]
struct Rendered {
    /// The text outside code, as its reader and GitHub's second pass see it.
    text: String,
    html: Vec<String>,
    links: Vec<String>,
    headings: usize,
    tables: usize,
    rules: usize,
}

fn render(markdown: &str) -> Rendered {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM;
    let mut rendered = Rendered::default();
    let mut code = 0;
    for event in Parser::new_ext(markdown, options) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => code += 1,
            Event::End(TagEnd::CodeBlock) => code -= 1,
            Event::Text(text) if code == 0 => rendered.text.push_str(&text),
            Event::Html(html) | Event::InlineHtml(html) => match &*html {
                "<code>" => code += 1,
                "</code>" => code -= 1,
                _ => rendered.html.push(html.trim().to_owned()),
            },
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                rendered.links.push(dest_url.to_string());
            }
            Event::Start(Tag::Heading { .. }) => rendered.headings += 1,
            Event::Start(Tag::Table(_)) => rendered.tables += 1,
            Event::Rule | Event::FootnoteReference(_) | Event::TaskListMarker(_) => rendered.rules += 1,
            Event::Start(Tag::Strikethrough | Tag::Emphasis | Tag::BlockQuote(_)) => rendered.rules += 1,
            Event::Start(_) | Event::End(_) | Event::SoftBreak | Event::HardBreak => rendered.text.push('\n'),
            _ => {}
        }
    }
    assert_eq!(code, 0, "code is closed: {markdown}");
    rendered
}

/// Panics if the text has an effect on GitHub that we did not put there ourselves.
fn check(markdown: &str, html: &[&str], headings: usize, ours: &Regex) {
    assert!(markdown.len() <= LIMIT);
    let rendered = render(markdown);
    assert_eq!(rendered.html, html, "{markdown}");
    assert_eq!(rendered.headings, headings, "{markdown}");
    assert_eq!(rendered.rules, 0, "{markdown}");
    assert!(
        rendered
            .links
            .iter()
            .all(|link| link.starts_with(&format!("{WEB}/acme/gitops/"))),
        "{markdown}"
    );
    let text = ours.replace_all(&rendered.text, "");
    assert!(!EFFECT.is_match(&text), "{text}\n---\n{markdown}");
    assert!(
        !markdown
            .chars()
            .any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)),
        "{markdown:?}"
    );
}

/// What GitHub's second pass would find.
static EFFECT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)@[a-z0-9]|#[0-9]|gh-[0-9]|://|www\.[a-z0-9]").unwrap());

/// The references that a body makes on purpose.
static OURS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"#10 by |#1[012] brought").unwrap());

static NOTHING: LazyLock<Regex> = LazyLock::new(|| Regex::new("$a").unwrap());

proptest! {
    #[test]
    fn a_body_has_our_structure_and_no_other(case in cases()) {
        let body = pull_request::body(&case.change, &case.step, MARKER, &Links::new(WEB));
        let summary = format!("<summary>Left out: {}</summary>", case.step.skipped.len());
        check(&body, &[MARKER, "<details>", &summary, "</details>", "<!-- lockflight:end -->"], 0, &OURS);
        assert_eq!(body.matches("<!--").count(), 2, "{body}");
        assert!(body.starts_with(&format!("{MARKER}\n")));
        assert_eq!(body.find(pull_request::END), Some(body.len() - pull_request::END.len()));
        assert_eq!(render(&body).tables, 2, "{body}");
    }

    #[test]
    fn a_dry_run_has_our_structure_and_no_other(case in cases(), note in nasty()) {
        let plan = Plan { skipped: case.step.skipped.clone(), steps: vec![case.step], notes: vec![note], ..sample::plan() };
        let text = dry_run(&case.change, &plan);
        let summary = format!("<summary>Left out: {}</summary>", plan.skipped.len());
        check(&text, &["<details>", &summary, "</details>"], 0, &NOTHING);
        assert_eq!(text.matches("<!--").count(), 0, "{text}");
        assert_eq!(render(&text).tables, 2, "{text}");
    }

    #[test]
    fn a_failure_has_our_structure_and_no_other(case in cases(), file in nasty(), message in nasty()) {
        let error = PolicyError { file, line: 1, column: 2, message: message.clone() };
        let policy = failure::policy(&case.change, &error.into(), &Links::new(WEB)).comment;
        check(&policy, &[], 0, &NOTHING);
        let step = failure::step(&case.step, &message, &case.change.title).comment;
        check(&step, &[], 0, &NOTHING);
        assert_eq!(policy.matches("<!--").count() + step.matches("<!--").count(), 0);
    }

    #[test]
    fn a_drift_has_our_structure_and_no_other(names in prop::collection::vec(nasty(), 3), diff in nasty(), ticks in 3_usize..9) {
        let diff = format!("{diff}\n{}\n@alice <b> [x](y)\n# heading\n", "`".repeat(ticks));
        let change = sample::change();
        let report = DriftReport {
            repo: change.repo.name,
            commit: change.merged_as,
            drifts: vec![Drift {
                component: names[0].clone(),
                from: as_path(&names[1]),
                to: as_path(&names[2]),
                files: vec![FileDrift { path: as_path(&names[0]), in_source: true, in_target: true, diff }],
            }],
        };
        let text = drift(&report, &Links::new(WEB));
        let text = text.replace('\t', " ");
        check(&text, &[], 1, &NOTHING);
    }

    #[test]
    fn words_are_read_as_they_were_written(given in nasty()) {
        let rendered = render(&format!("- {}", markdown::text(&given)));
        let seen: String = rendered.text.chars().filter(|&c| c != '\u{200b}').collect();
        assert_eq!(seen.trim(), markdown::one_line(&given));
    }

    #[test]
    fn any_text_at_all_is_harmless(given in "\\PC{0,40}", controls in "(\\PC|\\p{C}|[@#`|<>\\\\]){0,40}") {
        for given in [given, controls] {
            check(&format!("- {}\n", markdown::text(&given)), &[], 0, &NOTHING);
            check(&format!("| x |\n|---|\n| {} |\n", markdown::code(&given)), &[], 0, &NOTHING);
        }
    }
}
