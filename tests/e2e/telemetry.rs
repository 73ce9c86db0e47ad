//! What a collector and a scraper get to see of a promotion.

use std::collections::BTreeSet;

use http::Method;
use lockflight_sandbox::{Effect, Fault, RequestMatcher};
use lockflight_tests::otlp::{Collector, Kind, Received, Span};
use lockflight_tests::world::{Fleet, REPOSITORY, Role, World, put};

use crate::policies::{LAB, LAB_APPROVED};
use crate::world;

const WEBHOOK: &str = "POST /webhook";
const PUBLISH_DELIVERY: &str = "publish lockflight.events:delivery.pull_request";
const PLAN: &str = "process lockflight.events:delivery.pull_request:lockflight.plan";
const PUBLISH_STEP: &str = "publish lockflight.events:step.promote";
const PROMOTE: &str = "process lockflight.events:step.promote:lockflight.steps";
const OPEN: &str = "POST /repos/{owner}/{repo}/pulls";

async fn change(world: &World) -> (u64, u64) {
    let change = world
        .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
        .await;
    let [lab] = world.promotions_of(change).await;
    (change, lab.number)
}

/// Waits until the span that opened the pull request is there, and everything around it.
async fn until_opened(collector: &Collector) -> (Received, Span) {
    let find = |received: &Received| {
        let opened = received
            .spans_named(OPEN)
            .find(|span| span.name == OPEN && !span.failed)?;
        let around = ancestors(received, opened);
        let root = around.last()?;
        root.parent.is_empty().then(|| (received.clone(), opened.clone()))
    };
    collector.until("the whole way to a pull request", find).await
}

/// The spans around a span, the nearest first.
fn ancestors<'r>(received: &'r Received, span: &'r Span) -> Vec<&'r Span> {
    std::iter::successors(received.span(&span.parent), |span| received.span(&span.parent)).collect()
}

#[tokio::test]
async fn one_trace_goes_from_the_webhook_to_the_pull_request() {
    let collector = Collector::start().await;
    world(LAB)
        .telemetry(&collector)
        .run(async |world| {
            let (change, _lab) = change(world).await;
            let (received, opened) = until_opened(&collector).await;
            let around = ancestors(&received, &opened);
            let names: Vec<&str> = around.iter().map(|span| span.name.as_str()).collect();
            assert_eq!(names, [PROMOTE, PUBLISH_STEP, PLAN, PUBLISH_DELIVERY, WEBHOOK]);
            let kinds: Vec<Kind> = around.iter().map(|span| span.kind).collect();
            assert_eq!(
                kinds,
                [
                    Kind::Consumer,
                    Kind::Producer,
                    Kind::Consumer,
                    Kind::Producer,
                    Kind::Server
                ]
            );
            assert!(
                around
                    .iter()
                    .all(|span| span.trace == opened.trace && !span.failed),
                "{around:#?}"
            );

            let [promote, publish, ..] = around[..] else {
                panic!("{names:?}")
            };
            assert_eq!(
                promote.links,
                std::slice::from_ref(&publish.id),
                "the maker of the message is linked too"
            );
            let attribute = |name: &str| promote.attributes.get(name).map(String::as_str);
            assert_eq!(attribute("messaging.system"), Some("lockflight.embedded"));
            assert_eq!(attribute("messaging.operation.type"), Some("process"));
            assert_eq!(attribute("lockflight.attempt"), Some("0"));
            let delivery = world.merge_delivery(change).await.guid;
            assert_eq!(
                attribute("lockflight.delivery.id"),
                Some(delivery.to_string().as_str())
            );

            let find = |received: &Received| {
                let logged = received
                    .logs
                    .iter()
                    .find(|log| log.body.starts_with("planned pull request"));
                logged.cloned()
            };
            let logged = collector.until("the planner's line", find).await;
            assert_eq!(logged.trace, opened.trace);
        })
        .await;
}

#[tokio::test]
async fn the_trace_is_one_over_rabbitmq_and_three_processes() {
    let collector = Collector::start().await;
    world(LAB)
        .fleet(Fleet::shared())
        .telemetry(&collector)
        .run(async |world| {
            change(world).await;
            let (received, opened) = until_opened(&collector).await;
            let around = ancestors(&received, &opened);
            let names: Vec<&str> = around.iter().map(|span| span.name.as_str()).collect();
            assert_eq!(names, [PROMOTE, PUBLISH_STEP, PLAN, PUBLISH_DELIVERY, WEBHOOK]);
            assert_eq!(around[0].attributes["messaging.system"], "rabbitmq");
            assert_eq!(
                around[0].attributes["rabbitmq.destination.routing_key"],
                "step.promote"
            );
            let senders: BTreeSet<&str> = around.iter().map(|span| span.instance.as_str()).collect();
            assert_eq!(senders.len(), 3, "each role is a process of its own");
        })
        .await;
}

#[tokio::test]
async fn another_try_is_in_the_trace_of_the_first() {
    let collector = Collector::start().await;
    world(LAB)
        .telemetry(&collector)
        .run(async |world| {
            world.forge.faults().add(Fault {
                matcher: RequestMatcher::rest(Method::POST, "/repos/*/*/pulls"),
                times: 1,
                effect: Effect::Status(503),
            });
            change(world).await;
            let (received, opened) = until_opened(&collector).await;
            let tries: Vec<&Span> = received
                .trace(&opened.trace)
                .filter(|span| span.name == PROMOTE)
                .collect();
            let mut attempts: Vec<(&str, bool)> = tries
                .iter()
                .map(|span| (span.attributes["lockflight.attempt"].as_str(), span.failed))
                .collect();
            attempts.sort_unstable();
            assert_eq!(attempts, [("0", true), ("1", false)]);
            assert_eq!(
                tries[0].parent, tries[1].parent,
                "both follow from the same publication"
            );
            let retries = collector.metric("lockflight.task.retries").await;
            assert_eq!(retries[0].attributes["lockflight.queue"], "steps");
        })
        .await;
}

#[tokio::test]
async fn metrics_say_nothing_of_what_has_many_values() {
    const ALLOWED: [&str; 22] = [
        "error.type",
        "http.request.method",
        "lockflight.event",
        "lockflight.github.credential",
        "lockflight.github.resource",
        "lockflight.operation",
        "lockflight.outcome",
        "lockflight.phase",
        "lockflight.queue",
        "lockflight.reason",
        "lockflight.result",
        "lockflight.role",
        "lockflight.stage",
        "lockflight.state",
        "lockflight.status_class",
        "lockflight.version",
        "messaging.destination.name",
        "messaging.operation.name",
        "messaging.operation.type",
        "messaging.system",
        "messaging.destination.partition.id",
        "url.template",
    ];
    let collector = Collector::start().await;
    world(LAB)
        .telemetry(&collector)
        .run(async |world| {
            let (change, _lab) = change(world).await;
            world.until_status(change, "success").await;
            for name in [
                "lockflight.webhook.deliveries",
                "lockflight.webhook.handle.duration",
                "lockflight.promotion.outcomes",
                "lockflight.promotion.hop.duration",
                "lockflight.github.requests",
                "lockflight.github.rate_limit.remaining",
                "lockflight.worker.busy",
                "lockflight.build.info",
                "messaging.process.duration",
            ] {
                collector.metric(name).await;
            }
            let received = collector.received();
            let mut many = world.promotion_branches();
            many.push(REPOSITORY.to_owned());
            for point in &received.points {
                for (name, value) in &point.attributes {
                    assert!(ALLOWED.contains(&name.as_str()), "{} has {name}", point.name);
                    let parts: BTreeSet<&str> = value.split(|c: char| !c.is_alphanumeric()).collect();
                    let has_sha = parts
                        .iter()
                        .any(|part| part.len() >= 7 && part.chars().all(|c| c.is_ascii_hexdigit()));
                    assert!(!has_sha, "{}: {name}={value}", point.name);
                    assert!(!many.contains(value), "{}: {name}={value}", point.name);
                }
            }
        })
        .await;
}

#[tokio::test]
async fn queues_are_looked_at_from_the_beginning() {
    let collector = Collector::start().await;
    world(LAB)
        .telemetry(&collector)
        .run(async |_world| {
            let points = collector.metric("lockflight.queue.messages").await;
            let all_of = |name: &str| {
                points
                    .iter()
                    .map(|point| point.attributes[name].clone())
                    .collect()
            };
            let (queues, states): (BTreeSet<String>, BTreeSet<String>) =
                (all_of("lockflight.queue"), all_of("lockflight.state"));
            assert!(queues.len() <= 3 && queues.contains("plan"), "{queues:?}");
            assert!(
                states
                    .iter()
                    .map(String::as_str)
                    .eq(["delayed", "in_flight", "parked", "ready"]),
                "{states:?}"
            );
            collector.metric("lockflight.queue.oldest_message.age").await;
        })
        .await;
}

#[tokio::test]
async fn a_scraper_reads_the_same_numbers_without_any_collector() {
    world(LAB)
        .run(async |world| {
            let (change, _lab) = change(world).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            let (status, text) = world.page(Role::Serve, 0, "/metrics").await;
            assert_eq!(status, 200);
            for line in [
                // That the change was opened, and that it was merged.
                r#"lockflight_webhook_deliveries_total{lockflight_event="pull_request",lockflight_result="accepted"} 2"#,
                r#"lockflight_promotion_outcomes_total{lockflight_outcome="pull_request_opened"} 1"#,
                r#"lockflight_worker_busy{lockflight_queue="steps"} 0"#,
                "# TYPE lockflight_webhook_handle_duration_seconds histogram",
                "# TYPE messaging_process_duration_seconds histogram",
                "lockflight_github_rate_limit_remaining{",
                "lockflight_build_info{",
            ] {
                assert!(text.contains(line), "{line} is not in:\n{text}");
            }
        })
        .await;
}

#[tokio::test]
async fn no_secret_is_in_what_is_exported() {
    let collector = Collector::start().await;
    world(LAB_APPROVED)
        .with_approver()
        .telemetry(&collector)
        .logging("trace")
        .run(async |world| {
            let (_change, lab) = change(world).await;
            world.until_merged(lab).await;
            world.until_status(lab, "success").await;
            until_opened(&collector).await;
            // Not until it is quiet: at this level each export is a line of the log.
            collector.span("ack lockflight.events:step.merge").await;
            collector.metric("lockflight.promotion.outcomes").await;
            let text = collector.received().text();
            assert!(text.contains(WEBHOOK) && text.contains("planned pull request"));
            world.assert_no_secret_in("what is exported", &text);
        })
        .await;
}
