//! From changed paths to a plan, where all has been read: the part of a planner that computes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use lockflight_promotion::change::{Change, Lineage, Repository};
use lockflight_promotion::plan::{Entry, Facts, Found, plan, reads};
use lockflight_promotion::policy::Policy;
use lockflight_promotion::{CommitOid, Login, PathInRepo, PrNumber, RepoId, RepoName, TreeOid};

use crate::Plan;
use crate::report::Report;
use crate::stage::main;
use crate::stats::{median, millis, short, spread};

/// A change, and how long its plan may take.
struct Size {
    components: usize,
    files_of_each: usize,
    failure_domains: usize,
    most_ms: f64,
}

const SIZES: [Size; 2] = [
    Size {
        components: 500,
        files_of_each: 20,
        failure_domains: 50,
        most_ms: 50.0,
    },
    Size {
        components: 1_000,
        files_of_each: 10,
        failure_domains: 200,
        most_ms: 100.0,
    },
];

/// How much more a file may cost in twice as large a change than in half as large a one.
const MOST_GROWTH: f64 = 1.3;

pub(crate) fn measure(rounds: Plan, report: &mut Report) {
    for size in &SIZES {
        measure_size(size, rounds, report);
    }
}

fn measure_size(size: &Size, rounds: Plan, report: &mut Report) {
    let (files_of_each, failure_domains) = (size.files_of_each, size.failure_domains);
    report.title(&format!("Planning for {failure_domains} failure domains"));
    let sizes = [size.components / 2, size.components, size.components * 2];
    let mut changes: Vec<_> = sizes
        .map(|components| {
            (
                components,
                change(components, files_of_each, failure_domains),
                Vec::new(),
            )
        })
        .into();
    for _ in 0..rounds.rounds(3, 15) {
        for (components, (policy, facts), took) in &mut changes {
            let began = Instant::now();
            let wanted = reads(policy, &facts.change, &facts.changed);
            let plan = plan(policy, facts).expect("all facts are there");
            took.push(millis(began.elapsed()));
            let read = match facts.at.values().next() {
                Some(Found::Content(content)) => content.entries.len(),
                _ => 0,
            };
            assert_eq!(wanted.own().entries.len(), read, "all that is wanted was read");
            let syncs: usize = plan.steps.iter().map(|step| step.sync.len()).sum();
            assert_eq!(syncs, *components * failure_domains, "everything goes everywhere");
        }
    }
    report.head(&["changed files", "components", "ms", "µs per file"]);
    let per_file = |components: usize, took: &[f64]| {
        median(took) * 1_000.0 / crate::stage::float((components * files_of_each) as u64)
    };
    for (components, _, took) in &changes {
        report.row(&[
            (components * files_of_each).to_string(),
            components.to_string(),
            spread(took),
            short(per_file(*components, took)),
        ]);
    }
    let [(half, _, of_half), (_, _, took), (double, _, of_double)] = changes.as_slice() else {
        return;
    };
    report.goal(
        &format!(
            "planning {} changed files, {} components, {failure_domains} failure domains",
            size.components * files_of_each,
            size.components
        ),
        &format!("under {} ms", size.most_ms),
        &format!("{} ms", short(median(took))),
        median(took) < size.most_ms,
    );
    let growth = per_file(*double, of_double) / per_file(*half, of_half);
    report.goal(
        "the same, per file: twice the change / half of it",
        &format!("at most {MOST_GROWTH}"),
        &short(growth),
        growth <= MOST_GROWTH,
    );
}

/// A change of so many components that none of the failure domains has.
fn change(components: usize, files_of_each: usize, failure_domains: usize) -> (Policy, Facts) {
    let targets: Vec<String> = (0..failure_domains)
        .map(|domain| crate::repositories::place("production", domain))
        .collect();
    let source = crate::repositories::place("staging", 0);
    let policy = serde_json::json!({"promotionPaths": [
        {"sourcePath": "clusters/dev/[^/]*/", "promotionPrs": [{"targetPaths": ["clusters/lab/fd-000/"]}]},
        {"sourcePath": format!("{source}/"), "promotionPrs": [{"targetPaths": targets}]},
    ]});
    let policy = Policy::compile("telefonistka.yaml", &policy.to_string()).expect("it is a policy");
    let commit = CommitOid::parse("c".repeat(40)).expect("it is an id");
    let change = Change {
        repo: Repository {
            id: RepoId::new(7),
            name: RepoName::parse("acme/gitops").expect("it is a name"),
            installation: None,
        },
        branch: main(),
        default_branch: None,
        number: PrNumber::new(7),
        title: "Raise everything".to_owned(),
        author: Login::parse("mona").expect("it is a login"),
        head_branch: "raise".to_owned(),
        head: commit.clone(),
        merged_as: commit,
        committed_at: 1_770_000_000,
        labels: BTreeSet::new(),
        lineage: Lineage::default(),
        rollback: None,
    };
    let changed: Vec<String> = (0..components * files_of_each)
        .map(|number| {
            let name = crate::repositories::name_of(number % components);
            format!("{source}/{name}/templates/{}.yaml", number / components)
        })
        .collect();
    let within = PathInRepo::parse(&source).expect("it is a path");
    let tree = Entry::Tree(TreeOid::parse("a".repeat(40)).expect("it is an id"));
    let entries: BTreeMap<PathInRepo, Entry> = reads(&policy, &change, &changed)
        .own()
        .entries
        .into_iter()
        .map(|path| {
            let entry = if path.is_within(&within) {
                tree.clone()
            } else {
                Entry::Absent
            };
            (path, entry)
        })
        .collect();
    let facts = Facts::at_merge_commit(change, changed, entries, BTreeMap::new());
    (policy, facts)
}
