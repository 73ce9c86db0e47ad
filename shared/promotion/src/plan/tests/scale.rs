use super::model::*;
use crate::plan::{Entry, Facts, plan, reads};
use crate::{PathInRepo, TreeOid};

/// 10,000 paths of 500 components, promoted to 50 targets that all lack them.
fn large() -> (crate::policy::Policy, Facts) {
    let targets: Vec<String> = (0..50).map(|n| format!("clusters/prod/region-{n}/c1/")).collect();
    let yaml = serde_json::json!({"promotionPaths": [
        {"sourcePath": "clusters/staging/[^/]*/[^/]*/", "promotionPrs": [{"targetPaths": ["other/"]}]},
        {"sourcePath": "workspace/", "promotionPrs": [{"targetPaths": targets}]},
    ]});
    let policy = policy(&yaml.to_string());
    let changed: Vec<String> = (0..10_000)
        .map(|n| format!("workspace/component-{}/dir-{}/file.yaml", n % 500, n / 500))
        .collect();
    let change = change(&[]);
    let tree = Entry::Tree(TreeOid::parse("a".repeat(40)).unwrap());
    let entries = reads(&policy, &change, &changed)
        .own()
        .entries
        .iter()
        .cloned()
        .map(|path| {
            let at_source = path.is_within(&PathInRepo::parse("workspace").unwrap());
            let entry = if at_source { tree.clone() } else { Entry::Absent };
            (path, entry)
        })
        .collect();
    let facts = Facts::at_merge_commit(change, changed, entries, std::collections::BTreeMap::new());
    (policy, facts)
}

#[test]
fn a_large_change_is_planned_whole() {
    let (policy, facts) = large();
    let plan = plan(&policy, &facts).unwrap();
    assert_eq!(plan.matched_paths, 10_000);
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(plan.steps[0].components.len(), 500);
    assert_eq!(plan.steps[0].sync.len(), 25_000);
    assert!(plan.steps[0].title.contains(" and "), "{}", plan.steps[0].title);
}
