//! A component's `lockflight.yaml`: the targets that it may go to, by the names that the repository's policy gives them.

use globset::{GlobBuilder, GlobMatcher};

use super::super::error::PolicyErrors;
use super::super::flow::Target;
use super::super::pattern::{Budget, TargetPattern};
use super::super::read::Findings;
use super::super::yaml::{Mark, Node, Value, parse};
use super::{ComponentPolicy, Entry, Known, List, MAX_ENTRIES, Means};
use crate::PathInRepo;

const LISTS: (&str, &str) = ("targets.allow", "targets.block");

/// Places by name or path: `production` and what is in it, `production/us-*`, `clusters/prod/**`.
#[derive(Clone, Debug)]
pub(super) struct Places {
    text: String,
    itself: GlobMatcher,
    within: GlobMatcher,
}

impl Places {
    fn compile(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let glob = |text: &str| {
            let glob = GlobBuilder::new(text)
                .literal_separator(true)
                .empty_alternates(true)
                .build();
            glob.map(|glob| glob.compile_matcher())
                .map_err(|error| error.kind().to_string())
        };
        Ok(Self {
            text: text.to_owned(),
            itself: glob(text)?,
            within: glob(&format!("{text}/**"))?,
        })
    }

    /// Whether it can mean something of a policy. A glob may mean what is yet to come.
    fn is_known(&self, known: &Known) -> bool {
        self.text.contains(['*', '?', '[', '{']) || known.has(&self.text)
    }

    /// Whether it means a target, by name or path, or the component's path there.
    pub(super) fn mean(&self, target: &Target, component: &PathInRepo) -> bool {
        let paths = [
            target.name.as_deref(),
            Some(target.path.as_str()),
            Some(component.as_str()),
        ];
        paths
            .into_iter()
            .flatten()
            .any(|path| self.itself.is_match(path) || self.within.is_match(path))
    }
}

impl PartialEq for Places {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Places {}

pub(super) fn compile(
    file: &str,
    yaml: &str,
    known: Option<&Known>,
) -> Result<ComponentPolicy, PolicyErrors> {
    let Some(root) = parse(file, yaml)? else {
        return Ok(ComponentPolicy::default());
    };
    let mut findings = Findings::new(file);
    let mut policy = ComponentPolicy {
        file: file.to_owned(),
        lists: LISTS,
        ..ComponentPolicy::default()
    };
    if let Some(map) = findings.map(
        &root,
        &["version", "targets"],
        "a component's policy with `targets`",
    ) {
        findings.whole(map.get("version"), 1, 1);
        let expected = "a map with `allow` or `block`";
        let targets = findings.required(&map, "targets", expected);
        if let Some(map) = targets.and_then(|node| findings.map(node, &["allow", "block"], expected)) {
            let mut budget = Budget::of_component();
            policy.allow = list(&mut findings, &mut budget, known, map.get("allow"));
            policy.block = list(&mut findings, &mut budget, known, map.get("block"));
        }
    }
    policy.warnings = findings.finish()?;
    Ok(policy)
}

fn list(
    findings: &mut Findings<'_>,
    budget: &mut Budget,
    known: Option<&Known>,
    node: Option<&Node>,
) -> Option<List> {
    let node = node?;
    let expected = "a list of environments, places such as `production/us-west1`, paths, or globs of those";
    let items = findings.items(Some(node), expected);
    if let Some(beyond) = items.get(MAX_ENTRIES) {
        findings.error(
            beyond.mark,
            format!("the list is too long; expected at most {MAX_ENTRIES} entries"),
        );
        return None;
    }
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let means = if matches!(item.value, Value::Map(_)) {
            let map = findings.map(item, &["pattern"], "a name, a glob, or a map with `pattern`")?;
            let expected = "a regular expression in Go's syntax";
            let pattern = findings.required(&map, "pattern", expected);
            let (mark, text) = findings.word(pattern, expected)?;
            self::pattern(findings, budget, mark, text)?
        } else {
            let (mark, text) = findings.word(Some(item), expected)?;
            match Places::compile(text) {
                Ok(places) => {
                    if let Some(known) = known.filter(|known| !places.is_known(known)) {
                        let near = known
                            .nearest(&places.text)
                            .map(|near| format!("; did you mean `{near}`?"))
                            .unwrap_or_default();
                        findings.error(
                            mark,
                            format!(
                                "the repository's policy has no environment, place or path of this name{near}"
                            ),
                        );
                    }
                    Means::Places(places)
                }
                Err(problem) => {
                    findings.error(
                        mark,
                        format!("this is not a glob: {problem}; expected one such as `production/us-*`"),
                    );
                    return None;
                }
            }
        };
        entries.push(Entry {
            line: item.mark.line,
            means,
        });
    }
    let line = entries.first()?.line;
    Some(List { line, entries })
}

/// As in Telefonistka's lists.
fn pattern(findings: &mut Findings<'_>, budget: &mut Budget, mark: Mark, text: &str) -> Option<Means> {
    match TargetPattern::compile(text, budget) {
        Ok(pattern) => Some(Means::Pattern(pattern)),
        Err(error) => {
            findings.error(
                mark,
                format!("expected a regular expression in Go's syntax: {error}"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(yaml: &str, name: &str, path: &str) -> Option<String> {
        let policy = ComponentPolicy::compile("web/lockflight.yaml", yaml).unwrap();
        let path = PathInRepo::parse(path).unwrap();
        let component = path.join(&PathInRepo::parse("web").unwrap());
        let target = Target {
            name: Some(name.to_owned()),
            ..Target::directory(path)
        };
        policy.refusal(&target, &component)
    }

    #[test]
    fn lists_mean_places_by_name_or_path() {
        let both = "targets:\n  allow: [lab, 'production/us-*', staging]\n  block:\n  - clusters/prod/us-east4\n  - staging/eu\n";
        for (name, path, said) in [
            ("lab", "clusters/lab", None),
            (
                "labs",
                "clusters/labs",
                Some("not in targets.allow (web/lockflight.yaml:2)"),
            ),
            ("production/us-west1", "clusters/prod/us-west1", None),
            (
                "production/eu",
                "clusters/prod/eu",
                Some("not in targets.allow (web/lockflight.yaml:2)"),
            ),
            (
                "production/us-east4",
                "clusters/prod/us-east4",
                Some("blocked by targets.block (web/lockflight.yaml:4)"),
            ),
            ("staging/us", "x", None),
            (
                "staging/eu",
                "x",
                Some("blocked by targets.block (web/lockflight.yaml:5)"),
            ),
        ] {
            assert_eq!(refusal(both, name, path).as_deref(), said, "{name} {path}");
        }
        assert_eq!(refusal("", "lab", "x"), None);
        assert!(refusal("version: 1\ntargets: { block: ['**'] }", "lab", "x").is_some());
    }

    #[test]
    fn patterns_mean_what_they_mean_in_telefonistka() {
        let yaml = "targets: { block: [{ pattern: 'prod/us.*' }] }";
        assert!(refusal(yaml, "p", "clusters/prod/us-west1").is_some());
        assert!(refusal(yaml, "p", "clusters/prod/eu").is_none());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (yaml, said) in [
            ("[]", "1:1: found a list; expected a component's policy"),
            ("version: 1", "1:1: `targets` is missing"),
            (
                "promotionTargetAllowList: [a]",
                "1:1: `promotionTargetAllowList` is not a key here",
            ),
            (
                "targets: { alow: [a] }",
                "1:12: `alow` is not a key here; did you mean `allow`?",
            ),
            ("targets: { allow: [] }", "1:19: found an empty list"),
            ("targets: { allow: ['['] }", "1:20: this is not a glob"),
            ("targets: { allow: [1] }", "1:20: found a number"),
            (
                "targets: { allow: [{ pattern: '(' }] }",
                "1:31: expected a regular expression",
            ),
        ] {
            let errors = ComponentPolicy::compile("lockflight.yaml", yaml)
                .unwrap_err()
                .to_string();
            assert!(errors.contains(said), "{yaml}: {errors}");
        }
    }

    #[test]
    fn names_are_looked_for_in_the_policy() {
        let policy = "
version: 1
environments:
  lab: { path: clusters/lab }
  production:
    path: 'clusters/prod/{domain}'
    domains: { us-west1: , us-east4: }
flows: [{ from: { path: workspace }, waves: [{ to: [lab, production] }] }]
";
        let policy = super::super::super::Policy::compile("lockflight.yaml", policy).unwrap();
        let compile = |name: &str| {
            let yaml = format!("targets:\n  block: [{name}]\n");
            let compiled = policy.component("web/lockflight.yaml", &yaml);
            compiled.map(|_| ()).map_err(|errors| errors.to_string())
        };
        for known in [
            "lab",
            "production",
            "production/us-west1",
            "clusters",
            "clusters/prod",
            "clusters/prod/us-west1/web",
            "'prodution/*'",
            "'clusters/**'",
        ] {
            assert_eq!(compile(known), Ok(()), "{known}");
        }
        for (unknown, meant) in [
            ("prodution", Some("production")),
            ("us-west1", Some("production/us-west1")),
            ("production/us-wst1", Some("production/us-west1")),
            ("clusters/pro", None),
            ("elsewhere", None),
        ] {
            let said = compile(unknown).unwrap_err();
            let expected = "web/lockflight.yaml:2:11: the repository's policy has no environment, place or path of this name";
            assert!(said.contains(expected), "{said}");
            let near = meant.map(|meant| format!("; did you mean `{meant}`?"));
            assert_eq!(said.contains("did you mean"), near.is_some(), "{said}");
            assert!(said.contains(near.as_deref().unwrap_or_default()), "{said}");
        }
        let at_the_root = "{ version: 1, environments: { lab: { branch: lab } }, flows: [{ from: { path: workspace }, waves: [{ to: [lab] }] }] }";
        let policy = super::super::super::Policy::compile("lockflight.yaml", at_the_root).unwrap();
        assert!(
            policy
                .component("web/lockflight.yaml", "targets: { allow: [web] }")
                .is_ok()
        );
    }
}
