use proptest::prelude::*;

use super::model::*;
use crate::plan::candidates::Reach;
use crate::plan::decide::Decided;
use crate::plan::trace::Trace;
use crate::plan::{clashes, plan};
use crate::policy::Policy;

/// A policy whose sources and targets are far apart, so that no target is the source of another flow.
fn policies() -> impl Strategy<Value = String> {
    let source = prop::sample::select(vec![
        "src/",
        "src",
        "src/[^/]*/",
        "src/(?:a|b)/",
        "src/.*/",
        "(src|more)/",
        "src/(a|x)/",
        "src/c\\+\\+",
        "more/?",
    ]);
    let target = prop::sample::select(vec!["out/", "out/x", "out/y/", "out/x/y/", "fin", "fin/日本/"]);
    let groups = prop::collection::vec(prop::collection::vec(target, 1..4), 1..3);
    let label = prop::option::of(prop::sample::select(vec!["quick", "slow"]));
    let flow = (source, 0_usize..3, groups, label, any::<bool>());
    prop::collection::vec(flow, 1..4).prop_map(|flows| {
        let flows: Vec<_> = flows
            .into_iter()
            .map(|(source, depth, groups, label, auto_merge)| {
                let prs: Vec<_> = groups
                    .into_iter()
                    .map(|targets| serde_json::json!({ "targetPaths": targets }))
                    .collect();
                let mut conditions = serde_json::json!({ "autoMerge": auto_merge });
                if let Some(label) = label {
                    conditions["prHasLabels"] = serde_json::json!([label]);
                }
                serde_json::json!({
                    "sourcePath": source,
                    "componentPathExtraDepth": depth,
                    "conditions": conditions,
                    "promotionPrs": prs,
                })
            })
            .collect();
        // JSON is YAML.
        serde_json::json!({ "promotionPaths": flows }).to_string()
    })
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "x", "y", "c++", "a b", "日本", "(", ".*", "-"])
}

fn file() -> impl Strategy<Value = String> {
    let top = prop::sample::select(vec!["src", "more", "out", "out/x", "fin", "other"]);
    (top, prop::collection::vec(segment(), 1..5)).prop_map(|(top, rest)| format!("{top}/{}", rest.join("/")))
}

/// A repository in which no file stands where another has a directory.
fn repos() -> impl Strategy<Value = Repo> {
    prop::collection::btree_map(file(), "[0-2]", 0..25).prop_map(|files| {
        let files = files
            .into_iter()
            .map(|(path, content)| (format!("{path}/file"), content));
        let mut repo = Repo(files.collect());
        // A component here and there has lists of its own.
        if let Some(directory) = repo.0.keys().next().and_then(|path| path.strip_suffix("/file")) {
            let lists = "promotionTargetBlockList: [out/y]\npromotionTargetAllowList: [out, fin]\n";
            repo.0
                .insert(format!("{directory}/telefonistka.yaml"), lists.to_owned());
        }
        repo
    })
}

fn changes() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(file().prop_map(|path| format!("{path}/file")), 0..20)
}

fn as_strs(paths: &[String]) -> Vec<&str> {
    paths.iter().map(String::as_str).collect()
}

proptest! {
    #[test]
    fn the_same_facts_make_the_same_plan_in_whatever_order(
        yaml in policies(),
        repo in repos(),
        (changed, shuffled) in changes().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle())),
    ) {
        let policy = policy(&yaml);
        let one = repo.plan(&policy, &["quick"], &as_strs(&changed));
        let doubled: Vec<&str> = shuffled.iter().chain(&changed).map(String::as_str).collect();
        let other = repo.plan(&policy, &["quick"], &doubled);
        prop_assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&other).unwrap());
    }

    #[test]
    fn a_plan_after_its_own_application_is_empty(yaml in policies(), repo in repos(), changed in changes()) {
        let policy = policy(&yaml);
        let first = repo.plan(&policy, &[], &as_strs(&changed));
        let second = repo.after(&first).plan(&policy, &[], &as_strs(&changed));
        prop_assert!(second.steps.is_empty(), "{:#?}\nthen {:#?}", first.steps, second.steps);
    }

    #[test]
    fn every_sync_makes_its_target_equal_to_its_source(yaml in policies(), repo in repos(), changed in changes()) {
        let plan = repo.plan(&policy(&yaml), &[], &as_strs(&changed));
        let after = repo.after(&plan);
        for sync in plan.steps.iter().flat_map(|step| &step.sync) {
            prop_assert_eq!(after.below(&sync.to), repo.below(&sync.from));
            prop_assert_eq!(sync.tree.is_none(), repo.below(&sync.from).is_empty());
        }
    }

    #[test]
    fn nothing_outside_the_targets_changes(yaml in policies(), repo in repos(), changed in changes()) {
        let plan = repo.plan(&policy(&yaml), &[], &as_strs(&changed));
        for step in &plan.steps {
            let mut alone = plan.clone();
            alone.steps = vec![step.clone()];
            for path in differing(&repo, &repo.after(&alone)) {
                let path = super::model::path(&path);
                prop_assert!(step.targets.iter().any(|target| path.is_within(&target.path)), "{path}");
                prop_assert!(step.sync.iter().any(|sync| path.is_within(&sync.to)), "{path}");
            }
        }
    }

    #[test]
    fn a_step_always_says_something_and_no_two_share_a_branch(yaml in policies(), repo in repos(), changed in changes()) {
        let plan = repo.plan(&policy(&yaml), &["slow"], &as_strs(&changed));
        let mut branches: Vec<_> = plan.steps.iter().map(|step| step.branch.clone()).collect();
        branches.dedup();
        prop_assert_eq!(branches.len(), plan.steps.len());
        for step in &plan.steps {
            prop_assert!(!step.sync.is_empty() && !step.components.is_empty());
            prop_assert!(step.title.chars().count() <= 250);
            prop_assert!(step.skipped.iter().all(|skip| plan.skipped.contains(skip)));
            prop_assert!(step.sync.is_sorted() && step.components.is_sorted());
        }
    }

    #[test]
    fn what_is_kept_apart_by_names_and_targets_has_no_clashes(yaml in policies(), repo in repos(), changed in changes()) {
        let policy = policy(&yaml);
        let facts = repo.facts(&policy, &change(&[]), &as_strs(&changed));
        let trace = Trace::of(&policy, &facts.change, &facts.changed);
        let reach = Reach::of(&policy, &facts.change, &trace);
        let (candidates, _) = reach.candidates();
        for one in &candidates {
            prop_assert!(candidates.iter().all(|other| one.goes_to(&other.to()) == (one.to() == other.to())));
        }
        let mut decided = Decided::default();
        let left = clashes::without(candidates.clone(), &facts, &mut decided).unwrap();
        if reach.keeps_apart() {
            prop_assert_eq!(left.len(), candidates.len());
            prop_assert!(decided.refused.is_empty() && decided.notes.is_empty());
        }
    }

    #[test]
    fn arbitrary_paths_never_panic(
        yaml in policies(),
        changed in prop::collection::vec(prop_oneof![any::<String>(), "(src|more)/[^\\x00]{1,12}(/.{0,5}){0,3}"], 0..10),
        head in any::<String>(),
    ) {
        let policy = policy(&yaml);
        let mut change = change(&[]);
        change.head_branch = head;
        let facts = Repo::default().facts(&policy, &change, &as_strs(&changed));
        let plan = plan(&policy, &facts).unwrap();
        prop_assert!(plan.matched_paths <= changed.len());
    }

    #[test]
    fn arbitrary_policies_and_paths_never_panic(
        source in "[a-c/.*()|?\\[\\]^$+]{1,12}",
        target in any::<String>(),
        changed in prop::collection::vec("([a-c.+]{1,2}/){0,4}[a-c]", 0..10),
    ) {
        let yaml = serde_json::json!({"promotionPaths": [{"sourcePath": source, "promotionPrs": [{"targetPaths": [target, "t/"]}]}]});
        let yaml = yaml.to_string();
        if let Ok(policy) = Policy::compile("telefonistka.yaml", &yaml).or_else(|_| {
            Policy::compile("telefonistka.yaml", &yaml.replace(&serde_json::to_string(&target).unwrap(), "\"u/\""))
        }) {
            let files = changed.iter().map(|path| (path.clone(), String::new()));
            let repo = Repo(files.collect());
            let plan = repo.plan(&policy, &[], &as_strs(&changed));
            prop_assert!(plan.steps.iter().all(|step| !step.sync.is_empty()));
        }
    }
}
