//! A worker that has just been born: from nothing to its first branch on the forge.

use std::time::Instant;

use crate::Plan;
use crate::executor::{Address, Worker};
use crate::report::{Report, progress};
use crate::stage::{Repository, Stage};
use crate::stats::{millis, short};
use crate::warm::{Rounds, profile, table};

const MOST_OF_FLOOR: f64 = 12.0;
const MOST_BYTES: f64 = 3_000_000.0;
const MOST_OF_SMALL: f64 = 1.5;

/// The repository with as wide directories as the largest one is given by itself.
pub(crate) async fn measure(
    stage: &Stage,
    repositories: &[Repository],
    wide: &Repository,
    plan: Plan,
    report: &mut Report,
) {
    report.title("Cold: the first promotion of a new worker");
    let mut measured: Vec<_> = repositories
        .iter()
        .chain([wide])
        .map(|repository| (repository, Rounds::default()))
        .collect();
    for round in 0..plan.rounds(3, 7) {
        progress(&format!("cold, round {}", round + 1));
        for (repository, rounds) in &mut measured {
            for message in stage.merge(repository, 1).await {
                let (root, address) = (stage.fresh("cold"), Address::of(stage, repository));
                stage.watch();
                let began = Instant::now();
                let worker = Worker::start(&root, address);
                let batch = [message];
                worker.promote(&batch).await;
                let took = millis(began.elapsed());
                rounds.note(stage, &worker, took).await;
                let [message] = batch;
                stage.check(repository, &message).await;
                rounds.push(stage, repository, &message).await;
            }
        }
    }
    let rows: Vec<_> = measured
        .iter()
        .map(|(repository, rounds)| (repository.shape.name.to_owned(), rounds))
        .collect();
    table(report, &rows);
    profile(report, &rows);
    let of = |name: &str| {
        measured
            .iter()
            .find(|(repository, _)| repository.shape.name == name)
    };
    let (Some((_, narrow)), Some((large, of_large)), Some((_, of_wide))) =
        (of("10k"), measured.iter().rev().nth(1), measured.last())
    else {
        return;
    };
    let large = large.shape.name;
    let ratio = of_large.ratio();
    report.goal(
        &format!("cold first promotion / `git push` of its commit, {large} files"),
        &format!("at most {MOST_OF_FLOOR}"),
        &short(ratio),
        ratio <= MOST_OF_FLOOR,
    );
    let bytes = of_large.bytes();
    report.goal(
        &format!("bytes of a cold start at {large} files"),
        "under 3 MB",
        &format!("{} kB", short(bytes / 1_000.0)),
        bytes < MOST_BYTES,
    );
    for (what, small) in [("10k", narrow), ("10k in directories as wide", of_wide)] {
        let ratio = bytes / small.bytes();
        report.goal(
            &format!("bytes of a cold start at {large} files / at {what}"),
            &format!("at most {MOST_OF_SMALL}"),
            &short(ratio),
            ratio <= MOST_OF_SMALL,
        );
    }
}
