//! Merging in the object database: merge commits, squashes and rebases, as GitHub makes them.

use std::path::Path;

use super::commits::Signature;
use super::{Git, GitError, failed};

/// What came of trying to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merged {
    /// The tree (or, for a rebase, the commit) that came of it.
    Clean(String),
    /// The two sides changed the same thing.
    Conflict,
}

impl Git {
    /// Returns the best common ancestor of two commits.
    pub(crate) async fn merge_base(&self, dir: &Path, a: &str, b: &str) -> Result<Option<String>, GitError> {
        let args = ["merge-base", a, b];
        let output = self.output(dir, &args, &[], None).await?;
        match output.code {
            Some(0) => Ok(Some(output.text())),
            Some(1) => Ok(None),
            _ => Err(failed(&args, &output)),
        }
    }

    /// Merges two commits and gives the tree.
    pub(crate) async fn merge_tree(
        &self,
        dir: &Path,
        base: &str,
        head: &str,
        from: Option<&str>,
    ) -> Result<Merged, GitError> {
        let ancestor = from.map(|from| format!("--merge-base={from}"));
        let mut args = vec!["merge-tree", "--write-tree", "--no-messages"];
        args.extend(ancestor.as_deref());
        args.extend([base, head]);
        let output = self.output(dir, &args, &[], None).await?;
        match output.code {
            Some(0) => Ok(Merged::Clean(output.text())),
            Some(1) => Ok(Merged::Conflict),
            _ => Err(failed(&args, &output)),
        }
    }

    /// Makes the commits between `from` and `head` anew on `base`, and gives the last one.
    ///
    /// Authors are kept, the committer is the given one. Merge commits are left out, as GitHub leaves them out.
    pub(crate) async fn rebase(
        &self,
        dir: &Path,
        from: &str,
        head: &str,
        base: &str,
        committer: &Signature,
    ) -> Result<Merged, GitError> {
        let range = format!("{from}..{head}");
        let shas = self
            .rev_list(dir, &["--reverse", "--topo-order", "--no-merges", &range])
            .await?;
        let mut tip = base.to_owned();
        for commit in self.commits(dir, &shas).await? {
            let parent = commit.parents.first().map(String::as_str);
            let tree = match self.merge_tree(dir, &tip, &commit.sha, parent).await? {
                Merged::Clean(tree) => tree,
                Merged::Conflict => return Ok(Merged::Conflict),
            };
            tip = self
                .make_commit(dir, &tree, &[&tip], &commit.message, &commit.author, committer)
                .await?;
        }
        Ok(Merged::Clean(tip))
    }
}
