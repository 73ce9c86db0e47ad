//! RabbitMQ dies, refuses, or is not as it was declared. What was taken is done once, what was not taken was not promised.

use std::time::{Duration, Instant};

use futures::future::join_all;
use lockflight_tests::servers::{RabbitMq, Redis};
use lockflight_tests::world::{Fleet, Post, REPOSITORY, Role, Setup, World, put};

use crate::policies::LAB;
use crate::{on, previewing};

async fn change(world: &World, component: &str) -> u64 {
    let path = format!("workspace/{component}/values.yaml");
    world.merge_change(&[put(&path, "replicas: 3\n")]).await
}

/// The change is promoted once, and people know.
async fn assert_promoted(world: &World, changes: &[u64]) {
    for change in changes {
        let [_lab] = world.promotions_of(*change).await;
        world.until_status(*change, "success").await;
    }
    world.quiet().await;
    assert_eq!(world.promotions().len(), changes.len());
    assert_eq!(world.promotion_branches().len(), changes.len());
}

/// Scenario: the broker is down while fifty changes are merged. GitHub is told 503 each time, and an App asks for all of them again.
#[tokio::test]
async fn deliveries_while_the_broker_is_down_come_again_by_the_sweep() {
    let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
    on(Fleet::on(rabbit.uri(), redis.uri()).settled(), LAB)
        .as_app()
        .unvalidated()
        .patience(Duration::from_mins(3))
        .setting("github.sweep_every=500ms")
        .setting("webhook.publish_timeout=300ms")
        .run(async |world| {
            rabbit.kill().await;
            world.until_ready(Role::Ingress, 0, false).await;
            let mut changes = Vec::new();
            for number in 0..50 {
                changes.push(change(world, &format!("c{number}")).await);
            }
            for number in &changes {
                let delivery = world.merge_delivery(*number).await;
                assert!(
                    !delivery.succeeded(),
                    "#{number} was taken though nothing could take it"
                );
            }
            rabbit.restart().await;
            assert_promoted(world, &changes).await;
        })
        .await;
}

/// Scenario: the broker is killed again and again under load.
async fn the_broker_is_killed(times: usize, world: fn(Fleet, &str) -> Setup) {
    let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
    world(Fleet::on(rabbit.uri(), redis.uri()).settled(), LAB)
        .run(async |world| {
            let mut changes = Vec::new();
            for round in 0..times {
                for number in 0..3 {
                    changes.push(change(world, &format!("c{round}-{number}")).await);
                }
                rabbit.kill().await;
                rabbit.restart().await;
                world.until_ready(Role::Ingress, 0, true).await;
                for number in changes.iter().rev().take(3) {
                    if !world.merge_delivery(*number).await.succeeded() {
                        world.redeliver_merge(*number).await;
                    }
                }
            }
            assert_promoted(world, &changes).await;
            for change in changes {
                let told = previews(world, change);
                assert!(told <= 1, "#{change} is told {told} times where it will go");
            }
        })
        .await;
}

/// How often a pull request has been told where it will go.
fn previews(world: &World, change: u64) -> usize {
    let head = world.pull_request(change).head.sha;
    let all = world.forge.statuses(REPOSITORY, &head).unwrap();
    all.iter()
        .filter(|status| status.context == "lockflight/preview")
        .count()
}

#[tokio::test]
async fn a_broker_that_is_killed_under_load_loses_and_doubles_nothing() {
    the_broker_is_killed(3, on).await;
}

/// The same with twice the work: each pull request is told of while it is open, too.
#[tokio::test]
async fn a_broker_that_is_killed_while_pull_requests_are_previewed_loses_and_doubles_nothing() {
    the_broker_is_killed(2, previewing).await;
}

#[tokio::test]
#[ignore = "soak: tests/run --soak"]
async fn soak_a_broker_that_is_killed_twenty_times_loses_and_doubles_nothing() {
    the_broker_is_killed(20, on).await;
}

/// A delivery of the forge that was lost on its way, to be sent again as often as a story wants.
async fn lost_delivery(world: &World, component: &str) -> (u64, Post) {
    let path = format!("workspace/{component}/values.yaml");
    let change = world.open_change(&[put(&path, "replicas: 3\n")]).await;
    world.forge.webhook_faults().drop_next(1);
    world.merge(change).await;
    let lost = world.merge_delivery(change).await;
    assert!(!lost.succeeded(), "the forge's own delivery was to be lost");
    (
        change,
        world.signed("pull_request", &lost.guid, lost.payload.clone()),
    )
}

/// Scenario: the binding of the work queue is gone. Nothing is promised that nobody would do.
#[tokio::test]
async fn a_queue_that_is_not_bound_is_answered_with_503_until_it_is_mended() {
    let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
    let fleet = Fleet::on(rabbit.uri(), redis.uri());
    let (work, plan) = (
        format!("{}.work", fleet.prefix()),
        format!("{}.plan", fleet.prefix()),
    );
    on(fleet, LAB)
        .run(async |world| {
            let (change, post) = lost_delivery(world, "checkout").await;
            let eval = format!(
                "rabbit_binding:remove({{binding, {{resource, <<\"/\">>, exchange, <<\"{work}\">>}}, <<\"delivery.#\">>, \
                 {{resource, <<\"/\">>, queue, <<\"{plan}\">>}}, []}}, fun (_, _) -> ok end, <<\"test\">>)."
            );
            rabbit.ctl(&["eval", &eval]).await;
            assert_eq!(world.post(&post).await, 503);
            assert!(world.promotions().is_empty());
            world.mend_topology().await;
            assert_eq!(world.post(&post).await, 202);
            assert_promoted(world, &[change]).await;
        })
        .await;
}

/// Scenario: a memory alarm blocks publishers. Deliveries are answered with 503 in time, and nothing piles up.
#[tokio::test]
async fn a_broker_that_blocks_is_answered_with_503_in_time_and_nothing_piles_up() {
    let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
    on(Fleet::on(rabbit.uri(), redis.uri()), LAB)
        .setting("webhook.publish_timeout=500ms")
        .run(async |world| {
            let (change, post) = lost_delivery(world, "checkout").await;
            rabbit.memory_alarm(true).await;
            for _round in 0..5 {
                let since = Instant::now();
                let answers = join_all((0..40).map(|_| world.post(&post))).await;
                assert!(answers.iter().all(|answer| *answer == 503), "{answers:?}");
                assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
            }
            rabbit.memory_alarm(false).await;
            world.until_ready(Role::Ingress, 0, true).await;
            assert_eq!(world.post(&post).await, 202);
            assert_promoted(world, &[change]).await;
            let opened = world.calls("POST /repos/{owner}/{repo}/pulls");
            assert_eq!(opened, 1, "of {REPOSITORY}");
        })
        .await;
}
