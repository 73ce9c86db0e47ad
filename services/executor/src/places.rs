//! Where a step is from and where it leads: mostly one branch of one repository, but either may be another.

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::Failure;
use lockflight_forge::port::ForgePort;
use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_promotion::CommitOid;
use lockflight_promotion::change::Change;
use lockflight_promotion::plan::{Step, Sync};

use crate::Executor;
use crate::assess::Heads;

/// The mirrors of the two repositories of a step, which are the same one unless the step leads to another repository.
#[derive(Debug)]
pub(crate) struct Places<M> {
    /// Of the repository of the change.
    pub(crate) source: M,
    /// Of the repository of the pull request.
    pub(crate) target: M,
}

/// Where the two branches of a step are.
#[derive(Debug)]
pub(crate) struct Tips {
    source: CommitOid,
    pub(crate) target: CommitOid,
}

impl Tips {
    /// Both branches are one.
    pub(crate) fn of_one(head: CommitOid) -> Self {
        Self {
            source: head.clone(),
            target: head,
        }
    }

    pub(crate) const fn heads(&self) -> Heads<'_> {
        Heads {
            source: &self.source,
            target: &self.target,
        }
    }
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// The mirrors of a step whose pull request is in the repository that `client` talks about.
    pub(crate) async fn places(
        &self,
        client: &F::Repository,
        change: &Change,
        step: &Step,
    ) -> Result<Places<G::Mirror>, Failure> {
        let target = self.mirror(client).await?;
        let source = if step.repo.is_some() {
            let client = self.forge.repository(&change.repo).await?;
            self.mirror(&client).await?
        } else {
            target.clone()
        };
        Ok(Places { source, target })
    }

    /// The commit that the step's commit is made on: the change itself where its own branch is the target, else the head of the target.
    pub(crate) fn parent(change: &Change, step: &Step, target: &CommitOid) -> CommitOid {
        if step.is_made_on_target(change) {
            target.clone()
        } else {
            change.merged_as.clone()
        }
    }
}

impl<M: MirrorPort> Places<M> {
    /// Fetches both branches, and the change; none if one of the branches is gone.
    pub(crate) async fn fetch(&self, change: &Change, step: &Step) -> Result<Option<Tips>, Failure> {
        let Some(target) = self.target.fetch_branch(step.base(change)).await? else {
            return Ok(None);
        };
        let source = if step.leads_elsewhere() {
            match self.source.fetch_branch(&change.branch).await? {
                Some(source) => source,
                None => return Ok(None),
            }
        } else {
            target.clone()
        };
        self.source.fetch(&change.branch, &change.merged_as).await?;
        Ok(Some(Tips { source, target }))
    }

    /// Has the content of `open` in the target's mirror, where it is of another repository.
    pub(crate) async fn bring(&self, change: &Change, step: &Step, open: &[Sync]) -> Result<(), Failure> {
        if step.repo.is_some() {
            let paths: Vec<_> = open.iter().map(|sync| sync.from.clone()).collect();
            self.target
                .bring_from(&self.source, &change.merged_as, &paths)
                .await?;
        }
        Ok(())
    }
}
