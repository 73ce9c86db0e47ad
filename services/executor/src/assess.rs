//! Looks at git to see what a step still has to do.

use lockflight_fleet::worker::Failure;
use lockflight_git::InspectError;
use lockflight_git::port::MirrorPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::plan::{Entry, Step, Sync};
use lockflight_promotion::{CommitOid, PathInRepo, TreeOid};

/// How far back the first-parent history of the target branch is searched for a newer state of the same component.
pub(crate) const HISTORY_LIMIT: usize = 500;

/// What a step still has to do.
#[derive(Debug)]
pub(crate) enum Assessment {
    /// The content of these is not at their targets yet; the others are carried.
    Needed(Vec<Sync>),
    /// All targets have it, or the content of a later commit of the source.
    Carried,
    /// It must not be done, for a reason that people have to mend.
    Unsafe { reason: String },
}

/// Looks whether the targets, at the head of their branch, already carry the step's content or later content of the same source.
///
/// Order is by ancestry, not by arrival: a change that was merged before one that has already been promoted has nothing left to do,
/// whenever its message comes.
pub(crate) async fn assess(
    mirror: &impl MirrorPort,
    change: &Change,
    step: &Step,
    head: &CommitOid,
) -> Result<Assessment, Failure> {
    let travelling: Vec<(PathInRepo, Option<TreeOid>)> = step
        .sync
        .iter()
        .map(|sync| (sync.from.clone(), sync.tree.clone()))
        .collect();
    match mirror.inspect(&change.merged_as, &travelling).await {
        Ok(()) => {}
        Err(InspectError::Unsafe(found)) => {
            return Ok(Assessment::Unsafe {
                reason: found.to_string(),
            });
        }
        Err(error) => return Err(error.into()),
    }
    let targets: Vec<PathInRepo> = step.sync.iter().map(|sync| sync.to.clone()).collect();
    let now = mirror.entries(head, &targets).await?;
    let mut open: Vec<&Sync> = step
        .sync
        .iter()
        .filter(|sync| now.get(&sync.to) != Some(&wanted(sync)))
        .collect();
    // Walk back from the head: each state of a source since the change is later content. Only what comes after the change is later: on a
    // branch whose first parents lead past the change, as after a merge the wrong way round, the walk ends early.
    if !open.is_empty() && *head != change.merged_as {
        let sources: Vec<PathInRepo> = open.iter().map(|sync| sync.from.clone()).collect();
        let line = mirror
            .entries_back(head, &change.merged_as, HISTORY_LIMIT, &sources)
            .await?;
        for (_, then) in line {
            open.retain(|sync| now.get(&sync.to) != then.get(&sync.from));
        }
    }
    Ok(if open.is_empty() {
        Assessment::Carried
    } else {
        Assessment::Needed(open.into_iter().cloned().collect())
    })
}

fn wanted(sync: &Sync) -> Entry {
    sync.tree
        .as_ref()
        .map_or(Entry::Absent, |tree| Entry::Tree(tree.clone()))
}
