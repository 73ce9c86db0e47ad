//! One file at a commit, and a commit that changes one file, by GitHub's git database.
//!
//! For programs that have no mirror, such as a command that runs in somebody's build. The mode of a file is read and kept, and an
//! absence is read from the directory that lacks the entry, never concluded from a failure
//! (<https://docs.github.com/en/rest/git/trees>). Objects that are made are reached by nobody until a branch is moved to them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockflight_promotion::{BlobOid, CommitOid, PathInRepo, TreeOid};
use serde::{Deserialize, Serialize};

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::route::{BLOB, COMMIT, CREATE_BLOB, CREATE_COMMIT, CREATE_TREE, TREE};
use crate::wire::MAX_BODY;

/// What stands at a path of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAt {
    /// A file.
    File {
        /// Its mode.
        mode: FileMode,
        /// The id of its content.
        blob: BlobOid,
    },
    /// The directory above it was read and has no such entry, or there is no such directory.
    Absent,
    /// Something that is no file stands there, or above it: what it is, for people.
    NoFile(&'static str),
}

/// The mode of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileMode {
    /// Git's `100644`.
    #[default]
    Regular,
    /// Git's `100755`.
    Executable,
}

impl FileMode {
    const fn word(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::Executable => "100755",
        }
    }
}

/// A commit that differs in one file from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneFileCommit {
    /// The commit whose tree it starts from.
    pub base: CommitOid,
    /// Its parents, the first one first.
    pub parents: Vec<CommitOid>,
    /// The file.
    pub path: PathInRepo,
    /// The file's mode.
    pub mode: FileMode,
    /// The file's content.
    pub content: Vec<u8>,
    /// The message.
    pub message: String,
}

#[derive(Deserialize)]
struct CommitShown {
    tree: Object<TreeOid>,
}

#[derive(Deserialize)]
struct Object<T> {
    sha: T,
}

#[derive(Deserialize)]
struct TreeShown {
    tree: Vec<EntryShown>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Deserialize)]
struct EntryShown {
    path: String,
    mode: String,
    sha: String,
}

#[derive(Deserialize)]
struct BlobShown {
    content: String,
    encoding: String,
}

#[derive(Serialize)]
struct NewBlob<'a> {
    content: &'a str,
    encoding: &'static str,
}

#[derive(Serialize)]
struct NewTree<'a> {
    base_tree: &'a TreeOid,
    tree: [NewEntry<'a>; 1],
}

#[derive(Serialize)]
struct NewEntry<'a> {
    path: &'a str,
    mode: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    sha: &'a BlobOid,
}

#[derive(Serialize)]
struct NewCommit<'a> {
    message: &'a str,
    tree: &'a TreeOid,
    parents: &'a [CommitOid],
}

impl RepoClient {
    /// What stands at `path` in `commit`.
    ///
    /// # Errors
    /// When a directory on the way cannot be read.
    pub async fn file_at(&self, commit: &CommitOid, path: &PathInRepo) -> Result<FileAt, ForgeError> {
        let mut tree = self.tree_of(commit).await?;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let Some(entry) = self.entry(&tree, name).await? else {
                return Ok(FileAt::Absent);
            };
            let is_last = names.peek().is_none();
            let unreadable = || {
                self.session
                    .call(&TREE, &self.path(&format!("/git/trees/{tree}")))
            };
            match (entry.mode.as_str(), is_last) {
                ("040000", false) => {
                    tree = TreeOid::parse(&entry.sha).map_err(|error| not_an_id(unreadable(), &error))?;
                }
                ("040000", true) => return Ok(FileAt::NoFile("a directory")),
                ("100755" | "100644" | "100664", true) => {
                    return Ok(FileAt::File {
                        mode: if entry.mode == "100755" {
                            FileMode::Executable
                        } else {
                            FileMode::Regular
                        },
                        blob: BlobOid::parse(&entry.sha).map_err(|error| not_an_id(unreadable(), &error))?,
                    });
                }
                ("120000", _) => return Ok(FileAt::NoFile("a symlink")),
                ("160000", _) => return Ok(FileAt::NoFile("a submodule")),
                _ => return Ok(FileAt::NoFile("a file above it")),
            }
        }
        Ok(FileAt::NoFile("the root of the repository"))
    }

    /// The content of a file: at most some seven megabytes.
    ///
    /// # Errors
    /// When it cannot be read, or is larger.
    pub async fn blob(&self, blob: &BlobOid) -> Result<Vec<u8>, ForgeError> {
        let path = self.path(&format!("/git/blobs/{blob}"));
        let answer = self.session.read(&BLOB, &path).await?;
        let call = answer.call.clone();
        let shown: BlobShown = answer.json()?;
        if shown.encoding != "base64" {
            // GitHub leaves out what is too large for it.
            return Err(ForgeError::TooLarge {
                call,
                limit: MAX_BODY,
            });
        }
        let joined: String = shown.content.split_ascii_whitespace().collect();
        STANDARD.decode(joined).map_err(|error| not_an_id(call, &error))
    }

    /// Makes a commit that no branch leads to yet. Whoever it is by is the owner of the token.
    ///
    /// # Errors
    /// When GitHub does not take it, or [`ForgeError::Unknown`]: then it can be made again.
    pub async fn commit_file(&self, commit: &OneFileCommit) -> Result<CommitOid, ForgeError> {
        let base_tree = self.tree_of(&commit.base).await?;
        let content = STANDARD.encode(&commit.content);
        let body = NewBlob {
            content: &content,
            encoding: "base64",
        };
        let blob: Object<BlobOid> = self
            .write(&CREATE_BLOB, &self.path("/git/blobs"), &body)
            .await?
            .json()?;
        let body = NewTree {
            base_tree: &base_tree,
            tree: [NewEntry {
                path: commit.path.as_str(),
                mode: commit.mode.word(),
                kind: "blob",
                sha: &blob.sha,
            }],
        };
        let tree: Object<TreeOid> = self
            .write(&CREATE_TREE, &self.path("/git/trees"), &body)
            .await?
            .json()?;
        let body = NewCommit {
            message: &commit.message,
            tree: &tree.sha,
            parents: &commit.parents,
        };
        let made: Object<CommitOid> = self
            .write(&CREATE_COMMIT, &self.path("/git/commits"), &body)
            .await?
            .json()?;
        Ok(made.sha)
    }

    async fn tree_of(&self, commit: &CommitOid) -> Result<TreeOid, ForgeError> {
        let path = self.path(&format!("/git/commits/{commit}"));
        let shown: CommitShown = self.session.read(&COMMIT, &path).await?.json()?;
        Ok(shown.tree.sha)
    }

    async fn entry(&self, tree: &TreeOid, name: &str) -> Result<Option<EntryShown>, ForgeError> {
        let path = self.path(&format!("/git/trees/{tree}"));
        let answer = self.session.read(&TREE, &path).await?;
        let call = answer.call.clone();
        let shown: TreeShown = answer.json()?;
        let found = shown.tree.into_iter().find(|entry| entry.path == name);
        if found.is_none() && shown.truncated {
            return Err(ForgeError::TooLarge {
                call,
                limit: MAX_BODY,
            });
        }
        Ok(found)
    }
}

/// The answer has something else where an id or Base64 should be.
fn not_an_id(call: Box<crate::Call>, error: &dyn std::fmt::Display) -> ForgeError {
    use serde::de::Error as _;
    ForgeError::Unreadable {
        call,
        source: serde_json::Error::custom(error),
    }
}
