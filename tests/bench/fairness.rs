//! Whether one repository that floods the queue holds up the others: from their webhooks until they are planned, with and without the
//! flood, in turns.

use std::time::{Duration, Instant};

use crate::http::{Client, Webhook, fresh_guid};
use crate::raw::{Raw, Tap};
use crate::report::{Report, progress};
use crate::stage::{Process, Stage, within};
use crate::stats::{median, millis, quantile, short, spread};
use crate::{Plan, policies};

const FLOOD: usize = 10_000;
const OTHERS: usize = 10;
/// Between two webhooks of the others.
const PACE: Duration = Duration::from_millis(200);

/// What one round was.
struct Round {
    took: Vec<f64>,
    /// How many messages of the flood still waited at its end, at least.
    left: f64,
}

pub(crate) async fn measure(stage: &Stage, plan: Plan, report: &mut Report) {
    let flooding = repository(stage, "acme/flood").await;
    let mut others = Vec::new();
    for number in 0..OTHERS {
        others.push(repository(stage, &format!("acme/calm-{number}")).await);
    }
    let ingress = stage.start("ingress").await;
    let raw = Raw::connect(&stage.rabbit.uri()).await;
    let tap = raw.tap("lockflight.work", &["outcome.planned"]).await;
    let count = plan.rounds(25, 100);
    let mut calm = Vec::new();
    let mut flooded = Vec::new();
    for round in 0..plan.rounds(1, 4) {
        for flood in [None, Some(&flooding)] {
            let planner = stage.start("planner").await;
            let result = one(&ingress, &tap, &others, flood, count).await;
            // What is left of the flood would take minutes.
            planner.kill().await;
            raw.purge_all().await;
            tap.drain();
            let p99 = short(quantile(&result.took, 0.99));
            progress(&format!(
                "round {round}, {}: p99 {p99} ms",
                if flood.is_some() { "flood" } else { "calm" }
            ));
            if flood.is_some() { &mut flooded } else { &mut calm }.push(result);
        }
    }
    ingress.stop().await;

    report.title(&format!(
        "Fairness: {OTHERS} repositories, a webhook every {} ms, while another floods the queue with {FLOOD}",
        PACE.as_millis()
    ));
    report.head(&["ms from webhook to plan", "calm", "flood", "ratio"]);
    let mut ratio = 0.0;
    for (name, share) in [("median", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let of = |rounds: &[Round]| {
            rounds
                .iter()
                .map(|round| quantile(&round.took, share))
                .collect::<Vec<_>>()
        };
        let (calm, flooded) = (of(&calm), of(&flooded));
        ratio = median(&flooded) / median(&calm);
        report.row(&[
            format!("{name}, median of the rounds"),
            spread(&calm),
            spread(&flooded),
            short(ratio),
        ]);
    }
    let left = flooded
        .iter()
        .map(|round| round.left)
        .fold(f64::INFINITY, f64::min);
    report.row(&[
        "of the flood not planned at the end, at least".to_owned(),
        String::new(),
        short(left),
        String::new(),
    ]);
    report.goal(
        &format!("p99 of the others while one floods the queue with {FLOOD} events"),
        "at most 2 times as long",
        &format!("{} times", short(ratio)),
        ratio <= 2.0,
    );
}

async fn repository(stage: &Stage, name: &str) -> Webhook {
    stage.repository(name, &policies::chain(1)).await;
    stage.merge(name, &policies::change(0)).await.1
}

async fn one(
    ingress: &Process,
    tap: &Tap,
    others: &[Webhook],
    flood: Option<&Webhook>,
    count: usize,
) -> Round {
    // Mirrors and connections are made before.
    let mut client = Client::connect(ingress.address).await;
    let before = tap.count();
    let mut warm = 0;
    for webhook in others.iter().chain(flood) {
        client.send(webhook.under(fresh_guid()).request()).await;
        warm += 1;
    }
    let all = async {
        while tap.count() < before + warm {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(all, "the mirrors").await;

    let mut flooding = 0;
    if let Some(webhook) = flood {
        flooding = FLOOD;
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (webhook, address) = (webhook.clone(), ingress.address);
            senders.spawn(async move {
                let mut client = Client::connect(address).await;
                for _ in 0..FLOOD / 16 {
                    let (status, _) = client.send(webhook.under(fresh_guid()).request()).await;
                    assert_eq!(status, 202);
                }
            });
        }
        while let Some(done) = senders.join_next().await {
            done.expect("a sender does not fail");
        }
    }
    let planned = tap.count();
    let mut sent = Vec::new();
    let begin = tokio::time::Instant::now();
    for (place, webhook) in others.iter().cycle().take(count).enumerate() {
        let due = begin + PACE * u32::try_from(place).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due).await;
        let webhook = webhook.under(fresh_guid());
        sent.push((Instant::now(), webhook.guid.clone()));
        let (status, _) = client.send(webhook.request()).await;
        assert_eq!(status, 202);
    }
    let mut took = Vec::new();
    for (sent, guid) in &sent {
        let at = async {
            loop {
                if let Some((at, _)) = tap.of(guid).first() {
                    return *at;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let at = within(at, "a plan").await;
        took.push(millis(at.saturating_duration_since(*sent)));
    }
    // Those that were planned since, without those of the others, are of the flood.
    let since = tap.count() - planned;
    let done = since.saturating_sub(count);
    #[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
    let left = flooding.saturating_sub(done) as f64;
    Round { took, left }
}
