//! GitHub in memory, behind the port of the forge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{
    AccountType, Approval, Assigned, ChangedFile, Check, CheckOutcome, CheckRun, CheckState, Checks, Closing,
    Collaborator, Comment, CreatePullRequest, FileStatus, ForgeError, FoundRepository, Identity, MergeMethod,
    MergeOutcome, NewPullRequest, PullRequest, PullRequestEdit, PullRequestState, Reaction, ReactionKind,
    Review, ReviewState, Status, testing,
};
use lockflight_promotion::change::Repository;
use lockflight_promotion::{BranchName, CommitOid, Login, PrNumber, RepoId, RepoName};
use secrecy::SecretString;

use crate::process::{Fault, Hand, Kind};
use crate::pulls::newest_first;
use crate::weather::Sabotage;
use crate::witness::What;
use crate::world::{Unmergeable, World};

const NO_COMMANDS: &str = "nobody gives commands in this world";

/// One identity on the forge.
#[derive(Clone, Debug)]
pub(crate) struct SimForge {
    pub(crate) hand: Hand,
    pub(crate) login: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct SimRepository {
    forge: SimForge,
    id: RepoId,
    calls: Arc<AtomicU32>,
}

impl ForgePort for SimForge {
    type Repository = SimRepository;

    async fn repository(&self, repository: &Repository) -> Result<SimRepository, ForgeError> {
        Ok(SimRepository {
            forge: self.clone(),
            id: repository.id,
            calls: Arc::default(),
        })
    }

    async fn find(&self, name: &RepoName) -> Result<Option<FoundRepository>, ForgeError> {
        let wanted = name.clone();
        self.hand
            .call(Kind::Read, &format!("finds {name}"), move |world| {
                world
                    .repos
                    .values()
                    .find(|repo| repo.repo.name == wanted)
                    .map(|repo| FoundRepository {
                        repository: repo.repo.clone(),
                        default_branch: repo.main.clone(),
                    })
            })
            .await
            .map_err(read_failed)
    }

    async fn identity(&self) -> Result<Identity, ForgeError> {
        Ok(Identity {
            login: Login::parse(self.login).unwrap(),
            id: None,
        })
    }

    fn web_url(&self) -> &'static str {
        "https://forge.test"
    }
}

fn read_failed(fault: Fault) -> ForgeError {
    match fault {
        Fault::Limited(wait) => testing::rate_limited(wait),
        Fault::Refused => testing::unavailable(),
        Fault::Lost => testing::unreachable(),
    }
}

fn write_failed(fault: Fault) -> ForgeError {
    match fault {
        Fault::Limited(wait) => testing::rate_limited(wait),
        Fault::Refused | Fault::Lost => testing::unknown(),
    }
}

impl SimRepository {
    async fn read<T: Send + 'static>(
        &self,
        name: String,
        effect: impl FnOnce(&mut World, RepoId) -> Result<T, ForgeError> + Send + 'static,
    ) -> Result<T, ForgeError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let id = self.id;
        self.forge
            .hand
            .call(Kind::Read, &name, move |world| effect(world, id))
            .await
            .map_err(read_failed)?
    }

    async fn write<T: Send + 'static>(
        &self,
        name: String,
        effect: impl Fn(&mut World, RepoId) -> Result<T, ForgeError> + Send + Clone + 'static,
    ) -> Result<T, ForgeError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (id, hand) = (self.id, &self.forge.hand);
        let again = effect.clone();
        match hand
            .call(Kind::Write, &name, move |world| effect(world, id))
            .await
        {
            Err(Fault::Lost) if hand.sim.world().weather.sabotage == Some(Sabotage::BlindRetries) => hand
                .call(Kind::Write, &name, move |world| again(world, id))
                .await
                .map_err(write_failed)?,
            done => done.map_err(write_failed)?,
        }
    }
}

impl RepositoryPort for SimRepository {
    fn id(&self) -> RepoId {
        self.id
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn git_url(&self) -> String {
        format!("https://forge.test/{}.git", self.id)
    }

    async fn git_credentials(&self) -> Result<SecretString, ForgeError> {
        Ok(SecretString::from("token".to_owned()))
    }

    async fn pull_request(&self, number: PrNumber) -> Result<PullRequest, ForgeError> {
        let process = self.forge.hand.process;
        self.read(format!("reads #{number}"), move |world, id| {
            if world.repo(id).find(number).is_none() {
                return Err(testing::not_found());
            }
            world.has_read(process, id, What::Pull(number));
            world.has_read(process, id, What::Labels(number));
            Ok(world.shown(id, number))
        })
        .await
    }

    async fn files(&self, number: PrNumber) -> Result<Vec<ChangedFile>, ForgeError> {
        self.read(format!("reads files of #{number}"), move |world, id| {
            let Some(merged) = world.repo(id).change(number).cloned() else {
                return Err(testing::not_found());
            };
            let head = world.repo(id).pull(number).info.head.clone();
            let base = world.objects.merge_base(&merged.before, &head);
            let changed = world.objects.differing(&base, &head);
            Ok(changed
                .into_iter()
                .map(|path| ChangedFile {
                    path,
                    status: FileStatus::Modified,
                    previous_path: None,
                })
                .collect())
        })
        .await
    }

    async fn find_pull_requests(&self, head: &BranchName) -> Result<Vec<PullRequest>, ForgeError> {
        let (process, head) = (self.forge.hand.process, head.clone());
        self.read(
            format!("looks for pull requests from {head}"),
            move |world, id| {
                world.has_read(process, id, What::From(head.to_string()));
                if world.weather.sabotage == Some(Sabotage::StaleList) {
                    return Ok(Vec::new());
                }
                let found = newest_first(world.repo(id), |pull| pull.head_branch == head.as_str());
                for pull in &found {
                    world.has_read(process, id, What::Labels(pull.number));
                }
                Ok(found)
            },
        )
        .await
    }

    async fn recent_pull_requests(&self) -> Result<Vec<PullRequest>, ForgeError> {
        self.read("lists pull requests".to_owned(), move |world, id| {
            if world.weather.sabotage == Some(Sabotage::StaleList) {
                return Ok(Vec::new());
            }
            let mut found = newest_first(world.repo(id), |_| true);
            found.truncate(100);
            Ok(found)
        })
        .await
    }

    async fn create_pull_request(&self, new: &NewPullRequest) -> Result<CreatePullRequest, ForgeError> {
        let (process, new, login) = (self.forge.hand.process, new.clone(), self.forge.login);
        self.write(
            format!("opens a pull request from {}", new.head),
            move |world, id| {
                let unseen = world.weather.refuse;
                if !world.repo(id).branches.contains_key(&new.head) || world.dice.chance(unseen) {
                    return Err(testing::not_yet_visible(new.head.as_str()));
                }
                let created = world.open_pull(id, &new, login);
                if let CreatePullRequest::Created(pull) = &created {
                    world.witness_opened(process, id, pull);
                    world.has_read(process, id, What::Labels(pull.number));
                }
                Ok(created)
            },
        )
        .await
    }

    async fn update_pull_request(
        &self,
        number: PrNumber,
        edit: &PullRequestEdit,
    ) -> Result<PullRequest, ForgeError> {
        let (process, edit) = (self.forge.hand.process, edit.clone());
        self.write(format!("edits #{number}"), move |world, id| {
            world.will_write(process, id, &What::Pull(number));
            let info = &mut world.repo_mut(id).pull_mut(number).info;
            let edit = edit.clone();
            info.title = edit.title.unwrap_or_else(|| info.title.clone());
            info.body = edit.body.unwrap_or_else(|| info.body.clone());
            info.base_branch = edit.base.unwrap_or_else(|| info.base_branch.clone());
            if !info.merged {
                info.state = edit.state.unwrap_or(info.state);
            }
            Ok(world.shown(id, number))
        })
        .await
    }

    async fn close_pull_request(&self, number: PrNumber) -> Result<Closing, ForgeError> {
        let found = self.pull_request(number).await?;
        let ended = |pull: PullRequest, unmerged: fn(Box<PullRequest>) -> Closing| {
            let pull = Box::new(pull);
            if pull.merged {
                Closing::Merged(pull)
            } else {
                unmerged(pull)
            }
        };
        if found.state == PullRequestState::Closed {
            return Ok(ended(found, Closing::AlreadyClosed));
        }
        let edit = PullRequestEdit {
            state: Some(PullRequestState::Closed),
            ..PullRequestEdit::default()
        };
        let closed = self.update_pull_request(number, &edit).await?;
        Ok(ended(closed, Closing::Closed))
    }

    async fn add_labels(&self, number: PrNumber, labels: &[String]) -> Result<(), ForgeError> {
        let (process, labels) = (self.forge.hand.process, labels.to_vec());
        self.write(format!("labels #{number}"), move |world, id| {
            world.will_write(process, id, &What::Labels(number));
            world
                .repo_mut(id)
                .pull_mut(number)
                .info
                .labels
                .extend(labels.clone());
            world.has_read(process, id, What::Labels(number));
            Ok(())
        })
        .await
    }

    async fn add_assignees(&self, number: PrNumber, assignees: &[Login]) -> Result<Assigned, ForgeError> {
        let (process, assignees) = (self.forge.hand.process, assignees.to_vec());
        self.write(format!("assigns #{number}"), move |world, id| {
            world.will_write(process, id, &What::Labels(number));
            let known = &mut world.repo_mut(id).pull_mut(number).info.assignees;
            for login in &assignees {
                if !known.contains(login) {
                    known.push(login.clone());
                }
            }
            Ok(Assigned::All)
        })
        .await
    }

    async fn reviews(&self, number: PrNumber) -> Result<Vec<Review>, ForgeError> {
        let process = self.forge.hand.process;
        self.read(format!("reads reviews of #{number}"), move |world, id| {
            world.has_read(process, id, What::Reviews(number));
            Ok(world.repo(id).pull(number).reviews.clone())
        })
        .await
    }

    async fn approve(
        &self,
        number: PrNumber,
        commit: &CommitOid,
        _body: &str,
    ) -> Result<Approval, ForgeError> {
        let (process, commit, login) = (self.forge.hand.process, commit.clone(), self.forge.login);
        self.write(format!("approves #{number}"), move |world, id| {
            world.will_write(process, id, &What::Reviews(number));
            world.witness_approved(id, number, &commit);
            let pull = world.repo_mut(id).pull_mut(number);
            let review = Review {
                id: pull.reviews.len() as u64 + 1,
                author: Login::parse(login).unwrap(),
                state: ReviewState::Approved,
                commit: Some(commit.clone()),
            };
            pull.reviews.push(review.clone());
            Ok(Approval::Given(review))
        })
        .await
    }

    async fn merge(
        &self,
        number: PrNumber,
        head: &CommitOid,
        _method: MergeMethod,
    ) -> Result<MergeOutcome, ForgeError> {
        let (process, head) = (self.forge.hand.process, head.clone());
        let hand = self.forge.hand.clone();
        self.write(format!("merges #{number}"), move |world, id| {
            world.will_write(process, id, &What::Pull(number));
            // The worst moment for a push of somebody else.
            let meddle = world.weather.meddle;
            if world.dice.chance(meddle) {
                world.meddle_with(id, number);
            }
            let pull = world.repo(id).pull(number);
            if pull.info.merged {
                let commit = pull.info.merge_commit.clone();
                return Ok(MergeOutcome::AlreadyMerged { commit });
            }
            if pull.info.head != head && world.weather.sabotage != Some(Sabotage::AnyHead) {
                return Ok(MergeOutcome::HeadMoved);
            }
            let not_now = |reason: &str, transient| MergeOutcome::NotMergeable {
                reason: reason.to_owned(),
                transient,
            };
            let modified = world.weather.refuse;
            if pull.undecided > 0 || world.dice.chance(modified) {
                return Ok(not_now(
                    "Base branch was modified. Review and try the merge again.",
                    true,
                ));
            }
            let before = world.repo(id).head();
            match world.merge(id, number, None, crate::world::BOT) {
                Ok(commit) => {
                    world.witness_merged(process, id, number, &before, &head);
                    hand.sim.signals().hooks.notify_one();
                    Ok(MergeOutcome::Merged(commit))
                }
                Err(Unmergeable::Closed) => Ok(not_now("it is closed", false)),
                Err(Unmergeable::Conflict) => Ok(not_now("it conflicts with the base branch", false)),
                Err(Unmergeable::Blocked) => Ok(not_now("a required review is missing", false)),
            }
        })
        .await
    }

    async fn comments(&self, number: PrNumber) -> Result<Vec<Comment>, ForgeError> {
        let process = self.forge.hand.process;
        self.read(format!("reads comments of #{number}"), move |world, id| {
            world.has_read(process, id, What::Comments(number));
            if world.weather.sabotage == Some(Sabotage::NoComments) {
                return Ok(Vec::new());
            }
            Ok(world.repo(id).pull(number).comments.clone())
        })
        .await
    }

    async fn comment(&self, _id: u64) -> Result<Option<Comment>, ForgeError> {
        unreachable!("{NO_COMMANDS}")
    }

    async fn reactions(&self, _comment: u64) -> Result<Vec<Reaction>, ForgeError> {
        unreachable!("{NO_COMMANDS}")
    }

    async fn react(&self, _comment: u64, _kind: ReactionKind) -> Result<(), ForgeError> {
        unreachable!("{NO_COMMANDS}")
    }

    async fn collaborator(&self, _login: &Login) -> Result<Option<Collaborator>, ForgeError> {
        unreachable!("{NO_COMMANDS}")
    }

    async fn create_comment(&self, number: PrNumber, body: &str) -> Result<Comment, ForgeError> {
        let (process, login, body) = (self.forge.hand.process, self.forge.login, body.to_owned());
        self.write(format!("comments on #{number}"), move |world, id| {
            world.witness_commented(process, id, number, &body);
            let now = world.now();
            let pull = world.repo_mut(id).pull_mut(number);
            let place = pull.comments.len() as u64;
            let comment = Comment {
                id: number.get() * 1_000 + place,
                node_id: format!("C_{number}_{place}"),
                author: Login::parse(login).unwrap(),
                author_id: None,
                author_type: AccountType::Bot,
                body: body.clone(),
                html_url: format!("https://forge.test/comment/{number}/{place}"),
                number: Some(number),
                created_at: now,
            };
            pull.comments.push(comment.clone());
            Ok(comment)
        })
        .await
    }

    async fn update_comment(&self, comment: u64, body: &str) -> Result<Option<Comment>, ForgeError> {
        let (process, body) = (self.forge.hand.process, body.to_owned());
        self.write(format!("updates comment {comment}"), move |world, id| {
            let number = PrNumber::new(comment / 1_000);
            world.will_write(process, id, &What::Comments(number));
            let pull = world.repo_mut(id).pull_mut(number);
            let Some(found) = pull.comments.iter_mut().find(|found| found.id == comment) else {
                return Ok(None);
            };
            found.body.clone_from(&body);
            Ok(Some(found.clone()))
        })
        .await
    }

    async fn status(&self, commit: &CommitOid, context: &str) -> Result<Option<Status>, ForgeError> {
        let (process, key) = (self.forge.hand.process, (commit.clone(), context.to_owned()));
        self.read(format!("reads the status of {commit}"), move |world, id| {
            world.has_read(process, id, What::Status(key.0.clone()));
            Ok(world.repo(id).statuses.get(&key).cloned())
        })
        .await
    }

    async fn set_status(&self, commit: &CommitOid, status: &Status) -> Result<(), ForgeError> {
        let (process, commit, status) = (self.forge.hand.process, commit.clone(), status.clone());
        self.write(
            format!("sets the status of {commit}: {}", status.description),
            move |world, id| {
                world.will_write(process, id, &What::Status(commit.clone()));
                let key = (commit.clone(), status.context.clone());
                world.repo_mut(id).statuses.insert(key, status.clone());
                Ok(())
            },
        )
        .await
    }

    async fn checks(&self, commit: &CommitOid) -> Result<Checks, ForgeError> {
        let commit = commit.clone();
        self.read(format!("reads the checks of {commit}"), move |world, id| {
            let of_commit = world
                .repo(id)
                .statuses
                .iter()
                .filter(|((about, _), _)| *about == commit);
            let list = of_commit.map(|((_, context), status)| Check {
                name: context.clone(),
                state: CheckState::from(status.state),
                title: Some(status.description.clone()),
                details_url: status.target_url.clone(),
            });
            Ok(Checks {
                list: list.collect(),
                unreadable: None,
            })
        })
        .await
    }

    async fn set_check(&self, _commit: &CommitOid, _run: &CheckRun) -> Result<CheckOutcome, ForgeError> {
        Ok(CheckOutcome::NotAllowed(
            "the identities of the simulation write statuses".to_owned(),
        ))
    }

    async fn refs_from(&self, _start: &str) -> Result<Vec<String>, ForgeError> {
        Ok(Vec::new())
    }

    async fn create_ref(&self, _name: &str, _at: &CommitOid) -> Result<(), ForgeError> {
        Err(testing::not_found())
    }

    async fn delete_ref(&self, _name: &str) -> Result<(), ForgeError> {
        Err(testing::not_found())
    }

    async fn team_members(&self, _org: &str, _slug: &str) -> Result<Vec<Login>, ForgeError> {
        Err(testing::not_found())
    }
}
