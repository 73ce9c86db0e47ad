//! From a webhook to its pull request, and whose time that is.
//!
//! One change at a time. The forge is in this process and writes down when each request came and when its answer was there; the broker's
//! hops are measured with copies of the same messages, right after; what git takes by itself with a bare `git fetch` and `git push` of
//! the same. What is left is Lockflight's own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockflight_promotion::message::{Body, Envelope, Outcome};
use lockflight_sandbox::RecordedRequest;

use crate::floor::Checkout;
use crate::http::{Client, Webhook};
use crate::raw::{Message, Raw, Tap};
use crate::report::{Report, progress};
use crate::stage::{PATIENCE, Process, Stage, within};
use crate::stats::{median, millis, quantile, short, spread};
use crate::{Plan, policies};

const REPOSITORY: &str = "acme/gitops";

/// The first ones make mirrors and connections; what is measured is what comes after.
const WARM_UP: usize = 3;

const OWN: &str = "our own share, git included";
const GIT: &str = "two fetches and a push as Lockflight runs them, with the forge's part";
const WITHOUT_GIT: &str = "our own share, without git";

/// Values by name, in the order in which they first came.
#[derive(Default)]
struct Columns {
    order: Vec<String>,
    values: BTreeMap<String, Vec<f64>>,
}

impl Columns {
    fn add(&mut self, name: &str, value: f64) {
        if !self.values.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.values.entry(name.to_owned()).or_default().push(value);
    }

    fn median(&self, name: &str) -> f64 {
        self.values.get(name).map_or(0.0, |values| median(values))
    }

    fn rows(&self, report: &Report) {
        for name in &self.order {
            if let Some(values) = self.values.get(name) {
                let nine = short(quantile(values, 0.9));
                report.row(&[name.clone(), spread(values), nine, values.len().to_string()]);
            }
        }
    }
}

/// The other side of the broker's hops: queues like ours with nobody but us.
struct Hops {
    raw: Raw,
    coming: tokio::sync::mpsc::UnboundedReceiver<(Instant, Message)>,
}

impl Hops {
    async fn set(stage: &Stage) -> Self {
        stage.declare("hops").await;
        let raw = Raw::connect(&stage.rabbit.uri()).await;
        let mut queues = vec!["hops.plan".to_owned()];
        queues.extend((0..16).map(|partition| format!("hops.steps.{partition:02}")));
        let coming = raw.consume(&queues).await;
        Self { raw, coming }
    }

    /// From the publication of a message until it is there.
    async fn of(&mut self, message: &Message) -> f64 {
        let begin = Instant::now();
        self.raw
            .publish("hops.events", std::slice::from_ref(message))
            .await;
        let (at, _) = within(self.coming.recv(), "a hop")
            .await
            .expect("the channel is open");
        millis(at - begin)
    }
}

pub(crate) async fn measure(stage: &Stage, plan: Plan, report: &mut Report) {
    stage.repository(REPOSITORY, &policies::chain(1)).await;
    let mut hops = Hops::set(stage).await;
    let rounds = WARM_UP + plan.rounds(5, 40);
    let ingress = stage.start("ingress").await;
    let planner = stage.start("planner").await;
    let executor = stage.start("executor").await;
    let tap_raw = Raw::connect(&stage.rabbit.uri()).await;
    let tap = tap_raw.tap("lockflight.work", &["#"]).await;
    let checkout = Checkout::clone(stage, REPOSITORY, "bare").await;
    let mut fleet = Columns::default();
    let mut timeline = Columns::default();
    let mut phases = Columns::default();
    for round in 0..rounds {
        let (seen, webhook) = one(stage, &ingress, round).await;
        let messages = within(until_told(&tap, &webhook.guid), "the outcomes").await;
        let mut of_broker = 0.0;
        for kind in ["delivery.", "step.promote"] {
            let message = messages.iter().find(|message| message.key.starts_with(kind));
            of_broker += hops.of(message.expect("it was published")).await;
        }
        stage.forge.reset_usage();
        let (fetch, push) = checkout.bare(stage, round).await;
        if round < WARM_UP {
            continue;
        }
        seen.add_to(&mut fleet, &mut timeline, of_broker);
        let git = add_phases(&messages, &mut phases);
        fleet.add(GIT, git);
        fleet.add(WITHOUT_GIT, seen.all() - git - seen.of_rest() - of_broker);
        fleet.add("git: bare fetch, without the forge", fetch);
        fleet.add("git: bare push of one branch, without the forge", push);
        if round % 10 == 0 {
            progress(&format!("round {round} of {rounds}"));
        }
    }
    for process in [ingress, planner, executor] {
        process.stop().await;
    }

    let serve = stage.start("serve").await;
    let mut alone = Columns::default();
    let mut alone_timeline = Columns::default();
    for round in rounds..2 * rounds {
        let (seen, _) = one(stage, &serve, round).await;
        if round >= rounds + WARM_UP {
            seen.add_to(&mut alone, &mut alone_timeline, 0.0);
        }
    }
    serve.stop().await;

    let columns = ["ms", "median (least–greatest)", "9 of 10 below", "of"];
    report.title("From webhook to pull request: a fleet of one process per role");
    report.head(&columns);
    fleet.rows(report);
    report.title("The same, one thing after another");
    report.head(&columns);
    timeline.rows(report);
    report.title("The same, as the processes themselves tell it (git with the forge's part)");
    report.head(&columns);
    phases.rows(report);
    report.title("From webhook to pull request: `serve`");
    report.head(&columns);
    alone.rows(report);
    let own = fleet.median(OWN);
    let git = 2.0 * fleet.median("git: bare fetch, without the forge")
        + fleet.median("git: bare push of one branch, without the forge");
    report.goal(
        "our own share of webhook-to-pull-request, median",
        "under 20 ms",
        &format!(
            "{} ms; without the phases in which git runs {} ms; bare git takes {} ms",
            short(own),
            short(fleet.median(WITHOUT_GIT)),
            short(git)
        ),
        own < 20.0,
    );
}

/// One change, from its webhook to its pull request.
struct Seen {
    sent: Instant,
    opened: Instant,
    requests: Vec<RecordedRequest>,
}

async fn one(stage: &Stage, taking: &Process, round: usize) -> (Seen, Webhook) {
    let (number, webhook) = stage.merge(REPOSITORY, &policies::change(round)).await;
    let mut client = Client::connect(taking.address).await;
    let request = webhook.request();
    stage.forge.reset_usage();
    let sent = Instant::now();
    let (status, _) = client.send(request).await;
    assert_eq!(status, 202);
    let head = stage
        .forge
        .pull_request(REPOSITORY, number)
        .expect("it is there")
        .head
        .sha;
    let told = stage.forge.wait_for(PATIENCE, |forge| {
        let statuses = forge.statuses(REPOSITORY, &head).ok()?;
        statuses
            .iter()
            .any(|status| status.state == "success")
            .then_some(())
    });
    told.await.expect("the change is promoted");
    let mut requests = stage.forge.requests();
    requests.sort_by_key(|request| request.began);
    let opened = requests
        .iter()
        .find(|request| request.method == "POST" && request.route.ends_with("/pulls"))
        .map(|request| request.began + request.took)
        .expect("a pull request was opened");
    requests.retain(|request| request.began < opened);
    let seen = Seen {
        sent,
        opened,
        requests,
    };
    (seen, webhook)
}

impl Seen {
    fn all(&self) -> f64 {
        millis(self.opened - self.sent)
    }

    fn of_rest(&self) -> f64 {
        let rest = self
            .requests
            .iter()
            .filter(|request| !request.route.starts_with("git "));
        rest.map(|request| millis(request.took)).sum()
    }

    fn add_to(&self, columns: &mut Columns, timeline: &mut Columns, of_broker: f64) {
        let mut of_forge = Duration::ZERO;
        let mut until = self.sent;
        for (place, request) in self.requests.iter().enumerate() {
            let end = (request.began + request.took).min(self.opened);
            let begin = request.began.max(until);
            of_forge += end.saturating_duration_since(begin);
            let name = format!("{:02} {} {}", place + 1, request.method, request.route);
            let gap = request.began.saturating_duration_since(until);
            timeline.add(&format!("{name}: until it comes"), millis(gap));
            timeline.add(&format!("{name}: the forge"), millis(request.took));
            until = until.max(end);
        }
        let all = self.all();
        columns.add("from the webhook sent to the pull request opened", all);
        columns.add("of it the forge's own", millis(of_forge));
        if of_broker > 0.0 {
            columns.add("of it two hops through the broker", of_broker);
        }
        columns.add(OWN, all - millis(of_forge) - of_broker);
    }
}

/// Waits until everything was told of a delivery, and returns all messages about it.
async fn until_told(tap: &Tap, delivery: &str) -> Vec<Message> {
    loop {
        let messages: Vec<_> = tap.of(delivery).into_iter().map(|(_, message)| message).collect();
        if messages.iter().any(|message| message.key == "outcome.reported") {
            return messages;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns what the phases took in which git is run.
fn add_phases(messages: &[Message], columns: &mut Columns) -> f64 {
    let mut of_git = 0.0;
    for message in messages {
        let envelope: Envelope = serde_json::from_slice(&message.body).expect("it is one of ours");
        let (role, phases) = match envelope.body {
            Body::Outcome(Outcome::Planned { phases, .. }) => ("planner", phases),
            Body::Outcome(Outcome::PullRequestOpened { phases, .. }) => ("executor", phases),
            _ => continue,
        };
        for phase in phases {
            #[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
            let took = phase.ms as f64;
            if ["fetch", "refresh", "push"].contains(&phase.name.as_str()) {
                of_git += took;
            }
            columns.add(&format!("{role}: {}", phase.name), took);
        }
    }
    of_git
}
