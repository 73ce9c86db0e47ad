//! Tables for each rule, and a run of arbitrary operations against a plain list.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HERE: Source = Source(1);

fn lanes(work: Work) -> Lanes<u32> {
    Lanes::new(Rules {
        work,
        visibility: 60 * SECOND,
        hold: 600 * SECOND,
        linger: Duration::ZERO,
    })
}

fn arrival(repo: u64, token: u32) -> Arrival<u32> {
    Arrival {
        source: HERE,
        repo: RepoId::new(repo),
        id: MessageId::parse(format!("m{token}")).unwrap(),
        counted: false,
        token,
    }
}

fn counted(repo: u64, token: u32) -> Arrival<u32> {
    Arrival {
        counted: true,
        ..arrival(repo, token)
    }
}

fn arrive(lanes: &mut Lanes<u32>, now: Instant, arrivals: impl IntoIterator<Item = Arrival<u32>>) {
    for arrival in arrivals {
        assert_eq!(lanes.arrive(now, arrival), None);
    }
}

/// The tokens of the next batch; empty if there is none.
fn tokens(batch: &[(Ticket, u32)]) -> Vec<u32> {
    batch.iter().map(|(_, token)| *token).collect()
}

fn take(lanes: &mut Lanes<u32>, now: Instant, most: usize) -> Vec<(Ticket, u32)> {
    match lanes.take(now, most, |_| true) {
        Next::Batch(batch) => batch,
        Next::Nothing { .. } => Vec::new(),
    }
}

fn finish(lanes: &mut Lanes<u32>, batch: &[(Ticket, u32)]) {
    for (ticket, _) in batch {
        assert!(lanes.claim(*ticket) && lanes.finish(*ticket));
    }
}

#[test]
fn steps_go_out_in_batches_of_one_repository_and_one_at_a_time() {
    let (mut lanes, now) = (lanes(Work::Steps), Instant::now());
    arrive(&mut lanes, now, (0..5).map(|token| arrival(1, token)));
    arrive(&mut lanes, now, [arrival(2, 9)]);
    let first = take(&mut lanes, now, 3);
    assert_eq!(tokens(&first), [0, 1, 2]);
    assert_eq!(tokens(&take(&mut lanes, now, 3)), [9]);
    assert_eq!(lanes.take(now, 3, |_| true), Next::Nothing { until: None });
    // The lane is free only when the whole batch is settled.
    finish(&mut lanes, &first[..2]);
    assert_eq!(lanes.take(now, 3, |_| true), Next::Nothing { until: None });
    finish(&mut lanes, &first[2..]);
    assert_eq!(tokens(&take(&mut lanes, now, 3)), [3, 4]);
    assert_eq!((lanes.waiting(), lanes.in_hand()), (0, 3));
}

#[test]
fn plan_work_goes_out_one_by_one_and_two_of_one_repository_at_a_time() {
    let (mut lanes, now) = (lanes(Work::Plan), Instant::now());
    let more = (4..100).map(|token| arrival(1, token));
    let first = [arrival(1, 1), arrival(1, 2), arrival(1, 3), arrival(2, 999)];
    arrive(&mut lanes, now, first.into_iter().chain(more));
    let one = take(&mut lanes, now, 100);
    assert_eq!(tokens(&one), [1]);
    assert_eq!(tokens(&take(&mut lanes, now, 100)), [999]);
    assert_eq!(tokens(&take(&mut lanes, now, 100)), [2]);
    assert_eq!(lanes.take(now, 100, |_| true), Next::Nothing { until: None });
    // Whoever comes meanwhile finds a worker.
    arrive(&mut lanes, now, [arrival(3, 1_000)]);
    assert_eq!(tokens(&take(&mut lanes, now, 100)), [1_000]);
    finish(&mut lanes, &one);
    assert_eq!(tokens(&take(&mut lanes, now, 100)), [3]);
    assert_eq!(lanes.take(now, 100, |_| true), Next::Nothing { until: None });
}

#[test]
fn webhooks_are_passed_on_one_by_one_and_eight_of_one_repository_at_a_time() {
    let (mut lanes, now) = (lanes(Work::Forward), Instant::now());
    arrive(&mut lanes, now, (0..100).map(|token| arrival(1, token)));
    let first = take(&mut lanes, now, 100);
    for token in 1..8 {
        assert_eq!(tokens(&take(&mut lanes, now, 100)), [token]);
    }
    assert_eq!(lanes.take(now, 100, |_| true), Next::Nothing { until: None });
    // Whoever comes meanwhile finds a worker.
    arrive(&mut lanes, now, [arrival(3, 1_000)]);
    assert_eq!(tokens(&take(&mut lanes, now, 100)), [1_000]);
    finish(&mut lanes, &first);
    assert_eq!(tokens(&take(&mut lanes, now, 100)), [8]);
}

#[test]
fn a_flooded_repository_takes_turns_with_the_others() {
    for work in Work::ALL {
        let (mut lanes, now) = (lanes(work), Instant::now());
        arrive(&mut lanes, now, (0..10_000).map(|token| arrival(7, token)));
        arrive(&mut lanes, now, [arrival(8, 10_001), arrival(8, 10_002)]);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let batch = take(&mut lanes, now, 1);
            seen.extend(tokens(&batch));
            finish(&mut lanes, &batch);
        }
        assert_eq!(seen, [0, 10_001, 1, 10_002], "{work}");
    }
}

#[test]
fn a_message_that_came_back_counted_goes_out_alone() {
    let (mut lanes, now) = (lanes(Work::Steps), Instant::now());
    arrive(
        &mut lanes,
        now,
        [
            arrival(1, 1),
            arrival(1, 2),
            counted(1, 3),
            arrival(1, 4),
            arrival(1, 5),
        ],
    );
    for expected in [vec![1, 2], vec![3], vec![4, 5]] {
        let batch = take(&mut lanes, now, 10);
        assert_eq!(tokens(&batch), expected);
        finish(&mut lanes, &batch);
    }
}

#[test]
fn an_equal_message_is_stood_for_by_one_that_waits_and_is_not_counted() {
    let equal = |repo, token| Arrival {
        id: MessageId::parse("same").unwrap(),
        ..arrival(repo, token)
    };
    let again = |token| Arrival {
        counted: true,
        ..equal(1, token)
    };
    let (mut lanes, now) = (lanes(Work::Steps), Instant::now());
    assert_eq!(lanes.arrive(now, equal(1, 1)), None);
    assert_eq!(lanes.arrive(now, equal(1, 2)), Some(2));
    assert_eq!(lanes.arrive(now, equal(2, 3)), None, "another repository's");
    assert_eq!(
        lanes.arrive(now, again(4)),
        None,
        "a counted one has its own story"
    );
    let first = take(&mut lanes, now, 1);
    assert_eq!(tokens(&first), [1]);
    assert_eq!(
        lanes.arrive(now, equal(1, 5)),
        None,
        "one in hand stands for nobody"
    );
    assert_eq!(lanes.arrive(now, equal(1, 6)), Some(6));
    assert_eq!(lanes.withdraw(HERE).len(), 3);
    assert_eq!(
        lanes.arrive(now, equal(1, 7)),
        None,
        "those that are gone stand for nobody"
    );
}

#[test]
fn first_steps_wait_a_moment_for_more() {
    let start = Instant::now();
    let linger = Duration::from_millis(3);
    let with_linger = || {
        let mut lanes = lanes(Work::Steps);
        lanes.rules.linger = linger;
        lanes
    };
    let nothing_until_then = Next::Nothing {
        until: Some(start + linger),
    };
    let mut lanes = with_linger();
    arrive(&mut lanes, start, [arrival(1, 1)]);
    assert_eq!(lanes.take(start, 10, |_| true), nothing_until_then);
    arrive(&mut lanes, start + linger / 2, [arrival(1, 2)]);
    assert_eq!(tokens(&take(&mut lanes, start + linger, 10)), [1, 2]);

    // Not when the batch is full, nor when one is asked for, nor when one is next that goes alone anyway.
    for (name, arrivals, most) in [
        ("full", vec![arrival(1, 1), arrival(1, 2)], 2),
        ("single", vec![arrival(1, 1)], 1),
        ("counted", vec![counted(1, 1)], 10),
        ("counted next", vec![arrival(1, 1), counted(1, 2)], 10),
    ] {
        let mut lanes = with_linger();
        arrive(&mut lanes, start, arrivals);
        assert!(!take(&mut lanes, start, most).is_empty(), "{name}");
    }

    // A lane that lingers holds up nobody, and what gathered behind a batch has waited long enough.
    let mut lanes = with_linger();
    arrive(&mut lanes, start, [arrival(1, 1), counted(2, 2)]);
    assert_eq!(tokens(&take(&mut lanes, start, 10)), [2]);
    assert_eq!(lanes.take(start, 10, |_| true), nothing_until_then);
    let first = take(&mut lanes, start + linger, 10);
    arrive(&mut lanes, start + linger, [arrival(1, 3)]);
    finish(&mut lanes, &first);
    assert_eq!(tokens(&take(&mut lanes, start + 2 * linger, 10)), [3]);

    let mut plan = with_linger();
    plan.rules.work = Work::Plan;
    arrive(&mut plan, start, [arrival(1, 1)]);
    assert_eq!(tokens(&take(&mut plan, start, 10)), [1]);
}

#[test]
fn what_is_in_hand_for_too_long_is_lost_unless_it_is_kept() {
    let (mut lanes, start) = (lanes(Work::Steps), Instant::now());
    arrive(&mut lanes, start, [arrival(1, 1), arrival(2, 2), arrival(3, 3)]);
    let batches: Vec<_> = (0..3).map(|_| take(&mut lanes, start, 1)).collect();
    let [hung, kept, settling] = [0, 1, 2].map(|n| batches[n][0].0);
    assert_eq!(lanes.deadline(), Some(start + 60 * SECOND));
    assert!(lanes.keep(start + 30 * SECOND, kept));
    assert!(lanes.claim(settling));
    assert!(!lanes.claim(settling), "it is settled once");
    assert!(lanes.overdue(start + 59 * SECOND).is_empty());
    assert_eq!(lanes.overdue(start + 60 * SECOND), [1]);
    assert_eq!(lanes.deadline(), Some(start + 90 * SECOND));
    assert!(!lanes.keep(start + 60 * SECOND, hung) && !lanes.claim(hung) && !lanes.finish(hung));
    assert_eq!(lanes.overdue(start + 600 * SECOND), [2]);
    assert!(lanes.finish(settling), "a settlement under way is not taken away");
    assert_eq!(lanes.in_hand(), 0);
}

#[test]
fn what_waits_for_too_long_is_put_back_with_all_behind_it() {
    let (mut lanes, start) = (lanes(Work::Steps), Instant::now());
    arrive(&mut lanes, start, [arrival(1, 1), arrival(1, 2)]);
    let first = take(&mut lanes, start, 1);
    arrive(&mut lanes, start + 500 * SECOND, [arrival(1, 3), arrival(2, 4)]);
    assert!(lanes.keep(start + 590 * SECOND, first[0].0));
    assert!(lanes.held_too_long(start + 599 * SECOND).is_empty());
    assert_eq!(lanes.deadline(), Some(start + 600 * SECOND));
    assert_eq!(lanes.held_too_long(start + 600 * SECOND), [2, 3]);
    assert_eq!((lanes.waiting(), lanes.in_hand()), (1, 1));
    finish(&mut lanes, &first);
    assert_eq!(tokens(&take(&mut lanes, start + 600 * SECOND, 1)), [4]);
    assert_eq!(
        lanes.take(start + 600 * SECOND, 1, |_| true),
        Next::Nothing { until: None }
    );
}

#[test]
fn a_dead_source_takes_what_waits_with_it_and_leaves_the_lane_busy() {
    let (mut lanes, start) = (lanes(Work::Steps), Instant::now());
    arrive(&mut lanes, start, [arrival(1, 1), arrival(1, 2), arrival(2, 3)]);
    let stale = take(&mut lanes, start, 1);
    assert_eq!(lanes.in_hand_of(HERE), 1);
    assert_eq!(lanes.forget(HERE), 2);
    assert_eq!(lanes.in_hand_of(HERE), 0);
    let again = |token| Arrival {
        source: Source(2),
        ..counted(1, token)
    };
    arrive(&mut lanes, start, [again(1), again(2)]);
    assert_eq!(
        lanes.take(start, 1, |_| true),
        Next::Nothing { until: None },
        "its worker is still at it"
    );
    let ticket = stale[0].0;
    assert!(!lanes.keep(start, ticket) && !lanes.claim(ticket) && !lanes.finish(ticket));
    let next = take(&mut lanes, start, 1);
    assert_eq!(tokens(&next), [1]);
    // A worker that hangs on to what is stale frees the lane by its deadline; it is not lost once more.
    lanes.forget(Source(2));
    arrive(
        &mut lanes,
        start,
        [Arrival {
            source: Source(3),
            ..counted(1, 1)
        }],
    );
    assert!(lanes.overdue(start + 60 * SECOND).is_empty());
    assert_eq!(tokens(&take(&mut lanes, start + 60 * SECOND, 1)), [1]);
}

#[test]
fn nothing_is_left_behind_of_repositories_that_are_done() {
    let (mut lanes, now) = (lanes(Work::Steps), Instant::now());
    for repo in 0..1_000 {
        arrive(&mut lanes, now, [arrival(repo, 1)]);
        let batch = take(&mut lanes, now, 10);
        finish(&mut lanes, &batch);
    }
    arrive(&mut lanes, now, [arrival(1, 1)]);
    lanes.forget(HERE);
    assert_eq!(lanes.take(now, 1, |_| true), Next::Nothing { until: None });
    assert!(lanes.lanes.is_empty() && lanes.turns.is_empty() && lanes.in_hand.is_empty());
}

#[derive(Clone, Debug)]
enum Act {
    Arrive { repo: u64, id: u32, counted: bool },
    Take { most: usize },
    Settle { nth: usize },
    Keep { nth: usize },
    Pass { seconds: u64 },
    Lose,
    PutBack,
    Reconnect,
    Withdraw,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..4_u64, 0..6_u32, prop::bool::weighted(0.2))
            .prop_map(|(repo, id, counted)| Act::Arrive { repo, id, counted }),
        8 => (1..5_usize).prop_map(|most| Act::Take { most }),
        8 => any::<usize>().prop_map(|nth| Act::Settle { nth }),
        1 => any::<usize>().prop_map(|nth| Act::Keep { nth }),
        4 => (1..4_u64).prop_map(|seconds| Act::Pass { seconds }),
        1 => Just(Act::Lose),
        1 => Just(Act::PutBack),
        1 => Just(Act::Reconnect),
        1 => Just(Act::Withdraw),
    ]
}

/// A message as the plain list knows it.
#[derive(Clone, Debug)]
struct Known {
    token: u32,
    repo: u64,
    id: u32,
    counted: bool,
    source: u64,
    since: Instant,
}

/// Plain lists, in which everything is looked for.
#[derive(Debug)]
struct Model {
    work: Work,
    waiting: Vec<Known>,
    in_hand: BTreeMap<Ticket, (Known, Instant, bool)>,
    /// Repositories that could have been served since before the last turn of the one that is the key.
    passed_over: BTreeMap<u64, BTreeSet<u64>>,
}

impl Model {
    fn lane(&self, repo: u64) -> Vec<&Known> {
        self.waiting.iter().filter(|known| known.repo == repo).collect()
    }

    fn busy(&self, repo: u64) -> bool {
        let in_hand = self
            .in_hand
            .values()
            .filter(|(known, ..)| known.repo == repo)
            .count();
        in_hand >= if self.work == Work::Steps { 1 } else { 2 }
    }

    /// What a lane would give now; none if it has to wait.
    fn offer(&self, repo: u64, now: Instant, most: usize, linger: Duration) -> Option<Vec<u32>> {
        let lane = self.lane(repo);
        let first = lane.first()?;
        if self.busy(repo) {
            return None;
        }
        let most = if self.work == Work::Plan { 1 } else { most };
        let mut batch: Vec<u32> = Vec::new();
        for known in &lane {
            if batch.len() == most || known.counted {
                break;
            }
            batch.push(known.token);
        }
        if batch.is_empty() {
            batch.push(first.token);
        }
        let whole = batch.len() == lane.len();
        let grows = self.work == Work::Steps && !first.counted && whole && batch.len() < most;
        (!grows || first.since + linger <= now).then_some(batch)
    }

    fn remove(&mut self, token: u32) -> Known {
        let place = self.waiting.iter().position(|known| known.token == token);
        self.waiting.remove(place.expect("it waits"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lanes_do_what_plain_lists_would(steps in any::<bool>(), acts in prop::collection::vec(act(), 1..120)) {
        let work = if steps { Work::Steps } else { Work::Plan };
        let rules = Rules { work, visibility: 6 * SECOND, hold: 15 * SECOND, linger: 2 * SECOND };
        let mut lanes: Lanes<u32> = Lanes::new(rules);
        let mut model = Model { work, waiting: Vec::new(), in_hand: BTreeMap::new(), passed_over: BTreeMap::new() };
        let (mut now, mut source, mut tokens) = (Instant::now(), 1_u64, 0_u32);
        for act in acts {
            match act {
                Act::Arrive { repo, id, counted } => {
                    tokens += 1;
                    let known = Known { token: tokens, repo, id, counted, source, since: now };
                    let stood_for = !counted
                        && model.waiting.iter().any(|w| w.repo == repo && w.id == id && !w.counted);
                    let arrival = Arrival {
                        source: Source(source),
                        repo: RepoId::new(repo),
                        id: MessageId::parse(format!("m{id}")).unwrap(),
                        counted,
                        token: tokens,
                    };
                    prop_assert_eq!(lanes.arrive(now, arrival).is_some(), stood_for);
                    if !stood_for {
                        model.waiting.push(known);
                    }
                }
                Act::Take { most } => {
                    let offers: BTreeMap<u64, Vec<u32>> = (0..4)
                        .filter_map(|repo| Some((repo, model.offer(repo, now, most, rules.linger)?)))
                        .collect();
                    match lanes.take(now, most, |_| true) {
                        Next::Nothing { until } => {
                            prop_assert!(offers.is_empty(), "{:?} not served", offers);
                            let lingering = (0..4)
                                .filter(|repo| !model.busy(*repo))
                                .filter_map(|repo| Some(model.lane(repo).first()?.since + rules.linger));
                            prop_assert_eq!(until, lingering.min());
                        }
                        Next::Batch(batch) => {
                            let given: Vec<u32> = batch.iter().map(|(_, token)| *token).collect();
                            let repo = model.waiting.iter().find(|known| known.token == given[0]).unwrap().repo;
                            prop_assert_eq!(Some(&given), offers.get(&repo));
                            let mut before = model.passed_over.remove(&repo).unwrap_or_default();
                            // One that may still linger, since more are asked for now, is not held up.
                            before.retain(|other| offers.contains_key(other));
                            prop_assert!(before.is_empty(), "{:?} had to wait for a second turn of {}", before, repo);
                            for (ticket, token) in batch {
                                let known = model.remove(token);
                                model.in_hand.insert(ticket, (known, now + rules.visibility, false));
                            }
                            for passed in model.passed_over.values_mut() {
                                passed.remove(&repo);
                            }
                            let others = offers.keys().copied().filter(|other| *other != repo).collect();
                            model.passed_over.insert(repo, others);
                        }
                    }
                }
                Act::Settle { nth } => {
                    if let Some(ticket) = pick(&model, nth) {
                        let (_, _, stale) = model.in_hand.remove(&ticket).unwrap();
                        prop_assert_eq!(lanes.claim(ticket), !stale);
                        prop_assert_eq!(lanes.finish(ticket), !stale);
                        prop_assert!(!lanes.finish(ticket), "it is settled once");
                    }
                }
                Act::Keep { nth } => {
                    if let Some(ticket) = pick(&model, nth) {
                        let (_, until, stale) = model.in_hand.get_mut(&ticket).unwrap();
                        prop_assert_eq!(lanes.keep(now, ticket), !*stale);
                        if !*stale {
                            *until = now + rules.visibility;
                        }
                    }
                }
                Act::Pass { seconds } => now += u32::try_from(seconds).unwrap() * SECOND,
                Act::Lose => {
                    let late: Vec<Ticket> = model
                        .in_hand
                        .iter()
                        .filter(|(_, (_, until, _))| *until <= now)
                        .map(|(ticket, _)| *ticket)
                        .collect();
                    let lost: Vec<u32> = late
                        .iter()
                        .filter_map(|ticket| model.in_hand.remove(ticket))
                        .filter(|(_, _, stale)| !stale)
                        .map(|(known, ..)| known.token)
                        .collect();
                    prop_assert_eq!(lanes.overdue(now), lost);
                }
                Act::PutBack => {
                    let mut expected = Vec::new();
                    for repo in 0..4 {
                        let lane: Vec<u32> = model.lane(repo).iter().map(|known| known.token).collect();
                        if model.lane(repo).first().is_some_and(|first| first.since + rules.hold <= now) {
                            expected.extend(lane);
                        }
                    }
                    let put_back = lanes.held_too_long(now);
                    for repo in 0..4 {
                        let in_order: Vec<u32> = put_back
                            .iter()
                            .copied()
                            .filter(|token| model.waiting.iter().any(|w| w.token == *token && w.repo == repo))
                            .collect();
                        prop_assert!(in_order.is_sorted());
                    }
                    let put_back: BTreeSet<u32> = put_back.into_iter().collect();
                    prop_assert_eq!(put_back, expected.iter().copied().collect());
                    model.waiting.retain(|known| !expected.contains(&known.token));
                    model.passed_over.clear();
                }
                Act::Reconnect => {
                    prop_assert_eq!(lanes.forget(Source(source)), model.waiting.iter().filter(|w| w.source == source).count());
                    model.waiting.retain(|known| known.source != source);
                    for (known, _, stale) in model.in_hand.values_mut() {
                        *stale |= known.source == source;
                    }
                    model.passed_over.clear();
                    source += 1;
                }
                Act::Withdraw => {
                    let gone: BTreeSet<u32> = lanes.withdraw(Source(source)).into_iter().collect();
                    let expected = model.waiting.iter().filter(|w| w.source == source);
                    prop_assert_eq!(gone, expected.map(|w| w.token).collect());
                    model.waiting.retain(|known| known.source != source);
                    model.passed_over.clear();
                }
            }
            prop_assert_eq!(lanes.waiting(), model.waiting.len());
            prop_assert_eq!(lanes.in_hand(), model.in_hand.len());
            let held: BTreeSet<u32> = lanes.tokens().copied().collect();
            let in_hand = model.in_hand.values().map(|(known, ..)| known);
            prop_assert_eq!(held, model.waiting.iter().chain(in_hand).map(|known| known.token).collect());
            let deadlines = model.in_hand.values().map(|(_, until, _)| *until);
            let firsts = (0..4).filter_map(|repo| Some(model.lane(repo).first()?.since + rules.hold));
            prop_assert_eq!(lanes.deadline(), deadlines.chain(firsts).min());
        }
    }
}

fn pick(model: &Model, nth: usize) -> Option<Ticket> {
    let count = model.in_hand.len();
    (count > 0).then(|| *model.in_hand.keys().nth(nth % count).unwrap())
}
