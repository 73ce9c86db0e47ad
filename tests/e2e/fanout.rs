//! Pushes whose webhooks are passed on to others, as the policy says and the operator allows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use lockflight_sandbox::Delivery;
use lockflight_tests::world::{Fleet, PATIENCE, Role, Setup, World, put};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::world;

/// A request that came to a receiver.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("it has no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }
}

/// Somebody who takes webhooks, on loopback.
#[derive(Clone, Debug)]
struct Receiver {
    port: u16,
    got: watch::Sender<Vec<Got>>,
    /// What it answers next; 200 when there is nothing more.
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Whether it lets everybody wait.
    holds: watch::Sender<bool>,
}

impl Receiver {
    async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            got: watch::Sender::new(Vec::new()),
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
            holds: watch::Sender::new(false),
        };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        // It ends with the test's runtime.
        drop(tokio::spawn(async move { axum::serve(listener, router).await }));
        receiver
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has got, once it is so many.
    async fn got<const N: usize>(&self) -> [Got; N] {
        let mut got = self.got.subscribe();
        let enough = tokio::time::timeout(PATIENCE, got.wait_for(|got| got.len() >= N)).await;
        let all = enough.unwrap_or_else(|_| panic!("{} got no {N} requests: {:?}", self.url(), self.got));
        all.unwrap()
            .clone()
            .try_into()
            .unwrap_or_else(|all| panic!("more than {N} came: {all:?}"))
    }

    fn count(&self) -> usize {
        self.got.borrow().len()
    }
}

async fn take(State(receiver): State<Receiver>, head: Parts, body: Bytes) -> StatusCode {
    let path = head.uri.path().to_owned();
    receiver.got.send_modify(|got| {
        got.push(Got {
            path,
            headers: head.headers,
            body,
        });
    });
    let mut holds = receiver.holds.subscribe();
    holds.wait_for(|holds| !holds).await.unwrap();
    let next = receiver.answers.lock().unwrap().pop_front();
    StatusCode::from_u16(next.unwrap_or(200)).unwrap()
}

/// A world whose policy has pushes passed on to these addresses, in which these receivers may be called.
fn passing(addresses: &[String], allowed: &[&Receiver]) -> Setup {
    let policy = format!(
        "webhookEndpointRegexs:\n- expression: '^workspace/([^/]*)/.*'\n  replacements: {addresses:?}\n"
    );
    let hosts: Vec<String> = allowed.iter().map(|receiver| receiver.url()).collect();
    world(&policy)
        .setting(&format!("outbound.allowed_hosts={}", hosts.join(",")))
        .setting("outbound.allow_private=127.0.0.0/8")
}

/// Has somebody push to the default branch.
async fn push(world: &World, component: &str) {
    let path = format!("workspace/{component}/values.yaml");
    world.commit("main", &[put(&path, "replicas: 3\n")]).await;
}

/// The forge's own record of what it delivered.
fn delivered(world: &World, guid: &str) -> Delivery {
    let deliveries = world.forge.deliveries();
    let found = deliveries.into_iter().find(|delivery| delivery.guid == guid);
    found.unwrap_or_else(|| panic!("the forge delivered no {guid}"))
}

/// Fails unless a receiver got a webhook as the forge has sent it, down to the last byte, and can verify it.
fn assert_original(world: &World, got: &Got) {
    let guid = got.header("x-github-delivery");
    let sent = delivered(world, guid);
    assert_eq!(
        (got.header("x-github-event"), sent.event.as_str()),
        ("push", "push")
    );
    assert_eq!(got.body, sent.payload, "the body is another one");
    assert_eq!(got.header("content-type"), "application/json");
    let signed = world.signed("push", guid, got.body.clone());
    assert_eq!(
        Some(got.header("x-hub-signature-256")),
        signed.signature.as_deref()
    );
    assert!(got.header("user-agent").starts_with("GitHub-Hookshot/"));
    for credential in ["authorization", "cookie", "traceparent"] {
        assert!(
            !got.headers.contains_key(credential),
            "{credential} is sent along"
        );
    }
}

#[tokio::test]
async fn a_push_reaches_the_endpoint_of_its_paths_as_github_sent_it() {
    let receiver = Receiver::start(&[]).await;
    let address = format!("{}/of/$1?for=${{1}}", receiver.url());
    passing(&[address], &[&receiver])
        .run(async |world| {
            push(world, "checkout").await;
            let [got] = receiver.got().await;
            assert_eq!(got.path, "/of/checkout");
            assert_original(world, &got);

            // Neither what is on another branch, nor what no expression matches, nor other events.
            let change = world
                .open_change(&[put("workspace/search/values.yaml", "replicas: 3\n")])
                .await;
            world.commit("main", &[put("README.md", "nothing\n")]).await;
            world.quiet().await;
            assert_eq!(receiver.count(), 1);
            world.merge(change).await;
            let [_, got] = receiver.got().await;
            assert_eq!(got.path, "/of/search");
            assert_original(world, &got);
            world.quiet().await;
            assert_eq!(receiver.count(), 2);
        })
        .await;
}

#[tokio::test]
async fn what_the_operator_does_not_list_is_never_called() {
    let (listed, other) = (Receiver::start(&[]).await, Receiver::start(&[]).await);
    let addresses = [
        other.url(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "no address".to_owned(),
        listed.url(),
    ];
    passing(&addresses, &[&listed])
        .run(async |world| {
            push(world, "checkout").await;
            let [got] = listed.got().await;
            assert_original(world, &got);
            world.until_logged_times("is not passed on", 3).await;
            world.quiet().await;
            assert_eq!((listed.count(), other.count()), (1, 0));
        })
        .await;
}

#[tokio::test]
async fn nothing_is_passed_on_to_where_a_private_address_was_not_opened() {
    let receiver = Receiver::start(&[]).await;
    passing(&[receiver.url()], &[&receiver])
        .setting("outbound.allow_private=")
        .run(async |world| {
            push(world, "checkout").await;
            world.until_logged("may not be called: 127.0.0.1 is").await;
            world.quiet().await;
            assert_eq!(receiver.count(), 0);
        })
        .await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    let weak = Receiver::start(&[500, 429, 408]).await;
    let unwilling = Receiver::start(&[404]).await;
    let elsewhere = Receiver::start(&[307]).await;
    let receivers = [&weak, &unwilling, &elsewhere];
    passing(&receivers.map(Receiver::url), &receivers)
        .run(async |world| {
            push(world, "checkout").await;
            let tries = weak.got::<4>().await;
            for got in &tries {
                assert_original(world, got);
                assert_eq!(
                    got.header("x-github-delivery"),
                    tries[0].header("x-github-delivery")
                );
            }
            world.until_logged("passed a webhook of acme/gitops on to").await;
            world.until_logged("answered 404").await;
            world.until_logged("answered 307").await;
            world.quiet().await;
            assert_eq!(receivers.map(Receiver::count), [4, 1, 1]);
        })
        .await;
}

#[tokio::test]
async fn a_delivery_that_comes_again_while_it_waits_is_passed_on_once() {
    let receiver = Receiver::start(&[503]).await;
    passing(&[receiver.url()], &[&receiver])
        .setting("queue.first_retry=1h")
        .setting("queue.longest_retry=1h")
        .run(async |world| {
            push(world, "checkout").await;
            let [first] = receiver.got().await;
            world.until_logged("answered 503").await;
            // Somebody presses *Redeliver*: what waits is due at once, and stands for both.
            let guid = first.header("x-github-delivery");
            let again = world.signed("push", guid, first.body.clone());
            assert_eq!(world.post(&again).await, 202);
            let [_, second] = receiver.got().await;
            assert_original(world, &second);
            world.quiet().await;
            assert_eq!(receiver.count(), 2);
        })
        .await;
}

#[tokio::test]
async fn an_endpoint_that_is_slow_holds_no_other_up() {
    let (slow, quick) = (Receiver::start(&[]).await, Receiver::start(&[]).await);
    slow.holds.send_replace(true);
    passing(&[slow.url(), quick.url()], &[&slow, &quick])
        .run(async |world| {
            for component in ["a", "b", "c", "d", "e", "f"] {
                push(world, component).await;
            }
            quick.got::<6>().await;
            assert!(slow.count() <= 4, "{} calls at a time", slow.count());
            slow.holds.send_replace(false);
            let all = slow.got::<6>().await;
            for got in &all {
                assert_original(world, got);
            }
            world.quiet().await;
            assert_eq!((slow.count(), quick.count()), (6, 6));
        })
        .await;
}

#[tokio::test]
async fn a_webhook_that_waits_survives_the_death_of_the_process() {
    let receiver = Receiver::start(&[]).await;
    receiver.holds.send_replace(true);
    passing(&[receiver.url()], &[&receiver])
        .run(async |world| {
            push(world, "checkout").await;
            receiver.got::<1>().await;
            world.kill().await;
            receiver.holds.send_replace(false);
            world.restart().await;
            // What was on its way when the process died may have arrived, so it comes twice, and says so by its delivery.
            let [first, second] = receiver.got().await;
            assert_original(world, &second);
            assert_eq!(
                first.header("x-github-delivery"),
                second.header("x-github-delivery")
            );
            world.quiet().await;
            assert_eq!(receiver.count(), 2);
        })
        .await;
}

#[tokio::test]
async fn in_a_fleet_what_is_never_taken_is_parked_and_can_be_released() {
    let receiver = Receiver::start(&[503, 503]).await;
    passing(&[receiver.url()], &[&receiver])
        .fleet(Fleet::shared().queue_key("max_attempts", "2"))
        .run(async |world| {
            push(world, "checkout").await;
            receiver.got::<2>().await;
            world.until_logged("parked after its last attempt").await;
            let (status, said) = world.command_in(Role::Planner, 0, &["parked"]).await;
            assert!(status.success() && said.contains("answered 503"), "{said}");
            let of_it = said.lines().find(|line| line.contains("forward.send"));
            let id = of_it.and_then(|line| line.split_whitespace().next()).unwrap();
            let (status, said) = world
                .command_in(Role::Planner, 0, &["parked", "--release", id])
                .await;
            assert!(status.success(), "{said}");
            let [.., last] = receiver.got::<3>().await;
            assert_original(world, &last);
            world.until_logged("passed a webhook of acme/gitops on to").await;
            world.quiet().await;
            assert_eq!(receiver.count(), 3);
        })
        .await;
}

#[tokio::test]
async fn where_nothing_may_be_called_no_push_is_looked_at() {
    let receiver = Receiver::start(&[]).await;
    let policy = format!(
        "webhookEndpointRegexs:\n- expression: '.*'\n  replacements: [{:?}]\n",
        receiver.url()
    );
    world(&policy)
        .run(async |world| {
            push(world, "checkout").await;
            world.quiet().await;
            assert_eq!(receiver.count(), 0);
            assert!(!world.log().contains("not passed on"), "{}", world.log());
        })
        .await;
}
