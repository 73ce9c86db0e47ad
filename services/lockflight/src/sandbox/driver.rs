//! Follows what happens, and with `--once` plays the person who merges.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lockflight_fleet::embedded::EmbeddedFleet;
use lockflight_fleet::{Journal as _, Offset, Queue as _, Work};
use lockflight_promotion::message::{Body, Outcome};
use lockflight_runtime::Shutdown;
use lockflight_sandbox::{Change, Forge, MergeMethod, PullRequest, PullRequestState};

use crate::sandbox::change::FirstChange;
use crate::sandbox::progress::Story;

/// Without any news for that long, something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without any news for that long, the person who merges has a look.
const LULL: Duration = Duration::from_millis(500);

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// From the first merge until everything was quiet.
    pub(crate) took: Duration,
    /// What went wrong, one line each.
    pub(crate) failures: Vec<String>,
}

/// Tells what happens until the shutdown begins.
pub(crate) async fn follow(
    forge: &Forge,
    fleet: &EmbeddedFleet,
    change: &FirstChange,
    story: &Story,
    shutdown: &Shutdown,
) -> anyhow::Result<Ended> {
    let started = Instant::now();
    let mut events = forge.subscribe();
    let mut place = Offset::START;
    loop {
        tell(fleet, &mut place, story).await?;
        tokio::select! {
            () = shutdown.draining() => break,
            () = fleet.changed(place) => {}
            event = events.recv() => if let Ok(Change::PullRequest { repository, number, action, merged: true }) = event
                && action == "closed" && change.repositories().any(|ours| ours == repository)
            {
                let title = forge.pull_request(&repository, number).map(|pr| pr.title).unwrap_or_default();
                story.merged(number, &title);
            },
        }
    }
    Ok(Ended {
        took: started.elapsed(),
        failures: Vec::new(),
    })
}

/// Merges every promotion pull request as it comes, until there is nothing left to do.
pub(crate) async fn until_quiet(
    forge: &Forge,
    fleet: &EmbeddedFleet,
    change: &FirstChange,
    story: &Story,
    shutdown: &Shutdown,
) -> anyhow::Result<Ended> {
    let started = Instant::now();
    let mut place = Offset::START;
    let mut failures = Vec::new();
    let mut heard = Instant::now();
    loop {
        let delivered = forge.deliveries().len();
        let before = place;
        failures.extend(tell(fleet, &mut place, story).await?);
        if place != before {
            heard = Instant::now();
        }
        // In this order: a webhook that has arrived is in the queue before it counts as delivered.
        let quiet = async {
            forge.webhooks_idle().await;
            fleet.quiet().await;
        };
        let mut is_over = false;
        tokio::select! {
            biased;
            () = shutdown.draining() => break,
            () = fleet.changed(place) => continue,
            () = quiet => is_over = true,
            // What waits for a merge or a gate is looked at again and again, and never quiet. People merge meanwhile.
            () = tokio::time::sleep(LULL) => {}
        }
        failures.extend(tell(fleet, &mut place, story).await?);
        let open = open_promotions(forge, change)?;
        if !is_over && open.is_empty() {
            if heard.elapsed() > PATIENCE {
                failures.push(format!("nothing happened for {} s", PATIENCE.as_secs()));
                break;
            }
            continue;
        }
        for (repository, pull_request) in &open {
            // Not every one can be merged: another of them may have changed the same files in the meantime.
            match forge
                .merge_pull_request(repository, pull_request.number, MergeMethod::Merge, "you")
                .await
            {
                Ok(_) => story.merged(pull_request.number, &pull_request.title),
                Err(error) => {
                    failures.push(format!("#{} could not be merged: {error}", pull_request.number));
                    forge
                        .close_pull_request(repository, pull_request.number, "you")
                        .await?;
                }
            }
        }
        if is_over && open.is_empty() && forge.deliveries().len() == delivered {
            break;
        }
    }
    for work in Work::ALL {
        let parked = fleet.depth(work).await?.parked;
        if parked > 0 {
            failures.push(format!("{parked} messages of the queue {work} are parked"));
        }
    }
    for left in change
        .remaining(forge)
        .context("the end result can't be checked")?
    {
        failures.push(format!("not at its target: {left}"));
    }
    Ok(Ended {
        took: started.elapsed(),
        failures,
    })
}

/// The open promotion pull requests, each with its repository.
fn open_promotions<'c>(
    forge: &Forge,
    change: &'c FirstChange,
) -> anyhow::Result<Vec<(&'c str, PullRequest)>> {
    let mut found = Vec::new();
    for repository in change.repositories() {
        let open = forge.pull_requests(repository)?.into_iter().filter(|pr| {
            pr.state == PullRequestState::Open && pr.labels.iter().any(|label| label == "promotion")
        });
        found.extend(open.map(|pr| (repository, pr)));
    }
    Ok(found)
}

/// Tells what has been recorded since `place`, and gives what of it is a failure.
async fn tell(fleet: &EmbeddedFleet, place: &mut Offset, story: &Story) -> anyhow::Result<Vec<String>> {
    let mut failures = Vec::new();
    loop {
        let records = fleet.read(*place, 500).await?;
        let Some(last) = records.last() else {
            return Ok(failures);
        };
        *place = last.offset;
        for envelope in records.iter().filter_map(|record| record.envelope()) {
            story.happened(envelope);
            match &envelope.body {
                Body::Outcome(Outcome::Stopped { number, reason }) => {
                    failures.push(format!("#{number} stopped: {reason}"));
                }
                Body::Outcome(Outcome::Reported {
                    number,
                    state,
                    description,
                }) if state == "failure" => {
                    failures.push(format!("#{number}: {description}"));
                }
                _ => {}
            }
        }
    }
}
