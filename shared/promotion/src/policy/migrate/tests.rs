use proptest::prelude::*;

use super::*;
use crate::change::{Change, Lineage, Repository};
use crate::plan::{Content, Entry, Facts, Found, Plan, plan, reads};
use crate::{BranchName, CommitOid, Login, PathInRepo, PrNumber, RepoId, RepoName, TreeOid};

fn change(labels: &[String]) -> Change {
    let commit = || CommitOid::parse("a".repeat(40)).unwrap();
    Change {
        repo: Repository {
            id: RepoId::new(1),
            name: RepoName::parse("acme/gitops").unwrap(),
            installation: None,
        },
        branch: BranchName::parse("main").unwrap(),
        default_branch: None,
        number: PrNumber::new(7),
        title: "a change".to_owned(),
        author: Login::parse("someone").unwrap(),
        head_branch: "work".to_owned(),
        head: commit(),
        merged_as: commit(),
        committed_at: 0,
        labels: labels.iter().cloned().collect(),
        lineage: Lineage::default(),
        rollback: None,
    }
}

/// What stands at a path is a function of the path alone, so that both plans see the same.
fn planned(policy: &Policy, change: &Change, changed: &[String], salt: usize) -> Plan {
    let wanted = reads(policy, change, changed);
    let entry = |path: &PathInRepo| {
        let sum: usize = path.as_str().bytes().map(usize::from).sum::<usize>() + salt;
        match sum % 4 {
            0 => Entry::Absent,
            n => Entry::Tree(TreeOid::parse(n.to_string().repeat(40)).unwrap()),
        }
    };
    let at = wanted.at.iter().map(|(base, wanted)| {
        let entries: BTreeMap<_, _> = wanted
            .entries
            .iter()
            .map(|path| (path.clone(), entry(path)))
            .collect();
        (
            base.clone(),
            Found::Content(Content {
                entries,
                ..Content::default()
            }),
        )
    });
    let facts = Facts {
        change: change.clone(),
        changed: changed.to_vec(),
        at: at.collect(),
        component_policies: BTreeMap::new(),
    };
    plan(policy, &facts).unwrap()
}

/// A plan as JSON without what may differ: ids, branches, and where in which file a flow stands.
fn comparable(plan: &Plan) -> serde_json::Value {
    let mut plan = serde_json::to_value(plan).unwrap();
    let strip = |value: &mut serde_json::Value, keys: &[&str]| {
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !keys.contains(&key.as_str()));
        }
    };
    strip(&mut plan, &["id"]);
    for list in ["steps", "flows"] {
        for item in plan
            .get_mut(list)
            .and_then(serde_json::Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            strip(item, &["id", "branch"]);
            strip(&mut item["flow"], &["file", "line"]);
        }
    }
    plan
}

fn telefonistka(yaml: &str) -> Policy {
    Policy::compile("telefonistka.yaml", yaml).unwrap()
}

#[test]
fn a_policy_is_written_in_our_own_form() {
    let policy = telefonistka(
        "promotionPaths:\n\
         - sourcePath: workspace/\n  componentPathExtraDepth: 1\n  conditions: { prHasLabels: [hot, '1'], autoMerge: true }\n  promotionPrs:\n  \
         - targetDescription: Lab\n    targetPaths: [clusters/lab/eu/c1/, clusters/dev/]\n  - targetPaths: [clusters/prod/us/c2/]\n\
         - sourcePath: 'clusters/lab/[^/]+/c1/'\n  promotionPrs: []\n\
         dryRunMode: true\nautoApprovePromotionPrs: true\npromtionPRlables: [x]\n\
         toggleCommitStatus: { bypass: ci, odd: '' }\nwhProxtSkipTLSVerifyUpstream: true\n\
         webhookEndpointRegexs: [{ expression: '^a/(.*)', replacements: ['https://h.example/$1'] }]\n\
         argocd: { commentDiffonPR: true }\n",
    );
    let text = migrate(&policy).unwrap();
    assert_eq!(
        text,
        r#"# Written from telefonistka.yaml; both lead to the same pull requests.
version: 1

environments:
  dev: { path: clusters/dev }
  lab:
    domains:
      eu-c1: { path: clusters/lab/eu/c1 }
  prod:
    domains:
      us-c2: { path: clusters/prod/us/c2 }

defaults:
  # As Telefonistka does: a newer change leaves older pull requests alone.
  supersede: leave
  dry_run: true
  approve: true

webhooks:
  skip_tls_verify: true
  endpoints:
    - paths: "^a/(.*)"
      send_to: ["https://h.example/$1"]

commands:
  toggle:
    bypass: ci
# Left out: entries of toggleCommitStatus that are no command or name no status.
# Left out: promtionPRlables, which was never used.
# Left out: argocd, which has no effect.

# For each changed file the first flow counts whose source it lies in and whose conditions hold.
flows:
  # telefonistka.yaml:2
  - from: { pattern: workspace/ }
    when: { labels: ["1", hot] }
    components: { depth: 2 }
    waves:
      - merge: auto
        pull_requests:
          - name: Lab
            to: [lab/eu-c1, dev]
          - name: clusters/prod/us/c2
            to: [prod/us-c2]
  # telefonistka.yaml:9
  - from: { pattern: "clusters/lab/[^/]+/c1/" }
    waves: []
"#
    );
    let ours = Policy::compile(NATIVE_FILE, &text).unwrap();
    let settings = Settings {
        toggle_commit_status: BTreeMap::from([("bypass".to_owned(), "ci".to_owned())]),
        pr_labels: Vec::new(),
        argocd: ArgoCdSettings::default(),
        ..policy.settings().clone()
    };
    assert_eq!(*ours.settings(), settings);
}

#[test]
fn what_has_no_form_of_its_own_is_refused() {
    let twice = telefonistka(
        "promotionPaths: [{ sourcePath: w/, promotionPrs: [{ targetPaths: [a/, b/] }, { targetPaths: [b/] }] }]",
    );
    assert!(
        migrate(&twice)
            .unwrap_err()
            .to_string()
            .starts_with("telefonistka.yaml:1: two pull requests of this flow lead to b")
    );
    let brace =
        telefonistka("promotionPaths: [{ sourcePath: w/, promotionPrs: [{ targetPaths: ['a{b}/'] }] }]");
    assert!(matches!(migrate(&brace), Err(Unmigratable::NoForm(_))));
}

#[test]
fn a_component_keeps_its_lists() {
    let yaml = "promotionTargetAllowList: ['prod/us.*', lab]\npromotionTargetBlockList: [\"x\\\\.y\"]\n";
    let text = migrate_component("web/telefonistka.yaml", yaml).unwrap().unwrap();
    assert!(text.contains("    - { pattern: \"prod/us.*\" }\n    - { pattern: lab }\n  block:\n    - { pattern: \"x\\\\.y\" }\n"), "{text}");
    let (before, after) = (
        ComponentPolicy::compile("web/telefonistka.yaml", yaml).unwrap(),
        ComponentPolicy::compile("web/lockflight.yaml", &text).unwrap(),
    );
    for path in ["prod/us-1", "lab", "prod/eu", "lab/x.y"] {
        let target = super::super::Target::directory(PathInRepo::parse(path).unwrap());
        let component = target.path.join(&PathInRepo::parse("web").unwrap());
        assert_eq!(
            before.refusal(&target, &component).is_some(),
            after.refusal(&target, &component).is_some(),
            "{path}"
        );
    }
    assert!(
        migrate_component("telefonistka.yaml", "promotionTargetAllowList: []")
            .unwrap()
            .is_none()
    );
    assert!(migrate_component("telefonistka.yaml", "").unwrap().is_none());
}

const DIRECTORIES: [&str; 8] = [
    "work",
    "env/lab",
    "env/stg/eu",
    "env/stg/us",
    "env/prod/eu",
    "env/prod/us",
    "prod",
    "c++/x y",
];
const PATTERNS: [&str; 10] = [
    "work/",
    "work",
    "env/lab/",
    "env/stg/[^/]+/",
    "env/(stg|lab)/",
    "env/prod/eu/|prod/",
    "env/[^/]*/us/",
    "c\\+\\+/.*/",
    "env/",
    "c\\+\\+/x y/",
];

prop_compose! {
    fn flow_text()(
        pattern in prop::sample::select(PATTERNS.to_vec()), depth in 0_usize..3,
        labels in prop::collection::btree_set(prop::sample::select(vec!["a", "1", "on", "b c"]), 0..3),
        auto: bool, described: bool, targets in prop::sample::subsequence(DIRECTORIES.to_vec(), 0..5), cut in 0_usize..4,
    ) -> String {
        let json = |value: serde_json::Value| value.to_string();
        let slashed: Vec<String> = targets.iter().map(|target| format!("{target}/")).collect();
        let (first, second) = slashed.split_at(cut.min(slashed.len()));
        let groups: Vec<String> = [first, second]
            .into_iter()
            .filter(|group| !group.is_empty())
            .map(|group| {
                let description = if described { "targetDescription: 'Some: \"place\" #1', " } else { "" };
                format!("{{ {description}targetPaths: {} }}", json(group.into()))
            })
            .collect();
        let labels: Vec<&str> = labels.into_iter().collect();
        format!(
            "- {{ sourcePath: {}, componentPathExtraDepth: {depth}, conditions: {{ prHasLabels: {}, autoMerge: {auto} }}, promotionPrs: [{}] }}\n",
            json(pattern.into()), json(labels.into()), groups.join(", ")
        )
    }
}

#[test]
fn a_place_that_gets_the_name_of_an_environment_with_failure_domains_gets_another() {
    let names = named(&BTreeSet::from(["-a/a", "a", "a-a/ "]));
    let environments: Vec<_> = names
        .values()
        .map(|(environment, domain)| (environment.as_str(), domain.is_some()))
        .collect();
    assert_eq!(environments, [("a-a", false), ("a", false), ("a-a-2", true)]);
}

proptest! {
    #[test]
    fn both_forms_lead_to_the_same_plan(
        flows in prop::collection::vec(flow_text(), 1..6), dry_run: bool, approve: bool,
        changes in prop::collection::vec(
            (
                prop::collection::vec(
                    (prop::sample::select(DIRECTORIES.to_vec()), prop::collection::vec("[a-c]", 0..4))
                        .prop_map(|(directory, below)| format!("{directory}/{}f", below.iter().map(|part| format!("{part}/")).collect::<String>())),
                    1..8,
                ),
                prop::sample::subsequence(vec!["a".to_owned(), "1".to_owned(), "b c".to_owned()], 0..3),
                0_usize..4,
            ),
            1..6,
        ),
    ) {
        let theirs = telefonistka(&format!("dryRunMode: {dry_run}\nautoApprovePromotionPrs: {approve}\npromotionPaths:\n{}", flows.concat()));
        let text = migrate(&theirs).unwrap();
        let ours = Policy::compile(NATIVE_FILE, &text).unwrap();
        for (changed, labels, salt) in changes {
            let change = change(&labels);
            let (before, after) = (planned(&theirs, &change, &changed, salt), planned(&ours, &change, &changed, salt));
            prop_assert_eq!(comparable(&before), comparable(&after), "{}", text);
        }
    }

    #[test]
    fn any_text_survives_its_quotes(text in any::<String>()) {
        let yaml = format!("{}\n", quoted(&text));
        let node = parse("x", &yaml).unwrap().unwrap();
        let super::super::yaml::Value::Scalar(scalar) = &node.value else { panic!("a scalar") };
        prop_assert_eq!(&scalar.text, &text);
    }

    #[test]
    fn names_of_places_are_names_and_apart(paths in prop::collection::btree_set("[a-c.é-]{1,3}(/[a-c ]{1,2}){0,2}", 1..12)) {
        let paths: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
        let names = named(&paths);
        let apart: BTreeSet<_> = names.values().collect();
        prop_assert_eq!(apart.len(), paths.len());
        for (environment, domain) in names.values() {
            prop_assert!(domain.is_some() || !names.values().any(|(other, domain)| other == environment && domain.is_some()));
        }
    }
}
