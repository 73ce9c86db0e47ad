//! Many promotions at once: so many changes were merged one after another, and a worker gets their messages together.

use crate::Plan;
use crate::executor::{Address, Worker};
use crate::report::{Report, progress};
use crate::stage::{Repository, Stage};
use crate::stats::{median, short, spread};
use crate::warm::{Rounds, profile};

pub(crate) const BATCH: usize = 32;

const MOST: f64 = 3.0;

pub(crate) async fn measure(stage: &Stage, repositories: &[Repository], plan: Plan, report: &mut Report) {
    report.title(&format!("A batch of {BATCH} promotions, five targets each"));
    let mut measured = Vec::new();
    for repository in repositories {
        let worker = Worker::start(&stage.fresh("batch"), Address::of(stage, repository));
        for message in stage.merge(repository, 1).await {
            worker.promote(&[message]).await;
        }
        measured.push((repository, worker, Rounds::default(), Rounds::default()));
    }
    for round in 0..plan.rounds(2, 7) {
        progress(&format!("batches, round {}", round + 1));
        for (repository, worker, single, batch) in &mut measured {
            for (count, rounds) in [(1, single), (BATCH, batch)] {
                let messages = stage.merge(repository, count).await;
                worker.phases();
                stage.watch();
                let took = worker.promote(&messages).await;
                rounds.note(stage, worker, took).await;
                for message in [messages.first(), messages.last()].into_iter().flatten() {
                    stage.check(repository, message).await;
                }
            }
        }
    }
    report.head(&[
        "files",
        "one, ms",
        "a batch, ms",
        "batch / one",
        "to and from the forge, requests",
    ]);
    let mut rows = Vec::new();
    for (repository, _, single, batch) in &measured {
        let name = repository.shape.name;
        let ratio = median(&batch.ours) / median(&single.ours);
        report.row(&[
            name.to_owned(),
            spread(&single.ours),
            spread(&batch.ours),
            format!("**{}**", short(ratio)),
            batch.traffic(),
        ]);
        rows.extend([
            (format!("{name}, one"), single),
            (format!("{name}, a batch"), batch),
        ]);
    }
    profile(report, &rows);
    let Some((repository, _, single, batch)) = measured.last() else {
        return;
    };
    let ratio = median(&batch.ours) / median(&single.ours);
    report.goal(
        &format!(
            "{BATCH} promotions in one batch / one promotion, {} files",
            repository.shape.name
        ),
        &format!("at most {MOST}"),
        &short(ratio),
        ratio <= MOST,
    );
}
