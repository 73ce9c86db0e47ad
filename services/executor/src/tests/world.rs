//! One repository, its forge, and an executor whose lock the test can take away.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lockflight_fleet::clock::ManualClock;
use lockflight_fleet::worker::{Done, Failure, Handler as _};
use lockflight_fleet::{LockError, LockGuard, RepoLock};
use lockflight_git::testing::{Edit, REPO, Upstream, branch};
use lockflight_git::{Identity, Mirrors, Usage};
use lockflight_promotion::change::{Change, Lineage, Repository};
use lockflight_promotion::message::{
    Body, CommandV1, ENVELOPE_VERSION, Envelope, Outcome, PromoteV1, Report, ReportV1,
};
use lockflight_promotion::plan::{FlowRef, Step, Sync};
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_promotion::{
    BranchName, CommitOid, DeliveryId, Fence, Lease, Login, MessageId, PathInRepo, PlanId, PrNumber, RepoId,
    RepoName, Selection, StepId, TraceParent,
};

use super::forge::FakeForge;
use crate::{Executor, ExecutorConfig, Prepared};

pub(super) fn login(name: &str) -> Login {
    Login::parse(name).unwrap()
}

pub(super) fn oid(digit: char) -> CommitOid {
    CommitOid::parse(digit.to_string().repeat(40)).unwrap()
}

pub(super) fn repository() -> Repository {
    Repository {
        id: REPO,
        name: RepoName::parse("acme/gitops").unwrap(),
        installation: None,
    }
}

/// A lock that nobody else wants.
#[derive(Clone, Debug)]
pub(super) struct TestLock {
    clock: ManualClock,
    /// How long a lease holds; it is not renewed.
    lease: Duration,
    /// Whether it is known to be lost from the start.
    lost: bool,
    pub(super) taken: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(super) struct TestGuard {
    lease: Lease,
    lost: bool,
}

impl RepoLock for TestLock {
    type Guard = TestGuard;

    async fn acquire(&self, repo: RepoId) -> Result<TestGuard, LockError> {
        let fence = self.taken.fetch_add(1, Ordering::Relaxed);
        // git asks the system's clock, and the roles ask the manual one, which stands still: what is over is over for both.
        let now = Instant::now().max(self.clock.instant());
        let deadline = if self.lease.is_zero() {
            self.clock.instant()
        } else {
            now + self.lease
        };
        Ok(TestGuard {
            lease: Lease::issue(repo, Fence(fence), deadline),
            lost: self.lost,
        })
    }
}

impl LockGuard for TestGuard {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn lost(&self) {
        if !self.lost {
            std::future::pending::<()>().await;
        }
    }

    async fn release(self) -> Result<(), LockError> {
        Ok(())
    }
}

pub(super) struct World {
    pub(super) upstream: Upstream,
    pub(super) forge: FakeForge,
    pub(super) clock: ManualClock,
    pub(super) lock: TestLock,
    /// The merge commit of every change.
    pub(super) main: CommitOid,
    mirrors: Mirrors,
    executor: Executor<TestLock, FakeForge, Mirrors>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_lock(Duration::from_secs(60), false)
    }

    pub(super) fn with_lock(lease: Duration, lost: bool) -> Self {
        let upstream = Upstream::new();
        let main = upstream.push(
            "main",
            "one",
            &[Edit::File("src/web/values.yaml", "replicas: 2\n")],
        );
        let forge = FakeForge::new(upstream.remote().url);
        let mirrors = Mirrors::new(upstream.mirrors_config()).unwrap();
        let clock = ManualClock::new();
        let lock = TestLock {
            clock: clock.clone(),
            lease,
            lost,
            taken: Arc::default(),
        };
        let config = ExecutorConfig {
            marker_key: MarkerKey::derive(b"secret"),
            older_marker_keys: Vec::new(),
            author: Identity {
                name: "Lockflight".to_owned(),
                email: "lockflight@example.com".to_owned(),
            },
            max_attempts: 5,
            merge_poll: Duration::from_secs(5),
        };
        let executor = Executor::new(forge.clone(), None, mirrors.clone(), lock.clone(), config)
            .with_clock(clock.clock());
        Self {
            upstream,
            forge,
            clock,
            lock,
            main,
            mirrors,
            executor,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.mirrors.open(REPO, self.upstream.remote()).usage()
    }

    /// A hook of the upstream.
    pub(super) fn hook(&self, name: &str, script: &str) {
        let path: PathBuf = self.upstream.path().join("hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
    }

    pub(super) fn change(&self) -> Change {
        Change {
            repo: repository(),
            branch: branch("main"),
            default_branch: None,
            number: PrNumber::new(7),
            title: "Raise the replicas".to_owned(),
            author: login("ann"),
            head_branch: "replicas".to_owned(),
            head: oid('c'),
            merged_as: self.main.clone(),
            committed_at: 1_700_000_000,
            labels: BTreeSet::new(),
            lineage: Lineage::default(),
            rollback: None,
        }
    }

    /// A step that promotes `src/web` to `<target>/web`, on the branch `promotions/<target>`.
    pub(super) fn step(&self, target: &str) -> Step {
        let path = |text: &str| PathInRepo::parse(text).unwrap();
        let name = format!("{target:0<64}").replace(|c: char| !c.is_ascii_hexdigit(), "0");
        Step {
            id: StepId::parse(name.to_lowercase()).unwrap(),
            flow: FlowRef {
                file: "telefonistka.yaml".to_owned(),
                index: 0,
                line: 1,
            },
            source: "src".to_owned(),
            targets: Vec::new(),
            description: target.to_owned(),
            components: vec!["web".to_owned()],
            sync: vec![Sync {
                from: path("src/web"),
                to: path(&format!("{target}/web")),
                tree: Some(self.upstream.tree(&self.main, "src/web")),
                selection: Selection::default(),
                keys: None,
            }],
            skipped: Vec::new(),
            auto_merge: false,
            title: format!("Promote web to {target}"),
            branch: BranchName::parse(format!("promotions/{target}")).unwrap(),
            repo: None,
            base: None,
            wave: 0,
            track: None,
        }
    }

    pub(super) fn promote(&self, target: &str) -> Envelope {
        self.promote_change(self.change(), target)
    }

    pub(super) fn promote_change(&self, change: Change, target: &str) -> Envelope {
        let promote = PromoteV1 {
            change,
            plan: PlanId::parse("0".repeat(64)).unwrap(),
            step: self.step(target),
            approve: false,
            attended: false,
        };
        envelope(&format!("promote:{target}"), Body::Promote(Box::new(promote)))
    }

    pub(super) fn report(&self, report: Report) -> Envelope {
        let change = self.change();
        envelope("report", Body::Report(Box::new(ReportV1 { change, report })))
    }

    pub(super) fn command(&self, command: CommandV1) -> Envelope {
        let comment = command.comment.unwrap_or_default();
        envelope(&format!("command:{comment}"), Body::Command(Box::new(command)))
    }

    pub(super) async fn prepare(&self, batch: &[Envelope]) -> Vec<Result<Prepared<FakeForge>, Failure>> {
        let envelopes: Vec<&Envelope> = batch.iter().collect();
        self.executor.prepare(&envelopes).await
    }

    /// Has the executor do a batch, as a worker does.
    pub(super) async fn run(&self, batch: &[Envelope]) -> Vec<Result<Done, Failure>> {
        let prepared = self.prepare(batch).await;
        self.handle(batch, prepared).await
    }

    /// Has the executor do a message that has failed so often before.
    pub(super) async fn run_again(&self, envelope: &Envelope, failures: u32) -> Result<Done, Failure> {
        let prepared = self.prepare(std::slice::from_ref(envelope)).await.remove(0)?;
        self.executor.handle(envelope, failures, prepared).await
    }

    /// What is said when a message is not tried again.
    pub(super) fn given_up(&self, envelope: &Envelope) -> Vec<Envelope> {
        self.executor.given_up(envelope, "it did not work")
    }

    pub(super) async fn handle(
        &self,
        batch: &[Envelope],
        prepared: Vec<Result<Prepared<FakeForge>, Failure>>,
    ) -> Vec<Result<Done, Failure>> {
        assert_eq!(prepared.len(), batch.len());
        let mut done = Vec::new();
        for (envelope, prepared) in batch.iter().zip(prepared) {
            done.push(match prepared {
                Ok(prepared) => self.executor.handle(envelope, 0, prepared).await,
                Err(failure) => Err(failure),
            });
        }
        done
    }
}

fn envelope(id: &str, body: Body) -> Envelope {
    Envelope {
        v: ENVELOPE_VERSION,
        id: MessageId::parse(id).unwrap(),
        repo: repository(),
        delivery: DeliveryId::parse("72d3162e-cc78-11e3-81ab-4c9367dc0958").unwrap(),
        cause: None,
        attempt: 0,
        traceparent: TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap(),
        body,
    }
}

/// The names of the outcomes that follow, and `report` for each report.
pub(super) fn names(done: &Result<Done, Failure>) -> Vec<&'static str> {
    let Ok(Done::Ack(follow)) = done else {
        panic!("{done:?}")
    };
    follow
        .iter()
        .map(|follow| match &follow.body {
            Body::Outcome(outcome) => outcome.name(),
            Body::Report(_) => "report",
            Body::Merge(_) => "merge",
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Why a step was stopped.
pub(super) fn stopped(done: &Result<Done, Failure>) -> String {
    let Ok(Done::Ack(follow)) = done else {
        panic!("{done:?}")
    };
    let reason = follow.iter().find_map(|follow| match &follow.body {
        Body::Outcome(Outcome::Stopped { reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    reason.unwrap_or_else(|| panic!("{follow:?}"))
}
