//! One repository has so much work that it fills what a process fetches.

use std::collections::BTreeSet;
use std::time::Duration;

use lockflight_fleet::amqp::{AmqpOptions, partition_of};
use lockflight_fleet::contract::sample::step;
use lockflight_fleet::{Delivery as _, Queue as _, Settled, Work};
use lockflight_promotion::RepoId;
use lockflight_tests::servers::RabbitMq;

use super::{in_time, until};
use crate::amqp::{declared, options, taking_all};

const FLOOD: usize = 2_000;

#[tokio::test]
async fn a_flood_of_one_repository_holds_up_no_other_of_its_partition() {
    let options = AmqpOptions {
        visibility: Duration::from_mins(1),
        ..options(&RabbitMq::shared().await.uri())
    };
    assert!(FLOOD > 3 * usize::from(options.window_steps));
    declared(&options).await;
    let fleet = taking_all(&options);
    let home = |repo| partition_of(RepoId::new(repo), options.partitions);
    let other = (2..).find(|repo| home(*repo) == home(1)).unwrap();
    let flood: Vec<_> = (0..FLOOD).map(|n| step(1, &format!("f{n}"))).collect();
    for some in flood.chunks(250) {
        fleet.publish(some).await.unwrap();
    }
    fleet.publish(&[step(other, "other")]).await.unwrap();

    // One worker has the flood in hand, and does not get on with it.
    let receive = async |most| {
        let batch = in_time("a batch", fleet.receive(Work::Steps, most)).await;
        batch.unwrap().unwrap()
    };
    let mut held = receive(4).await;
    let next = receive(4).await;
    let ids = |batch: &[lockflight_fleet::amqp::AmqpDelivery]| -> Vec<String> {
        let envelopes = batch.iter().map(|delivery| delivery.envelope());
        envelopes.map(|envelope| envelope.id.to_string()).collect()
    };
    assert_eq!(ids(&next), ["other"]);
    for delivery in next {
        assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
    }

    // And the flood goes on in its order, each once.
    let mut seen = Vec::new();
    loop {
        seen.extend(ids(&held));
        for delivery in held {
            assert_eq!(delivery.attempt(), 0);
            assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
        }
        if seen.len() >= FLOOD {
            break;
        }
        held = receive(64).await;
    }
    let expected: Vec<String> = (0..FLOOD).map(|n| format!("f{n}")).collect();
    assert_eq!(seen, expected);
    until("the queue is empty", String::new, async || {
        fleet.depth(Work::Steps).await.is_ok_and(|depth| depth.is_idle())
    })
    .await;

    // There is one window again, and a second flood is no other than the first.
    let again: Vec<_> = (0..700).map(|n| step(1, &format!("g{n}"))).collect();
    for some in again.chunks(250) {
        fleet.publish(some).await.unwrap();
    }
    fleet.publish(&[step(other, "another")]).await.unwrap();
    let first = receive(4).await;
    let second = receive(4).await;
    let repos: BTreeSet<u64> = first
        .iter()
        .chain(&second)
        .map(|delivery| delivery.envelope().repo.id.get())
        .collect();
    assert_eq!(repos, [1, other].into());
    fleet.stop().await;
}
