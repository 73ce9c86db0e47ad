//! Two versions next to each other, as in an upgrade that rolls through a fleet: the messages of each are carried out by the other, or
//! wait for it.
//!
//! No earlier release can be built here, so what it would write and read is taken from where that is written down: the messages that were
//! recorded when a format was released (`golden.json`, which is only ever added to), and processes that a test has not know a kind.

use lockflight_tests::servers::RabbitMq;
use lockflight_tests::world::{Fleet, Role, World, put};
use serde_json::Value;

use crate::on;
use crate::policies::{LAB, LAB_BY_ITSELF};
use crate::raw::Raw;

const RECORDED: &str = include_str!("../../shared/promotion/src/message/golden.json");

/// What a message of this kind was like when the kind was first released: the first that was recorded.
fn recorded(message: &Value) -> Value {
    let kind = |message: &Value| {
        let body = &message["body"];
        (body["type"].clone(), body["report"]["kind"].clone())
    };
    let all: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
    let found = all.into_iter().find(|one| kind(one) == kind(message));
    found.unwrap_or_else(|| panic!("no message like this was recorded: {message:#}"))
}

/// The facts of a message in the form of another one: what that has no field for is left out.
fn in_the_form_of(form: &Value, message: &Value) -> Value {
    match (form, message) {
        (Value::Object(form), Value::Object(message)) => {
            let kept = form.iter().filter_map(|(name, form)| {
                let value = message.get(name)?;
                Some((name.clone(), in_the_form_of(form, value)))
            });
            kept.collect()
        }
        (Value::Array(form), Value::Array(message)) => {
            let each = |value| {
                form.first()
                    .map_or_else(|| Value::clone(value), |form| in_the_form_of(form, value))
            };
            message.iter().map(each).collect()
        }
        _ => message.clone(),
    }
}

/// The same with a field more in every object that the format has, as a newer version may add them.
fn with_more(message: &Value) -> Value {
    match message {
        Value::Object(fields) => {
            let mut more: serde_json::Map<_, _> = fields
                .iter()
                .map(|(name, value)| (name.clone(), with_more(value)))
                .collect();
            more.insert("sinceLater".to_owned(), Value::from(vec!["unheard of"]));
            Value::Object(more)
        }
        Value::Array(values) => values.iter().map(with_more).collect(),
        _ => message.clone(),
    }
}

/// Takes all that waits in a queue, and puts it back as another version would have written it. Returns the kinds.
async fn translate_all(raw: &Raw, queue: &str, work: &str, translate: fn(&Value) -> Value) -> Vec<String> {
    let taken = raw.take_all(queue).await;
    let mut kinds = Vec::new();
    let mut translated = Vec::new();
    for message in taken {
        let written = message.json();
        let read = translate(&written);
        assert_eq!(written["id"], read["id"]);
        kinds.push(written["body"]["type"].as_str().unwrap().to_owned());
        translated.push(message.saying(&read));
    }
    raw.publish(work, translated).await;
    kinds
}

/// Has every message between the roles written by another version: its reader is stopped until all of it is translated.
async fn a_change_goes_all_the_way_in_messages_of_another_version(translate: fn(&Value) -> Value) {
    let fleet = Fleet::shared()
        .partitions(1)
        // Right after it has published the message that asks for the merge.
        .environment(Role::Executor, 0, "FAILPOINTS", "worker.followed=1*return");
    let name = |what: &str| format!("{}.{what}", fleet.prefix());
    let (work, plan, steps) = (name("work"), name("plan"), name("steps.00"));
    Box::pin(on(fleet, LAB_BY_ITSELF).run(async |world| {
        let raw = Raw::connect(&RabbitMq::shared().await.uri()).await;
        world.stop_one(Role::Planner, 0).await;
        world.stop_one(Role::Executor, 0).await;
        let change = world
            .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
            .await;
        world.quiet().await;
        let mut kinds = translate_all(&raw, &plan, &work, translate).await;
        world.start_one(Role::Planner, 0).await;
        world.until_logged("planned pull request").await;
        world.stop_one(Role::Planner, 0).await;
        kinds.extend(translate_all(&raw, &steps, &work, translate).await);
        world.start_one(Role::Executor, 0).await;
        world.until_dead(Role::Executor, 0).await;
        world.quiet().await;
        kinds.extend(translate_all(&raw, &steps, &work, translate).await);
        world.start_healthy(Role::Executor, 0).await;
        let [lab] = world.promotions_of(change).await;
        world.until_merged(lab.number).await;
        world.until_status(change, "success").await;
        for kind in [
            "delivery.v1",
            "step.promote.v1",
            "step.report.v1",
            "step.merge.v1",
        ] {
            assert!(
                kinds.iter().any(|one| one == kind),
                "{kind} was not among {kinds:?}"
            );
        }
        world.start_one(Role::Planner, 0).await;
        assert_all_is_well(world, &[change]).await;
        world
            .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
            .await;
    }))
    .await;
}

/// Each change has its one pull request, people were told of nothing but success, and nothing waits for a person.
async fn assert_all_is_well(world: &World, changes: &[u64]) {
    for change in changes {
        let [_lab] = world.promotions_of(*change).await;
        world.until_status(*change, "success").await;
    }
    world.quiet().await;
    assert_eq!(world.promotions().len(), changes.len());
    assert_eq!(
        world.calls("POST /repos/{owner}/{repo}/pulls"),
        changes.len() as u64
    );
    for change in changes {
        let told = world.statuses(*change);
        assert!(told.iter().all(|status| status.state == "success"), "{told:?}");
    }
    let (_, said) = world.command(&["parked"]).await;
    assert!(said.contains("nothing is parked"), "{said}");
}

#[tokio::test]
async fn messages_that_an_older_version_wrote_are_carried_out() {
    a_change_goes_all_the_way_in_messages_of_another_version(|message| {
        in_the_form_of(&recorded(message), message)
    })
    .await;
}

#[tokio::test]
async fn messages_in_which_a_newer_version_says_more_are_carried_out() {
    a_change_goes_all_the_way_in_messages_of_another_version(with_more).await;
}

/// A fleet whose first executor is of a version that does not know yet what the planners have begun to write.
fn with_an_older_executor(attempts: &str) -> Fleet {
    Fleet::shared().queue_key("max_attempts", attempts).environment(
        Role::Executor,
        0,
        "FAILPOINTS",
        "wire.unknown=return(step.promote)",
    )
}

/// Scenario: versions side by side, in the order of an upgrade. What the older executor does not know waits for a newer one, and is done
/// once; the older one goes on with what it knows.
#[tokio::test]
async fn what_an_older_executor_does_not_know_waits_for_a_newer_one() {
    on(with_an_older_executor("1000"), LAB)
        .run(async |world| {
            let mut changes = Vec::new();
            for round in 0..6 {
                let path = format!("workspace/c{round}/values.yaml");
                changes.push(world.merge_change(&[put(&path, "replicas: 3\n")]).await);
                match round {
                    0 => {
                        world.until_logged("a message waits for a newer reader").await;
                        assert!(world.promotions().is_empty());
                    }
                    1 => world.start_healthy(Role::Executor, 1).await,
                    4 => assert!(world.stop_one(Role::Executor, 0).await.success()),
                    _ => {}
                }
            }
            assert_all_is_well(world, &changes).await;
        })
        .await;
}

/// An upgrade that is not ended in time: what nobody could read is parked with the word to run a newer version, and is done when it is
/// released there.
#[tokio::test]
async fn what_no_executor_knows_is_parked_and_done_when_it_is_released_to_a_newer_one() {
    on(with_an_older_executor("2"), LAB)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_status(change, "failure").await;
            world.quiet().await;
            let (_, said) = world.command(&["parked"]).await;
            assert!(said.contains("run a newer one"), "{said}");
            assert!(world.promotions().is_empty());
            assert!(world.stop_one(Role::Executor, 0).await.success());
            world.start_healthy(Role::Executor, 0).await;
            for id in said
                .lines()
                .filter(|line| line.contains("step"))
                .filter_map(|line| line.split_whitespace().next())
            {
                world.command(&["parked", "--release", id]).await;
            }
            let [_lab] = world.promotions_of(change).await;
            world.redeliver_merge(change).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
            let (_, said) = world.command(&["parked"]).await;
            assert!(said.contains("nothing is parked"), "{said}");
        })
        .await;
}
