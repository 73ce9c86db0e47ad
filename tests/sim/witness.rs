//! Sees each effect at the moment that it lands, and says at once what must not have been.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_forge::PullRequest;
use lockflight_promotion::message::{Body, Envelope};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::{BranchName, CommitOid, PathInRepo, PrNumber, RepoId, TreeOid};

use crate::git::Held;
use crate::layout::{LABEL, POLICY};
use crate::objects::within;
use crate::process::ProcessId;
use crate::world::{Merged, World, step_of};

/// What a mutation changes, and what has to be read before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Pull(PrNumber),
    Labels(PrNumber),
    From(String),
    Reviews(PrNumber),
    Comments(PrNumber),
    Status(CommitOid),
}

/// A component that a change brings from one place to another, as the oracle has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Carried {
    pub(crate) step: (usize, usize),
    pub(crate) from: PathInRepo,
    pub(crate) to: PathInRepo,
}

/// What goes from where to where.
type Places = BTreeSet<(PathInRepo, PathInRepo)>;

/// Who merged a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By<'p> {
    /// Lockflight, without a person.
    Bot,
    /// A person, who left out what a later change leads to.
    Person { left_out: &'p [PathInRepo] },
}

/// One piece of work of a process: its tasks do not know what the others have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Actor(ProcessId, usize);

#[derive(Debug, Default)]
pub(crate) struct Witness {
    tasks: Vec<tokio::task::Id>,
    pub(crate) mirrors: Held,
    /// Where main was when a process last looked.
    pub(crate) heads: BTreeMap<(ProcessId, RepoId), CommitOid>,
    moment: u64,
    reads: BTreeMap<(Actor, RepoId, What), u64>,
    writes: BTreeMap<(Actor, RepoId, What), u64>,
    /// Who made a thing of which there may be one, and when.
    made: BTreeMap<(RepoId, String), Vec<(Actor, u64)>>,
    /// The commits of ours, by parents and content.
    commits: BTreeMap<(Vec<CommitOid>, TreeOid), CommitOid>,
    /// All commits that were pushed to a branch of ours.
    pushed: BTreeMap<(RepoId, BranchName), BTreeSet<CommitOid>>,
    /// Commits that people made on our branches.
    pub(crate) by_people: BTreeSet<CommitOid>,
    /// Branches of ours on which people have the last word, with the change that they are of.
    pub(crate) meddled: BTreeSet<(RepoId, PrNumber, String)>,
    /// Places at which a merge without a person came in the same moment as something else.
    pub(crate) raced: BTreeSet<(RepoId, PathInRepo)>,
    /// Places to which people brought older content, knowing that a later change leads there.
    pub(crate) overruled: BTreeSet<(RepoId, PathInRepo)>,
    /// The places of both kinds before the seal, and how many changes there were before it. It puts right only what it leads to.
    pub(crate) unsealed: BTreeSet<(RepoId, PathInRepo)>,
    pub(crate) sealed: BTreeMap<RepoId, usize>,
    /// The change that was last promoted from one place to another.
    landed: BTreeMap<(RepoId, PathInRepo, PathInRepo), CommitOid>,
    /// The places that each published step names, by change.
    pub(crate) planned: BTreeMap<(RepoId, PrNumber), BTreeMap<String, Places>>,
    /// How often the two effects that nothing fences were doubled, where two workers held one lock.
    pub(crate) doubled: u64,
    /// How many promotions did not leave at their place what they promoted, since git joined it with what had come there since they were
    /// planned.
    pub(crate) mixed: u64,
}

impl World {
    fn moment(&mut self) -> u64 {
        self.witness.moment += 1;
        self.witness.moment
    }

    /// Who is at work right now.
    fn actor(&mut self, process: ProcessId) -> Actor {
        let Some(task) = tokio::task::try_id() else {
            return Actor(process, usize::MAX);
        };
        let tasks = &mut self.witness.tasks;
        let known = tasks.iter().rposition(|known| *known == task);
        Actor(
            process,
            known.unwrap_or_else(|| {
                tasks.push(task);
                tasks.len() - 1
            }),
        )
    }

    pub(crate) fn has_read(&mut self, process: ProcessId, repo: RepoId, what: What) {
        let moment = self.moment();
        let actor = self.actor(process);
        self.witness.reads.insert((actor, repo, what), moment);
    }

    /// I13: no mutation without a read before it, and none is repeated without a read in between; but for labels and assignees, which are
    /// sets.
    pub(crate) fn will_write(&mut self, process: ProcessId, repo: RepoId, what: &What) {
        let moment = self.moment();
        let key = (self.actor(process), repo, what.clone());
        let (read, written) = (self.witness.reads.get(&key), self.witness.writes.get(&key));
        let repeats = written.is_some_and(|written| Some(written) > read) && !matches!(what, What::Labels(_));
        if read.is_none() || repeats {
            let who = self.process_name(process);
            self.violate(format!(
                "I13: {who} changes {what:?} of {repo} without looking at it since the last time"
            ));
        }
        self.witness.writes.insert(key, moment);
    }

    /// Remembers that a thing was made of which there may be one. A second one is excused only if another process made it that had looked
    /// before the first was there, and nothing kept the two apart.
    fn makes(&mut self, process: ProcessId, repo: RepoId, what: &What, name: String, apart: bool) {
        let actor = self.actor(process);
        let looked = self
            .witness
            .reads
            .get(&(actor, repo, what.clone()))
            .copied()
            .unwrap_or(0);
        self.will_write(process, repo, what);
        let moment = self.moment();
        let others = self.witness.made.entry((repo, name.clone())).or_default();
        let before = others.last().copied();
        others.push((actor, moment));
        let Some((other, when)) = before else { return };
        if !apart && other != actor && looked < when {
            self.witness.doubled += 1;
            self.say(|| format!("{name} of {repo} is there twice, since two were at it at the same time"));
        } else {
            let (one, two) = (self.process_name(other.0), self.process_name(process));
            self.violate(format!(
                "I2/I7: {name} of {repo} was made twice, by {one} and by {two}"
            ));
        }
    }

    pub(crate) fn witness_opened(&mut self, process: ProcessId, repo: RepoId, pull: &PullRequest) {
        let branch = pull.head_branch.clone();
        self.makes(
            process,
            repo,
            &What::From(branch.clone()),
            format!("a pull request from {branch}"),
            false,
        );
    }

    pub(crate) fn witness_commented(
        &mut self,
        process: ProcessId,
        repo: RepoId,
        number: PrNumber,
        body: &str,
    ) {
        let kind = kind_of(body);
        let apart = !self.shared_locks;
        self.makes(
            process,
            repo,
            &What::Comments(number),
            format!("the comment {kind} on #{number}"),
            apart,
        );
    }

    /// I4: only what we made is approved.
    pub(crate) fn witness_approved(&mut self, repo: RepoId, number: PrNumber, commit: &CommitOid) {
        if !self.is_pushed(repo, number, commit) {
            self.violate(format!(
                "I4: #{number} of {repo} was approved at {commit}, which we did not make"
            ));
        }
    }

    fn is_pushed(&self, repo: RepoId, number: PrNumber, commit: &CommitOid) -> bool {
        let branch = BranchName::parse(self.repo(repo).pull(number).info.head_branch.clone()).unwrap();
        self.witness
            .pushed
            .get(&(repo, branch))
            .is_some_and(|pushed| pushed.contains(commit))
    }

    /// I4 and I5: what was merged without a person is what we made and what was approved, and nothing newer was there.
    pub(crate) fn witness_merged(
        &mut self,
        process: ProcessId,
        repo: RepoId,
        number: PrNumber,
        before: &CommitOid,
        asked: &CommitOid,
    ) {
        let pull = self.repo(repo).pull(number).clone();
        let head = pull.info.head.clone();
        if head != *asked || !self.is_pushed(repo, number, &head) {
            self.violate(format!(
                "I4: #{number} of {repo} was merged at {head}, which we did not make"
            ));
        }
        let raced = self.witness.heads.get(&(process, repo)) != Some(before);
        let branch = pull.info.head_branch.clone();
        for (from, to) in self.carries(repo, &branch, &head) {
            if raced {
                self.say(|| format!("main moved since it was looked at: {to} may be what it was"));
                self.witness.raced.insert((repo, to));
                continue;
            }
            let source = self.source_of(repo, &branch).unwrap();
            let last = self.witness.landed.get(&(repo, from, to.clone())).cloned();
            if last.is_some_and(|last| !self.objects.is_descendant(&source, &last)) {
                self.violate(format!(
                    "I5: #{number} of {repo} took {to} back to an older change"
                ));
            }
        }
        self.witness_landed(repo, &branch, &head, By::Bot);
    }

    /// A promotion was merged, by whomever. Git joins file by file, so where something else has come to the place since the promotion was
    /// planned, what stands there afterwards may be neither.
    pub(crate) fn witness_landed(&mut self, repo: RepoId, branch: &str, head: &CommitOid, by: By<'_>) {
        let Some(source) = self.source_of(repo, branch) else {
            return;
        };
        let main = self.repo(repo).head();
        for (from, to) in self.carries(repo, branch, head) {
            if matches!(by, By::Person { left_out } if left_out.contains(&to)) {
                // Nothing came there, so nothing that is older can take it back.
                self.say(|| format!("{to} was left out, since a later change leads there"));
                continue;
            }
            if self.entry(head, &to) != self.entry(&main, &to) {
                self.say(|| format!("what stands at {to} now is a mixture"));
                self.witness.mixed += 1;
                if by == By::Bot && !self.witness.raced.contains(&(repo, to.clone())) {
                    self.violate(format!(
                        "I6: a merge without a person left a mixture at {to} of {repo}"
                    ));
                }
                self.witness.raced.insert((repo, to.clone()));
            }
            self.witness.landed.insert((repo, from, to), source.clone());
        }
    }

    fn source_of(&self, repo: RepoId, branch: &str) -> Option<CommitOid> {
        Some(self.repo(repo).change(step_of(branch)?)?.merged_as.clone())
    }

    /// Where a commit of a branch of ours brings what.
    pub(crate) fn carries(
        &mut self,
        repo: RepoId,
        branch: &str,
        commit: &CommitOid,
    ) -> Vec<(PathInRepo, PathInRepo)> {
        let Some(change) = step_of(branch).and_then(|number| self.repo(repo).change(number).cloned()) else {
            return Vec::new();
        };
        let changed = self.objects.differing(&change.merged_as, commit);
        let ways = self.ways_of(repo, &change).into_iter();
        ways.filter(|way| changed.iter().any(|path| within(path, way.to.as_str())))
            .map(|way| (way.from, way.to))
            .collect()
    }

    /// I3: the same content on the same change is the same commit, whoever makes it.
    pub(crate) fn witness_committed(&mut self, commit: &CommitOid) {
        let made = self.objects.get(commit);
        let key = (made.parents.clone(), made.root.clone());
        let known = self.witness.commits.entry(key).or_insert_with(|| commit.clone());
        if known != commit {
            let known = known.clone();
            self.violate(format!(
                "I3: {known} and {commit} hold the same, and are not the same"
            ));
        }
    }

    /// I3 and I8: a commit of ours stands on the change, differs from it in the step's places alone, and holds there what stands at the
    /// source. And no person's commit is overwritten.
    pub(crate) fn witness_pushed(
        &mut self,
        repo: RepoId,
        branch: &BranchName,
        old: Option<&CommitOid>,
        new: &CommitOid,
    ) {
        if let Some(old) = old {
            let people = if self.witness.by_people.contains(old) {
                "a person's commit"
            } else {
                "a commit"
            };
            self.violate(format!("I3: {people} on {branch} of {repo} was overwritten"));
        }
        let known = self.witness.pushed.entry((repo, branch.clone())).or_default();
        known.insert(new.clone());
        let change = step_of(branch.as_str()).and_then(|number| self.repo(repo).change(number).cloned());
        let Some(change) = change else {
            self.violate(format!("I3: {branch} of {repo} is the step of no change"));
            return;
        };
        if self.objects.get(new).parents != [change.merged_as.clone()] {
            self.violate(format!("I3: {branch} of {repo} does not stand on its change"));
            return;
        }
        let ways = self.ways_of(repo, &change);
        let changed = self.objects.differing(&change.merged_as, new);
        let steps: BTreeSet<(usize, usize)> = changed
            .iter()
            .map(|path| {
                ways.iter()
                    .find(|way| within(path, way.to.as_str()))
                    .map(|way| way.step)
            })
            .collect::<Option<_>>()
            .unwrap_or_default();
        if steps.len() != 1 {
            self.violate(format!(
                "I3: {branch} of {repo} changes {changed:?}, which is not one step of its change"
            ));
        }
        for way in ways.iter().filter(|way| steps.contains(&way.step)) {
            let (source, stands) = (self.entry(&change.merged_as, &way.from), self.entry(new, &way.to));
            let untouched = !changed.iter().any(|path| within(path, way.to.as_str()));
            if !untouched && source != stands {
                let what = if stands == Entry::Absent { "I8" } else { "I3" };
                self.violate(format!(
                    "{what}: {branch} of {repo} has {stands:?} at {}, and its source {source:?}",
                    way.to
                ));
            }
        }
    }

    /// What a change is to bring where, as the oracle has it, in the order of the policy. Where both are equal already, nothing is.
    pub(crate) fn ways_of(&mut self, repo: RepoId, change: &Merged) -> Vec<Carried> {
        let found = self.repo(repo);
        let policy = self.objects.get(&change.merged_as).files.get(POLICY).cloned();
        if !found.layout.is_policy(policy.as_ref()) {
            return Vec::new();
        }
        let labelled = found.pull(change.number).info.labels.contains(LABEL);
        let touched = self.touched(change);
        let ways = found.layout.ways(labelled, touched.iter().map(String::as_str));
        let has_policy = |world: &mut Self, from: &PathInRepo| {
            // Where the change removed the component, its policy is that of before.
            let is_gone = world.entry(&change.merged_as, from) == Entry::Absent;
            let at = if is_gone {
                &change.before
            } else {
                &change.merged_as
            };
            world
                .objects
                .get(at)
                .files
                .contains_key(format!("{from}/{POLICY}").as_str())
        };
        ways.into_iter()
            .filter(|way| !way.blocked || !has_policy(self, &way.from))
            .map(|way| Carried {
                step: way.step,
                from: way.from,
                to: way.to,
            })
            .collect()
    }

    /// As [`World::ways_of`], without what is equal already at the change.
    pub(crate) fn steps_of(
        &mut self,
        repo: RepoId,
        change: &Merged,
    ) -> BTreeMap<(usize, usize), BTreeSet<(PathInRepo, PathInRepo)>> {
        let mut steps: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for way in self.ways_of(repo, change) {
            if self.entry(&change.merged_as, &way.from) != self.entry(&change.merged_as, &way.to) {
                steps.entry(way.step).or_default().insert((way.from, way.to));
            }
        }
        steps
    }

    /// The planner's own decisions are looked at when all is over; here they are written down.
    pub(crate) fn witness_published(&mut self, message: &Envelope) {
        if let Body::Promote(promote) = &message.body {
            let places = promote
                .step
                .sync
                .iter()
                .map(|sync| (sync.from.clone(), sync.to.clone()));
            self.witness
                .planned
                .entry((message.repo.id, promote.change.number))
                .or_default()
                .insert(promote.step.branch.to_string(), places.collect());
        }
    }
}

/// The kind of a comment: the first word of its tag.
pub(crate) fn kind_of(body: &str) -> String {
    let tag = body.lines().next().unwrap_or_default();
    tag.trim_start_matches("<!-- lockflight:comment:")
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned()
}

impl Witness {
    /// People changed this place themselves: what came there before no longer counts.
    pub(crate) fn forget(&mut self, repo: RepoId, place: &PathInRepo) {
        self.landed.retain(|(of, _, to), _| *of != repo || to != place);
    }
}
