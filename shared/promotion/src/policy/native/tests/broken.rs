//! Policies that are wrong: where, and what is said.

use super::super::super::Policy;

/// What is wrong with a file: its first error as `line:column: message`.
fn all(yaml: &str) -> String {
    let errors = Policy::compile("lockflight.yaml", yaml).expect_err(yaml);
    let each = errors.iter().map(|error| {
        let text = error.to_string();
        text.strip_prefix("lockflight.yaml:").unwrap().to_owned()
    });
    each.collect::<Vec<_>>().join("\n")
}

/// Broken files, what is said of it, and whether the schema sees it, too.
pub(crate) const BROKEN: &[(&str, &str, bool)] = &[
    ("", "1:1: the file is empty", true),
    ("[]", "1:1: found a list; expected a map", true),
    ("flows: []", "1:1: `version` is missing", true),
    ("version: 2", "1:10: expected a whole number from 1 to 1", true),
    ("version: '1'", "1:10: expected a whole number", true),
    (
        "version: 1\nflow: []",
        "2:1: `flow` is not a key here; did you mean `flows`?",
        true,
    ),
    (
        "version: 1\nwhatever: []",
        "2:1: `whatever` is not a key here; expected one of `version`, `environments`",
        true,
    ),
    (
        "version: 1\nflows:",
        "2:6: found nothing; expected a list of flows",
        true,
    ),
    ("version: 1\nflows: []", "2:8: found an empty list", true),
    // Environments.
    (
        "version: 1\nenvironments: [a]",
        "2:15: found a list; expected a map of environments",
        true,
    ),
    (
        "version: 1\nenvironments: { a/b: { path: a } }",
        "2:17: this can't be a name",
        true,
    ),
    (
        "version: 1\nenvironments: { a: }",
        "2:18: found nothing; expected an environment",
        true,
    ),
    (
        "version: 1\nenvironments: { a: {} }",
        "2:17: nothing says where this is",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { paht: x, branch: b } }",
        "2:22: `paht` is not a key here; did you mean `path`?",
        true,
    ),
    (
        "version: 1\nenvironments: { a: { path: 1 } }",
        "2:28: found a number; expected a directory",
        true,
    ),
    (
        "version: 1\nenvironments: { a: { path: /x } }",
        "2:28: no promotion may lead here: it is absolute",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { path: .github/x } }",
        "2:28: no promotion may lead here: `.git*`",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { path: '{component}' } }",
        "2:28: `{component}` can't be used",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { path: '{domain}' } }",
        "2:28: `{domain}` has no meaning here",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { path: '{env}' } }",
        "2:28: this placeholder is not known",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { path: 'x{' } }",
        "2:28: a `{` is not closed",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { branch: 'a b' } }",
        "2:30: this is not ",
        false,
    ),
    (
        "version: 1\nenvironments: { a: { repository: acme } }",
        "2:34: this is not a repository name",
        true,
    ),
    (
        "version: 1\nenvironments: { a: { file: values.txt } }",
        "2:28: keys can't be set in this file",
        true,
    ),
    (
        "version: 1\nenvironments: { a: { path: x, domains: {} } }",
        "2:40: found an empty map",
        true,
    ),
    (
        "version: 1\nenvironments:\n  a: { path: x }\n  b: { path: x/ }",
        "4:3: `b` is the same location as `a` (line 3)",
        false,
    ),
    // Flows.
    (
        "version: 1\nflows: [{ waves: [] }]",
        "2:9: `from` is missing",
        true,
    ),
    (
        "version: 1\nflows: [{ from: { path: a } }]",
        "2:9: `waves` is missing",
        true,
    ),
    (
        "version: 1\nflows: [{ from: {}, waves: [] }]",
        "2:17: expected exactly one of `path` and `pattern`",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { path: a, pattern: b }, waves: [] }]",
        "2:17: expected exactly one of",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { pattern: '(' }, waves: [] }]",
        "2:28: expected a regular expression in Go's syntax",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { pattern: a/ }, components: { depth: 0 }, waves: [] }]",
        "2:28: a `pattern` means directories",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { branch: x }, components: { depth: 0 }, waves: [] }]",
        "2:17: with `depth: 0` the whole branch",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { path: a }, components: { depth: 32 }, waves: [] }]",
        "2:51: expected a whole number from 0 to 31",
        true,
    ),
    (
        "version: 1\nflows: [{ from: { path: a }, when: { labels: [1] }, waves: [] }]",
        "2:47: found a number; expected a text",
        true,
    ),
    (
        "version: 1\nflows: [{ from: { path: a }, when: { labels: [] }, waves: [] }]",
        "2:46: found an empty list",
        true,
    ),
    (
        "version: 1\nflows: [{ from: { path: a }, when: { paths: ['['] }, waves: [] }]",
        "2:46: this is not a glob",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { path: a }, select: { includes: [a] }, waves: [] }]",
        "2:40: `includes` is not a key here; did you mean `include`?",
        true,
    ),
    (
        "version: 1\nflows: [{ from: { path: a }, keys: [a], waves: [] }]",
        "2:36: keys travel only between files",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { path: a, file: v.yaml }, waves: [] }]",
        "2:9: this flow is about a file of each component, so `keys` is missing",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { path: a, file: v.yaml }, keys: ['a..b'], waves: [] }]",
        "2:51: this is not the way to a key",
        false,
    ),
    (
        "version: 1\nflows: [{ from: { path: a, file: v.yaml }, keys: [a, a.b], waves: [] }]",
        "2:54: this key is the same as another one",
        false,
    ),
    (
        "version: 1\nflows: [{ from: nowhere, waves: [] }]",
        "2:17: no environment has this name",
        false,
    ),
    (
        "version: 1\nflows:\n- { name: a, from: { path: a }, waves: [] }\n- { name: a, from: { path: b }, waves: [] }",
        "4:11: the flow of line 3 has this name, too",
        false,
    ),
];

/// The same, for what stands below `waves` of a flow from `{ path: source }`, with environments `a`, and `b` with `x` and `y`.
pub(crate) const BROKEN_WAVES: &[(&str, &str, bool)] = &[
    ("{}", "7:12: this wave leads nowhere; expected `to`", true),
    ("{ to: [] }", "found an empty list", true),
    ("{ to: a }", "found text; expected a list", true),
    ("{ to: [production] }", "no environment has this name", false),
    ("{ to: [B] }", "did you mean `b`?", false),
    ("{ to: [b/z] }", "did you mean `b/", false),
    ("{ to: [y] }", "did you mean `b/y`?", false),
    ("{ to: ['c/*'] }", "this glob means no place", false),
    ("{ to: ['b/['] }", "this is not a glob", false),
    ("{ to: [a, a] }", "7:22: this wave leads here already", false),
    ("{ to: [b, b/x] }", "this wave leads here already", false),
    (
        "{ to: [b] }, { to: [b/x] }",
        "7:32: wave 1 of this flow leads here already",
        false,
    ),
    (
        "{ to: [b] }, { to: [b] }",
        "7:32: all places that this means are taken",
        false,
    ),
    (
        "{ to: [a], merge: yes }",
        "7:30: found another word; expected `manual` or `auto`",
        true,
    ),
    ("{ to: [a], merge: atuo }", "did you mean `auto`?", true),
    (
        "{ to: [a], merge: true }",
        "found `true` or `false`; expected `manual` or `auto`",
        true,
    ),
    (
        "{ to: [a], pull_requests: per-region }",
        "expected `per-wave` or `per-environment` or `per-domain`",
        true,
    ),
    (
        "{ to: [a, b], pull_requests: [[a]] }",
        "`b/x` and 1 more of `to` is in no pull request",
        false,
    ),
    (
        "{ to: [a], pull_requests: [[a], [b]] }",
        "this is not among the places of `to`",
        false,
    ),
    (
        "{ pull_requests: [[a], [a]] }",
        "this wave leads here already",
        false,
    ),
    (
        "{ pull_requests: [[a, other]] }",
        "these places are in different branches",
        false,
    ),
    (
        "{ to: [a], gates: { soak: 30 } }",
        "found a number; expected a duration",
        true,
    ),
    (
        "{ to: [a], gates: { soak: 30x } }",
        "found text that is no duration",
        true,
    ),
    (
        "{ to: [a], gates: { soak: 5m1h } }",
        "found text that is no duration",
        false,
    ),
    (
        "{ to: [a], gates: { soak: 91d } }",
        "this duration is out of bounds; expected from 1s to 90d",
        false,
    ),
    ("{ to: [a], gates: { soaks: 1m } }", "did you mean `soak`?", true),
    (
        "{ to: [a], gates: { approval: 2 } }",
        "found a number; expected `true` or `false`",
        true,
    ),
    (
        "{ to: [a], gates: { approval: { count: 0 } } }",
        "expected a whole number from 1 to 100",
        true,
    ),
    (
        "{ to: [a], gates: { approval: { teams: [acme/x] } } }",
        "this is not the slug of a team",
        true,
    ),
    (
        "{ to: [a], gates: { healthy: argocd } }",
        "no gate has this name",
        false,
    ),
    (
        "{ to: [a], gates: { healthy: [errs] } }",
        "did you mean `errors`?",
        false,
    ),
    (
        "{ name: n, to: [a] }, { name: n, to: [b] }",
        "another wave of this flow has this name",
        false,
    ),
    (
        "{ name: n, to: [a], after: { all: [n] } }",
        "no earlier wave has this name",
        false,
    ),
    ("{ to: [a], after: { any: [] } }", "found an empty list", true),
    (
        "{ to: [a], after: { any: [x], all: [x] } }",
        "expected exactly one of `all` or `any`",
        true,
    ),
    ("{ to: [inside] }", "it lies in the flow's source", false),
    ("{ to: [above] }", "the flow's source lies in it", false),
    ("{ to: [self] }", "it is where the flow begins", false),
    (
        "{ to: [values] }",
        "this place is a file of each component",
        false,
    ),
];

/// The same, for what stands at the top.
pub(crate) const BROKEN_TOPS: &[(&str, &str, bool)] = &[
    (
        "gates: { x: {} }",
        "3:13: expected exactly one of `http` and `prometheus`",
        true,
    ),
    ("gates: { x: { http: { equals: 1 } } }", "`url` is missing", true),
    (
        "gates: { x: { http: { url: 'https://x.example' } } }",
        "expected exactly one of `equals`",
        true,
    ),
    (
        "gates: { x: { http: { url: 'https://x.example', equals: 1, below: 2 } } }",
        "expected exactly one of `equals`",
        true,
    ),
    (
        "gates: { x: { http: { url: 'https://x.example', below: '2' } } }",
        "found quoted text; expected a number",
        true,
    ),
    (
        "gates: { x: { http: { url: 'ftp://x.example', equals: 1 } } }",
        "it has another scheme",
        true,
    ),
    (
        "gates: { x: { http: { url: 'https://me:secret@x.example', equals: 1 } } }",
        "it holds a name or a password",
        false,
    ),
    (
        "gates: { x: { http: { url: 'https://x.example', pointer: status, equals: 1 } } }",
        "this is not a JSON pointer",
        true,
    ),
    (
        "gates: { x: { prometheus: { url: 'https://x.example', below: 1 } } }",
        "`query` is missing",
        true,
    ),
    (
        "gates: { x: { prometheus: { url: 'https://x.example', query: up, equals: up } } }",
        "expected a number",
        true,
    ),
    (
        "freezes: [{ environments: [a], cron: '0 0 * *', duration: 1h, reason: r }]",
        "this is not cron: it has not five fields",
        false,
    ),
    (
        "freezes: [{ environments: [a], cron: '0 0 30 2 *', duration: 1h, reason: r }]",
        "so it never begins",
        false,
    ),
    (
        "freezes: [{ environments: [a], cron: '0 0 * * *', duration: 1h }]",
        "`reason` is missing",
        true,
    ),
    (
        "freezes: [{ environments: [a], cron: '0 0 * * *', duration: 400d, reason: r }]",
        "this duration is out of bounds",
        false,
    ),
    (
        "freezes: [{ environments: [a], cron: '0 0 * * *', duration: 1h, time_zone: Europe/Berln, reason: r }]",
        "did you mean `Europe/Berlin`?",
        false,
    ),
    (
        "freezes: [{ environments: [c], cron: '0 0 * * *', duration: 1h, reason: r }]",
        "no environment has this name",
        false,
    ),
    (
        "defaults: { supersede: never }",
        "expected `update` or `close` or `leave`",
        true,
    ),
    (
        "defaults: { dry_run: 'true' }",
        "found quoted text; expected `true` or `false`",
        true,
    ),
    (
        "components: { depth: two }",
        "expected a whole number from 0 to 31",
        true,
    ),
    (
        "webhooks: { endpoints: [{ paths: a }] }",
        "`send_to` is missing",
        true,
    ),
    (
        "webhooks: { endpoints: [{ paths: '(', send_to: [x] }] }",
        "expected a regular expression in Go's syntax",
        false,
    ),
    ("commands: { toggle: { '/x': y } }", "this is not a command", true),
    ("select: { exclude: ['../x'] }", "this is not a glob", true),
];

pub(crate) fn with_waves(waves: &str) -> String {
    format!(
        "version: 1\nenvironments: {{ a: {{ path: a }}, b: {{ path: 'b/{{domain}}', domains: {{ x: , y: }} }}, other: {{ branch: o }}, \
         inside: {{ path: source/x }}, above: {{ path: . }}, self: {{ path: source }}, values: {{ path: v, file: v.yaml }} }}\n\
         gates:\n  errors: {{ http: {{ url: 'https://x.example', equals: 1 }} }}\n\
         flows:\n- from: {{ path: source }}\n  waves: [ {waves} ]\n"
    )
}

pub(crate) fn with_top(top: &str) -> String {
    format!("version: 1\nenvironments: {{ a: {{ path: a }} }}\n{top}\n")
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_was_expected() {
    for (yaml, said, _) in BROKEN {
        let found = all(yaml);
        assert!(
            found.lines().any(|line| line.starts_with(said)),
            "{yaml}\n{found}\n{said}"
        );
    }
}

#[test]
fn what_is_wrong_in_a_wave_is_said() {
    for (waves, said, _) in BROKEN_WAVES {
        let found = all(&with_waves(waves));
        assert!(found.contains(said), "{waves}\n{found}\n{said}");
    }
}

#[test]
fn what_is_wrong_at_the_top_is_said() {
    for (top, said, _) in BROKEN_TOPS {
        let found = all(&with_top(top));
        assert!(found.contains(said), "{top}\n{found}\n{said}");
    }
}

#[test]
fn messages_repeat_nothing_but_names_of_keys() {
    let secret = "hunter2-secret";
    for yaml in [
        format!("version: {secret}"),
        format!("version: 1\nenvironments: {{ a: {{ path: '/{secret}' }} }}"),
        format!("version: 1\nenvironments: {{ a: {{ branch: '{secret} x' }} }}"),
        format!("version: 1\nflows: [{{ from: {secret}, waves: [] }}]"),
        with_waves(&format!(
            "{{ to: [{secret}], merge: {secret}, gates: {{ soak: {secret}, healthy: {secret} }} }}"
        )),
        with_top(&format!(
            "freezes: [{{ environments: [a], cron: '{secret}', duration: 1h, time_zone: {secret}, reason: r }}]"
        )),
        with_top(&format!(
            "gates: {{ x: {{ http: {{ url: 'https://a:{secret}@x.example', pointer: {secret}, equals: 1 }} }} }}"
        )),
    ] {
        let errors = Policy::compile("lockflight.yaml", &yaml)
            .expect_err(&yaml)
            .to_string();
        assert!(!errors.contains(secret), "{errors}");
    }
}

#[test]
fn a_policy_beyond_its_budget_is_refused() {
    let many = |count: usize, each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<String>();
    for (yaml, said) in [
        (
            format!(
                "version: 1\nflows:\n{}",
                many(251, &|_| "- { from: { path: a }, waves: [] }\n".to_owned())
            ),
            "too many flows",
        ),
        (
            format!(
                "version: 1\nenvironments:\n  a:\n    path: '{{domain}}'\n    domains:\n{}",
                many(10_001, &|n| format!("      d{n}:\n"))
            ),
            "too many places",
        ),
        (
            format!(
                "version: 1\nenvironments:\n  a:\n    path: 'a/{{domain}}'\n    domains:\n{}flows:\n{}",
                many(3000, &|n| format!("      d{n}:\n")),
                many(5, &|_| "- { from: { path: s }, waves: [{ to: [a] }] }\n"
                    .to_owned()),
            ),
            "too many targets",
        ),
        (
            format!(
                "version: 1\nenvironments:\n  a:\n    path: 'a/{{domain}}'\n    domains:\n{}flows:\n- from: {{ path: s }}\n  waves:\n  - to:\n{}",
                many(5000, &|n| format!("      d{n}:\n")),
                many(5000, &|_| "    - 'a/*x'\n".to_owned()),
            ),
            "mean too many places",
        ),
    ] {
        let errors = Policy::compile("lockflight.yaml", &yaml)
            .expect_err("refused")
            .to_string();
        assert!(
            errors.contains(said),
            "{said}: {}",
            errors.lines().next().unwrap_or_default()
        );
    }
}
