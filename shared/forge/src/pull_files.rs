//! The files that a pull request changes: the whole list, or an error.

use lockflight_promotion::PrNumber;
use serde::Deserialize;

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::page;
use crate::route::PULL_FILES;

/// GitHub lists no more files than this (<https://docs.github.com/en/rest/pulls/pulls#list-pull-requests-files>).
const MOST_FILES: usize = 3_000;

/// A file that a pull request changes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ChangedFile {
    /// The path, after the change.
    #[serde(rename = "filename")]
    pub path: String,
    /// What happened to it.
    pub status: FileStatus,
    /// The path before, if it was renamed or copied.
    #[serde(rename = "previous_filename")]
    pub previous_path: Option<String>,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its content changed.
    Modified,
    /// It has another path.
    Renamed,
    /// It was copied.
    Copied,
    /// Only its mode changed.
    Changed,
    /// Nothing happened.
    Unchanged,
}

impl RepoClient {
    /// Reads all files that a pull request changes, and checks their number against the pull request's own count.
    ///
    /// # Errors
    /// [`ForgeError::FilesCapped`] when GitHub does not list them all.
    pub async fn files(&self, number: PrNumber) -> Result<Vec<ChangedFile>, ForgeError> {
        let expected = self.pull_request(number).await?.changed_files;
        let path = self.path(&format!("/pulls/{number}/files?per_page=100"));
        let files: Vec<ChangedFile> = page::all(&self.session, &PULL_FILES, &path).await?;
        let listed = files.len();
        let is_whole =
            listed < MOST_FILES && expected.is_some_and(|expected| usize::try_from(expected) == Ok(listed));
        // Exactly 3,000 may be all of them, but only the count can say so.
        if is_whole || (listed == MOST_FILES && expected == Some(MOST_FILES as u64)) {
            Ok(files)
        } else {
            Err(ForgeError::FilesCapped {
                number,
                listed,
                expected: expected.unwrap_or_default(),
            })
        }
    }
}
