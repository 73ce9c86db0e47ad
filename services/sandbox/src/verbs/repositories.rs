//! Repositories, their branches and files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::error::{FieldError, ForgeError};
use crate::forge::Forge;
use crate::git::ZERO_OID;
use crate::git::commits::Signature;
use crate::git::objects::TreeEdit;
use crate::model::{Protection, RepositorySettings, UserKind};
use crate::operations::refs;
use crate::state::{RepoRef, Repository};

pub(super) fn user(login: &str) -> Actor {
    Actor::User(login.to_owned())
}

/// Splits `owner/name` and refuses what could not be a path on disk or in a URL.
fn split_name(name: &str) -> Result<(&str, &str), ForgeError> {
    let fine = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.split_once('/')
        .filter(|(owner, name)| fine(owner) && fine(name))
        .ok_or_else(|| {
            ForgeError::Unprocessable(format!(
                "`{name}` is no name for a repository; give `owner/name` of letters, digits, `-`, `_` and `.`"
            ))
        })
}

impl Forge {
    /// Makes an empty repository, `owner/name`, and gives its id. The owner becomes an organization where it is new.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Validation`] where the name is taken, [`ForgeError::Unprocessable`] where it is no name.
    pub async fn create_repository(&self, name: &str, default_branch: &str) -> Result<u64, ForgeError> {
        let dir = self.free_dir(name)?;
        self.inner.git.init(&dir, default_branch).await?;
        self.register(name, dir, default_branch.to_owned()).await
    }

    /// Makes a repository from one on disk (a git directory or a work tree), and gives its id.
    ///
    /// The original is cloned and never written to. Its branches and tags come along, other refs do not.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Git`] where it cannot be cloned; see also [`Forge::create_repository`].
    pub async fn import_repository(&self, name: &str, from: &Path) -> Result<u64, ForgeError> {
        let dir = self.free_dir(name)?;
        let default_branch = self.inner.git.clone_bare(from, &dir).await?;
        self.register(name, dir, default_branch).await
    }

    fn free_dir(&self, name: &str) -> Result<PathBuf, ForgeError> {
        let (owner, short) = split_name(name)?;
        let taken = || {
            let message = "name already exists on this account";
            let error = FieldError {
                field: Some("name"),
                ..FieldError::custom("Repository", message)
            };
            ForgeError::field(error)
        };
        if self.inner.state().repository(name).is_ok() {
            return Err(taken());
        }
        let dir = self
            .inner
            .options
            .data_dir
            .join("repositories")
            .join(owner)
            .join(format!("{short}.git"));
        if dir.exists() {
            return Err(taken());
        }
        let parent = dir.parent().map(Path::to_path_buf).unwrap_or_default();
        std::fs::create_dir_all(parent).map_err(ForgeError::io("make a directory for a repository"))?;
        Ok(dir)
    }

    async fn register(&self, name: &str, dir: PathBuf, default_branch: String) -> Result<u64, ForgeError> {
        let (owner, short) = split_name(name)?;
        let mut known = self.inner.git.refs(&dir, "refs/heads/").await?;
        known.extend(self.inner.git.refs(&dir, "refs/tags/").await?);
        let mut state = self.inner.state();
        let id = state.fresh_id();
        let owner = state.user_or_new(owner, UserKind::Organization).login;
        let now = Timestamp::now();
        let repository = Repository {
            id,
            owner,
            name: short.to_owned(),
            dir,
            lane: Arc::default(),
            default_branch,
            settings: RepositorySettings::default(),
            refs: known,
            pulls: BTreeMap::new(),
            labels: BTreeMap::new(),
            statuses: Vec::new(),
            check_runs: BTreeMap::new(),
            protection: BTreeMap::new(),
            access: BTreeMap::new(),
            created_at: now,
            pushed_at: now,
        };
        state.repositories.insert(name.to_lowercase(), repository);
        Ok(id)
    }

    /// Returns the names of all repositories, as `owner/name`.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        self.inner
            .state()
            .repositories
            .values()
            .map(Repository::full_name)
            .collect()
    }

    /// Returns the numeric id of a repository.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository. So do the other functions that take a name.
    pub fn repository_id(&self, name: &str) -> Result<u64, ForgeError> {
        Ok(self.inner.state().repository(name)?.id)
    }

    /// Returns the directory of a bare repository. Reading it is fine; write to it through the forge.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn repository_dir(&self, name: &str) -> Result<PathBuf, ForgeError> {
        Ok(self.inner.state().repository(name)?.dir.clone())
    }

    /// Returns the default branch of a repository.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn default_branch(&self, name: &str) -> Result<String, ForgeError> {
        Ok(self.inner.state().repository(name)?.default_branch.clone())
    }

    /// Returns the commit of a branch, or nothing where there is no such branch.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn branch(&self, name: &str, branch: &str) -> Result<Option<String>, ForgeError> {
        Ok(self.inner.state().repository(name)?.branch(branch).cloned())
    }

    /// Returns all branches of a repository with their commits.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn branches(&self, name: &str) -> Result<BTreeMap<String, String>, ForgeError> {
        let state = self.inner.state();
        let refs = &state.repository(name)?.refs;
        let branches = refs
            .iter()
            .filter_map(|(name, sha)| Some((name.strip_prefix("refs/heads/")?, sha)));
        Ok(branches
            .map(|(name, sha)| (name.to_owned(), sha.clone()))
            .collect())
    }

    /// Changes the settings of a repository.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn set_repository_settings(
        &self,
        name: &str,
        settings: RepositorySettings,
    ) -> Result<(), ForgeError> {
        self.inner.state().repository_mut(name)?.settings = settings;
        Ok(())
    }

    /// Protects a branch: pull requests into it have to fulfil this. Nothing takes the protection away.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn protect_branch(
        &self,
        name: &str,
        branch: &str,
        protection: Option<Protection>,
    ) -> Result<(), ForgeError> {
        let mut state = self.inner.state();
        let protected = &mut state.repository_mut(name)?.protection;
        match protection {
            Some(protection) => protected.insert(branch.to_owned(), protection),
            None => protected.remove(branch),
        };
        Ok(())
    }

    pub(super) fn repo(&self, name: &str) -> Result<RepoRef, ForgeError> {
        self.inner.state().repo_ref(name)
    }

    /// Commits files on a branch as the viewer, and gives the commit. No content deletes the file.
    ///
    /// A branch that does not exist yet starts at the default branch, or from nothing in an empty repository. A mode
    /// is kept; new files are plain ones. The event of a push is sent.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Conflict`] where somebody pushed to the branch in the meantime, [`ForgeError::Git`].
    pub async fn commit_files(
        &self,
        name: &str,
        branch: &str,
        files: &[(&str, Option<&[u8]>)],
        message: &str,
    ) -> Result<String, ForgeError> {
        let repo = self.repo(name)?;
        let git = &self.inner.git;
        let _lane = repo.lane.lock().await;
        let (tip, start) = {
            let state = self.inner.state();
            let repository = state.repository(name)?;
            let tip = repository.branch(branch).cloned();
            let start = tip
                .clone()
                .or_else(|| repository.branch(&repository.default_branch).cloned());
            (tip, start)
        };
        let mut edits = Vec::with_capacity(files.len());
        for (path, content) in files {
            let entry = match content {
                Some(content) => {
                    let present = match &start {
                        Some(start) => git.entry(&repo.dir, start, path).await?,
                        None => None,
                    };
                    let mode = present
                        .filter(|entry| entry.kind == "blob" && !entry.is_symlink())
                        .map_or_else(|| "100644".to_owned(), |entry| entry.mode);
                    Some((mode, git.make_blob(&repo.dir, content.to_vec()).await?))
                }
                None => None,
            };
            edits.push(TreeEdit {
                path: (*path).to_owned(),
                entry,
            });
        }
        let tree = git.make_tree(&repo.dir, start.as_deref(), &edits).await?;
        let viewer = self.inner.state().user(&self.inner.options.viewer);
        let author = Signature::now(&viewer.login, viewer.email());
        let parents: Vec<&str> = start.as_deref().into_iter().collect();
        let commit = git
            .make_commit(&repo.dir, &tree, &parents, message, &author, &author)
            .await?;
        let reference = format!("refs/heads/{branch}");
        if !git
            .update_ref(&repo.dir, &reference, &commit, tip.as_deref().unwrap_or(ZERO_OID))
            .await?
        {
            return Err(ForgeError::Conflict(format!(
                "the branch `{branch}` was moved in the meantime"
            )));
        }
        refs::notice(&self.inner, &repo, &user(&viewer.login)).await?;
        Ok(commit)
    }

    /// Looks for refs that were moved without the forge, by a push into the directory itself, and sends the events.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Git`].
    pub async fn refresh(&self, name: &str) -> Result<(), ForgeError> {
        let repo = self.repo(name)?;
        let _lane = repo.lane.lock().await;
        refs::notice(&self.inner, &repo, &user(&self.inner.options.viewer)).await
    }

    /// Deletes a branch.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`], [`ForgeError::Git`].
    pub async fn delete_branch(&self, name: &str, branch: &str) -> Result<(), ForgeError> {
        let repo = self.repo(name)?;
        let _lane = repo.lane.lock().await;
        let tip = self.branch(name, branch)?.ok_or_else(ForgeError::not_found)?;
        self.inner
            .git
            .update_ref(&repo.dir, &format!("refs/heads/{branch}"), ZERO_OID, &tip)
            .await?;
        refs::notice(&self.inner, &repo, &user(&self.inner.options.viewer)).await
    }

    /// Reads a file at a branch, tag or commit. Nothing where there is no such file.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] for an unknown repository or revision, [`ForgeError::Git`].
    pub async fn read_file(
        &self,
        name: &str,
        revision: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, ForgeError> {
        let repo = self.repo(name)?;
        let git = &self.inner.git;
        let commit = git
            .resolve_name(&repo.dir, revision)
            .await?
            .ok_or_else(ForgeError::not_found)?;
        match git.entry(&repo.dir, &commit, path).await? {
            Some(entry) if entry.kind == "blob" => Ok(Some(git.blob(&repo.dir, &entry.oid).await?)),
            _ => Ok(None),
        }
    }

    /// Lists every file below a directory at a branch, tag or commit, with mode and blob. An empty path is the root.
    /// Paths are relative to the directory.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] for an unknown repository or revision, [`ForgeError::Git`].
    pub async fn list_files(
        &self,
        name: &str,
        revision: &str,
        directory: &str,
    ) -> Result<BTreeMap<String, (String, String)>, ForgeError> {
        let repo = self.repo(name)?;
        let git = &self.inner.git;
        let commit = git
            .resolve_name(&repo.dir, revision)
            .await?
            .ok_or_else(ForgeError::not_found)?;
        let directory = directory.trim_matches('/');
        match git.entry(&repo.dir, &commit, directory).await? {
            Some(entry) if entry.kind == "tree" => {
                let entries = git.ls_tree(&repo.dir, &entry.oid, true).await?;
                let files = entries.into_iter().filter(|entry| entry.kind != "tree");
                Ok(files.map(|entry| (entry.path, (entry.mode, entry.oid))).collect())
            }
            _ => Ok(BTreeMap::new()),
        }
    }
}
