//! Reading and making commits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::{Git, GitError, failed};
use crate::clock::Timestamp;

/// Who made a commit, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) when: Timestamp,
}

impl Signature {
    pub(crate) fn now(name: impl Into<String>, email: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            email: email.into(),
            when: Timestamp::now(),
        }
    }

    /// Returns the account that GitHub writes as the committer of merges.
    pub(crate) fn web_flow() -> Self {
        Self::now("GitHub", "noreply@github.com")
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('<')?;
        let (email, rest) = rest.rsplit_once('>')?;
        let seconds = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            name: name.trim().into(),
            email: email.into(),
            when: Timestamp::from_unix(seconds),
        })
    }
}

/// A commit, read from the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) tree: String,
    pub(crate) parents: Vec<String>,
    pub(crate) author: Signature,
    pub(crate) committer: Signature,
    pub(crate) message: String,
}

impl Commit {
    fn parse(sha: &str, raw: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(raw);
        let (head, message) = text.split_once("\n\n").unwrap_or((&text, ""));
        let (mut tree, mut author, mut committer, mut parents) = (None, None, None, Vec::new());
        for line in head.lines() {
            match line.split_once(' ') {
                Some(("tree", value)) => tree = Some(value.to_owned()),
                Some(("parent", value)) => parents.push(value.to_owned()),
                Some(("author", value)) => author = Signature::parse(value),
                Some(("committer", value)) => committer = Signature::parse(value),
                _ => {}
            }
        }
        Some(Self {
            sha: sha.into(),
            tree: tree?,
            parents,
            author: author?,
            committer: committer?,
            message: message.trim_end_matches('\n').into(),
        })
    }

    /// Returns the first line of the message.
    pub(crate) fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

impl Git {
    /// Returns the commit that a revision names, or nothing where it names none.
    pub(crate) async fn resolve(&self, dir: &Path, revision: &str) -> Result<Option<String>, GitError> {
        let wanted = format!("{revision}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
        let output = self.output(dir, &args, &[], None).await?;
        Ok((output.code == Some(0)).then(|| output.text()))
    }

    /// Returns the commit that a person means by a branch, tag or (short) object id.
    ///
    /// A branch goes before a tag, as on GitHub.
    pub(crate) async fn resolve_name(&self, dir: &Path, name: &str) -> Result<Option<String>, GitError> {
        if name.is_empty()
            || name.starts_with('-')
            || name.contains("..")
            || name.contains(['^', '~', ':', '@'])
        {
            return Ok(None);
        }
        let short = name.strip_prefix("refs/").unwrap_or(name);
        for candidate in [
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}"),
            format!("refs/{short}"),
        ] {
            if let Some(found) = self.resolve(dir, &candidate).await? {
                return Ok(Some(found));
            }
        }
        let hexadecimal = name.len() >= 7 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hexadecimal {
            self.resolve(dir, name).await
        } else {
            Ok(None)
        }
    }

    /// Reads commits by object id. All of them have to exist.
    pub(crate) async fn commits(&self, dir: &Path, shas: &[String]) -> Result<Vec<Commit>, GitError> {
        if shas.is_empty() {
            return Ok(Vec::new());
        }
        let mut input = shas.join("\n").into_bytes();
        input.push(b'\n');
        let output = self
            .run_with(dir, &["cat-file", "--batch"], &[], Some(input))
            .await?;
        let unreadable = || GitError::Unreadable { command: "cat-file" };
        let mut rest = output.stdout.as_slice();
        let mut commits = Vec::with_capacity(shas.len());
        while !rest.is_empty() {
            let end = rest
                .iter()
                .position(|byte| *byte == b'\n')
                .ok_or_else(unreadable)?;
            let header = String::from_utf8_lossy(&rest[..end]).into_owned();
            let mut words = header.split(' ');
            let (Some(sha), Some("commit"), Some(size)) = (words.next(), words.next(), words.next()) else {
                return Err(unreadable());
            };
            let size: usize = size.parse().map_err(|_not_a_number| unreadable())?;
            let body = rest.get(end + 1..end + 1 + size).ok_or_else(unreadable)?;
            commits.push(Commit::parse(sha, body).ok_or_else(unreadable)?);
            rest = rest.get(end + 2 + size..).unwrap_or_default();
        }
        Ok(commits)
    }

    /// Reads one commit.
    pub(crate) async fn commit(&self, dir: &Path, sha: &str) -> Result<Commit, GitError> {
        let found = self.commits(dir, &[sha.to_owned()]).await?;
        found
            .into_iter()
            .next()
            .ok_or(GitError::Unreadable { command: "cat-file" })
    }

    /// Lists commits as `git rev-list` does: newest first, unless the arguments say otherwise.
    pub(crate) async fn rev_list(&self, dir: &Path, args: &[&str]) -> Result<Vec<String>, GitError> {
        let mut all = vec!["rev-list"];
        all.extend(args);
        all.push("--");
        Ok(self
            .run(dir, &all)
            .await?
            .text()
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// Returns all refs with the objects they point at.
    pub(crate) async fn refs(&self, dir: &Path, prefix: &str) -> Result<BTreeMap<String, String>, GitError> {
        let args = ["for-each-ref", "--format=%(objectname) %(refname)", prefix];
        let output = self.run(dir, &args).await?;
        Ok(output
            .text()
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(oid, name)| (name.to_owned(), oid.to_owned()))
            .collect())
    }

    /// Moves a ref from one object to another, and fails where it is not at the old one any more.
    ///
    /// [`super::ZERO_OID`] as `before` creates, as `after` deletes. Gives `false` where the ref had moved.
    pub(crate) async fn update_ref(
        &self,
        dir: &Path,
        name: &str,
        after: &str,
        before: &str,
    ) -> Result<bool, GitError> {
        let args: &[&str] = if after == super::ZERO_OID {
            &["update-ref", "-d", name, before]
        } else {
            &["update-ref", name, after, before]
        };
        let output = self.output(dir, args, &[], None).await?;
        match output.code {
            Some(0) => Ok(true),
            Some(_) if String::from_utf8_lossy(&output.stderr).contains("cannot lock ref") => Ok(false),
            _ => Err(failed(args, &output)),
        }
    }

    /// Tells whether one commit is another one or lies behind it.
    pub(crate) async fn is_ancestor(&self, dir: &Path, older: &str, newer: &str) -> Result<bool, GitError> {
        let args = ["merge-base", "--is-ancestor", older, newer];
        let output = self.output(dir, &args, &[], None).await?;
        match output.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(&args, &output)),
        }
    }

    /// Makes a commit object and gives its id.
    pub(crate) async fn make_commit(
        &self,
        dir: &Path,
        tree: &str,
        parents: &[&str],
        message: &str,
        author: &Signature,
        committer: &Signature,
    ) -> Result<String, GitError> {
        let mut args = vec!["commit-tree", tree];
        for parent in parents {
            args.extend(["-p", parent]);
        }
        let date = |signature: &Signature| OsString::from(format!("@{} +0000", signature.when.unix()));
        let environment = [
            ("GIT_AUTHOR_NAME", OsString::from(&author.name)),
            ("GIT_AUTHOR_EMAIL", OsString::from(&author.email)),
            ("GIT_AUTHOR_DATE", date(author)),
            ("GIT_COMMITTER_NAME", OsString::from(&committer.name)),
            ("GIT_COMMITTER_EMAIL", OsString::from(&committer.email)),
            ("GIT_COMMITTER_DATE", date(committer)),
        ];
        let output = self
            .run_with(dir, &args, &environment, Some(message.as_bytes().to_vec()))
            .await?;
        Ok(output.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Commit;

    #[test]
    fn a_raw_commit_is_read_with_its_signature_block_left_out() {
        let raw = b"tree 1\nparent 2\nparent 3\nauthor A <B> C <a@x> 1700000000 +0200\n\
            committer D <d@x> 1700000001 +0000\ngpgsig -----BEGIN\n abc\n -----END\n\nsubject\n\nbody\n";
        let commit = Commit::parse("0", raw).expect("a commit");
        assert_eq!(commit.parents, ["2", "3"]);
        assert_eq!(commit.author.name, "A");
        assert_eq!(commit.author.when.to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(
            (commit.subject(), commit.message.as_str()),
            ("subject", "subject\n\nbody")
        );
    }
}
