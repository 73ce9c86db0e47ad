use super::super::{sample, status};
use crate::PrNumber;
use crate::policy::{PolicyError, PolicyErrors};

fn pull_requests(count: u64, description: &str) -> Vec<(PrNumber, String)> {
    (0..count)
        .map(|n| (PrNumber::new(12 + n), description.to_owned()))
        .collect()
}

#[test]
fn every_state_has_one_sentence() {
    let opened = [(PrNumber::new(12), "lab"), (PrNumber::new(13), "staging")];
    for (sentence, expected) in [
        (
            status::nothing("no file of this change lies in a component"),
            "Nothing to promote: no file of this change lies in a component",
        ),
        (
            status::opened(&opened),
            "Opened #12 lab, #13 staging; waiting for their review",
        ),
        (
            status::opened(&pull_requests(1, "lab")),
            "Opened #12 lab; waiting for its review",
        ),
        (
            status::opened(&pull_requests(1, "")),
            "Opened #12; waiting for its review",
        ),
        (status::merged(&opened), "Merged #12 lab, #13 staging"),
        (
            status::opened_to_merge(&opened),
            "Opened #12 lab, #13 staging; merged as soon as checks allow",
        ),
        (
            status::declined(&opened),
            "Closed by people #12 lab, #13 staging; not opened again",
        ),
        (
            status::dry_run(2),
            "Dry run: would open 2 promotion pull requests",
        ),
        (
            status::policy_broken(&PolicyErrors::from(PolicyError {
                file: "telefonistka.yaml".to_owned(),
                line: 3,
                column: 5,
                message: "expected a list".to_owned(),
            })),
            "Policy error at telefonistka.yaml:3:5: expected a list",
        ),
        (
            status::missing(1, 3),
            "1 of 3 promotion pull requests could not be opened",
        ),
        (
            status::stopped(&sample::step_to_staging(), "the branch was changed by a person"),
            "Promotion to clusters/staging/europe-west4/c1 and 1 more stopped: the branch was changed by a person",
        ),
    ] {
        assert_eq!(sentence, expected);
    }
}

#[test]
fn many_pull_requests_are_counted() {
    assert_eq!(
        status::opened(&pull_requests(30, "production/europe-west4")),
        "Opened #12 production/europe-west4, #13 production/europe-west4, #14 production/europe-west4 and 27 more; waiting for their review"
    );
    assert_eq!(
        status::merged(&pull_requests(0, "")),
        "Merged 0 promotion pull requests"
    );
}

#[test]
fn a_long_sentence_ends_within_140() {
    assert_eq!(
        status::fit(&"word ".repeat(40)),
        format!("{}…", "word ".repeat(28).trim_end())
    );
    assert_eq!(status::fit(&"a".repeat(140)), "a".repeat(140));
    assert_eq!(status::fit(&"🚀".repeat(70)), "🚀".repeat(70));
    assert_eq!(status::fit(&"🚀".repeat(71)), format!("{}…", "🚀".repeat(69)));
}

proptest::proptest! {
    #[test]
    fn no_sentence_is_too_long_or_has_two_lines(text in "(.|\n|🚀){0,300}", count in 0_u64..40) {
        let mut step = sample::step_to_lab();
        step.description.clone_from(&text);
        let error = PolicyError { file: text.clone(), line: 1, column: 1, message: text.clone() };
        for sentence in [
            status::nothing(&text),
            status::opened(&pull_requests(count, &text)),
            status::merged(&pull_requests(count, &text)),
            status::policy_broken(&error.into()),
            status::stopped(&step, &text),
        ] {
            assert!(sentence.encode_utf16().count() <= status::LIMIT, "{sentence}");
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
            assert!(!sentence.is_empty());
        }
    }
}
