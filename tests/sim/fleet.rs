//! The fleet of a run: real planners and executors in the real worker loop, each on ports of its own; and what GitHub and chance do
//! around them.

use std::sync::Arc;
use std::time::Duration;

use lockflight_executor::{Executor, ExecutorConfig};
use lockflight_fleet::Work;
use lockflight_fleet::worker::{WorkerOptions, work};
use lockflight_git::Identity;
use lockflight_planner::Planner;
use lockflight_promotion::message::{Body, DeliveryV1, ENVELOPE_VERSION, Envelope};
use lockflight_promotion::text::marker::MarkerKey;
use lockflight_promotion::{DeliveryId, MessageId, TraceParent};
use tokio::time::sleep;

use crate::channel::SimQueue;
use crate::forge::SimForge;
use crate::git::SimMirrors;
use crate::locks::SimLock;
use crate::process::{Hand, ProcessId, Role};
use crate::queue::MOST_ATTEMPTS;
use crate::weather::Sabotage;
use crate::world::{APPROVER, BOT, Sim, World};

/// How often GitHub is asked for what did not arrive.
const SWEEP: Duration = Duration::from_secs(120);

fn key() -> MarkerKey {
    MarkerKey::derive(b"a secret of the simulation")
}

/// Starts a process.
pub(crate) fn start(sim: &Sim, role: Role, heir_of: Option<ProcessId>) {
    let (process, options) = {
        let mut world = sim.world();
        let process = world.processes.begin(role);
        if let Some(old) = heir_of
            && world.dice.chance(700)
        {
            world.witness.mirrors.inherit(old, process);
        }
        let options = WorkerOptions {
            concurrency: usize::try_from(world.dice.between(1, 4)).unwrap(),
            batch: usize::try_from(world.dice.between(1, 4)).unwrap(),
            keep_every: world.weather.visibility / 3,
            patience: Duration::from_secs(world.dice.between(60, 600)),
        };
        (process, options)
    };
    let hand = Hand {
        sim: sim.clone(),
        process,
    };
    let queue = SimQueue(hand.clone());
    let forge = |login| SimForge {
        hand: hand.clone(),
        login,
    };
    let mirrors = SimMirrors(hand.clone());
    let stopped = stopped(sim.clone());
    let task = match role {
        Role::Planner => {
            let planner = Planner::new(forge(BOT), mirrors, vec![key()]);
            tokio::spawn(work(queue, Work::Plan, Arc::new(planner), options, stopped))
        }
        Role::Executor => {
            let config = ExecutorConfig {
                marker_key: key(),
                older_marker_keys: Vec::new(),
                author: Identity {
                    name: "Lockflight".to_owned(),
                    email: "lockflight@example.org".to_owned(),
                },
                max_attempts: MOST_ATTEMPTS,
                merge_poll: Duration::from_secs(30),
            };
            let lock = SimLock(hand.clone());
            let executor = Executor::new(forge(BOT), Some(forge(APPROVER)), mirrors, lock, config)
                .with_clock(sim.world().clock.clock());
            tokio::spawn(work(queue, Work::Steps, Arc::new(executor), options, stopped))
        }
    };
    sim.world().processes.set_abort(process, task.abort_handle());
}

async fn stopped(sim: Sim) {
    loop {
        let stop = sim.signals().stop.notified();
        let mut stop = std::pin::pin!(stop);
        stop.as_mut().enable();
        if sim.world().stopping {
            return;
        }
        stop.await;
    }
}

/// Puts another process in the place of each that died, some time later, and has webhooks delivered as they come up.
pub(crate) async fn attend(sim: Sim) {
    loop {
        let changed = sim.signals().hooks.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        let (dead, fresh) = {
            let mut world = sim.world();
            let fresh: Vec<usize> = world
                .hooks
                .iter_mut()
                .enumerate()
                .filter_map(|(at, hook)| (!std::mem::replace(&mut hook.tried, true)).then_some(at))
                .collect();
            (std::mem::take(&mut world.processes.dead), fresh)
        };
        for process in dead {
            let (sim, role, wait) = {
                let mut world = sim.world();
                (
                    sim.clone(),
                    world.processes.role(process),
                    world.dice.between(0, 40_000),
                )
            };
            drop(tokio::spawn(async move {
                sleep(Duration::from_millis(wait)).await;
                if !sim.world().stopping {
                    start(&sim, role, Some(process));
                }
            }));
        }
        for hook in fresh {
            drop(tokio::spawn(deliver(sim.clone(), hook)));
        }
        changed.await;
    }
}

/// GitHub tries a webhook once. It comes late, not at all, twice, or is stored although GitHub hears of a failure.
async fn deliver(sim: Sim, hook: usize) {
    let wait = {
        let mut world = sim.world();
        let delay = world.weather.delay;
        if world.dice.chance(delay) {
            world.dice.between(1_000, 300_000)
        } else {
            world.dice.between(5, 2_000)
        }
    };
    sleep(Duration::from_millis(wait)).await;
    let mut world = sim.world();
    let drop_rate = world.weather.drop;
    let (lost, unheard) = (world.dice.chance(drop_rate), world.dice.chance(drop_rate / 3));
    let found = world.hooks.get(hook).unwrap().clone();
    world.say(|| {
        format!(
            "webhook {} of #{}: lost {lost}, its answer {unheard}",
            found.guid, found.number
        )
    });
    if lost {
        return;
    }
    let envelope = envelope(&world, &found);
    world.publish(vec![envelope]);
    world.hooks.get_mut(hook).unwrap().arrived = !unheard;
    drop(world);
    sim.signals().queue.notify_waiters();
}

fn envelope(world: &World, hook: &crate::world::Hook) -> Envelope {
    let trace = format!(
        "00-{:032x}-{:016x}-01",
        hook.number.get() + 1,
        hook.repo.get() + 1
    );
    Envelope {
        v: ENVELOPE_VERSION,
        id: MessageId::parse(format!("delivery:{}", hook.guid)).unwrap(),
        repo: world.repo(hook.repo).repo.clone(),
        delivery: DeliveryId::parse(hook.guid.clone()).unwrap(),
        cause: None,
        attempt: 0,
        traceparent: TraceParent::parse(trace).unwrap(),
        body: Body::Delivery(DeliveryV1::merged(hook.number, String::new())),
    }
}

/// Asks again, now and then, for what did not arrive.
pub(crate) async fn sweep(sim: Sim) {
    loop {
        sleep(SWEEP).await;
        if sim.world().weather.sabotage == Some(Sabotage::NoSweep) {
            continue;
        }
        let missing: Vec<usize> = {
            let world = sim.world();
            let missing = world
                .hooks
                .iter()
                .enumerate()
                .filter(|(_, hook)| hook.tried && !hook.arrived);
            missing.map(|(at, _)| at).collect()
        };
        for hook in missing {
            deliver(sim.clone(), hook).await;
        }
    }
}

/// Redis forgets, now and then.
pub(crate) async fn forget(sim: Sim) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let wiped = {
            let mut world = sim.world();
            let wipe = world.weather.wipe;
            let wiped = world.dice.chance(wipe);
            if wiped {
                world.say(|| "the locks are forgotten".to_owned());
                world.locks.wipe();
            } else if wipe == 0 {
                return;
            }
            wiped
        };
        if wiped {
            sim.signals().locks.notify_waiters();
        }
    }
}
