//! Git with a watch: it does what git does, and notes how long that took.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Instant;

use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_git::{
    Blobs, BringError, Brought, ChangedPaths, ChangedPathsError, CommitError, CommitInfo, CommitSpec,
    Committed, FetchError, Fetched, InspectError, MergedPullRequest, PushError, PushOutcome, ReadError,
    RefUpdate, Remote,
};
use lockflight_promotion::plan::{Edit, Entry, File, Listing};
use lockflight_promotion::{BranchName, CommitOid, Lease, PathInRepo, RepoId, TreeOid};

use crate::executor::Phases;
use crate::stats::millis;

#[derive(Clone)]
pub(crate) struct Timed<T> {
    inner: T,
    phases: Phases,
}

impl<T> Timed<T> {
    pub(crate) const fn new(inner: T, phases: Phases) -> Self {
        Self { inner, phases }
    }

    async fn time<O>(&self, phase: &'static str, work: impl Future<Output = O>) -> O {
        let began = Instant::now();
        let done = work.await;
        let took = millis(began.elapsed());
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        *phases.entry(phase).or_default() += took;
        done
    }
}

impl<G: MirrorsPort> MirrorsPort for Timed<G> {
    type Mirror = Timed<G::Mirror>;

    fn open(&self, repo: RepoId, remote: Remote) -> Self::Mirror {
        Timed::new(self.inner.open(repo, remote), Phases::clone(&self.phases))
    }
}

impl<M: MirrorPort> MirrorPort for Timed<M> {
    async fn fetch(&self, branch: &BranchName, need: &CommitOid) -> Result<Fetched, FetchError> {
        self.time("fetch", self.inner.fetch(branch, need)).await
    }

    async fn fetch_branch(&self, branch: &BranchName) -> Result<Option<CommitOid>, FetchError> {
        self.time("fetch", self.inner.fetch_branch(branch)).await
    }

    async fn entries(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
        self.time("entries", self.inner.entries(commit, paths)).await
    }

    async fn blob(
        &self,
        commit: &CommitOid,
        path: &PathInRepo,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        self.time("blob", self.inner.blob(commit, path, max_bytes)).await
    }

    async fn blobs(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> Result<Blobs, ReadError> {
        self.time("blob", self.inner.blobs(commit, paths, max_bytes))
            .await
    }

    async fn listings(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Listing>, ReadError> {
        self.time("entries", self.inner.listings(commit, paths)).await
    }

    async fn files(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> Result<BTreeMap<PathInRepo, File>, ReadError> {
        self.time("blob", self.inner.files(commit, paths, max_bytes))
            .await
    }

    async fn would_change(
        &self,
        at: &CommitOid,
        edits: &[(PathInRepo, Edit)],
    ) -> Result<Vec<bool>, ReadError> {
        self.time("entries", self.inner.would_change(at, edits)).await
    }

    async fn bring_from(
        &self,
        other: &Self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<Brought, BringError> {
        self.time("fetch", self.inner.bring_from(&other.inner, commit, paths))
            .await
    }

    async fn entries_back(
        &self,
        from: &CommitOid,
        until: &CommitOid,
        most: usize,
        paths: &[PathInRepo],
    ) -> Result<Vec<(CommitOid, BTreeMap<PathInRepo, Entry>)>, ReadError> {
        let entries = self.inner.entries_back(from, until, most, paths);
        self.time("history", entries).await
    }

    async fn parent(&self, commit: &CommitOid) -> Result<Option<CommitOid>, ReadError> {
        self.time("history", self.inner.parent(commit)).await
    }

    async fn is_descendant(&self, commit: &CommitOid, of: &CommitOid) -> Result<bool, ReadError> {
        self.time("history", self.inner.is_descendant(commit, of)).await
    }

    async fn commit_info(&self, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
        self.time("history", self.inner.commit_info(commit)).await
    }

    async fn changed_paths(&self, request: MergedPullRequest) -> Result<ChangedPaths, ChangedPathsError> {
        self.time("changed paths", self.inner.changed_paths(request))
            .await
    }

    async fn inspect(
        &self,
        commit: &CommitOid,
        sync: &[(PathInRepo, Option<TreeOid>)],
    ) -> Result<(), InspectError> {
        self.time("inspect", self.inner.inspect(commit, sync)).await
    }

    async fn commit(&self, spec: CommitSpec) -> Result<Committed, CommitError> {
        self.time("commit", self.inner.commit(spec)).await
    }

    async fn push(&self, lease: &Lease, updates: &[RefUpdate]) -> Result<Vec<PushOutcome>, PushError> {
        self.time("push", self.inner.push(lease, updates)).await
    }
}
