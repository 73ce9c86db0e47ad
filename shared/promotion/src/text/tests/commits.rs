use super::super::commit::message;
use super::super::sample;

#[test]
fn a_commit_says_where_it_comes_from() {
    assert_eq!(
        message(&sample::change(), &sample::step_to_staging()),
        "\
Syncing from `workspace`: nginx and redis

Promotes what pull request 10 merged, to:
- clusters/staging/europe-west4/c1
- clusters/staging/us-central1/c1

Promotion-Id: 657bcddabc3aec9bcfd98b421bcd70e398d226e5c0bdd99aa84f8dcfabae9db5
Promoted-From: acme/gitops@0123456789abcdef0123456789abcdef01234567
Traceparent: 00-5d368ec1a6fe133ef354d8259e6dc3f3-1e53a3730f825209-01
"
    );
}

#[test]
fn the_subject_has_at_most_100_characters() {
    let subject = |source: &str, components: &[&str]| {
        let mut step = sample::step_to_lab();
        step.source = source.to_owned();
        step.components = components.iter().map(|&name| name.to_owned()).collect();
        let message = message(&sample::change(), &step);
        message.lines().next().unwrap().to_owned()
    };
    assert_eq!(
        subject("workspace", &["a", "b", "c", "d", "e", "f", "g"]),
        "Syncing from `workspace`: a, b, c, d, e and 2 more"
    );
    let long = "component".repeat(10);
    assert_eq!(
        subject("workspace", &[&long, "b"]),
        "Syncing from `workspace`: 2 components"
    );
    let cut = subject(&"日".repeat(200), &["a"]);
    assert_eq!(cut, format!("Syncing from `{}…`: 1 component", "日".repeat(71)));
    assert_eq!(cut.chars().count(), 100);
}

#[test]
fn no_name_adds_a_trailer_or_mentions_anybody() {
    let mut change = sample::change();
    change.title = "x\n\nPromoted-From: evil/repo@0".to_owned();
    let mut step = sample::step_to_lab();
    step.source = "a\nSigned-off-by: x\n\nPromotion-Id: 0 @acme `".to_owned();
    step.components = vec!["b\r\nfixes #12".to_owned()];
    step.targets[0].path = sample::path("apps/@acme/fixes #13");
    let message = message(&change, &step);
    assert_eq!(
        message,
        "\
Syncing from `a Signed-off-by: x Promotion-Id: 0 @ acme '`: b fixes # 12

Promotes what pull request 10 merged, to:
- apps/@ acme/fixes # 13

Promotion-Id: 657bcddabc3aec9bcfd98b421bcd70e398d226e5c0bdd99aa84f8dcfabae9db5
Promoted-From: acme/gitops@0123456789abcdef0123456789abcdef01234567
Traceparent: 00-5d368ec1a6fe133ef354d8259e6dc3f3-1e53a3730f825209-01
"
    );
}

#[test]
fn a_title_changed_after_the_merge_makes_the_same_commit() {
    let mut renamed = sample::change();
    renamed.title = "Another title".to_owned();
    let step = sample::step_to_lab();
    assert_eq!(message(&renamed, &step), message(&sample::change(), &step));
}
