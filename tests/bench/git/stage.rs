//! What is measured: a forge in this process, repositories on it, each twice, and people who merge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockflight_promotion::change::{Change, Lineage, Repository as Named};
use lockflight_promotion::message::{Body, ENVELOPE_VERSION, Envelope, PromoteV1};
use lockflight_promotion::plan::{Entry, Facts, plan, reads};
use lockflight_promotion::policy::Policy;
use lockflight_promotion::{
    BranchName, CommitOid, DeliveryId, Login, MessageId, PathInRepo, PrNumber, RepoId, RepoName, TreeOid,
};
use lockflight_sandbox::{Forge, ForgeOptions};
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{self, feed, run};
use crate::repositories::{self, Shape, VALUES};
use crate::stats::millis;

/// Where changes are made, and where they are promoted to: one failure domain, and so many of the next environment.
const SOURCE: &str = "dev";
const TARGETS: (&str, usize) = ("lab", 5);

const BOT: &str = "lockflight-bot";

/// How long a process's last words to the forge may be under way after it has ended.
const SETTLED: Duration = Duration::from_millis(20);

/// A forge, and a folder for everything.
pub(crate) struct Stage {
    pub(crate) forge: Forge,
    pub(crate) token: String,
    policy: Policy,
    count: AtomicUsize,
    // Last: all of the above use it.
    data: TempDir,
}

/// A repository on the forge, its twin, and a plain clone of it.
pub(crate) struct Repository {
    pub(crate) shape: &'static Shape,
    /// `owner/name`; Lockflight works there.
    pub(crate) name: String,
    pub(crate) id: u64,
    dir: PathBuf,
    /// The same again, for those that it is compared with.
    pub(crate) twin: String,
    twin_dir: PathBuf,
    /// A bare clone of all of it, which its pushes start from.
    pub(crate) clone: PathBuf,
    merged: AtomicUsize,
}

/// What the forge had to do with something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) requests: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Milliseconds from when each request came until its answer was there, all added up.
    pub(crate) forge: f64,
}

impl Cost {
    pub(crate) fn bytes(&self) -> f64 {
        float(self.bytes_in + self.bytes_out)
    }
}

impl Stage {
    /// Everything is below `folder`.
    pub(crate) async fn set(folder: &Path) -> Self {
        let data = tempfile::Builder::new()
            .prefix("lockflight-bench-")
            .tempdir_in(folder)
            .expect("the folder can be written");
        let forge = Forge::start(ForgeOptions::new(data.path().join("forge"))).await;
        let forge = forge.expect("loopback has a free port");
        let token = forge
            .personal_token(BOT)
            .expect("the system gives random numbers");
        let targets: Vec<_> = (0..TARGETS.1)
            .map(|domain| repositories::place(TARGETS.0, domain))
            .collect();
        let policy = serde_json::json!({"promotionPaths": [{
            "sourcePath": format!("{}/", repositories::place(SOURCE, 0)),
            "promotionPrs": [{"targetPaths": targets}],
        }]});
        let policy = Policy::compile("telefonistka.yaml", &policy.to_string());
        Self {
            forge,
            token,
            policy: policy.expect("it is a policy"),
            count: AtomicUsize::new(0),
            data,
        }
    }

    /// A folder that was not there before.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = self.data.path().join(format!("{name}.{count}"));
        std::fs::create_dir(&folder).expect("the folder can be written");
        folder
    }

    pub(crate) fn git(&self, folder: &Path) -> Command {
        command::git(folder, &self.token)
    }

    /// Puts a repository on the forge.
    pub(crate) async fn load(&self, shape: &'static Shape) -> Repository {
        let forge = &self.forge;
        let (name, twin) = (
            format!("acme/{}", shape.name),
            format!("acme/{}-twin", shape.name),
        );
        let id = forge.import_repository(&name, &shape.make()).await;
        let dir = forge.repository_dir(&name).expect("it was just made");
        // Hard links to the same pack.
        forge
            .import_repository(&twin, &dir)
            .await
            .expect("a repository can be cloned");
        let clone = self.fresh("clone");
        run(self
            .git(&clone)
            .args(["clone", "--quiet", "--bare", "--"])
            .arg(&dir)
            .arg("."))
        .await;
        Repository {
            shape,
            id: id.expect("a repository can be cloned"),
            twin_dir: forge.repository_dir(&twin).expect("it was just made"),
            name,
            dir,
            twin,
            clone,
            merged: AtomicUsize::new(0),
        }
    }

    /// Has people merge so many changes, each of another component. Returns the messages that tell an executor to promote them.
    pub(crate) async fn merge(&self, repository: &Repository, count: usize) -> Vec<Envelope> {
        let mut stream = Vec::new();
        let first = repository.merged.fetch_add(count, Ordering::Relaxed);
        let component = |number: usize| number * 37 % repository.shape.components;
        for number in first..first + count {
            let from = (number == first).then_some("main^0");
            repositories::begin(&mut stream, "main", 1_000 + number, "Raise", from)
                .expect("a buffer can be written to");
            let component = component(number);
            let text = repositories::values(&repositories::name_of(component), SOURCE, 0, 1_000_000 + number);
            let leaf = repositories::leaf(SOURCE, 0, component);
            stream.extend_from_slice(
                format!("M 100644 inline {leaf}/{VALUES}\ndata {}\n{text}\n", text.len()).as_bytes(),
            );
        }
        for dir in [&repository.dir, &repository.twin_dir, &repository.clone] {
            feed(self.git(dir).args(["fast-import", "--quiet"]), &stream).await;
        }
        for name in [&repository.name, &repository.twin] {
            self.forge.refresh(name).await.expect("it is a repository");
        }
        let count = format!("--max-count={count}");
        let listed = [
            "rev-list",
            "--first-parent",
            "--reverse",
            &count,
            "refs/heads/main",
        ];
        let commits = run(self.git(&repository.dir).args(listed)).await;
        let mut messages = Vec::new();
        for (number, commit) in commits.lines().enumerate() {
            let number = first + number;
            messages.push(self.message(repository, number, component(number), commit).await);
        }
        messages
    }

    /// What a planner makes of a change.
    async fn message(
        &self,
        repository: &Repository,
        number: usize,
        component: usize,
        commit: &str,
    ) -> Envelope {
        let repo = Named {
            id: RepoId::new(repository.id),
            name: RepoName::parse(&repository.name).expect("it is a name"),
            installation: None,
        };
        let merged_as = CommitOid::parse(commit).expect("git prints commits");
        let change = Change {
            repo: repo.clone(),
            branch: main(),
            default_branch: None,
            number: PrNumber::new(1_000 + number as u64),
            title: "Raise".to_owned(),
            author: Login::parse("mona").expect("it is a login"),
            head_branch: "raise".to_owned(),
            head: merged_as.clone(),
            merged_as,
            committed_at: 1_770_000_000,
            labels: BTreeSet::new(),
            lineage: Lineage::default(),
            rollback: None,
        };
        let changed = vec![format!("{}/{VALUES}", repositories::leaf(SOURCE, 0, component))];
        let wanted: Vec<PathInRepo> = reads(&self.policy, &change, &changed)
            .own()
            .entries
            .into_iter()
            .collect();
        let names = wanted.iter().map(|path| format!("{commit}:{path}"));
        let trees = run(self.git(&repository.dir).arg("rev-parse").args(names)).await;
        let trees = trees
            .lines()
            .map(|tree| Entry::Tree(TreeOid::parse(tree).expect("git prints trees")));
        let entries: BTreeMap<PathInRepo, Entry> = wanted.into_iter().zip(trees).collect();
        let facts = Facts::at_merge_commit(change.clone(), changed, entries, BTreeMap::new());
        let plan = plan(&self.policy, &facts).expect("all facts are there");
        let mut steps = plan.steps.into_iter();
        let step = steps.next().expect("the change goes somewhere");
        assert_eq!(step.sync.len(), TARGETS.1, "it goes to all targets");
        Envelope {
            v: ENVELOPE_VERSION,
            id: MessageId::of(&["promote", commit]),
            repo,
            delivery: DeliveryId::parse("72d3162e-cc78-11e3-81ab-4c9367dc0958").expect("it is an id"),
            cause: None,
            attempt: 0,
            traceparent: change.promotion().traceparent("bench"),
            body: Body::Promote(Box::new(PromoteV1 {
                change,
                plan: plan.id,
                step,
                approve: false,
                attended: false,
            })),
        }
    }

    /// Begins to count what the forge is asked.
    pub(crate) fn watch(&self) {
        self.forge.reset_usage();
    }

    /// What the forge was asked since then.
    pub(crate) async fn cost(&self) -> Cost {
        tokio::time::sleep(SETTLED).await;
        let mut cost = Cost::default();
        for request in self.forge.requests() {
            cost.requests += 1;
            cost.bytes_in += request.bytes_in;
            cost.bytes_out += request.bytes_out;
            cost.forge += millis(request.took);
        }
        cost
    }

    /// Checks that a promotion is on the forge, as it should be: the tree of each target is what the message says.
    pub(crate) async fn check(&self, repository: &Repository, message: &Envelope) {
        let promote = promotion(message);
        let branch = &promote.step.branch;
        let names = promote
            .step
            .sync
            .iter()
            .map(|sync| format!("refs/heads/{branch}:{}", sync.to));
        let trees = run(self.git(&repository.dir).arg("rev-parse").args(names)).await;
        let wanted: Vec<_> = promote
            .step
            .sync
            .iter()
            .filter_map(|sync| sync.tree.as_ref().map(TreeOid::as_str))
            .collect();
        assert_eq!(
            trees.lines().collect::<Vec<_>>(),
            wanted,
            "the branch holds what was planned"
        );
    }

    /// Gives the plain clone the commit that was made for a promotion.
    pub(crate) async fn hand_over(&self, repository: &Repository, message: &Envelope) -> String {
        let branch = &promotion(message).step.branch;
        run(self
            .git(&repository.clone)
            .args(["fetch", "--quiet", "--no-tags", "--no-auto-maintenance"])
            .arg(&repository.dir)
            .arg(format!("+refs/heads/{branch}:refs/heads/{branch}")))
        .await;
        let commit = run(self
            .git(&repository.clone)
            .args(["rev-parse", &format!("refs/heads/{branch}")]))
        .await;
        commit.trim().to_owned()
    }

    /// The root tree of the branch of a promotion.
    pub(crate) async fn tree(&self, repository: &Repository, message: &Envelope) -> String {
        let branch = &promotion(message).step.branch;
        let name = format!("refs/heads/{branch}^{{tree}}");
        run(self.git(&repository.dir).args(["rev-parse", &name])).await
    }
}

/// The branch that everything is merged into.
pub(crate) fn main() -> BranchName {
    BranchName::parse("main").expect("it is a branch")
}

/// What a message tells an executor to promote.
pub(crate) fn promotion(message: &Envelope) -> &PromoteV1 {
    match &message.body {
        Body::Promote(promote) => promote,
        other => panic!("this is no promotion: {other:?}"),
    }
}

pub(crate) fn float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
    let float = count as f64;
    float
}
