//! Which commits are ours: a commit is a function of the step, so that any worker can make it again and compare.

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::Failure;
use lockflight_forge::PullRequest;
use lockflight_forge::port::ForgePort;
use lockflight_git::CommitSpec;
use lockflight_git::port::{MirrorPort as _, MirrorsPort};
use lockflight_promotion::message::PromoteV1;
use lockflight_promotion::plan::Sync;
use lockflight_promotion::{CommitOid, TreeOid, text};

use crate::Executor;
use crate::assess::{Assessment, assess};

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// The step's commit, for those of its parts that are open. Beside which parts those are, it is a function of the message alone, so
    /// that doing it again yields the same object id.
    pub(crate) fn commit_spec(&self, promote: &PromoteV1, open: &[Sync]) -> CommitSpec {
        let (change, step) = (&promote.change, &promote.step);
        CommitSpec {
            parent: change.merged_as.clone(),
            edits: open
                .iter()
                .map(|sync| (sync.to.clone(), sync.tree.clone()))
                .collect(),
            message: text::commit::message(change, step),
            author: self.config.author.clone(),
            when: change.committed_at,
        }
    }

    /// Whether the commit that the step's branch points to does what ours would: from the same parent to the same tree.
    ///
    /// An earlier attempt made it, when less of the step was carried already, or from a message that named something otherwise.
    pub(crate) async fn is_alike(
        &self,
        mirror: &G::Mirror,
        promote: &PromoteV1,
        actual: &CommitOid,
        ours: &TreeOid,
    ) -> Result<bool, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        if mirror.fetch_branch(&step.branch).await?.as_ref() != Some(actual) {
            return Ok(false);
        }
        let found = mirror.commit_info(actual).await?;
        let whole = mirror.commit(self.commit_spec(promote, &step.sync)).await?;
        Ok(found.parents == [change.merged_as.clone()] && (found.tree == *ours || found.tree == whole.tree))
    }

    /// Whether a commit holds all parts of the step, also those that are carried by now.
    async fn is_whole(
        &self,
        mirror: &G::Mirror,
        promote: &PromoteV1,
        commit: &CommitOid,
    ) -> Result<bool, Failure> {
        Ok(mirror
            .commit(self.commit_spec(promote, &promote.step.sync))
            .await?
            .oid
            == *commit)
    }

    /// Whether the head of a pull request is a commit that this step makes: with all of its parts, or with those that are open now.
    pub(crate) async fn is_ours(
        &self,
        client: &F::Repository,
        promote: &PromoteV1,
        pull_request: &PullRequest,
    ) -> Result<bool, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let mirror = self.mirror(client).await?;
        mirror.fetch(&change.branch, &change.merged_as).await?;
        if self.is_whole(&mirror, promote, &pull_request.head).await? {
            return Ok(true);
        }
        let Some(head) = mirror.fetch_branch(&change.branch).await? else {
            return Ok(false);
        };
        let Assessment::Needed(open) = assess(&mirror, change, step, &head).await? else {
            return Ok(false);
        };
        Ok(mirror.commit(self.commit_spec(promote, &open)).await?.oid == pull_request.head)
    }
}
