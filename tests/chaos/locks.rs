//! Redis goes away, forgets everything, or promotes a replica that knows less. It costs time and nothing else.

use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::servers::{RabbitMq, Redis, TcpProxy};
use lockflight_tests::world::{Fleet, Role, World, put};

use crate::on;
use crate::policies::LAB;

async fn change(world: &World, component: &str) -> u64 {
    let path = format!("workspace/{component}/values.yaml");
    world.merge_change(&[put(&path, "replicas: 3\n")]).await
}

async fn assert_each_is_there_once(world: &World, changes: &[u64]) {
    for change in changes {
        let [_lab] = world.promotions_of(*change).await;
        world.until_status(*change, "success").await;
    }
    world.quiet().await;
    assert_eq!(world.promotions().len(), changes.len());
    assert_eq!(world.promotion_branches().len(), changes.len());
}

#[tokio::test]
async fn without_redis_the_work_goes_on_and_the_metrics_say_so() {
    let (rabbit, redis) = tokio::join!(RabbitMq::shared(), Redis::start());
    on(Fleet::on(rabbit.uri(), redis.uri()).with(Role::Executor, 2), LAB)
        .run(async |world| {
            let mut changes = vec![change(world, "before").await];
            let [_lab] = world.promotions_of(changes[0]).await;
            redis.kill().await;
            for component in ["one", "two", "three"] {
                changes.push(change(world, component).await);
            }
            assert_each_is_there_once(world, &changes).await;
            world.until_logged("work goes on without its locks").await;
            let pages = [0, 1].map(|number| world.page(Role::Executor, number, "/metrics"));
            let mut degraded = 0;
            for page in pages {
                let (_, text) = page.await;
                degraded += text
                    .lines()
                    .filter(|line| line.starts_with("lockflight_lock_unavailable") && line.ends_with(" 1"))
                    .count();
            }
            assert!(degraded > 0, "an executor says that it works without locks");
            redis.restart().await;
            changes.push(change(world, "after").await);
            assert_each_is_there_once(world, &changes).await;
        })
        .await;
}

/// Redis dies while an executor holds a lock in the middle of a push, and comes back without any memory of it.
#[tokio::test]
async fn a_redis_that_forgets_everything_in_the_middle_doubles_nothing() {
    let (rabbit, redis) = tokio::join!(RabbitMq::shared(), Redis::start());
    on(Fleet::on(rabbit.uri(), redis.uri()).with(Role::Executor, 2), LAB)
        .run(async |world| {
            let push = RequestMatcher::git_receive_pack();
            let held = world.forge.faults().hold(push, HoldPoint::AfterEffect);
            let first = change(world, "one").await;
            world.until_held("the push", &held).await;
            redis.kill().await;
            redis.restart().await;
            let second = change(world, "two").await;
            held.release();
            assert_each_is_there_once(world, &[first, second]).await;
        })
        .await;
}

/// All workers and Redis at once, as a deployment does that wipes it.
#[tokio::test]
async fn a_deployment_that_wipes_redis_and_restarts_everybody_repeats_nothing() {
    let (rabbit, redis) = tokio::join!(RabbitMq::shared(), Redis::start());
    on(Fleet::on(rabbit.uri(), redis.uri()).with(Role::Executor, 2), LAB)
        .run(async |world| {
            let mut changes = Vec::new();
            for round in 0..3 {
                changes.push(change(world, &format!("round-{round}")).await);
                world.kill().await;
                redis.kill().await;
                redis.restart().await;
                world.restart().await;
                // What was not taken was not promised.
                let last = *changes.last().unwrap();
                if !world.merge_delivery(last).await.succeeded() {
                    world.redeliver_merge(last).await;
                }
            }
            assert_each_is_there_once(world, &changes).await;
            let opened = world.calls("POST /repos/{owner}/{repo}/pulls");
            world.kill().await;
            redis.kill().await;
            redis.restart().await;
            world.restart().await;
            world.quiet().await;
            assert_eq!(world.calls("POST /repos/{owner}/{repo}/pulls"), opened);
        })
        .await;
}

/// Redis answers nothing, and does not refuse either.
#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_up_for_long() {
    let (rabbit, redis) = tokio::join!(RabbitMq::shared(), Redis::start());
    let proxy = TcpProxy::start(redis.port()).await;
    let address = format!("redis://127.0.0.1:{}/0", proxy.port());
    on(Fleet::on(rabbit.uri(), address), LAB)
        .run(async |world| {
            let first = change(world, "one").await;
            let [_lab] = world.promotions_of(first).await;
            proxy.freeze();
            let second = change(world, "two").await;
            assert_each_is_there_once(world, &[first, second]).await;
            proxy.thaw();
            let third = change(world, "three").await;
            assert_each_is_there_once(world, &[first, second, third]).await;
        })
        .await;
}
