//! What was received and is not settled yet, sorted into one lane per repository.
//!
//! Guarantees, as long as the clock that is passed in does not run backwards:
//! - Of one repository at most one batch of [`Work::Steps`] is in hand at a time: its messages in the order in which they arrived. A
//!   message that came back counted is a batch of its own. [`Work::Plan`] is handed out one by one, at most [`PLANS`] of one repository at a
//!   time, and [`Work::Forward`] alike, at most [`FORWARDS`]: one that floods the queue leaves workers to the others.
//! - Repositories take turns: between two turns of one, each other that could be served is served.
//! - A message that arrives while an equal one waits, neither of them counted, is not kept: the one that waits stands for it.
//! - A message is in exactly one place: it waits, is in hand, or was given back to the caller by the method that says so.
//!
//! Nothing here does anything by itself: there is no task and no timer. The caller locks, asks, and acts on the answer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use lockflight_promotion::{MessageId, RepoId};

use crate::Work;

/// How many messages of [`Work::Plan`] of one repository are in hand at a time, at most. Most of the work on them waits for its one mirror
/// anyway, and a process has twice as many workers by default.
const PLANS: usize = 2;

/// The same of [`Work::Forward`]: endpoints that are slow leave room for others of the same repository. A process has twice as many workers by
/// default.
const FORWARDS: usize = 8;

/// The limits that lanes keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) work: Work,
    /// How long a message may be in hand without a sign of life.
    pub(super) visibility: Duration,
    /// How long a message may wait before it is put back.
    pub(super) hold: Duration,
    /// How long the first steps of a repository wait for more, so that they go out together.
    pub(super) linger: Duration,
}

/// Where a message came from: one consumer on one channel. When that is gone, so is the right to settle its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(pub(super) u64);

/// The name of a message that is in hand; each is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// A message that arrives.
#[derive(Clone, Debug)]
pub(super) struct Arrival<T> {
    pub(super) source: Source,
    pub(super) repo: RepoId,
    pub(super) id: MessageId,
    /// Whether it was handed out before and came back counted.
    pub(super) counted: bool,
    /// Whatever the caller needs to know it by.
    pub(super) token: T,
}

/// The answer to who is next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// These, of one repository; they are in hand now.
    Batch(Vec<(Ticket, T)>),
    /// Nobody; if nothing else happens, ask again then.
    Nothing { until: Option<Instant> },
}

/// The messages of one kind of work.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    rules: Rules,
    lanes: HashMap<RepoId, Lane<T>>,
    /// The lanes that may be served, the next one first. Some may have become empty in the meantime.
    turns: VecDeque<RepoId>,
    in_hand: HashMap<Ticket, InHand<T>>,
    waiting: usize,
    tickets: u64,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<Waiting<T>>,
    /// The ids of the uncounted messages that wait.
    ids: HashSet<MessageId>,
    in_hand: usize,
    /// Whether the lane is among the turns.
    queued: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    source: Source,
    id: MessageId,
    counted: bool,
    since: Instant,
    token: T,
}

#[derive(Debug)]
struct InHand<T> {
    repo: RepoId,
    source: Source,
    until: Instant,
    stage: Stage,
    token: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A worker has it.
    Working,
    /// Its settlement is under way: it can't be taken away any more.
    Settling,
    /// Its source is gone, and with it the right to settle it. Its worker is still at it, so its lane stays busy.
    Stale,
}

impl<T> Lane<T> {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            ids: HashSet::new(),
            in_hand: 0,
            queued: false,
        }
    }

    fn pop(&mut self) -> Option<Waiting<T>> {
        let first = self.waiting.pop_front()?;
        if !first.counted {
            self.ids.remove(&first.id);
        }
        Some(first)
    }

    /// How many messages go out together, of `most` at most.
    fn batch(&self, most: usize) -> usize {
        match self.waiting.front() {
            None => 0,
            Some(first) if first.counted => 1,
            Some(_) => self
                .waiting
                .iter()
                .take(most)
                .take_while(|waiting| !waiting.counted)
                .count(),
        }
    }
}

impl<T: Clone> Lanes<T> {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            in_hand: HashMap::new(),
            waiting: 0,
            tickets: 0,
        }
    }

    /// Takes in a message. Gives its token back if an equal message that waits stands for it.
    pub(super) fn arrive(&mut self, now: Instant, arrival: Arrival<T>) -> Option<T> {
        let lane = self.lanes.entry(arrival.repo).or_insert_with(Lane::new);
        if !arrival.counted && !lane.ids.insert(arrival.id.clone()) {
            return Some(arrival.token);
        }
        lane.waiting.push_back(Waiting {
            source: arrival.source,
            id: arrival.id,
            counted: arrival.counted,
            since: now,
            token: arrival.token,
        });
        self.waiting += 1;
        self.enqueue(arrival.repo);
        None
    }

    /// Hands out what is next: of one repository, `most` messages at most. A repository whose first message may not go now is passed over.
    pub(super) fn take(&mut self, now: Instant, most: usize, may: impl Fn(&T) -> bool) -> Next<T> {
        let most = if self.is_exclusive() { most.max(1) } else { 1 };
        let mut until: Option<Instant> = None;
        let mut place = 0;
        while let Some(repo) = self.turns.get(place).copied() {
            match self.ripe_at(repo, most) {
                None => {
                    // Its messages are gone: given up, or put back.
                    self.turns.remove(place);
                    if let Some(lane) = self.lanes.get_mut(&repo) {
                        lane.queued = false;
                    }
                    self.tidy(repo);
                }
                Some(_) if !self.first(repo).is_some_and(&may) => place += 1,
                Some(at) if at <= now => {
                    self.turns.remove(place);
                    return Next::Batch(self.take_from(repo, now, most));
                }
                Some(at) => {
                    until = Some(until.map_or(at, |until| until.min(at)));
                    place += 1;
                }
            }
        }
        Next::Nothing { until }
    }

    /// Begins to settle a message, or to write it down. `false` if it is not its worker's any more.
    pub(super) fn claim(&mut self, ticket: Ticket) -> bool {
        match self.in_hand.get_mut(&ticket) {
            Some(message) if message.stage == Stage::Working => {
                message.stage = Stage::Settling;
                true
            }
            _ => false,
        }
    }

    /// Goes back from the settlement of a message to the work on it, whose time starts again. `false` if it is not in hand.
    pub(super) fn resume(&mut self, now: Instant, ticket: Ticket) -> bool {
        let Some(message) = self.in_hand.get_mut(&ticket) else {
            return false;
        };
        message.stage = Stage::Working;
        message.until = now + self.rules.visibility;
        true
    }

    /// Ends it: the message is out of the worker's hands, one way or another. `true` if it was still its worker's.
    pub(super) fn finish(&mut self, ticket: Ticket) -> bool {
        let Some(message) = self.in_hand.remove(&ticket) else {
            return false;
        };
        if let Some(lane) = self.lanes.get_mut(&message.repo) {
            lane.in_hand = lane.in_hand.saturating_sub(1);
        }
        self.enqueue(message.repo);
        self.tidy(message.repo);
        message.stage != Stage::Stale
    }

    /// Starts the time again that a message may be in hand. `false` if it is not its worker's any more.
    pub(super) fn keep(&mut self, now: Instant, ticket: Ticket) -> bool {
        match self.in_hand.get_mut(&ticket) {
            Some(message) if message.stage != Stage::Stale => {
                message.until = now + self.rules.visibility;
                true
            }
            _ => false,
        }
    }

    /// Takes away what has been in hand for too long, in the order in which it was handed out.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<T> {
        let mut late: Vec<Ticket> = self
            .in_hand
            .iter()
            .filter(|(_, message)| message.stage != Stage::Settling && message.until <= now)
            .map(|(ticket, _)| *ticket)
            .collect();
        late.sort_unstable();
        let mut lost = Vec::new();
        for ticket in late {
            let token = self.in_hand.get(&ticket).map(|message| message.token.clone());
            if self.finish(ticket) {
                lost.extend(token);
            }
        }
        lost
    }

    /// Takes out what has waited for too long, with all that waits behind it in its lane, so that the order within a lane stays.
    pub(super) fn held_too_long(&mut self, now: Instant) -> Vec<T> {
        let mut put_back = Vec::new();
        for lane in self.lanes.values_mut() {
            let first = lane.waiting.front();
            if first.is_some_and(|first| now.saturating_duration_since(first.since) >= self.rules.hold) {
                lane.ids.clear();
                put_back.extend(lane.waiting.drain(..).map(|waiting| waiting.token));
            }
        }
        self.waiting -= put_back.len();
        put_back
    }

    /// Takes out all that waits and came from there; what is in hand stays in hand.
    pub(super) fn withdraw(&mut self, source: Source) -> Vec<T> {
        let mut withdrawn = Vec::new();
        for lane in self.lanes.values_mut() {
            if lane.waiting.iter().all(|waiting| waiting.source != source) {
                continue;
            }
            let (theirs, others): (VecDeque<_>, VecDeque<_>) = lane
                .waiting
                .drain(..)
                .partition(|waiting| waiting.source == source);
            lane.ids = others
                .iter()
                .filter(|waiting| !waiting.counted)
                .map(|waiting| waiting.id.clone())
                .collect();
            lane.waiting = others;
            withdrawn.extend(theirs.into_iter().map(|waiting| waiting.token));
        }
        self.waiting -= withdrawn.len();
        withdrawn
    }

    /// Forgets a source that is gone: what waits is dropped, and what is in hand is stale. Returns how many were dropped.
    pub(super) fn forget(&mut self, source: Source) -> usize {
        for message in self.in_hand.values_mut() {
            if message.source == source && message.stage == Stage::Working {
                message.stage = Stage::Stale;
            }
        }
        self.withdraw(source).len()
    }

    /// Every message that came from there, in no order.
    pub(super) fn tokens_of(&self, source: Source) -> impl Iterator<Item = &T> {
        let waiting = self.lanes.values().flat_map(|lane| lane.waiting.iter());
        let waiting = waiting.filter(move |waiting| waiting.source == source);
        let in_hand = self
            .in_hand
            .values()
            .filter(move |message| message.source == source);
        waiting
            .map(|waiting| &waiting.token)
            .chain(in_hand.map(|message| &message.token))
    }

    /// How many messages from there are in hand, and not stale.
    pub(super) fn in_hand_of(&self, source: Source) -> usize {
        let theirs = self.in_hand.values();
        theirs
            .filter(|message| message.source == source && message.stage != Stage::Stale)
            .count()
    }

    /// When [`Lanes::overdue`] or [`Lanes::held_too_long`] will have something to say if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let in_hand = self.in_hand.values();
        let in_hand = in_hand
            .filter(|message| message.stage != Stage::Settling)
            .map(|message| message.until);
        let waiting = self.lanes.values().filter_map(|lane| lane.waiting.front());
        in_hand
            .chain(waiting.map(|first| first.since + self.rules.hold))
            .min()
    }

    /// How many messages wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many messages of a repository wait.
    pub(super) fn waiting_of(&self, repo: RepoId) -> usize {
        self.lanes.get(&repo).map_or(0, |lane| lane.waiting.len())
    }

    /// Those, in their order.
    pub(super) fn tokens_waiting_of(&self, repo: RepoId) -> impl Iterator<Item = &T> {
        let waiting = self.lanes.get(&repo).into_iter().flat_map(|lane| &lane.waiting);
        waiting.map(|waiting| &waiting.token)
    }

    /// How many messages are in hand, stale ones among them.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand.len()
    }

    /// Every message, in no order.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &T> {
        let waiting = self.lanes.values().flat_map(|lane| lane.waiting.iter());
        let in_hand = self.in_hand.values().map(|message| &message.token);
        waiting.map(|waiting| &waiting.token).chain(in_hand)
    }

    /// Whether a repository's lane is busy while one of its messages is in hand.
    fn is_exclusive(&self) -> bool {
        self.rules.work == Work::Steps
    }

    /// What is first in a lane.
    fn first(&self, repo: RepoId) -> Option<&T> {
        let first = self.lanes.get(&repo)?.waiting.front()?;
        Some(&first.token)
    }

    /// From when on a lane can be served; `None` if nothing waits there.
    fn ripe_at(&self, repo: RepoId, most: usize) -> Option<Instant> {
        let lane = self.lanes.get(&repo)?;
        let first = lane.waiting.front()?;
        let may_grow = self.is_exclusive()
            && !first.counted
            && lane.waiting.len() < most
            && lane.batch(most) == lane.waiting.len();
        Some(if may_grow {
            first.since + self.rules.linger
        } else {
            first.since
        })
    }

    fn take_from(&mut self, repo: RepoId, now: Instant, most: usize) -> Vec<(Ticket, T)> {
        let Some(lane) = self.lanes.get_mut(&repo) else {
            return Vec::new();
        };
        lane.queued = false;
        let mut batch = Vec::new();
        for _ in 0..lane.batch(most) {
            let Some(first) = lane.pop() else { break };
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            let message = InHand {
                repo,
                source: first.source,
                until: now + self.rules.visibility,
                stage: Stage::Working,
                token: first.token.clone(),
            };
            self.in_hand.insert(ticket, message);
            batch.push((ticket, first.token));
        }
        lane.in_hand += batch.len();
        self.waiting -= batch.len();
        self.enqueue(repo);
        batch
    }

    /// Lets a lane that can be served stand in line.
    fn enqueue(&mut self, repo: RepoId) {
        let most = match self.rules.work {
            Work::Steps => 1,
            Work::Plan => PLANS,
            Work::Forward => FORWARDS,
        };
        if let Some(lane) = self.lanes.get_mut(&repo)
            && !lane.queued
            && !lane.waiting.is_empty()
            && lane.in_hand < most
        {
            lane.queued = true;
            self.turns.push_back(repo);
        }
    }

    /// Removes a lane that nothing refers to any more.
    fn tidy(&mut self, repo: RepoId) {
        let idle = |lane: &Lane<T>| lane.waiting.is_empty() && lane.in_hand == 0 && !lane.queued;
        if self.lanes.get(&repo).is_some_and(idle) {
            self.lanes.remove(&repo);
        }
    }
}

#[cfg(test)]
mod tests;
