//! What must be when all has come to rest: what one perfect worker would have made of the same history.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_promotion::message::{Body, Outcome};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::text::status;
use lockflight_promotion::{PathInRepo, RepoId};

use crate::witness::kind_of;
use crate::world::{Merged, World};

impl World {
    /// Looks at the whole world at its end.
    pub(crate) fn judge(&mut self) {
        if self.messages.left() > 0 {
            let left = self.messages.describe();
            self.violate(format!("I11: not drained: {left:#?}"));
        }
        self.judge_deliveries();
        let repos: Vec<RepoId> = self.repos.keys().copied().collect();
        for repo in repos {
            self.judge_plans(repo);
            self.judge_pull_requests(repo);
            self.judge_comments(repo);
            self.judge_statuses(repo);
            self.judge_trees(repo);
        }
    }

    /// I1: every delivery has come to an end, and each of its steps too.
    fn judge_deliveries(&mut self) {
        let mut ended: BTreeSet<&str> = BTreeSet::new();
        let mut steps_planned = BTreeSet::new();
        let mut steps_ended = BTreeSet::new();
        let mut told = BTreeSet::new();
        for envelope in &self.journal {
            let delivery = envelope.delivery.as_str();
            match &envelope.body {
                Body::Outcome(Outcome::Ignored { .. } | Outcome::Planned { .. }) => {
                    ended.insert(delivery);
                }
                Body::Outcome(
                    Outcome::PullRequestOpened { step, .. }
                    | Outcome::Merged { step, .. }
                    | Outcome::NoChange { step }
                    | Outcome::Declined { step, .. },
                ) => {
                    steps_ended.insert(step.clone());
                }
                // A step that stopped is told of by a report that names it.
                Body::Report(report) => {
                    ended.insert(delivery);
                    if let lockflight_promotion::message::Report::Failed { step: Some(step), .. } =
                        &report.report
                    {
                        told.insert(step.clone());
                    }
                }
                Body::Promote(promote) => {
                    steps_planned.insert(promote.step.id.clone());
                }
                _ => {}
            }
        }
        let lost: Vec<String> = self
            .hooks
            .iter()
            .filter(|hook| !ended.contains(hook.guid.as_str()))
            .map(|hook| hook.guid.clone())
            .collect();
        let open: Vec<_> = steps_planned
            .iter()
            .filter(|step| !steps_ended.contains(*step) && !told.contains(*step))
            .cloned()
            .collect();
        for delivery in lost {
            self.violate(format!("I1: nothing became of delivery {delivery}"));
        }
        for step in open {
            self.violate(format!("I1: nothing became of step {step}"));
        }
    }

    /// The plans are those of the oracle, whatever was in the way of the planner.
    fn judge_plans(&mut self, repo: RepoId) {
        let is_dry = self.repo(repo).layout.dry_run;
        for change in self.repo(repo).changes.clone() {
            let wanted = if is_dry {
                BTreeMap::new()
            } else {
                self.steps_of(repo, &change)
            };
            let wanted: BTreeSet<_> = wanted.into_values().collect();
            let planned = self
                .witness
                .planned
                .get(&(repo, change.number))
                .cloned()
                .unwrap_or_default();
            let planned: BTreeSet<_> = planned.into_values().collect();
            if wanted != planned {
                self.violate(format!(
                    "I6: #{} of {repo} was planned as {planned:?}, not as {wanted:?}",
                    change.number
                ));
            }
        }
    }

    /// I2: for each step at most one pull request is open, and there was at most one ever; what is open has its label.
    fn judge_pull_requests(&mut self, repo: RepoId) {
        let mut by_branch: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for pull in self.repo(repo).pulls.iter().filter(|pull| pull.by_bot) {
            let (all, open) = by_branch.entry(pull.info.head_branch.clone()).or_default();
            *all += 1;
            *open += usize::from(pull.is_open());
        }
        for (branch, (all, open)) in by_branch {
            if open > 1 || (all > 1 && self.witness.doubled == 0) {
                self.violate(format!(
                    "I2: {branch} of {repo} had {all} pull requests, and has {open} open ones"
                ));
            }
        }
    }

    /// I7: one comment of each kind on a pull request.
    fn judge_comments(&mut self, repo: RepoId) {
        let mut many = Vec::new();
        for pull in &self.repo(repo).pulls {
            let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
            for comment in &pull.comments {
                *kinds.entry(kind_of(&comment.body)).or_default() += 1;
            }
            let twice = kinds.into_iter().filter(|(_, count)| *count > 1);
            many.extend(twice.map(|(kind, count)| (pull.info.number, kind, count)));
        }
        for (number, kind, count) in many {
            if !self.shared_locks {
                self.violate(format!("I7: {count} comments {kind} on #{number} of {repo}"));
            }
        }
    }

    /// Every change that the policy has something to say of has a status, and none is left pending.
    fn judge_statuses(&mut self, repo: RepoId) {
        for change in self.repo(repo).changes.clone() {
            let head = self.repo(repo).pull(change.number).info.head.clone();
            let key = (head, status::CONTEXT.to_owned());
            if !self.repo(repo).statuses.contains_key(&key) {
                self.violate(format!("#{} of {repo} has no status", change.number));
            }
        }
    }

    /// I6: at each place stands what the last change that leads there had at its source.
    fn judge_trees(&mut self, repo: RepoId) {
        if self.repo(repo).layout.dry_run {
            return;
        }
        let changes = self.repo(repo).changes.clone();
        let mut last: BTreeMap<PathInRepo, (usize, PathInRepo)> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            for way in self.ways_of(repo, change) {
                last.insert(way.to, (at, way.from));
            }
        }
        let head = self.repo(repo).head();
        for (to, (at, from)) in last {
            let Some(change) = changes.get(at).cloned() else {
                continue;
            };
            if self.is_excused(repo, (at, &change), &to) {
                continue;
            }
            let (wanted, found) = (self.entry(&change.merged_as, &from), self.entry(&head, &to));
            if wanted != found
                && !self.had_later(&changes, at, &from, &found)
                && !self.is_of_a_rival(repo, &changes, at, (&from, &to), (&wanted, &found))
            {
                self.tell_of(repo, &changes, &to);
                self.violate(format!(
                    "I6: {to} of {repo} holds {found:?}, and #{} has {wanted:?} at {from}",
                    change.number
                ));
            }
        }
    }

    /// How a place came to hold what it holds.
    fn tell_of(&mut self, repo: RepoId, changes: &[Merged], to: &PathInRepo) {
        for change in changes {
            let ways = self.ways_of(repo, change);
            let from = ways.iter().find(|way| way.to == *to).map(|way| way.from.clone());
            let source = from.map(|from| (self.entry(&change.merged_as, &from), from));
            let stands = self.entry(&change.merged_as, to);
            self.say(|| {
                format!(
                    "   #{}: {to} holds {stands:?}, and should get {source:?}",
                    change.number
                )
            });
        }
    }

    /// Whether people had the last word on a change's way to a place.
    fn is_excused(&self, repo: RepoId, (at, change): (usize, &Merged), to: &PathInRepo) -> bool {
        let place = (repo, to.clone());
        if self.witness.raced.contains(&place) || self.weather.wild {
            return true;
        }
        // No change since the seal leads there, so what people did there before stands.
        let is_sealed = self.witness.sealed.get(&repo).is_none_or(|before| at >= *before);
        if !is_sealed && self.witness.unsealed.contains(&place) {
            return true;
        }
        let planned = self.witness.planned.get(&(repo, change.number));
        planned.into_iter().flatten().any(|(branch, places)| {
            places.iter().any(|(_, place)| place == to)
                && self
                    .witness
                    .meddled
                    .contains(&(repo, change.number, branch.clone()))
        })
    }

    /// Whether the source had this later, by a change that does not lead to the place by itself. Lockflight takes such content for later,
    /// and leaves it.
    fn had_later(&mut self, changes: &[Merged], at: usize, from: &PathInRepo, found: &Entry) -> bool {
        let later = changes.iter().skip(at + 1);
        later
            .into_iter()
            .any(|change| self.entry(&change.merged_as, from) == *found)
    }

    /// Whether a change had nothing to do at a place when it was merged, because what it wants stood there, and the promotion of an earlier
    /// change came to the same place from another source after that. Which of two flows with one target comes last is up to who merges
    /// (docs/decisions/0005-rivals.md).
    fn is_of_a_rival(
        &mut self,
        repo: RepoId,
        changes: &[Merged],
        at: usize,
        (from, to): (&PathInRepo, &PathInRepo),
        (wanted, found): (&Entry, &Entry),
    ) -> bool {
        let Some(change) = changes.get(at) else {
            return false;
        };
        if self.entry(&change.merged_as, to) != *wanted {
            return false;
        }
        changes.iter().take(at).any(|earlier| {
            let ways = self.ways_of(repo, earlier);
            let mut rivals = ways.iter().filter(|way| way.to == *to && way.from != *from);
            rivals.any(|way| self.entry(&earlier.merged_as, &way.from) == *found)
        })
    }
}
