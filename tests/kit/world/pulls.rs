//! What people do to pull requests, and what they see of them.

use std::sync::atomic::Ordering;

use lockflight_sandbox::{CheckRun, Comment, Forge, MergeMethod, PullRequest, PullRequestState, Status};

use super::{MONA, REPOSITORY, STATUS, World, lock};

/// One file of a change.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'e> {
    path: &'e str,
    content: Option<&'e str>,
}

/// Gives a file this content.
pub const fn put<'e>(path: &'e str, content: &'e str) -> Edit<'e> {
    Edit {
        path,
        content: Some(content),
    }
}

/// Removes a file, or a directory with all that it holds.
pub const fn remove(path: &str) -> Edit<'_> {
    Edit { path, content: None }
}

impl<'e> Edit<'e> {
    /// The path, and what is written there; nothing removes it.
    pub(super) fn file(&self) -> (&'e str, Option<&'e [u8]>) {
        (self.path, self.content.map(str::as_bytes))
    }
}

impl World {
    /// Has Mona change files, open a pull request and merge it with a merge commit; returns its number.
    pub async fn merge_change(&self, edits: &[Edit<'_>]) -> u64 {
        let number = self.open_change(edits).await;
        self.merge(number).await;
        number
    }

    /// Has Mona change files on a new branch and open a pull request; returns its number.
    pub async fn open_change(&self, edits: &[Edit<'_>]) -> u64 {
        let branch = self.new_branch();
        self.commit(&branch, edits).await;
        self.open(&branch).await
    }

    /// Returns a name that no branch has yet, with a slash as people's branches have it.
    pub fn new_branch(&self) -> String {
        format!(
            "{MONA}/change-{}",
            self.branches.fetch_add(1, Ordering::Relaxed) + 1
        )
    }

    /// Commits changes to a branch, which begins at `main` where it is new.
    pub async fn commit(&self, branch: &str, edits: &[Edit<'_>]) -> String {
        let files: Vec<_> = edits.iter().map(Edit::file).collect();
        let message = format!("Change {branch}");
        let committed = self
            .forge
            .commit_files(REPOSITORY, branch, &files, &message)
            .await;
        committed.unwrap_or_else(|error| panic!("{branch} cannot be committed to: {error}"))
    }

    /// Has Mona open a pull request from a branch to `main`; returns its number.
    pub async fn open(&self, branch: &str) -> u64 {
        let title = format!("Change {branch}");
        let opened = self
            .forge
            .open_pull_request(REPOSITORY, branch, "main", &title, MONA)
            .await;
        opened.unwrap_or_else(|error| panic!("{branch} cannot be opened: {error}"))
    }

    /// Has Mona merge a pull request with a merge commit; returns the commit.
    pub async fn merge(&self, number: u64) -> String {
        self.merge_by(number, MergeMethod::Merge).await
    }

    /// Has Mona merge a pull request; returns the commit that `main` has then.
    pub async fn merge_by(&self, number: u64, method: MergeMethod) -> String {
        let merged = self
            .forge
            .merge_pull_request(REPOSITORY, number, method, MONA)
            .await;
        merged.unwrap_or_else(|error| panic!("#{number} cannot be merged: {error}"))
    }

    /// Has Mona put a label on a pull request.
    pub async fn label(&self, number: u64, label: &str) {
        let labelled = self
            .forge
            .label_pull_request(REPOSITORY, number, &[label], MONA)
            .await;
        labelled.unwrap_or_else(|error| panic!("#{number} cannot be labelled: {error}"));
    }

    /// Has somebody write a comment; returns its id.
    pub async fn say(&self, number: u64, body: &str, by: &str) -> u64 {
        let written = self.forge.comment(REPOSITORY, number, body, by).await;
        written
            .unwrap_or_else(|error| panic!("#{number} cannot be commented on: {error}"))
            .id
    }

    /// Returns the reactions to a comment, oldest first.
    pub fn reactions(&self, number: u64, comment: u64) -> Vec<String> {
        let comments = self.pull_request(number).comments;
        let found = comments.into_iter().find(|one| one.id == comment);
        let reactions = found.map(|one| one.reactions).unwrap_or_default();
        reactions.into_iter().map(|one| one.content).collect()
    }

    /// Waits until Lockflight is done with a command, which it says by this reaction.
    pub async fn until_reaction(&self, number: u64, comment: u64, content: &str) {
        self.until(&format!("the reaction {content} on #{number}"), |_| {
            let reactions = self.reactions(number, comment);
            reactions.iter().any(|one| one == content).then_some(())
        })
        .await;
    }

    /// Returns a pull request as it is now.
    pub fn pull_request(&self, number: u64) -> PullRequest {
        let found = self.forge.pull_request(REPOSITORY, number);
        found.unwrap_or_else(|error| panic!("#{number} cannot be read: {error}"))
    }

    /// Returns all promotion pull requests that there ever were, oldest first.
    pub fn promotions(&self) -> Vec<PullRequest> {
        promotions(&self.forge, "promotions/")
    }

    /// Returns the branches of promotions.
    pub fn promotion_branches(&self) -> Vec<String> {
        let branches = self
            .forge
            .branches(REPOSITORY)
            .expect("every world has a repository");
        branches
            .into_keys()
            .filter(|name| name.starts_with("promotions/"))
            .collect()
    }

    /// Waits until people have been told about a merged change, and until its promotion pull requests are there with label and
    /// assignee. There have to be exactly so many.
    pub async fn promotions_of<const N: usize>(&self, change: u64) -> [PullRequest; N] {
        let prefix = format!("promotions/{change}-");
        self.until(
            &format!("{N} pull requests that promote #{change}, and a status that says so"),
            |forge| {
                let all = promotions(forge, &prefix);
                let ready = all.len() >= N
                    && all
                        .iter()
                        .all(|one| !one.labels.is_empty() && !one.assignees.is_empty());
                (ready && status_of(forge, change).is_some()).then_some(())
            },
        )
        .await;
        let found = promotions(&self.forge, &prefix);
        let count = found.len();
        found
            .try_into()
            .unwrap_or_else(|_| panic!("#{change} is promoted by {count} pull requests, not by {N}"))
    }

    /// Waits until the change's last status of Lockflight has this state, and returns it.
    pub async fn until_status(&self, change: u64, state: &str) -> Status {
        self.until(&format!("the status `{state}` on #{change}"), |forge| {
            status_of(forge, change).filter(|status| status.state == state)
        })
        .await
    }

    /// Returns the check run with which Lockflight tells of a change; none where it has to make do with statuses.
    pub fn check_run(&self, change: u64) -> Option<CheckRun> {
        let head = self.pull_request(change).head.sha;
        let runs = self.forge.check_runs(REPOSITORY, &head);
        let runs = runs.expect("every world has a repository");
        runs.into_iter().rev().find(|run| run.name == STATUS)
    }

    /// Returns all statuses that Lockflight has set on a change, oldest first.
    pub fn statuses(&self, change: u64) -> Vec<Status> {
        let head = self.pull_request(change).head.sha;
        let mut all = self
            .forge
            .statuses(REPOSITORY, &head)
            .expect("every world has a repository");
        all.retain(|status| status.context == STATUS);
        all
    }

    /// Waits until somebody has merged a pull request.
    pub async fn until_merged(&self, number: u64) -> PullRequest {
        self.until(&format!("the merge of #{number}"), |forge| {
            forge
                .pull_request(REPOSITORY, number)
                .ok()
                .filter(|found| found.merged)
        })
        .await
    }

    /// Waits until Lockflight has said something with this text on a pull request, and returns the comment.
    pub async fn until_comment(&self, number: u64, text: &str) -> Comment {
        let bot = self.bot();
        let found = self
            .until(&format!("a comment on #{number} that says {text:?}"), |forge| {
                let comments = forge.pull_request(REPOSITORY, number).ok()?.comments;
                comments
                    .into_iter()
                    .find(|one| one.author == bot && one.body.contains(text))
            })
            .await;
        lock(&self.read_comments).insert(found.id);
        found
    }

    /// Returns what Lockflight has said on a pull request so far.
    pub fn comments(&self, number: u64) -> Vec<Comment> {
        let mut comments = self.pull_request(number).comments;
        comments.retain(|comment| comment.author == self.bot());
        lock(&self.read_comments).extend(comments.iter().map(|comment| comment.id));
        comments
    }

    /// Returns the paths that a pull request changes, each with how: `added`, `modified`, `removed`, `renamed`.
    pub async fn files_of(&self, number: u64) -> Vec<(String, &'static str)> {
        let found = self.forge.pull_request_files(REPOSITORY, number).await;
        found.unwrap_or_else(|error| panic!("the files of #{number} cannot be read: {error}"))
    }

    /// Returns how often a route was called, such as `POST /repos/{owner}/{repo}/pulls`.
    pub fn calls(&self, route: &str) -> u64 {
        self.forge
            .usage()
            .routes
            .get(route)
            .map_or(0, |usage| usage.calls)
    }

    /// Tells whether a pull request is open.
    pub fn is_open(&self, number: u64) -> bool {
        self.pull_request(number).state == PullRequestState::Open
    }
}

fn promotions(forge: &Forge, prefix: &str) -> Vec<PullRequest> {
    let mut all = forge
        .pull_requests(REPOSITORY)
        .expect("every world has a repository");
    all.retain(|one| one.head.branch.starts_with(prefix));
    all
}

fn status_of(forge: &Forge, change: u64) -> Option<Status> {
    let head = forge.pull_request(REPOSITORY, change).ok()?.head.sha;
    // An App tells by a check run, and anybody else by a status. People see a state and a sentence of either.
    let runs = forge.check_runs(REPOSITORY, &head).ok()?;
    if let Some(run) = runs.into_iter().rev().find(|run| run.name == STATUS) {
        return Some(Status {
            id: run.id,
            sha: run.head_sha,
            state: run.conclusion.unwrap_or_else(|| "pending".to_owned()),
            context: run.name,
            description: run.title,
            target_url: run.details_url,
            creator: String::new(),
            created_at: run.started_at,
        });
    }
    let all = forge.statuses(REPOSITORY, &head).ok()?;
    all.into_iter().rev().find(|status| status.context == STATUS)
}
