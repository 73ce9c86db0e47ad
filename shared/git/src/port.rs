//! What the roles ask of git, as ports.
//!
//! [`Mirrors`] and [`Mirror`] are the one real adapter. The ports are there so that planner and executor can also be run, as they are,
//! over a git in memory. What each operation means is said where [`Mirror`] has it; any adapter keeps to that, down to the errors.

use std::collections::BTreeMap;

use lockflight_promotion::plan::{Edit, Entry, File, Listing};
use lockflight_promotion::{BranchName, CommitOid, Lease, PathInRepo, RepoId, TreeOid};

use crate::{
    Ahead, Blobs, BringError, Brought, ChangedPaths, ChangedPathsError, CommitError, CommitInfo, CommitSpec,
    Committed, FetchError, Fetched, InspectError, Line, MergedPullRequest, Mirror, Mirrors, PushError,
    PushOutcome, ReadError, RefUpdate, Remote,
};

/// The mirrors of one process. Clones share them.
pub trait MirrorsPort: Clone + Send + Sync + 'static {
    /// The mirror of one repository.
    type Mirror: MirrorPort;

    /// The mirror of a repository: [`Mirrors::open`].
    fn open(&self, repo: RepoId, remote: Remote) -> Self::Mirror;
}

/// The mirror of one repository. Clones share it.
pub trait MirrorPort: Clone + Send + Sync + 'static {
    /// Makes sure that `need` is here and on `branch`, and asks the remote only when that is not known: [`Mirror::fetch`].
    ///
    /// # Errors
    /// When the branch does not exist or does not contain it, or the remote or the disk fails.
    fn fetch(
        &self,
        branch: &BranchName,
        need: &CommitOid,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + Send;

    /// Brings `branch` as it is now: [`Mirror::fetch_branch`].
    ///
    /// # Errors
    /// When the remote or the disk fails.
    fn fetch_branch(
        &self,
        branch: &BranchName,
    ) -> impl Future<Output = Result<Option<CommitOid>, FetchError>> + Send;

    /// What stands at each of `paths` in `commit`: [`Mirror::entries`].
    ///
    /// # Errors
    /// When it can't be read; that is never an absence.
    fn entries(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> impl Future<Output = Result<BTreeMap<PathInRepo, Entry>, ReadError>> + Send;

    /// The content of a file: [`Mirror::blob`].
    ///
    /// # Errors
    /// When it is no file, too large, or can't be read.
    fn blob(
        &self,
        commit: &CommitOid,
        path: &PathInRepo,
        max_bytes: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, ReadError>> + Send;

    /// The contents of many files: [`Mirror::blobs`].
    ///
    /// # Errors
    /// When git can't be read. What is about one file is said of that file.
    fn blobs(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> impl Future<Output = Result<Blobs, ReadError>> + Send {
        async move {
            let mut blobs = Blobs::new();
            for path in paths {
                let read = match self.blob(commit, path, max_bytes).await {
                    Err(error) if !error.is_about_the_file() => return Err(error),
                    read => read,
                };
                blobs.insert(path.clone(), read);
            }
            Ok(blobs)
        }
    }

    /// The files below directories: [`Mirror::listings`].
    ///
    /// # Errors
    /// When there are too many of them, or they can't be read.
    fn listings(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> impl Future<Output = Result<BTreeMap<PathInRepo, Listing>, ReadError>> + Send;

    /// The texts of files: [`Mirror::files`].
    ///
    /// # Errors
    /// When git can't be read. What is about one file is said of that file.
    fn files(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> impl Future<Output = Result<BTreeMap<PathInRepo, File>, ReadError>> + Send;

    /// Whether each of `edits`, by itself, would change anything at a commit: [`Mirror::would_change`].
    ///
    /// # Errors
    /// When it can't be read.
    fn would_change(
        &self,
        at: &CommitOid,
        edits: &[(PathInRepo, Edit)],
    ) -> impl Future<Output = Result<Vec<bool>, ReadError>> + Send;

    /// Brings content of another repository, so that a commit here can hold it: [`Mirror::bring_from`].
    ///
    /// # Errors
    /// When it is too much, or either repository or the disk fails.
    fn bring_from(
        &self,
        other: &Self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> impl Future<Output = Result<Brought, BringError>> + Send;

    /// Brings what many steps are about to read: [`Mirror::bring_ahead`]. Whoever has everything does nothing.
    fn bring_ahead(
        &self,
        head: &CommitOid,
        history: usize,
        steps: &[Ahead],
    ) -> impl Future<Output = ()> + Send {
        let _ = (head, history, steps);
        std::future::ready(())
    }

    /// What stood at each of `paths` in `from` and in the commits before it, as long as they come after `until`:
    /// [`Mirror::entries_back`].
    ///
    /// # Errors
    /// When it can't be read.
    fn entries_back(
        &self,
        from: &CommitOid,
        until: &CommitOid,
        most: usize,
        paths: &[PathInRepo],
    ) -> impl Future<Output = Result<Line, ReadError>> + Send {
        async move {
            let mut found = Vec::new();
            let mut next = Some(from.clone());
            while let Some(commit) = next
                && commit != *until
                && found.len() < most
                && self.is_descendant(&commit, until).await?
            {
                let entries = self.entries(&commit, paths).await?;
                next = self.parent(&commit).await?;
                found.push((commit, entries));
            }
            Ok(found)
        }
    }

    /// The first parent of a commit: [`Mirror::parent`].
    ///
    /// # Errors
    /// When it can't be read.
    fn parent(&self, commit: &CommitOid)
    -> impl Future<Output = Result<Option<CommitOid>, ReadError>> + Send;

    /// Whether `commit` is `of` or comes after it: [`Mirror::is_descendant`].
    ///
    /// # Errors
    /// When the history can't be read.
    fn is_descendant(
        &self,
        commit: &CommitOid,
        of: &CommitOid,
    ) -> impl Future<Output = Result<bool, ReadError>> + Send;

    /// Tree, parents and date of a commit: [`Mirror::commit_info`].
    ///
    /// # Errors
    /// When it can't be read.
    fn commit_info(&self, commit: &CommitOid) -> impl Future<Output = Result<CommitInfo, ReadError>> + Send;

    /// The paths that a merged pull request changed: [`Mirror::changed_paths`].
    ///
    /// # Errors
    /// When no way of merging explains what the forge says, or git can't be read.
    fn changed_paths(
        &self,
        request: MergedPullRequest,
    ) -> impl Future<Output = Result<ChangedPaths, ChangedPathsError>> + Send;

    /// Looks through the trees that are about to travel: [`Mirror::inspect`].
    ///
    /// # Errors
    /// With the first thing that must not travel, or when a tree can't be read.
    fn inspect(
        &self,
        commit: &CommitOid,
        sync: &[(PathInRepo, Option<TreeOid>)],
    ) -> impl Future<Output = Result<(), InspectError>> + Send;

    /// Makes a commit here; no branch moves: [`Mirror::commit`].
    ///
    /// # Errors
    /// When the parent or a tree is not here, or something is in the way.
    fn commit(&self, spec: CommitSpec) -> impl Future<Output = Result<Committed, CommitError>> + Send;

    /// Moves branches of the remote, each only from where it is expected, and says what became of each, in their order:
    /// [`Mirror::push`].
    ///
    /// # Errors
    /// When the lease is not of this repository or over, a commit is not here, or it is not known what became of the branches.
    fn push(
        &self,
        lease: &Lease,
        updates: &[RefUpdate],
    ) -> impl Future<Output = Result<Vec<PushOutcome>, PushError>> + Send;
}

// In what follows a call of the type's own function of the same name goes before that of the port.

impl MirrorsPort for Mirrors {
    type Mirror = Mirror;

    fn open(&self, repo: RepoId, remote: Remote) -> Mirror {
        Self::open(self, repo, remote)
    }
}

impl MirrorPort for Mirror {
    async fn fetch(&self, branch: &BranchName, need: &CommitOid) -> Result<Fetched, FetchError> {
        Self::fetch(self, branch, need).await
    }

    async fn fetch_branch(&self, branch: &BranchName) -> Result<Option<CommitOid>, FetchError> {
        Self::fetch_branch(self, branch).await
    }

    async fn entries(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
        Self::entries(self, commit, paths).await
    }

    async fn blob(
        &self,
        commit: &CommitOid,
        path: &PathInRepo,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        Self::blob(self, commit, path, max_bytes).await
    }

    async fn blobs(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> Result<Blobs, ReadError> {
        Self::blobs(self, commit, paths, max_bytes).await
    }

    async fn listings(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Listing>, ReadError> {
        Self::listings(self, commit, paths).await
    }

    async fn files(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
        max_bytes: u64,
    ) -> Result<BTreeMap<PathInRepo, File>, ReadError> {
        Self::files(self, commit, paths, max_bytes).await
    }

    async fn would_change(
        &self,
        at: &CommitOid,
        edits: &[(PathInRepo, Edit)],
    ) -> Result<Vec<bool>, ReadError> {
        Self::would_change(self, at, edits).await
    }

    async fn bring_from(
        &self,
        other: &Self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<Brought, BringError> {
        Self::bring_from(self, other, commit, paths).await
    }

    async fn bring_ahead(&self, head: &CommitOid, history: usize, steps: &[Ahead]) {
        Self::bring_ahead(self, head, history, steps).await;
    }

    async fn entries_back(
        &self,
        from: &CommitOid,
        until: &CommitOid,
        most: usize,
        paths: &[PathInRepo],
    ) -> Result<Line, ReadError> {
        Self::entries_back(self, from, until, most, paths).await
    }

    async fn parent(&self, commit: &CommitOid) -> Result<Option<CommitOid>, ReadError> {
        Self::parent(self, commit).await
    }

    async fn is_descendant(&self, commit: &CommitOid, of: &CommitOid) -> Result<bool, ReadError> {
        Self::is_descendant(self, commit, of).await
    }

    async fn commit_info(&self, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
        Self::commit_info(self, commit).await
    }

    async fn changed_paths(&self, request: MergedPullRequest) -> Result<ChangedPaths, ChangedPathsError> {
        Self::changed_paths(self, request).await
    }

    async fn inspect(
        &self,
        commit: &CommitOid,
        sync: &[(PathInRepo, Option<TreeOid>)],
    ) -> Result<(), InspectError> {
        Self::inspect(self, commit, sync).await
    }

    async fn commit(&self, spec: CommitSpec) -> Result<Committed, CommitError> {
        Self::commit(self, spec).await
    }

    async fn push(&self, lease: &Lease, updates: &[RefUpdate]) -> Result<Vec<PushOutcome>, PushError> {
        Self::push(self, lease, updates).await
    }
}
