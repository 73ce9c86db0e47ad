//! What it takes those who clone for each promotion.

use crate::Plan;
use crate::executor::{Address, Worker};
use crate::report::{Report, progress};
use crate::rivals::{self, Clone};
use crate::stage::{Repository, Stage};
use crate::stats::{median, short, spread};

/// With fewer rounds where each takes longer than half a minute.
const LONG_ROUNDS: usize = 3;

struct Contest {
    place: usize,
    clone: Clone,
    rounds: usize,
    goal: Option<f64>,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// The goals are for the two largest repositories.
pub(crate) async fn measure(
    stage: &Stage,
    repositories: &[Repository],
    on: &str,
    plan: Plan,
    report: &mut Report,
) {
    report.title(&format!("Cloning for each promotion, on {on}"));
    let last = repositories.len().saturating_sub(1);
    let contest = |place, clone, rounds, goal| Contest {
        place,
        clone,
        rounds,
        goal,
        ours: Vec::new(),
        theirs: Vec::new(),
    };
    let mut contests = if plan.quick {
        vec![
            contest(last, Clone::Sparse, 2, None),
            contest(last, Clone::Whole, 2, None),
        ]
    } else {
        vec![
            contest(last - 1, Clone::Sparse, 7, Some(10.0)),
            contest(last - 1, Clone::Whole, 7, Some(50.0)),
            contest(last, Clone::Sparse, LONG_ROUNDS, None),
            contest(last, Clone::Whole, LONG_ROUNDS, Some(300.0)),
        ]
    };
    report.head(&["files", "rival", "rounds", "rival, s", "ours, ms", "rival / ours"]);
    for Contest {
        place,
        clone,
        rounds,
        goal,
        ours,
        theirs,
    } in &mut contests
    {
        let Some(repository) = repositories.get(*place) else {
            continue;
        };
        let worker = Worker::start(&stage.fresh("warm"), Address::of(stage, repository));
        for message in stage.merge(repository, 1).await {
            worker.promote(&[message]).await;
        }
        let name = repository.shape.name;
        let what = match clone {
            Clone::Whole => "(a) clone, copy, add, commit, push",
            Clone::Sparse => "(b) the same, sparse, blobless, of depth 1",
        };
        for round in 0..*rounds {
            progress(&format!("{name}, {what}, round {}", round + 1));
            for message in stage.merge(repository, 1).await {
                let batch = [message];
                ours.push(worker.promote(&batch).await);
                let [message] = batch;
                theirs.push(rivals::promote(stage, repository, &message, *clone).await / 1_000.0);
            }
        }
        let ratio = median(theirs) * 1_000.0 / median(ours);
        report.row(&[
            name.to_owned(),
            what.to_owned(),
            rounds.to_string(),
            spread(theirs),
            spread(ours),
            format!("**{}**", short(ratio)),
        ]);
        if let Some(goal) = goal {
            report.goal(
                &format!("{what} / warm promotion, {name} files, on {on}"),
                &format!("at least {goal}"),
                &short(ratio),
                ratio >= *goal,
            );
        }
    }
}
