//! What the roles ask of the forge, as ports.
//!
//! [`Forge`] and [`RepoClient`] are the one real adapter. The ports are there so that planner and executor can also be run, as they are,
//! over a forge in memory. What each operation means is said where [`RepoClient`] has it; any adapter keeps to that, down to
//! the errors: a write that may or may not have been carried out is [`ForgeError::Unknown`], and is never repeated blindly.

use lockflight_promotion::change::Repository;
use lockflight_promotion::{BranchName, CommitOid, Login, PrNumber, RepoId, RepoName};
use secrecy::SecretString;

use crate::{
    Approval, Assigned, ChangedFile, CheckOutcome, CheckRun, Checks, Closing, Collaborator, Comment,
    CreatePullRequest, Forge, ForgeError, FoundRepository, Identity, MergeMethod, MergeOutcome,
    NewPullRequest, PullRequest, PullRequestEdit, PullRequestState, Reaction, ReactionKind, RepoClient,
    Review, Status,
};

/// One forge, as one identity. Clones share it.
pub trait ForgePort: Clone + Send + Sync + 'static {
    /// The way to one repository.
    type Repository: RepositoryPort;

    /// The way to one repository: [`Forge::repository`].
    ///
    /// # Errors
    /// As an App, when it gets no token for the repository.
    fn repository(
        &self,
        repository: &Repository,
    ) -> impl Future<Output = Result<Self::Repository, ForgeError>> + Send;

    /// Finds a repository by its name, whoever owns it: [`Forge::find`].
    ///
    /// # Errors
    /// When the forge can't be asked.
    fn find(
        &self,
        name: &RepoName,
    ) -> impl Future<Output = Result<Option<FoundRepository>, ForgeError>> + Send;

    /// Who we are: [`Forge::identity`].
    ///
    /// # Errors
    /// When the forge can't be asked.
    fn identity(&self) -> impl Future<Output = Result<Identity, ForgeError>> + Send;

    /// The address of the pages, without a slash at the end: [`Forge::web_url`].
    fn web_url(&self) -> &str;
}

/// One repository of a forge. Clones share it.
pub trait RepositoryPort: Clone + Send + Sync + 'static {
    /// The repository's numeric id: [`RepoClient::id`].
    fn id(&self) -> RepoId;

    /// How many requests went through this client so far: [`RepoClient::calls`].
    fn calls(&self) -> u32;

    /// The address that git clones it from: [`RepoClient::git_url`].
    fn git_url(&self) -> String;

    /// The password for git: [`RepoClient::git_credentials`].
    ///
    /// # Errors
    /// When there is none for the repository.
    fn git_credentials(&self) -> impl Future<Output = Result<SecretString, ForgeError>> + Send;

    /// Reads one pull request: [`RepoClient::pull_request`].
    ///
    /// # Errors
    /// When it can't be read.
    fn pull_request(&self, number: PrNumber) -> impl Future<Output = Result<PullRequest, ForgeError>> + Send;

    /// All files that a pull request changes: [`RepoClient::files`].
    ///
    /// # Errors
    /// When they can't all be read.
    fn files(&self, number: PrNumber) -> impl Future<Output = Result<Vec<ChangedFile>, ForgeError>> + Send;

    /// The pull requests from `head`, open and closed, newest first: [`RepoClient::find_pull_requests`].
    ///
    /// # Errors
    /// When they can't be read.
    fn find_pull_requests(
        &self,
        head: &BranchName,
    ) -> impl Future<Output = Result<Vec<PullRequest>, ForgeError>> + Send;

    /// The 100 pull requests that were opened last, newest first: [`RepoClient::recent_pull_requests`].
    ///
    /// # Errors
    /// When they can't be read.
    fn recent_pull_requests(&self) -> impl Future<Output = Result<Vec<PullRequest>, ForgeError>> + Send;

    /// All open pull requests into `base`, newest first: [`RepoClient::open_pull_requests`].
    ///
    /// # Errors
    /// When they can't all be read.
    fn open_pull_requests(
        &self,
        base: &BranchName,
    ) -> impl Future<Output = Result<Vec<PullRequest>, ForgeError>> + Send {
        async move {
            let mut pulls = self.recent_pull_requests().await?;
            pulls.retain(|pull| pull.state == PullRequestState::Open && pull.base_branch == *base);
            Ok(pulls)
        }
    }

    /// Opens a pull request: [`RepoClient::create_pull_request`].
    ///
    /// # Errors
    /// When it is refused, or may or may not be open now.
    fn create_pull_request(
        &self,
        new: &NewPullRequest,
    ) -> impl Future<Output = Result<CreatePullRequest, ForgeError>> + Send;

    /// Changes what an edit names about a pull request: [`RepoClient::update_pull_request`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn update_pull_request(
        &self,
        number: PrNumber,
        edit: &PullRequestEdit,
    ) -> impl Future<Output = Result<PullRequest, ForgeError>> + Send;

    /// Closes a pull request that is still open: [`RepoClient::close_pull_request`].
    ///
    /// # Errors
    /// When it can't be read, is refused, or not known.
    fn close_pull_request(
        &self,
        number: PrNumber,
    ) -> impl Future<Output = Result<Closing, ForgeError>> + Send;

    /// Adds labels: [`RepoClient::add_labels`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn add_labels(
        &self,
        number: PrNumber,
        labels: &[String],
    ) -> impl Future<Output = Result<(), ForgeError>> + Send;

    /// Assigns people: [`RepoClient::add_assignees`].
    ///
    /// # Errors
    /// When the forge can't be asked, or it is not known.
    fn add_assignees(
        &self,
        number: PrNumber,
        assignees: &[Login],
    ) -> impl Future<Output = Result<Assigned, ForgeError>> + Send;

    /// All reviews of a pull request, oldest first: [`RepoClient::reviews`].
    ///
    /// # Errors
    /// When they can't all be read.
    fn reviews(&self, number: PrNumber) -> impl Future<Output = Result<Vec<Review>, ForgeError>> + Send;

    /// Approves a commit of a pull request: [`RepoClient::approve`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn approve(
        &self,
        number: PrNumber,
        commit: &CommitOid,
        body: &str,
    ) -> impl Future<Output = Result<Approval, ForgeError>> + Send;

    /// Merges a pull request if its head is still `head`: [`RepoClient::merge`].
    ///
    /// # Errors
    /// When it is forbidden, or not known.
    fn merge(
        &self,
        number: PrNumber,
        head: &CommitOid,
        method: MergeMethod,
    ) -> impl Future<Output = Result<MergeOutcome, ForgeError>> + Send;

    /// All comments of a pull request, oldest first: [`RepoClient::comments`].
    ///
    /// # Errors
    /// When they can't all be read.
    fn comments(&self, number: PrNumber) -> impl Future<Output = Result<Vec<Comment>, ForgeError>> + Send;

    /// Reads one comment; none if it was deleted: [`RepoClient::comment`].
    ///
    /// # Errors
    /// When it can't be read.
    fn comment(&self, id: u64) -> impl Future<Output = Result<Option<Comment>, ForgeError>> + Send;

    /// All reactions to a comment, oldest first; none if it was deleted: [`RepoClient::reactions`].
    ///
    /// # Errors
    /// When they can't all be read.
    fn reactions(&self, comment: u64) -> impl Future<Output = Result<Vec<Reaction>, ForgeError>> + Send;

    /// Reacts to a comment: [`RepoClient::react`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn react(&self, comment: u64, kind: ReactionKind) -> impl Future<Output = Result<(), ForgeError>> + Send;

    /// What an account may do here: [`RepoClient::collaborator`].
    ///
    /// # Errors
    /// When it can't be read.
    fn collaborator(
        &self,
        login: &Login,
    ) -> impl Future<Output = Result<Option<Collaborator>, ForgeError>> + Send;

    /// Writes a comment: [`RepoClient::create_comment`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn create_comment(
        &self,
        number: PrNumber,
        body: &str,
    ) -> impl Future<Output = Result<Comment, ForgeError>> + Send;

    /// Writes a comment anew; none if it was deleted: [`RepoClient::update_comment`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn update_comment(
        &self,
        id: u64,
        body: &str,
    ) -> impl Future<Output = Result<Option<Comment>, ForgeError>> + Send;

    /// The status of a commit in a context: [`RepoClient::status`].
    ///
    /// # Errors
    /// When it can't be read.
    fn status(
        &self,
        commit: &CommitOid,
        context: &str,
    ) -> impl Future<Output = Result<Option<Status>, ForgeError>> + Send;

    /// Sets the status of a commit: [`RepoClient::set_status`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn set_status(
        &self,
        commit: &CommitOid,
        status: &Status,
    ) -> impl Future<Output = Result<(), ForgeError>> + Send;

    /// The latest check runs and statuses of a commit: [`RepoClient::checks`].
    ///
    /// # Errors
    /// When they can't all be read.
    fn checks(&self, commit: &CommitOid) -> impl Future<Output = Result<Checks, ForgeError>> + Send;

    /// Makes a check run of ours be as it should be: [`RepoClient::set_check`].
    ///
    /// # Errors
    /// When it is refused, or not known.
    fn set_check(
        &self,
        commit: &CommitOid,
        run: &CheckRun,
    ) -> impl Future<Output = Result<CheckOutcome, ForgeError>> + Send;

    /// The names of refs: [`RepoClient::refs_from`].
    ///
    /// # Errors
    /// When they can't be read.
    fn refs_from(&self, start: &str) -> impl Future<Output = Result<Vec<String>, ForgeError>> + Send;

    /// Makes a ref: [`RepoClient::create_ref`].
    ///
    /// # Errors
    /// When it is refused.
    fn create_ref(&self, name: &str, at: &CommitOid) -> impl Future<Output = Result<(), ForgeError>> + Send;

    /// Takes a ref away: [`RepoClient::delete_ref`].
    ///
    /// # Errors
    /// When it is refused.
    fn delete_ref(&self, name: &str) -> impl Future<Output = Result<(), ForgeError>> + Send;

    /// The members of a team: [`RepoClient::team_members`].
    ///
    /// # Errors
    /// When they can't be read, which may be for lack of a permission that not every App has.
    fn team_members(
        &self,
        org: &str,
        slug: &str,
    ) -> impl Future<Output = Result<Vec<Login>, ForgeError>> + Send;
}

// In what follows a call of the type's own function of the same name goes before that of the port.

impl ForgePort for Forge {
    type Repository = RepoClient;

    async fn repository(&self, repository: &Repository) -> Result<RepoClient, ForgeError> {
        Self::repository(self, repository).await
    }

    async fn find(&self, name: &RepoName) -> Result<Option<FoundRepository>, ForgeError> {
        Self::find(self, name).await
    }

    async fn identity(&self) -> Result<Identity, ForgeError> {
        Self::identity(self).await
    }

    fn web_url(&self) -> &str {
        Self::web_url(self)
    }
}

impl RepositoryPort for RepoClient {
    fn id(&self) -> RepoId {
        Self::id(self)
    }

    fn calls(&self) -> u32 {
        Self::calls(self)
    }

    fn git_url(&self) -> String {
        Self::git_url(self)
    }

    async fn git_credentials(&self) -> Result<SecretString, ForgeError> {
        Self::git_credentials(self).await
    }

    async fn pull_request(&self, number: PrNumber) -> Result<PullRequest, ForgeError> {
        Self::pull_request(self, number).await
    }

    async fn files(&self, number: PrNumber) -> Result<Vec<ChangedFile>, ForgeError> {
        Self::files(self, number).await
    }

    async fn find_pull_requests(&self, head: &BranchName) -> Result<Vec<PullRequest>, ForgeError> {
        Self::find_pull_requests(self, head).await
    }

    async fn recent_pull_requests(&self) -> Result<Vec<PullRequest>, ForgeError> {
        Self::recent_pull_requests(self).await
    }

    async fn open_pull_requests(&self, base: &BranchName) -> Result<Vec<PullRequest>, ForgeError> {
        Self::open_pull_requests(self, base).await
    }

    async fn create_pull_request(&self, new: &NewPullRequest) -> Result<CreatePullRequest, ForgeError> {
        Self::create_pull_request(self, new).await
    }

    async fn update_pull_request(
        &self,
        number: PrNumber,
        edit: &PullRequestEdit,
    ) -> Result<PullRequest, ForgeError> {
        Self::update_pull_request(self, number, edit).await
    }

    async fn close_pull_request(&self, number: PrNumber) -> Result<Closing, ForgeError> {
        Self::close_pull_request(self, number).await
    }

    async fn add_labels(&self, number: PrNumber, labels: &[String]) -> Result<(), ForgeError> {
        Self::add_labels(self, number, labels).await
    }

    async fn add_assignees(&self, number: PrNumber, assignees: &[Login]) -> Result<Assigned, ForgeError> {
        Self::add_assignees(self, number, assignees).await
    }

    async fn reviews(&self, number: PrNumber) -> Result<Vec<Review>, ForgeError> {
        Self::reviews(self, number).await
    }

    async fn approve(
        &self,
        number: PrNumber,
        commit: &CommitOid,
        body: &str,
    ) -> Result<Approval, ForgeError> {
        Self::approve(self, number, commit, body).await
    }

    async fn merge(
        &self,
        number: PrNumber,
        head: &CommitOid,
        method: MergeMethod,
    ) -> Result<MergeOutcome, ForgeError> {
        Self::merge(self, number, head, method).await
    }

    async fn comments(&self, number: PrNumber) -> Result<Vec<Comment>, ForgeError> {
        Self::comments(self, number).await
    }

    async fn comment(&self, id: u64) -> Result<Option<Comment>, ForgeError> {
        Self::comment(self, id).await
    }

    async fn reactions(&self, comment: u64) -> Result<Vec<Reaction>, ForgeError> {
        Self::reactions(self, comment).await
    }

    async fn react(&self, comment: u64, kind: ReactionKind) -> Result<(), ForgeError> {
        Self::react(self, comment, kind).await
    }

    async fn collaborator(&self, login: &Login) -> Result<Option<Collaborator>, ForgeError> {
        Self::collaborator(self, login).await
    }

    async fn create_comment(&self, number: PrNumber, body: &str) -> Result<Comment, ForgeError> {
        Self::create_comment(self, number, body).await
    }

    async fn update_comment(&self, id: u64, body: &str) -> Result<Option<Comment>, ForgeError> {
        Self::update_comment(self, id, body).await
    }

    async fn status(&self, commit: &CommitOid, context: &str) -> Result<Option<Status>, ForgeError> {
        Self::status(self, commit, context).await
    }

    async fn set_status(&self, commit: &CommitOid, status: &Status) -> Result<(), ForgeError> {
        Self::set_status(self, commit, status).await
    }

    async fn checks(&self, commit: &CommitOid) -> Result<Checks, ForgeError> {
        Self::checks(self, commit).await
    }

    async fn set_check(&self, commit: &CommitOid, run: &CheckRun) -> Result<CheckOutcome, ForgeError> {
        Self::set_check(self, commit, run).await
    }

    async fn refs_from(&self, start: &str) -> Result<Vec<String>, ForgeError> {
        Self::refs_from(self, start).await
    }

    async fn create_ref(&self, name: &str, at: &CommitOid) -> Result<(), ForgeError> {
        Self::create_ref(self, name, at).await
    }

    async fn delete_ref(&self, name: &str) -> Result<(), ForgeError> {
        Self::delete_ref(self, name).await
    }

    async fn team_members(&self, org: &str, slug: &str) -> Result<Vec<Login>, ForgeError> {
        Self::team_members(self, org, slug).await
    }
}
