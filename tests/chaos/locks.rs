//! Redis goes away, forgets everything, or promotes a replica that knows less. It costs time and nothing else.

use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::servers::{RabbitMq, Redis, RedisSetup, TcpProxy};
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

/// Scenario: a replica that does not know of a lock is promoted, while the old master goes on for those on its side of the network. Two
/// executors have the same step in hand, each with a lock that is held for it, and each is about to push.
async fn two_executors_hold_the_lock(the_zombie_is_first: bool) {
    let (rabbit, master) = tokio::join!(RabbitMq::start(), Redis::start());
    let copying = TcpProxy::start(master.port()).await;
    let replica = RedisSetup::default().replica_of(copying.port()).start().await;
    let side = TcpProxy::start(rabbit.port()).await;
    // So that the broker gives up on who is silent within seconds.
    let queue = |port| format!("{}?heartbeat=1", RabbitMq::uri_at(port));
    let fleet = Fleet::on(queue(rabbit.port()), master.uri())
        .way(Role::Executor, 0, queue(side.port()), master.uri())
        .way(Role::Executor, 1, queue(rabbit.port()), replica.uri());
    let locks = format!("{}:lock:{{*}}", fleet.prefix());
    on(fleet, LAB)
        .run(async |world| {
            copying.freeze();
            let push = RequestMatcher::git_receive_pack();
            let zombie = world.forge.faults().hold(push.clone(), HoldPoint::BeforeEffect);
            let change = change(world, "one").await;
            world.until_held("the first push", &zombie).await;

            // The network parts: the first executor keeps the old master, and loses the broker without being told.
            side.freeze();
            assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]).await, "OK");
            let successor = world.forge.faults().hold(push, HoldPoint::BeforeEffect);
            world.start_one(Role::Executor, 1).await;
            world.until_held("the second push", &successor).await;
            let (old, new) = (
                master.cli(&["KEYS", &locks]).await,
                replica.cli(&["KEYS", &locks]).await,
            );
            assert!(!old.is_empty(), "the old master has a holder");
            assert_eq!(old, new, "and so has the new one, of the same repository");
            let token = async |redis: &Redis| redis.cli(&["HGET", &new, "token"]).await;
            assert_ne!(token(&master).await, token(&replica).await);

            if the_zombie_is_first {
                zombie.release();
                let branches = || world.promotion_branches();
                world
                    .until("the first push", |_| (!branches().is_empty()).then_some(()))
                    .await;
                successor.release();
            } else {
                successor.release();
                let [_lab] = world.promotions_of(change).await;
                zombie.release();
            }
            side.thaw();
            assert_each_is_there_once(world, &[change]).await;
            assert_eq!(world.calls("POST git receive-pack"), 2, "both have pushed");
            let told = world.statuses(change);
            assert!(told.iter().all(|status| status.state == "success"), "{told:?}");
            // The old master is gone; all go on with the new one.
            world.stop_one(Role::Executor, 0).await;
            let next = self::change(world, "two").await;
            assert_each_is_there_once(world, &[change, next]).await;
        })
        .await;
}

#[tokio::test]
async fn two_who_hold_the_lock_on_two_masters_open_one_pull_request() {
    two_executors_hold_the_lock(false).await;
}

#[tokio::test]
async fn two_who_hold_the_lock_open_one_pull_request_when_the_one_cut_off_pushes_first() {
    two_executors_hold_the_lock(true).await;
}
