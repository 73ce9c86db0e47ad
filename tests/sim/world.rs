//! All that there is in a run, behind one lock that is never held across an await.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockflight_fleet::clock::ManualClock;
use lockflight_forge::{Comment, PullRequest, Review, Status};
use lockflight_promotion::change::Repository;
use lockflight_promotion::{BranchName, CommitOid, PathInRepo, PrNumber, RepoId, RepoName};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dice::Dice;
use crate::layout::Layout;
use crate::locks::Locks;
use crate::objects::{Conflict, Objects};
use crate::process::{ProcessId, Processes};
use crate::queue::Messages;
use crate::weather::Weather;

/// The login that Lockflight has, and that of its second identity.
pub(crate) const BOT: &str = "lockflight[bot]";
pub(crate) const APPROVER: &str = "lockflight-approver[bot]";

/// When a run begins, in seconds since 1970 UTC.
const EPOCH: i64 = 1_700_000_000;

/// Shared by all that takes part in a run.
#[derive(Clone, Debug)]
pub(crate) struct Sim(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    signals: Signals,
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// A message may be ready.
    pub(crate) queue: Notify,
    /// A lock may be free.
    pub(crate) locks: Notify,
    /// There is a webhook to deliver.
    pub(crate) hooks: Notify,
    /// The run is over.
    pub(crate) stop: Notify,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    /// Whether two may hold one lock in this run, though the weather may be clear by now.
    pub(crate) shared_locks: bool,
    pub(crate) stopping: bool,
    pub(crate) objects: Objects,
    pub(crate) repos: BTreeMap<RepoId, Repo>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) messages: Messages,
    pub(crate) locks: Locks,
    pub(crate) processes: Processes,
    pub(crate) journal: Vec<lockflight_promotion::message::Envelope>,
    pub(crate) witness: crate::witness::Witness,
    /// What the roles have for a clock; it follows the time of the run.
    pub(crate) clock: ManualClock,
    started: Instant,
    trace: Option<Vec<String>>,
    pub(crate) violations: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) repo: Repository,
    pub(crate) layout: Layout,
    pub(crate) main: BranchName,
    pub(crate) branches: BTreeMap<BranchName, CommitOid>,
    /// By number, from 1.
    pub(crate) pulls: Vec<Pull>,
    pub(crate) statuses: BTreeMap<(CommitOid, String), Status>,
    /// Each pull request that was merged into main, in the order of main.
    pub(crate) changes: Vec<Merged>,
    pub(crate) squashes: bool,
    pub(crate) deletes_branches: bool,
    /// Whether a merge needs an approval of the head.
    pub(crate) needs_approval: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Merged {
    pub(crate) number: PrNumber,
    pub(crate) before: CommitOid,
    pub(crate) merged_as: CommitOid,
}

#[derive(Clone, Debug)]
pub(crate) struct Pull {
    pub(crate) info: PullRequest,
    pub(crate) comments: Vec<Comment>,
    pub(crate) reviews: Vec<Review>,
    /// For so many reads it is not known whether it can be merged.
    pub(crate) undecided: u32,
    pub(crate) by_bot: bool,
}

/// A webhook delivery.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) repo: RepoId,
    pub(crate) number: PrNumber,
    pub(crate) guid: String,
    /// Whether it was answered with a 2xx.
    pub(crate) arrived: bool,
    /// Whether GitHub has tried it at all.
    pub(crate) tried: bool,
}

/// Why a merge is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmergeable {
    Closed,
    Conflict,
    Blocked,
}

impl Sim {
    pub(crate) fn new(dice: Dice, weather: Weather, traced: bool) -> Self {
        let world = World {
            dice,
            shared_locks: weather.may_share_a_lock(),
            weather,
            stopping: false,
            objects: Objects::default(),
            repos: BTreeMap::new(),
            hooks: Vec::new(),
            messages: Messages::default(),
            locks: Locks::default(),
            processes: Processes::default(),
            journal: Vec::new(),
            witness: crate::witness::Witness::default(),
            clock: ManualClock::new(),
            started: Instant::now(),
            trace: traced.then(Vec::new),
            violations: Vec::new(),
        };
        Self(Arc::new(Shared {
            world: Mutex::new(world),
            signals: Signals::default(),
        }))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.0.signals
    }
}

impl World {
    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        let at = self.started.elapsed();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", at.as_secs_f64(), what()));
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.say(|| format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Moves the clock of the roles on to the time of the run.
    pub(crate) fn tick(&self) {
        let shown = Duration::from_millis((self.clock.unix_millis() - EPOCH * 1_000).unsigned_abs());
        self.clock.advance(self.started.elapsed().saturating_sub(shown));
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time of day, in seconds since 1970 UTC.
    pub(crate) fn now(&self) -> i64 {
        EPOCH + i64::try_from(self.started.elapsed().as_secs()).unwrap_or(0)
    }

    pub(crate) fn repo(&self, id: RepoId) -> &Repo {
        self.repos.get(&id).unwrap()
    }

    pub(crate) fn repo_mut(&mut self, id: RepoId) -> &mut Repo {
        self.repos.get_mut(&id).unwrap()
    }

    pub(crate) fn add_repo(&mut self, id: u64) {
        let mut dice = self.dice.fork();
        let layout = Layout::throw(&mut dice);
        let files = layout.files(&mut dice);
        let first = self.objects.commit(files, Vec::new(), "first", "alice", EPOCH);
        let main = BranchName::parse("main").unwrap();
        let id = RepoId::new(id);
        self.say(|| format!("repository {id}: {:?}", layout.flows));
        self.repos.insert(
            id,
            Repo {
                repo: Repository {
                    id,
                    name: RepoName::parse(format!("acme/repo-{id}")).unwrap(),
                    installation: None,
                },
                layout,
                branches: BTreeMap::from([(main.clone(), first)]),
                main,
                pulls: Vec::new(),
                statuses: BTreeMap::new(),
                changes: Vec::new(),
                squashes: dice.chance(400),
                deletes_branches: dice.chance(300),
                needs_approval: dice.chance(300),
            },
        );
    }

    /// Moves a branch, and with it the head of its open pull requests.
    pub(crate) fn move_branch(&mut self, id: RepoId, branch: &BranchName, to: &CommitOid) {
        let undecided = u32::try_from(self.dice.below(3)).unwrap_or(0);
        let now = self.now();
        let repo = self.repo_mut(id);
        repo.branches.insert(branch.clone(), to.clone());
        for pull in &mut repo.pulls {
            if pull.is_open() && pull.info.head_branch == branch.as_str() {
                pull.info.head = to.clone();
                pull.info.updated_at = now;
            }
            if pull.is_open() {
                pull.undecided = undecided;
            }
        }
    }

    /// Merges a pull request; `resolved` is what main shall hold then, where a person has resolved it.
    pub(crate) fn merge(
        &mut self,
        id: RepoId,
        number: PrNumber,
        resolved: Option<crate::objects::Files>,
        by: &str,
    ) -> Result<CommitOid, Unmergeable> {
        let repo = self.repo(id);
        let pull = repo.pull(number);
        if !pull.is_open() {
            return Err(Unmergeable::Closed);
        }
        let (before, head) = (repo.head(), pull.info.head.clone());
        if resolved.is_none() && repo.needs_approval && pull.by_bot && !pull.is_approved() {
            return Err(Unmergeable::Blocked);
        }
        let (squashes, deletes, main) = (repo.squashes, repo.deletes_branches, repo.main.clone());
        let branch = pull.info.head_branch.clone();
        let files = match resolved {
            Some(files) => files,
            None => self
                .objects
                .merged(&before, &head)
                .map_err(|Conflict| Unmergeable::Conflict)?,
        };
        let parents = if squashes {
            vec![before.clone()]
        } else {
            vec![before.clone(), head.clone()]
        };
        let now = self.now();
        let commits = self.objects.ahead(&head, &before) as u64;
        let base = self.objects.merge_base(&before, &head);
        let changed = self.objects.differing(&base, &head).len() as u64;
        let merged_as = self
            .objects
            .commit(files, parents, &format!("merge {number}"), by, now);
        self.say(|| format!("{id}: {by} merges #{number} as {merged_as}"));
        let repo = self.repo_mut(id);
        let pull = repo.pull_mut(number);
        pull.info.state = lockflight_forge::PullRequestState::Closed;
        pull.info.merged = true;
        pull.info.merged_at = Some(now);
        pull.info.merge_commit = Some(merged_as.clone());
        pull.info.commits = Some(commits);
        pull.info.changed_files = Some(changed);
        repo.changes.push(Merged {
            number,
            before,
            merged_as: merged_as.clone(),
        });
        if deletes && let Ok(branch) = BranchName::parse(branch) {
            repo.branches.remove(&branch);
        }
        self.move_branch(id, &main, &merged_as);
        let guid = format!("{id}-{number}-{}", self.hooks.len());
        self.hooks.push(Hook {
            repo: id,
            number,
            guid,
            arrived: false,
            tried: false,
        });
        Ok(merged_as)
    }

    /// What the bot may not be held to: a person has the last word on this step's way to this place.
    pub(crate) fn touched_by_people(&mut self, id: RepoId, branch: &str) {
        if let Some(number) = step_of(branch) {
            self.witness.meddled.insert((id, number, branch.to_owned()));
        }
    }

    /// Where this change was to lead, all that people's deeds can't undo aside.
    pub(crate) fn entry(
        &mut self,
        commit: &CommitOid,
        path: &PathInRepo,
    ) -> lockflight_promotion::plan::Entry {
        self.objects.entry(commit, path)
    }

    pub(crate) fn process_name(&self, process: ProcessId) -> String {
        self.processes.name(process)
    }

    /// All paths below the environments that a change has touched.
    pub(crate) fn touched(&self, merged: &Merged) -> BTreeSet<String> {
        self.objects.differing(&merged.before, &merged.merged_as)
    }
}

/// The number of the change that a branch of ours is about.
pub(crate) fn step_of(branch: &str) -> Option<PrNumber> {
    let (number, _) = branch.strip_prefix("promotions/")?.split_once('-')?;
    number.parse().ok().map(PrNumber::new)
}

impl Repo {
    pub(crate) fn head(&self) -> CommitOid {
        self.branches.get(&self.main).unwrap().clone()
    }

    pub(crate) fn pull(&self, number: PrNumber) -> &Pull {
        self.find(number).unwrap()
    }

    pub(crate) fn find(&self, number: PrNumber) -> Option<&Pull> {
        self.pulls
            .get(usize::try_from(number.get()).ok()?.checked_sub(1)?)
    }

    pub(crate) fn pull_mut(&mut self, number: PrNumber) -> &mut Pull {
        let at = usize::try_from(number.get()).unwrap() - 1;
        self.pulls.get_mut(at).unwrap()
    }

    pub(crate) fn next_number(&self) -> PrNumber {
        PrNumber::new(self.pulls.len() as u64 + 1)
    }

    /// The change with this number, if it is on main.
    pub(crate) fn change(&self, number: PrNumber) -> Option<&Merged> {
        self.changes.iter().find(|change| change.number == number)
    }
}

impl Pull {
    pub(crate) fn is_open(&self) -> bool {
        self.info.state == lockflight_forge::PullRequestState::Open
    }

    pub(crate) fn is_approved(&self) -> bool {
        self.reviews.iter().any(|review| {
            review.state == lockflight_forge::ReviewState::Approved
                && review.commit.as_ref() == Some(&self.info.head)
        })
    }
}
