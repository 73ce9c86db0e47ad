//! Stories of mirrors against a real upstream, on this machine.

pub(crate) mod bridge;
mod changed;
mod content;
mod edit;
mod elsewhere;
mod fetch;
mod http;
mod keys;
mod listing;
mod local;
mod push;
mod secrets;
mod selection;

use lockflight_promotion::{CommitOid, PathInRepo, TreeOid};

use crate::changed::changed_between;
use crate::testing::{Upstream, WHEN};
use crate::{CommitSpec, Identity, Mirror};

/// The files that differ between two commits of a mirror.
async fn differing(mirror: &Mirror, base: &CommitOid, head: &CommitOid) -> Vec<String> {
    let (base, head) = (base.clone(), head.clone());
    let paths = mirror
        .read(move |objects| changed_between(objects, &base, &head))
        .await;
    paths.unwrap().into_iter().collect()
}

fn path(path: &str) -> PathInRepo {
    PathInRepo::parse(path).unwrap()
}

fn spec(parent: &CommitOid, edits: &[(&str, Option<&TreeOid>)]) -> CommitSpec {
    CommitSpec {
        parent: parent.clone(),
        edits: edits
            .iter()
            .map(|(at, tree)| (path(at), tree.cloned().into()))
            .collect(),
        message: "Promote".into(),
        author: Identity {
            name: "Ada".into(),
            email: "ada@example.com".into(),
        },
        when: WHEN,
    }
}

/// A tree that holds one tree `width` times, which holds one tree `width` times, and so on, `levels` deep; the last one is
/// made of `leaf`, as `git mktree` reads it.
fn nested(upstream: &Upstream, leaf: &str, levels: usize, width: usize) -> String {
    let mut tree = upstream.git_with(&["mktree"], &[], leaf.as_bytes());
    for _ in 0..levels {
        let lines: String = (0..width)
            .map(|number| format!("040000 tree {tree}\t{number:02}\n"))
            .collect();
        tree = upstream.git_with(&["mktree"], &[], lines.as_bytes());
    }
    tree
}

/// A tree that holds one tree, which holds one tree, and so on, `levels` deep; the last one holds a file.
fn deep(upstream: &Upstream, content: &str, levels: usize) -> String {
    let repo = git2::Repository::open_bare(upstream.path()).unwrap();
    let mut entry = (repo.blob(content.as_bytes()).unwrap(), 0o100_644);
    for _ in 0..=levels {
        let mut tree = repo.treebuilder(None).unwrap();
        tree.insert("f", entry.0, entry.1).unwrap();
        entry = (tree.write().unwrap(), 0o040_000);
    }
    entry.0.to_string()
}
