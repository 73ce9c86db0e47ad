//! The processes of the fleet, and the gate that each of their calls goes through: there they are killed, frozen, or left without an
//! answer, before or after the call had its effect.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::weather::Sabotage;
use crate::world::{Sim, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Planner,
    Executor,
}

#[derive(Debug, Default)]
pub(crate) struct Processes {
    all: BTreeMap<ProcessId, Process>,
    /// How many may still be killed in this run.
    pub(crate) kills_left: u64,
    /// Those whose place has to be taken by another.
    pub(crate) dead: Vec<ProcessId>,
}

#[derive(Debug)]
struct Process {
    role: Role,
    dead: bool,
    frozen_until: Option<Instant>,
    abort: Option<AbortHandle>,
}

/// What a call that failed says of its effect.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It had none.
    Refused,
    /// It had none, and may be made again after that long.
    Limited(Duration),
    /// It may have had it.
    Lost,
}

/// What kind of call it is, which says what can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    /// A push whose answer is lost may land later.
    Push,
    /// Of the queue or the lock.
    Own,
}

impl Processes {
    pub(crate) fn begin(&mut self, role: Role) -> ProcessId {
        let id = ProcessId(self.all.len() as u64 + 1);
        let process = Process {
            role,
            dead: false,
            frozen_until: None,
            abort: None,
        };
        self.all.insert(id, process);
        id
    }

    pub(crate) fn set_abort(&mut self, id: ProcessId, abort: AbortHandle) {
        self.get(id).abort = Some(abort);
    }

    fn get(&mut self, id: ProcessId) -> &mut Process {
        self.all.get_mut(&id).unwrap()
    }

    pub(crate) fn role(&self, id: ProcessId) -> Role {
        self.all.get(&id).unwrap().role
    }

    pub(crate) fn name(&self, id: ProcessId) -> String {
        format!("{:?}-{}", self.role(id), id.0).to_lowercase()
    }

    pub(crate) fn count(&self) -> u64 {
        self.all.len() as u64
    }

    pub(crate) fn is_dead(&self, id: ProcessId) -> bool {
        self.all.get(&id).is_none_or(|process| process.dead)
    }

    /// Lets all that is frozen go on.
    pub(crate) fn thaw(&mut self) {
        for process in self.all.values_mut() {
            process.frozen_until = None;
        }
    }

    fn frozen_until(&self, id: ProcessId) -> Option<Instant> {
        self.all.get(&id)?.frozen_until
    }

    fn kill(&mut self, id: ProcessId) {
        self.kills_left = self.kills_left.saturating_sub(1);
        self.dead.push(id);
        let process = self.get(id);
        process.dead = true;
        if let Some(abort) = &process.abort {
            abort.abort();
        }
    }
}

/// How one process reaches the world.
#[derive(Clone, Debug)]
pub(crate) struct Hand {
    pub(crate) sim: Sim,
    pub(crate) process: ProcessId,
}

enum Before {
    Go,
    Fail(Fault),
    /// The call is under way, and its answer will not come: with its effect, now or later, or without.
    Lose {
        landed: bool,
        late: Option<Duration>,
    },
}

impl Hand {
    /// Goes on once the process may: never, if it is dead.
    pub(crate) async fn alive(&self) {
        loop {
            let until = {
                let world = self.sim.world();
                if world.processes.is_dead(self.process) {
                    None
                } else {
                    match world.processes.frozen_until(self.process) {
                        Some(until) if until > Instant::now() => Some(until),
                        _ => {
                            world.tick();
                            return;
                        }
                    }
                }
            };
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Makes a call: `effect` is what it does to the world, in one moment.
    pub(crate) async fn call<T>(
        &self,
        kind: Kind,
        name: &str,
        effect: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        self.alive().await;
        let wait = {
            let mut world = self.sim.world();
            let slow = world.weather.slow;
            if world.dice.chance(slow) {
                Duration::from_millis(world.dice.between(1_000, 20_000))
            } else {
                Duration::from_millis(world.dice.between(1, 40))
            }
        };
        sleep(wait).await;
        self.alive().await;
        self.accident("before", name);
        self.alive().await;
        let before = self.before(kind, name);
        let answer = match before {
            Before::Go => {
                let mut world = self.sim.world();
                let process = self.process;
                world.say(|| format!("{} {name}", world_name(process)));
                Ok(effect(&mut world))
            }
            Before::Fail(fault) => return Err(fault),
            Before::Lose { landed, late } => {
                if let Some(late) = late {
                    let sim = self.sim.clone();
                    drop(tokio::spawn(async move {
                        sleep(late).await;
                        let mut world = sim.world();
                        world.say(|| "a push lands late".to_owned());
                        effect(&mut world);
                    }));
                } else if landed {
                    let mut world = self.sim.world();
                    effect(&mut world);
                }
                Err(Fault::Lost)
            }
        };
        self.accident("after", name);
        self.alive().await;
        answer
    }

    /// Perhaps kills or freezes the process.
    fn accident(&self, when: &str, name: &str) {
        let mut world = self.sim.world();
        let (kill, freeze) = (world.weather.kill, world.weather.freeze);
        let who = self.process;
        if world.processes.kills_left > 0 && world.dice.chance(kill) {
            world.say(|| format!("{} is killed {when} {name}", world_name(who)));
            world.locks.died(who);
            world.processes.kill(who);
            self.sim.signals().hooks.notify_one();
        } else if world.dice.chance(freeze) {
            let long = Duration::from_secs(world.dice.between(5, 400));
            world.say(|| format!("{} stands still for {long:?} {when} {name}", world_name(who)));
            let until = Instant::now() + long;
            world.locks.frozen(who, until);
            world.processes.get(who).frozen_until = Some(until);
        }
    }

    fn before(&self, kind: Kind, name: &str) -> Before {
        let mut world = self.sim.world();
        let who = self.process;
        let Weathers {
            refuse,
            lose,
            limit,
            late,
        } = Weathers::of(&world, kind);
        if world.dice.chance(refuse) {
            world.say(|| format!("{} {name}: refused", world_name(who)));
            return Before::Fail(Fault::Refused);
        }
        if world.dice.chance(limit) {
            let wait = Duration::from_secs(world.dice.between(1, 120));
            world.say(|| format!("{} {name}: limited for {wait:?}", world_name(who)));
            return Before::Fail(Fault::Limited(wait));
        }
        if world.dice.chance(lose) {
            let landed = world.dice.chance(600);
            let late = (kind == Kind::Push && world.dice.chance(late))
                .then(|| Duration::from_secs(world.dice.between(1, 90)));
            world.say(|| {
                format!(
                    "{} {name}: no answer (landed: {landed}, late: {late:?})",
                    world_name(who)
                )
            });
            return Before::Lose { landed, late };
        }
        Before::Go
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.sim.world().processes.is_dead(self.process)
    }
}

fn world_name(process: ProcessId) -> String {
    format!("p{}", process.0)
}

struct Weathers {
    refuse: u64,
    lose: u64,
    limit: u64,
    late: u64,
}

impl Weathers {
    fn of(world: &World, kind: Kind) -> Self {
        let weather = &world.weather;
        let blind = u64::from(weather.sabotage == Some(Sabotage::BlindRetries)) * 100;
        match kind {
            Kind::Read => Self {
                refuse: weather.refuse,
                lose: 0,
                limit: weather.limit,
                late: 0,
            },
            Kind::Write => Self {
                refuse: 0,
                lose: weather.lose + blind,
                limit: weather.limit,
                late: 0,
            },
            Kind::Push => Self {
                refuse: weather.refuse,
                lose: weather.lose,
                limit: 0,
                late: weather.land_late,
            },
            Kind::Own => Self {
                refuse: weather.refuse / 2,
                lose: weather.lose / 2,
                limit: 0,
                late: 0,
            },
        }
    }
}
