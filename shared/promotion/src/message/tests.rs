use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// Messages as version 0.1 wrote them. What is in here has to be read for as long as such a message may lie in a queue or a journal:
/// add to it, change nothing.
const WRITTEN: &str = include_str!("golden.json");

fn written() -> Vec<Value> {
    serde_json::from_str(WRITTEN).unwrap()
}

#[test]
fn what_was_once_written_is_read_and_written_alike() {
    for message in written() {
        let envelope: Envelope = serde_json::from_value(message.clone()).unwrap();
        assert_eq!(
            serde_json::to_value(&envelope).unwrap(),
            message,
            "{}",
            envelope.id
        );
    }
}

#[test]
fn what_a_newer_version_adds_is_passed_over() {
    for mut message in written() {
        let known: Envelope = serde_json::from_value(message.clone()).unwrap();
        message["added"] = Value::from("later");
        message["body"]["added"] = Value::from(1);
        assert_eq!(serde_json::from_value::<Envelope>(message).unwrap(), known);
    }
}

#[test]
fn there_is_a_sample_of_every_kind() {
    let kinds: BTreeSet<String> = written()
        .into_iter()
        .map(|message| {
            let envelope: Envelope = serde_json::from_value(message).unwrap();
            match &envelope.body {
                Body::Report(report) => match report.report {
                    Report::Nothing { .. } => "report.nothing".to_owned(),
                    Report::Steps { .. } => "report.steps".to_owned(),
                    Report::DryRun { .. } => "report.dry_run".to_owned(),
                    Report::Preview(_) => "report.preview".to_owned(),
                    Report::Failed { .. } => "report.failed".to_owned(),
                },
                _ => envelope.routing_key(),
            }
        })
        .collect();
    let outcomes = [
        "ignored",
        "planned",
        "branch_pushed",
        "pull_request_opened",
        "merged",
        "no_change",
        "declined",
        "superseded",
        "reported",
        "commanded",
        "forwarding",
        "forwarded",
        "not_forwarded",
        "stopped",
        "retried",
        "parked",
    ];
    let wanted = outcomes.map(|name| format!("outcome.{name}")).into_iter();
    let others = [
        "delivery.pull_request",
        "delivery.issue_comment",
        "push.default",
        "forward.send",
        "step.command",
        "step.promote",
        "step.merge",
        "report.nothing",
        "report.steps",
        "report.dry_run",
        "report.preview",
        "report.failed",
    ];
    assert_eq!(kinds, wanted.chain(others.map(str::to_owned)).collect());
}
