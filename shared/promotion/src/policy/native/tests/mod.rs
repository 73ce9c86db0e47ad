//! What a `lockflight.yaml` means, and what is said of one that is wrong.

pub(crate) mod broken;

use super::super::flow::{After, Directories, Flow, Group};
use super::super::{Policy, Supersede};
use crate::gate::{Approvals, Expectation};
use crate::location::Base;

/// The sketch of the design.
pub(crate) const SKETCH: &str = r#"version: 1
environments:
  lab: { path: clusters/lab/europe-west4/c1 }
  staging:
    domains:
      us-central1: { path: clusters/staging/us-central1/c1 }
      europe-west4: { path: clusters/staging/europe-west4/c1 }
  production:
    domains:
      us-west1: { path: clusters/prod/us-west1/c2 }
      europe-west4: { path: clusters/prod/europe-west4/c2 }
      us-east4: { path: clusters/prod/us-east4/c2 }
components: { depth: 1 }
flows:
  - from: { path: workspace }
    waves:
      - { to: [lab, staging], merge: auto }
      - { to: [production/us-west1], gates: { soak: 30m, approval: true } }
      - { to: [production], pull_requests: per-domain, gates: { healthy: argocd } }
select: { exclude: ["values-region-*.yaml"] }
gates:
  argocd: { http: { url: "https://argocd.example.com/api/v1/applications/web", pointer: /status/health/status, equals: Healthy } }
freezes:
  - { environments: [production], cron: "0 16 * * FRI", duration: 64h, reason: weekend }
"#;

/// Everything else that can be said.
pub(crate) const WHOLE: &str = r#"# A comment.
version: 1
x-common: &lab { path: clusters/lab }
environments:
  lab: *lab
  dev: { branch: "env/{environment}" }
  staging: { path: apps, repository: acme/deploy-staging }
  production:
    path: "clusters/{environment}/{domain}"
    branch: prod
    domains:
      eu:
      us: {}
      us-2: { branch: prod-2, path: us }
  more: { path: more }
  last: { path: last }
  one: { path: apps, file: "values-{environment}.yaml" }
  two: { path: apps, file: "values-{environment}.yaml" }
components: { depth: 2 }
select:
  include: ["**/*.yaml"]
defaults: { merge: auto, pull_requests: per-environment, supersede: close, approve: true, dry_run: true }
gates:
  errors:
    prometheus:
      url: http://prometheus.example.com:9090
      query: sum(rate(errors[$window]))
      below: 0.010
      window: 10m
      every: 2m
  ready:
    http: { url: "https://status.example.com/x", equals: true }
freezes:
  - environments: ["production/u*", lab]
    cron: "0 0 24 12 *"
    duration: 2w
    time_zone: Europe/Berlin
    reason: "the holidays"
flows:
  - name: everything
    from: { pattern: "work[^/]*/", branch: main }
    when:
      labels: [hot, "1"]
      authors: ["@Octo-Cat", dependabot]
      paths: ["work/**"]
      components: ["web/*"]
    components: { depth: 3 }
    select: { exclude: [secrets] }
    waves:
      - name: first
        to: [lab, dev, staging, production]
        gates:
          approval: { count: 2, teams: [owners], code_owners: true }
          checks: [e2e]
          healthy: [errors, ready]
      - name: again
        to: ["mor?"]
        merge: manual
        pull_requests: per-domain
        after: { all: [] }
      - to: [last]
        after: { any: [first, again] }
  - from: one
    keys: [image.tag, "containers[name=app].image"]
    waves:
      - to: [two]
webhooks:
  skip_tls_verify: true
  endpoints:
    - { paths: "^clusters/(.*)/", send_to: ["https://hook.example.com/$1"] }
commands:
  toggle: { bypass: ci/check }
accept_from: [acme/deploy, "Other/*"]
"#;

pub(crate) fn compile(yaml: &str) -> Policy {
    match Policy::compile("lockflight.yaml", yaml) {
        Ok(policy) => policy,
        Err(errors) => panic!("{errors}\n{yaml}"),
    }
}

fn names(group: &Group) -> Vec<&str> {
    group
        .targets
        .iter()
        .filter_map(|target| target.name.as_deref())
        .collect()
}

fn groups(flow: &Flow) -> Vec<Vec<Vec<&str>>> {
    let waves = flow.waves.iter();
    waves
        .map(|wave| wave.groups.iter().map(names).collect())
        .collect()
}

/// A policy with these waves over `a`, and `b` with three domains.
fn waves(waves: &str) -> Policy {
    compile(&format!(
        "version: 1\nenvironments:\n  a: {{ path: a }}\n  b:\n    path: 'b/{{domain}}'\n    domains: {{ x: , y: , z: }}\n\
         flows:\n- from: {{ path: source }}\n  waves:\n{waves}\n"
    ))
}

#[test]
fn the_sketch_of_the_design_means_what_it_says() {
    let policy = compile(SKETCH);
    assert_eq!(policy.warnings(), []);
    let [flow] = policy.flows() else {
        panic!("one flow")
    };
    assert_eq!(
        groups(flow),
        [
            vec![vec!["lab", "staging/us-central1", "staging/europe-west4"]],
            vec![vec!["production/us-west1"]],
            vec![vec!["production/europe-west4"], vec!["production/us-east4"]],
        ]
    );
    assert_eq!((flow.reference.line, flow.reference.index), (15, 0));
    assert_eq!(flow.selection.exclude, ["values-region-*.yaml"]);
    assert!(
        matches!(&flow.source.directories, Directories::One { path, depth: 1 } if path.as_str() == "workspace")
    );
    let [first, second, third] = flow.waves.as_slice() else {
        panic!("three waves")
    };
    assert_eq!(
        [first.auto_merge, second.auto_merge, third.auto_merge],
        [true, false, false]
    );
    assert_eq!(
        [&first.after, &second.after, &third.after],
        [&After::All(vec![]), &After::All(vec![0]), &After::All(vec![1])]
    );
    assert_eq!(first.groups[0].description.as_deref(), Some("lab, staging"));
    assert_eq!(second.gates.soak_s, Some(1800));
    assert_eq!(
        second.gates.approvals,
        Some(Approvals {
            count: 1,
            teams: vec![],
            code_owners: false
        })
    );
    assert_eq!(third.gates.http[0].name, "argocd");
    assert_eq!(third.gates.http[0].expect, Expectation::Equals("Healthy".into()));
    assert_eq!(third.gates.http[0].every_s, 30);
    assert_eq!(
        [first.freezes.len(), second.freezes.len(), third.freezes.len()],
        [0, 1, 1]
    );
    assert_eq!(second.freezes[0].duration_s, 64 * 3600);
    assert_eq!(second.freezes[0].time_zone, "UTC");
}

#[test]
fn every_key_comes_to_its_place() {
    let policy = compile(WHOLE);
    let [all, keys] = policy.flows() else {
        panic!("two flows")
    };
    assert_eq!(all.name.as_deref(), Some("everything"));
    assert_eq!(
        all.source.branch.as_ref().map(|branch| branch.as_str()),
        Some("main")
    );
    assert_eq!(all.source.directories.as_str(), "work[^/]*");
    assert_eq!(all.source.directories.depth(), 3);
    assert_eq!(all.selection.include.len() + all.selection.exclude.len(), 1);
    assert!(all.conditions.any_label.contains("1"));
    assert!(all.conditions.any_author.contains("octo-cat"));
    assert!(all.conditions.hold_for_path("work/a") && !all.conditions.hold_for_path("other/a"));
    assert!(all.conditions.hold_for_component("web/a/b") && !all.conditions.hold_for_component("db/a/b"));
    let settings = policy.settings();
    assert!(settings.approve && settings.dry_run && settings.webhook_skip_tls_verify);
    assert_eq!(settings.supersede, Supersede::Close);
    assert_eq!(
        settings.webhook_endpoints[0].replacements,
        ["https://hook.example.com/$1"]
    );
    assert_eq!(settings.toggle_commit_status["bypass"], "ci/check");
    assert_eq!(keys.keys.len(), 2);
    assert_eq!(
        keys.waves[0].groups[0].targets[0].file.as_ref().unwrap().as_str(),
        "values-two.yaml"
    );
    assert!(keys.selection.is_everything());
    assert_eq!(keys.source.directories.depth(), 2);
    let gate = &all.waves[0].gates.prometheus[0];
    assert_eq!((gate.window_s, gate.every_s), (600, 120));
    assert_eq!(
        gate.expect,
        Expectation::Below(serde_json::from_str("0.010").unwrap())
    );
    assert_eq!(all.waves[2].after, After::Any(vec![0, 1]));
}

#[test]
fn a_pull_request_for_each_environment_is_split_where_branches_differ() {
    let policy = compile(WHOLE);
    let accepts = |repo: &str| policy.accepts_from(&crate::RepoName::parse(repo).unwrap());
    assert!(accepts("acme/deploy") && accepts("ACME/Deploy") && accepts("other/anything"));
    assert!(!accepts("acme/deploy-2") && !accepts("evil/deploy"));
    assert!(!compile(SKETCH).accepts_from(&crate::RepoName::parse("acme/deploy").unwrap()));
    let wave = &policy.flows()[0].waves[0];
    let bases: Vec<(String, Vec<&str>)> = wave
        .groups
        .iter()
        .map(|group| (group.base.to_string(), names(group)))
        .collect();
    assert_eq!(
        bases,
        [
            (Base::default().to_string(), vec!["lab"]),
            ("env/dev".to_owned(), vec!["dev"]),
            ("acme/deploy-staging".to_owned(), vec!["staging"]),
            ("prod".to_owned(), vec!["production/eu", "production/us"]),
            ("prod-2".to_owned(), vec!["production/us-2"]),
        ]
    );
    assert_eq!(wave.groups[1].targets[0].path.as_str(), "");
    assert_eq!(wave.groups[3].targets[1].path.as_str(), "clusters/production/us");
    assert_eq!(wave.groups[4].targets[0].path.as_str(), "us");
    assert_eq!(wave.freezes.len(), 1);
}

#[test]
fn an_environment_means_those_of_its_domains_that_are_left() {
    let policy = waves("  - to: [b/y]\n  - to: ['*/z']\n  - to: [b, a]");
    assert_eq!(
        groups(&policy.flows()[0]),
        [vec![vec!["b/y"]], vec![vec!["b/z"]], vec![vec!["b/x", "a"]]]
    );
    let from_one = compile(
        "version: 1\nenvironments:\n  b: { path: 'b/{domain}', domains: { x: , y: } }\nflows:\n- { from: b/x, waves: [{ to: [b] }] }",
    );
    assert_eq!(groups(&from_one.flows()[0]), [vec![vec!["b/y"]]]);
}

#[test]
fn pull_requests_can_be_listed() {
    for (text, expected, descriptions) in [
        (
            "  - { to: [a, b], pull_requests: [[a, b/x], [b]] }",
            vec![vec!["a", "b/x"], vec!["b/y", "b/z"]],
            ["a, b/x", "b/y, b/z"],
        ),
        (
            "  - pull_requests: [[a], { name: Bee, to: [b] }]",
            vec![vec!["a"], vec!["b/x", "b/y", "b/z"]],
            ["a", "Bee"],
        ),
        (
            "  - { to: [a, b], pull_requests: per-environment }",
            vec![vec!["a"], vec!["b/x", "b/y", "b/z"]],
            ["a", "b"],
        ),
        (
            "  - { name: W, to: [a, b/x], pull_requests: per-domain }",
            vec![vec!["a"], vec!["b/x"]],
            ["a", "b/x"],
        ),
    ] {
        let policy = waves(text);
        let wave = &policy.flows()[0].waves[0];
        assert_eq!(
            wave.groups.iter().map(names).collect::<Vec<_>>(),
            expected,
            "{text}"
        );
        let said: Vec<_> = wave
            .groups
            .iter()
            .filter_map(|group| group.description.as_deref())
            .collect();
        assert_eq!(said, descriptions, "{text}");
    }
    let named = waves("  - { name: All of it, to: [a, b] }");
    assert_eq!(
        named.flows()[0].waves[0].groups[0].description.as_deref(),
        Some("All of it")
    );
}

#[test]
fn a_name_of_many_places_says_how_many() {
    let domains: String = (0..30).map(|n| format!("d{n}: , ")).collect();
    let policy = compile(&format!(
        "version: 1\nenvironments:\n  a: {{ path: a }}\n  b: {{ path: 'b/{{domain}}', domains: {{ {domains} }} }}\nflows:\n\
         - {{ from: a, waves: [{{ to: [b/d7] }}, {{ to: [b] }}] }}"
    ));
    let description = policy.flows()[0].waves[1].groups[0].description.clone().unwrap();
    assert_eq!(
        description,
        "b/d0, b/d1, b/d2, b/d3, b/d4, b/d5 and others, 29 places in all"
    );
}

#[test]
fn a_location_can_be_the_component_itself() {
    let policy = compile(
        "version: 1\ncomponents: { depth: 0 }\nenvironments:\n  a: { path: apps/web/a }\n  b: { path: apps/web/b }\n  c: { file: values-c.yaml }\n  \
         d: { file: values-d.yaml }\nflows:\n- { from: a, waves: [{ to: [b] }] }\n- { from: c, keys: [tag], waves: [{ to: [d] }] }",
    );
    assert_eq!(policy.flows()[0].source.directories.depth(), 0);
}

#[test]
fn a_policy_without_flows_promotes_nothing_and_says_so() {
    let policy = compile("version: 1\nenvironments: { a: { path: a } }");
    assert!(policy.flows().is_empty());
    assert!(policy.warnings()[0].message.contains("nothing is promoted"));
    let nowhere = compile("version: 1\nflows: [{ from: { path: a }, waves: [] }]");
    assert!(nowhere.warnings()[0].message.contains("leads nowhere"));
}

#[test]
fn the_file_is_told_by_its_name() {
    assert!(Policy::compile("lockflight.yaml", "promotionPaths: []").is_err());
    assert!(Policy::compile("some/lockflight.yaml", "version: 1").is_ok());
    assert!(Policy::compile("telefonistka.yaml", "promotionPaths: []").is_ok());
    assert_eq!(compile("version: 1").component_file(), "lockflight.yaml");
}

#[test]
fn a_large_policy_is_compiled_in_good_time() {
    let domains: String = (0..2000).map(|n| format!("        d{n:04}:\n")).collect();
    let flows: String = (0..200)
        .map(|n| {
            format!(
                "  - from: {{ path: s{n} }}\n    waves: [{{ to: ['b/d{n:04}*'] }}, {{ to: ['b/d{}'] }}]\n",
                1000 + n
            )
        })
        .collect();
    let policy = compile(&format!(
        "version: 1\nenvironments:\n  b:\n    path: 'b/{{domain}}'\n    domains:\n{domains}flows:\n{flows}"
    ));
    assert_eq!(policy.flows().len(), 200);
}

#[test]
fn the_examples_of_the_documentation_compile() {
    for (documentation, expected) in [
        (include_str!("../../../../../../docs/policy.md"), 3),
        (include_str!("../../../../../../docs/environments.md"), 9),
    ] {
        let mut examples = 0;
        for block in documentation.split("```yaml\n").skip(1) {
            let yaml = block.split("```").next().unwrap();
            if yaml.starts_with("version") {
                assert_eq!(compile(yaml).warnings(), [], "{yaml}");
            } else {
                super::super::ComponentPolicy::compile("web/lockflight.yaml", yaml).unwrap();
            }
            examples += 1;
        }
        assert_eq!(examples, expected);
    }
}
