//! Deliveries per second, against raw lapin; latency at half of that; and memory while the broker takes nothing.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::http::{Answered, Client, Pace, Webhook, load};
use crate::raw::{Message, Raw};
use crate::report::{Report, progress};
use crate::stage::{Process, Stage, pin, processor};
use crate::stats::{median, millis, quantile, short, spread};
use crate::{Plan, policies};

const EXCHANGE: &str = "lockflight.events";
const QUEUE: &str = "lockflight.plan";

/// More than there are on their way to the broker at a time; half of what the ingress takes.
const CONNECTIONS: usize = 128;
const WINDOWS: [usize; 3] = [100, 300, 1_000];

struct Bench<'a> {
    ingress: Process,
    raw: Raw,
    webhook: Webhook,
    message: Message,
    length: Duration,
    /// How many there are: once this process is kept to some, it sees these alone.
    processors: OnceLock<usize>,
    broker: String,
    stage: &'a Stage,
}

pub(crate) async fn measure(stage: &Stage, plan: Plan, report: &mut Report) {
    let files = policies::chain(1);
    stage.repository("acme/ingress", &files).await;
    let (_, webhook) = stage.merge("acme/ingress", &policies::change(0)).await;
    let ingress = stage.start("ingress").await;
    let raw = Raw::connect(&stage.rabbit.uri()).await;
    // The very message that the ingress makes of the webhook.
    let (status, _) = Client::connect(ingress.address)
        .await
        .send(webhook.request())
        .await;
    assert_eq!(status, 202);
    let message = raw.get(QUEUE).await.expect("what was accepted is in the queue");
    let broker = stage.rabbit.ctl(&["eval", "os:getpid()."]).await;
    let bench = Bench {
        ingress,
        raw,
        webhook,
        message,
        length: Duration::from_secs(plan.either(2, 6)),
        processors: OnceLock::new(),
        broker: broker.trim().trim_matches('"').to_owned(),
        stage,
    };
    report.title(&format!(
        "Ingress: webhooks of {} bytes, messages of {} bytes",
        bench.webhook.body.len(),
        bench.message.body.len()
    ));
    bench.apart(true);
    bench
        .throughput(
            plan,
            report,
            "the broker on half of the processors, the rest on the others",
        )
        .await;
    bench.apart(false);
    let rate = bench
        .throughput(plan, report, "everything on all processors")
        .await;
    bench.latency(plan, rate / 2.0, report).await;
    bench.blocked(plan, rate / 2.0, report).await;
    bench.ingress.stop().await;
}

impl Bench<'_> {
    async fn settle(&self) {
        self.raw.purge(QUEUE).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    async fn webhooks(&self, connections: usize, pace: Pace, length: Duration) -> Vec<Answered> {
        let end = tokio::time::sleep(length);
        load(self.ingress.address, &self.webhook, connections, pace, end).await
    }

    /// Has the broker and everything else each have half of the processors, as if they were machines of their own; or all have all.
    fn apart(&self, apart: bool) {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let count = count.max(*self.processors.get_or_init(|| count));
        let (broker, others) = if apart && count > 1 {
            let half = count / 2;
            (format!("0-{}", half - 1), format!("{half}-{}", count - 1))
        } else {
            let all = format!("0-{}", count - 1);
            (all.clone(), all)
        };
        pin(&self.broker, &broker);
        pin(&std::process::id().to_string(), &others);
        self.ingress.pin(&others);
    }

    async fn throughput(&self, plan: Plan, report: &mut Report, how: &str) -> f64 {
        progress(how);
        let warm = Duration::from_secs(2);
        self.webhooks(CONNECTIONS, Pace::Closed, warm).await;
        self.raw.pipelined(EXCHANGE, &self.message, 300, warm).await;
        self.settle().await;

        let mut ours = Vec::new();
        let mut by_ingress = Vec::new();
        let mut by_load = Vec::new();
        let mut by_raw = Vec::new();
        let mut by_broker = Vec::new();
        let mut by_broker_of_raw = Vec::new();
        let mut theirs = WINDOWS.map(|_| Vec::new());
        for round in 0..plan.rounds(2, 5) {
            let (before, load_before) = (self.ingress.processor(), processor("self"));
            let broker_before = processor(&self.broker);
            let answers = self.webhooks(CONNECTIONS, Pace::Closed, self.length).await;
            let accepted = count(&only(&answers, 202));
            by_ingress.push(micros(self.ingress.processor() - before) / accepted);
            by_load.push(micros(processor("self") - load_before) / accepted);
            by_broker.push(micros(processor(&self.broker) - broker_before) / accepted);
            assert_eq!(only(&answers, 202).len(), answers.len(), "nothing is refused");
            ours.push(per_second(&answers));
            self.settle().await;
            for (window, rates) in WINDOWS.iter().zip(&mut theirs) {
                let (before, broker_before) = (processor("self"), processor(&self.broker));
                let raw = self
                    .raw
                    .pipelined(EXCHANGE, &self.message, *window, self.length)
                    .await;
                let messages = raw * self.length.as_secs_f64();
                by_raw.push(micros(processor("self") - before) / messages);
                by_broker_of_raw.push(micros(processor(&self.broker) - broker_before) / messages);
                rates.push(raw);
                self.settle().await;
            }
            progress(&format!("round {round}: {} by the ingress", short(median(&ours))));
        }
        report.head(&[
            &format!("confirmed per second: {how}"),
            "median (least–greatest)",
            "share of raw",
        ]);
        let best = theirs.iter().map(|rates| median(rates)).fold(0.0, f64::max);
        for (window, rates) in WINDOWS.iter().zip(&theirs) {
            let share = short(median(rates) / best);
            report.row(&[format!("raw lapin, window {window}"), spread(rates), share]);
        }
        let share = median(&ours) / best;
        report.row(&[
            format!("ingress, {CONNECTIONS} connections"),
            spread(&ours),
            short(share),
        ]);
        for (whose, used) in [
            ("per webhook, ingress", by_ingress),
            ("per webhook, load generator", by_load),
            ("per webhook, broker", by_broker),
            ("per message, raw lapin", by_raw),
            ("per message of raw lapin, broker", by_broker_of_raw),
        ] {
            report.row(&[format!("µs of processor {whose}"), spread(&used), String::new()]);
        }
        report.goal(
            &format!("confirmed webhooks per second, as a share of raw lapin's best; {how}"),
            "at least 0.70",
            &short(share),
            share >= 0.7,
        );
        median(&ours)
    }

    async fn latency(&self, plan: Plan, rate: f64, report: &mut Report) {
        let mut nines = Vec::new();
        let mut halves = Vec::new();
        for _ in 0..plan.rounds(1, 3) {
            let answers = self
                .webhooks(CONNECTIONS, Pace::Open(rate), self.length * 2)
                .await;
            assert_eq!(only(&answers, 202).len(), answers.len(), "nothing is refused");
            let took: Vec<_> = answers.iter().map(|answered| millis(answered.took)).collect();
            halves.push(quantile(&took, 0.5));
            nines.push(quantile(&took, 0.99));
            self.settle().await;
        }
        report.head(&[
            "ms from due to answered",
            &format!("at {} per second", short(rate)),
        ]);
        report.row(&["median".to_owned(), spread(&halves)]);
        report.row(&["p99".to_owned(), spread(&nines)]);
        let p99 = median(&nines);
        report.goal(
            "p99 at half that rate",
            "under 50 ms",
            &format!("{} ms", short(p99)),
            p99 < 50.0,
        );
    }

    async fn blocked(&self, plan: Plan, rate: f64, report: &mut Report) {
        let pause = Duration::from_secs(plan.either(4, 8));
        let before = self.ingress.memory();
        let begin = tokio::time::Instant::now();
        let weather = Mutex::new((Duration::MAX, Duration::MAX));
        let end = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            self.stage.rabbit.memory_alarm(true).await;
            let on = begin.elapsed();
            tokio::time::sleep(pause).await;
            self.stage.rabbit.memory_alarm(false).await;
            *weather.lock().await = (on, begin.elapsed());
            tokio::time::sleep(Duration::from_secs(4)).await;
        };
        let sampling = async {
            let mut samples = Vec::new();
            loop {
                samples.push((begin.elapsed(), self.ingress.memory()));
                tokio::time::sleep(Duration::from_millis(100)).await;
                if weather.lock().await.1.saturating_add(Duration::from_secs(3)) < begin.elapsed() {
                    return samples;
                }
            }
        };
        let webhooks = load(
            self.ingress.address,
            &self.webhook,
            CONNECTIONS,
            Pace::Open(rate),
            end,
        );
        let (answers, samples) = tokio::join!(webhooks, sampling);
        let (on, off) = *weather.lock().await;
        let most = |from: Duration, to: Duration| {
            let within = samples.iter().filter(|(at, _)| (from..to).contains(at));
            within.map(|(_, memory)| *memory).fold(0.0, f64::max)
        };
        let unblocked = most(Duration::ZERO, Duration::from_secs(3));
        let (blocked, after) = (most(on, off), most(off, Duration::MAX));
        let during = |status| {
            let within = only(&answers, status).into_iter();
            within.filter(|answered| (on..off).contains(&answered.at)).count()
        };
        let back = only(&answers, 202)
            .iter()
            .map(|answered| answered.at)
            .filter(|at| *at > off)
            .min();
        let odd = answers.len() - only(&answers, 202).len() - only(&answers, 503).len();
        report.head(&["while the broker has a memory alarm", "seen"]);
        report.row(&["resident before the load".to_owned(), format!("{before:.1} MB")]);
        report.row(&[
            "at most before the alarm".to_owned(),
            format!("{unblocked:.1} MB"),
        ]);
        report.row(&["at most during the alarm".to_owned(), format!("{blocked:.1} MB")]);
        report.row(&["at most after it".to_owned(), format!("{after:.1} MB")]);
        report.row(&["answered 503 during it".to_owned(), during(503).to_string()]);
        report.row(&["answered 202 during it".to_owned(), during(202).to_string()]);
        report.row(&["answered anything else at all".to_owned(), odd.to_string()]);
        let back = back.map_or(f64::INFINITY, |at| millis(at.saturating_sub(off)));
        report.row(&[
            "first 202 after its end".to_owned(),
            format!("{} ms", short(back)),
        ]);
        let grown = blocked - unblocked;
        report.goal(
            "memory while the broker blocks",
            "flat (503, no pile-up, then on)",
            &format!(
                "{grown:+.1} MB, {} times 503, on again after {} ms",
                during(503),
                short(back)
            ),
            grown < 8.0 && during(503) > 0 && odd == 0 && back.is_finite(),
        );
        self.settle().await;
    }
}

fn only(answers: &[Answered], status: u16) -> Vec<Answered> {
    let of = answers.iter().filter(|answered| answered.status == status);
    of.copied().collect()
}

fn per_second(answers: &[Answered]) -> f64 {
    let last = answers
        .iter()
        .map(|answered| answered.at)
        .max()
        .unwrap_or_default();
    count(answers) / last.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
fn count(answers: &[Answered]) -> f64 {
    answers.len() as f64
}

fn micros(duration: Duration) -> f64 {
    millis(duration) * 1_000.0
}
