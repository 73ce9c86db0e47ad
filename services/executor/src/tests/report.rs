use std::sync::atomic::Ordering;
use std::time::Duration;

use lockflight_promotion::ErrorClass;
use lockflight_promotion::message::{Envelope, Report};

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
