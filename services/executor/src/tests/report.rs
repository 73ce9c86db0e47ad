use std::sync::atomic::Ordering;
use std::time::Duration;

use lockflight_forge::StatusState;
use lockflight_promotion::message::{Envelope, Report};
use lockflight_promotion::{ErrorClass, PlanId};

use super::world::{World, names};

fn dry_run(world: &World, text: &str) -> Envelope {
    world.report(Report::DryRun {
        pull_requests: 1,
        comment: text.to_owned(),
    })
}

#[tokio::test]
async fn a_comment_is_written_once_and_changed_when_there_is_more_to_say() {
    let world = World::new();
    for (text, locks) in [("one", 1), ("one", 2), ("two", 3)] {
        let done = world.run(&[dry_run(&world, text)]).await;
        assert_eq!(names(&done[0]), ["reported"]);
        let state = world.forge.state();
        assert_eq!(state.comments.len(), 1);
        assert!(
            state.comments[0].body.ends_with(text),
            "{}",
            state.comments[0].body
        );
        assert_eq!(world.lock.taken.load(Ordering::Relaxed), locks);
    }
}

#[tokio::test]
async fn a_comment_is_not_written_under_a_lease_that_is_over() {
    let world = World::with_lock(Duration::ZERO, false);
    let done = world.run(&[dry_run(&world, "one")]).await;
    assert_eq!(done[0].as_ref().unwrap_err().class, ErrorClass::Retry);
    assert!(world.forge.state().comments.is_empty());
    assert!(world.forge.state().statuses.is_empty());
}

#[tokio::test]
async fn a_report_waits_for_its_steps_as_often_as_it_may_fail_however_often_it_was_handed_out() {
    let world = World::new();
    let mut report = world.report(Report::Steps {
        plan: PlanId::parse("0".repeat(64)).unwrap(),
        steps: vec![world.step("lab")],
        flows: Vec::new(),
        approve: false,
        once: false,
        last: false,
    });
    report.attempt = 20;
    for failures in 0..4 {
        let failure = world.run_again(&report, failures).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::Retry);
        assert!(said(&world).is_empty());
    }
    let done = world.run_again(&report, 4).await;
    assert_eq!(names(&done), ["reported"]);
    assert_eq!(said(&world), [StatusState::Failure]);
}

/// The status of each commit that has one.
fn said(world: &World) -> Vec<StatusState> {
    world
        .forge
        .state()
        .statuses
        .values()
        .map(|status| status.state)
        .collect()
}

#[tokio::test]
async fn a_plan_whose_report_is_parked_is_looked_at_once_more_and_told_as_it_is() {
    let world = World::new();
    let report = world.report(Report::Steps {
        plan: PlanId::parse("0".repeat(64)).unwrap(),
        steps: vec![world.step("lab")],
        flows: Vec::new(),
        approve: false,
        once: false,
        last: false,
    });
    let done = world.run(std::slice::from_ref(&report)).await;
    let failure = done[0].as_ref().unwrap_err();
    assert_eq!(failure.class, ErrorClass::Retry);
    assert_eq!(failure.reason, "1 of 1 steps have no pull request yet");
    assert!(world.forge.state().statuses.is_empty());

    let last = world.given_up(&report);
    assert_eq!(last.len(), 1);
    let done = world.run(&last).await;
    assert_eq!(names(&done[0]), ["reported"]);
    assert_eq!(said(&world), [StatusState::Failure]);
    assert!(world.given_up(&last[0]).is_empty(), "it is the last");

    let opened = world.run(&[world.promote("lab")]).await;
    assert!(opened[0].is_ok());
    let done = world.run(&last).await;
    assert_eq!(names(&done[0]), ["reported"]);
    assert_eq!(said(&world), [StatusState::Success]);
}

#[tokio::test]
async fn what_needs_no_comment_needs_no_lock() {
    let world = World::new();
    let nothing = Report::Nothing {
        reason: "no changed file lies in a component of any flow".to_owned(),
    };
    let done = world.run(&[world.report(nothing)]).await;
    assert_eq!(names(&done[0]), ["reported"]);
    assert_eq!(world.forge.state().statuses.len(), 1);
    assert_eq!(world.lock.taken.load(Ordering::Relaxed), 0);
}
