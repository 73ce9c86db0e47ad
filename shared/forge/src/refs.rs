//! Refs that are neither branches nor tags: nobody sees them, and a clone does not have them.

use http::StatusCode;
use lockflight_promotion::CommitOid;
use serde::{Deserialize, Serialize};

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::page;
use crate::route::{CREATE_REF, DELETE_REF, MATCHING_REFS};

/// What every ref begins with.
const REFS: &str = "refs/";

#[derive(Deserialize)]
struct RefShown {
    #[serde(rename = "ref")]
    name: String,
}

#[derive(Serialize)]
struct NewRef<'a> {
    #[serde(rename = "ref")]
    name: &'a str,
    sha: &'a CommitOid,
}

#[derive(Serialize)]
struct Nothing {}

impl RepoClient {
    /// The names of all refs that begin with `start`, both without `refs/`; `start` holds nothing that has to be encoded in a path.
    ///
    /// See <https://docs.github.com/en/rest/git/refs#list-matching-references>.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn refs_from(&self, start: &str) -> Result<Vec<String>, ForgeError> {
        let path = self.path(&format!("/git/matching-refs/{start}"));
        let found = page::all::<RefShown>(&self.session, &MATCHING_REFS, &path).await?;
        let names = found.into_iter().filter_map(|found| {
            let name = found.name.strip_prefix(REFS)?;
            name.starts_with(start).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    /// Makes a ref that points at a commit, named without `refs/`. One that is there stays as it is.
    ///
    /// See <https://docs.github.com/en/rest/git/refs#create-a-reference>.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn create_ref(&self, name: &str, at: &CommitOid) -> Result<(), ForgeError> {
        let name = format!("{REFS}{name}");
        let body = NewRef { name: &name, sha: at };
        let answer = self.write(&CREATE_REF, &self.path("/git/refs"), &body).await?;
        let is_there = answer.status() == StatusCode::UNPROCESSABLE_ENTITY
            && answer.words().to_ascii_lowercase().contains("already exists");
        if !is_there {
            answer.success()?;
        }
        Ok(())
    }

    /// Takes a ref away, named without `refs/`. It may be gone already.
    ///
    /// See <https://docs.github.com/en/rest/git/refs#delete-a-reference>.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn delete_ref(&self, name: &str) -> Result<(), ForgeError> {
        let path = self.path(&format!("/git/{REFS}{name}"));
        let answer = self.write(&DELETE_REF, &path, &Nothing {}).await?;
        let is_gone = answer.status() == StatusCode::NOT_FOUND
            || (answer.status() == StatusCode::UNPROCESSABLE_ENTITY
                && answer.words().to_ascii_lowercase().contains("does not exist"));
        if !is_gone {
            answer.success()?;
        }
        Ok(())
    }
}
