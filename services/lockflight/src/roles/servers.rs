//! The servers of a fleet, as one of its processes sees them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lockflight_fleet::Seat;
use lockflight_fleet::amqp::{AmqpFleet, AmqpOptions, Consume, Partitions, owned};
use lockflight_fleet::redis::{Member, MemberId, Membership, Redis, RedisLocks, RedisOptions, Role};
use lockflight_runtime::{Health, Shutdown};
use tokio::sync::watch;

/// RabbitMQ, and Redis where the process has it.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    pub(super) queue: AmqpFleet,
    redis: Option<Redis>,
    first_planner: Option<watch::Receiver<bool>>,
}

/// What a process works on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Takes {
    pub(super) plans: bool,
    pub(super) steps: bool,
    pub(super) forwards: bool,
}

impl Servers {
    /// Begins to use them, for what the process works on. That one of them is away now is no error: it is waited
    /// for.
    pub(super) fn start(
        queue: AmqpOptions,
        locks: Option<RedisOptions>,
        seat: &Seat,
        takes: Takes,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let Takes {
            plans,
            steps,
            forwards,
        } = takes;
        let partitions = queue.partitions;
        let me = MemberId::at(seat);
        let redis = locks
            .map(|locks| Redis::start(locks, me.clone()))
            .transpose()
            .context("[locks] can't be used")?;
        let member = |role| {
            let redis = redis.as_ref()?;
            Some(redis.members().join(role, me.clone()))
        };
        let consume = Consume {
            plan: plans,
            steps: steps.then(|| match member(Role::Executor) {
                Some(member) => share(member, partitions, me.clone(), redis.clone(), shutdown),
                None => watch::Sender::new(Partitions::All).subscribe(),
            }),
            forward: forwards,
        };
        let planner = plans.then(|| member(Role::Planner)).flatten();
        let first_planner = planner.map(|member| first(member, me.clone(), redis.clone(), shutdown));
        let fleet = AmqpFleet::start(queue, consume);
        let (closing, draining) = (fleet.clone(), shutdown.clone());
        drop(shutdown.spawn("close", async move {
            draining.draining().await;
            closing.close();
        }));
        Ok(Self {
            queue: fleet,
            redis,
            first_planner,
        })
    }

    /// The locks, where the process has them.
    pub(super) fn locks(&self) -> Option<RedisLocks> {
        self.redis.as_ref().map(Redis::locks)
    }

    /// Whether this process is the planner that sweeps; none where planners do not know of each other.
    pub(super) fn first_planner(&self) -> Option<watch::Receiver<bool>> {
        self.first_planner.clone()
    }

    /// Has the readiness of the process depend on the broker. Redis is not needed to be ready: without it work goes on, slower.
    pub(super) fn check(&self, health: &Health) {
        let queue = self.queue.clone();
        health.check("queue", move || {
            let queue = queue.clone();
            async move { queue.ready().await.map_err(|error| error.to_string()) }
        });
    }

    /// Gives back what is held, and ends the connections.
    pub(super) async fn stop(&self) {
        self.queue.stop().await;
        if let Some(redis) = &self.redis {
            redis.close().await;
        }
    }
}

/// Which partitions are ours, as executors come and go. When the drain begins we leave, so that others take over at once.
fn share(
    member: Member,
    partitions: u16,
    me: MemberId,
    redis: Option<Redis>,
    shutdown: &Shutdown,
) -> watch::Receiver<Partitions> {
    // While it is not known who is there, all: the broker lets one process at a time have each.
    follow(member, Partitions::All, redis, shutdown, move |members| {
        Partitions::Some(owned(members, &me, partitions))
    })
}

/// Whether we are the first of the planners. While it is not known who is there, we are.
fn first(member: Member, me: MemberId, redis: Option<Redis>, shutdown: &Shutdown) -> watch::Receiver<bool> {
    follow(member, true, redis, shutdown, move |members| {
        members.first() == Some(&me)
    })
}

/// For how long a Redis that is away is taken to be back soon, with the members that it last knew.
const HOPE: Duration = Duration::from_secs(15);

/// Follows who is there, and keeps what follows from it. When Redis has been away for a while, nobody knows who is there: one of the
/// others may have died.
fn follow<T: Clone + PartialEq + Send + Sync + 'static>(
    member: Member,
    unknown: T,
    redis: Option<Redis>,
    shutdown: &Shutdown,
    derive: impl Fn(&BTreeSet<MemberId>) -> T + Send + 'static,
) -> watch::Receiver<T> {
    let (derived, receiver) = watch::channel(unknown.clone());
    let mut membership = member.watch();
    let stop = shutdown.clone();
    drop(shutdown.spawn("members", async move {
        let mut look = tokio::time::interval(HOPE / 3);
        let mut away: Option<Instant> = None;
        loop {
            let is_away = redis.as_ref().is_some_and(Redis::is_degraded);
            away = is_away.then(|| away.unwrap_or_else(Instant::now));
            let now = match &*membership.borrow_and_update() {
                _ if away.is_some_and(|since| since.elapsed() >= HOPE) => unknown.clone(),
                Membership::Unknown => unknown.clone(),
                Membership::Known(members) => derive(members),
            };
            derived.send_if_modified(|value| {
                let changed = *value != now;
                if changed {
                    *value = now;
                }
                changed
            });
            tokio::select! {
                () = stop.draining() => break,
                changed = membership.changed() => if changed.is_err() { break },
                _ = look.tick() => {}
            }
        }
        if let Err(error) = member.leave().await {
            tracing::warn!("the others learn only by themselves that this process ends: {error}");
        }
    }));
    receiver
}
