//! One run: a world from a seed, people and a fleet in it, bad weather, then good, then the judgement.

use std::time::Duration;

use tokio::time::sleep;

use crate::dice::Dice;
use crate::process::Role;
use crate::weather::{Sabotage, Weather};
use crate::world::Sim;
use crate::{fleet, people};

/// How long the fleet may take to come to rest once nothing is in its way any more.
const REST: Duration = Duration::from_secs(20_000);

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) numbers: Numbers,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) changes: u64,
    pub(crate) promotions: u64,
    pub(crate) records: u64,
    pub(crate) processes: u64,
    pub(crate) doubled: u64,
    pub(crate) mixed: u64,
    pub(crate) virtual_time: Duration,
}

impl Numbers {
    pub(crate) fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.promotions += other.promotions;
        self.records += other.records;
        self.processes += other.processes;
        self.doubled += other.doubled;
        self.mixed += other.mixed;
        self.virtual_time += other.virtual_time;
    }
}

/// Runs a seed. The same seed with the same sabotage is the same run.
pub(crate) fn run(seed: u64, sabotage: Option<Sabotage>, traced: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(life(seed, sabotage, traced))
}

async fn life(seed: u64, sabotage: Option<Sabotage>, traced: bool) -> Report {
    let mut dice = Dice::new(seed);
    let mut weather = Weather::throw(&mut dice);
    weather.sabotage = sabotage;
    if sabotage == Some(Sabotage::AnyHead) {
        // It takes a person's push in the moment before a merge, which is rare in most weather.
        weather.meddle = weather.meddle.max(300);
    }
    let (repos, deeds) = (1 + u64::from(dice.chance(350)), dice.between(3, 9));
    let (planners, executors) = (dice.between(1, 2), dice.between(1, 3));
    let kills = dice.between(0, 8);
    let sim = Sim::new(dice, weather, traced);
    {
        let mut world = sim.world();
        world.processes.kills_left = kills;
        world.messages.crowded = sabotage == Some(Sabotage::NoLock);
        let weather = format!("{:?}", world.weather);
        world.say(|| weather);
        for repo in 1..=repos {
            world.add_repo(repo);
        }
    }
    for _ in 0..planners {
        fleet::start(&sim, Role::Planner, None);
    }
    for _ in 0..executors {
        fleet::start(&sim, Role::Executor, None);
    }
    let background = [
        tokio::spawn(fleet::attend(sim.clone())),
        tokio::spawn(fleet::sweep(sim.clone())),
        tokio::spawn(fleet::forget(sim.clone())),
    ];
    people::live(&sim, deeds).await;
    let storm = sim.world().dice.between(0, 300);
    sleep(Duration::from_secs(storm)).await;
    clear(&sim);
    come_to_rest(&sim).await;
    if sim.world().weather.wild {
        sim.world().seal();
        sim.signals().hooks.notify_one();
        come_to_rest(&sim).await;
    }
    sim.world().judge();

    sim.world().stopping = true;
    sim.signals().stop.notify_waiters();
    for task in background {
        task.abort();
    }
    let mut world = sim.world();
    let promotions = world
        .repos
        .values()
        .flat_map(|repo| &repo.pulls)
        .filter(|pull| pull.by_bot)
        .count();
    Report {
        numbers: Numbers {
            changes: world.repos.values().map(|repo| repo.changes.len() as u64).sum(),
            promotions: promotions as u64,
            records: world.journal.len() as u64,
            processes: world.processes.count(),
            doubled: world.witness.doubled,
            mixed: world.witness.mixed,
            virtual_time: world.elapsed(),
        },
        violations: std::mem::take(&mut world.violations),
        trace: world.take_trace(),
    }
}

/// Nothing goes wrong any more, what stood still goes on, and a person puts back what was parked.
fn clear(sim: &Sim) {
    let mut world = sim.world();
    world.say(|| "the weather clears".to_owned());
    world.weather.clear();
    world.processes.thaw();
    world.messages.release_all();
    drop(world);
    sim.signals().queue.notify_waiters();
    sim.signals().locks.notify_waiters();
    sim.signals().hooks.notify_one();
}

/// Waits for the fleet to have nothing to do, has people deal with one promotion of each repository, and so on until there is none.
async fn come_to_rest(sim: &Sim) {
    let begun = sim.world().elapsed();
    loop {
        let missing = |world: &crate::world::World| {
            world.weather.sabotage != Some(Sabotage::NoSweep) && world.hooks.iter().any(|hook| !hook.arrived)
        };
        loop {
            sleep(Duration::from_millis(997)).await;
            let world = sim.world();
            if world.elapsed() > begun + REST {
                return;
            }
            if world.messages.busy_within(Duration::from_secs(3_600)) == 0 && !missing(&world) {
                break;
            }
            // What waits for a review waits for people.
            if world.messages.only_merges() && !missing(&world) {
                break;
            }
        }
        let any = sim.world().settle_promotions();
        sim.world().messages.release_all();
        sim.signals().queue.notify_waiters();
        sim.signals().hooks.notify_one();
        if !any && sim.world().messages.left() == 0 {
            return;
        }
    }
}
