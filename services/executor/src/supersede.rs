//! What becomes of the pull request of an older change when a newer one brings all that it would (`supersede`).
//!
//! Which pull requests are on a track, and what each brings, stands signed in their markers; which change is newer is asked of git. So nothing is
//! remembered, and whoever looks last sees all: each step looks at its track once its own pull request is open, and settles it whichever way round
//! the two were opened.
//!
//! What always holds:
//! - The older one is closed only while the newer one is open, and after the newer one says that it carries it: nothing is without a pull request.
//! - Only what has our very commit as its head is closed. What people pushed to is left, and that is said.
//! - What was superseded and then opened again by people is theirs: it is not closed twice.

use lockflight_fleet::worker::Failure;
use lockflight_fleet::{RepoLock, failpoint};
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_forge::{PullRequest, PullRequestEdit, PullRequestState};
use lockflight_git::FetchError;
use lockflight_git::port::{MirrorPort as _, MirrorsPort};
use lockflight_promotion::change::Change;
use lockflight_promotion::message::{Body, DeliveryV1, Envelope, Outcome, PromoteV1};
use lockflight_promotion::plan::{BRANCHES, Step};
use lockflight_promotion::text::carried::{self, Carried};
use lockflight_promotion::text::comment::{self, CommentKind};
use lockflight_promotion::text::marker::{self, Marker, MarkerRead};
use lockflight_promotion::text::{self, Links};
use lockflight_promotion::track::{Aim, Replaced, Standing};
use lockflight_promotion::{BranchName, CommitOid, ErrorClass, MessageId, PrNumber, RepoId};

use crate::Executor;
use crate::batch::is_on;

/// An open pull request on the track of a step.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) pull_request: PullRequest,
    pub(crate) branch: BranchName,
    pub(crate) standing: Standing,
    marker: Marker,
}

impl Rival {
    /// Whether nobody has pushed to it since our commit was made.
    pub(crate) fn is_untouched(&self) -> bool {
        self.pull_request.head == self.standing.made
    }

    /// How a newer pull request remembers it, and those whose place it took itself.
    fn replaced(&self) -> Vec<Replaced> {
        let change = self.marker.lineage.hops.last().map(|hop| hop.number);
        let own = change.map(|change| Replaced {
            number: self.pull_request.number,
            change,
        });
        self.standing.replaced.iter().cloned().chain(own).collect()
    }
}

/// What the others on the track of a step are to it.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Those of newer changes that bring all that the step would.
    newer: Vec<Rival>,
    /// Those of older changes of which the step brings all.
    older: Vec<Rival>,
}

impl Order {
    /// The pull request of a newer change that brings all that the step would, so that the step needs none.
    pub(crate) fn overtaken_by(&self) -> Option<PrNumber> {
        newest(&self.newer)
    }

    /// Those that the step may take over, where that is the policy: their branch is moved, if it is where it was left.
    pub(crate) fn into_older(self, step: &Step) -> Vec<Rival> {
        match &step.track {
            Some(track) if track.in_place => self.older,
            Some(_) | None => Vec::new(),
        }
    }
}

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// What the marker of a pull request says, if it is ours and on a track.
    fn standing(&self, pull_request: &PullRequest, repo: RepoId) -> Option<(Marker, Standing)> {
        let is_from_here = pull_request
            .head_repo
            .as_ref()
            .is_some_and(|head| head.id == repo);
        if !is_from_here || !pull_request.head_branch.starts_with(BRANCHES) {
            return None;
        }
        let keys = self.config.marker_keys();
        match marker::read(&keys, repo, &pull_request.head_branch, &pull_request.body) {
            MarkerRead::Valid(marker) => {
                let standing = marker.standing.as_deref()?.clone();
                Some((*marker, standing))
            }
            MarkerRead::Forged | MarkerRead::Absent => None,
        }
    }

    /// The pull request of a newer change that took the place of a step's; none if none did.
    pub(crate) fn superseded(
        &self,
        pull_request: &PullRequest,
        change: &Change,
        step: &Step,
    ) -> Option<PrNumber> {
        let (_, standing) = self.standing(pull_request, step.repo(change).id)?;
        if standing.aim.change != change.merged_as {
            // It was taken over.
            return Some(pull_request.number);
        }
        let is_closed = pull_request.state == PullRequestState::Closed && !pull_request.merged;
        standing.superseded_by.filter(|_| is_closed)
    }

    /// The pull request of an older change that was taken over for a step; none if none was.
    pub(crate) async fn taken_for(
        &self,
        client: &F::Repository,
        change: &Change,
        step: &Step,
    ) -> Result<Option<PullRequest>, Failure> {
        if !may_be_taken_over(step) {
            return Ok(None);
        }
        let open = client.open_pull_requests(step.base(change)).await?;
        if let Some(found) = self.taken_among(&open, change, step) {
            return Ok(Some(found.clone()));
        }
        let ours = self.our_words(change).await?;
        Ok(match self.carried(&ours, change, step) {
            Some(number) => Some(client.pull_request(number).await?),
            None => None,
        })
    }

    /// The one among open pull requests that was taken over for a step.
    pub(crate) fn taken_among<'o>(
        &self,
        open: &'o [PullRequest],
        change: &Change,
        step: &Step,
    ) -> Option<&'o PullRequest> {
        let track = step.track.as_ref()?;
        open.iter().find(|open| {
            self.standing(open, step.repo(change).id)
                .is_some_and(|(_, standing)| {
                    standing.aim.track == track.id && standing.aim.change == change.merged_as
                })
        })
    }

    /// What we have said on the pull request of a change.
    pub(crate) async fn our_words(&self, change: &Change) -> Result<Vec<String>, Failure> {
        let us = self.forge.identity().await?.login;
        let source = self.forge.repository(&change.repo).await?;
        let mut ours = source.comments(change.number).await?;
        ours.retain(|comment| comment.author == us);
        Ok(ours.into_iter().map(|comment| comment.body).collect())
    }

    /// The pull request that was taken over for a step, as we said on the change. That holds also once it is merged or closed.
    pub(crate) fn carried(&self, ours: &[String], change: &Change, step: &Step) -> Option<PrNumber> {
        let track = step.track.as_ref()?;
        let bodies = ours.iter().map(String::as_str);
        let keys = self.config.marker_keys();
        let all = carried::read(&keys, change.repo.id, change.number, bodies);
        all.get(&track.id).map(|carried| carried.number)
    }

    /// Has the pull request of an older change, whose branch has the commit of the step by now, say that it is the step's.
    pub(crate) async fn take_over(
        &self,
        promote: &PromoteV1,
        client: &F::Repository,
        rival: &Rival,
        commit: &CommitOid,
    ) -> Result<PullRequest, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let number = rival.pull_request.number;
        let now = client.pull_request(number).await?;
        if now.state == PullRequestState::Closed {
            // Only what is merged from now on is surely ours: the next attempt sees what became of this one.
            let reason = format!("pull request {number} was closed while it was being brought up");
            return Err(Failure::new(ErrorClass::Retry, reason));
        }
        let mut marker = Marker::of(change, Some(promote.plan.clone()), step);
        let mut replaced = rival.replaced();
        if let Some(mut standing) = Self::stand(change, step, commit) {
            standing.replace(replaced);
            replaced = standing.replaced.clone();
            marker.standing = Some(standing);
        }
        let line = marker::write(&self.config.marker_key, client.id(), &step.branch, &marker);
        let links = Links::new(self.forge.web_url());
        let mut body = text::pull_request::body_replacing(change, step, &line, &links, &replaced);
        body.push_str(text::pull_request::below(&now.body));
        let edit = PullRequestEdit {
            title: Some(step.title.clone()),
            body: Some(body),
            ..PullRequestEdit::default()
        };
        failpoint::reached("executor.taking_over");
        let taken = client.update_pull_request(number, &edit).await?;
        failpoint::reached("executor.taken_over");
        tracing::info!(pr.number = %number, "took over pull request {number} of an older change: {}", step.title);
        Ok(taken)
    }

    /// Tells a change which pull request of an older one carries a step of it. That is how the pull request is found once it is not open.
    pub(crate) async fn tell_carried(&self, promote: &PromoteV1, number: PrNumber) -> Result<(), Failure> {
        let (change, step) = (&promote.change, &promote.step);
        let Some(track) = &step.track else {
            return Ok(());
        };
        let source = self.forge.repository(&change.repo).await?;
        let (repo, keys) = (change.repo.id, self.config.marker_keys());
        self.comment_once(&source, change.number, |ours| {
            let place = ours.iter().position(|body| carried::is_carried(body));
            let mut all = carried::read(&keys, repo, change.number, ours.iter().copied());
            all.insert(track.id.clone(), Carried::of(step, number));
            let body = carried::write(&self.config.marker_key, repo, change.number, &all);
            (place, body)
        })
        .await
    }

    /// The others on the track of a step, in their order. `own` is the pull request of the step itself.
    async fn order(
        &self,
        client: &F::Repository,
        change: &Change,
        step: &Step,
        own: Option<PrNumber>,
    ) -> Result<Order, Failure> {
        if step.track.is_none() {
            return Ok(Order::default());
        }
        let mut open = client.open_pull_requests(step.base(change)).await?;
        open.retain(|open| Some(open.number) != own);
        self.order_among(open, change, step).await
    }

    /// The others on the track of a step that has no pull request.
    pub(crate) async fn others(
        &self,
        client: &F::Repository,
        change: &Change,
        step: &Step,
    ) -> Result<Order, Failure> {
        self.order(client, change, step, None).await
    }

    /// The same among open pull requests, of which none is the step's own.
    pub(crate) async fn order_among(
        &self,
        mut rivals: Vec<PullRequest>,
        change: &Change,
        step: &Step,
    ) -> Result<Order, Failure> {
        let mut order = Order::default();
        let Some(aim) = Aim::of(change, step) else {
            return Ok(order);
        };
        let repo = step.repo(change).id;
        rivals.retain(|rival| rival.base_branch == *step.base(change));
        let rivals: Vec<Rival> = rivals
            .into_iter()
            .filter_map(|pull_request| {
                let (marker, standing) = self.standing(&pull_request, repo)?;
                // What people opened again stays, and takes no other's place.
                let counts = standing.superseded_by.is_none() && standing.aim.track == aim.track;
                let branch = BranchName::parse(pull_request.head_branch.as_str()).ok()?;
                counts.then_some(Rival {
                    pull_request,
                    branch,
                    standing,
                    marker,
                })
            })
            .filter(|rival| rival.standing.aim.covers(&aim) || aim.covers(&rival.standing.aim))
            .collect();
        if rivals.is_empty() {
            return Ok(order);
        }
        let source = self.forge.repository(&change.repo).await?;
        let mirror = self.mirror(&source).await?;
        mirror.fetch(&change.branch, &change.merged_as).await?;
        for rival in rivals {
            let theirs = &rival.standing.aim.change;
            match mirror.fetch(&change.branch, theirs).await {
                Ok(_) => {}
                // The branch was rewritten without it: it is neither older nor newer.
                Err(FetchError::NotOnBranch { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            if rival.standing.aim.covers(&aim) && is_on(&mirror, theirs, &aim.change).await? {
                order.newer.push(rival);
            } else if aim.covers(&rival.standing.aim) && is_on(&mirror, &aim.change, theirs).await? {
                order.older.push(rival);
            }
        }
        // The oldest pull request first, so that each look goes through them alike.
        order.older.sort_by_key(|rival| rival.pull_request.number);
        Ok(order)
    }

    /// Where the pull request of a step is on its track, once `made` is its commit.
    pub(crate) fn stand(change: &Change, step: &Step, made: &CommitOid) -> Option<Box<Standing>> {
        Some(Box::new(Standing {
            aim: Aim::of(change, step)?,
            made: made.clone(),
            replaced: Vec::new(),
            superseded_by: None,
        }))
    }

    /// Settles the track of a step whose pull request is open: the older ones of which it brings all are closed, or it is itself, where a newer
    /// one brings all that it would. Gives what follows, and whether the pull request is still open.
    pub(crate) async fn settle(
        &self,
        envelope: &Envelope,
        promote: &PromoteV1,
        client: &F::Repository,
        pull_request: &PullRequest,
    ) -> Result<(Vec<Envelope>, bool), Failure> {
        let (change, step) = (&promote.change, &promote.step);
        if step.track.is_none() {
            return Ok((Vec::new(), true));
        }
        let number = pull_request.number;
        let order = self.order(client, change, step, Some(number)).await?;
        let own = self.standing(pull_request, step.repo(change).id);
        if let (Some(by), Some((marker, standing))) = (newest(&order.newer), &own)
            && standing.superseded_by.is_none()
        {
            let own = Rival {
                pull_request: pull_request.clone(),
                branch: step.branch.clone(),
                standing: standing.clone(),
                marker: marker.clone(),
            };
            let mut follow = self.close(envelope, client, &own, by).await?;
            let is_open = follow.is_empty();
            if !is_open && !promote.attended {
                let own = Replaced {
                    number,
                    change: change.number,
                };
                follow.push(look_again(envelope, promote, &own));
            }
            return Ok((follow, is_open));
        }
        let mut replaced = Vec::new();
        if let Some((_, standing)) = own {
            // A pull request that people opened again, though it was superseded, takes no other's place.
            if standing.superseded_by.is_some() {
                return Ok((Vec::new(), true));
            }
            replaced = standing.replaced;
            if !order.older.is_empty() {
                replaced = self.take_in(promote, client, number, &order.older).await?;
            }
        }
        let mut follow = Vec::new();
        for older in &order.older {
            follow.extend(self.close(envelope, client, older, number).await?);
        }
        // Nobody is told of one that was taken over, since it does not end.
        if !promote.attended || may_be_taken_over(step) {
            // Also those that an earlier attempt closed: it may not have come to tell of them.
            follow.extend(replaced.iter().map(|one| look_again(envelope, promote, one)));
        }
        Ok((follow, true))
    }

    /// Has the pull request of a step say whose place it takes; gives all that it took by then.
    async fn take_in(
        &self,
        promote: &PromoteV1,
        client: &F::Repository,
        number: PrNumber,
        older: &[Rival],
    ) -> Result<Vec<Replaced>, Failure> {
        let (change, step) = (&promote.change, &promote.step);
        // As it is in this very moment, for what people wrote below.
        let now = client.pull_request(number).await?;
        let Some((mut marker, mut standing)) = self.standing(&now, client.id()) else {
            return Ok(Vec::new());
        };
        let before = standing.replaced.clone();
        standing.replace(
            older
                .iter()
                .filter(|rival| rival.is_untouched())
                .flat_map(Rival::replaced),
        );
        if standing.replaced == before {
            return Ok(before);
        }
        let replaced = standing.replaced.clone();
        marker.standing = Some(Box::new(standing));
        let line = marker::write(&self.config.marker_key, client.id(), &step.branch, &marker);
        let links = Links::new(self.forge.web_url());
        let mut body = text::pull_request::body_replacing(change, step, &line, &links, &replaced);
        body.push_str(text::pull_request::below(&now.body));
        let edit = PullRequestEdit {
            body: Some(body),
            ..PullRequestEdit::default()
        };
        failpoint::reached("executor.taking_in");
        client.update_pull_request(number, &edit).await?;
        failpoint::reached("executor.taken_in");
        Ok(replaced)
    }

    /// Closes a pull request in favour of a newer one, unless people have pushed to it; nothing follows then.
    async fn close(
        &self,
        envelope: &Envelope,
        client: &F::Repository,
        rival: &Rival,
        by: PrNumber,
    ) -> Result<Vec<Envelope>, Failure> {
        let number = rival.pull_request.number;
        // As it is in this very moment: people may have merged it, pushed to it, or written into it.
        let now = client.pull_request(number).await?;
        let Some((mut marker, mut standing)) = self.standing(&now, client.id()) else {
            return Ok(Vec::new());
        };
        let is_another = standing.aim != rival.standing.aim;
        if now.state == PullRequestState::Closed || standing.superseded_by.is_some() || is_another {
            return Ok(Vec::new());
        }
        if now.head != standing.made {
            tracing::info!(
                pr.number = %number,
                "pull request {number} has commits that are not ours; it is left open beside the newer {by}",
            );
            self.tell(client, number, &text::superseded::kept(by)).await?;
            return Ok(Vec::new());
        }
        self.tell(client, number, &text::superseded::closed(by)).await?;
        standing.superseded_by = Some(by);
        marker.standing = Some(Box::new(standing));
        let key = &self.config.marker_key;
        let body = marker::rewrite(key, client.id(), &rival.branch, &marker, &now.body);
        let edit = PullRequestEdit {
            body: Some(body),
            state: Some(PullRequestState::Closed),
            ..PullRequestEdit::default()
        };
        failpoint::reached("executor.superseding");
        let after = client.update_pull_request(number, &edit).await?;
        failpoint::reached("executor.superseded");
        if after.merged {
            return Ok(Vec::new());
        }
        tracing::info!(pr.number = %number, "closed pull request {number}, superseded by {by}");
        let superseded = Outcome::Superseded {
            step: Some(marker.step.clone()),
            number: Some(number),
            by,
        };
        let id = MessageId::of(&["superseded", &client.id().to_string(), &number.to_string()]);
        Ok(vec![envelope.follow(id, Body::Outcome(superseded))])
    }

    /// Has a pull request say once what became of it, or what it might.
    async fn tell(&self, client: &F::Repository, number: PrNumber, text: &str) -> Result<(), Failure> {
        let (repo, kind, keys) = (client.id(), CommentKind::Superseded, self.config.marker_keys());
        self.comment_once(client, number, |ours| {
            let place = comment::find(&keys, repo, number, kind, ours.iter().copied());
            let body = comment::wrap(&self.config.marker_key, repo, number, kind, text);
            (place, body)
        })
        .await
    }
}

/// Whether the pull request of an older change is taken over for a step, or that of the step for a newer one.
pub(crate) fn may_be_taken_over(step: &Step) -> bool {
    step.track.as_ref().is_some_and(|track| track.in_place)
}

/// The newest of those, by their numbers: each brings all that is asked for.
fn newest(rivals: &[Rival]) -> Option<PrNumber> {
    rivals.iter().map(|rival| rival.pull_request.number).max()
}

/// The message that has a planner look at the change whose pull request was superseded, so that its status says so. Where waves are looked
/// after, the end of the pull request itself leads to that.
fn look_again(envelope: &Envelope, promote: &PromoteV1, replaced: &Replaced) -> Envelope {
    let repo = &promote.change.repo;
    let Replaced { number, change } = replaced;
    let id = MessageId::of(&[
        "look-superseded",
        &repo.id.to_string(),
        &change.to_string(),
        &number.to_string(),
    ]);
    let look = Body::Delivery(DeliveryV1::merged(*change, String::new()));
    Envelope {
        repo: repo.clone(),
        ..envelope.follow(id, look)
    }
}

/// What is told of a step that needs no pull request, since a newer change has one.
pub(crate) fn needless(promote: &PromoteV1, number: Option<PrNumber>, by: PrNumber) -> Outcome {
    Outcome::Superseded {
        step: Some(promote.step.id.clone()),
        number,
        by,
    }
}
