//! A worker that has its mirror: one promotion to five targets, beside a bare push of the very commit that it made.

use std::collections::BTreeMap;

use lockflight_promotion::message::Envelope;

use crate::Plan;
use crate::executor::{Address, Worker};
use crate::report::{Report, progress};
use crate::rivals;
use crate::stage::{Cost, Repository, Stage, promotion};
use crate::stats::{median, short, spread};

/// The most that a warm promotion may take, as a multiple of the bare push.
const MOST_OF_FLOOR: f64 = 1.3;

/// The most that it may take in the largest repository, as a multiple of the one with a hundredth of the files.
const MOST_OF_SMALL: f64 = 1.5;

/// What rounds have come to.
#[derive(Default)]
pub(crate) struct Rounds {
    pub(crate) ours: Vec<f64>,
    /// What of it was the forge's.
    forge: Vec<f64>,
    pub(crate) floor: Vec<f64>,
    floor_forge: Vec<f64>,
    pub(crate) costs: Vec<Cost>,
    phases: BTreeMap<&'static str, Vec<f64>>,
}

impl Rounds {
    /// Has a worker promote a change, and then git push the same.
    pub(crate) async fn add(
        &mut self,
        stage: &Stage,
        repository: &Repository,
        worker: &Worker,
        message: Envelope,
    ) {
        worker.phases();
        stage.watch();
        let batch = [message];
        let took = worker.promote(&batch).await;
        let [message] = batch;
        self.note(stage, worker, took).await;
        stage.check(repository, &message).await;
        self.push(stage, repository, &message).await;
    }

    /// Notes what a promotion took.
    pub(crate) async fn note(&mut self, stage: &Stage, worker: &Worker, took: f64) {
        let cost = stage.cost().await;
        self.ours.push(took);
        self.forge.push(cost.forge);
        self.costs.push(cost);
        for (phase, took) in worker.phases() {
            self.phases.entry(phase).or_default().push(took);
        }
    }

    /// Has git push what was made for a promotion.
    pub(crate) async fn push(&mut self, stage: &Stage, repository: &Repository, message: &Envelope) {
        let commit = stage.hand_over(repository, message).await;
        stage.watch();
        let branch = &promotion(message).step.branch;
        let took = rivals::push(stage, repository, &commit, branch.as_str()).await;
        self.floor.push(took);
        self.floor_forge.push(stage.cost().await.forge);
    }

    pub(crate) fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.floor)
    }

    /// What the forge received and sent, in kilobytes, and how many requests those were.
    pub(crate) fn traffic(&self) -> String {
        let middle = |of: fn(&Cost) -> u64| {
            let values: Vec<_> = self
                .costs
                .iter()
                .map(|cost| crate::stage::float(of(cost)))
                .collect();
            median(&values)
        };
        format!(
            "{} / {} kB in {}",
            short(middle(|cost| cost.bytes_in) / 1_000.0),
            short(middle(|cost| cost.bytes_out) / 1_000.0),
            middle(|cost| cost.requests)
        )
    }

    /// Bytes that went either way.
    pub(crate) fn bytes(&self) -> f64 {
        median(&self.costs.iter().map(Cost::bytes).collect::<Vec<_>>())
    }

    fn row(&self, name: String) -> Vec<String> {
        vec![
            name,
            spread(&self.ours),
            short(median(&self.forge)),
            spread(&self.floor),
            short(median(&self.floor_forge)),
            format!("**{}**", short(self.ratio())),
            self.traffic(),
        ]
    }
}

/// The head of a table of [`Rounds`].
const HEAD: [&str; 7] = [
    "files",
    "ours, ms",
    "of it the forge",
    "`git push`, ms",
    "of it the forge",
    "ours / push",
    "to and from the forge, requests",
];

pub(crate) fn table(report: &Report, rows: &[(String, &Rounds)]) {
    report.head(&HEAD);
    for (name, rounds) in rows {
        report.row(&rounds.row(name.clone()));
    }
}

/// Prints what was asked of git, and how long that took.
pub(crate) fn profile(report: &Report, rows: &[(String, &Rounds)]) {
    let names: std::collections::BTreeSet<_> =
        rows.iter().flat_map(|(_, rounds)| rounds.phases.keys()).collect();
    let mut head = vec!["ms of our share, by what git was asked"];
    head.extend(names.iter().copied());
    report.head(&head);
    for (name, rounds) in rows {
        let mut row = vec![name.clone()];
        row.extend(names.iter().map(|phase| {
            rounds
                .phases
                .get(*phase)
                .map_or_else(String::new, |took| short(median(took)))
        }));
        report.row(&row);
    }
}

pub(crate) async fn measure(stage: &Stage, repositories: &[Repository], plan: Plan, report: &mut Report) {
    report.title("Warm: one promotion to five targets");
    let mut workers = Vec::new();
    for repository in repositories {
        let worker = Worker::start(&stage.fresh("warm"), Address::of(stage, repository));
        for message in stage.merge(repository, 1).await {
            worker.promote(&[message]).await;
        }
        workers.push((repository, worker, Rounds::default(), Rounds::default()));
    }
    for round in 0..plan.rounds(3, 9) {
        progress(&format!("warm, round {}", round + 1));
        for (repository, worker, known, unknown) in &mut workers {
            for message in stage.merge(repository, 1).await {
                worker.bring(&message).await;
                known.add(stage, repository, worker, message).await;
            }
            for message in stage.merge(repository, 1).await {
                unknown.add(stage, repository, worker, message).await;
            }
        }
    }
    let rows: Vec<_> = workers
        .iter()
        .flat_map(|(repository, _, known, unknown)| {
            let name = repository.shape.name;
            [
                (name.to_owned(), known),
                (format!("{name}, and the merge is fetched first"), unknown),
            ]
        })
        .collect();
    table(report, &rows);
    profile(report, &rows);
    let (Some((small, _, of_small, with_small)), Some((large, _, of_large, with_large))) = (
        workers
            .iter()
            .find(|(repository, ..)| repository.shape.name == "10k"),
        workers.last(),
    ) else {
        return;
    };
    let (small, large) = (small.shape.name, large.shape.name);
    for (what, of_small, of_large) in [
        ("", of_small, of_large),
        (", merge fetched first", with_small, with_large),
    ] {
        let ratio = of_large.ratio();
        report.goal(
            &format!("warm promotion{what} / `git push` of its commit, {large} files, 5 targets"),
            &format!("at most {MOST_OF_FLOOR}"),
            &short(ratio),
            ratio <= MOST_OF_FLOOR,
        );
        let ratio = median(&of_large.ours) / median(&of_small.ours);
        report.goal(
            &format!("warm promotion{what} at {large} files / at {small}"),
            &format!("at most {MOST_OF_SMALL}"),
            &short(ratio),
            ratio <= MOST_OF_SMALL,
        );
    }
}
