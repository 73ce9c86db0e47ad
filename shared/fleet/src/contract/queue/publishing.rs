//! What is published is there: on its queue, in the journal, and after a restart.

use std::collections::BTreeMap;

use super::super::sample::{delivery, outcome, step};
use super::super::{QUIET, QueueWorld, in_time};
use super::{ack, id, journal, journaled, publish, receive, receives_nothing, until_idle};
use crate::{Delivery as _, Journal as _, Offset, Queue as _, Recorded, Retried, Work};

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
        until_idle(&world, work).await;
    }
    assert_eq!(journaled(&world).await, ["o1", "d1"]);
}

pub async fn publishing_nothing_is_fine(world: impl QueueWorld) {
    publish(&world, &[]).await;
    world.queue().append(&[]).await.unwrap();
    assert!(journal(&world).await.is_empty());
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
    until_idle(&world, Work::Steps).await;
    assert_eq!(journal(&world).await.len(), 500);
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
    // Goodbyes of the dead change nothing.
    drop(out);
    world.pass(world.longest_wait()).await;
    // What was in flight when the process died comes again, counted, as does what had failed.
    let mut back = BTreeMap::new();
    for _ in 0..2 {
        let next = receive(&world, Work::Steps).await;
        // A queue may also count what the process that died had received and nobody had seen.
        assert!(
            (1..=2).contains(&next.attempt()),
            "{}: {}",
            id(&next),
            next.attempt()
        );
        back.insert(id(&next), next);
    }
    assert_eq!(back.keys().collect::<Vec<_>>(), ["s2", "s3"]);
    assert_eq!(id(&receive(&world, Work::Plan).await), "d1");
    for delivery in back.into_values() {
        ack(delivery).await;
    }
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
