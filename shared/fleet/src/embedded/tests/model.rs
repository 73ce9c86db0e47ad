//! The queue against a model of it, under random operations.

use std::collections::BTreeMap;
use std::time::Duration;

use lockflight_promotion::message::Envelope;
use proptest::prelude::*;

use super::World;
use crate::contract::sample::{delivery, step};
use crate::embedded::EmbeddedDelivery;
use crate::{Delivery as _, Depth, Queue as _, Retried, Settled, Work};

#[derive(Clone, Debug)]
enum Operation {
    Publish {
        steps: bool,
        repo: u64,
        count: usize,
    },
    Receive {
        steps: bool,
    },
    /// Settles one of those in hand.
    Settle {
        which: prop::sample::Index,
        how: How,
    },
    /// Releases one of those parked.
    Release {
        which: prop::sample::Index,
    },
    Pass {
        seconds: u64,
    },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Ack,
    AckAndFollow,
    Retry,
    Defer,
    Park,
    Keep,
    Drop,
}

fn operation() -> impl Strategy<Value = Operation> {
    let how = prop_oneof![
        4 => Just(How::Ack),
        2 => Just(How::AckAndFollow),
        3 => Just(How::Retry),
        2 => Just(How::Defer),
        1 => Just(How::Park),
        2 => Just(How::Keep),
        2 => Just(How::Drop),
    ];
    prop_oneof![
        5 => (any::<bool>(), 0..3_u64, 1..4_usize)
            .prop_map(|(steps, repo, count)| Operation::Publish { steps, repo, count }),
        8 => any::<bool>().prop_map(|steps| Operation::Receive { steps }),
        8 => (any::<prop::sample::Index>(), how).prop_map(|(which, how)| Operation::Settle { which, how }),
        1 => any::<prop::sample::Index>().prop_map(|which| Operation::Release { which }),
        3 => prop_oneof![Just(1), Just(3), Just(40), Just(70)].prop_map(|seconds| Operation::Pass { seconds }),
        1 => Just(Operation::Reopen),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Delayed {
        due: u64,
    },
    /// With the model's own number of the hand-out.
    Out {
        back: u64,
        hand_out: u64,
    },
    Parked,
}

#[derive(Clone, Debug)]
struct Message {
    work: Work,
    repo: u64,
    state: State,
    failed: u32,
    lost: u32,
}

/// A plain list, looked through from the beginning. The key is the message's id, which is also its place in the order.
#[derive(Default)]
struct Model {
    messages: BTreeMap<u64, Message>,
    next_id: u64,
    hand_outs: u64,
    now: u64,
    journal: u64,
    max_attempts: u32,
    max_losses: u32,
}

impl Model {
    fn publish(&mut self, work: Work, repo: u64) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.journal += 1;
        let message = Message {
            work,
            repo,
            state: State::Ready,
            failed: 0,
            lost: 0,
        };
        self.messages.insert(id, message);
        id
    }

    fn lose(&mut self, id: u64) {
        let message = self.messages.get_mut(&id).unwrap();
        message.lost += 1;
        message.state = if message.lost >= self.max_losses {
            self.journal += 1;
            State::Parked
        } else {
            State::Ready
        };
    }

    fn wake(&mut self) {
        let ids: Vec<u64> = self.messages.keys().copied().collect();
        for id in ids {
            match self.messages[&id].state {
                State::Delayed { due } if due <= self.now => {
                    self.messages.get_mut(&id).unwrap().state = State::Ready;
                }
                State::Out { back, .. } if back <= self.now => self.lose(id),
                _ => {}
            }
        }
    }

    /// What may be received: the first ready message of each repository that may have one.
    fn candidates(&self, work: Work) -> Vec<u64> {
        let mut first: BTreeMap<u64, u64> = BTreeMap::new();
        for (id, message) in &self.messages {
            if message.work == work && message.state == State::Ready {
                first.entry(message.repo).or_insert(*id);
            }
        }
        let busy = |repo: u64| {
            work == Work::Steps
                && self.messages.values().any(|message| {
                    message.work == work && message.repo == repo && matches!(message.state, State::Out { .. })
                })
        };
        first
            .into_iter()
            .filter(|(repo, _)| !busy(*repo))
            .map(|(_, id)| id)
            .collect()
    }

    fn is_out(&self, id: u64, number: u64) -> bool {
        self.messages
            .get(&id)
            .is_some_and(|message| matches!(message.state, State::Out { hand_out, .. } if hand_out == number))
    }

    fn depth(&self, work: Work) -> Depth {
        let mut depth = Depth::default();
        for message in self.messages.values().filter(|message| message.work == work) {
            match message.state {
                State::Ready => depth.ready += 1,
                State::Delayed { .. } => depth.delayed += 1,
                State::Out { .. } => depth.in_flight += 1,
                State::Parked => depth.parked += 1,
            }
        }
        depth
    }
}

struct InHand {
    delivery: EmbeddedDelivery,
    id: u64,
    hand_out: u64,
}

const VISIBILITY: u64 = 60;
const DEFERRED: u64 = 3;

fn work_of(steps: bool) -> Work {
    if steps { Work::Steps } else { Work::Plan }
}

/// The model's number of a message.
fn number(envelope: &Envelope) -> u64 {
    envelope.id.as_str().trim_start_matches('m').parse().unwrap()
}

fn message(work: Work, repo: u64, id: u64) -> Envelope {
    let make = if work == Work::Steps { step } else { delivery };
    make(repo, &format!("m{id}"))
}

async fn run(operations: Vec<Operation>) {
    let mut world = World::new().await;
    let mut model = Model {
        max_attempts: world.options.max_attempts,
        max_losses: world.options.max_losses,
        ..Model::default()
    };
    let mut in_hand: Vec<InHand> = Vec::new();
    for operation in operations {
        match operation {
            Operation::Publish { steps, repo, count } => {
                let work = work_of(steps);
                let messages: Vec<_> = (0..count)
                    .map(|_| message(work, repo, model.publish(work, repo)))
                    .collect();
                world.fleet.publish(&messages).await.unwrap();
            }
            Operation::Receive { steps } => {
                let work = work_of(steps);
                model.wake();
                let candidates = model.candidates(work);
                let Some(delivery) = world.fleet.try_receive(work).await.unwrap() else {
                    assert!(candidates.is_empty(), "nothing came of {candidates:?}");
                    continue;
                };
                let id: u64 = number(delivery.envelope());
                assert!(
                    candidates.contains(&id),
                    "{id} came, but {candidates:?} should have"
                );
                model.hand_outs += 1;
                let hand_out = model.hand_outs;
                let back = model.now + VISIBILITY;
                let message = model.messages.get_mut(&id).unwrap();
                assert_eq!(delivery.attempt(), message.failed + message.lost, "{id}");
                message.state = State::Out { back, hand_out };
                in_hand.push(InHand {
                    delivery,
                    id,
                    hand_out,
                });
            }
            Operation::Settle { which, how } => {
                if !in_hand.is_empty() {
                    let which = which.index(in_hand.len());
                    settle(&mut model, &mut in_hand, which, how).await;
                }
            }
            Operation::Release { which } => {
                let parked = world.fleet.parked().await.unwrap();
                if !parked.is_empty() {
                    let parked = &parked[which.index(parked.len())];
                    assert!(world.fleet.release(&parked.id).await.unwrap());
                    let id = number(parked.content.envelope().unwrap());
                    let message = model.messages.get_mut(&id).unwrap();
                    assert_eq!(message.state, State::Parked);
                    assert_eq!(parked.attempts, message.failed + message.lost);
                    (message.state, message.failed, message.lost) = (State::Ready, 0, 0);
                }
            }
            Operation::Pass { seconds } => {
                model.now += seconds;
                world.clock.advance(Duration::from_secs(seconds));
            }
            Operation::Reopen => {
                world = world.reopen().await;
                in_hand.clear();
                let out: Vec<u64> = model
                    .messages
                    .iter()
                    .filter(|(_, message)| matches!(message.state, State::Out { .. }))
                    .map(|(id, _)| *id)
                    .collect();
                for id in out {
                    model.lose(id);
                }
            }
        }
    }
    model.wake();
    for work in Work::ALL {
        let depth = world.fleet.depth(work).await.unwrap();
        let expected = model.depth(work);
        assert_eq!(
            Depth {
                oldest_age: None,
                ..depth
            },
            expected,
            "{work}"
        );
    }
    let last = world
        .fleet
        .inner
        .store
        .run(|session| session.last_record())
        .await
        .unwrap();
    assert_eq!(last, model.journal, "records in the journal");
}

async fn settle(model: &mut Model, in_hand: &mut Vec<InHand>, which: usize, how: How) {
    let ours = model.is_out(in_hand[which].id, in_hand[which].hand_out);
    let expected = if ours { Settled::Done } else { Settled::Stale };
    if let How::Keep = how {
        let kept = &in_hand[which];
        assert_eq!(kept.delivery.keep().await.unwrap(), expected);
        if ours {
            let back = model.now + VISIBILITY;
            let hand_out = kept.hand_out;
            model.messages.get_mut(&kept.id).unwrap().state = State::Out { back, hand_out };
        }
        return;
    }
    let InHand { delivery, id, .. } = in_hand.swap_remove(which);
    match how {
        How::Ack => {
            assert_eq!(delivery.ack(Vec::new()).await.unwrap(), expected);
            if ours {
                model.messages.remove(&id);
            }
        }
        How::AckAndFollow => {
            let repo = delivery.envelope().repo.id.get();
            let follow = message(Work::Steps, repo, model.next_id);
            assert_eq!(delivery.ack(vec![follow]).await.unwrap(), expected);
            if ours {
                model.messages.remove(&id);
                model.publish(Work::Steps, repo);
            }
        }
        How::Retry => {
            let retried = delivery.retry("failed", Vec::new()).await.unwrap();
            if !ours {
                assert_eq!(retried, Retried::Stale);
                return;
            }
            model.journal += 1;
            let now = model.now;
            let message = model.messages.get_mut(&id).unwrap();
            message.failed += 1;
            if message.failed >= model.max_attempts {
                assert_eq!(retried, Retried::Parked);
                message.state = State::Parked;
            } else {
                let seconds = [1, 2, 4, 5][usize::try_from(message.failed - 1).unwrap().min(3)];
                assert_eq!(retried, Retried::After(Duration::from_secs(seconds)));
                message.state = State::Delayed { due: now + seconds };
            }
        }
        How::Defer => {
            let wait = Duration::from_secs(DEFERRED);
            assert_eq!(delivery.defer(wait, Vec::new()).await.unwrap(), expected);
            if ours {
                let due = model.now + DEFERRED;
                model.messages.get_mut(&id).unwrap().state = State::Delayed { due };
            }
        }
        How::Park => {
            assert_eq!(delivery.park("no", Vec::new()).await.unwrap(), expected);
            if ours {
                model.journal += 1;
                model.messages.get_mut(&id).unwrap().state = State::Parked;
            }
        }
        How::Drop => {
            drop(delivery);
            if ours {
                model.lose(id);
            }
        }
        How::Keep => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_its_model_does(operations in prop::collection::vec(operation(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}
