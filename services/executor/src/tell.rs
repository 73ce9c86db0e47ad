//! Says how the promotion of a change is, on the head of its pull request: by a check run, whose title is the one sentence and whose page shows
//! each wave, or by a commit status with the sentence, where check runs are not allowed.

use lockflight_fleet::failpoint;
use lockflight_fleet::worker::Failure;
use lockflight_forge::port::RepositoryPort;
use lockflight_forge::{CheckOutcome, CheckRun, CheckRunState, Conclusion, Status, StatusState};
use lockflight_promotion::change::Change;
use lockflight_promotion::text::status;

/// What there is to say.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    /// How it is.
    pub(crate) state: StatusState,
    /// In one sentence, of any length.
    pub(crate) sentence: String,
    /// More of it, in Markdown; none if the sentence says all.
    pub(crate) summary: Option<String>,
}

impl Word {
    pub(crate) fn new(state: StatusState, sentence: impl Into<String>) -> Self {
        Self {
            state,
            sentence: sentence.into(),
            summary: None,
        }
    }

    /// With a page behind it.
    pub(crate) fn with_summary(mut self, summary: String) -> Self {
        self.summary = Some(summary);
        self
    }
}

/// Says it, unless it is what stands there; whether it was said now.
pub(crate) async fn tell(
    client: &impl RepositoryPort,
    change: &Change,
    word: &Word,
) -> Result<bool, Failure> {
    let name = status::context(change);
    let run = CheckRun {
        external_id: format!("{name}-{}", change.number),
        name,
        state: match word.state {
            StatusState::Pending => CheckRunState::InProgress,
            StatusState::Success => CheckRunState::Completed(Conclusion::Success),
            StatusState::Failure | StatusState::Error => CheckRunState::Completed(Conclusion::Failure),
        },
        title: status::fit(&word.sentence),
        summary: word.summary.clone().unwrap_or_else(|| word.sentence.clone()),
        annotations: Vec::new(),
        details_url: None,
    };
    let said = show(client, change, &run, word.state).await?;
    if said {
        failpoint::reached("executor.status_set");
    }
    Ok(said)
}

/// Makes the check run on the head of a change be so, or, where check runs are not allowed, the status of its name with `state` and its title;
/// whether it was not so before.
pub(crate) async fn show(
    client: &impl RepositoryPort,
    change: &Change,
    run: &CheckRun,
    state: StatusState,
) -> Result<bool, Failure> {
    match client.set_check(&change.head, run).await? {
        CheckOutcome::Set(_) => return Ok(true),
        CheckOutcome::Stands(_) => return Ok(false),
        CheckOutcome::NotAllowed(why) => {
            tracing::debug!(pr.number = %change.number, "no check runs here, a status in their place: {why}");
        }
    }
    let stands = client.status(&change.head, &run.name).await?;
    if stands.is_some_and(|stands| stands.state == state && stands.description == run.title) {
        return Ok(false);
    }
    let status = Status {
        state,
        context: run.name.clone(),
        description: run.title.clone(),
        target_url: None,
    };
    failpoint::reached("executor.setting_status");
    client.set_status(&change.head, &status).await?;
    Ok(true)
}
