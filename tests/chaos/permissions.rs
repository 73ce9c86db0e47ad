//! The users of RabbitMQ and Redis that docs/operations.md tells an operator to make: each role can do its work as its user, and nothing else.
//! The commands are read from the page, so that the page is what is tried.

use futures::future::join_all;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use lockflight_tests::servers::{RabbitMq, Redis};
use lockflight_tests::world::{Fleet, Role, put};

use crate::on;
use crate::policies::LAB_BY_ITSELF;

const PAGE: &str = include_str!("../../docs/operations.md");

const PASSWORD: &str = "a-password-of-this-story";

const ROLES: [Role; 3] = [Role::Ingress, Role::Planner, Role::Executor];

/// The lines of code on the page that begin like this.
fn lines(begin: &str) -> Vec<&'static str> {
    let code = PAGE.lines().filter_map(|line| line.strip_prefix("    "));
    let found: Vec<_> = code.filter(|line| line.starts_with(begin)).collect();
    assert!(
        !found.is_empty(),
        "the page has no line of code that begins with {begin:?}"
    );
    found
}

/// The words of a command, as a shell would split it.
fn words(line: &str) -> Vec<String> {
    let (line, _comment) = line.split_once(" #").unwrap_or((line, ""));
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        if place % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn user_of(role: &str) -> String {
    format!("lockflight-{role}")
}

fn queue_url(rabbit: &RabbitMq, user: &str) -> String {
    format!("amqp://{user}:{PASSWORD}@127.0.0.1:{}/%2f", rabbit.port())
}

/// Makes the users of RabbitMQ with the commands of the page.
async fn make_users(rabbit: &RabbitMq) {
    let permissions: Vec<Vec<String>> = ["set_permissions", "set_topic_permissions"]
        .iter()
        .flat_map(|command| lines(&format!("rabbitmqctl {command} ")))
        .map(|line| words(line).split_off(1))
        .collect();
    let mut users: Vec<&str> = permissions.iter().map(|words| words[1].as_str()).collect();
    users.sort_unstable();
    users.dedup();
    let wanted = ["executor", "ingress", "operator", "planner"].map(user_of);
    assert_eq!(users, wanted, "the page has a user for each role");
    assert_eq!(
        words(lines("rabbitmqctl add_user ")[0])[..2],
        ["rabbitmqctl", "add_user"]
    );
    join_all(users.iter().map(|user| async {
        rabbit.ctl(&["add_user", user, PASSWORD]).await;
    }))
    .await;
    join_all(permissions.iter().map(|words| async {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        rabbit.ctl(&words).await;
    }))
    .await;
}

/// Makes the users of Redis with the lines of the page; the one that everybody is who does not say who they are comes last.
async fn make_redis_users(redis: &Redis) {
    let mut users = lines("user ");
    users.sort_by_key(|line| line.starts_with("user default"));
    assert_eq!(users.len(), 2, "{users:?}");
    for line in users {
        let line = line.replace(">PASSWORD", &format!(">{PASSWORD}"));
        let mut command = vec!["ACL", "SETUSER"];
        command.extend(line.split_whitespace().skip(1));
        assert_eq!(redis.cli(&command).await, "OK", "{line}");
    }
}

/// What somebody may try who has a role's password.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Declare(&'static str),
    DeclareExchange,
    Bind,
    Delete(&'static str),
    Purge(&'static str),
    Consume(&'static str),
    Get(&'static str),
    Publish(&'static str, &'static str),
}

impl Deed {
    async fn tried(self, channel: &Channel) -> Result<(), lapin::Error> {
        let table = FieldTable::default;
        match self {
            Self::Declare(queue) => {
                let options = QueueDeclareOptions::default();
                channel.queue_declare(queue.into(), options, table()).await?;
            }
            Self::DeclareExchange => {
                let options = ExchangeDeclareOptions::default();
                let name = "lockflight.another".into();
                channel
                    .exchange_declare(name, ExchangeKind::Topic, options, table())
                    .await?;
            }
            Self::Bind => {
                let (queue, exchange) = ("lockflight.plan".into(), "lockflight.events".into());
                let options = QueueBindOptions::default();
                channel
                    .queue_bind(queue, exchange, "#".into(), options, table())
                    .await?;
            }
            Self::Delete(queue) => {
                let options = QueueDeleteOptions::default();
                channel.queue_delete(queue.into(), options).await?;
            }
            Self::Purge(queue) => {
                let options = QueuePurgeOptions::default();
                channel.queue_purge(queue.into(), options).await?;
            }
            Self::Consume(queue) => {
                let options = BasicConsumeOptions::default();
                channel
                    .basic_consume(queue.into(), "".into(), options, table())
                    .await?;
            }
            Self::Get(queue) => {
                channel
                    .basic_get(queue.into(), BasicGetOptions::default())
                    .await?;
            }
            Self::Publish(exchange, key) => {
                let options = lapin::options::ConfirmSelectOptions::default();
                channel.confirm_select(options).await?;
                let properties = lapin::BasicProperties::default();
                let options = lapin::options::BasicPublishOptions::default();
                channel
                    .basic_publish(exchange.into(), key.into(), options, b"{}", properties)
                    .await?
                    .await?;
            }
        }
        Ok(())
    }
}

/// What nobody may but the operator, and what one role may not do of another's.
fn forbidden(role: &str) -> Vec<Deed> {
    let mut deeds = vec![
        Deed::Declare("lockflight.plan.2"),
        Deed::Declare("another"),
        Deed::DeclareExchange,
        Deed::Bind,
        Deed::Delete("lockflight.journal"),
        Deed::Delete("lockflight.steps.00"),
        Deed::Get("lockflight.journal"),
        Deed::Publish("amq.topic", "anything"),
        Deed::Publish("lockflight.dlx", "anything"),
    ];
    deeds.extend(match role {
        "ingress" => vec![
            Deed::Publish("lockflight.events", "step.promote.00"),
            Deed::Publish("lockflight.events", "forward.send"),
            Deed::Publish("lockflight.events", "outcome.merged"),
            Deed::Publish("lockflight.work", "delivery.pull_request"),
            Deed::Publish("", "lockflight.plan"),
            Deed::Consume("lockflight.plan"),
            Deed::Get("lockflight.parked"),
            Deed::Consume("lockflight.steps.00"),
            Deed::Get("lockflight.forward"),
            Deed::Purge("lockflight.plan"),
        ],
        "planner" => vec![
            Deed::Consume("lockflight.forward"),
            Deed::Purge("lockflight.forward"),
            Deed::Consume("lockflight.steps.00"),
            Deed::Get("lockflight.steps.03"),
            Deed::Purge("lockflight.steps.00"),
        ],
        "executor" => vec![
            Deed::Consume("lockflight.plan"),
            Deed::Get("lockflight.dead"),
            Deed::Get("lockflight.parked"),
            Deed::Purge("lockflight.plan"),
        ],
        _ => unreachable!("it has no such list"),
    });
    deeds
}

async fn assert_refused(rabbit: &RabbitMq, role: &str) {
    let uri = queue_url(rabbit, &user_of(role));
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await;
    let connection = connection.unwrap();
    for deed in forbidden(role) {
        let channel = connection.create_channel().await.unwrap();
        match deed.tried(&channel).await {
            Ok(()) => panic!("{role} may {deed:?}"),
            Err(error) => {
                let error = format!("{error:?}");
                assert!(error.contains("ACCESS_REFUSED"), "{role}, {deed:?}: {error}");
            }
        }
    }
}

async fn assert_redis_refuses(redis: &Redis) {
    let user = ["--no-auth-warning", "--user", "lockflight", "--pass", PASSWORD];
    let refused: [&[&str]; 12] = [
        &["GET", "another:key"],
        &["SET", "another:key", "1"],
        &["DEL", "another:key"],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["FLUSHALL"],
        &["CONFIG", "GET", "*"],
        &["ACL", "LIST"],
        &["EVAL", "return 1", "0"],
        &["SHUTDOWN"],
        &["REPLICAOF", "NO", "ONE"],
        &["PUBLISH", "another", "1"],
    ];
    for command in refused {
        let said = redis.cli(&[&user, command].concat()).await;
        assert!(said.starts_with("NOPERM"), "{command:?}: {said}");
    }
    let said = redis
        .cli(&[&user[..], &["SET", "lockflight:x", "1"]].concat())
        .await;
    assert_eq!(said, "OK");
    // Who does not say who they are may ask whether it is there, and nothing else.
    assert_eq!(redis.cli(&["PING"]).await, "PONG");
    for command in [&["GET", "lockflight:x"][..], &["INFO"], &["PUBLISH", "x", "1"]] {
        let said = redis.cli(command).await;
        assert!(said.starts_with("NOPERM"), "{command:?}: {said}");
    }
}

#[tokio::test]
async fn each_role_works_as_the_user_that_the_operators_page_makes_and_may_do_nothing_else() {
    let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
    tokio::join!(make_users(&rabbit), make_redis_users(&redis));
    let locks = format!("redis://lockflight:{PASSWORD}@127.0.0.1:{}/0", redis.port());
    // The topology is declared as the operator.
    let mut fleet = Fleet::on(queue_url(&rabbit, &user_of("operator")), locks.clone()).named("lockflight");
    for role in ROLES {
        let user = user_of(&format!("{role:?}").to_lowercase());
        for number in 0..2 {
            fleet = fleet.way(role, number, queue_url(&rabbit, &user), locks.clone());
        }
    }
    on(fleet.queue_key("max_attempts", "1"), LAB_BY_ITSELF)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            world.until_merged(lab.number).await;
            world.until_status(change, "success").await;
            // A retry, a parked message, and its release are things that roles write, too.
            world.forge.faults().add(lockflight_sandbox::Fault {
                matcher: lockflight_sandbox::RequestMatcher::rest(http::Method::POST, "/repos/*/*/pulls"),
                times: 1,
                effect: lockflight_sandbox::Effect::Status(502),
            });
            let change = world
                .merge_change(&[put("workspace/search/values.yaml", "replicas: 3\n")])
                .await;
            world.until_comment(change, "502").await;
            world.quiet().await;
            let (status, said) = world.command_in(Role::Planner, 0, &["parked"]).await;
            assert!(status.success() && said.contains("502"), "{said}");
            let ids = said.lines().filter(|line| line.contains("step."));
            for id in ids.filter_map(|line| line.split_whitespace().next()) {
                let release = ["parked", "--release", id];
                let (status, said) = world.command_in(Role::Planner, 0, &release).await;
                assert!(status.success(), "{said}");
            }
            let [_lab] = world.promotions_of(change).await;
            world.redeliver_merge(change).await;
            world.until_status(change, "success").await;
            for role in ROLES {
                world.until_ready(role, 0, true).await;
                let (status, said) = world.command_in(role, 0, &["doctor"]).await;
                assert!(status.success(), "{role:?}:\n{said}");
            }
            let (status, said) = world.command(&["topology", "--check"]).await;
            assert!(status.success(), "{said}");
            for role in ["ingress", "planner", "executor"] {
                assert_refused(&rabbit, role).await;
            }
            assert_redis_refuses(&redis).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 2);
            assert!(!world.log().contains(PASSWORD), "a password is in the log");
            for refusal in ["ACCESS_REFUSED", "NOPERM"] {
                assert!(
                    !world.log().contains(refusal),
                    "a role lacks a permission: {refusal}"
                );
            }
        })
        .await;
}
