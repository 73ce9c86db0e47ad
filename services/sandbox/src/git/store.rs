//! Making bare repositories: empty ones, and clones of a person's own.

use std::path::Path;

use super::{Git, GitError, failed};

impl Git {
    /// Makes an empty bare repository whose `HEAD` names the default branch.
    pub(crate) async fn init(&self, dir: &Path, default_branch: &str) -> Result<(), GitError> {
        let head = format!("--initial-branch={default_branch}");
        let output = self.run(dir, &["init", "--bare", "--quiet", &head]).await?;
        drop(output);
        self.configure(dir).await
    }

    /// Clones a repository (a git directory or a work tree) into a bare one, and gives its default branch.
    ///
    /// The original is only read. Where its `HEAD` is detached, the clone gets a branch `main` at that commit,
    /// unless it has one.
    pub(crate) async fn clone_bare(&self, from: &Path, dir: &Path) -> Result<String, GitError> {
        let mut command = self.command();
        // Objects are immutable files: git links them where it can, and copies them where it cannot.
        command
            .args(["clone", "--bare", "--quiet", "--"])
            .arg(from)
            .arg(dir);
        let output = command.output().await.map_err(GitError::Start)?;
        if !output.status.success() {
            return Err(GitError::Failed {
                command: "clone".into(),
                code: output.status.code(),
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        // The clone knows where it came from; nothing may ever go back there.
        let args = ["remote", "remove", "origin"];
        let removed = self.output(dir, &args, &[], None).await?;
        if !matches!(removed.code, Some(0 | 2)) {
            return Err(failed(&args, &removed));
        }
        self.configure(dir).await?;
        let head = self
            .output(dir, &["symbolic-ref", "--quiet", "--short", "HEAD"], &[], None)
            .await?;
        if head.code == Some(0) {
            return Ok(head.text());
        }
        let at = self.resolve(dir, "HEAD").await?;
        let branches = self.refs(dir, "refs/heads/").await?;
        let named = ["main", "master"]
            .into_iter()
            .find(|name| branches.contains_key(&format!("refs/heads/{name}")));
        let branch = named.unwrap_or("main");
        if let (None, Some(at)) = (named, at) {
            self.update_ref(dir, "refs/heads/main", &at, super::ZERO_OID)
                .await?;
        }
        self.set_head(dir, branch).await?;
        Ok(branch.to_owned())
    }

    /// Makes `HEAD` name a branch.
    pub(crate) async fn set_head(&self, dir: &Path, branch: &str) -> Result<(), GitError> {
        let target = format!("refs/heads/{branch}");
        self.run(dir, &["symbolic-ref", "HEAD", &target]).await.map(drop)
    }

    /// Writes what has to hold for readers that do not use the forge's own configuration, too.
    async fn configure(&self, dir: &Path) -> Result<(), GitError> {
        let settings = [
            ("gc.auto", "0"),
            ("receive.hideRefs", "refs/pull"),
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.allowAnySHA1InWant", "true"),
        ];
        for (key, value) in settings {
            self.run(dir, &["config", key, value]).await?;
        }
        Ok(())
    }
}
