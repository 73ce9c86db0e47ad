//! Addresses of pages on the forge.

use crate::{CommitOid, PathInRepo, RepoName};

/// Where the forge's web pages are, and the addresses below it. The addresses can stand in a Markdown link as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    web: String,
}

impl Links {
    /// The forge whose web pages begin at `web`, such as `https://github.com`. A slash at its end is taken off.
    #[must_use]
    pub fn new(web: &str) -> Self {
        Self {
            web: encode(web.trim().trim_end_matches('/'), b":/?=&[]"),
        }
    }

    /// The page of a commit.
    #[must_use]
    pub fn commit(&self, repo: &RepoName, commit: &CommitOid) -> String {
        format!("{}/{repo}/commit/{commit}", self.web)
    }

    /// A line of a file at a commit; lines count from 1.
    #[must_use]
    pub fn line(&self, repo: &RepoName, commit: &CommitOid, file: &str, line: usize) -> String {
        format!("{}/{repo}/blob/{commit}/{}#L{line}", self.web, encode(file, b"/"))
    }

    /// Who changed which line of a file, as of a commit.
    #[must_use]
    pub fn blame(&self, repo: &RepoName, commit: &CommitOid, file: &PathInRepo) -> String {
        format!(
            "{}/{repo}/blame/{commit}/{}",
            self.web,
            encode(file.as_str(), b"/")
        )
    }
}

/// Percent-encodes all but letters, digits, `-._~` and the bytes in `also`.
fn encode(text: &str, also: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_makes_an_address_that_a_markdown_link_can_hold() {
        let links = Links::new("http://127.0.0.1:8080/");
        let repo = RepoName::parse("acme/gitops").unwrap();
        let commit = CommitOid::parse("0123456789012345678901234567890123456789").unwrap();
        assert_eq!(
            links.line(&repo, &commit, "a b/(ü)#?.yaml", 3),
            "http://127.0.0.1:8080/acme/gitops/blob/0123456789012345678901234567890123456789/a%20b/%28%C3%BC%29%23%3F.yaml#L3"
        );
    }
}
