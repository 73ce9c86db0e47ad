//! What two trees differ in, as GitHub lists it: renames found, lines counted, patches cut per file.

use std::path::Path;

use super::{Git, GitError, ZERO_OID};

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileChange {
    /// GitHub's word: `added`, `removed`, `modified`, `renamed`, `changed`.
    pub(crate) status: &'static str,
    pub(crate) path: String,
    /// Where a renamed file came from.
    pub(crate) previous: Option<String>,
    /// The object after the change; for a removed file the one before, as GitHub gives it.
    pub(crate) oid: String,
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
    /// The hunks, where the file is text and patches were asked for.
    pub(crate) patch: Option<String>,
}

/// Up to this many files get a patch; beyond it the listing has none, as GitHub leaves them out of large diffs.
const FILES_WITH_PATCH: usize = 300;
/// A patch longer than this is left out.
const PATCH_BYTES: usize = 64 * 1024;

struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn next(&mut self) -> Option<String> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.rest.len());
        let text = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(text)
    }
}

/// Reads `--raw --numstat -z`: first a raw record for each file, then a count for each file, in the same order.
fn parse(raw: &[u8]) -> Option<Vec<FileChange>> {
    let mut fields = Fields { rest: raw };
    let mut files: Vec<FileChange> = Vec::new();
    let mut counted = 0;
    while let Some(field) = fields.next() {
        if let Some(record) = field.strip_prefix(':') {
            let words: Vec<&str> = record.split(' ').collect();
            let [old_mode, new_mode, before, after, letter] = words.as_slice() else {
                return None;
            };
            let first = fields.next()?;
            let (status, path, previous) = match letter.as_bytes().first()? {
                b'A' => ("added", first, None),
                b'D' => ("removed", first, None),
                b'R' => ("renamed", fields.next()?, Some(first)),
                b'C' => ("copied", fields.next()?, Some(first)),
                b'T' => ("changed", first, None),
                // GitHub calls a change of the mode alone `changed`.
                _ if before == after && old_mode != new_mode => ("changed", first, None),
                _ => ("modified", first, None),
            };
            let oid = if *after == ZERO_OID { before } else { after };
            files.push(FileChange {
                status,
                path,
                previous,
                oid: (*oid).into(),
                additions: 0,
                deletions: 0,
                patch: None,
            });
        } else {
            let mut parts = field.splitn(3, '\t');
            let (additions, deletions, path) = (parts.next()?, parts.next()?, parts.next()?);
            if path.is_empty() {
                // A rename has its two paths in fields of their own.
                fields.next()?;
                fields.next()?;
            }
            let file = files.get_mut(counted)?;
            counted += 1;
            // A binary file has `-` for both.
            file.additions = additions.parse().unwrap_or(0);
            file.deletions = deletions.parse().unwrap_or(0);
        }
    }
    Some(files)
}

/// Cuts a whole diff into the hunks of each file, in order.
fn hunks(diff: &str) -> Vec<Option<String>> {
    let mut all: Vec<Option<String>> = Vec::new();
    for line in diff.split_inclusive('\n') {
        if line.starts_with("diff --git ") {
            all.push(None);
        } else if let Some(current) = all.last_mut() {
            match current {
                Some(text) => text.push_str(line),
                None if line.starts_with("@@ ") => *current = Some(line.into()),
                None => {}
            }
        }
    }
    all.into_iter()
        .map(|patch| patch.map(|text| text.trim_end_matches('\n').to_owned()))
        .map(|patch| patch.filter(|text| text.len() <= PATCH_BYTES))
        .collect()
}

impl Git {
    /// Compares two commits or trees. Nothing as `before` compares with the empty tree.
    pub(crate) async fn diff(
        &self,
        dir: &Path,
        before: Option<&str>,
        after: &str,
        patches: bool,
    ) -> Result<Vec<FileChange>, GitError> {
        let before = match before {
            Some(before) => before.to_owned(),
            None => self
                .run_with(dir, &["mktree"], &[], Some(Vec::new()))
                .await?
                .text(),
        };
        let args = [
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--numstat",
            "--full-index",
            "--no-abbrev",
            "-M",
            &before,
            after,
        ];
        let output = self.run(dir, &args).await?;
        let mut files = parse(&output.stdout).ok_or(GitError::Unreadable { command: "diff-tree" })?;
        if patches && !files.is_empty() && files.len() <= FILES_WITH_PATCH {
            let texts = hunks(&self.diff_text(dir, &before, after).await?);
            if texts.len() == files.len() {
                for (file, patch) in files.iter_mut().zip(texts) {
                    file.patch = patch;
                }
            }
        }
        Ok(files)
    }

    /// Returns the unified diff between two commits or trees.
    pub(crate) async fn diff_text(&self, dir: &Path, before: &str, after: &str) -> Result<String, GitError> {
        let output = self
            .run(dir, &["diff-tree", "-r", "-p", "-M", before, after])
            .await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Lists the paths that each commit added, removed and modified against its first parent, for push events.
    pub(crate) async fn touched(&self, dir: &Path, commits: &[String]) -> Result<Vec<Touched>, GitError> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let mut input = commits.join("\n").into_bytes();
        input.push(b'\n');
        let args = [
            "diff-tree",
            "--stdin",
            "--root",
            "-r",
            "-m",
            "--first-parent",
            "-z",
            "--name-status",
        ];
        let args = [args.as_slice(), &["--no-renames"]].concat();
        let output = self.run_with(dir, &args, &[], Some(input)).await?;
        let mut found: Vec<Touched> = commits.iter().map(|_| Touched::default()).collect();
        let mut current = None;
        let mut fields = Fields { rest: &output.stdout };
        while let Some(field) = fields.next() {
            if let Some(at) = commits.iter().position(|commit| *commit == field) {
                current = found.get_mut(at);
            } else if let Some(touched) = current.as_mut() {
                let path = fields
                    .next()
                    .ok_or(GitError::Unreadable { command: "diff-tree" })?;
                match field.as_str() {
                    "A" => touched.added.push(path),
                    "D" => touched.removed.push(path),
                    _ => touched.modified.push(path),
                }
            }
        }
        Ok(found)
    }
}

/// The paths that one commit touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) modified: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::{hunks, parse};

    #[test]
    fn raw_records_and_counts_are_put_together() {
        let raw =
            b":100644 100644 aa bb M\0a\0:100644 100644 cc cc R100\0old\0new\0:100644 100755 dd dd M\0x\0\
            :100644 000000 ee 0000000000000000000000000000000000000000 D\0gone\0\
            1\t2\ta\0\x30\t0\t\0old\0new\0\x30\t0\tx\0-\t-\tgone\0";
        let files = parse(raw).expect("well formed");
        let told: Vec<_> = files
            .iter()
            .map(|f| {
                (
                    f.status,
                    f.path.as_str(),
                    f.oid.as_str(),
                    f.additions,
                    f.deletions,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("modified", "a", "bb", 1, 2),
                ("renamed", "new", "cc", 0, 0),
                ("changed", "x", "dd", 0, 0),
                ("removed", "gone", "ee", 0, 0),
            ]
        );
        assert_eq!(files[1].previous.as_deref(), Some("old"));
    }

    #[test]
    fn a_diff_is_cut_at_file_headers_and_not_at_content_that_looks_like_one() {
        let diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-diff --git a/y b/y\n+b\n\
            diff --git a/z b/z\nBinary files differ\n";
        let cut = hunks(diff);
        assert_eq!(cut, [Some("@@ -1 +1 @@\n-diff --git a/y b/y\n+b".into()), None]);
    }
}
