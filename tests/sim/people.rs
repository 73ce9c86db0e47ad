//! What people do meanwhile: merge changes, merge, close and push to promotions, revert, and break the policy.

use std::sync::Arc;
use std::time::Duration;

use lockflight_forge::{CreatePullRequest, NewPullRequest, PullRequestState, Review, ReviewState};
use lockflight_promotion::{BranchName, CommitOid, Login, PathInRepo, PrNumber, RepoId};
use tokio::time::sleep;

use crate::layout::{LABEL, POLICY};
use crate::objects::{Files, below, replace};
use crate::witness::By;
use crate::world::{Sim, World, step_of};

/// Lets people do so many things, at times of their own.
pub(crate) async fn live(sim: &Sim, deeds: u64) {
    for _ in 0..deeds {
        let pause = {
            let mut world = sim.world();
            if world.dice.chance(400) {
                Duration::from_millis(world.dice.between(0, 500))
            } else {
                Duration::from_secs(world.dice.between(1, 60))
            }
        };
        sleep(pause).await;
        let mut world = sim.world();
        let repos: Vec<RepoId> = world.repos.keys().copied().collect();
        let Some(repo) = world.dice.pick(&repos).copied() else {
            continue;
        };
        world.deed(repo);
        drop(world);
        sim.signals().hooks.notify_one();
    }
}

impl World {
    fn deed(&mut self, repo: RepoId) {
        let (meddle, decline, wild) = (self.weather.meddle, self.weather.decline, self.weather.wild);
        if self.dice.chance(meddle) {
            self.meddle(repo);
        } else if self.dice.chance(decline) {
            self.decline(repo);
        } else if wild && self.dice.chance(100) {
            self.hotfix(repo);
        } else {
            match self.dice.below(10) {
                0..=3 => self.change(repo),
                4..=8 => self.merge_one(repo),
                _ => self.move_main(repo),
            }
        }
    }

    /// A change of people's own, merged at once.
    fn change(&mut self, id: RepoId) {
        let repo = self.repo(id);
        let head = repo.head();
        let layout = repo.layout.clone();
        let mut files = (*self.objects.get(&head).files).clone();
        let number = repo.next_number();
        let touched = self.dice.between(1, 2);
        for _ in 0..touched {
            let Some(component) = self.dice.pick(&layout.components).cloned() else {
                return;
            };
            let directory = layout.path(layout.entrance, &component);
            let file = |name: &str| Arc::<str>::from(format!("{directory}/{name}"));
            match self.dice.below(12) {
                0..=4 => drop(files.insert(file("values.yaml"), Arc::from(format!("v{number}")))),
                5..=6 => drop(files.insert(file("more/extra.yaml"), Arc::from(format!("e{number}")))),
                7 => drop(files.insert(file(&format!("new-{number}.yaml")), Arc::from("n"))),
                8 => drop(files.remove(&file("more/extra.yaml"))),
                9 => self.undo(id, &mut files, directory.as_str()),
                10 => replace(&mut files, directory.as_str(), None),
                _ => drop(files.insert(file("values.yaml"), Arc::from("v0"))),
            }
        }
        if self.dice.chance(40) {
            files.insert(Arc::from(POLICY), Arc::from("promotionPaths: {"));
        } else {
            // Whoever finds it broken mends it.
            files.insert(Arc::from(POLICY), layout.text());
        }
        let labelled = self.dice.chance(500);
        self.merge_files(id, files, labelled);
    }

    /// Changes every component once more, with nobody else about: all that went before, however wild, has to come right by that, wherever
    /// it leads. What keeps a component from a place keeps the seal from there too.
    pub(crate) fn seal(&mut self) {
        self.weather.wild = false;
        let mut unsealed = std::mem::take(&mut self.witness.raced);
        unsealed.append(&mut self.witness.overruled);
        self.witness.unsealed = unsealed;
        let repos: Vec<RepoId> = self.repos.keys().copied().collect();
        for id in repos {
            let repo = self.repo(id);
            let layout = repo.layout.clone();
            let before = repo.changes.len();
            let mut files = (*self.objects.get(&repo.head()).files).clone();
            self.witness.sealed.insert(id, before);
            files.insert(Arc::from(POLICY), layout.text());
            for component in &layout.components {
                let directory = layout.path(layout.entrance, component);
                files.insert(Arc::from(format!("{directory}/values.yaml")), Arc::from("seal"));
            }
            self.merge_files(id, files, true);
        }
    }

    /// Puts a component back to what it was some changes ago.
    fn undo(&mut self, id: RepoId, files: &mut Files, directory: &str) {
        let changes = &self.repo(id).changes;
        let old: Vec<CommitOid> = changes
            .iter()
            .rev()
            .take(4)
            .map(|change| change.before.clone())
            .collect();
        if let Some(old) = self.dice.pick(&old) {
            let was = below(&self.objects.get(old).files, directory);
            replace(files, directory, Some(&was));
        }
    }

    /// Opens and merges a pull request that makes main hold these files.
    fn merge_files(&mut self, id: RepoId, files: Files, labelled: bool) {
        let head = self.repo(id).head();
        if *self.objects.get(&head).files == files {
            return;
        }
        let (number, now) = (self.repo(id).next_number(), self.now());
        let commit = if self.dice.chance(200) {
            let half = self.objects.get(&head).files.clone();
            let first = self
                .objects
                .commit((*half).clone(), vec![head.clone()], "first half", "alice", now);
            self.objects
                .commit(files, vec![first], "second half", "alice", now)
        } else {
            self.objects
                .commit(files, vec![head.clone()], "change", "alice", now)
        };
        let branch = BranchName::parse(format!("alice/{number}")).unwrap();
        self.move_branch(id, &branch, &commit);
        let new = NewPullRequest {
            title: format!("Change {number}"),
            body: "A change.".to_owned(),
            head: branch,
            base: self.repo(id).main.clone(),
        };
        if let CreatePullRequest::Created(_) = self.open_pull(id, &new, "alice") {
            if labelled {
                self.repo_mut(id)
                    .pull_mut(number)
                    .info
                    .labels
                    .insert(LABEL.to_owned());
            }
            let _merged = self.merge(id, number, None, "alice");
        }
    }

    fn open_promotions(&self, id: RepoId) -> Vec<PrNumber> {
        let pulls = self.repo(id).pulls.iter();
        pulls
            .filter(|pull| pull.is_open() && pull.by_bot)
            .map(|pull| pull.info.number)
            .collect()
    }

    /// Merges a promotion that is open, as people do who look at it first: not what conflicts or has been overtaken.
    fn merge_one(&mut self, id: RepoId) {
        let open = self.open_promotions(id);
        let Some(number) = self.dice.pick(&open).copied() else {
            return self.change(id);
        };
        let wild = self.weather.wild && self.dice.chance(300);
        let overtaken = self.overtaken(id, number);
        if wild || overtaken.is_empty() {
            self.approve_by_hand(id, number);
            if self.merge_by_hand(id, number, None) {
                // It is the older content that they want there.
                let overruled = overtaken.into_iter().map(|place| (id, place));
                self.witness.overruled.extend(overruled);
            }
        }
    }

    /// Merges a promotion as git would, or as a person has resolved it: with what main shall hold, and the places that were left as they are.
    fn merge_by_hand(
        &mut self,
        id: RepoId,
        number: PrNumber,
        resolved: Option<(Files, &[PathInRepo])>,
    ) -> bool {
        let pull = self.repo(id).pull(number).info.clone();
        let (files, left_out) = resolved.map_or((None, &[][..]), |(files, left_out)| (Some(files), left_out));
        let merged = self.merge(id, number, files, "bob").is_ok();
        if merged {
            self.witness_landed(id, &pull.head_branch, &pull.head, By::Person { left_out });
        }
        merged
    }

    fn approve_by_hand(&mut self, id: RepoId, number: PrNumber) {
        let pull = self.repo_mut(id).pull_mut(number);
        let review = Review {
            id: pull.reviews.len() as u64 + 1,
            author: Login::parse("bob").unwrap(),
            state: ReviewState::Approved,
            commit: Some(pull.info.head.clone()),
        };
        pull.reviews.push(review);
    }

    /// The places of a promotion to which a later change leads.
    fn overtaken(&mut self, id: RepoId, number: PrNumber) -> Vec<PathInRepo> {
        let branch = self.repo(id).pull(number).info.head_branch.clone();
        let Some(of) = step_of(&branch) else {
            return Vec::new();
        };
        let places: Vec<_> = self.places(id, of, &branch);
        let changes = self.repo(id).changes.clone();
        let later: Vec<_> = changes
            .iter()
            .skip_while(|change| change.number != of)
            .skip(1)
            .cloned()
            .collect();
        let mut overtaken = Vec::new();
        for change in later {
            let ways = self.ways_of(id, &change);
            overtaken.extend(
                places
                    .iter()
                    .filter(|place| ways.iter().any(|way| way.to == **place))
                    .cloned(),
            );
        }
        overtaken
    }

    fn places(&self, id: RepoId, of: PrNumber, branch: &str) -> Vec<PathInRepo> {
        let planned = self
            .witness
            .planned
            .get(&(id, of))
            .and_then(|steps| steps.get(branch));
        planned.into_iter().flatten().map(|(_, to)| to.clone()).collect()
    }

    fn decline(&mut self, id: RepoId) {
        let open = self.open_promotions(id);
        if let Some(number) = self.dice.pick(&open).copied() {
            self.say(|| format!("{id}: bob closes #{number}"));
            self.close(id, number);
        }
    }

    fn close(&mut self, id: RepoId, number: PrNumber) {
        let pull = self.repo_mut(id).pull_mut(number);
        pull.info.state = PullRequestState::Closed;
        let branch = pull.info.head_branch.clone();
        self.touched_by_people(id, &branch);
    }

    /// Pushes a commit to a branch of ours, whether it has a pull request or not.
    fn meddle(&mut self, id: RepoId) {
        let ours = |branch: &&BranchName| branch.as_str().starts_with("promotions/");
        let branches: Vec<BranchName> = self.repo(id).branches.keys().filter(ours).cloned().collect();
        let Some(branch) = self.dice.pick(&branches).cloned() else {
            return;
        };
        let pulls = &self.repo(id).pulls;
        let is_over = pulls
            .iter()
            .any(|pull| !pull.is_open() && pull.info.head_branch == branch.as_str());
        if !is_over {
            self.push_note(id, &branch);
        }
    }

    /// Pushes a commit to the branch of a pull request that is open.
    pub(crate) fn meddle_with(&mut self, id: RepoId, number: PrNumber) {
        let pull = self.repo(id).pull(number);
        if pull.is_open()
            && let Ok(branch) = BranchName::parse(pull.info.head_branch.clone())
        {
            self.push_note(id, &branch);
        }
    }

    fn push_note(&mut self, id: RepoId, branch: &BranchName) {
        let head = self.repo(id).branches.get(branch).unwrap().clone();
        let mut files = (*self.objects.get(&head).files).clone();
        files.insert(Arc::from("notes.md"), Arc::from(format!("{branch}")));
        let now = self.now();
        let commit = self.objects.commit(files, vec![head], "a note", "mallory", now);
        self.say(|| format!("{id}: mallory pushes {commit} to {branch}"));
        self.witness.by_people.insert(commit.clone());
        self.touched_by_people(id, branch.as_str());
        self.move_branch(id, branch, &commit);
    }

    /// Changes something where promotions lead.
    fn hotfix(&mut self, id: RepoId) {
        let repo = self.repo(id);
        let layout = repo.layout.clone();
        let head = repo.head();
        let number = repo.next_number();
        let ends: Vec<&str> = layout
            .flows
            .iter()
            .flat_map(|flow| flow.groups.iter().flatten().copied())
            .collect();
        let (Some(end), Some(component)) = (
            self.dice.pick(&ends).copied(),
            self.dice.pick(&layout.components).cloned(),
        ) else {
            return;
        };
        let to = layout.path(end, &component);
        let mut files = (*self.objects.get(&head).files).clone();
        files.insert(
            Arc::from(format!("{to}/values.yaml")),
            Arc::from(format!("hot{number}")),
        );
        self.witness.raced.insert((id, to.clone()));
        self.witness.forget(id, &to);
        self.merge_files(id, files, false);
    }

    /// Something else happens on main, without a pull request.
    fn move_main(&mut self, id: RepoId) {
        let repo = self.repo(id);
        let (head, main) = (repo.head(), repo.main.clone());
        let now = self.now();
        let mut files = (*self.objects.get(&head).files).clone();
        files.insert(
            Arc::from("README.md"),
            Arc::from(format!("{}", self.dice.below(1_000_000))),
        );
        let commit = self.objects.commit(files, vec![head], "readme", "alice", now);
        self.move_branch(id, &main, &commit);
    }

    /// Deals with every promotion that is open, now that the machine rests: closes what was overtaken, merges the rest, and resolves what
    /// conflicts in favour of what is later. Returns whether there was any.
    pub(crate) fn settle_promotions(&mut self) -> bool {
        let mut any = false;
        let repos: Vec<RepoId> = self.repos.keys().copied().collect();
        for id in repos {
            let Some(number) = self.open_promotions(id).first().copied() else {
                continue;
            };
            any = true;
            let overtaken = self.overtaken(id, number);
            let pull = self.repo(id).pull(number).info.clone();
            let of = step_of(&pull.head_branch).unwrap();
            let places = self.places(id, of, &pull.head_branch);
            let (left_out, wanted): (Vec<_>, Vec<_>) =
                places.into_iter().partition(|place| overtaken.contains(place));
            if wanted.is_empty() {
                self.say(|| format!("{id}: bob closes #{number}, which was overtaken"));
                self.close(id, number);
                continue;
            }
            let head = self.repo(id).head();
            let mut files = (*self.objects.get(&head).files).clone();
            let theirs = self.objects.get(&pull.head).files.clone();
            // Where the branch changes nothing, it is not its side of a conflict that stands there, but what stood there when its change was
            // merged: a place that had nothing left to do when the branch was made.
            let carried = self.carries(id, &pull.head_branch, &pull.head);
            for place in wanted {
                if carried.iter().any(|(_, to)| *to == place) {
                    let content = below(&theirs, place.as_str());
                    replace(&mut files, place.as_str(), Some(&content));
                }
            }
            self.merge_by_hand(id, number, Some((files, &left_out)));
        }
        any
    }
}
