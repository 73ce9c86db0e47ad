use lapin::message::{BasicReturnMessage, Delivery};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::super::connection::Connections;
use super::super::message::PUBLISH;
use super::super::options::{AmqpOptions, AmqpUri};
use super::super::publisher::Rooms;
use super::*;

type Told = Receiver<Result<(), Unconfirmed>>;

/// An outbox whose broker is the test.
struct Desk {
    outbox: Outbox,
    rooms: Arc<Rooms>,
    _connections: Connections,
}

impl Desk {
    fn new() -> Self {
        let uri = AmqpUri::parse("amqp://127.0.0.1:1").unwrap();
        let connections = Connections::start(&uri);
        Self {
            outbox: Outbox::new(
                connections.publishing().clone(),
                Names::new(&AmqpOptions::new(uri)),
                Duration::from_secs(10),
                Duration::from_secs(30),
            ),
            rooms: Rooms::new(100, 1_000),
            _connections: connections,
        }
    }

    /// Messages are published, and sent at once.
    fn publish(&mut self, keys: &[&str]) -> Told {
        let messages: Vec<Outgoing> = keys
            .iter()
            .map(|key| Outgoing {
                exchange: "somewhere".into(),
                routing_key: (*key).into(),
                body: bytes::Bytes::from_static(b"body"),
                properties: BasicProperties::default(),
                journaled: true,
            })
            .collect();
        let (reply, answer) = oneshot::channel();
        let room = self.rooms.take(messages.len(), 4 * messages.len()).unwrap();
        self.outbox.accept(Batch {
            messages,
            since: Instant::now(),
            reply,
            room,
        });
        self.sent();
        answer
    }

    /// What waits is sent; there is no channel that would do it.
    fn sent(&mut self) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(number) = self.outbox.journaled.to_send.pop_front() {
            sent.extend(self.outbox.leaves(number, Way::Journaled).map(|_| number));
        }
        sent
    }

    /// Those that go alone are sent.
    fn sent_alone(&mut self) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(number) = self.outbox.alone.pop_front() {
            sent.extend(self.outbox.leaves(number, Way::Alone).map(|_| number));
        }
        sent
    }

    fn answer(&mut self, number: u64, way: Way, answer: Answer) {
        let generation = self.outbox.lane(way).map_or(0, |lane| lane.generation);
        let sent = Sent {
            number,
            way,
            generation,
        };
        self.outbox.settle(Done::Answered(sent, answer));
    }

    fn confirm(&mut self, number: u64, returned: Option<u64>) {
        let returned = returned.map(returned_message);
        self.answer(number, Way::Journaled, Ok(Confirmation::Ack(returned)).into());
    }

    async fn fence(&mut self) {
        self.outbox.raise_fence();
        while let Some(done) = self.outbox.flight.next().await {
            self.outbox.settle(done);
            self.outbox.raise_fence();
        }
    }
}

fn returned_message(number: u64) -> BasicReturnMessage {
    let mut delivery = Delivery::mock(0, "events".into(), "key".into(), false, Vec::new());
    let mut headers = FieldTable::default();
    headers.insert(PUBLISH.into(), AMQPValue::LongLongInt(number.cast_signed()));
    delivery.properties = BasicProperties::default().with_headers(headers);
    BasicReturnMessage {
        delivery,
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
    }
}

#[tokio::test]
async fn a_batch_is_done_when_all_of_it_is_confirmed_and_came_past_a_fence() {
    let mut desk = Desk::new();
    let mut answer = desk.publish(&["a", "b"]);
    desk.confirm(1, None);
    desk.fence().await;
    assert!(matches!(answer.try_recv(), Err(TryRecvError::Empty)));
    desk.confirm(2, None);
    assert!(
        matches!(answer.try_recv(), Err(TryRecvError::Empty)),
        "no fence yet"
    );
    desk.fence().await;
    assert!(matches!(answer.try_recv(), Ok(Ok(()))));
    assert_eq!((desk.outbox.on_their_way, desk.outbox.bytes_on_their_way), (0, 0));
    assert_eq!(desk.rooms.held(), (0, 0));
}

#[tokio::test]
async fn a_message_that_comes_back_with_its_own_confirm_is_refused() {
    let mut desk = Desk::new();
    let mut answer = desk.publish(&["nowhere"]);
    desk.confirm(1, Some(1));
    desk.fence().await;
    let error = answer.try_recv().unwrap().unwrap_err();
    assert!(
        matches!(&error, Unconfirmed::Returned { key, .. } if key == "nowhere"),
        "{error}"
    );
}

#[tokio::test]
async fn a_message_that_comes_back_with_the_confirm_of_another_is_known_all_the_same() {
    let mut desk = Desk::new();
    let mut nowhere = desk.publish(&["nowhere"]);
    let mut there = desk.publish(&["there"]);
    // The client hands the return of the first out with the second, whose own may still come.
    desk.confirm(2, Some(1));
    desk.confirm(1, None);
    desk.fence().await;
    assert!(matches!(
        nowhere.try_recv(),
        Ok(Err(Unconfirmed::Returned { .. }))
    ));
    assert!(
        matches!(there.try_recv(), Err(TryRecvError::Empty)),
        "not known yet"
    );
    assert_eq!(desk.sent(), [2], "so it is published once more");
    desk.confirm(2, None);
    desk.fence().await;
    assert!(matches!(there.try_recv(), Ok(Ok(()))));
}

#[tokio::test]
async fn returns_that_are_shuffled_among_the_confirms_all_find_their_messages() {
    let mut desk = Desk::new();
    let mut lost: Vec<Told> = (0..3).map(|_| desk.publish(&["nowhere"])).collect();
    let mut kept: Vec<Told> = (0..3).map(|_| desk.publish(&["there"])).collect();
    // The broker returns 1, 2 and 3 and then confirms all six at once, which the client completes in any order.
    for (number, returned) in [
        (5, Some(1)),
        (3, Some(2)),
        (6, Some(3)),
        (1, None),
        (4, None),
        (2, None),
    ] {
        desk.confirm(number, returned);
    }
    desk.fence().await;
    for answer in &mut lost {
        assert!(matches!(answer.try_recv(), Ok(Err(Unconfirmed::Returned { .. }))));
    }
    // Two are in doubt, and published again; the broker takes them.
    let mut again = desk.sent();
    again.sort_unstable();
    assert_eq!(again, [5, 6]);
    for number in again {
        desk.confirm(number, None);
    }
    desk.fence().await;
    for answer in &mut kept {
        assert!(matches!(answer.try_recv(), Ok(Ok(()))));
    }
}

#[tokio::test]
async fn a_refused_message_fails_its_batch_and_nobody_elses() {
    let mut desk = Desk::new();
    let mut both = desk.publish(&["there", "full"]);
    let mut other = desk.publish(&["there"]);
    desk.answer(2, Way::Journaled, Answer::Nack(None));
    desk.confirm(1, None);
    desk.confirm(3, None);
    desk.fence().await;
    assert!(matches!(both.try_recv(), Ok(Err(Unconfirmed::Refused { key })) if key == "full"));
    assert!(matches!(other.try_recv(), Ok(Ok(()))));
    assert_eq!(desk.rooms.held(), (0, 0));
}

#[tokio::test]
async fn what_is_unsettled_when_the_connection_is_lost_is_sent_again_in_its_order() {
    let mut desk = Desk::new();
    let mut answers: Vec<Told> = (0..4).map(|_| desk.publish(&["there"])).collect();
    desk.confirm(2, None);
    desk.fence().await;
    // Confirmed, but not past its fence.
    desk.confirm(3, None);
    desk.outbox.begin_again("it was lost");
    assert_eq!(desk.sent(), [1, 3, 4]);
    for number in [4, 3, 1] {
        desk.confirm(number, None);
    }
    desk.fence().await;
    for answer in &mut answers {
        assert!(matches!(answer.try_recv(), Ok(Ok(()))));
    }
}

fn closed(reply: Option<&str>) -> Answer {
    Answer::Failed(Why {
        reply: reply.map(ToOwned::to_owned),
        ..Why::new("the channel is closed")
    })
}

#[tokio::test]
async fn who_was_the_end_of_a_channel_is_found_out_and_fails_alone() {
    let mut desk = Desk::new();
    let mut answers: Vec<Told> = (0..4).map(|_| desk.publish(&["there"])).collect();
    desk.confirm(1, None);
    desk.fence().await;
    for number in [3, 2, 4] {
        desk.answer(number, Way::Journaled, closed(None));
    }
    desk.outbox.bury();
    assert!(
        desk.sent().is_empty(),
        "nothing is sent together that may fail together"
    );
    assert_eq!(desk.sent_alone(), [2, 3, 4]);
    desk.answer(4, Way::Alone, Answer::Ack(None));
    // One that got no channel is none the worse.
    desk.answer(2, Way::Alone, closed(None));
    desk.answer(3, Way::Alone, closed(Some("PRECONDITION_FAILED - so it is")));
    desk.fence().await;
    let error = answers[2].try_recv().unwrap().unwrap_err();
    assert!(matches!(error, Unconfirmed::Untaken { .. }), "{error}");
    assert!(error.to_string().contains("somewhere"), "{error}");
    assert!(error.to_string().contains("lockflight topology"), "{error}");
    assert!(matches!(answers[3].try_recv(), Ok(Ok(()))));
    assert_eq!(desk.sent_alone(), [2]);
    desk.answer(2, Way::Alone, Answer::Ack(None));
    desk.fence().await;
    assert!(matches!(answers[1].try_recv(), Ok(Ok(()))));
    assert_eq!((desk.outbox.on_their_way, desk.outbox.bytes_on_their_way), (0, 0));
}

#[tokio::test]
async fn only_what_went_to_the_exchange_that_the_broker_names_is_suspected() {
    let mut desk = Desk::new();
    let mut answers: Vec<Told> = (0..3).map(|_| desk.publish(&["there"])).collect();
    desk.outbox.entries.get_mut(&2).unwrap().message.exchange = "nowhere".into();
    desk.answer(1, Way::Journaled, closed(None));
    desk.answer(
        2,
        Way::Journaled,
        closed(Some("NOT_FOUND - no exchange 'nowhere' in vhost '/'")),
    );
    desk.answer(3, Way::Journaled, closed(None));
    desk.outbox.bury();
    assert_eq!(desk.sent(), [1, 3]);
    assert_eq!(desk.sent_alone(), [2]);
    desk.answer(
        2,
        Way::Alone,
        closed(Some("NOT_FOUND - no exchange 'nowhere' in vhost '/'")),
    );
    assert!(desk.outbox.doubtful.contains("nowhere"));
    assert!(matches!(
        answers[1].try_recv(),
        Ok(Err(Unconfirmed::Untaken { .. }))
    ));
    for number in [1, 3] {
        desk.confirm(number, None);
    }
    desk.fence().await;
    assert!(matches!(answers[0].try_recv(), Ok(Ok(()))));
    assert!(matches!(answers[2].try_recv(), Ok(Ok(()))));
}

#[tokio::test]
async fn what_came_to_the_journal_counts_only_when_the_way_to_the_work_is_there() {
    let mut desk = Desk::new();
    let events = desk.outbox.names.events();
    let mut answers: Vec<Told> = (0..2).map(|_| desk.publish(&["there"])).collect();
    for number in [1, 2] {
        let entry = desk.outbox.entries.get_mut(&number).unwrap();
        entry.message.exchange = events.as_str().into();
    }
    for (number, answer) in [
        (1, Answer::Nack(None)),
        (
            2,
            Answer::Ack(Some(Returned {
                number: Some(99),
                why: "NO_ROUTE".to_owned(),
            })),
        ),
    ] {
        desk.confirm(number, None);
        desk.fence().await;
        assert_eq!(desk.outbox.vouch.waiting, [number]);
        desk.outbox.vouch.take_off();
        desk.outbox.settle(Done::Probed(0, answer));
    }
    assert!(matches!(answers[0].try_recv(), Ok(Ok(()))));
    let error = answers[1].try_recv().unwrap().unwrap_err();
    assert!(matches!(error, Unconfirmed::Unbound { .. }), "{error}");
}

#[tokio::test]
async fn the_confirm_of_an_outcome_says_all_there_is_to_say() {
    let mut desk = Desk::new();
    let events = desk.outbox.names.events();
    let mut answer = desk.publish(&["outcome.parked"]);
    desk.outbox.entries.get_mut(&1).unwrap().message.exchange = events.as_str().into();
    desk.confirm(1, None);
    desk.fence().await;
    assert!(matches!(answer.try_recv(), Ok(Ok(()))));
    assert!(desk.outbox.vouch.waiting.is_empty());
}

#[tokio::test]
async fn a_journal_that_confirms_nothing_is_late_until_it_does() {
    let mut desk = Desk::new();
    desk.outbox.confirm_timeout = Duration::ZERO;
    let late = desk.outbox.journal_is_late();
    desk.outbox.watch_journal();
    assert!(!*late.borrow(), "nothing waits for it");
    let _answer = desk.publish(&["there"]);
    let told = async {
        while !*late.borrow() {
            desk.outbox.watch_journal();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    desk.outbox.begin_again("it was given up");
    desk.outbox.watch_journal();
    assert!(*late.borrow(), "another connection is no answer");
    desk.sent();
    desk.confirm(1, None);
    desk.fence().await;
    desk.outbox.watch_journal();
    assert!(!*late.borrow());
}

#[tokio::test]
async fn who_waited_until_the_deadline_is_told_that_it_is_not_known() {
    let mut desk = Desk::new();
    desk.outbox.deadline = Duration::from_millis(200);
    let mut early = desk.publish(&["early"]);
    let since = Instant::now();
    tokio::time::sleep_until(since + desk.outbox.deadline).await;
    let mut late = desk.publish(&["late"]);
    desk.outbox.expire();
    let error = early.try_recv().unwrap().unwrap_err();
    assert!(
        error.to_string().contains("did not confirm within 200ms"),
        "{error}"
    );
    assert!(matches!(late.try_recv(), Err(TryRecvError::Empty)));
    // A confirm that comes too late is for nobody.
    desk.confirm(1, None);
    desk.confirm(2, None);
    desk.fence().await;
    assert!(matches!(late.try_recv(), Ok(Ok(()))));
}

#[tokio::test]
async fn no_more_is_taken_than_there_is_room_for() {
    let rooms = Rooms::new(3, 100);
    let first = rooms.take(2, 50).unwrap();
    assert!(matches!(
        rooms.take(2, 1),
        Err(Unconfirmed::Full {
            messages: 2,
            bytes: 50
        })
    ));
    assert!(rooms.take(1, 51).is_err());
    let second = rooms.take(1, 50).unwrap();
    assert_eq!(rooms.held(), (3, 100));
    drop((first, second));
    assert_eq!(rooms.held(), (0, 0));
    // One that is larger than everything would never go.
    assert!(rooms.take(5, 500).is_ok());
    assert_eq!(rooms.held(), (0, 0));
}
