//! Which commits are ours: a commit is a function of the step, so that any worker can make it again and compare.

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::Failure;
use lockflight_forge::PullRequest;
use lockflight_forge::port::ForgePort;
use lockflight_git::CommitSpec;
use lockflight_git::port::{MirrorPort as _, MirrorsPort};
use lockflight_promotion::message::PromoteV1;
use lockflight_promotion::plan::Sync;
use lockflight_promotion::{CommitOid, text};

use crate::Executor;
use crate::assess::{Assessment, Heads, assess};
use crate::batch::is_on;
use crate::places::{Places, Tips};

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// The step's commit on `parent`, for those of its parts that are open. Beside that it is a function of the message alone, so that
    /// doing it again yields the same object id.
    pub(crate) fn commit_spec(&self, promote: &PromoteV1, parent: CommitOid, open: &[Sync]) -> CommitSpec {
        let (change, step) = (&promote.change, &promote.step);
        CommitSpec {
            parent,
            edits: open.iter().map(|sync| (sync.to.clone(), sync.edit())).collect(),
            message: text::commit::message(change, step),
            author: self.config.author.clone(),
            when: change.committed_at,
        }
    }

    /// Whether the commit that the step's branch points to does what ours would: from a commit of the target's branch to the tree that the
    /// step makes of that.
    ///
    /// An earlier attempt made it, when less of the step was carried already, or on an earlier head of the target's branch, or from a message
    /// that named something otherwise.
    pub(crate) async fn is_alike(
        &self,
        client: &F::Repository,
        promote: &PromoteV1,
        actual: &CommitOid,
    ) -> Result<bool, Failure> {
        let places = self.places(client, &promote.change, &promote.step).await?;
        let Some(tips) = places.fetch(&promote.change, &promote.step).await? else {
            return Ok(false);
        };
        Ok(self.made_alike(&places, &tips, promote, actual).await?.is_some())
    }

    /// The parent of `actual`, the head of the step's branch, if that commit does what ours would on that parent.
    pub(crate) async fn made_alike(
        &self,
        places: &Places<G::Mirror>,
        tips: &Tips,
        promote: &PromoteV1,
        actual: &CommitOid,
    ) -> Result<Option<CommitOid>, Failure> {
        let step = &promote.step;
        let mirror = &places.target;
        if mirror.fetch_branch(&step.branch).await?.as_ref() != Some(actual) {
            return Ok(None);
        }
        let found = mirror.commit_info(actual).await?;
        let [parent] = found.parents.as_slice() else {
            return Ok(None);
        };
        let expected = Self::parent(&promote.change, &promote.step, &tips.target);
        if *parent != expected
            && !(step.is_made_on_target(&promote.change) && is_on(mirror, &tips.target, parent).await?)
        {
            return Ok(None);
        }
        for open in self.openings(places, tips, promote, parent).await? {
            let ours = mirror
                .commit(self.commit_spec(promote, parent.clone(), &open))
                .await?;
            if ours.tree == found.tree {
                return Ok(Some(parent.clone()));
            }
        }
        Ok(None)
    }

    /// What a commit of the step on `parent` may hold: all of its parts, or those that are open.
    async fn openings(
        &self,
        places: &Places<G::Mirror>,
        tips: &Tips,
        promote: &PromoteV1,
        parent: &CommitOid,
    ) -> Result<Vec<Vec<Sync>>, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        places.bring(change, step, &step.sync).await?;
        let mut openings = vec![step.sync.clone()];
        // What was open where the commit was made, which is not always where the target is now.
        for target in [&tips.target, parent] {
            let heads = Heads {
                target,
                ..tips.heads()
            };
            let assessed = assess(&places.source, &places.target, change, step, heads).await?;
            if let Assessment::Needed(open) = assessed
                && !openings.contains(&open)
            {
                openings.push(open);
            }
        }
        Ok(openings)
    }

    /// Whether the head of a pull request is a commit that this step makes: with all of its parts, or with those that are open now.
    pub(crate) async fn is_ours(
        &self,
        client: &F::Repository,
        promote: &PromoteV1,
        pull_request: &PullRequest,
    ) -> Result<bool, Failure> {
        let places = self.places(client, &promote.change, &promote.step).await?;
        let Some(tips) = places.fetch(&promote.change, &promote.step).await? else {
            return Ok(false);
        };
        let parent = if promote.step.is_made_on_target(&promote.change) {
            match self
                .made_alike(&places, &tips, promote, &pull_request.head)
                .await?
            {
                Some(parent) => parent,
                None => return Ok(false),
            }
        } else {
            promote.change.merged_as.clone()
        };
        for open in self.openings(&places, &tips, promote, &parent).await? {
            let spec = self.commit_spec(promote, parent.clone(), &open);
            if places.target.commit(spec).await?.oid == pull_request.head {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
