//! The change and the steps that the tests of the texts are about.

use std::collections::BTreeSet;

use crate::change::{Change, Hop, Lineage, Origin, Repository};
use crate::plan::{FlowRef, Plan, Skipped, Step, Sync};
use crate::{
    BranchName, CommitOid, Location, Login, PathInRepo, PlanId, PrNumber, RepoId, RepoName, Selection,
    StepId, TreeOid,
};

pub(crate) fn path(path: &str) -> PathInRepo {
    PathInRepo::parse(path).unwrap()
}

fn repo() -> RepoName {
    RepoName::parse("acme/gitops").unwrap()
}

/// Alice's pull request #10 that was merged into `main`.
pub(crate) fn change() -> Change {
    Change {
        repo: Repository {
            id: RepoId::new(7),
            name: repo(),
            installation: None,
        },
        branch: BranchName::parse("main").unwrap(),
        default_branch: None,
        number: PrNumber::new(10),
        title: "Bump nginx to 1.27.1".to_owned(),
        author: Login::parse("alice").unwrap(),
        head_branch: "bump-nginx".to_owned(),
        head: CommitOid::parse("1111111111111111111111111111111111111111").unwrap(),
        merged_as: CommitOid::parse("0123456789abcdef0123456789abcdef01234567").unwrap(),
        committed_at: 1_750_000_000,
        labels: BTreeSet::new(),
        lineage: Lineage::default(),
        rollback: None,
    }
}

/// The promotion pull request #12 to staging, merged, which followed #11 to lab, which followed #10.
pub(crate) fn later_change() -> Change {
    Change {
        number: PrNumber::new(12),
        title: "🚀 Promotion: nginx ➡️  staging".to_owned(),
        author: Login::parse("lockflight[bot]").unwrap(),
        head_branch: "promotions/11-main-0123456789ab".to_owned(),
        lineage: Lineage {
            origin: Some(Origin {
                number: PrNumber::new(10),
                author: Login::parse("alice").unwrap(),
                repo: None,
            }),
            hops: vec![
                Hop {
                    number: PrNumber::new(10),
                    repo: None,
                    source: "workspace".to_owned(),
                    targets: vec![path("clusters/lab/europe-west4/c1")],
                    rollback: false,
                },
                Hop {
                    number: PrNumber::new(11),
                    repo: None,
                    source: "clusters/lab/[^/]*/[^/]*".to_owned(),
                    targets: vec![
                        path("clusters/staging/europe-west4/c1"),
                        path("clusters/staging/us-central1/c1"),
                    ],
                    rollback: false,
                },
            ],
        },
        ..change()
    }
}

fn location(at: &str) -> Location {
    Location::directory(repo(), BranchName::parse("main").unwrap(), path(at))
}

pub(crate) fn step(source: &str, targets: &[&str], description: &str, components: &[&str]) -> Step {
    Step {
        id: StepId::parse("5".repeat(64)).unwrap(),
        flow: FlowRef {
            file: "telefonistka.yaml".to_owned(),
            index: 0,
            line: 2,
        },
        source: source.to_owned(),
        targets: targets.iter().map(|target| location(target)).collect(),
        description: description.to_owned(),
        components: components.iter().map(|&name| name.to_owned()).collect(),
        sync: components
            .iter()
            .flat_map(|name| {
                targets.iter().map(move |target| Sync {
                    from: path(source).join(&path(name)),
                    to: path(target).join(&path(name)),
                    tree: Some(TreeOid::parse("89abcdef0123456789abcdef0123456789abcdef").unwrap()),
                    selection: Selection::default(),
                    keys: None,
                })
            })
            .collect(),
        skipped: Vec::new(),
        auto_merge: false,
        title: format!("🚀 Promotion: {} ➡️  {description}", components.join(",")),
        branch: BranchName::parse("promotions/10-bump-nginx-0123456789ab").unwrap(),
        repo: None,
        base: None,
        wave: 0,
        track: None,
    }
}

/// From `workspace` to lab, merged by itself.
pub(crate) fn step_to_lab() -> Step {
    Step {
        auto_merge: true,
        ..step("workspace", &["clusters/lab/europe-west4/c1"], "lab", &["nginx"])
    }
}

/// From `workspace` to two targets that the policy has no name for; one component is removed and one stays out.
pub(crate) fn step_to_staging() -> Step {
    let mut step = step(
        "workspace",
        &[
            "clusters/staging/europe-west4/c1",
            "clusters/staging/us-central1/c1",
        ],
        "clusters/staging/europe-west4/c1/ clusters/staging/us-central1/c1/",
        &["nginx", "redis"],
    );
    step.sync.truncate(3);
    step.sync[2].tree = None;
    step.skipped.push(skipped());
    step
}

pub(crate) fn skipped() -> Skipped {
    Skipped {
        component: "redis".to_owned(),
        target: path("clusters/staging/us-central1/c1/redis"),
        reason: "blocked by workspace/redis/telefonistka.yaml:3".to_owned(),
    }
}

pub(crate) fn plan() -> Plan {
    Plan {
        flows: Vec::new(),
        id: PlanId::parse("6".repeat(64)).unwrap(),
        steps: vec![step_to_lab(), step_to_staging()],
        skipped: vec![skipped()],
        notes: vec![
            "workspace/nginx and shared/nginx both lead to clusters/lab/europe-west4/c1/nginx; the later flow wins"
                .to_owned(),
        ],
        dry_run: true,
        approve: false,
        matched_paths: 3,
    }
}
