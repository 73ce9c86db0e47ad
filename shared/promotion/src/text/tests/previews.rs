use super::super::drift::{DriftReport, FileDrift};
use super::super::preview::{self, Planned};
use super::super::status::LIMIT;
use super::super::{Links, sample};
use super::drifts::report;
use crate::message::{Preview, Verdict};
use crate::plan::Plan;
use crate::policy::{PolicyError, PolicyErrors};

fn links() -> Links {
    Links::new("https://github.com")
}

fn made(plan: &Plan, own_policy: Option<&str>, drift: &DriftReport) -> Preview {
    preview::preview(
        &Planned {
            change: &sample::change(),
            plan,
            nothing: "no changed file lies in a component of any flow",
            own_policy,
            drift,
            warnings: &[],
            heeds_labels: false,
        },
        &links(),
    )
}

fn none() -> DriftReport {
    DriftReport {
        drifts: Vec::new(),
        ..report(Vec::new())
    }
}

#[test]
fn a_change_that_goes_somewhere_says_where_and_needs_no_comment() {
    let plan = Plan {
        dry_run: false,
        ..sample::plan()
    };
    let made = made(&plan, None, &none());
    assert!(
        made.title.starts_with("Waiting to be merged; then goes to "),
        "{}",
        made.title
    );
    assert_eq!((made.verdict, made.comment), (Verdict::Good, None));
    assert!(
        made.summary.starts_with("**Plan:** This change will go"),
        "{}",
        made.summary
    );
}

#[test]
fn a_change_that_goes_nowhere_says_why() {
    let plan = Plan {
        steps: Vec::new(),
        ..sample::plan()
    };
    let made = made(&plan, None, &none());
    assert_eq!(
        made.title,
        "Nothing to promote: no changed file lies in a component of any flow"
    );
    assert_eq!((made.verdict, made.comment), (Verdict::Nothing, None));
}

#[test]
fn drift_and_a_policy_of_its_own_are_said_in_a_comment() {
    let file = FileDrift::of(sample::path("values.yaml"), Some(b"a: 1\n"), Some(b"a: 2\n"));
    let drifted = made(&sample::plan(), None, &report(vec![file]));
    assert!(
        drifted
            .title
            .starts_with("Drift: 1 target has content of its own. "),
        "{}",
        drifted.title
    );
    let comment = drifted.comment.unwrap();
    assert!(
        comment.contains("-a: 1\n+a: 2\n") && comment.contains("/blame/"),
        "{comment}"
    );
    let own = made(&sample::plan(), Some("lockflight.yaml"), &none());
    assert!(own.title.starts_with("By its own policy: "), "{}", own.title);
    assert!(own.comment.unwrap().contains("by **its own** `lockflight.yaml`"));
    for text in [drifted.title, own.title] {
        assert!(text.encode_utf16().count() <= LIMIT);
    }
}

#[test]
fn a_broken_policy_is_remarked_on_line_by_line() {
    let error = |line| PolicyError {
        file: "lockflight.yaml".to_owned(),
        line,
        column: 3,
        message: "did you mean `lab`?".to_owned(),
    };
    let errors = PolicyErrors::of(vec![error(8), error(2)]).unwrap();
    let made = preview::broken(&sample::change(), &errors, &links());
    assert_eq!(made.verdict, Verdict::Broken);
    assert!(
        made.title.starts_with("Policy error at lockflight.yaml:2:3"),
        "{}",
        made.title
    );
    let lines: Vec<u32> = made.remarks.iter().map(|remark| remark.line).collect();
    assert_eq!(lines, [2, 8]);
    assert!(made.remarks.iter().all(|remark| remark.is_error));
}
