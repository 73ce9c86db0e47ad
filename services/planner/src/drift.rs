//! Targets whose content is neither what their source makes of them nor anything that it made of them lately.
//!
//! A target that lags behind is no drift: its change is under way, or waits in a wave. So a target that is as its source once was counts as
//! explained; where only some files or keys travel, all that differs does while the source has changed lately.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_fleet::worker::Failure;
use lockflight_git::Blobs;
use lockflight_git::port::MirrorPort;
use lockflight_promotion::change::Change;
use lockflight_promotion::plan::{Entry, Facts, Found, Listing, Plan, Step, Sync};
use lockflight_promotion::text::drift::{Drift, DriftReport, FileDrift};
use lockflight_promotion::values::{self, Format};
use lockflight_promotion::{Base, CommitOid, ErrorClass, PathInRepo};

/// How many commits of the branch are looked back on.
const HISTORY: usize = 50;
/// The most targets whose files are compared.
const MOST_TARGETS: usize = 50;
/// The most files that are compared, of all targets together.
const MOST_FILES: usize = 200;
/// Files that are larger are only named, in bytes.
const LARGEST: u64 = 256 * 1024;

/// What has drifted of what a plan, made as of the commit that the change is at, would do.
pub(crate) async fn of(
    mirror: &impl MirrorPort,
    change: &Change,
    plan: &Plan,
    facts: &Facts,
) -> Result<DriftReport, Failure> {
    let tip = &change.merged_as;
    let mut report = DriftReport {
        repo: change.repo.name.clone(),
        commit: tip.clone(),
        drifts: Vec::new(),
    };
    let steps = plan.steps.iter().filter(|step| step.repo.is_none());
    let pairs: Vec<(&Step, &Sync)> = steps
        .flat_map(|step| step.sync.iter().map(move |sync| (step, sync)))
        .collect();
    // What has gone at the source and stands at the target is removed by the change under way, or was put there by hand; nobody can tell.
    let pairs: Vec<(&Step, &Sync)> = pairs
        .into_iter()
        .filter(|(step, sync)| !sync.is_removal() && stands(facts, step, sync))
        .collect();
    if pairs.is_empty() {
        return Ok(report);
    }
    let past = past(mirror, tip, &pairs).await?;
    let mut room = MOST_FILES;
    let explained = |step: &Step, sync: &Sync| {
        let now = past.first().and_then(|first| first.get(&place(sync)));
        past.iter()
            .skip(1)
            .filter_map(|then| then.get(&place(sync)))
            .any(|then| {
                if sync.is_whole() {
                    Some(then) == target(facts, step, &sync.to)
                } else {
                    Some(then) != now
                }
            })
    };
    let drifting = pairs.into_iter().filter(|(step, sync)| !explained(step, sync));
    for (step, sync) in drifting.take(MOST_TARGETS) {
        let files = if sync.keys.is_some() {
            keys(facts, step, sync).into_iter().collect()
        } else {
            files(mirror, tip, facts, (step, sync), &mut room).await?
        };
        if !files.is_empty() {
            report.drifts.push(Drift {
                component: sync
                    .from
                    .as_str()
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                from: sync.from.clone(),
                to: sync.to.clone(),
                files,
            });
        }
    }
    Ok(report)
}

fn base(step: &Step) -> Base {
    Base {
        repo: None,
        branch: step.base.clone(),
    }
}

fn target<'f>(facts: &'f Facts, step: &Step, to: &PathInRepo) -> Option<&'f Entry> {
    match facts.at.get(&base(step))? {
        Found::Content(content) => content.entries.get(to),
        Found::Unreachable(_) => None,
    }
}

/// Whether there is anything at the target: one that has never been promoted to has not drifted.
fn stands(facts: &Facts, step: &Step, sync: &Sync) -> bool {
    sync.keys.is_some() || matches!(target(facts, step, &sync.to), Some(Entry::Tree(_)))
}

/// The directory whose history tells of the source.
fn place(sync: &Sync) -> PathInRepo {
    if sync.keys.is_none() {
        return sync.from.clone();
    }
    let above = sync.from.as_str().rsplit_once('/').map_or("", |(above, _)| above);
    PathInRepo::parse(above).unwrap_or_default()
}

/// What stood at the sources, newest first: now, and in the commits before as far as they are here to be read.
async fn past(
    mirror: &impl MirrorPort,
    tip: &CommitOid,
    pairs: &[(&Step, &Sync)],
) -> Result<Vec<BTreeMap<PathInRepo, Entry>>, Failure> {
    let places: BTreeSet<PathInRepo> = pairs.iter().map(|(_, sync)| place(sync)).collect();
    let places: Vec<PathInRepo> = places.into_iter().collect();
    let mut oldest = tip.clone();
    for _ in 0..HISTORY {
        match mirror.parent(&oldest).await? {
            Some(parent) => oldest = parent,
            None => break,
        }
    }
    // All commits at once, since each of them may have to be asked for.
    let mut past: Vec<BTreeMap<PathInRepo, Entry>> = mirror
        .entries_back(tip, &oldest, HISTORY, &places)
        .await?
        .into_iter()
        .map(|(_, entries)| entries)
        .collect();
    past.push(mirror.entries(&oldest, &places).await?);
    Ok(past)
}

/// A file that differs, by its path below the component.
struct Differing {
    path: PathInRepo,
    in_source: bool,
    in_target: bool,
}

/// The files that differ at one target.
async fn files(
    mirror: &impl MirrorPort,
    tip: &CommitOid,
    facts: &Facts,
    (step, sync): (&Step, &Sync),
    room: &mut usize,
) -> Result<Vec<FileDrift>, Failure> {
    let target_at = match &step.base {
        None => tip.clone(),
        Some(branch) => match mirror.fetch_branch(branch).await? {
            Some(tip) => tip,
            None => return Ok(Vec::new()),
        },
    };
    let selector = sync
        .selection
        .compile()
        .map_err(|error| Failure::of(ErrorClass::Bug, &error))?;
    let source = listed(mirror, tip, &sync.from).await?;
    let there = match facts.at.get(&base(step)) {
        Some(Found::Content(content)) if content.listings.contains_key(&sync.to) => {
            content.listings.get(&sync.to).cloned().unwrap_or_default()
        }
        _ => listed(mirror, &target_at, &sync.to).await?,
    };
    let paths: BTreeSet<&Vec<u8>> = source.keys().chain(there.keys()).collect();
    let mut differing = Vec::new();
    for path in paths {
        let (from, to) = (source.get(path), there.get(path));
        let name = String::from_utf8_lossy(path);
        if from == to || !selector.selects(&name) || *room == 0 {
            continue;
        }
        if let Ok(path) = PathInRepo::parse(name.as_ref()) {
            *room -= 1;
            let (in_source, in_target) = (from.is_some(), to.is_some());
            differing.push(Differing {
                path,
                in_source,
                in_target,
            });
        }
    }
    let in_source = differing.iter().filter(|file| file.in_source);
    let in_source: Vec<PathInRepo> = in_source.map(|file| sync.from.join(&file.path)).collect();
    let in_target = differing.iter().filter(|file| file.in_target);
    let in_target: Vec<PathInRepo> = in_target.map(|file| sync.to.join(&file.path)).collect();
    let sources = mirror.blobs(tip, &in_source, LARGEST).await?;
    let targets = mirror.blobs(&target_at, &in_target, LARGEST).await?;
    let mut files = Vec::new();
    for Differing {
        path,
        in_source,
        in_target,
    } in differing
    {
        let content = |texts: &Blobs, path: &PathInRepo| match texts.get(path) {
            Some(Ok(content)) => Ok(content.clone()),
            Some(Err(_)) => Err(()),
            None => Ok(None),
        };
        let before = content(&targets, &sync.to.join(&path));
        let after = content(&sources, &sync.from.join(&path));
        files.push(match (before, after) {
            (Ok(before), Ok(after)) => FileDrift::of(path, before.as_deref(), after.as_deref()),
            // Too large, or no file: it is only named.
            _ => FileDrift {
                path,
                in_source,
                in_target,
                diff: String::new(),
            },
        });
    }
    Ok(files)
}

async fn listed(mirror: &impl MirrorPort, at: &CommitOid, path: &PathInRepo) -> Result<Listing, Failure> {
    let mut listings = mirror.listings(at, std::slice::from_ref(path)).await?;
    Ok(listings.remove(path).unwrap_or_default())
}

/// What differs where keys travel.
fn keys(facts: &Facts, step: &Step, sync: &Sync) -> Option<FileDrift> {
    use lockflight_promotion::plan::File;
    let text = |base: &Base, path: &PathInRepo| match facts.at.get(base)? {
        Found::Content(content) => match content.files.get(path)? {
            File::Text { text, .. } => Some(text.clone()),
            File::Absent | File::Unreadable(_) => None,
        },
        Found::Unreachable(_) => None,
    };
    let (from, to) = (text(&Base::default(), &sync.from)?, text(&base(step), &sync.to)?);
    let format = Format::of(&sync.to)?;
    let after = values::transfer(format, &from, &to, &sync.keys.as_ref()?.keys).ok()?;
    (after != to).then(|| FileDrift::of(PathInRepo::default(), Some(to.as_bytes()), Some(after.as_bytes())))
}
