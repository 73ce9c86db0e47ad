use proptest::prelude::*;

use super::*;
use crate::policy::{PolicyError, SourceMatch};

fn policy(yaml: &str) -> Policy {
    Policy::compile("telefonistka.yaml", yaml).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(yaml: &str) -> Vec<String> {
    let errors = Policy::compile("telefonistka.yaml", yaml).expect_err("an error");
    errors.iter().map(ToString::to_string).collect()
}

fn warnings(yaml: &str) -> Vec<String> {
    policy(yaml).warnings().iter().map(ToString::to_string).collect()
}

fn targets(group: &Group) -> Vec<&str> {
    group.targets.iter().map(|target| target.path.as_str()).collect()
}

const EVERY_KEY: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    componentPathExtraDepth: 2
    conditions:
      prHasLabels:
        - "some-label"
        - yes
      autoMerge: yes
    promotionPrs:
      - targetDescription: "Staging clusters"
        targetPaths:
          - "clusters/staging/us/c1/"
          - "clusters/staging/eu/c1/"
      - targetPaths: ["clusters/lab/"]
  - sourcePath: "clusters/staging/[^/]*/[^/]*/"
    promotionPrs:
      - targetPaths:
          - "clusters/prod/us/c2/"
promtionPRlables:
  - "promotion"
dryRunMode: on
autoApprovePromotionPrs: True
toggleCommitStatus:
  override-terraform-pipeline: "github-action-terraform"
  12: ~
webhookEndpointRegexs:
  - expression: ^workspace/([^/]*)/.*
    replacements:
      - "https://argocd.example.com/${1}/api/webhook"
whProxtSkipTLSVerifyUpstream: "off_is_no_truth"
argocd:
  commentDiffonPR: y
  autoMergeNoDiffPRs: TRUE
  allowSyncfromBranchPathRegex: '^workspace/.*$'
  useSHALabelForAppDiscovery: No
  createTempAppObjectFromNewApps: true
"#;

#[test]
fn every_key_is_read() {
    let found = errors(EVERY_KEY);
    assert_eq!(
        found,
        ["telefonistka.yaml:31:31: found quoted text; expected `true` or `false` without quotes"]
    );
    let policy = policy(&EVERY_KEY.replace("\"off_is_no_truth\"", "on"));
    let idle: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        idle,
        [
            "telefonistka.yaml:31:31: `whProxtSkipTLSVerifyUpstream` has no effect: certificates are always checked; whoever runs Lockflight can name an authority of your own in [outbound] ca_file",
            "telefonistka.yaml:33:3: `argocd` is read and has no effect yet",
        ]
    );
    assert_eq!(policy.file(), "telefonistka.yaml");

    let [first, second] = policy.flows() else { panic!() };
    assert_eq!(first.source.directories.as_str(), "workspace");
    assert_eq!(first.source.directories.depth(), 3);
    assert_eq!(first.reference.line, 3);
    assert!(first.waves[0].auto_merge);
    assert_eq!(
        first
            .conditions
            .any_label
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["some-label", "yes"]
    );
    let [staging, lab] = first.waves[0].groups.as_slice() else {
        panic!()
    };
    assert_eq!(staging.description.as_deref(), Some("Staging clusters"));
    assert_eq!(
        targets(staging),
        ["clusters/staging/us/c1", "clusters/staging/eu/c1"]
    );
    assert_eq!(lab.description, None);
    assert_eq!(targets(lab), ["clusters/lab"]);
    assert_eq!(
        (
            second.reference.index,
            second.reference.line,
            second.source.directories.depth()
        ),
        (1, 16, 1)
    );
    assert!(!second.waves[0].auto_merge && second.conditions.any_label.is_empty());

    assert_eq!(
        *policy.settings(),
        Settings {
            dry_run: true,
            approve: true,
            supersede: Supersede::Leave,

            accept_from: Vec::new(),
            toggle_commit_status: [
                ("override-terraform-pipeline", "github-action-terraform"),
                ("12", "")
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
            webhook_endpoints: vec![WebhookEndpoint {
                expression: "^workspace/([^/]*)/.*".to_owned(),
                replacements: vec!["https://argocd.example.com/${1}/api/webhook".to_owned()],
            }],
            webhook_skip_tls_verify: true,
            pr_labels: vec!["promotion".to_owned()],
            argocd: ArgoCdSettings {
                comment_diff: true,
                auto_merge_no_diff: true,
                allow_sync_from_branch: Some("^workspace/.*$".to_owned()),
                use_sha_label: false,
                create_temporary_apps: true,
            },
        }
    );
}

#[test]
fn an_empty_file_is_no_policy() {
    for empty in ["", "# nothing\n", "---\n", "~\n"] {
        assert_eq!(policy(empty), Policy::none(), "{empty:?}");
    }
    assert!(policy("{}").flows().is_empty());
    assert!(policy("promotionPaths:\n").flows().is_empty());
}

#[test]
fn missing_values_are_empty_ones_as_in_yaml_v2() {
    let policy = policy(
        "promotionPaths:\n- sourcePath: a/\n  componentPathExtraDepth:\n  conditions:\n  promotionPrs:\n  - targetPaths: [b/]\n    \
         targetDescription:\ndryRunMode:\nargocd:\n",
    );
    let [flow] = policy.flows() else { panic!() };
    assert_eq!(flow.source.directories.depth(), 1);
    assert!(flow.conditions.any_label.is_empty() && !flow.waves[0].auto_merge);
    assert_eq!(flow.waves[0].groups[0].description, None);
    assert!(!policy.settings().dry_run);
}

#[test]
fn yaml_1_1_truths_are_read_as_yaml_v2_reads_them() {
    for (text, expected) in [
        ("y", true),
        ("Y", true),
        ("yes", true),
        ("Yes", true),
        ("YES", true),
        ("on", true),
        ("On", true),
        ("ON", true),
        ("true", true),
        ("True", true),
        ("TRUE", true),
        ("n", false),
        ("no", false),
        ("off", false),
        ("OFF", false),
        ("false", false),
        ("", false),
        ("~", false),
        ("null", false),
    ] {
        assert_eq!(
            policy(&format!("dryRunMode: {text}")).settings().dry_run,
            expected,
            "{text:?}"
        );
    }
    for text in [
        "\"true\"", "'yes'", "yEs", "1", "0", "enabled", "[true]", "{a: 1}",
    ] {
        let errors = errors(&format!("dryRunMode: {text}"));
        assert!(
            errors[0].starts_with("telefonistka.yaml:1:13: found "),
            "{errors:?}"
        );
    }
}

#[test]
fn depths_are_whole_numbers() {
    let flow = |depth: &str| {
        format!(
            "promotionPaths:\n- sourcePath: a/\n  componentPathExtraDepth: {depth}\n  promotionPrs: [{{targetPaths: [b/]}}]\n"
        )
    };
    for (text, depth) in [("0", 1), ("2", 3), ("+1", 2), ("1.0", 2), ("30", 31), ("~", 1)] {
        assert_eq!(
            policy(&flow(text)).flows()[0].source.directories.depth(),
            depth,
            "{text}"
        );
    }
    for text in ["-1", "1.5", "\"1\"", "31", "99999999999999999999", "x", "[1]"] {
        assert!(
            errors(&flow(text))[0].contains(":3:28: found "),
            "{text}: {:?}",
            errors(&flow(text))
        );
    }
}

#[test]
fn every_mistake_has_its_line_and_column() {
    for (name, yaml, expected) in [
        (
            "not a map",
            "- a\n",
            "1:1: found a list; expected a map of policy keys",
        ),
        (
            "flows",
            "promotionPaths: x\n",
            "1:17: found a single value; expected a list of flows",
        ),
        (
            "a flow",
            "promotionPaths:\n  - x\n",
            "2:5: found a single value; expected a flow",
        ),
        (
            "no source",
            "promotionPaths:\n- promotionPrs: [{targetPaths: [a/]}]\n",
            "2:3: this flow has no source",
        ),
        (
            "an empty source",
            "promotionPaths:\n- sourcePath: ''\n  promotionPrs: [{targetPaths: [a/]}]\n",
            "2:15: this flow has no source",
        ),
        (
            "a listed source",
            "promotionPaths:\n- sourcePath: [a/]\n  promotionPrs: [{targetPaths: [a/]}]\n",
            "2:15: found a list; expected `sourcePath`",
        ),
        (
            "a bad pattern",
            "promotionPaths:\n- promotionPrs: [{targetPaths: [a/]}]\n  sourcePath: clusters/(prod/\n",
            "3:15: expected a regular expression in Go's syntax: a group is not closed (at character 16)",
        ),
        (
            "a pattern that Go refuses",
            "promotionPaths:\n- sourcePath: c++/\n  promotionPrs: [{targetPaths: [a/]}]\n",
            "2:15: expected a regular expression in Go's syntax: a repeat follows a repeat (at character 3)",
        ),
        (
            "labels",
            "promotionPaths:\n- sourcePath: a/\n  conditions:\n    prHasLabels: quick\n",
            "4:18: found a single value; expected a list of labels",
        ),
        (
            "a label",
            "promotionPaths:\n- sourcePath: a/\n  conditions:\n    prHasLabels: [quick, [x]]\n",
            "4:26: found a list; expected a text",
        ),
        (
            "no targets",
            "promotionPaths:\n- sourcePath: a/\n  promotionPrs:\n  - targetDescription: x\n",
            "4:5: this pull request leads nowhere; expected `targetPaths`",
        ),
        (
            "empty targets",
            "promotionPaths:\n- sourcePath: a/\n  promotionPrs:\n  - targetPaths: []\n",
            "4:18: this pull request leads nowhere",
        ),
        (
            "one target without a list",
            "promotionPaths:\n- sourcePath: a/\n  promotionPrs:\n  - targetPaths: b/\n",
            "4:18: found a single value; expected `targetPaths`, a list",
        ),
        (
            "a missing target",
            "promotionPaths:\n- sourcePath: a/\n  promotionPrs:\n  - targetPaths: [b/, ~]\n",
            "4:23: found nothing; expected a text",
        ),
        (
            "toggles",
            "toggleCommitStatus: [a]\n",
            "1:21: found a list; expected a map from comment commands",
        ),
        (
            "a toggle",
            "toggleCommitStatus:\n  a: [b]\n",
            "2:6: found a list; expected the context of a commit status",
        ),
        (
            "an endpoint's pattern",
            "webhookEndpointRegexs:\n- expression: '('\n",
            "2:15: expected a regular expression",
        ),
        (
            "the sync pattern",
            "argocd: { allowSyncfromBranchPathRegex: '[' }\n",
            "1:41: expected a regular expression",
        ),
        (
            "a duplicate key",
            "dryRunMode: true\ndryRunMode: false\n",
            "2:1: the key `dryRunMode`",
        ),
        ("not YAML", "promotionPaths: [\n", "1:17: this is not valid YAML"),
    ] {
        let found = errors(yaml);
        assert!(
            found[0].starts_with(&format!("telefonistka.yaml:{expected}")),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let found = errors(
        "dryRunMode: 'x'\npromotionPaths:\n- sourcePath: '('\n  promotionPrs:\n  - targetPaths: [/a, b/, ../c]\n- {}\n",
    );
    let places: Vec<&str> = found.iter().map(|e| e.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "telefonistka.yaml:1:13",
            "telefonistka.yaml:3:15",
            "telefonistka.yaml:5:19",
            "telefonistka.yaml:5:27",
            "telefonistka.yaml:6:3",
        ]
    );
    let errors = Policy::compile("telefonistka.yaml", "a: [").unwrap_err();
    assert_eq!(errors.first(), errors.iter().next().unwrap());
    assert_eq!(errors.class(), crate::ErrorClass::User);
}

#[test]
fn targets_that_no_promotion_may_touch_are_refused() {
    for target in [
        "/clusters",
        "../x",
        "a/../b",
        ".",
        "./",
        "''",
        "/",
        "a//b",
        ".git/hooks",
        "a/.GIT",
        ".github/workflows/",
        ".github",
        ".gitops/",
        "docs/CODEOWNERS",
        "telefonistka.yaml",
        "lockflight.yaml",
        "a\\b",
        "\"a\\u202eb\"",
    ] {
        let yaml =
            format!("promotionPaths:\n- sourcePath: a/\n  promotionPrs:\n  - targetPaths:\n    - {target}\n");
        let found = errors(&yaml);
        assert!(
            found[0].starts_with("telefonistka.yaml:5:7: no promotion may lead here: "),
            "{target}: {found:?}"
        );
    }
}

#[test]
fn odd_things_are_read_in_good_part_and_warned_of() {
    let flow = "sourcePath: a/\n  promotionPrs: [{targetPaths: [b/]}]";
    for (name, yaml, expected) in [
        ("an unknown key", format!("dryrunmode: yes\npromotionPaths:\n- {flow}\n"), "1:1: unknown key `dryrunmode` is ignored; did you mean `dryRunMode`?"),
        ("a key of the documentation", format!("argocd:\n  commentArgocdDiffonPR: true\npromotionPaths:\n- {flow}\n"), "2:3: unknown key `commentArgocdDiffonPR` is ignored"),
        ("an unheard-of key", "promotionBranchNameTemplte: x\n".to_owned(), "1:1: unknown key `promotionBranchNameTemplte` is ignored"),
        ("a key that is no word", "'<b>@all</b>': x\n".to_owned(), "1:1: an unknown key is ignored"),
        ("a key that is no text", "? [a]\n: x\n".to_owned(), "1:3: a key that is no text is ignored"),
        ("a source without slash", "promotionPaths:\n- sourcePath: workspace\n  promotionPrs: [{targetPaths: [b/]}]\n".to_owned(), "2:15: `sourcePath` has no slash at its end"),
        ("a target without slash", "promotionPaths:\n- sourcePath: a/\n  promotionPrs: [{targetPaths: [b/, c, d]}]\n".to_owned(), "3:37: a target has no slash at its end"),
        ("an absolute source", "promotionPaths:\n- sourcePath: /a/\n  promotionPrs: [{targetPaths: [b/]}]\n".to_owned(), "2:15: paths in a repository begin with neither"),
        ("empty labels", format!("promotionPaths:\n- {flow}\n  conditions: {{prHasLabels: []}}\n"), "4:29: an empty `prHasLabels` is no condition"),
        ("a target twice", "promotionPaths:\n- sourcePath: a/\n  promotionPrs: [{targetPaths: [b/, b/]}]\n".to_owned(), "3:37: this target stands twice"),
        ("a target in two groups", "promotionPaths:\n- sourcePath: a/\n  promotionPrs: [{targetPaths: [b/]}, {targetPaths: [b/, c/]}]\n".to_owned(), "3:54: another pull request of this flow"),
        ("no groups", "promotionPaths:\n- sourcePath: a/\n".to_owned(), "2:3: this flow has no `promotionPrs`"),
    ] {
        let mut found = warnings(&yaml);
        found.retain(|warning| !warning.contains("has no effect"));
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].starts_with(&format!("telefonistka.yaml:{expected}")), "{name}: {found:?}");
    }
}

#[test]
fn both_spellings_of_the_label_list_are_taken() {
    let policy = policy("promtionPRlables: [a]\npromtionPrLables: [b]\n");
    assert_eq!(policy.settings().pr_labels, ["a", "b"]);
    assert_eq!(policy.warnings(), []);
}

#[test]
fn an_empty_list_of_labels_is_no_condition() {
    let policy = policy("promotionPaths:\n- sourcePath: a/\n  conditions: {prHasLabels: []}\n");
    assert!(policy.flows()[0].conditions.hold(&BTreeSet::new(), &octocat()));
}

fn octocat() -> crate::Login {
    crate::Login::parse("octocat").unwrap()
}

#[test]
fn a_condition_holds_when_any_label_is_there() {
    let conditions = Conditions {
        any_label: ["quick", "hot"].map(str::to_owned).into(),
        ..Conditions::default()
    };
    let labels = |labels: &[&str]| labels.iter().map(|l| (*l).to_owned()).collect();
    assert!(conditions.hold(&labels(&["x", "hot"]), &octocat()));
    assert!(!conditions.hold(&labels(&["Hot"]), &octocat()));
    assert!(!conditions.hold(&labels(&[]), &octocat()));
}

#[test]
fn the_example_of_telefonistkas_documentation_works_with_warnings() {
    let policy = policy(include_str!("installation-example.yaml"));
    let places: Vec<(usize, usize)> = policy.warnings().iter().map(|w| (w.line, w.column)).collect();
    assert_eq!(places.first(), Some(&(8, 11)));
    let of_interest = ["slash", "no effect yet"];
    assert!(
        policy
            .warnings()
            .iter()
            .all(|w| of_interest.iter().any(|what| w.message.contains(what)))
    );
    let path = "clusters/staging/us-central1/c1/nginx/values.yaml";
    assert_eq!(
        policy.flows()[1].source.directories.locate(path),
        SourceMatch::Component {
            source: "clusters/staging/us-central1/c1",
            name: "nginx"
        }
    );
}

#[test]
fn too_many_flows_or_targets_are_refused() {
    let flows = "- {sourcePath: a/, promotionPrs: [{targetPaths: [b/]}]}\n".repeat(251);
    assert_eq!(
        errors(&format!("promotionPaths:\n{flows}")),
        ["telefonistka.yaml:252:3: too many flows; expected at most 250"]
    );
    let targets: String = (0..10_001).map(|n| format!("    - t{n}/\n")).collect();
    let found = errors(&format!(
        "promotionPaths:\n- sourcePath: a/\n  promotionPrs:\n  - targetPaths:\n{targets}"
    ));
    assert_eq!(
        found,
        ["telefonistka.yaml:4:5: too many targets; expected at most 10000 in a file"]
    );
}

#[test]
fn a_whole_file_of_costly_patterns_is_refused_soon() {
    let flows: String = (0..10)
        .map(|n| format!("- {{sourcePath: '(?i)([\\pL\\pN]{{100}}){{1,{}}}', promotionPrs: [{{targetPaths: [b/]}}]}}\n", 9 - n % 2))
        .collect();
    let found = errors(&format!("promotionPaths:\n{flows}"));
    assert!(
        found.iter().all(|error| error.contains("256 KiB")),
        "{:?}",
        found.first()
    );
}

#[test]
fn a_file_of_many_costly_patterns_is_refused_where_they_become_too_many() {
    let flows: String = (0..250)
        .map(|n| format!("- {{sourcePath: '\\pL{{2}}{n}/', promotionPrs: [{{targetPaths: [b/]}}]}}\n"))
        .collect();
    let found = errors(&format!("promotionPaths:\n{flows}"));
    assert_eq!(found.len(), 1, "{found:?}");
    let found = found.first().unwrap();
    assert!(found.contains("the file's patterns"), "{found}");
    let line: usize = found.split(':').nth(1).unwrap().parse().unwrap();
    assert!((20..250).contains(&line), "{found}");
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "promotionPaths",
        "sourcePath",
        "componentPathExtraDepth",
        "conditions",
        "promotionPrs",
        "prHasLabels",
        "autoMerge",
        "targetPaths",
        "targetDescription",
        "dryRunMode",
        "argocd",
        "toggleCommitStatus",
        "webhookEndpointRegexs",
        "expression",
        "replacements",
        "promtionPRlables",
        "allowSyncfromBranchPathRegex",
        "other",
        "<<",
    ])
}

/// YAML in flow style whose shape is likely and whose leaves are anything.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::sample::select(vec![
            "true", "off", "1", "~", "''", "a/", "(a|b)/", "[^/]*/", "*x", "&x 1"
        ])
        .prop_map(str::to_owned),
    ];
    let tree = leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key(), inner), 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{k}: {v}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    });
    prop::collection::vec((key(), tree), 0..4)
        .prop_map(|entries| entries.iter().map(|(k, v)| format!("{k}: {v}\n")).collect())
}

fn places_are_within(text: &str, found: &[PolicyError]) -> bool {
    let lines = text.lines().count().max(1);
    found
        .iter()
        .all(|e| (1..=lines + 1).contains(&e.line) && e.column >= 1)
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _unused = Policy::compile("telefonistka.yaml", &text);
    }

    #[test]
    fn arbitrary_policies_never_panic(text in document()) {
        match Policy::compile("telefonistka.yaml", &text) {
            Ok(policy) => prop_assert!(places_are_within(&text, policy.warnings())),
            Err(errors) => prop_assert!(places_are_within(&text, &errors.iter().cloned().collect::<Vec<_>>())),
        }
    }
}
