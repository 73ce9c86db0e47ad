use super::super::failure::{policy, step};
use super::super::{LIMIT, Links, sample};
use crate::message::Report;
use crate::policy::{PolicyError, PolicyErrors};

fn errors(errors: &[(usize, &str)]) -> PolicyErrors {
    let error = |&(line, message): &(usize, &str)| PolicyError {
        file: "telefonistka.yaml".to_owned(),
        line,
        column: 5,
        message: message.to_owned(),
    };
    PolicyErrors::of(errors.iter().map(error).collect()).unwrap()
}

#[test]
fn a_broken_policy_is_shown_with_line_and_column() {
    let failure = policy(
        &sample::change(),
        &errors(&[
            (3, "unknown key `sourcePaht`; did you mean `sourcePath`?"),
            (9, "expected a list of strings"),
        ]),
        &Links::new("https://github.com"),
    );
    assert_eq!(
        failure.summary,
        "Policy error at telefonistka.yaml:3:5: unknown key `sourcePaht`; did you mean `sourcePath`? (and 1 more)"
    );
    assert_eq!(
        failure.comment,
        "\
**Nothing was promoted:** the policy has 2 errors at `0123456789ab`.

- [`telefonistka.yaml:3:5`](https://github.com/acme/gitops/blob/0123456789abcdef0123456789abcdef01234567/telefonistka.yaml#L3): unknown key \\`sourcePaht\\`; did you mean \\`sourcePath\\`?
- [`telefonistka.yaml:9:5`](https://github.com/acme/gitops/blob/0123456789abcdef0123456789abcdef01234567/telefonistka.yaml#L9): expected a list of strings

Correct it on `main` with a pull request of its own. What was merged here is promoted whole with the next change to the same components; `lockflight validate` finds such errors before a merge.
"
    );
}

#[test]
fn very_many_errors_are_cut() {
    let many: Vec<(usize, &str)> = (1..5_000).map(|line| (line, "x")).collect();
    let failure = policy(
        &sample::change(),
        &errors(&many),
        &Links::new("https://github.com"),
    );
    assert!(failure.comment.len() <= LIMIT);
    assert!(
        failure
            .comment
            .ends_with("**Cut here:** GitHub takes no longer text.\n")
    );
    assert_eq!(
        failure.summary,
        "Policy error at telefonistka.yaml:1:5: x (and 4998 more)"
    );
}

#[test]
fn a_stopped_step_says_why_and_what_to_do() {
    let failure = step(
        &sample::step_to_lab(),
        "workspace/nginx/certs is a symlink to ../../secrets, which lies outside its component.",
        "Replace the symlink by the file itself, and merge that.",
    );
    assert_eq!(
        failure.summary,
        "Promotion to lab stopped: workspace/nginx/certs is a symlink to ../../secrets, which lies outside its component."
    );
    assert_eq!(
        failure.comment,
        "\
**The promotion to lab stopped** and needs a person.

Why: workspace/nginx/certs is a symlink to ../../secrets, which lies outside its component.

What to do: Replace the symlink by the file itself, and merge that.

It would have brought `nginx` from `workspace` to `clusters/lab/europe-west4/c1`. Other promotions of this change are not affected.
"
    );
    let Report::Failed { step: stopped, .. } = Report::from(failure) else {
        panic!("not a failure");
    };
    assert_eq!(stopped, Some(sample::step_to_lab().id));
}

#[test]
fn a_change_that_cannot_be_read_says_why_and_what_to_do() {
    let failure =
        super::super::failure::change("the token may not read acme/gitops; give it access to its contents");
    assert_eq!(
        failure.summary,
        "Nothing was promoted: the token may not read acme/gitops; give it access to its contents"
    );
    assert_eq!(
        failure.comment,
        "\
**Nothing was promoted**, and it needs a person.

Why: the token may not read acme/gitops; give it access to its contents

Mend what it names, then press Redeliver on the webhook delivery of this pull request's merge.
"
    );
    assert_eq!(failure.step, None);
}
