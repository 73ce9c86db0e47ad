use std::collections::BTreeMap;

use super::model::*;
use crate::plan::{Entry, Found, Plan, plan, reads};
use crate::policy::Policy;
use crate::{Base, PathInRepo};

/// Lab and staging together, then one production cluster alone and the others together; labelled changes go to production
/// at once.
const CHAIN: &str = "
promotionPaths:
  - sourcePath: workspace/
    conditions:
      prHasLabels: [quick_promotion]
    promotionPrs:
      - targetDescription: All of production
        targetPaths: [clusters/prod/us/c2/, clusters/prod/eu/c2/]
  - sourcePath: workspace/
    conditions:
      autoMerge: true
    promotionPrs:
      - targetDescription: Lab and staging
        targetPaths: [clusters/lab/eu/c1/, clusters/staging/us/c1/]
  - sourcePath: 'clusters/staging/[^/]*/[^/]*/'
    promotionPrs:
      - targetDescription: First of production
        targetPaths: [clusters/prod/us/c2/]
      - targetPaths: [clusters/prod/eu/c2/, clusters/prod/as/c2/]
";

fn chain() -> Policy {
    policy(CHAIN)
}

fn titles(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.title.as_str()).collect()
}

#[test]
fn a_change_goes_to_every_target_of_its_flow() {
    let repo = Repo::of(&[
        ("workspace/nginx/values.yaml", "2"),
        ("clusters/lab/eu/c1/nginx/values.yaml", "1"),
    ]);
    let plan = repo.plan(&chain(), &[], &["workspace/nginx/values.yaml"]);
    let [step] = plan.steps.as_slice() else {
        panic!("{plan:#?}")
    };
    assert_eq!(step.title, "🚀 Promotion: nginx ➡️  Lab and staging");
    assert_eq!(step.source, "workspace");
    assert_eq!(step.components, ["nginx"]);
    assert!(step.auto_merge);
    assert_eq!((step.flow.index, step.flow.line), (1, 9));
    assert_eq!(
        syncs(step),
        [
            "workspace/nginx -> clusters/lab/eu/c1/nginx",
            "workspace/nginx -> clusters/staging/us/c1/nginx"
        ]
    );
    let targets: Vec<String> = step
        .targets
        .iter()
        .map(|t| format!("{} {} {}", t.repo, t.branch, t.path))
        .collect();
    assert_eq!(
        targets,
        [
            "acme/gitops main clusters/lab/eu/c1",
            "acme/gitops main clusters/staging/us/c1"
        ]
    );
    assert_eq!(plan.matched_paths, 1);
}

#[test]
fn the_merged_promotion_goes_on_to_the_next_environment() {
    let repo = Repo::of(&[("clusters/staging/us/c1/nginx/values.yaml", "2")]);
    let changed = [
        "clusters/lab/eu/c1/nginx/values.yaml",
        "clusters/staging/us/c1/nginx/values.yaml",
    ];
    let plan = repo.plan(&chain(), &[], &changed);
    assert_eq!(
        titles(&plan),
        [
            "🚀 Promotion: nginx ➡️  First of production",
            "🚀 Promotion: nginx ➡️  clusters/prod/eu/c2 clusters/prod/as/c2"
        ]
    );
    assert!(plan.steps.iter().all(|step| !step.auto_merge));
    assert_eq!(plan.steps[0].source, "clusters/staging/[^/]*/[^/]*");
    assert_eq!(plan.matched_paths, 1);
}

#[test]
fn a_label_chooses_the_flow_and_the_flow_says_whether_to_merge() {
    let repo = Repo::of(&[("workspace/nginx/values.yaml", "2")]);
    let plan = repo.plan(
        &chain(),
        &["quick_promotion", "other"],
        &["workspace/nginx/values.yaml"],
    );
    assert_eq!(titles(&plan), ["🚀 Promotion: nginx ➡️  All of production"]);
    assert!(!plan.steps[0].auto_merge);

    // In Telefonistka the first flow's autoMerge leaks into the flow that was chosen.
    let leaky = policy(
        "promotionPaths:\n- {sourcePath: w/, conditions: {prHasLabels: [x], autoMerge: true}, promotionPrs: [{targetPaths: [a/]}]}\n\
         - {sourcePath: w/, promotionPrs: [{targetPaths: [b/]}]}\n",
    );
    let plan = Repo::of(&[("w/c/f", "1")]).plan(&leaky, &[], &["w/c/f"]);
    assert_eq!(plan.steps[0].sync[0].to, path("b/c"));
    assert!(!plan.steps[0].auto_merge);
}

#[test]
fn the_components_of_a_change_share_a_pull_request() {
    let repo = Repo::of(&[
        ("clusters/staging/us/c1/b/f", "1"),
        ("clusters/staging/eu/c1/a/f", "1"),
        ("clusters/staging/eu/c1/c/f", "1"),
    ]);
    let changed: Vec<&str> = repo.0.keys().map(String::as_str).collect();
    let plan = repo.plan(&chain(), &[], &changed);
    assert_eq!(plan.steps.len(), 2);
    assert_eq!(plan.steps[0].components, ["a", "b", "c"]);
    assert_eq!(
        syncs(&plan.steps[0]),
        [
            "clusters/staging/eu/c1/a -> clusters/prod/us/c2/a",
            "clusters/staging/eu/c1/c -> clusters/prod/us/c2/c",
            "clusters/staging/us/c1/b -> clusters/prod/us/c2/b",
        ]
    );
}

#[test]
fn groups_with_the_same_targets_are_one_pull_request() {
    let policy = policy(
        "promotionPaths:\n- sourcePath: w/\n  promotionPrs:\n  - {targetPaths: [a/, b/], targetDescription: One}\n  - {targetPaths: [b/, a/], targetDescription: Two}\n",
    );
    let plan = Repo::of(&[("w/c/f", "1")]).plan(&policy, &[], &["w/c/f"]);
    assert_eq!(titles(&plan), ["🚀 Promotion: c ➡️  One"]);
}

#[test]
fn a_target_in_two_groups_is_promoted_by_both() {
    let policy = policy(
        "promotionPaths:\n- sourcePath: w/\n  promotionPrs:\n  - {targetPaths: [a/, b/]}\n  - {targetPaths: [b/, c/]}\n",
    );
    let plan = Repo::of(&[("w/x/f", "1")]).plan(&policy, &[], &["w/x/f"]);
    assert_eq!(
        plan.steps.iter().map(syncs).map(|s| s.len()).collect::<Vec<_>>(),
        [2, 2]
    );
    assert_ne!(plan.steps[0].branch, plan.steps[1].branch);
    assert!(plan.notes.is_empty());
}

#[test]
fn files_that_lie_in_no_component_belong_to_none() {
    let policy = policy(
        "promotionPaths:\n- {sourcePath: w/, componentPathExtraDepth: 1, promotionPrs: [{targetPaths: [a/]}]}\n\
         - {sourcePath: w/x/, promotionPrs: [{targetPaths: [b/]}]}\n",
    );
    let files = [
        ("README.md", "1"),
        ("w/README.md", "1"),
        ("w/x/README.md", "1"),
        ("w/x/y/f", "1"),
        ("other/x/y/f", "1"),
    ];
    let changed: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let plan = Repo::of(&files).plan(&policy, &[], &changed);
    // The first flow matches `w/x/y/f`, so the second is not asked, not even for `w/x/README.md`.
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(syncs(&plan.steps[0]), ["w/x/y -> a/x/y"]);
    assert_eq!(plan.steps[0].components, ["x/y"]);
    assert_eq!(plan.matched_paths, 1);
}

#[test]
fn names_that_look_like_patterns_are_names() {
    let policy =
        policy("promotionPaths:\n- {sourcePath: 'w/(?:x|y)/', promotionPrs: [{targetPaths: [t/]}]}\n");
    for name in [
        "c++",
        "a+b",
        "(x)",
        "[a]",
        "a.*",
        "$1",
        "${1}",
        "^",
        "日本 語",
        "a b",
        "-",
    ] {
        let file = format!("w/y/{name}/f");
        let plan = Repo::of(&[(&file, "1")]).plan(&policy, &[], &[&file]);
        assert_eq!(plan.steps[0].components, [name]);
        assert_eq!(plan.steps[0].sync[0].to, path(&format!("t/{name}")));
    }
}

#[test]
fn names_that_no_promotion_may_touch_are_skipped_with_the_reason() {
    let policy = policy("promotionPaths:\n- {sourcePath: w/, promotionPrs: [{targetPaths: [t/]}]}\n");
    for (name, reason) in [
        ("a\\b", "t: its path can't be promoted: it has a backslash"),
        ("a\u{202e}b", "t: its path can't be promoted: it has a backslash"),
        ("..", "t: its path can't be promoted: a component is `.` or `..`"),
        (".git", "t: its path can't be promoted: a component is `.git`"),
        ("a\u{fffd}", "t: its path is not UTF-8"),
        (".github", "t/.github: `.git*` and `.github` steer the forge"),
        ("CODEOWNERS", "t/CODEOWNERS: CODEOWNERS says who approves"),
        ("telefonistka.yaml", "t/telefonistka.yaml: it is a policy file"),
    ] {
        let file = format!("w/{name}/f");
        let plan = Repo::of(&[(&file, "1")]).plan(&policy, &[], &[&file]);
        assert!(plan.steps.is_empty());
        assert!(
            skips(&plan)[0].starts_with(&format!("{name} at {reason}")),
            "{:?}",
            skips(&plan)
        );
        assert_eq!(plan.matched_paths, 1);
    }
}

#[test]
fn what_is_equal_needs_no_step() {
    let repo = Repo::of(&[
        ("workspace/nginx/f", "1"),
        ("clusters/lab/eu/c1/nginx/f", "1"),
        ("clusters/staging/us/c1/nginx/f", "1"),
    ]);
    let plan = repo.plan(&chain(), &[], &["workspace/nginx/f"]);
    assert!(plan.steps.is_empty() && plan.skipped.is_empty());
    assert_eq!(plan.matched_paths, 1);
}

#[test]
fn a_component_that_is_gone_is_deleted_where_it_stands() {
    let repo = Repo::of(&[("clusters/lab/eu/c1/nginx/f", "1")]);
    let plan = repo.plan(&chain(), &[], &["workspace/nginx/f"]);
    assert_eq!(
        syncs(&plan.steps[0]),
        ["workspace/nginx -x clusters/lab/eu/c1/nginx"]
    );
    assert!(repo.after(&plan).0.is_empty());
}

#[test]
fn a_rename_clears_the_old_path_and_fills_the_new_one() {
    let repo = Repo::of(&[("workspace/new/f", "1"), ("clusters/lab/eu/c1/old/f", "1")]);
    let plan = repo.plan(&chain(), &[], &["workspace/old/f", "workspace/new/f"]);
    assert_eq!(plan.steps[0].components, ["new", "old"]);
    assert_eq!(
        syncs(&plan.steps[0]),
        [
            "workspace/new -> clusters/lab/eu/c1/new",
            "workspace/new -> clusters/staging/us/c1/new",
            "workspace/old -x clusters/lab/eu/c1/old",
        ]
    );
}

#[test]
fn a_plan_never_guesses_what_was_not_read() {
    let repo = Repo::of(&[("workspace/nginx/f", "1")]);
    let change = change(&[]);
    let facts = repo.facts(&chain(), &change, &["workspace/nginx/f"]);
    let own = |facts: &crate::plan::Facts| match &facts.at[&Base::default()] {
        Found::Content(content) => content.entries.clone(),
        Found::Unreachable(reason) => panic!("{reason}"),
    };
    assert_eq!(own(&facts).len(), 3);
    for read in own(&facts).keys() {
        let mut facts = facts.clone();
        entries(&mut facts).remove(read);
        assert_eq!(missing(plan(&chain(), &facts)), *read);
    }
}

#[test]
fn a_file_where_a_directory_should_be_is_skipped_with_the_reason() {
    let at_source = Repo::of(&[("workspace/nginx", "link")]);
    let plan = at_source.plan(&chain(), &[], &["workspace/nginx/f", "workspace/nginx"]);
    assert!(plan.steps.is_empty());
    assert_eq!(
        skips(&plan)[0],
        "nginx at clusters/lab/eu/c1/nginx: a file, symlink or submodule stands at workspace/nginx, where the component's directory should be"
    );

    let at_target = Repo::of(&[("workspace/nginx/f", "1"), ("clusters/lab/eu/c1/nginx", "link")]);
    let plan = at_target.plan(&chain(), &[], &["workspace/nginx/f"]);
    assert_eq!(
        syncs(&plan.steps[0]),
        ["workspace/nginx -> clusters/staging/us/c1/nginx"]
    );
    assert!(
        plan.steps[0].skipped[0]
            .reason
            .contains("stands at clusters/lab/eu/c1/nginx")
    );
}

#[test]
fn a_components_own_policy_decides_where_it_goes() {
    let own = "promotionTargetBlockList:\n- clusters/lab/\n";
    let repo = Repo::of(&[
        ("workspace/nginx/telefonistka.yaml", own),
        (
            "workspace/redis/telefonistka.yaml",
            "promotionTargetAllowList: [prod]",
        ),
        ("workspace/etcd/f", "1"),
    ]);
    let changed = ["workspace/nginx/f", "workspace/redis/f", "workspace/etcd/f"];
    let plan = repo.plan(&chain(), &[], &changed);
    let [step] = plan.steps.as_slice() else { panic!() };
    // A component that goes nowhere is not named, but stands among what was skipped.
    assert_eq!(step.components, ["etcd", "nginx"]);
    assert_eq!(
        syncs(step),
        [
            "workspace/etcd -> clusters/lab/eu/c1/etcd",
            "workspace/etcd -> clusters/staging/us/c1/etcd",
            "workspace/nginx -> clusters/staging/us/c1/nginx",
        ]
    );
    assert_eq!(step.skipped, plan.skipped);
    assert_eq!(
        skips(&plan),
        [
            "nginx at clusters/lab/eu/c1/nginx: blocked by promotionTargetBlockList (workspace/nginx/telefonistka.yaml:2)",
            "redis at clusters/lab/eu/c1/redis: not in promotionTargetAllowList (workspace/redis/telefonistka.yaml:1)",
            "redis at clusters/staging/us/c1/redis: not in promotionTargetAllowList (workspace/redis/telefonistka.yaml:1)",
        ]
    );

    let plan = repo.plan(&chain(), &[], &["workspace/redis/f"]);
    assert!(plan.steps.is_empty());
    assert_eq!(plan.skipped.len(), 2);
}

const TWO_SOURCES: &str = "
promotionPaths:
  - {sourcePath: a/, promotionPrs: [{targetPaths: [t/]}]}
  - {sourcePath: '[bc]/', promotionPrs: [{targetPaths: [t/]}]}
";

#[test]
fn of_two_sources_for_one_target_the_later_one_wins() {
    for (name, files, winner, note) in [
        (
            "the later flow",
            vec![("a/x/f", "1"), ("b/x/f", "2")],
            "b/x -> t/x",
            Some(
                "t/x has two sources in this change: b/x is taken and a/x is not (the later in the policy wins).",
            ),
        ),
        (
            "the later source of a flow",
            vec![("b/x/f", "1"), ("c/x/f", "2")],
            "c/x -> t/x",
            Some(
                "t/x has two sources in this change: c/x is taken and b/x is not (the later in the policy wins).",
            ),
        ),
        (
            "the same content",
            vec![("a/x/f", "1"), ("b/x/f", "1")],
            "b/x -> t/x",
            None,
        ),
    ] {
        let repo = Repo::of(&files);
        let changed: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        let plan = repo.plan(&policy(TWO_SOURCES), &[], &changed);
        assert_eq!(
            plan.steps.iter().flat_map(syncs).collect::<Vec<_>>(),
            [winner],
            "{name}"
        );
        assert_eq!(plan.notes.first().map(String::as_str), note, "{name}");
    }
}

#[test]
fn two_flows_to_the_same_targets_have_a_branch_each() {
    let repo = Repo::of(&[("a/x/f", "1"), ("b/y/f", "1")]);
    let plan = repo.plan(&policy(TWO_SOURCES), &[], &["a/x/f", "b/y/f"]);
    let [first, second] = plan.steps.as_slice() else {
        panic!("{plan:#?}")
    };
    assert_eq!(first.targets, second.targets);
    assert_ne!(first.branch, second.branch);
}

#[test]
fn a_component_that_moved_from_one_source_to_another_is_not_deleted() {
    for (there, gone) in [("a/x/f", "b/x/f"), ("b/x/f", "a/x/f")] {
        let repo = Repo::of(&[(there, "2"), ("t/x/f", "1")]);
        let plan = repo.plan(&policy(TWO_SOURCES), &[], &[there, gone]);
        let found: Vec<String> = plan.steps.iter().flat_map(syncs).collect();
        assert_eq!(found, [format!("{} -> t/x", there.trim_end_matches("/f"))]);
        assert!(plan.notes[0].ends_with("(which is gone)."), "{:?}", plan.notes);
    }
}

#[test]
fn all_rivals_gone_is_a_deletion() {
    let repo = Repo::of(&[("t/x/f", "1")]);
    let plan = repo.plan(&policy(TWO_SOURCES), &[], &["a/x/f", "b/x/f", "c/x/f"]);
    assert_eq!(
        plan.steps.iter().flat_map(syncs).collect::<Vec<_>>(),
        ["c/x -x t/x"]
    );
    assert!(plan.notes.is_empty());
}

#[test]
fn a_blocked_source_is_no_rival() {
    let repo = Repo::of(&[
        ("a/x/f", "1"),
        ("b/x/telefonistka.yaml", "promotionTargetBlockList: [t/]"),
    ]);
    let plan = repo.plan(&policy(TWO_SOURCES), &[], &["a/x/f", "b/x/f"]);
    assert_eq!(
        plan.steps.iter().flat_map(syncs).collect::<Vec<_>>(),
        ["a/x -> t/x"]
    );
    assert!(plan.notes.is_empty());
}

#[test]
fn components_that_lie_inside_one_another_at_the_target_stay_where_they_are() {
    let policy = policy(
        "promotionPaths:\n- {sourcePath: a/, promotionPrs: [{targetPaths: [t/]}]}\n\
         - {sourcePath: b/, promotionPrs: [{targetPaths: [t/x/, u/]}]}\n",
    );
    let repo = Repo::of(&[("a/x/f", "1"), ("a/y/f", "1"), ("b/z/f", "1"), ("b/w/f", "1")]);
    let changed: Vec<&str> = repo.0.keys().map(String::as_str).collect();
    let plan = repo.plan(&policy, &[], &changed);
    assert_eq!(
        plan.steps.iter().flat_map(syncs).collect::<Vec<_>>(),
        ["a/y -> t/y", "b/w -> u/w", "b/z -> u/z"]
    );
    assert_eq!(
        skips(&plan),
        [
            "w at t/x/w: one of this and t/x lies inside the other, so they can't both be promoted",
            "x at t/x: one of this and t/x/w lies inside the other, so they can't both be promoted",
            "z at t/x/z: one of this and t/x lies inside the other, so they can't both be promoted",
        ]
    );
}

#[test]
fn a_component_is_not_copied_into_itself() {
    let policy = policy(
        "promotionPaths:\n- {sourcePath: c/, promotionPrs: [{targetPaths: [c/, c/x/]}]}\n\
         - {sourcePath: d/x/, promotionPrs: [{targetPaths: [d/]}]}\n",
    );
    let repo = Repo::of(&[("c/x/f", "1"), ("d/x/x/f", "1")]);
    let plan = repo.plan(&policy, &[], &["c/x/f", "d/x/x/f"]);
    assert!(plan.steps.is_empty());
    assert_eq!(
        skips(&plan),
        [
            "x at c/x/x: the target lies inside the component itself",
            "x at d/x: the component lies inside what it would replace",
        ]
    );
}

#[test]
fn what_must_be_read_is_each_component_at_its_source_and_at_its_targets() {
    let changed = ["workspace/nginx/a/b", "workspace/nginx/f", "workspace/README.md"].map(str::to_owned);
    let reads = reads(&chain(), &change(&[]), &changed);
    assert_eq!(
        reads
            .own()
            .entries
            .iter()
            .map(PathInRepo::as_str)
            .collect::<Vec<_>>(),
        [
            "clusters/lab/eu/c1/nginx",
            "clusters/staging/us/c1/nginx",
            "workspace/nginx"
        ]
    );
    assert_eq!(
        reads
            .component_policies
            .iter()
            .map(PathInRepo::as_str)
            .collect::<Vec<_>>(),
        ["workspace/nginx"]
    );
    let none = crate::plan::reads(&Policy::none(), &change(&[]), &changed);
    assert!(none.own().entries.is_empty() && none.component_policies.is_empty());
}

#[test]
fn the_settings_of_the_policy_stand_in_the_plan() {
    let plan = Repo::default().plan(
        &policy("dryRunMode: yes\nautoApprovePromotionPrs: yes"),
        &[],
        &["a/b/c"],
    );
    assert!(plan.dry_run && plan.approve);
    assert_eq!(plan.matched_paths, 0);
}

#[test]
fn a_branch_is_named_by_flow_targets_and_change() {
    let repo = Repo::of(&[("workspace/nginx/f", "1")]);
    let base = change(&[]);
    let facts = repo.facts(&chain(), &base, &["workspace/nginx/f"]);
    let branch = |facts: &crate::plan::Facts| plan(&chain(), facts).unwrap().steps[0].branch.clone();
    let name = branch(&facts);
    assert!(
        name.as_str().starts_with("promotions/12-feature-nginx-"),
        "{name}"
    );

    // What the step carries does not matter: the branch is where a retry looks.
    let mut same = facts.clone();
    entries(&mut same).insert(path("clusters/lab/eu/c1/nginx"), Entry::NotADirectory);
    same.change.title = "Another".to_owned();
    assert_eq!(branch(&same), name);

    let mut other_commit = facts.clone();
    other_commit.change.merged_as = crate::CommitOid::parse("3".repeat(40)).unwrap();
    let mut other_repo = facts.clone();
    other_repo.change.repo.id = crate::RepoId::new(8);
    assert_ne!(branch(&other_commit), name);
    assert_ne!(branch(&other_repo), name);

    let mut long = facts;
    long.change.head_branch = "../é@{x}.lock ".repeat(100);
    assert!(crate::BranchName::parse(branch(&long).as_str()).is_ok());
}

#[test]
fn a_plan_is_the_same_in_every_version_byte_for_byte() {
    let repo = Repo::of(&[
        ("workspace/nginx/f", "1"),
        ("clusters/staging/us/c1/nginx", "link"),
    ]);
    let plan = repo.plan(&chain(), &[], &["workspace/nginx/f"]);
    let json = serde_json::to_string_pretty(&plan).unwrap();
    assert_eq!(json, include_str!("plan.json").trim_end());
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

/// What stands in the merge commit.
fn entries(facts: &mut crate::plan::Facts) -> &mut BTreeMap<PathInRepo, Entry> {
    match facts.at.get_mut(&Base::default()) {
        Some(Found::Content(content)) => &mut content.entries,
        _ => panic!("the merge commit was not read"),
    }
}
