//! Repositories beside the one that every story is about.

use lockflight_sandbox::{HookTarget, MergeMethod, PullRequest};

use super::pulls::Edit;
use super::{MONA, World};

impl World {
    /// Makes a further repository with these files, and has its webhooks come to the same front.
    pub async fn add_repository(&self, name: &str, files: &[Edit<'_>]) {
        let made = self.forge.create_repository(name, "main").await;
        made.unwrap_or_else(|error| panic!("{name} cannot be made: {error}"));
        self.commit_in(name, "main", files).await;
        let url = format!("http://{}/webhook", self.front.address());
        self.forge
            .set_webhook(HookTarget::repository(name), &url, &self.webhook_secret)
            .expect("the front is on loopback");
    }

    async fn commit_in(&self, repository: &str, branch: &str, edits: &[Edit<'_>]) {
        let files: Vec<_> = edits.iter().map(Edit::file).collect();
        let committed = self
            .forge
            .commit_files(repository, branch, &files, "Change")
            .await;
        committed.unwrap_or_else(|error| panic!("{repository} cannot be committed to: {error}"));
    }

    /// Has Mona merge a change of a further repository; returns its number.
    pub async fn merge_change_in(&self, repository: &str, edits: &[Edit<'_>]) -> u64 {
        let branch = self.new_branch();
        self.commit_in(repository, &branch, edits).await;
        let forge = &self.forge;
        let opened = forge
            .open_pull_request(repository, &branch, "main", "Change", MONA)
            .await;
        let number = opened.unwrap_or_else(|error| panic!("{branch} cannot be opened: {error}"));
        let merged = forge
            .merge_pull_request(repository, number, MergeMethod::Merge, MONA)
            .await;
        merged.unwrap_or_else(|error| panic!("#{number} of {repository} cannot be merged: {error}"));
        number
    }

    /// Returns all promotion pull requests that a further repository ever had, oldest first.
    pub fn promotions_in(&self, repository: &str) -> Vec<PullRequest> {
        let all = self.forge.pull_requests(repository);
        let mut all = all.unwrap_or_else(|error| panic!("{repository} has no pull requests: {error}"));
        all.retain(|one| one.head.branch.starts_with("promotions/"));
        all
    }

    /// Waits until a further repository has so many promotion pull requests, each with label and assignee.
    pub async fn until_promoted_in(&self, repository: &str, count: usize) {
        self.until(&format!("{count} promotions in {repository}"), |_| {
            let all = self.promotions_in(repository);
            let ready = |one: &&PullRequest| !one.labels.is_empty() && !one.assignees.is_empty();
            (all.iter().filter(ready).count() >= count).then_some(())
        })
        .await;
    }
}
