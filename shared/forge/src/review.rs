//! Reviews: who agreed to which commit.

use http::StatusCode;
use lockflight_promotion::{CommitOid, Login, PrNumber};
use serde::{Deserialize, Serialize};

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::page;
use crate::pull::{Account, account};
use crate::route::{CREATE_REVIEW, REVIEWS};

/// A review of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The numeric id.
    pub id: u64,
    /// Who wrote it; `ghost` if the account is gone.
    pub author: Login,
    /// What it says.
    pub state: ReviewState,
    /// The commit that was looked at; none once it is gone. An approval of another commit than the head does not count.
    pub commit: Option<CommitOid>,
}

/// What a review says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReviewState {
    /// Agreed.
    Approved,
    /// Wants changes.
    ChangesRequested,
    /// Only a remark.
    Commented,
    /// Taken back.
    Dismissed,
    /// Not sent yet.
    Pending,
    /// Something newer than this program.
    #[serde(other)]
    Other,
}

/// What came of approving.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Approval {
    /// The approval counts for this commit.
    Given(Review),
    /// The pull request is our own: another identity has to approve it.
    OwnPullRequest,
}

#[derive(Deserialize)]
struct Wire {
    id: u64,
    user: Option<Account>,
    state: ReviewState,
    #[serde(default)]
    commit_id: Option<CommitOid>,
}

impl<'de> Deserialize<'de> for Review {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            id: wire.id,
            author: account(wire.user)?.0,
            state: wire.state,
            commit: wire.commit_id,
        })
    }
}

#[derive(Serialize)]
struct Approve<'a> {
    commit_id: &'a CommitOid,
    event: &'static str,
    body: &'a str,
}

impl RepoClient {
    /// Reads all reviews of a pull request, oldest first.
    ///
    /// # Errors
    /// When they cannot all be read.
    pub async fn reviews(&self, number: PrNumber) -> Result<Vec<Review>, ForgeError> {
        let path = self.path(&format!("/pulls/{number}/reviews?per_page=100"));
        page::all(&self.session, &REVIEWS, &path).await
    }

    /// Approves `commit` of a pull request.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn approve(
        &self,
        number: PrNumber,
        commit: &CommitOid,
        body: &str,
    ) -> Result<Approval, ForgeError> {
        let path = self.path(&format!("/pulls/{number}/reviews"));
        let review = Approve {
            commit_id: commit,
            event: "APPROVE",
            body,
        };
        let answer = self.write(&CREATE_REVIEW, &path, &review).await?;
        if answer.status() == StatusCode::UNPROCESSABLE_ENTITY {
            let words = answer.words().to_ascii_lowercase();
            if words.contains("approve your own") {
                return Ok(Approval::OwnPullRequest);
            }
        }
        answer.json().map(Approval::Given)
    }
}
