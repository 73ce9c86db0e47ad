//! Reading and making blobs and trees, without a checkout.

use std::ffi::OsString;
use std::path::Path;

use super::{Git, GitError, ZERO_OID, failed};

/// One line of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeEntry {
    /// Six octal digits, such as `100755`.
    pub(crate) mode: String,
    /// `blob`, `tree` or `commit`.
    pub(crate) kind: String,
    pub(crate) oid: String,
    /// Bytes; only blobs have a size.
    pub(crate) size: Option<u64>,
    /// From the root of the tree that was listed. Bytes that are not UTF-8 are replaced.
    pub(crate) path: String,
}

impl TreeEntry {
    /// Returns the last component of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(crate) fn is_symlink(&self) -> bool {
        self.mode == "120000"
    }
}

/// One change to be made to a tree: a path gets an object, or loses it.
#[derive(Debug, Clone)]
pub(crate) struct TreeEdit {
    pub(crate) path: String,
    /// Mode and object; nothing deletes the path and everything below it.
    pub(crate) entry: Option<(String, String)>,
}

fn parse_ls_tree(raw: &[u8]) -> Option<Vec<TreeEntry>> {
    raw.split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let text = String::from_utf8_lossy(line);
            let (meta, path) = text.split_once('\t')?;
            let mut words = meta.split_whitespace();
            Some(TreeEntry {
                mode: words.next()?.into(),
                kind: words.next()?.into(),
                oid: words.next()?.into(),
                size: words.next()?.parse().ok(),
                path: path.into(),
            })
        })
        .collect()
}

impl Git {
    /// Lists a tree, or every file and directory below it.
    pub(crate) async fn ls_tree(
        &self,
        dir: &Path,
        tree: &str,
        recursive: bool,
    ) -> Result<Vec<TreeEntry>, GitError> {
        let args: &[&str] = if recursive {
            &["ls-tree", "-z", "-l", "-r", "-t", tree]
        } else {
            &["ls-tree", "-z", "-l", tree]
        };
        let output = self.run(dir, args).await?;
        parse_ls_tree(&output.stdout).ok_or(GitError::Unreadable { command: "ls-tree" })
    }

    /// Returns what lies at a path of a commit or tree; the root is the tree itself.
    pub(crate) async fn entry(
        &self,
        dir: &Path,
        treeish: &str,
        path: &str,
    ) -> Result<Option<TreeEntry>, GitError> {
        if path.is_empty() {
            let tree = self
                .run(dir, &["rev-parse", "--verify", &format!("{treeish}^{{tree}}")])
                .await?;
            return Ok(Some(TreeEntry {
                mode: "040000".into(),
                kind: "tree".into(),
                oid: tree.text(),
                size: None,
                path: String::new(),
            }));
        }
        let literal = [("GIT_LITERAL_PATHSPECS", OsString::from("1"))];
        let args = ["ls-tree", "-z", "-l", "--full-tree", treeish, "--", path];
        let output = self.run_with(dir, &args, &literal, None).await?;
        let entries = parse_ls_tree(&output.stdout).ok_or(GitError::Unreadable { command: "ls-tree" })?;
        Ok(entries.into_iter().find(|entry| entry.path == path))
    }

    /// Returns the kind of an object (`blob`, `tree`, `commit`, `tag`), or nothing where it does not exist.
    pub(crate) async fn kind(&self, dir: &Path, oid: &str) -> Result<Option<String>, GitError> {
        let output = self.output(dir, &["cat-file", "-t", oid], &[], None).await?;
        Ok((output.code == Some(0)).then(|| output.text()))
    }

    /// Returns the bytes of a blob.
    pub(crate) async fn blob(&self, dir: &Path, oid: &str) -> Result<Vec<u8>, GitError> {
        Ok(self.run(dir, &["cat-file", "blob", oid]).await?.stdout)
    }

    /// Stores a blob and gives its id.
    pub(crate) async fn make_blob(&self, dir: &Path, content: Vec<u8>) -> Result<String, GitError> {
        let output = self
            .run_with(dir, &["hash-object", "-w", "--stdin"], &[], Some(content))
            .await?;
        Ok(output.text())
    }

    /// Makes a tree from another one (or from nothing) by edits, and gives its id.
    ///
    /// Works on an index of its own, so that edits never meet each other.
    pub(crate) async fn make_tree(
        &self,
        dir: &Path,
        base: Option<&str>,
        edits: &[TreeEdit],
    ) -> Result<String, GitError> {
        let index = IndexFile::new(dir);
        let environment = [("GIT_INDEX_FILE", index.path.clone())];
        if let Some(base) = base {
            self.run_with(dir, &["read-tree", base], &environment, None)
                .await?;
        } else {
            self.run_with(dir, &["read-tree", "--empty"], &environment, None)
                .await?;
        }
        let mut gone = Vec::new();
        let mut lines = Vec::new();
        for edit in edits {
            match &edit.entry {
                Some((mode, oid)) if mode == "040000" => {
                    gone.push(edit.path.as_str());
                    for entry in self.ls_tree(dir, oid, true).await? {
                        if entry.kind != "tree" {
                            let path = format!("{}/{}", edit.path, entry.path);
                            lines.push(format!("{} {}\t{path}", entry.mode, entry.oid));
                        }
                    }
                }
                Some((mode, oid)) => lines.push(format!("{mode} {oid}\t{}", edit.path)),
                None => {
                    gone.push(edit.path.as_str());
                    lines.push(format!("0 {ZERO_OID}\t{}", edit.path));
                }
            }
        }
        if !gone.is_empty() {
            let mut args = vec!["rm", "-r", "-f", "--cached", "--quiet", "--ignore-unmatch", "--"];
            args.extend(gone);
            let literal = [
                environment.as_slice(),
                &[("GIT_LITERAL_PATHSPECS", OsString::from("1"))],
            ]
            .concat();
            // `rm` asks for a work tree; the index alone is changed, so that an empty directory will do.
            let empty = [literal.as_slice(), &[("GIT_WORK_TREE", self.empty_dir())]].concat();
            self.run_with(dir, &args, &empty, None).await?;
        }
        let mut input = lines.join("\0").into_bytes();
        input.push(0);
        let args = ["update-index", "--add", "--replace", "-z", "--index-info"];
        let output = self.output(dir, &args, &environment, Some(input)).await?;
        if output.code != Some(0) {
            return Err(failed(&args, &output));
        }
        Ok(self
            .run_with(dir, &["write-tree"], &environment, None)
            .await?
            .text())
    }

    fn empty_dir(&self) -> OsString {
        self.home().as_os_str().to_owned()
    }
}

/// An index file that is removed when it is done with.
struct IndexFile {
    path: OsString,
}

impl IndexFile {
    fn new(dir: &Path) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("index-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self {
            path: dir.join(name).into_os_string(),
        }
    }
}

impl Drop for IndexFile {
    fn drop(&mut self) {
        // Best effort: it lies inside the repository and goes with it at the latest.
        std::fs::remove_file(&self.path).ok();
    }
}
