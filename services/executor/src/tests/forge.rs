//! A forge in memory, as far as these tests need one: pull requests, comments and statuses of one repository.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{
    AccountType, Approval, Assigned, ChangedFile, Check, CheckOutcome, CheckRun, CheckState, Checks, Closing,
    Collaborator, Comment, CreatePullRequest, ForgeError, FoundRepository, Identity, MergeMethod,
    MergeOutcome, NewPullRequest, PullRequest, PullRequestEdit, PullRequestState, Reaction, ReactionKind,
    RepoRef, Review, Status,
};
use lockflight_git::testing::{REPO, git_in};
use lockflight_promotion::change::Repository;
use lockflight_promotion::{BranchName, CommitOid, Login, PrNumber, RepoId, RepoName};
use secrecy::SecretString;

use super::world::{login, oid, repository};

#[derive(Clone, Debug)]
pub(super) struct FakeForge {
    state: Arc<Mutex<State>>,
    /// Where git finds the repository.
    url: String,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) pulls: Vec<PullRequest>,
    pub(super) comments: Vec<Comment>,
    pub(super) statuses: BTreeMap<CommitOid, Status>,
    pub(super) reactions: BTreeMap<u64, Vec<Reaction>>,
    pub(super) people: BTreeMap<String, Collaborator>,
}

impl FakeForge {
    pub(super) fn new(url: String) -> Self {
        Self {
            state: Arc::default(),
            url,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn head(&self, branch: &BranchName) -> CommitOid {
        let reference = format!("refs/heads/{branch}");
        let found = git_in(Path::new(&self.url), &["rev-parse", &reference], &[], b"");
        CommitOid::parse(found).unwrap()
    }

    pub(super) fn branches(&self) -> Vec<String> {
        let state = self.state();
        state.pulls.iter().map(|pull| pull.head_branch.clone()).collect()
    }
}

impl ForgePort for FakeForge {
    type Repository = Self;

    async fn repository(&self, _repository: &Repository) -> Result<Self, ForgeError> {
        Ok(self.clone())
    }

    async fn find(&self, name: &RepoName) -> Result<Option<FoundRepository>, ForgeError> {
        let found = repository();
        Ok((found.name == *name).then(|| FoundRepository {
            repository: found,
            default_branch: BranchName::parse("main").unwrap(),
        }))
    }

    async fn identity(&self) -> Result<Identity, ForgeError> {
        Ok(Identity {
            login: login("lockflight[bot]"),
            id: None,
        })
    }

    fn web_url(&self) -> &'static str {
        "https://github.example"
    }
}

impl RepositoryPort for FakeForge {
    fn id(&self) -> RepoId {
        REPO
    }

    fn calls(&self) -> u32 {
        0
    }

    fn git_url(&self) -> String {
        self.url.clone()
    }

    async fn git_credentials(&self) -> Result<SecretString, ForgeError> {
        Ok(SecretString::from("token"))
    }

    async fn pull_request(&self, number: PrNumber) -> Result<PullRequest, ForgeError> {
        let found = self
            .state()
            .pulls
            .iter()
            .find(|pull| pull.number == number)
            .cloned();
        found.ok_or_else(|| panic!("there is no pull request {number}"))
    }

    async fn files(&self, _number: PrNumber) -> Result<Vec<ChangedFile>, ForgeError> {
        unreachable!("an executor asks for no files")
    }

    async fn find_pull_requests(&self, head: &BranchName) -> Result<Vec<PullRequest>, ForgeError> {
        let state = self.state();
        let found = state
            .pulls
            .iter()
            .rev()
            .filter(|pull| pull.head_branch == head.as_str());
        Ok(found.cloned().collect())
    }

    async fn recent_pull_requests(&self) -> Result<Vec<PullRequest>, ForgeError> {
        Ok(self.state().pulls.iter().rev().cloned().collect())
    }

    async fn create_pull_request(&self, new: &NewPullRequest) -> Result<CreatePullRequest, ForgeError> {
        let mut state = self.state();
        let is_open = |pull: &PullRequest| {
            pull.head_branch == new.head.as_str() && pull.state == PullRequestState::Open
        };
        if state.pulls.iter().any(is_open) {
            return Ok(CreatePullRequest::AlreadyExists);
        }
        let number = 100 + state.pulls.len() as u64;
        let repo = RepoRef {
            id: REPO,
            name: repository().name,
            default_branch: "main".to_owned(),
        };
        let pull = PullRequest {
            number: PrNumber::new(number),
            node_id: format!("PR_{number}"),
            html_url: format!("https://github.example/acme/gitops/pull/{number}"),
            title: new.title.clone(),
            body: new.body.clone(),
            author: login("lockflight[bot]"),
            author_type: AccountType::Bot,
            state: PullRequestState::Open,
            draft: false,
            merged: false,
            merged_at: None,
            merge_commit: None,
            head: self.head(&new.head),
            head_branch: new.head.to_string(),
            head_repo: Some(repo.clone()),
            base_branch: new.base.clone(),
            base: oid('b'),
            base_repo: repo,
            labels: ["promotion".to_owned()].into(),
            assignees: vec![login("ann")],
            commits: None,
            changed_files: None,
            mergeable: None,
            mergeable_state: None,
            created_at: 0,
            updated_at: 0,
        };
        state.pulls.push(pull.clone());
        Ok(CreatePullRequest::Created(Box::new(pull)))
    }

    async fn update_pull_request(
        &self,
        number: PrNumber,
        edit: &PullRequestEdit,
    ) -> Result<PullRequest, ForgeError> {
        let mut state = self.state();
        let pull = state.pulls.iter_mut().find(|pull| pull.number == number).unwrap();
        let edit = edit.clone();
        pull.title = edit.title.unwrap_or_else(|| pull.title.clone());
        pull.body = edit.body.unwrap_or_else(|| pull.body.clone());
        pull.base_branch = edit.base.unwrap_or_else(|| pull.base_branch.clone());
        pull.state = edit.state.unwrap_or(pull.state);
        Ok(pull.clone())
    }

    async fn close_pull_request(&self, number: PrNumber) -> Result<Closing, ForgeError> {
        let mut state = self.state();
        let pull = state.pulls.iter_mut().find(|pull| pull.number == number).unwrap();
        let was = std::mem::replace(&mut pull.state, PullRequestState::Closed);
        let pull = Box::new(pull.clone());
        Ok(match (pull.merged, was) {
            (true, _) => Closing::Merged(pull),
            (false, PullRequestState::Closed) => Closing::AlreadyClosed(pull),
            (false, PullRequestState::Open) => Closing::Closed(pull),
        })
    }

    async fn add_labels(&self, _number: PrNumber, _labels: &[String]) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn add_assignees(&self, _number: PrNumber, _assignees: &[Login]) -> Result<Assigned, ForgeError> {
        Ok(Assigned::All)
    }

    async fn reviews(&self, _number: PrNumber) -> Result<Vec<Review>, ForgeError> {
        unreachable!("nothing is approved here")
    }

    async fn approve(
        &self,
        _number: PrNumber,
        _commit: &CommitOid,
        _body: &str,
    ) -> Result<Approval, ForgeError> {
        unreachable!("nothing is approved here")
    }

    async fn merge(
        &self,
        _number: PrNumber,
        _head: &CommitOid,
        _method: MergeMethod,
    ) -> Result<MergeOutcome, ForgeError> {
        unreachable!("nothing is merged here")
    }

    async fn comments(&self, number: PrNumber) -> Result<Vec<Comment>, ForgeError> {
        let mut comments = self.state().comments.clone();
        comments.retain(|comment| comment.number == Some(number));
        Ok(comments)
    }

    async fn comment(&self, id: u64) -> Result<Option<Comment>, ForgeError> {
        let state = self.state();
        Ok(state.comments.iter().find(|comment| comment.id == id).cloned())
    }

    async fn reactions(&self, comment: u64) -> Result<Vec<Reaction>, ForgeError> {
        Ok(self.state().reactions.get(&comment).cloned().unwrap_or_default())
    }

    async fn react(&self, comment: u64, kind: ReactionKind) -> Result<(), ForgeError> {
        let reaction = Reaction {
            author: login("lockflight[bot]"),
            kind,
        };
        let mut state = self.state();
        let reactions = state.reactions.entry(comment).or_default();
        if !reactions.contains(&reaction) {
            reactions.push(reaction);
        }
        Ok(())
    }

    async fn collaborator(&self, login: &Login) -> Result<Option<Collaborator>, ForgeError> {
        Ok(self.state().people.get(login.as_str()).cloned())
    }

    async fn create_comment(&self, number: PrNumber, body: &str) -> Result<Comment, ForgeError> {
        let mut state = self.state();
        let comment = Comment {
            id: state.comments.len() as u64,
            node_id: String::new(),
            author: login("lockflight[bot]"),
            author_id: None,
            author_type: AccountType::Bot,
            body: body.to_owned(),
            html_url: String::new(),
            number: Some(number),
            created_at: 0,
        };
        state.comments.push(comment.clone());
        Ok(comment)
    }

    async fn update_comment(&self, id: u64, body: &str) -> Result<Option<Comment>, ForgeError> {
        let mut state = self.state();
        let found = state.comments.iter_mut().find(|comment| comment.id == id);
        Ok(found.map(|comment| {
            body.clone_into(&mut comment.body);
            comment.clone()
        }))
    }

    async fn status(&self, commit: &CommitOid, _context: &str) -> Result<Option<Status>, ForgeError> {
        Ok(self.state().statuses.get(commit).cloned())
    }

    async fn set_status(&self, commit: &CommitOid, status: &Status) -> Result<(), ForgeError> {
        self.state().statuses.insert(commit.clone(), status.clone());
        Ok(())
    }

    async fn checks(&self, commit: &CommitOid) -> Result<Checks, ForgeError> {
        let of_commit = self.state().statuses.get(commit).cloned();
        let list = of_commit.into_iter().map(|status| Check {
            name: status.context,
            state: CheckState::from(status.state),
            title: Some(status.description),
            details_url: None,
        });
        Ok(Checks {
            list: list.collect(),
            unreadable: None,
        })
    }

    async fn set_check(&self, _commit: &CommitOid, _run: &CheckRun) -> Result<CheckOutcome, ForgeError> {
        Ok(CheckOutcome::NotAllowed(
            "this forge has statuses only".to_owned(),
        ))
    }

    async fn refs_from(&self, _start: &str) -> Result<Vec<String>, ForgeError> {
        Ok(Vec::new())
    }

    async fn create_ref(&self, _name: &str, _at: &CommitOid) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn delete_ref(&self, _name: &str) -> Result<(), ForgeError> {
        Ok(())
    }

    async fn team_members(&self, _org: &str, _slug: &str) -> Result<Vec<Login>, ForgeError> {
        Ok(Vec::new())
    }
}
