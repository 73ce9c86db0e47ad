use std::sync::atomic::Ordering;
use std::time::Duration;

use lockflight_git::testing::Edit;
use lockflight_promotion::ErrorClass;
use lockflight_promotion::PlanId;
use lockflight_promotion::message::{Body, Envelope, Report};

use super::world::{World, names, oid, stopped};

const OPENED: [&str; 2] = ["branch_pushed", "pull_request_opened"];

fn many(world: &World, targets: std::ops::Range<u32>) -> Vec<Envelope> {
    targets
        .map(|target| world.promote(&format!("e{target}")))
        .collect()
}

#[tokio::test]
async fn a_batch_takes_one_lock_one_fetch_and_one_push() {
    let world = World::new();
    for done in &world.run(&many(&world, 0..8)).await {
        assert_eq!(names(done), OPENED);
    }
    let usage = world.usage();
    assert_eq!((usage.fetches, usage.pushes, usage.listings), (1, 1, 0));
    assert_eq!(world.lock.taken.load(Ordering::Relaxed), 1);
    assert_eq!(world.forge.branches().len(), 8);
    assert!(world.upstream.head("promotions/e7").is_some());
}

#[tokio::test]
async fn a_step_whose_branch_is_refused_or_taken_holds_up_no_other() {
    let world = World::new();
    world.hook(
        "update",
        "case $1 in refs/heads/promotions/e2) echo 'GH006: Protected branch update failed' >&2; exit 1;; esac",
    );
    world
        .upstream
        .push("promotions/e4", "by hand", &[Edit::File("x", "1")]);
    let done = world.run(&many(&world, 0..6)).await;
    for (place, done) in done.iter().enumerate() {
        match place {
            2 => assert!(stopped(done).contains("GH006"), "{}", stopped(done)),
            4 => assert!(stopped(done).contains("did not make"), "{}", stopped(done)),
            _ => assert_eq!(names(done), OPENED, "{place}"),
        }
    }
    assert_eq!(world.forge.branches().len(), 4);
    // All, then without the one that was taken, then without the one that was refused.
    assert_eq!(world.usage().pushes, 3);
}

#[tokio::test]
async fn a_step_that_is_carried_or_whose_pull_request_is_there_needs_no_push() {
    let world = World::new();
    let batch = many(&world, 0..2);
    let done = world.run(&batch[..1]).await;
    assert_eq!(names(&done[0]), OPENED);
    let values = "replicas: 2\n";
    world
        .upstream
        .push("main", "e1 by hand", &[Edit::File("e1/web/values.yaml", values)]);
    let done = world.run(&batch).await;
    assert_eq!(names(&done[0]), ["pull_request_opened"]);
    assert_eq!(names(&done[1]), ["no_change"]);
    assert_eq!(world.usage().pushes, 1);
    world.forge.state().pulls[0].merged = true;
    let done = world.run(&batch[..1]).await;
    assert_eq!(names(&done[0]), ["merged"]);
}

#[tokio::test]
async fn a_merge_commit_that_has_not_come_costs_one_more_fetch_and_holds_up_no_other() {
    let world = World::new();
    let mut batch = many(&world, 0..2);
    for target in ["f1", "f2"] {
        let mut change = world.change();
        change.merged_as = oid('d');
        batch.insert(0, world.promote_change(change, target));
    }
    let done = world.run(&batch).await;
    for done in &done[..2] {
        let failure = done.as_ref().unwrap_err();
        assert_eq!(failure.class, ErrorClass::Retry);
        assert!(
            failure.reason.contains("is not on branch main"),
            "{}",
            failure.reason
        );
    }
    assert_eq!(names(&done[2]), OPENED);
    assert_eq!(names(&done[3]), OPENED);
    assert_eq!(world.usage().fetches, 2);
}

#[tokio::test]
async fn equal_messages_of_a_batch_open_one_pull_request() {
    let world = World::new();
    let batch = vec![world.promote("e1"), world.promote("e1"), world.promote("e1")];
    let done = world.run(&batch).await;
    assert_eq!(names(&done[0]), OPENED);
    assert_eq!(names(&done[1]), ["pull_request_opened"]);
    assert_eq!(names(&done[2]), ["pull_request_opened"]);
    assert_eq!(world.forge.branches(), ["promotions/e1"]);
}

#[tokio::test]
async fn a_batch_whose_lock_is_lost_pushes_nothing_and_comes_again() {
    for (lease, lost) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
        let world = World::with_lock(lease, lost);
        for done in &world.run(&many(&world, 0..3)).await {
            let failure = done.as_ref().unwrap_err();
            assert_eq!(failure.class, ErrorClass::Retry, "{}", failure.reason);
        }
        assert_eq!(world.usage().pushes, 0);
        assert!(world.forge.branches().is_empty());
    }
}

#[tokio::test]
async fn a_step_that_had_to_wait_for_long_is_looked_for_again_before_it_is_opened() {
    let world = World::new();
    let batch = many(&world, 0..2);
    let prepared = world.prepare(&batch).await;
    // Another executor opens it, and a person closes it, while this one waits for its turn.
    let other = world.run(&batch[1..]).await;
    assert_eq!(names(&other[0]), ["branch_pushed", "pull_request_opened"]);
    world.forge.state().pulls[0].state = lockflight_forge::PullRequestState::Closed;
    world.clock.advance(Duration::from_secs(6));
    let done = world.handle(&batch, prepared).await;
    assert_eq!(names(&done[0]), OPENED);
    assert_eq!(names(&done[1]), ["declined"]);
}

#[tokio::test]
async fn a_report_after_the_steps_of_its_batch_costs_no_fetch_of_its_own() {
    let world = World::new();
    world.upstream.push(
        "main",
        "e1 by hand",
        &[Edit::File("e1/web/values.yaml", "replicas: 2\n")],
    );
    let mut batch = many(&world, 0..2);
    batch.push(world.report(Report::Steps {
        plan: PlanId::parse("0".repeat(64)).unwrap(),
        steps: vec![world.step("e0"), world.step("e1")],
        flows: Vec::new(),
        approve: false,
        once: false,
        last: false,
    }));
    let done = world.run(&batch).await;
    assert_eq!(names(&done[1]), ["no_change"]);
    assert_eq!(names(&done[2]), ["reported"]);
    assert_eq!(world.usage().fetches, 1);
}

#[tokio::test]
async fn what_is_merged_by_itself_is_our_own_commit_and_no_equal_one() {
    let world = World::new();
    let mut batch = many(&world, 0..2);
    for envelope in &mut batch {
        let Body::Promote(promote) = &mut envelope.body else {
            panic!("{envelope:?}")
        };
        promote.step.auto_merge = true;
    }
    // A person has made the same change.
    let values = "replicas: 2\n";
    let edit = Edit::File("e1/web/values.yaml", values);
    let theirs = world.upstream.commit(&[&world.main], "by hand", &[edit]);
    world.upstream.set("promotions/e1", &theirs);
    let done = world.run(&batch).await;
    assert_eq!(names(&done[0]), ["branch_pushed", "pull_request_opened", "merge"]);
    assert_eq!(
        names(&done[1]),
        ["branch_pushed", "pull_request_opened", "report"]
    );
    assert_eq!(world.upstream.head("promotions/e1"), Some(theirs));
}
