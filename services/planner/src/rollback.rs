//! The way back of a change: which targets a command names, and what is to be done to bring those back.

use lockflight_fleet::worker::Failure;
use lockflight_forge::PullRequest;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::change::{Change, Repository};
use lockflight_promotion::message::{Envelope, Outcome, Report};
use lockflight_promotion::plan::{Facts, Plan, way_back};
use lockflight_promotion::policy::Policy;
use lockflight_promotion::rollback::{Rollback, WayBack, named};
use lockflight_promotion::text::{controls, markdown};
use lockflight_promotion::{CommitOid, ErrorClass, PrNumber};

use crate::facts::{self, Reading, Way};
use crate::{Planner, reply};

/// What takes a change back, before anybody asked for it.
pub(crate) fn unmarked(change: &Change) -> WayBack {
    WayBack {
        place: 0,
        of: change.merged_as.clone(),
        by: change.author.clone(),
        reason: String::new(),
    }
}

/// The commit that a change is taken back to.
pub(crate) fn before(change: &Change, before: Option<&CommitOid>) -> Result<CommitOid, Failure> {
    before.cloned().ok_or_else(|| {
        let reason = format!("there is no commit before {} to go back to", change.merged_as);
        Failure::new(ErrorClass::User, reason)
    })
}

impl<F: ForgePort, G: MirrorsPort> Planner<F, G> {
    /// The parts of the change of a pull request that a rollback of a target is about, or in Markdown why there are none.
    pub(crate) async fn parts_named(
        &self,
        envelope: &Envelope,
        pull_request: &PullRequest,
        target: Option<&str>,
    ) -> Result<Result<Vec<String>, String>, Failure> {
        let refused = |why: &str| Ok(Err(format!("It was not done: {}.", markdown::text(why))));
        let number = if pull_request.merged {
            pull_request.number
        } else {
            let lineage = facts::lineage(&self.marker_keys, &envelope.repo, pull_request);
            match lineage.hops.last() {
                Some(hop) if hop.repo.as_ref().is_none_or(|repo| repo.id == envelope.repo.id) => hop.number,
                Some(_) | None => pull_request.number,
            }
        };
        match self.read_back(&envelope.repo, number).await? {
            Ok((_, facts)) if facts.changed.is_empty() => refused("it changed no file"),
            Ok((policy, facts)) => {
                let plan = decide(&policy, &facts, None)?;
                if plan.dry_run {
                    return refused("the policy asks for a dry run, so nothing was promoted");
                }
                Ok(named(&facts.change, &plan, target))
            }
            Err(why) => refused(&why),
        }
    }

    /// What follows from the rollbacks that people asked for on a change. With `once`, a look and no more.
    pub(crate) async fn rolled_back(
        &self,
        envelope: &Envelope,
        repo: &Repository,
        number: PrNumber,
        once: bool,
    ) -> Result<Vec<Envelope>, Failure> {
        let ignored = |reason: &str| {
            let reason = reason.to_owned();
            Ok(vec![reply::outcome(envelope, Outcome::Ignored { reason })])
        };
        let client = self.forge.repository(repo).await?;
        let us = self.forge.identity().await?.login;
        let mut comments = client.comments(number).await?;
        comments.retain(|comment| comment.author == us);
        let bodies = comments.iter().map(|comment| comment.body.as_str());
        let read = controls::read(&self.marker_keys, repo.id, number, bodies);
        // What was let go is still to be told of, and is looked at no more after that.
        let is_due = |rollback: &Rollback| rollback.holds() || !once;
        if !read.rollbacks().iter().any(is_due) {
            return ignored("nothing is rolled back");
        }
        let (policy, mut facts) = match self.read_back(repo, number).await? {
            Ok(read) => read,
            Err(why) => return ignored(&why),
        };
        let mut follow = Vec::new();
        for (place, rollback) in read.rollbacks().iter().enumerate() {
            if !is_due(rollback) {
                continue;
            }
            if let Some(back) = &mut facts.change.rollback {
                **back = WayBack {
                    place,
                    of: back.of.clone(),
                    by: rollback.by.clone(),
                    reason: rollback.reason.clone(),
                };
            }
            facts.change.committed_at = rollback.at_s;
            let plan = decide(&policy, &facts, Some(&rollback.parts))?;
            tracing::info!(
                pr.number = %number, plan.id = %plan.id, steps = plan.steps.len(),
                "planned the way back of pull request {number} of {}: {} steps", repo.name, plan.steps.len(),
            );
            let said = if plan.steps.is_empty() || plan.dry_run {
                Report::Nothing {
                    reason: reply::why_nothing(&facts.change, &plan),
                }
            } else {
                reply::steps(plan, once)
            };
            follow.push(reply::report(envelope, &facts.change, said));
        }
        Ok(follow)
    }

    /// What a plan of the way back is made of, or why there is none.
    async fn read_back(
        &self,
        repo: &Repository,
        number: PrNumber,
    ) -> Result<Result<(Policy, Box<Facts>), String>, Failure> {
        let (forge, mirrors, keys) = (&self.forge, &self.mirrors, &self.marker_keys);
        let (reading, _) = facts::read(forge, mirrors, keys, repo, number, Way::Back).await?;
        Ok(match reading {
            Reading::Facts { policy, facts, .. } => Ok((policy, facts)),
            Reading::Nothing { reason } | Reading::Unreadable { reason, .. } => Err(reason),
            Reading::BrokenPolicy { errors, .. } => {
                Err(format!("the policy can't be used: {}", errors.first()))
            }
        })
    }
}

fn decide(policy: &Policy, facts: &Facts, only: Option<&[String]>) -> Result<Plan, Failure> {
    way_back(policy, facts, only).map_err(|error| Failure::of(error.class(), &error))
}
