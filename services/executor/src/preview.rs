//! Says on a pull request that is open where it will go: by a check run, or by a status where check runs are not allowed, and by one comment
//! where something needs a person.
//!
//! A preview is of one state of the pull request. It is said only while that is how the pull request is, so that an older preview, whenever its
//! message comes, never takes the place of a newer one; and since all of it is looked for before it is written, saying it again changes nothing.

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::{Done, Failure};
use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{
    Annotation, AnnotationLevel, CheckOutcome, CheckRun, CheckRunState, Conclusion, PullRequest,
    PullRequestState, Status, StatusState,
};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::ErrorClass;
use lockflight_promotion::change::Change;
use lockflight_promotion::message::{Envelope, Outcome, Preview, Verdict};
use lockflight_promotion::text::comment::{self, CommentKind};
use lockflight_promotion::text::preview::{CONTEXT, SETTLED};

use crate::{Executor, outcome};

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    pub(crate) async fn preview(
        &self,
        envelope: &Envelope,
        client: &F::Repository,
        change: &Change,
        preview: &Preview,
    ) -> Result<Done, Failure> {
        let number = change.number;
        let overtaken = || {
            let reason = format!("pull request {number} has changed since this preview was made");
            Done::Ack(vec![outcome(envelope, Outcome::Ignored { reason })])
        };
        if !is_still(change, preview, &client.pull_request(number).await?) {
            return Ok(overtaken());
        }
        match self.comment_preview(client, change, preview).await {
            Ok(true) => {}
            Ok(false) => return Ok(overtaken()),
            // Where a comment is not taken, as in a locked conversation, the check is all that can be said.
            Err(failure) if failure.class == ErrorClass::User => {
                tracing::warn!(pr.number = %number, "pull request {number} takes no comment: {}", failure.reason);
            }
            Err(failure) => return Err(failure),
        }
        let state = check(client, change, preview).await?;
        let reported = Outcome::Reported {
            number,
            state: state.to_owned(),
            description: preview.title.clone(),
        };
        Ok(Done::Ack(vec![outcome(envelope, reported)]))
    }

    /// Has our comment say what needs a person, if there is something; one that stands there already is brought up to date in any case.
    /// Whether the pull request was still as the preview is of.
    async fn comment_preview(
        &self,
        client: &F::Repository,
        change: &Change,
        preview: &Preview,
    ) -> Result<bool, Failure> {
        let (repo, number) = (change.repo.id, change.number);
        let us = self.forge.identity().await?.login;
        let comments = client.comments(number).await?;
        let bodies: Vec<&str> = comments
            .iter()
            .filter(|comment| comment.author == us)
            .map(|comment| comment.body.as_str())
            .collect();
        let keys = self.config.marker_keys();
        let standing = comment::find(&keys, repo, number, CommentKind::Preview, bodies.iter().copied())
            .and_then(|place| bodies.get(place).copied());
        let text = match (&preview.comment, standing) {
            (Some(text), _) => text.as_str(),
            (None, Some(_)) => SETTLED,
            (None, None) => return Ok(true),
        };
        let body = comment::wrap(&self.config.marker_key, repo, number, CommentKind::Preview, text);
        if standing == Some(body.as_str()) {
            return Ok(true);
        }
        let guard = self.lock.acquire(repo).await?;
        // Again, since whoever had the lock before may have said something newer.
        let said = match client.pull_request(number).await {
            Ok(now) if !is_still(change, preview, &now) => Ok(false),
            Ok(_) => self
                .say_locked(client, &guard, &us, change, CommentKind::Preview, text)
                .await
                .map(|()| true),
            Err(error) => Err(error.into()),
        };
        crate::release(guard).await;
        said
    }
}

/// Whether a pull request is as the preview is of.
fn is_still(change: &Change, preview: &Preview, now: &PullRequest) -> bool {
    !now.merged
        && now.state == PullRequestState::Open
        && now.head == change.head
        && now.base_branch == change.branch
        && (!preview.heeds_labels || now.labels == change.labels)
}

/// Sets the check run, or the status; gives its state in one word.
async fn check(
    client: &impl RepositoryPort,
    change: &Change,
    preview: &Preview,
) -> Result<&'static str, Failure> {
    let (conclusion, state, word) = match preview.verdict {
        Verdict::Good => (Conclusion::Success, StatusState::Success, "success"),
        Verdict::Nothing => (Conclusion::Neutral, StatusState::Success, "neutral"),
        Verdict::Broken => (Conclusion::Failure, StatusState::Failure, "failure"),
    };
    let run = CheckRun {
        name: CONTEXT.to_owned(),
        external_id: format!("preview-{}", change.number),
        state: CheckRunState::Completed(conclusion),
        title: preview.title.clone(),
        summary: preview.summary.clone(),
        annotations: preview.remarks.iter().map(annotation).collect(),
        details_url: None,
    };
    match client.set_check(&change.head, &run).await? {
        CheckOutcome::Set(_) | CheckOutcome::Stands(_) => return Ok(word),
        CheckOutcome::NotAllowed(why) => {
            tracing::debug!(pr.number = %change.number, "no check runs here, a status in their place: {why}");
        }
    }
    let stands = client.status(&change.head, CONTEXT).await?;
    if stands.is_none_or(|stands| stands.state != state || stands.description != preview.title) {
        let status = Status {
            state,
            context: CONTEXT.to_owned(),
            description: preview.title.clone(),
            target_url: None,
        };
        client.set_status(&change.head, &status).await?;
    }
    Ok(word)
}

fn annotation(remark: &lockflight_promotion::message::Remark) -> Annotation {
    Annotation {
        path: remark.file.clone(),
        start_line: remark.line,
        end_line: remark.line,
        level: if remark.is_error {
            AnnotationLevel::Failure
        } else {
            AnnotationLevel::Warning
        },
        title: None,
        message: remark.message.clone(),
    }
}
