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
    let description = status::fit(&word.sentence);
    let name = status::context(change);
    let run = CheckRun {
        external_id: format!("{name}-{}", change.number),
        name: name.clone(),
        state: match word.state {
            StatusState::Pending => CheckRunState::InProgress,
            StatusState::Success => CheckRunState::Completed(Conclusion::Success),
            StatusState::Failure | StatusState::Error => CheckRunState::Completed(Conclusion::Failure),
        },
        title: description.clone(),
        summary: word.summary.clone().unwrap_or_else(|| word.sentence.clone()),
        annotations: Vec::new(),
        details_url: None,
    };
    let said = match client.set_check(&change.head, &run).await? {
        CheckOutcome::Set(_) => true,
        CheckOutcome::Stands(_) => false,
        CheckOutcome::NotAllowed(why) => {
            tracing::debug!(pr.number = %change.number, "no check runs here, a status in their place: {why}");
            set_status(client, change, name, word.state, description).await?
        }
    };
    if said {
        failpoint::reached("executor.status_set");
    }
    Ok(said)
}

async fn set_status(
    client: &impl RepositoryPort,
    change: &Change,
    context: String,
    state: StatusState,
    description: String,
) -> Result<bool, Failure> {
    let stands = client.status(&change.head, &context).await?;
    if stands.is_some_and(|stands| stands.state == state && stands.description == description) {
        return Ok(false);
    }
    let status = Status {
        state,
        context,
        description,
        target_url: None,
    };
    failpoint::reached("executor.setting_status");
    client.set_status(&change.head, &status).await?;
    Ok(true)
}
