//! Pull requests, their conversation, and what is said of commits.

use crate::error::ForgeError;
use crate::forge::Forge;
use crate::model::{
    CheckRun, Comment, MergeMethod, PullRequest, PullRequestState, Review, ReviewState, Status,
};
use crate::operations::merge::MergeRequest;
use crate::operations::pull_requests::{Edit, Opening};
use crate::operations::{conversation, merge, pull_requests, statuses};
use crate::verbs::repositories::user;

impl Forge {
    /// Opens a pull request and gives its number.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Validation`] as on GitHub: unknown branches, no commits between, one exists already.
    pub async fn open_pull_request(
        &self,
        name: &str,
        head: &str,
        base: &str,
        title: &str,
        author: &str,
    ) -> Result<u64, ForgeError> {
        let repo = self.repo(name)?;
        let (title, head, base) = (title.to_owned(), head.to_owned(), base.to_owned());
        let opening = Opening {
            title,
            head,
            base,
            body: None,
            draft: false,
        };
        pull_requests::open(&self.inner, &repo, &user(author), opening).await
    }

    /// Replaces the title or the description of a pull request. What is missing stays.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Validation`].
    pub async fn edit_pull_request(
        &self,
        name: &str,
        number: u64,
        title: Option<&str>,
        body: Option<&str>,
        actor: &str,
    ) -> Result<(), ForgeError> {
        let repo = self.repo(name)?;
        let edit = Edit {
            title: title.map(str::to_owned),
            body: body.map(str::to_owned),
            ..Edit::default()
        };
        pull_requests::edit(&self.inner, &repo, &user(actor), number, edit).await
    }

    /// Merges a pull request and gives the commit that the base has then.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotMergeable`] with GitHub's reason.
    pub async fn merge_pull_request(
        &self,
        name: &str,
        number: u64,
        method: MergeMethod,
        actor: &str,
    ) -> Result<String, ForgeError> {
        let repo = self.repo(name)?;
        let request = MergeRequest {
            method,
            ..MergeRequest::default()
        };
        merge::merge(&self.inner, &repo, &user(actor), number, request).await
    }

    /// Closes a pull request without merging it.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`].
    pub async fn close_pull_request(&self, name: &str, number: u64, actor: &str) -> Result<(), ForgeError> {
        let repo = self.repo(name)?;
        let edit = Edit {
            state: Some(PullRequestState::Closed),
            ..Edit::default()
        };
        pull_requests::edit(&self.inner, &repo, &user(actor), number, edit).await
    }

    /// Opens a closed pull request again.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Validation`] where its branch is gone or it was merged.
    pub async fn reopen_pull_request(&self, name: &str, number: u64, actor: &str) -> Result<(), ForgeError> {
        let repo = self.repo(name)?;
        let edit = Edit {
            state: Some(PullRequestState::Open),
            ..Edit::default()
        };
        pull_requests::edit(&self.inner, &repo, &user(actor), number, edit).await
    }

    /// Puts labels on a pull request.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Validation`].
    pub async fn label_pull_request(
        &self,
        name: &str,
        number: u64,
        labels: &[&str],
        actor: &str,
    ) -> Result<(), ForgeError> {
        let repo = self.repo(name)?;
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        conversation::add_labels(&self.inner, &repo, &user(actor), number, &labels).await
    }

    /// Writes a comment and gives it.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Validation`].
    pub async fn comment(
        &self,
        name: &str,
        number: u64,
        body: &str,
        actor: &str,
    ) -> Result<Comment, ForgeError> {
        let repo = self.repo(name)?;
        conversation::comment(&self.inner, &repo, &user(actor), number, body.to_owned()).await
    }

    /// Replaces the text of a comment, as somebody who may change other people's does on the page.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Validation`].
    pub async fn edit_comment(&self, name: &str, id: u64, body: &str, actor: &str) -> Result<(), ForgeError> {
        let repo = self.repo(name)?;
        conversation::edit_comment(&self.inner, &repo, &user(actor), id, body.to_owned())
            .await
            .map(drop)
    }

    /// Approves the head of a pull request.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Sentences`] where it is one's own.
    pub async fn approve(&self, name: &str, number: u64, actor: &str) -> Result<Review, ForgeError> {
        let repo = self.repo(name)?;
        let reviewing = conversation::Reviewing {
            state: ReviewState::Approved,
            body: String::new(),
            commit_id: None,
        };
        conversation::review(&self.inner, &repo, &user(actor), number, reviewing).await
    }

    /// Sets a status on a commit.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Validation`], [`ForgeError::Unprocessable`] for an unknown commit.
    pub async fn set_status(
        &self,
        name: &str,
        sha: &str,
        context: &str,
        state: &str,
        actor: &str,
    ) -> Result<Status, ForgeError> {
        let repo = self.repo(name)?;
        let setting = statuses::Setting {
            state: state.to_owned(),
            context: context.to_owned(),
            description: None,
            target_url: None,
        };
        statuses::set(&self.inner, &repo, &user(actor), sha, setting).await
    }

    /// Returns all pull requests of a repository, by number.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn pull_requests(&self, name: &str) -> Result<Vec<PullRequest>, ForgeError> {
        Ok(self
            .inner
            .state()
            .repository(name)?
            .pulls
            .values()
            .cloned()
            .collect())
    }

    /// Returns one pull request.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`].
    pub fn pull_request(&self, name: &str, number: u64) -> Result<PullRequest, ForgeError> {
        self.inner.state().repository(name)?.pull(number).cloned()
    }

    /// Returns the paths that a pull request changes, with GitHub's word for how (`added`, `modified`, `removed`,
    /// `renamed`, `changed`).
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Git`].
    pub async fn pull_request_files(
        &self,
        name: &str,
        number: u64,
    ) -> Result<Vec<(String, &'static str)>, ForgeError> {
        let repo = self.repo(name)?;
        let (_, comparison) = pull_requests::with_comparison(&self.inner, &repo, number).await?;
        Ok(comparison
            .files
            .iter()
            .map(|file| (file.path.clone(), file.status))
            .collect())
    }

    /// Returns all statuses of a commit, oldest first.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn statuses(&self, name: &str, sha: &str) -> Result<Vec<Status>, ForgeError> {
        let state = self.inner.state();
        let all = &state.repository(name)?.statuses;
        Ok(all.iter().filter(|status| status.sha == sha).cloned().collect())
    }

    /// Returns all check runs of a commit, oldest first.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn check_runs(&self, name: &str, sha: &str) -> Result<Vec<CheckRun>, ForgeError> {
        let state = self.inner.state();
        let all = &state.repository(name)?.check_runs;
        Ok(all.values().filter(|run| run.head_sha == sha).cloned().collect())
    }
}
