//! A forge that has no pull requests and answers at once, so that nothing but git is measured.

use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{
    Approval, Assigned, ChangedFile, CheckOutcome, CheckRun, Checks, Closing, Collaborator, Comment,
    CreatePullRequest, ForgeError, FoundRepository, Identity, MergeMethod, MergeOutcome, NewPullRequest,
    PullRequest, PullRequestEdit, Reaction, ReactionKind, Review, Status,
};
use lockflight_promotion::change::Repository;
use lockflight_promotion::{BranchName, CommitOid, Login, PrNumber, RepoId, RepoName};
use secrecy::SecretString;

use crate::executor::Address;

#[derive(Clone)]
pub(crate) struct Silent {
    address: Address,
}

impl Silent {
    pub(crate) const fn new(address: Address) -> Self {
        Self { address }
    }
}

impl ForgePort for Silent {
    type Repository = Self;

    async fn repository(&self, _repository: &Repository) -> Result<Self, ForgeError> {
        Ok(self.clone())
    }

    async fn find(&self, _name: &RepoName) -> Result<Option<FoundRepository>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn identity(&self) -> Result<Identity, ForgeError> {
        unreachable!("{BEYOND}")
    }

    fn web_url(&self) -> &'static str {
        "https://github.example"
    }
}

const BEYOND: &str = "a batch is measured up to its branches";

impl RepositoryPort for Silent {
    fn id(&self) -> RepoId {
        self.address.repo
    }

    fn calls(&self) -> u32 {
        0
    }

    fn git_url(&self) -> String {
        self.address.url.clone()
    }

    async fn git_credentials(&self) -> Result<SecretString, ForgeError> {
        Ok(SecretString::from(self.address.token.clone()))
    }

    async fn find_pull_requests(&self, _head: &BranchName) -> Result<Vec<PullRequest>, ForgeError> {
        Ok(Vec::new())
    }

    async fn pull_request(&self, _number: PrNumber) -> Result<PullRequest, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn files(&self, _number: PrNumber) -> Result<Vec<ChangedFile>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn recent_pull_requests(&self) -> Result<Vec<PullRequest>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn create_pull_request(&self, _new: &NewPullRequest) -> Result<CreatePullRequest, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn add_labels(&self, _number: PrNumber, _labels: &[String]) -> Result<(), ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn add_assignees(&self, _number: PrNumber, _assignees: &[Login]) -> Result<Assigned, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn reviews(&self, _number: PrNumber) -> Result<Vec<Review>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn approve(
        &self,
        _number: PrNumber,
        _commit: &CommitOid,
        _body: &str,
    ) -> Result<Approval, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn merge(
        &self,
        _number: PrNumber,
        _head: &CommitOid,
        _method: MergeMethod,
    ) -> Result<MergeOutcome, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn comments(&self, _number: PrNumber) -> Result<Vec<Comment>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn comment(&self, _id: u64) -> Result<Option<Comment>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn reactions(&self, _comment: u64) -> Result<Vec<Reaction>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn react(&self, _comment: u64, _kind: ReactionKind) -> Result<(), ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn collaborator(&self, _login: &Login) -> Result<Option<Collaborator>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn create_comment(&self, _number: PrNumber, _body: &str) -> Result<Comment, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn update_comment(&self, _id: u64, _body: &str) -> Result<Option<Comment>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn status(&self, _commit: &CommitOid, _context: &str) -> Result<Option<Status>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn set_status(&self, _commit: &CommitOid, _status: &Status) -> Result<(), ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn update_pull_request(
        &self,
        _number: PrNumber,
        _edit: &PullRequestEdit,
    ) -> Result<PullRequest, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn close_pull_request(&self, _number: PrNumber) -> Result<Closing, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn checks(&self, _commit: &CommitOid) -> Result<Checks, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn set_check(&self, _commit: &CommitOid, _run: &CheckRun) -> Result<CheckOutcome, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn refs_from(&self, _start: &str) -> Result<Vec<String>, ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn create_ref(&self, _name: &str, _at: &CommitOid) -> Result<(), ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn delete_ref(&self, _name: &str) -> Result<(), ForgeError> {
        unreachable!("{BEYOND}")
    }

    async fn team_members(&self, _org: &str, _slug: &str) -> Result<Vec<Login>, ForgeError> {
        unreachable!("{BEYOND}")
    }
}
