use super::super::drift::{Drift, DriftReport, FileDrift, found};
use super::super::page::Page;
use super::super::{LIMIT, Links, sample};

fn links() -> Links {
    Links::new("https://github.com")
}

const CUT: &str = "**Cut here:** GitHub takes no longer text.";

/// A page that tells of drift and of nothing else.
pub(super) fn drift(report: &DriftReport, links: &Links) -> String {
    let mut page = Page::new(LIMIT, CUT, "");
    found(&mut page, report, links);
    page.finish()
}

fn file(path: &str, diff: &str) -> FileDrift {
    FileDrift {
        path: sample::path(path),
        in_source: true,
        in_target: true,
        diff: diff.to_owned(),
    }
}

pub(super) fn report(files: Vec<FileDrift>) -> DriftReport {
    let change = sample::change();
    DriftReport {
        repo: change.repo.name,
        commit: change.merged_as,
        drifts: vec![Drift {
            component: "nginx".to_owned(),
            from: sample::path("staging/nginx"),
            to: sample::path("prod/nginx"),
            files,
        }],
    }
}

#[test]
fn drift_is_shown_file_by_file_with_who_changed_it() {
    let report = report(vec![
        file(
            "values.yaml",
            "--- a/prod/nginx/values.yaml\n+++ b/staging/nginx/values.yaml\n@@ -1 +1 @@\n-replicas: 5\n+replicas: 2\n",
        ),
        FileDrift {
            in_source: false,
            ..file("README.md", "-```\n-kubectl scale\n-```\n")
        },
        FileDrift {
            in_target: false,
            ..file("logo.png", "")
        },
    ]);
    assert_eq!(
        drift(&report, &links()),
        "\
**Drift:** 1 target differs from the source already, apart from this change. Nothing is blocked. Promoting a component there overwrites what is shown here (`-` is the target, `+` the source).

#### `nginx` at `prod/nginx`

Compared with `staging/nginx`: 3 files differ.

`values.yaml` (who changed it: [source](https://github.com/acme/gitops/blame/0123456789abcdef0123456789abcdef01234567/staging/nginx/values.yaml), [target](https://github.com/acme/gitops/blame/0123456789abcdef0123456789abcdef01234567/prod/nginx/values.yaml))

```diff
--- a/prod/nginx/values.yaml
+++ b/staging/nginx/values.yaml
@@ -1 +1 @@
-replicas: 5
+replicas: 2
```

`README.md` is only at the target (who changed it: [target](https://github.com/acme/gitops/blame/0123456789abcdef0123456789abcdef01234567/prod/nginx/README.md))

````diff
-```
-kubectl scale
-```
````

`logo.png` is not at the target (who changed it: [source](https://github.com/acme/gitops/blame/0123456789abcdef0123456789abcdef01234567/staging/nginx/logo.png))

The content is not text.
"
    );
}

#[test]
fn a_long_diff_is_cut_between_lines_and_says_so() {
    let long = "+a line of a long file with ``` in it\n".repeat(1_000);
    let text = drift(
        &report(vec![file("a.yaml", &long), file("b.yaml", "+x\n")]),
        &links(),
    );
    let kept = text.matches("+a line of").count();
    assert!(kept > 200, "{kept}");
    assert!(
        text.contains(&format!("````\n\n{} lines more are not shown.\n", 1_000 - kept)),
        "{text}"
    );
    assert!(text.ends_with("```diff\n+x\n```\n"), "{text}");
}

#[test]
fn one_line_that_is_too_long_is_not_shown() {
    let text = drift(
        &report(vec![file("a.json", &"x".repeat(100_000)), file("b", "+y\n")]),
        &links(),
    );
    assert!(
        text.contains("Its lines are too long to be shown.\n\n`b` (who"),
        "{text}"
    );
}

#[test]
fn much_drift_is_cut_and_says_so() {
    for (files, lines) in [(2_000, 1), (200, 100), (30, 10_000)] {
        let diff = "+日本語 \u{202e} `\n".repeat(lines);
        let files = (0..files).map(|n| file(&format!("{n}.yaml"), &diff)).collect();
        let text = drift(&report(files), &links());
        assert!(text.len() <= LIMIT);
        assert!(text.len() > LIMIT / 2);
        assert!(text.ends_with(&format!("\n\n{CUT}\n")), "{text}");
    }
}
