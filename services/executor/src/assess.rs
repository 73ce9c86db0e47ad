//! Looks at git to see what a step still has to do.

use std::collections::BTreeSet;

use lockflight_fleet::worker::Failure;
use lockflight_git::port::MirrorPort;
use lockflight_git::{InspectError, Line};
use lockflight_promotion::change::Change;
use lockflight_promotion::plan::{Edit, Entry, File, Keys, Step, Sync};
use lockflight_promotion::{BlobOid, CommitOid, PathInRepo, TreeOid, values};

/// How far back the first-parent history of the source's branch is searched for a newer state of the same component.
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

/// Where the branches are that a step is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'h> {
    /// The head of the branch that the change was merged into.
    pub(crate) source: &'h CommitOid,
    /// The head of the branch that the step's pull request merges into.
    pub(crate) target: &'h CommitOid,
}

/// Looks whether the targets, at the head of their branch, already carry the step's content or later content of the same source.
///
/// Order is by ancestry, not by arrival: a change that was merged before one that has already been promoted has nothing left to do,
/// whenever its message comes. `source` and `target` are the mirrors of the two repositories, which mostly are one.
pub(crate) async fn assess<M: MirrorPort>(
    source: &M,
    target: &M,
    change: &Change,
    step: &Step,
    heads: Heads<'_>,
) -> Result<Assessment, Failure> {
    let travelling: Vec<(PathInRepo, Option<TreeOid>)> = step
        .sync
        .iter()
        .filter(|sync| sync.keys.is_none())
        .map(|sync| (sync.from.clone(), sync.tree.clone()))
        .collect();
    match source.inspect(&change.merged_as, &travelling).await {
        Ok(()) => {}
        Err(InspectError::Unsafe(found)) => {
            return Ok(Assessment::Unsafe {
                reason: found.to_string(),
            });
        }
        Err(error) => return Err(error.into()),
    }
    let mut open = changing(target, heads.target, step.sync.iter().collect()).await?;
    // What is taken back is later content, mostly: only an equal target has nothing left to do.
    // Walk back from the head: each state of a source since the change is later content. Only what comes after the change is later: on a
    // branch whose first parents lead past the change, as after a merge the wrong way round, the walk ends early.
    if !open.is_empty() && change.rollback.is_none() && *heads.source != change.merged_as {
        let sources: Vec<PathInRepo> = open.iter().map(|sync| standing(sync)).collect();
        let line = source
            .entries_back(heads.source, &change.merged_as, HISTORY_LIMIT, &sources)
            .await?;
        let targets: Vec<PathInRepo> = open.iter().map(|sync| sync.to.clone()).collect();
        let now = target.entries(heads.target, &targets).await?;
        for (_, then) in &line {
            open.retain(|sync| !sync.is_whole() || now.get(&sync.to) != then.get(&sync.from));
        }
        open = without_later(source, target, heads.target, step, open, &line).await?;
    }
    Ok(if open.is_empty() {
        Assessment::Carried
    } else {
        Assessment::Needed(open.into_iter().cloned().collect())
    })
}

/// What of a source is looked at in its history: the directory that travels, or that of the file whose keys do.
fn standing(sync: &Sync) -> PathInRepo {
    match sync.keys {
        Some(_) => sync.from.parent().unwrap_or_default(),
        None => sync.from.clone(),
    }
}

/// Those for which no later state of the source stands at the target already, where only a part of it travels.
async fn without_later<'s, M: MirrorPort>(
    source: &M,
    target: &M,
    at: &CommitOid,
    step: &Step,
    open: Vec<&'s Sync>,
    line: &Line,
) -> Result<Vec<&'s Sync>, Failure> {
    let mut left = Vec::with_capacity(open.len());
    for sync in open {
        let mut looked_at = BTreeSet::new();
        let mut carried = false;
        for (commit, then) in line {
            if sync.is_whole() || carried {
                break;
            }
            let tree = match then.get(&standing(sync)) {
                Some(Entry::Tree(tree)) => Some(tree.clone()),
                Some(Entry::Absent) => None,
                Some(Entry::NotADirectory) | None => continue,
            };
            if !looked_at.insert(tree.clone()) {
                continue;
            }
            let later = match &sync.keys {
                None => Edit::Selected(tree, sync.selection.clone()),
                Some(keys) => match blob(source, commit, &sync.from).await? {
                    Some(blob) => Edit::Keys(Keys {
                        blob,
                        keys: keys.keys.clone(),
                    }),
                    None => continue,
                },
            };
            if step.repo.is_some() {
                target
                    .bring_from(source, commit, std::slice::from_ref(&sync.from))
                    .await?;
            }
            carried = target.would_change(at, &[(sync.to.clone(), later)]).await? == [false];
        }
        if !carried {
            left.push(sync);
        }
    }
    Ok(left)
}

/// The content of a file that keys are taken from; none if there is no such file.
async fn blob(
    mirror: &impl MirrorPort,
    commit: &CommitOid,
    file: &PathInRepo,
) -> Result<Option<BlobOid>, Failure> {
    let mut files = mirror
        .files(commit, std::slice::from_ref(file), values::MAX_BYTES as u64)
        .await?;
    Ok(match files.remove(file) {
        Some(File::Text { blob, .. }) => Some(blob),
        Some(File::Absent | File::Unreadable(_)) | None => None,
    })
}

/// Those that would change something at a commit.
async fn changing<'s>(
    mirror: &impl MirrorPort,
    at: &CommitOid,
    syncs: Vec<&'s Sync>,
) -> Result<Vec<&'s Sync>, Failure> {
    let edits: Vec<(PathInRepo, Edit)> = syncs.iter().map(|sync| (sync.to.clone(), sync.edit())).collect();
    let would = mirror.would_change(at, &edits).await?;
    Ok(syncs
        .into_iter()
        .zip(would)
        .filter_map(|(sync, would)| would.then_some(sync))
        .collect())
}
