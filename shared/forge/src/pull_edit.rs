//! Pull requests that are there already: editing and closing them.

use lockflight_promotion::{BranchName, PrNumber};
use serde::Serialize;

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::pull::{PullRequest, PullRequestState};
use crate::route::UPDATE_PULL;

/// What to change about a pull request; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PullRequestEdit {
    /// The new title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The new description, at most 65,536 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The branch that it goes into from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BranchName>,
    /// Close it or open it again.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "state_word")]
    pub state: Option<PullRequestState>,
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn state_word<S: serde::Serializer>(
    state: &Option<PullRequestState>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match state {
        Some(PullRequestState::Closed) => "closed",
        Some(PullRequestState::Open) | None => "open",
    })
}

/// What came of closing a pull request. Each carries it as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Closing {
    /// It was open and is closed now.
    Closed(Box<PullRequest>),
    /// It was closed before, unmerged.
    AlreadyClosed(Box<PullRequest>),
    /// It is merged, which no closing takes back.
    Merged(Box<PullRequest>),
}

impl RepoClient {
    /// Changes title, description, base or state of a pull request. Saying the same again changes nothing.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn update_pull_request(
        &self,
        number: PrNumber,
        edit: &PullRequestEdit,
    ) -> Result<PullRequest, ForgeError> {
        let path = self.path(&format!("/pulls/{number}"));
        let pull = self.write(&UPDATE_PULL, &path, edit).await?.json()?;
        self.ours(pull)
    }

    /// Closes a pull request without merging it, if it is still open: it is read first, so that one that somebody merged or
    /// closed meanwhile is told from one that we closed.
    ///
    /// # Errors
    /// When it cannot be read, is refused, or [`ForgeError::Unknown`]: then call it again.
    pub async fn close_pull_request(&self, number: PrNumber) -> Result<Closing, ForgeError> {
        let found = self.pull_request(number).await?;
        if found.state == PullRequestState::Closed {
            return Ok(ended(found, Closing::AlreadyClosed));
        }
        let edit = PullRequestEdit {
            state: Some(PullRequestState::Closed),
            ..PullRequestEdit::default()
        };
        // A merge that came in between is not undone by the edit, and shows in its answer.
        let pull = self.update_pull_request(number, &edit).await?;
        Ok(ended(pull, Closing::Closed))
    }
}

fn ended(pull: PullRequest, unmerged: impl FnOnce(Box<PullRequest>) -> Closing) -> Closing {
    let pull = Box::new(pull);
    if pull.merged {
        Closing::Merged(pull)
    } else {
        unmerged(pull)
    }
}
