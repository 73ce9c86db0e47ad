//! One repository floods the executors.

use std::time::{Duration, Instant};

use lockflight_tests::servers::RabbitMq;
use lockflight_tests::world::{Fleet, Role, World, put};
use serde_json::Value;

use crate::on;
use crate::policies::LAB;
use crate::raw::{Message, Raw};

const FLOOD: &str = "acme/flood";

/// Repositories that go on meanwhile.
const CALM: usize = 5;
/// Changes of each.
const CHANGES: usize = 3;

/// The longest that a promotion of another repository may take, which is long on a busy machine. To drain the flood takes minutes.
const SOON: Duration = Duration::from_secs(40);

/// Further steps of the same change, each with a branch and a pull request of its own.
fn further(step: &Message, count: usize) -> impl Iterator<Item = Message> {
    let json = step.json();
    (0..count).map(move |number| {
        let mut json = json.clone();
        let id = format!("{number:064x}");
        json["id"] = Value::from(format!("flood-{id}"));
        json["body"]["step"]["id"] = Value::from(id);
        json["body"]["step"]["branch"] = Value::from(format!("promotions/flood-{number}"));
        let mut message = step.saying(&json);
        message.properties = message
            .properties
            .with_message_id(format!("flood-{number}").into());
        message
    })
}

async fn change(world: &World, calm: &str, number: usize) {
    let path = format!("workspace/c{number}/values.yaml");
    world.merge_change_in(calm, &[put(&path, "replicas: 3\n")]).await;
}

/// Scenario: thousands of steps of one repository wait in the one queue that the steps of all others go through as well. The others are promoted
/// while the flood is far from its end.
#[expect(
    clippy::print_stdout,
    reason = "a soak run is watched, and shows by how much it held"
)]
async fn a_flood_of_steps_holds_up_no_other_repository(size: usize) {
    let fleet = Fleet::shared().partitions(1);
    let (events, work) = (
        format!("{}.events", fleet.prefix()),
        format!("{}.work", fleet.prefix()),
    );
    let steps = format!("{}.steps.00", fleet.prefix());
    on(fleet, LAB)
        .unvalidated()
        .patience(Duration::from_mins(2))
        .run(async |world| {
            let names: Vec<String> = (0..CALM).map(|number| format!("acme/calm-{number}")).collect();
            for name in names.iter().map(String::as_str).chain([FLOOD]) {
                world.add_repository(name, &[put("telefonistka.yaml", LAB)]).await;
            }
            let raw = Raw::connect(&RabbitMq::shared().await.uri()).await;
            let tap = raw.tap(&events, "step.promote.#").await;
            change(world, FLOOD, 0).await;
            let step = raw.take(&tap).await;
            world.until_promoted_in(FLOOD, 1).await;

            raw.publish(&work, further(&step, size)).await;
            let begin = Instant::now();
            let mut longest = Duration::ZERO;
            for number in 0..CHANGES {
                let since = Instant::now();
                for name in &names {
                    change(world, name, number).await;
                }
                for name in &names {
                    world.until_promoted_in(name, number + 1).await;
                }
                longest = longest.max(since.elapsed());
            }
            let opened = world.promotions_in(FLOOD).len();
            println!(
                "{size} steps of one repository: {opened} of them were done in {:?}, while {} promotions of others took {longest:?} at most",
                begin.elapsed(),
                CALM * CHANGES,
            );
            assert!(longest < SOON, "{longest:?}");
            assert!(opened > 1, "the flood goes on as well");
            assert!(opened < size / 2, "the flood is far from its end: {opened}");
            for name in &names {
                assert_eq!(world.promotions_in(name).len(), CHANGES);
            }
            // What is left would take minutes.
            world.stop_one(Role::Executor, 0).await;
            raw.purge(&steps).await;
        })
        .await;
}

#[tokio::test]
async fn a_flood_of_two_thousand_steps_holds_up_no_other_repository() {
    a_flood_of_steps_holds_up_no_other_repository(2_000).await;
}

#[tokio::test]
#[ignore = "soak: tests/run --soak"]
async fn soak_a_flood_of_ten_thousand_steps_holds_up_no_other_repository() {
    a_flood_of_steps_holds_up_no_other_repository(10_000).await;
}
