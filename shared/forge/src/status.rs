//! Commit statuses: one line about a commit, next to its pull request.

use lockflight_promotion::CommitOid;
use serde::{Deserialize, Serialize};

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::route::{SET_STATUS, STATUSES};

/// The longest description that GitHub takes, in characters.
const LONGEST_DESCRIPTION: usize = 140;
/// Entries per page.
const PAGE: usize = 100;
/// More contexts than any commit has.
const MOST_PAGES: usize = 20;

/// A commit status. The last one with a context counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How it is.
    pub state: StatusState,
    /// Whose line it is, such as `lockflight`.
    pub context: String,
    /// The line; sent with at most 140 characters.
    #[serde(default, deserialize_with = "text_or_null")]
    pub description: String,
    /// The page behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
}

/// How a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusState {
    /// Something is broken on our side.
    Error,
    /// It is not good.
    Failure,
    /// Not known yet.
    Pending,
    /// It is good.
    Success,
}

fn text_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[derive(Deserialize)]
struct Combined {
    statuses: Vec<Status>,
}

impl RepoClient {
    /// Sets the status of a commit in a context.
    ///
    /// # Errors
    /// When it is refused (GitHub takes 1,000 per commit and context), or [`ForgeError::Unknown`].
    pub async fn set_status(&self, commit: &CommitOid, status: &Status) -> Result<(), ForgeError> {
        let path = self.path(&format!("/statuses/{commit}"));
        let status = Status {
            description: fitting(&status.description),
            ..status.clone()
        };
        self.write(&SET_STATUS, &path, &status).await?.success()?;
        Ok(())
    }

    /// Reads the status of a commit in a context; none if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn status(&self, commit: &CommitOid, context: &str) -> Result<Option<Status>, ForgeError> {
        let mut page = 1;
        while let Some(statuses) = self.page_of_statuses(commit, &mut page).await? {
            let found = statuses.into_iter().find(|status| status.context == context);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Reads the latest status of each context of a commit.
    pub(crate) async fn statuses(&self, commit: &CommitOid) -> Result<Vec<Status>, ForgeError> {
        let (mut all, mut page) = (Vec::new(), 1);
        while let Some(statuses) = self.page_of_statuses(commit, &mut page).await? {
            all.extend(statuses);
        }
        Ok(all)
    }

    /// Reads the page of the statuses of a commit that is due, and says which is next; 0 is behind the last.
    async fn page_of_statuses(
        &self,
        commit: &CommitOid,
        page: &mut usize,
    ) -> Result<Option<Vec<Status>>, ForgeError> {
        if *page == 0 {
            return Ok(None);
        }
        if *page > MOST_PAGES {
            let path = self.path(&format!("/commits/{commit}/status"));
            return Err(ForgeError::Endless {
                call: self.session.call(&STATUSES, &path),
                pages: MOST_PAGES,
            });
        }
        let path = self.path(&format!("/commits/{commit}/status?per_page={PAGE}&page={page}"));
        let combined: Combined = self.session.read(&STATUSES, &path).await?.json()?;
        *page = if combined.statuses.len() < PAGE {
            0
        } else {
            *page + 1
        };
        Ok(Some(combined.statuses))
    }
}

/// Cut to what GitHub takes.
fn fitting(description: &str) -> String {
    if description.chars().count() <= LONGEST_DESCRIPTION {
        return description.to_owned();
    }
    let mut cut: String = description.chars().take(LONGEST_DESCRIPTION - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_description_is_cut_to_140_characters() {
        assert_eq!(fitting(&"ü".repeat(140)), "ü".repeat(140));
        let cut = fitting(&"ü".repeat(141));
        assert_eq!(cut.chars().count(), 140);
        assert!(cut.ends_with('…'));
    }
}
