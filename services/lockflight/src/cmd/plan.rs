//! `lockflight plan`.

use std::io::Write as _;

use lockflight_git::{Committed, LocalError, LocalRepository};
use lockflight_promotion::BranchName;
use lockflight_promotion::plan::{Plan, Skipped, Step, Sync};
use lockflight_promotion::policy::{NATIVE_FILE, TELEFONISTKA_FILE};
use serde::Serialize;

use crate::cli::{PlanArgs, PlanFormat, ReportFormat};
use crate::cmd::{not_found, validate};
use crate::exit::Exit;
use crate::offline::{Offline, OfflineError, Other};

/// Prints what a change would lead to.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<Exit> {
    let repo = match LocalRepository::open(&args.repo) {
        Err(error @ LocalError::NotARepository { .. }) => return Ok(not_found(&error.into())),
        opened => opened?,
    };
    let (base, head) = match (repo.resolve(&args.base), repo.resolve(&args.head)) {
        (Err(error @ LocalError::NoSuchRevision { .. }), _)
        | (_, Err(error @ LocalError::NoSuchRevision { .. })) => {
            return Ok(not_found(&error.into()));
        }
        (base, head) => (base?, head?),
    };
    let mut others = Vec::new();
    for (name, path) in &args.beside {
        match Other::open(name.clone(), path, &repo) {
            Err(error @ LocalError::NotARepository { .. }) => return Ok(not_found(&error.into())),
            opened => others.push(opened?),
        }
    }
    let labels = args.labels.iter().cloned().collect();
    let mut offline = Offline::new(&repo, base, head.clone(), labels)?.beside(&others);
    if let Some(branch) = &args.branch {
        offline = offline.onto(branch.clone());
    }
    let planned = match offline.policy() {
        Ok(None) => {
            return Ok(not_found(&anyhow::anyhow!(
                "there is no {NATIVE_FILE} and no {TELEFONISTKA_FILE} at {head}, so nothing is promoted"
            )));
        }
        Ok(Some(policy)) => offline.plan(&policy),
        Err(error) => Err(error),
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(OfflineError::Policy(errors)) => {
            validate::print(ReportFormat::Human, errors.iter(), [], &mut std::io::stderr())?;
            return Ok(Exit::Invalid);
        }
        Err(OfflineError::Other(error)) => return Err(error),
    };
    let mut steps = Vec::new();
    for step in &plan.steps {
        steps.push((step, offline.preview(step)));
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        PlanFormat::Json => {
            let document = Document::new(&plan, &steps);
            serde_json::to_writer_pretty(&mut out, &document)?;
            writeln!(out)?;
        }
        PlanFormat::Table => table(&plan, &steps, &mut out)?,
    }
    Ok(Exit::Success)
}

type Previewed<'p> = (&'p Step, anyhow::Result<Committed>);

/// The document of `-o json`. Its fields are a promise: they are only ever added to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'p> {
    api_version: &'static str,
    steps: Vec<StepDocument<'p>>,
    skipped: Vec<SkippedDocument<'p>>,
    notes: &'p [String],
    dry_run: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepDocument<'p> {
    source: &'p str,
    targets: Vec<&'p str>,
    /// The repository that it is opened in, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    /// The branch that it is merged into, if that is another one than the change's, or in another repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'p str>,
    /// Its wave, from 1.
    wave: usize,
    description: &'p str,
    components: &'p [String],
    sync: Vec<SyncDocument<'p>>,
    skipped: Vec<SkippedDocument<'p>>,
    auto_merge: bool,
    title: &'p str,
    branch: &'p str,
    /// None when the step can't be done; `stopped` then says why.
    tree: Option<&'p str>,
    paths: &'p [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

#[derive(Serialize)]
struct SyncDocument<'p> {
    from: &'p str,
    to: &'p str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    delete: bool,
    /// The keys that are set, where not the whole of it travels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// The keys that travel; none where directories do.
fn keys(sync: &Sync) -> Vec<String> {
    let keys = sync.keys.iter().flat_map(|keys| &keys.keys);
    keys.map(ToString::to_string).collect()
}

#[derive(Serialize)]
struct SkippedDocument<'p> {
    component: &'p str,
    target: &'p str,
    reason: &'p str,
}

impl<'p> Document<'p> {
    fn new(plan: &'p Plan, steps: &'p [Previewed<'p>]) -> Self {
        Self {
            api_version: "lockflight/v1",
            steps: steps.iter().map(StepDocument::new).collect(),
            skipped: plan.skipped.iter().map(SkippedDocument::new).collect(),
            notes: &plan.notes,
            dry_run: plan.dry_run,
        }
    }
}

impl<'p> StepDocument<'p> {
    fn new((step, preview): &'p Previewed<'p>) -> Self {
        let preview = preview.as_ref();
        Self {
            source: &step.source,
            targets: step.targets.iter().map(|target| target.path.as_str()).collect(),
            repository: step.repo.as_ref().map(|repo| repo.name.to_string()),
            base: step.base.as_ref().map(BranchName::as_str),
            wave: step.wave + 1,
            description: &step.description,
            components: &step.components,
            sync: step
                .sync
                .iter()
                .map(|sync| SyncDocument {
                    from: sync.from.as_str(),
                    to: sync.to.as_str(),
                    delete: sync.is_removal(),
                    keys: keys(sync),
                })
                .collect(),
            skipped: step.skipped.iter().map(SkippedDocument::new).collect(),
            auto_merge: step.auto_merge,
            title: &step.title,
            branch: step.branch.as_str(),
            tree: preview.ok().map(|committed| committed.tree.as_str()),
            paths: preview.map_or(&[], |committed| &committed.paths),
            stopped: preview.err().map(|error| format!("{error:#}")),
        }
    }
}

impl<'p> SkippedDocument<'p> {
    fn new(skipped: &'p Skipped) -> Self {
        Self {
            component: &skipped.component,
            target: skipped.target.as_str(),
            reason: &skipped.reason,
        }
    }
}

fn table(plan: &Plan, steps: &[Previewed<'_>], out: &mut impl std::io::Write) -> std::io::Result<()> {
    if plan.dry_run {
        writeln!(
            out,
            "The policy asks for a dry run: a comment would stand in place of these pull requests.\n"
        )?;
    }
    if steps.is_empty() {
        writeln!(out, "Nothing to promote.")?;
    }
    for (number, (step, preview)) in steps.iter().enumerate() {
        writeln!(
            out,
            "{}. {}{}",
            number + 1,
            step.title,
            if step.auto_merge {
                "   (merged automatically)"
            } else {
                ""
            }
        )?;
        match (&step.repo, &step.base) {
            (Some(repo), Some(base)) => writeln!(out, "     into {base} of {}", repo.name)?,
            (Some(repo), None) => writeln!(out, "     into {}", repo.name)?,
            (None, Some(base)) => writeln!(out, "     into {base}")?,
            (None, None) => {}
        }
        for sync in &step.sync {
            let arrow = if sync.is_removal() { "-> deleted:" } else { "->" };
            let keys = match keys(sync) {
                keys if keys.is_empty() => String::new(),
                keys => format!(": {}", keys.join(", ")),
            };
            writeln!(out, "     {} {arrow} {}{keys}", sync.from, sync.to)?;
        }
        match preview {
            Ok(committed) if committed.paths.is_empty() => {
                writeln!(out, "     already there: nothing would be opened")?;
            }
            Ok(committed) => writeln!(
                out,
                "     {} files differ; branch {}",
                committed.paths.len(),
                step.branch
            )?,
            Err(error) => writeln!(out, "     stopped: {error:#}")?,
        }
    }
    if !plan.skipped.is_empty() {
        writeln!(out, "\nSkipped:")?;
    }
    for skipped in &plan.skipped {
        writeln!(
            out,
            "  {} at {}: {}",
            skipped.component, skipped.target, skipped.reason
        )?;
    }
    for note in &plan.notes {
        writeln!(out, "\nNote: {note}")?;
    }
    Ok(())
}
