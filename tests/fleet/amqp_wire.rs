//! What the RabbitMQ adapter makes of the broker: topology, confirms, the journal's stream, what is parked.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use lapin::options::{ExchangeUnbindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use lockflight_fleet::amqp::{
    AmqpError, AmqpFleet, AmqpOptions, TopologyError, check, declare, partition_of,
};
use lockflight_fleet::contract::sample::{delivery, outcome, step};
use lockflight_fleet::{
    Delivery as _, Journal as _, Offset, ParkedId, PublishError, Queue as _, Recorded, Settled, Work,
};
use lockflight_promotion::RepoId;
use lockflight_promotion::message::Envelope;
use lockflight_tests::servers::{PATIENCE, RabbitMq};

use crate::amqp::{at, declared, options, publishing, taking_all};

async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, wait).await;
    done.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Options for things on the shared broker that are there.
async fn set_up() -> AmqpOptions {
    let options = options(&RabbitMq::shared().await.uri());
    declared(&options).await;
    options
}

/// Somebody on the broker who is not Lockflight.
async fn somebody() -> (Connection, Channel) {
    let uri = RabbitMq::shared().await.uri();
    let connection = Connection::connect(&uri, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// An error with all its causes.
fn in_full(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn declaring_twice_changes_nothing_and_what_is_different_is_named() {
    let options = options(&RabbitMq::shared().await.uri());
    assert!(matches!(
        check(&options).await,
        Err(TopologyError::Missing { .. })
    ));
    let lines = declare(&options).await.unwrap();
    assert_eq!(declare(&options).await.unwrap(), lines);
    assert!(
        lines.contains(&format!("queue {}.journal (stream)", options.prefix)),
        "{lines:?}"
    );
    check(&options).await.unwrap();

    let different = AmqpOptions {
        max_queue_bytes: options.max_queue_bytes + 1,
        ..options.clone()
    };
    let error = declare(&different).await.unwrap_err();
    let plan = format!("{}.plan", options.prefix);
    assert!(
        matches!(&error, TopologyError::Different { name, .. } if *name == plan),
        "{error}"
    );
    assert!(error.to_string().contains("x-max-length-bytes"), "{error}");

    // Fewer partitions than there are would leave messages lying.
    let fewer = AmqpOptions {
        partitions: options.partitions - 1,
        ..options.clone()
    };
    for refused in [declare(&fewer).await.map(drop), check(&fewer).await] {
        assert!(
            matches!(refused, Err(TopologyError::MorePartitions { .. })),
            "{refused:?}"
        );
    }
    let more = AmqpOptions {
        partitions: options.partitions + 1,
        ..options.clone()
    };
    assert!(matches!(check(&more).await, Err(TopologyError::Missing { .. })));
}

#[tokio::test]
async fn a_fleet_is_ready_once_everything_is_declared() {
    let options = options(&RabbitMq::shared().await.uri());
    let fleet = publishing(&options);
    until("it finds out that nothing is there", async || {
        matches!(fleet.ready().await, Err(AmqpError::Topology { .. }))
    })
    .await;
    declared(&options).await;
    until("it is ready", async || fleet.ready().await.is_ok()).await;
    fleet.stop().await;
    assert!(matches!(fleet.ready().await, Err(AmqpError::Closed)));
    assert!(matches!(
        fleet.publish(&[delivery(1, "late")]).await,
        Err(PublishError::Closed)
    ));
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    let port = RabbitMq::shared().await.port();
    let wrong = at(
        &set_up().await,
        &format!("amqp://guest:pass-that-is-wrong@127.0.0.1:{port}"),
    );
    let said = in_full(&declare(&wrong).await.unwrap_err());
    assert!(said.contains("ACCESS_REFUSED"), "{said}");
    assert!(!said.contains("pass-that-is-wrong"), "{said}");
    let fleet = AmqpFleet::start(
        AmqpOptions {
            publish_deadline: Duration::from_millis(500),
            ..wrong
        },
        lockflight_fleet::amqp::Consume::default(),
    );
    let said = in_full(&fleet.publish(&[delivery(1, "d")]).await.unwrap_err());
    assert!(said.contains("ACCESS_REFUSED"), "the reason is told: {said}");
    assert!(!said.contains("pass-that-is-wrong"), "{said}");
    let said = format!("{} {fleet:?}", in_full(&fleet.ready().await.unwrap_err()));
    assert!(!said.contains("pass-that-is-wrong"), "{said}");
    fleet.stop().await;
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_an_error_that_says_so() {
    let port = RabbitMq::shared().await.port();
    let options = at(&set_up().await, &format!("amqps://guest:guest@127.0.0.1:{port}"));
    assert!(matches!(
        in_time("an answer", check(&options)).await,
        Err(TopologyError::Connect { .. })
    ));
}

/// Publishes messages all at the same time, each by itself, and returns the ids of those that were confirmed and of the others.
async fn publish_all(fleet: &AmqpFleet, messages: Vec<Envelope>) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut tasks = tokio::task::JoinSet::new();
    for message in messages {
        let fleet = fleet.clone();
        tasks.spawn(async move {
            let published = fleet.publish(std::slice::from_ref(&message)).await;
            (message.id.to_string(), published.is_ok())
        });
    }
    let (mut confirmed, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for (id, published) in in_time("all are answered", tasks.join_all()).await {
        if published { &mut confirmed } else { &mut refused }.insert(id);
    }
    (confirmed, refused)
}

#[tokio::test]
async fn a_message_that_is_returned_or_refused_is_told_to_its_own_publisher() {
    let options = set_up().await;
    let fleet = publishing(&options);
    let (_connection, channel) = somebody().await;
    let (events, work) = (
        format!("{}.events", options.prefix),
        format!("{}.work", options.prefix),
    );
    let home = partition_of(RepoId::new(1), options.partitions);
    let elsewhere = (2..)
        .find(|repo| partition_of(RepoId::new(*repo), options.partitions) != home)
        .unwrap();

    // Refused: a partition has no queue any more.
    let queue = format!("{}.steps.{home:02}", options.prefix);
    let key = format!("step.*.p{home:02}");
    channel
        .queue_unbind(
            queue.as_str().into(),
            work.as_str().into(),
            key.as_str().into(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let messages = (0..1_500).map(|n| step(if n % 3 == 0 { 1 } else { elsewhere }, &format!("s{n}")));
    let (confirmed, refused) = publish_all(&fleet, messages.collect()).await;
    assert_eq!((confirmed.len(), refused.len()), (1_000, 500));
    for id in &refused {
        let number: u32 = id.strip_prefix('s').unwrap().parse().unwrap();
        assert_eq!(number % 3, 0, "{id} has a queue");
    }

    // Returned: without the way to the work queues there is none for an outcome. A step still comes to the journal, which is not enough.
    channel
        .exchange_unbind(
            work.as_str().into(),
            events.as_str().into(),
            "#".into(),
            ExchangeUnbindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let messages = (0..1_500).map(|n| {
        if n % 3 == 0 {
            outcome(n, &format!("o{n}"))
        } else {
            step(elsewhere, &format!("t{n}"))
        }
    });
    let (confirmed, returned) = publish_all(&fleet, messages.collect()).await;
    assert_eq!((confirmed.len(), returned.len()), (0, 1_500));
    fleet.stop().await;
}

/// How long publishers wait in the next test: long enough that all have begun before the first is told.
const DEADLINE: Duration = Duration::from_secs(15);

/// So much sooner is told who finds no room.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn more_than_there_is_room_for_is_refused_at_once() {
    let broker = RabbitMq::start().await;
    let options = AmqpOptions {
        outbox: 20,
        publish_deadline: DEADLINE,
        ..options(&broker.uri())
    };
    declared(&options).await;
    let fleet = publishing(&options);
    until("it is ready", async || fleet.ready().await.is_ok()).await;
    broker.pause();
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let fleet = fleet.clone();
            tokio::spawn(async move { fleet.publish(&[delivery(n, &format!("d{n}"))]).await })
        })
        .collect();
    // Each has its place before it waits for anything.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    // Who has one is told only when its time is up, who has none at once.
    let one_too_many = [delivery(1, "one-too-many")];
    let told = tokio::time::timeout(AT_ONCE, fleet.publish(&one_too_many)).await;
    let refused = told.expect("it is told at once").unwrap_err();
    assert!(in_full(&refused).contains("as much as may"), "{refused}");
    for waiting in waiting {
        let late = in_time("an answer", waiting).await.unwrap().unwrap_err();
        assert!(in_full(&late).contains("did not confirm within"), "{late}");
    }
    broker.resume();
    until("it is ready again", async || fleet.ready().await.is_ok()).await;
    fleet.publish(&[delivery(1, "again")]).await.unwrap();
    fleet.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_before_it_is_sent() {
    let options = AmqpOptions {
        max_message: 200,
        ..set_up().await
    };
    let fleet = publishing(&options);
    let refused = fleet.publish(&[delivery(1, "small?"), delivery(1, "no")]).await;
    assert!(
        matches!(refused, Err(PublishError::TooLarge { limit: 200, .. })),
        "{refused:?}"
    );
    fleet.stop().await;
}

fn ids(records: &[Recorded]) -> Vec<&str> {
    let envelopes = records.iter().filter_map(Recorded::envelope);
    envelopes.map(|envelope| envelope.id.as_str()).collect()
}

#[tokio::test]
async fn the_journal_is_read_to_its_end_and_from_anywhere() {
    let options = set_up().await;
    let fleet = publishing(&options);
    assert!(fleet.read(Offset::START, 10).await.unwrap().is_empty());
    let mut written = Vec::new();
    for (round, count) in [1, 7, 1, 300, 2].into_iter().enumerate() {
        let records: Vec<Envelope> = (0..count).map(|n| outcome(n, &format!("r{round}-{n}"))).collect();
        fleet.append(&records).await.unwrap();
        written.extend(records.into_iter().map(|record| record.id.to_string()));
        // What was confirmed is there: no read ends before it.
        let all = fleet.read(Offset::START, 1_000).await.unwrap();
        assert_eq!(ids(&all), written);
    }
    let all = fleet.read(Offset::START, 5_000).await.unwrap();
    assert!(all.is_sorted_by_key(|record| record.offset));
    assert!(all.iter().all(|record| record.recorded_at > 1_700_000_000_000));
    let mut pages = Vec::new();
    let mut after = Offset::START;
    loop {
        let page = fleet.read(after, 7).await.unwrap();
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = last.offset;
        pages.extend(page);
    }
    assert_eq!(ids(&pages), ids(&all));
    assert!(pages == all);
    assert!(fleet.read(after, 0).await.unwrap().is_empty());

    // Whoever is at the end waits, and two who wait are both woken.
    fleet.changed(Offset::START).await;
    let waiting = [(); 2].map(|()| {
        let fleet = fleet.clone();
        tokio::spawn(async move {
            fleet.changed(after).await;
            fleet.read(after, 10).await
        })
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    fleet.append(&[outcome(1, "at-last")]).await.unwrap();
    for waiting in waiting {
        let records = in_time("it is woken", waiting).await.unwrap().unwrap();
        assert_eq!(ids(&records), ["at-last"]);
    }

    // One who waits when the fleet is stopped waits no longer.
    let last = fleet.read(after, 10).await.unwrap().last().unwrap().offset;
    let waiting = tokio::spawn({
        let fleet = fleet.clone();
        async move { fleet.changed(last).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    fleet.stop().await;
    in_time("it is woken", waiting).await.unwrap();
}

#[tokio::test]
async fn the_journal_has_all_that_was_confirmed_although_its_leader_dies_now_and_then() {
    let broker = RabbitMq::shared().await;
    let options = set_up().await;
    let fleet = publishing(&options);
    until("it is ready", async || fleet.ready().await.is_ok()).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let publishers: Vec<_> = (0..4)
        .map(|name| {
            let (fleet, stopped) = (fleet.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut confirmed = Vec::new();
                for round in 0.. {
                    if *stopped.borrow() {
                        break;
                    }
                    let ids: Vec<String> = (0..=round % 12).map(|n| format!("p{name}-{round}-{n}")).collect();
                    let steps: Vec<Envelope> = ids.iter().map(|id| step(name, id)).collect();
                    if fleet.publish(&steps).await.is_ok() {
                        confirmed.extend(ids);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                confirmed
            })
        })
        .collect();
    // What a restarted broker and a cluster whose node dies do to a stream: what was not confirmed yet goes to its new leader.
    let die = format!(
        "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{}.journal\">>)), exit(amqqueue:get_pid(Q), kill).",
        options.prefix
    );
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker.ctl(&["eval", &die]).await;
        // A message that goes elsewhere, in between.
        until("it is ready", async || fleet.ready().await.is_ok()).await;
    }
    stop.send_replace(true);
    let mut confirmed = Vec::new();
    for publisher in publishers {
        confirmed.extend(in_time("it ends", publisher).await.unwrap());
    }
    let mut journaled = BTreeSet::new();
    let mut after = Offset::START;
    loop {
        let page = fleet.read(after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.offset;
        journaled.extend(ids(&page).into_iter().map(ToOwned::to_owned));
    }
    confirmed.retain(|id| !journaled.contains(id));
    assert!(confirmed.is_empty(), "the journal does not have {confirmed:?}");
    fleet.stop().await;
}

/// Parks steps of so many repositories, and waits until all are there.
async fn park(fleet: &AmqpFleet, count: u64) {
    let steps: Vec<Envelope> = (1..=count).map(|repo| step(repo, &format!("s{repo}"))).collect();
    fleet.publish(&steps).await.unwrap();
    for _ in 0..count {
        let batch = in_time("a step", fleet.receive(Work::Steps, 1))
            .await
            .unwrap()
            .unwrap();
        for delivery in batch {
            assert_eq!(
                delivery.park("it can't be done", Vec::new()).await.unwrap(),
                Settled::Done
            );
        }
    }
}

#[tokio::test]
async fn all_who_look_at_what_is_parked_see_all_of_it_and_nothing_is_lost_by_looking() {
    let options = set_up().await;
    let fleet = taking_all(&options);
    park(&fleet, 30).await;
    // Three processes, each looking many times, all at once.
    let others: Vec<AmqpFleet> = (0..3).map(|_| publishing(&options)).collect();
    let looking: Vec<_> = others
        .iter()
        .flat_map(|fleet| [fleet.clone(), fleet.clone()])
        .map(|fleet| {
            tokio::spawn(async move {
                for _ in 0..5 {
                    let parked = fleet.parked().await.unwrap();
                    assert_eq!(parked.len(), 30);
                    assert!(parked.is_sorted_by_key(|parked| parked.parked_at));
                    assert!(parked.iter().all(|parked| parked.reason == "it can't be done"));
                }
            })
        })
        .collect();
    for looking in looking {
        in_time("they have looked", looking).await.unwrap();
    }

    // Each is released once, while others look.
    assert!(!fleet.release(&ParkedId::new("nobody")).await.unwrap());
    let parked = fleet.parked().await.unwrap();
    let (first, second) = (parked.first().unwrap(), parked.last().unwrap());
    let [one, other] = others.get(..2).unwrap() else {
        unreachable!()
    };
    let (looked, released, again) =
        tokio::join!(fleet.parked(), one.release(&first.id), other.release(&second.id));
    assert!(released.unwrap() && again.unwrap());
    assert!((28..=30).contains(&looked.unwrap().len()));
    assert!(
        !other.release(&first.id).await.unwrap(),
        "it was released already"
    );
    assert_eq!(fleet.parked().await.unwrap().len(), 28);
    let mut back = BTreeSet::new();
    while back.len() < 2 {
        for delivery in in_time("a step", fleet.receive(Work::Steps, 1))
            .await
            .unwrap()
            .unwrap()
        {
            assert_eq!(delivery.attempt(), 0);
            back.insert(delivery.envelope().id.to_string());
            assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
        }
    }
    let expected = [first, second].map(|parked| parked.content.envelope().unwrap().id.to_string());
    assert_eq!(back, expected.into());
    for fleet in others {
        fleet.stop().await;
    }
    fleet.stop().await;
    // The broker says so, too.
    let (_connection, channel) = somebody().await;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let name = format!("{}.parked", options.prefix);
    until("all have come back", async || {
        let queue = channel.queue_declare(name.as_str().into(), passive, FieldTable::default());
        queue.await.unwrap().message_count() == 28
    })
    .await;
}

#[tokio::test]
async fn many_are_released_with_one_look() {
    let options = set_up().await;
    let fleet = taking_all(&options);
    park(&fleet, 120).await;
    let mut ids: Vec<ParkedId> = fleet
        .parked()
        .await
        .unwrap()
        .into_iter()
        .map(|parked| parked.id)
        .collect();
    ids.insert(60, ParkedId::new("nobody"));
    ids.push(ids.first().unwrap().clone());
    let released = in_time("they are released", fleet.release_each(&ids))
        .await
        .unwrap();
    assert_eq!(released.iter().filter(|released| !**released).count(), 1);
    assert_eq!(released.get(60), Some(&false));
    assert!(fleet.parked().await.unwrap().is_empty());
    let mut back = BTreeSet::new();
    while back.len() < 120 {
        for delivery in in_time("a step", fleet.receive(Work::Steps, 8))
            .await
            .unwrap()
            .unwrap()
        {
            assert!(back.insert(delivery.envelope().id.to_string()), "it came twice");
            assert_eq!(delivery.ack(Vec::new()).await.unwrap(), Settled::Done);
        }
    }
    fleet.stop().await;
}
