//! Stories of mirrors against a real upstream, on this machine.

mod changed;
mod content;
mod edit;
mod fetch;
mod http;
mod local;
mod push;
mod secrets;

use lockflight_promotion::{CommitOid, PathInRepo, TreeOid};

use crate::testing::WHEN;
use crate::{CommitSpec, Identity};

fn path(path: &str) -> PathInRepo {
    PathInRepo::parse(path).unwrap()
}

fn spec(parent: &CommitOid, edits: &[(&str, Option<&TreeOid>)]) -> CommitSpec {
    CommitSpec {
        parent: parent.clone(),
        edits: edits.iter().map(|(at, tree)| (path(at), tree.cloned())).collect(),
        message: "Promote".into(),
        author: Identity {
            name: "Ada".into(),
            email: "ada@example.com".into(),
        },
        when: WHEN,
    }
}
