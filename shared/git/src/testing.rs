//! An upstream repository for tests, made with the git program, so that it is independent of the code under test.
//!
//! Everything in here panics with a message when git fails: it is for tests alone.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lockflight_promotion::{BranchName, CommitOid, Fence, Lease, RepoId, TreeOid};
use tempfile::TempDir;

use crate::{Mirror, Mirrors, MirrorsConfig, Remote};

/// The id of the upstream repository in tests.
pub const REPO: RepoId = RepoId::new(4711);

/// The date of every commit that [`Upstream`] makes, in seconds since 1970 UTC.
pub const WHEN: i64 = 1_700_000_000;

/// A bare repository in a directory of its own, with `main` as its default branch.
#[derive(Debug)]
pub struct Upstream {
    home: TempDir,
}

/// One change of a file.
#[derive(Clone, Copy, Debug)]
pub enum Edit<'a> {
    /// A file with this content.
    File(&'a str, &'a str),
    /// An executable file with this content.
    Executable(&'a str, &'a str),
    /// A symlink to this target.
    Symlink(&'a str, &'a str),
    /// A submodule at this commit.
    Submodule(&'a str, &'a str),
    /// The file, or the directory with all that is in it, goes.
    Remove(&'a str),
}

/// Unwraps what a test cannot go on without.
fn must<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// An empty repository.
    #[must_use]
    pub fn new() -> Self {
        let upstream = Self {
            home: must(tempfile::tempdir(), "a temporary directory"),
        };
        must(std::fs::create_dir(upstream.path()), "the upstream's directory");
        upstream.git(&["init", "--quiet", "--bare", "--initial-branch=main", "."]);
        upstream
    }

    /// The repository's directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.path().join("upstream.git")
    }

    /// Its address: a path.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote {
            url: self.path().display().to_string(),
            credentials: None,
        }
    }

    /// A new root for mirrors beside the repository.
    #[must_use]
    pub fn mirrors_config(&self) -> MirrorsConfig {
        let mut config = MirrorsConfig::new(self.home.path().join("mirrors"));
        config.allow_file = true;
        config.timeout = Duration::from_secs(60);
        config
    }

    /// The repository's mirror, nothing fetched yet.
    #[must_use]
    pub fn mirror(&self) -> Mirror {
        must(Mirrors::new(self.mirrors_config()), "the mirrors").open(REPO, self.remote())
    }

    /// Runs git in the repository and returns what it printed, without the last newline.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, &[], b"")
    }

    /// As [`Self::git`], with variables of the environment and an input.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn git_with(&self, arguments: &[&str], environment: &[(&str, &Path)], input: &[u8]) -> String {
        git_in(&self.path(), arguments, environment, input)
    }

    /// Makes a commit of the first parent's files with `edits` applied. No branch moves.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn commit(&self, parents: &[&CommitOid], message: &str, edits: &[Edit<'_>]) -> CommitOid {
        let tree = self.edited(parents.first().copied(), edits);
        self.commit_tree(parents, message, &tree)
    }

    /// Makes a commit of a tree. No branch moves.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn commit_tree(&self, parents: &[&CommitOid], message: &str, tree: &str) -> CommitOid {
        let mut arguments = vec!["commit-tree", tree, "-m", message];
        for parent in parents {
            arguments.extend(["-p", parent.as_str()]);
        }
        must(CommitOid::parse(self.git(&arguments)), "a commit id")
    }

    /// The tree that a temporary index makes of a commit's files with `edits` applied.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn edited(&self, base: Option<&CommitOid>, edits: &[Edit<'_>]) -> String {
        let place = must(tempfile::tempdir(), "a temporary directory");
        let index = place.path().join("index");
        let environment: [(&str, &Path); 1] = [("GIT_INDEX_FILE", &index)];
        let run = |arguments: &[&str], input: &[u8]| self.git_with(arguments, &environment, input);
        match base {
            Some(base) => run(&["read-tree", base.as_str()], b""),
            None => run(&["read-tree", "--empty"], b""),
        };
        for edit in edits {
            let (mode, id, path) = match *edit {
                Edit::File(path, content) => ("100644", self.blob(content), path),
                Edit::Executable(path, content) => ("100755", self.blob(content), path),
                Edit::Symlink(path, target) => ("120000", self.blob(target), path),
                Edit::Submodule(path, commit) => ("160000", commit.to_owned(), path),
                Edit::Remove(path) => {
                    let literal = format!(":(literal){path}");
                    let files = run(&["ls-files", "-z", "--", &literal], b"");
                    let gone: String = files
                        .split_terminator('\0')
                        .map(|file| format!("0 {}\t{file}\0", "0".repeat(40)))
                        .collect();
                    run(&["update-index", "-z", "--index-info"], gone.as_bytes());
                    continue;
                }
            };
            let line = format!("{mode} {id}\t{path}\0");
            run(&["update-index", "-z", "--index-info"], line.as_bytes());
        }
        run(&["write-tree"], b"")
    }

    /// Writes a blob and returns its id.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn blob(&self, content: &str) -> String {
        self.git_with(&["hash-object", "-w", "--stdin"], &[], content.as_bytes())
    }

    /// Puts a commit with `edits` on top of a branch, which is made when it is missing.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn push(&self, branch: &str, message: &str, edits: &[Edit<'_>]) -> CommitOid {
        let head = self.head(branch);
        let parents: Vec<&CommitOid> = head.iter().collect();
        let commit = self.commit(&parents, message, edits);
        self.set(branch, &commit);
        commit
    }

    /// Moves a branch, whatever it was.
    ///
    /// # Panics
    /// When git fails.
    #[track_caller]
    pub fn set(&self, branch: &str, commit: &CommitOid) {
        self.git(&["update-ref", &format!("refs/heads/{branch}"), commit.as_str()]);
    }

    /// Where a branch is.
    ///
    /// # Panics
    /// When git fails.
    #[must_use]
    pub fn head(&self, branch: &str) -> Option<CommitOid> {
        let listed = self.git(&[
            "for-each-ref",
            "--format=%(objectname)",
            &format!("refs/heads/{branch}"),
        ]);
        // The pattern also names what lies below it.
        listed.lines().next().and_then(|id| CommitOid::parse(id).ok())
    }

    /// The tree of a directory of a commit.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn tree(&self, commit: &CommitOid, path: &str) -> TreeOid {
        must(
            TreeOid::parse(self.git(&[
                "rev-parse",
                "--verify",
                "--end-of-options",
                &format!("{commit}:{path}"),
            ])),
            "a tree id",
        )
    }
}

/// A lease of [`REPO`] that holds for a minute.
#[must_use]
pub fn lease() -> Lease {
    Lease::issue(REPO, Fence(1), Instant::now() + Duration::from_secs(60))
}

/// A branch name that is right.
///
/// # Panics
/// When it is not.
#[must_use]
#[track_caller]
pub fn branch(name: &str) -> BranchName {
    must(BranchName::parse(name), "a branch name")
}

/// Runs git in a directory, free of this machine's configuration, with a fixed author and date.
///
/// # Panics
/// When git fails.
#[track_caller]
pub fn git_in(dir: &Path, arguments: &[&str], environment: &[(&str, &Path)], input: &[u8]) -> String {
    let date = format!("{WHEN} +0000");
    let mut command = Command::new("git");
    command
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap_or(dir))
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.com")
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.com")
        .env("GIT_COMMITTER_DATE", &date)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in environment {
        command.env(name, value);
    }
    let mut child = must(command.spawn(), "git");
    if let Some(mut stdin) = child.stdin.take() {
        must(stdin.write_all(input), "the input of git");
    }
    let output = must(child.wait_with_output(), "git");
    assert!(
        output.status.success(),
        "git {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if stdout.ends_with('\n') {
        stdout.pop();
    }
    stdout
}
