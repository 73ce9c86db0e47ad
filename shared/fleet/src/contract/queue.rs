//! The queue's contract.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockflight_promotion::RepoId;
use lockflight_promotion::message::{Body, Envelope, Outcome};

use super::sample::{delivery, outcome, step};
use super::{QUIET, QueueWorld, in_time};
use crate::{Content, Delivery, Journal as _, Offset, Queue, Recorded, Retried, Settled, Work};

type DeliveryOf<W> = <<W as QueueWorld>::Queue as Queue>::Delivery;

async fn receive<W: QueueWorld>(world: &W, work: Work) -> DeliveryOf<W> {
    in_time("a message to receive", world.queue().receive(work))
        .await
        .unwrap()
        .expect("the queue is open")
}

async fn receives_nothing<W: QueueWorld>(world: &W, work: Work) {
    let queue = world.queue();
    if let Ok(Ok(Some(delivery))) = tokio::time::timeout(QUIET, queue.receive(work)).await {
        panic!(
            "received {} from {work}, where nothing should come",
            id(&delivery)
        );
    }
}

async fn publish<W: QueueWorld>(world: &W, messages: &[Envelope]) {
    world.queue().publish(messages).await.unwrap();
}

async fn ack(delivery: impl Delivery) {
    assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
}

fn id(delivery: &impl Delivery) -> String {
    delivery.envelope().id.as_str().to_owned()
}

/// The whole journal.
async fn journal<W: QueueWorld>(world: &W) -> Vec<Recorded> {
    let mut records: Vec<Recorded> = Vec::new();
    loop {
        let after = records.last().map_or(Offset::START, |last| last.offset);
        let more = world.queue().read(after, 1_000).await.unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

async fn journaled<W: QueueWorld>(world: &W) -> Vec<String> {
    let ids = journal(world).await.into_iter();
    ids.filter_map(|record| Some(record.envelope()?.id.as_str().to_owned()))
        .collect()
}

async fn outcomes<W: QueueWorld>(world: &W) -> Vec<Outcome> {
    let records = journal(world).await.into_iter();
    records
        .filter_map(|record| match &record.envelope()?.body {
            Body::Outcome(outcome) => Some(outcome.clone()),
            _ => None,
        })
        .collect()
}

pub async fn published_work_is_received_and_journaled(world: impl QueueWorld) {
    let (plan, steps) = (delivery(1, "d1"), step(1, "s1"));
    publish(&world, &[plan.clone(), steps.clone()]).await;
    let planned = receive(&world, Work::Plan).await;
    let stepped = receive(&world, Work::Steps).await;
    assert_eq!((planned.envelope(), planned.attempt()), (&plan, 0));
    assert_eq!((stepped.envelope(), stepped.attempt()), (&steps, 0));
    let records = journal(&world).await;
    let envelopes: Vec<_> = records.iter().filter_map(Recorded::envelope).collect();
    assert_eq!(envelopes, [&plan, &steps]);
    assert!(
        records
            .iter()
            .all(|record| record.recorded_at > 1_600_000_000_000)
    );
    ack(planned).await;
    ack(stepped).await;
}

pub async fn outcomes_go_to_the_journal_alone(world: impl QueueWorld) {
    publish(&world, &[outcome(1, "o1")]).await;
    world.queue().append(&[delivery(1, "d1")]).await.unwrap();
    for work in Work::ALL {
        assert!(world.queue().depth(work).await.unwrap().is_idle(), "{work}");
    }
    assert_eq!(journaled(&world).await, ["o1", "d1"]);
}

pub async fn publishing_nothing_is_fine(world: impl QueueWorld) {
    publish(&world, &[]).await;
    world.queue().append(&[]).await.unwrap();
    assert!(journal(&world).await.is_empty());
}

pub async fn steps_of_a_repository_go_one_after_another_in_order(world: impl QueueWorld) {
    let steps: Vec<_> = (0..5).map(|n| step(1, &format!("s{n}"))).collect();
    publish(&world, &steps).await;
    for n in 0..5 {
        let first = receive(&world, Work::Steps).await;
        assert_eq!(id(&first), format!("s{n}"));
        receives_nothing(&world, Work::Steps).await;
        ack(first).await;
    }
    receives_nothing(&world, Work::Steps).await;
}

pub async fn a_busy_repository_does_not_hold_up_another(world: impl QueueWorld) {
    let steps = [
        step(1, "a1"),
        step(1, "a2"),
        step(1, "a3"),
        step(2, "b1"),
        step(3, "c1"),
    ];
    publish(&world, &steps).await;
    let mut out = Vec::new();
    for _ in 0..3 {
        out.push(receive(&world, Work::Steps).await);
    }
    let ids: BTreeSet<_> = out.iter().map(id).collect();
    assert_eq!(ids, ["a1", "b1", "c1"].map(str::to_owned).into());
    receives_nothing(&world, Work::Steps).await;
    assert_eq!(world.queue().depth(Work::Steps).await.unwrap().in_flight, 3);
}

pub async fn a_step_that_waits_does_not_hold_up_the_next_of_its_repository(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1"), step(1, "s2")]).await;
    let first = receive(&world, Work::Steps).await;
    let wait = Duration::from_secs(1);
    assert_eq!(first.defer(wait, Vec::new()).await.unwrap(), Settled::Done);
    let second = receive(&world, Work::Steps).await;
    assert_eq!(id(&second), "s2");
    world.pass(wait).await;
    receives_nothing(&world, Work::Steps).await;
    ack(second).await;
    assert_eq!(id(&receive(&world, Work::Steps).await), "s1");
}

pub async fn repositories_take_turns(world: impl QueueWorld) {
    for (work, make) in [
        (Work::Plan, delivery as fn(u64, &str) -> Envelope),
        (Work::Steps, step),
    ] {
        let mut flood: Vec<_> = (0..100).map(|n| make(7, &format!("flood{n}"))).collect();
        flood.push(make(8, "patient"));
        publish(&world, &flood).await;
        let mut seen = Vec::new();
        while !seen.iter().any(|id| id == "patient") {
            let next = receive(&world, work).await;
            seen.push(id(&next));
            ack(next).await;
        }
        assert!(seen.len() <= 2, "{work}: {seen:?}");
    }
}

pub async fn plan_work_of_one_repository_goes_to_many_planners(world: impl QueueWorld) {
    publish(&world, &[delivery(1, "d1"), delivery(1, "d2")]).await;
    let first = receive(&world, Work::Plan).await;
    let second = receive(&world, Work::Plan).await;
    assert_ne!(id(&first), id(&second));
}

pub async fn an_acknowledged_message_is_gone_and_what_follows_is_there(world: impl QueueWorld) {
    publish(&world, &[delivery(1, "d1")]).await;
    let first = receive(&world, Work::Plan).await;
    let follow = vec![step(1, "s1"), outcome(1, "o1")];
    assert_eq!(first.ack(follow).await.unwrap(), Settled::Done);
    assert!(world.queue().depth(Work::Plan).await.unwrap().is_idle());
    assert_eq!(id(&receive(&world, Work::Steps).await), "s1");
    assert_eq!(journaled(&world).await, ["d1", "s1", "o1"]);
}

pub async fn a_failed_message_waits_and_is_parked_after_the_last_attempt(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    for attempt in 0..world.max_attempts() {
        let next = receive(&world, Work::Steps).await;
        assert_eq!((next.attempt(), next.envelope().attempt), (attempt, attempt));
        let retried = next
            .retry(&format!("broken {attempt}"), Vec::new())
            .await
            .unwrap();
        if attempt + 1 < world.max_attempts() {
            let Retried::After(wait) = retried else {
                panic!("{retried:?} at {attempt}")
            };
            assert!(wait <= world.longest_wait());
            assert_eq!(world.queue().depth(Work::Steps).await.unwrap().delayed, 1);
            world.pass(wait).await;
        } else {
            assert_eq!(retried, Retried::Parked);
        }
    }
    world.pass(world.longest_wait()).await;
    receives_nothing(&world, Work::Steps).await;
    let parked = world.queue().parked().await.unwrap();
    let [parked] = parked.as_slice() else {
        panic!("{parked:?}")
    };
    let last = world.max_attempts() - 1;
    assert_eq!(parked.work, Work::Steps);
    assert_eq!(parked.reason, format!("broken {last}"));
    assert_eq!(parked.attempts, world.max_attempts());
    assert_eq!(parked.content.envelope().map(|e| e.id.as_str()), Some("s1"));
    let depth = world.queue().depth(Work::Steps).await.unwrap();
    assert_eq!((depth.parked, depth.oldest_age), (1, None));
    // The journal has the whole story.
    let outcomes = outcomes(&world).await;
    let retried = outcomes.iter().filter(|o| matches!(o, Outcome::Retried { .. }));
    assert_eq!(retried.count(), usize::try_from(last).unwrap());
    let parked = Outcome::Parked {
        reason: format!("broken {last}"),
    };
    assert_eq!(outcomes.last(), Some(&parked));
}

pub async fn a_parked_message_stays_until_it_is_released(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1"), step(1, "s2")]).await;
    let first = receive(&world, Work::Steps).await;
    assert_eq!(
        first
            .park("no such branch", vec![outcome(1, "o1")])
            .await
            .unwrap(),
        Settled::Done
    );
    let second = receive(&world, Work::Steps).await;
    assert_eq!(id(&second), "s2");
    ack(second).await;
    let parked = world.queue().parked().await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].reason, "no such branch");
    assert!(journaled(&world).await.contains(&"o1".to_owned()));
    assert!(world.queue().release(&parked[0].id).await.unwrap());
    let again = receive(&world, Work::Steps).await;
    assert_eq!((id(&again).as_str(), again.attempt()), ("s1", 0));
    assert!(
        !world.queue().release(&parked[0].id).await.unwrap(),
        "released twice"
    );
    assert!(world.queue().parked().await.unwrap().is_empty());
}

pub async fn deferring_counts_nothing(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let wait = Duration::from_secs(1);
    for _ in 0..world.max_attempts() + 2 {
        let next = receive(&world, Work::Steps).await;
        assert_eq!(next.attempt(), 0);
        assert_eq!(next.defer(wait, Vec::new()).await.unwrap(), Settled::Done);
        assert_eq!(world.queue().depth(Work::Steps).await.unwrap().delayed, 1);
        world.pass(wait).await;
    }
    ack(receive(&world, Work::Steps).await).await;
    assert!(world.queue().parked().await.unwrap().is_empty());
}

pub async fn what_is_not_settled_in_time_comes_again_and_the_late_worker_is_told(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let late = receive(&world, Work::Steps).await;
    world.pass(world.visibility()).await;
    let again = receive(&world, Work::Steps).await;
    assert_eq!((id(&again).as_str(), again.attempt()), ("s1", 1));
    assert_eq!(late.keep().await.unwrap(), Settled::Stale);
    assert_eq!(late.ack(Vec::new()).await.unwrap(), Settled::Stale);
    // The late word changed nothing for the one who has it now.
    ack(again).await;
    assert!(world.queue().depth(Work::Steps).await.unwrap().is_idle());
}

pub async fn a_kept_message_stays_with_its_worker(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let mine = receive(&world, Work::Steps).await;
    for _ in 0..4 {
        world.pass(world.visibility() / 2).await;
        assert_eq!(mine.keep().await.unwrap(), Settled::Done);
        receives_nothing(&world, Work::Steps).await;
    }
    ack(mine).await;
}

pub async fn a_dropped_delivery_comes_again_counted(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    drop(receive(&world, Work::Steps).await);
    let again = receive(&world, Work::Steps).await;
    assert_eq!(again.attempt(), 1);
    ack(again).await;
}

pub async fn a_panicking_worker_gives_its_message_back(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1")]).await;
    let doomed = receive(&world, Work::Steps).await;
    let worker = tokio::spawn(async move {
        let _doomed = doomed;
        panic!("on purpose");
    });
    assert!(worker.await.unwrap_err().is_panic());
    let queue = world.queue();
    in_time("the message is given back", async {
        while queue.depth(Work::Steps).await.unwrap().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    world.pass(world.longest_wait()).await;
    let again = receive(&world, Work::Steps).await;
    assert_eq!(again.attempt(), 1);
    ack(again).await;
}

pub async fn an_unknown_version_waits_for_a_newer_reader(world: impl QueueWorld) {
    let mut newer = serde_json::to_value(step(1, "s9")).unwrap();
    newer["body"]["type"] = "step.teleport.v7".into();
    let mut newest = serde_json::to_value(step(1, "s10")).unwrap();
    newest["v"] = 200.into();
    for value in [&newer, &newest] {
        let bytes = serde_json::to_vec(value).unwrap();
        world.inject(Work::Steps, RepoId::new(1), bytes).await;
    }
    publish(&world, &[step(1, "s1")]).await;
    // Neither holds up what can be read.
    ack(receive(&world, Work::Steps).await).await;
    let depth = world.queue().depth(Work::Steps).await.unwrap();
    assert_eq!((depth.delayed, depth.parked), (2, 0), "{depth:?}");
    for _ in 0..world.max_attempts() {
        world.pass(world.longest_wait()).await;
        receives_nothing(&world, Work::Steps).await;
    }
    let parked = world.queue().parked().await.unwrap();
    assert_eq!(parked.len(), 2);
    for parked in parked {
        let Content::Newer { bytes, reason } = &parked.content else {
            panic!("{parked:?}")
        };
        assert!(!bytes.is_empty());
        assert!(reason.contains("newer"), "{reason}");
        assert!(
            parked.reason.contains("step.teleport.v7") || parked.reason.contains("version 200"),
            "{}",
            parked.reason
        );
    }
}

pub async fn malformed_bytes_are_parked_with_the_reason_and_hold_up_nobody(world: impl QueueWorld) {
    let good = serde_json::to_vec(&step(1, "s2")).unwrap();
    let bad: [&[u8]; 5] = [b"", b"\xff\xfe", b"{}", &good[..good.len() / 2], b"[1,2,3]"];
    for bytes in bad {
        world.inject(Work::Steps, RepoId::new(1), bytes.to_vec()).await;
    }
    publish(&world, &[step(1, "s1")]).await;
    ack(receive(&world, Work::Steps).await).await;
    let queue = world.queue();
    in_time("all malformed messages are parked", async {
        while queue.depth(Work::Steps).await.unwrap().parked < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let parked = queue.parked().await.unwrap();
    let kept: BTreeSet<_> = parked
        .iter()
        .map(|parked| match &parked.content {
            Content::Malformed { bytes, .. } => bytes.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, bad.map(<[u8]>::to_vec).into());
    assert!(parked.iter().all(|p| p.reason.contains("not an envelope")));
    assert!(queue.depth(Work::Steps).await.unwrap().is_idle());
}

pub async fn a_cancelled_receive_loses_nothing(world: impl QueueWorld) {
    for round in 0..50_u32 {
        publish(&world, &[step(1, "s1")]).await;
        let queue = world.queue();
        // Cancelled at every point that it happens to have come to.
        let racing = tokio::spawn(async move { queue.receive(Work::Steps).await });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        racing.abort();
        if let Ok(received) = racing.await {
            ack(received.unwrap().unwrap()).await;
        } else {
            let again = receive(&world, Work::Steps).await;
            assert_eq!(again.attempt(), 0, "round {round}");
            ack(again).await;
        }
    }
}

pub async fn a_waiting_worker_is_woken_by_work_and_by_time(world: impl QueueWorld) {
    let queue = world.queue();
    let waiting = tokio::spawn(async move { queue.receive(Work::Steps).await });
    tokio::time::sleep(QUIET).await;
    publish(&world, &[step(1, "s1")]).await;
    let first = in_time("the waiting worker", waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let wait = Duration::from_secs(2);
    assert_eq!(first.defer(wait, Vec::new()).await.unwrap(), Settled::Done);
    let queue = world.queue();
    let waiting = tokio::spawn(async move { queue.receive(Work::Steps).await });
    tokio::time::sleep(QUIET).await;
    assert!(!waiting.is_finished());
    world.pass(wait).await;
    ack(in_time("the waiting worker", waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap())
    .await;
}

pub async fn a_closed_queue_hands_out_nothing_but_settles(world: impl QueueWorld) {
    publish(&world, &[step(1, "s1"), step(2, "s2")]).await;
    let first = receive(&world, Work::Steps).await;
    let queue = world.queue();
    let waiting = tokio::spawn(async move { queue.receive(Work::Plan).await });
    tokio::time::sleep(QUIET).await;
    world.close().await;
    assert!(
        in_time("the waiting worker", waiting)
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    assert!(world.queue().receive(Work::Steps).await.unwrap().is_none());
    assert_eq!(first.ack(vec![outcome(1, "o1")]).await.unwrap(), Settled::Done);
    assert_eq!(journaled(&world).await, ["s1", "s2", "o1"]);
}

pub async fn what_was_confirmed_survives_a_restart(world: impl QueueWorld) {
    publish(
        &world,
        &[step(1, "s1"), step(2, "s2"), step(3, "s3"), delivery(1, "d1")],
    )
    .await;
    let mut out = BTreeMap::new();
    for _ in 0..3 {
        let next = receive(&world, Work::Steps).await;
        out.insert(id(&next), next);
    }
    ack(out.remove("s1").unwrap()).await;
    let failed = out.remove("s2").unwrap();
    assert!(matches!(
        failed.retry("later", Vec::new()).await.unwrap(),
        Retried::After(_)
    ));
    let before = journal(&world).await;
    let world = world.restart().await;
    // What was in flight when the process died comes again, counted.
    let orphan = receive(&world, Work::Steps).await;
    assert_eq!((id(&orphan).as_str(), orphan.attempt()), ("s3", 1));
    drop(out);
    world.pass(world.longest_wait()).await;
    let failed = receive(&world, Work::Steps).await;
    assert_eq!((id(&failed).as_str(), failed.attempt()), ("s2", 1));
    assert_eq!(id(&receive(&world, Work::Plan).await), "d1");
    ack(orphan).await;
    ack(failed).await;
    receives_nothing(&world, Work::Steps).await;
    assert_eq!(journal(&world).await, before);
}

pub async fn a_reader_of_the_journal_is_woken_and_can_resume(world: impl QueueWorld) {
    let queue = world.queue();
    let waiting = tokio::spawn(async move { queue.changed(Offset::START).await });
    tokio::time::sleep(QUIET).await;
    assert!(!waiting.is_finished());
    let many: Vec<_> = (0..25).map(|n| outcome(1, &format!("o{n}"))).collect();
    publish(&world, &many).await;
    in_time("the waiting reader", waiting).await.unwrap();
    in_time(
        "a reader that has missed something",
        world.queue().changed(Offset::START),
    )
    .await;
    let mut after = Offset::START;
    let mut ids = Vec::new();
    loop {
        let page = world.queue().read(after, 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        assert!(page.iter().all(|record| record.offset > after));
        after = last.offset;
        ids.extend(
            page.iter()
                .map(|record| record.envelope().unwrap().id.to_string()),
        );
    }
    assert_eq!(ids, (0..25).map(|n| format!("o{n}")).collect::<Vec<_>>());
    let quiet = tokio::time::timeout(QUIET, world.queue().changed(after)).await;
    assert!(quiet.is_err(), "nothing is after the last record");
}

pub async fn a_hundred_publishers_lose_nothing(world: impl QueueWorld) {
    let publishers: Vec<_> = (0..100_u64)
        .map(|repo| {
            let queue = world.queue();
            tokio::spawn(async move {
                for n in 0..5 {
                    queue
                        .publish(&[step(repo, &format!("r{repo}-{n}"))])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    let queue = world.queue();
    let mut next: BTreeMap<u64, u32> = BTreeMap::new();
    for _ in 0..500 {
        let delivery = receive(&world, Work::Steps).await;
        let repo = delivery.envelope().repo.id.get();
        let expected = next.entry(repo).or_default();
        assert_eq!(id(&delivery), format!("r{repo}-{expected}"));
        *expected += 1;
        ack(delivery).await;
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert!(next.values().all(|count| *count == 5) && next.len() == 100);
    assert!(queue.depth(Work::Steps).await.unwrap().is_idle());
    assert_eq!(journal(&world).await.len(), 500);
}
