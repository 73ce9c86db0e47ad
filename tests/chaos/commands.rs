//! What an operator runs beside a fleet.

use std::time::Duration;

use http::Method;
use lockflight_sandbox::{Effect, Fault, RequestMatcher};
use lockflight_tests::servers::{RabbitMq, Redis};
use lockflight_tests::world::{Fleet, Role, put};

use crate::policies::LAB;
use crate::{on, world};

#[tokio::test]
async fn the_doctor_finds_what_is_wrong_and_says_how_to_mend_it() {
    let (rabbit, redis) = tokio::join!(RabbitMq::start(), Redis::start());
    on(Fleet::on(rabbit.uri(), redis.uri()), LAB)
        .as_app()
        // A broker that was killed is a while in coming back where several are at work.
        .patience(Duration::from_mins(2))
        .run(async |world| {
            let (status, said) = world.command(&["doctor"]).await;
            assert!(status.success(), "{said}");
            for check in ["broker", "queues", "redis", "webhook", "git", "github", "clock"] {
                let is_fine = said
                    .lines()
                    .any(|line| line.starts_with("ok") && line.contains(check));
                assert!(is_fine, "{check}:\n{said}");
            }
            redis.kill().await;
            let (status, said) = world.command(&["doctor"]).await;
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(said.contains("FAILED   redis"), "{said}");
            assert!(said.contains("-> look whether Redis runs"), "{said}");
            rabbit.kill().await;
            let (status, said) = world.command(&["doctor", "-o", "json"]).await;
            assert_eq!(status.code(), Some(1), "{said}");
            let report: serde_json::Value = serde_json::from_str(&said).unwrap();
            let broker = &report["checks"][0];
            assert_eq!(
                (&broker["check"], &broker["verdict"]),
                (&"broker".into(), &"failed".into())
            );
            assert!(broker["remedy"].as_str().unwrap().contains("RabbitMQ"), "{said}");
            redis.restart().await;
            rabbit.restart().await;
            world.until_ready(Role::Ingress, 0, true).await;
        })
        .await;
}

#[tokio::test]
async fn what_is_parked_is_listed_with_its_reason_and_goes_on_when_it_is_released() {
    on(Fleet::shared().queue_key("max_attempts", "1"), LAB)
        .run(async |world| {
            let (status, said) = world.command(&["parked"]).await;
            assert!(status.success() && said.contains("nothing is parked"), "{said}");
            let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
            world.forge.faults().add(Fault {
                matcher: opening,
                times: 1,
                effect: Effect::Status(502),
            });
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_comment(change, "502").await;
            let (_, said) = world.command(&["parked"]).await;
            assert!(said.contains("step.promote") && said.contains("502"), "{said}");
            let id = said.split_whitespace().next().unwrap().to_owned();
            let (status, said) = world.command(&["parked", "--release", &id]).await;
            assert!(status.success(), "{said}");
            let [_lab] = world.promotions_of(change).await;
            let (status, said) = world.command(&["parked", "--release", &id]).await;
            assert_eq!(status.code(), Some(5), "{said}");
        })
        .await;
}

#[tokio::test]
async fn the_topology_can_be_looked_at_and_declared_again() {
    world(LAB)
        .run(async |world| {
            let (status, said) = world.command(&["topology", "--check"]).await;
            assert!(status.success(), "{said}");
            let (status, said) = world.command(&["topology"]).await;
            assert!(status.success() && said.contains(".plan"), "{said}");
            let (status, said) = world
                .command(&["topology", "--check", "--set", "queue.prefix=elsewhere"])
                .await;
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(said.contains("lockflight topology"), "{said}");
        })
        .await;
}

#[tokio::test]
async fn a_process_is_asked_for_its_health() {
    world(LAB)
        .run(async |world| {
            let url = format!("{}/readyz", world.url(Role::Executor, 0).await);
            world.until_ready(Role::Executor, 0, true).await;
            let (status, said) = world.command(&["health", "--url", &url]).await;
            assert!(status.success() && said.contains("ready"), "{said}");
            world.stop_one(Role::Executor, 0).await;
            let (status, said) = world.command(&["health", "--url", &url]).await;
            assert_eq!(status.code(), Some(1), "{said}");
            world.start_one(Role::Executor, 0).await;
        })
        .await;
}

#[tokio::test]
async fn a_password_in_a_flag_is_refused_and_not_repeated() {
    world(LAB)
        .run(async |world| {
            let url = "amqp://lockflight:hunter2@127.0.0.1:5672";
            let (status, said) = world
                .command(&["ingress", "--queue", url, "--check-config"])
                .await;
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(said.contains("url_file") && !said.contains("hunter2"), "{said}");
        })
        .await;
}
