//! The commit that carries edits of trees.

use std::collections::BTreeSet;

use git2::{ObjectType, Oid, Signature, Time};
use lockflight_promotion::plan::Edit;
use lockflight_promotion::values::ValueError;
use lockflight_promotion::{BlobOid, CommitOid, ErrorClass, InvalidGlob, PathInRepo, TreeOid};

use crate::mirror::MirrorFailure;
use crate::objects::Objects;
use crate::read::{Found, ReadError, commit_oid, tree_oid};
use crate::surgery::{Node, Surgery};

/// A commit to make: a function of these fields and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitSpec {
    /// The commit that the edits start from; the one parent of the result.
    pub parent: CommitOid,
    /// What becomes of each path: a directory as a whole, the selected files of one, or keys of a file. No path may lie within another.
    pub edits: Vec<(PathInRepo, Edit)>,
    /// The message, as it is to stand in the commit. A missing newline at its end is added.
    pub message: String,
    /// Author and committer.
    pub author: Identity,
    /// Author and committer date, in seconds since 1970 UTC; the zone is UTC.
    pub when: i64,
}

/// Who a commit is by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name. Not empty.
    pub name: String,
    /// The email address. Not empty.
    pub email: String,
}

/// A commit that was made, or found to be unnecessary.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Committed {
    /// The commit; the parent itself when nothing changed.
    pub oid: CommitOid,
    /// Its root tree.
    pub tree: TreeOid,
    /// Whether the tree differs from the parent's. When not, no commit was made.
    pub changed: bool,
    /// The files that differ from the parent, sorted; lossy where a name is not UTF-8. Only [`crate::LocalRepository::preview`] looks for them.
    pub paths: Vec<String>,
}

/// A commit that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The parent cannot be read.
    #[error("the commit that the edit starts from cannot be read")]
    Read(#[from] ReadError),
    /// A tree that is to stand somewhere is not on this machine.
    #[error(
        "tree {tree}, which {path} shall become, is not on this machine; its commit has to be fetched first"
    )]
    MissingTree {
        /// The tree.
        tree: TreeOid,
        /// Where it is to stand.
        path: PathInRepo,
    },
    /// A file, symlink or submodule stands where a directory is needed.
    #[error(
        "{at} is not a directory, so {path} cannot be put there; remove or rename it on the target branch"
    )]
    InTheWay {
        /// What was to be edited.
        path: PathInRepo,
        /// What is in the way: the path itself, or one above it.
        at: PathInRepo,
    },
    /// A content that keys are to be taken from is not on this machine.
    #[error(
        "file content {blob}, which keys of {path} shall be taken from, is not on this machine; its commit has to be fetched first"
    )]
    MissingBlob {
        /// The content.
        blob: BlobOid,
        /// Where the keys are to be set.
        path: PathInRepo,
    },
    /// A selection names files by a glob that can't be read.
    #[error("the selection of files for {path} can't be read")]
    Selection {
        /// What was to be edited.
        path: PathInRepo,
        /// The glob.
        #[source]
        source: InvalidGlob,
    },
    /// Keys can't be set where there is no file.
    #[error("{path} is {found}, and keys are only set in a file that is there; add it once by hand")]
    NoFile {
        /// Where the keys were to be set.
        path: PathInRepo,
        /// What stands there.
        found: &'static str,
    },
    /// Keys can't be set in a file of an unknown kind.
    #[error("keys can't be set in {path}; expected a file whose name ends like one of YAML, JSON or TOML")]
    NoFormat {
        /// The file.
        path: PathInRepo,
    },
    /// A file is no text.
    #[error("{what} is not UTF-8 text, so its keys can't be read")]
    NotText {
        /// The file, or the content that keys of it are taken from.
        what: String,
    },
    /// The keys can't be read or set.
    #[error("keys of {path} can't be set")]
    Values {
        /// The file.
        path: PathInRepo,
        /// Where and why.
        #[source]
        source: ValueError,
    },
    /// Two edits contradict each other, or one lies within the other.
    #[error("two edits of one commit overlap at {path}")]
    Overlap {
        /// The path.
        path: PathInRepo,
    },
    /// Name or email cannot stand in a commit.
    #[error(
        "the author of promotion commits needs a name and an email address without control characters, `<` and `>`"
    )]
    Identity,
    /// The object database did not take it.
    #[error("the objects of the commit could not be written; check that the disk is not full")]
    Write(#[source] git2::Error),
}

impl CommitError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Read(error) => error.class(),
            Self::MissingTree { .. } | Self::MissingBlob { .. } | Self::Write(_) => ErrorClass::Retry,
            Self::InTheWay { .. }
            | Self::Selection { .. }
            | Self::NoFile { .. }
            | Self::NoFormat { .. }
            | Self::NotText { .. }
            | Self::Values { .. }
            | Self::Identity => ErrorClass::User,
            Self::Overlap { .. } => ErrorClass::Bug,
        }
    }
}

impl MirrorFailure for CommitError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_damage())
    }

    fn is_incomplete(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_incomplete())
    }
}

/// Writes the trees and the commit to the object database. Returns also what a push of the commit has to bring along: all objects that the edits
/// made, those included that were here already, since they may be of a commit that was never pushed.
pub(crate) fn commit(
    objects: &Objects<'_>,
    spec: &CommitSpec,
) -> Result<(Committed, BTreeSet<Oid>), CommitError> {
    let signature = signature(&spec.author, spec.when)?;
    let parent = objects.asked(&spec.parent)?;
    let edits = Node::of(&spec.edits)?;
    let surgery = Surgery::new(objects);
    let root = Found::directory(parent.tree);
    let tree = match surgery.apply(&PathInRepo::root(), Some(root), &edits)? {
        Some(found) => found.id,
        None => surgery.write(ObjectType::Tree, b"")?,
    };
    if tree == parent.tree {
        let committed = Committed {
            oid: spec.parent.clone(),
            tree: tree_oid(tree)?,
            changed: false,
            paths: Vec::new(),
        };
        return Ok((committed, BTreeSet::new()));
    }
    let content = content(tree, &spec.parent, &signature, &spec.message);
    let oid = surgery.write(ObjectType::Commit, &content)?;
    let committed = Committed {
        oid: commit_oid(oid)?,
        tree: tree_oid(tree)?,
        changed: true,
        paths: Vec::new(),
    };
    Ok((committed, surgery.into_made()))
}

/// A commit as git stores it.
fn content(tree: Oid, parent: &CommitOid, signature: &Signature<'_>, message: &str) -> Vec<u8> {
    let mut content = format!("tree {tree}\nparent {parent}\n").into_bytes();
    for role in ["author", "committer"] {
        content.extend_from_slice(format!("{role} ").as_bytes());
        content.extend_from_slice(signature.name_bytes());
        content.extend_from_slice(b" <");
        content.extend_from_slice(signature.email_bytes());
        content.extend_from_slice(format!("> {} +0000\n", signature.when().seconds()).as_bytes());
    }
    content.push(b'\n');
    content.extend_from_slice(message.as_bytes());
    if !message.ends_with('\n') {
        content.push(b'\n');
    }
    content
}

fn signature(who: &Identity, when: i64) -> Result<Signature<'static>, CommitError> {
    // libgit2 would quietly drop what cannot stand there, and two specs would make one commit.
    let fits = |text: &str| {
        !text.trim().is_empty() && !text.chars().any(|c| c.is_control() || matches!(c, '<' | '>'))
    };
    if !fits(&who.name) || !fits(&who.email) {
        return Err(CommitError::Identity);
    }
    Signature::new(&who.name, &who.email, &Time::new(when, 0)).map_err(|_error| CommitError::Identity)
}
