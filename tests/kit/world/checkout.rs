//! A work tree of a person, for what a person does with git itself.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::{MONA, REPOSITORY, World, git};

/// A clone of the repository with a branch checked out. It pushes over HTTP, as Mona.
#[derive(Debug)]
pub struct Checkout {
    directory: TempDir,
    url: String,
    token: String,
}

impl World {
    /// Clones the repository and checks a branch out.
    pub async fn checkout(&self, branch: &str) -> Checkout {
        let directory =
            tempfile::tempdir_in(self.data.path()).expect("the folder of the test can be written");
        let bare = self
            .forge
            .repository_dir(REPOSITORY)
            .expect("every world has a repository");
        let bare = bare.to_str().expect("the folder of the test has a plain name");
        let arguments = ["clone", "--quiet", "--branch", branch, "--", bare, "."];
        git::run(&mut git::command(directory.path()), &arguments).await;
        let token = self
            .forge
            .personal_token(MONA)
            .expect("the system gives random numbers");
        Checkout {
            directory,
            url: self.forge.git_url(REPOSITORY),
            token,
        }
    }

    /// The id of the tree that a revision of a repository of the forge has.
    pub async fn root(&self, repository: &str, revision: &str) -> String {
        let bare = self
            .forge
            .repository_dir(repository)
            .expect("the repository is there");
        let tree = format!("{revision}^{{tree}}");
        git::run(&mut git::command(&bare), &["rev-parse", "--verify", &tree]).await
    }
}

impl Checkout {
    /// Returns the work tree.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        let folder = path.parent().expect("a file has a folder");
        std::fs::create_dir_all(folder).expect("the work tree can be written");
        std::fs::write(path, content).expect("the work tree can be written");
    }

    /// Runs git in the work tree; it has to succeed. Returns what it wrote to stdout.
    pub async fn git(&self, arguments: &[&str]) -> String {
        git::run(&mut git::command(self.path()), arguments).await
    }

    /// Puts a symlink into the index, or anything else that is hard to have in a work tree: mode, content, path.
    pub async fn stage(&self, mode: &str, content: &str, path: &str) {
        let object = if mode == "160000" {
            content.to_owned()
        } else {
            let file = self.path().join(".git").join("staged");
            std::fs::write(&file, content).expect("the work tree can be written");
            let file = file
                .to_str()
                .expect("the folder of the test has a plain name")
                .to_owned();
            self.git(&["hash-object", "-w", "--", &file]).await
        };
        let entry = format!("{mode},{object},{path}");
        self.git(&["update-index", "--add", "--cacheinfo", &entry]).await;
    }

    /// Commits everything that differs from the last commit, and returns the commit.
    pub async fn commit_all(&self, message: &str) -> String {
        self.git(&["add", "--all"]).await;
        self.commit_staged(message).await
    }

    /// Commits what is staged, and returns the commit.
    pub async fn commit_staged(&self, message: &str) -> String {
        self.git(&["commit", "--quiet", "--message", message]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }

    /// Pushes the last commit to a branch.
    pub async fn push(&self, branch: &str) {
        let basic = STANDARD.encode(format!("{MONA}:{}", self.token));
        let mut command = git::command(self.path());
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}"));
        let refspec = format!("HEAD:refs/heads/{branch}");
        git::run(&mut command, &["push", "--quiet", "--", &self.url, &refspec]).await;
    }
}
