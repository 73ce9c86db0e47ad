//! The shapes of GitHub's own examples are read.

use serde_json::{Value, json};

use super::fake::pull;
use crate::{AccountType, PullRequest};

/// The recorded webhooks, whose pull requests have the shape of the REST API's.
const WEBHOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/webhooks");

#[test]
fn the_pull_requests_of_githubs_example_webhooks_are_read() {
    let mut read = 0;
    for entry in std::fs::read_dir(WEBHOOKS).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !(name.starts_with("pull_request.") && name.ends_with(".json")) {
            continue;
        }
        let payload: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let pull: PullRequest = serde_json::from_value(payload["pull_request"].clone())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(pull.number.get()), payload["number"].as_u64(), "{name}");
        assert_eq!(
            pull.changed_files,
            payload["pull_request"]["changed_files"].as_u64(),
            "{name}"
        );
        read += 1;
    }
    assert!(read >= 3, "only {read} examples were found");
}

#[test]
fn what_is_gone_is_still_read() {
    let mut gone = pull(7);
    gone["user"] = Value::Null;
    gone["head"]["repo"] = Value::Null;
    gone["assignees"] = Value::Null;
    gone["mergeable"] = Value::Null;
    let pull: PullRequest = serde_json::from_value(gone).unwrap();
    assert_eq!(pull.author.as_str(), "ghost");
    assert_eq!((pull.head_repo, pull.mergeable), (None, None));
}

#[test]
fn what_is_new_is_still_read() {
    let mut newer = pull(7);
    newer["user"]["type"] = json!("Robot");
    newer["user"]["login"] = json!("dependabot[bot]");
    newer["surprise"] = json!({"a": 1});
    let pull: PullRequest = serde_json::from_value(newer).unwrap();
    assert_eq!(pull.author_type, AccountType::Other);
}

#[test]
fn only_a_merged_pull_request_has_a_merge_commit() {
    let mut merged = pull(7);
    let open: PullRequest = serde_json::from_value(merged.clone()).unwrap();
    assert_eq!((open.merged, open.merge_commit), (false, None));
    // A list has no `merged`.
    merged.as_object_mut().unwrap().remove("merged");
    merged["merged_at"] = json!("2026-11-22T10:00:00Z");
    let merged: PullRequest = serde_json::from_value(merged).unwrap();
    assert!(merged.merged && merged.merge_commit.is_some());
}
