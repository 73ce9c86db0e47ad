//! What a pull request has in common with an issue: labels and assignees.

use http::StatusCode;
use lockflight_promotion::{Login, PrNumber};
use serde::{Deserialize, Serialize};

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::pull::Account;
use crate::route::{ADD_ASSIGNEES, ADD_LABELS};

/// What came of assigning people. None of it is worth failing for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Assigned {
    /// All are assigned.
    All,
    /// GitHub passed over these without a word: they cannot be assigned here.
    Without(Vec<Login>),
    /// GitHub refused, in its own words.
    Refused(String),
}

#[derive(Serialize)]
struct Labels<'a> {
    labels: &'a [String],
}

#[derive(Serialize)]
struct Assignees<'a> {
    assignees: &'a [Login],
}

#[derive(Deserialize)]
struct Assignable {
    #[serde(default)]
    assignees: Vec<Account>,
}

impl RepoClient {
    /// Puts labels on a pull request; those it has stay. GitHub makes a label that does not exist yet.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn add_labels(&self, number: PrNumber, labels: &[String]) -> Result<(), ForgeError> {
        if labels.is_empty() {
            return Ok(());
        }
        let path = self.path(&format!("/issues/{number}/labels"));
        self.write(&ADD_LABELS, &path, &Labels { labels })
            .await?
            .success()?;
        Ok(())
    }

    /// Assigns people to a pull request; those who are assigned stay.
    ///
    /// # Errors
    /// When GitHub cannot be asked, or [`ForgeError::Unknown`]. A refusal is a value.
    pub async fn add_assignees(&self, number: PrNumber, assignees: &[Login]) -> Result<Assigned, ForgeError> {
        if assignees.is_empty() {
            return Ok(Assigned::All);
        }
        let path = self.path(&format!("/issues/{number}/assignees"));
        let answer = self
            .write(&ADD_ASSIGNEES, &path, &Assignees { assignees })
            .await?;
        if matches!(
            answer.status(),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY
        ) {
            return Ok(Assigned::Refused(answer.words()));
        }
        let now: Assignable = answer.json()?;
        let missing: Vec<Login> = assignees
            .iter()
            .filter(|asked| {
                !now.assignees
                    .iter()
                    .any(|is| is.login.as_str().eq_ignore_ascii_case(asked.as_str()))
            })
            .cloned()
            .collect();
        Ok(if missing.is_empty() {
            Assigned::All
        } else {
            Assigned::Without(missing)
        })
    }
}
