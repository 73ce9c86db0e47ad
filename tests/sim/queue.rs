//! The queue in memory: messages that come late, twice, again or out of turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockflight_fleet::{Retried, Settled, Work};
use lockflight_promotion::message::{Body, Envelope, Outcome};
use lockflight_promotion::{MessageId, RepoId};
use tokio::time::Instant;

use crate::weather::Sabotage;
use crate::world::World;

pub(crate) const MOST_ATTEMPTS: u32 = 10;
const MOST_LOSSES: u32 = 20;

#[derive(Debug, Default)]
pub(crate) struct Messages {
    pub(crate) all: BTreeMap<u64, Message>,
    published: u64,
    receipts: u64,
    /// Whether more than one worker gets steps of one repository: a mistake on purpose.
    pub(crate) crowded: bool,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) work: Work,
    pub(crate) envelope: Envelope,
    pub(crate) failed: u32,
    pub(crate) lost: u32,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    Waiting { until: Instant },
    Out { receipt: u64, until: Instant },
    Parked { reason: String },
}

pub(crate) enum Verdict {
    Done,
    Defer(Duration),
    Park(String),
}

impl Messages {
    /// When there may be something to take: at once if that is over.
    pub(crate) fn next(&self, work: Work) -> Option<Instant> {
        let busy = self.busy(work);
        let times = self
            .all
            .values()
            .filter(|message| message.work == work)
            .filter_map(|message| match message.state {
                State::Waiting { .. } if busy.contains(&message.envelope.repo.id) => None,
                State::Waiting { until } | State::Out { until, .. } => Some(until),
                State::Parked { .. } => None,
            });
        times.min()
    }

    /// Repositories of which something is out, where only one batch may be.
    fn busy(&self, work: Work) -> BTreeSet<RepoId> {
        let out = |message: &&Message| message.work == work && matches!(message.state, State::Out { .. });
        match work {
            Work::Steps if self.crowded => BTreeSet::new(),
            Work::Plan | Work::Forward => BTreeSet::new(),
            Work::Steps => self
                .all
                .values()
                .filter(out)
                .map(|message| message.envelope.repo.id)
                .collect(),
        }
    }

    /// What is not parked and not put aside for longer than that.
    pub(crate) fn busy_within(&self, soon: Duration) -> usize {
        let soon = Instant::now() + soon;
        let open = |message: &&Message| match message.state {
            State::Waiting { until } => until <= soon,
            State::Out { .. } => true,
            State::Parked { .. } => false,
        };
        self.all.values().filter(open).count()
    }

    /// Whether all that is left are merges that were put aside.
    pub(crate) fn only_merges(&self) -> bool {
        let waits = |message: &Message| {
            matches!(message.envelope.body, Body::Merge(_)) && matches!(message.state, State::Waiting { .. })
        };
        self.all.values().all(waits)
    }

    pub(crate) fn left(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn describe(&self) -> Vec<String> {
        self.all
            .values()
            .map(|message| {
                format!(
                    "{} {} failed {} lost {} {:?}",
                    message.envelope.routing_key(),
                    message.envelope.id,
                    message.failed,
                    message.lost,
                    message.state
                )
            })
            .collect()
    }

    /// Puts back all that is parked, and lets nothing wait any longer.
    pub(crate) fn release_all(&mut self) -> usize {
        let now = Instant::now();
        let mut released = 0;
        for message in self.all.values_mut() {
            match message.state {
                State::Parked { .. } => {
                    message.state = State::Waiting { until: now };
                    (message.failed, message.lost) = (0, 0);
                    released += 1;
                }
                State::Waiting { .. } => message.state = State::Waiting { until: now },
                State::Out { .. } => {}
            }
        }
        released
    }
}

impl World {
    /// Puts messages on their queues and into the journal.
    pub(crate) fn publish(&mut self, messages: Vec<Envelope>) {
        for message in messages {
            self.say(|| format!("   published {} {}", message.routing_key(), message.id));
            self.witness_published(&message);
            self.journal.push(message.clone());
            let Some(work) = Work::of(&message) else { continue };
            let (double, delay) = (self.weather.double, self.weather.delay);
            let copies = if self.dice.chance(double) { 2 } else { 1 };
            for _ in 0..copies {
                let mut until = Instant::now();
                if self.dice.chance(delay) {
                    until += Duration::from_millis(self.dice.between(100, 60_000));
                }
                self.put(work, message.clone(), until);
            }
        }
    }

    fn put(&mut self, work: Work, envelope: Envelope, until: Instant) {
        if self.weather.collapse {
            let equal = |message: &&mut Message| {
                message.envelope.id == envelope.id
                    && message.envelope.repo.id == envelope.repo.id
                    && message.work == work
                    && matches!(message.state, State::Waiting { .. })
            };
            if let Some(waits) = self.messages.all.values_mut().find(equal) {
                waits.state = State::Waiting {
                    until: Instant::now(),
                };
                return;
            }
        }
        self.messages.published += 1;
        let message = Message {
            work,
            envelope,
            failed: 0,
            lost: 0,
            state: State::Waiting { until },
        };
        self.messages.all.insert(self.messages.published, message);
    }

    fn note(&mut self, seq: u64, receipt: u64, outcome: Outcome) {
        let Some(message) = self.messages.all.get(&seq) else {
            return;
        };
        let id = MessageId::of(&[outcome.name(), message.envelope.id.as_str(), &receipt.to_string()]);
        let note = message.envelope.follow(id, Body::Outcome(outcome));
        self.journal.push(note);
    }

    pub(crate) fn lose(&mut self, seq: u64, receipt: u64) {
        if self.weather.sabotage == Some(Sabotage::LossyQueue) {
            self.messages.all.remove(&seq);
            return;
        }
        let parked = {
            let Some(message) = self.messages.all.get_mut(&seq) else {
                return;
            };
            message.lost += 1;
            if message.lost >= MOST_LOSSES {
                let reason = format!("lost {} times", message.lost);
                message.state = State::Parked {
                    reason: reason.clone(),
                };
                Some(reason)
            } else {
                message.state = State::Waiting {
                    until: Instant::now(),
                };
                None
            }
        };
        self.say(|| format!("message {seq} comes back"));
        if let Some(reason) = parked {
            self.note(seq, receipt, Outcome::Parked { reason });
        }
    }

    pub(crate) fn take(&mut self, work: Work, most: usize) -> Vec<(u64, u64, Envelope)> {
        let now = Instant::now();
        let overdue: Vec<(u64, u64)> = self
            .messages
            .all
            .iter()
            .filter_map(|(seq, message)| match message.state {
                State::Out { receipt, until } if until <= now => Some((*seq, receipt)),
                _ => None,
            })
            .collect();
        for (seq, receipt) in overdue {
            self.lose(seq, receipt);
        }
        let busy = self.messages.busy(work);
        let ready: Vec<(u64, RepoId, bool)> = self
            .messages
            .all
            .iter()
            .filter(|(_, message)| message.work == work && !busy.contains(&message.envelope.repo.id))
            .filter(|(_, message)| matches!(message.state, State::Waiting { until } if until <= now))
            .map(|(seq, message)| (*seq, message.envelope.repo.id, message.failed + message.lost > 0))
            .collect();
        let repos: BTreeSet<RepoId> = ready.iter().map(|(_, repo, _)| *repo).collect();
        let repos: Vec<RepoId> = repos.into_iter().collect();
        let Some(repo) = self.dice.pick(&repos).copied() else {
            return Vec::new();
        };
        let mut queue = ready.into_iter().filter(|(_, of, _)| *of == repo);
        let mut batch = Vec::new();
        if work != Work::Steps {
            let queue: Vec<u64> = queue.map(|(seq, ..)| seq).collect();
            batch.extend(self.dice.pick(&queue).copied());
        } else if let Some((seq, _, counted)) = queue.next() {
            batch.push(seq);
            if !counted {
                batch.extend(
                    queue
                        .take_while(|(.., counted)| !counted)
                        .take(most - 1)
                        .map(|(seq, ..)| seq),
                );
            }
        }
        let until = now + self.weather.visibility;
        let mut taken = Vec::new();
        for seq in batch {
            self.messages.receipts += 1;
            let receipt = self.messages.receipts;
            let message = self.messages.all.get_mut(&seq).unwrap();
            message.state = State::Out { receipt, until };
            let mut envelope = message.envelope.clone();
            envelope.attempt = message.failed + message.lost;
            taken.push((seq, receipt, envelope));
        }
        taken
    }

    /// How often the work on a message has failed.
    pub(crate) fn failures(&self, seq: u64) -> u32 {
        self.messages.all.get(&seq).map_or(0, |message| message.failed)
    }

    pub(crate) fn is_out(&self, seq: u64, receipt: u64) -> bool {
        self.messages
            .all
            .get(&seq)
            .is_some_and(|message| matches!(message.state, State::Out { receipt: out, .. } if out == receipt))
    }

    pub(crate) fn settle(&mut self, seq: u64, receipt: u64, verdict: Verdict) -> Settled {
        if !self.is_out(seq, receipt) {
            return Settled::Stale;
        }
        let again = self.weather.again;
        let again = self.dice.chance(again);
        let Some(message) = self.messages.all.get_mut(&seq) else {
            return Settled::Stale;
        };
        let now = Instant::now();
        match verdict {
            Verdict::Done if again && message.lost == 0 => {
                message.lost = 1;
                message.state = State::Waiting { until: now };
            }
            Verdict::Done => {
                self.messages.all.remove(&seq);
            }
            Verdict::Defer(wait) => message.state = State::Waiting { until: now + wait },
            Verdict::Park(reason) => {
                message.state = State::Parked {
                    reason: reason.clone(),
                };
                self.note(seq, receipt, Outcome::Parked { reason });
            }
        }
        Settled::Done
    }

    pub(crate) fn fail(&mut self, seq: u64, receipt: u64, reason: &str) -> Retried {
        if !self.is_out(seq, receipt) {
            return Retried::Stale;
        }
        let failed = {
            let message = self.messages.all.get_mut(&seq).unwrap();
            message.failed += 1;
            message.failed
        };
        if failed >= MOST_ATTEMPTS {
            let _done = self.settle(seq, receipt, Verdict::Park(reason.to_owned()));
            return Retried::Parked;
        }
        let wait = Duration::from_secs(5 * 2_u64.pow(failed.min(6)))
            + Duration::from_millis(self.dice.between(0, 4_000));
        let after_ms = u64::try_from(wait.as_millis()).unwrap_or(0);
        self.note(
            seq,
            receipt,
            Outcome::Retried {
                reason: reason.to_owned(),
                after_ms,
            },
        );
        let message = self.messages.all.get_mut(&seq).unwrap();
        message.state = State::Waiting {
            until: Instant::now() + wait,
        };
        Retried::After(wait)
    }
}
