//! Check runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Map;

use crate::auth::Actor;
use crate::change::Change;
use crate::clock::Timestamp;
use crate::error::{FieldError, ForgeError};
use crate::forge::Inner;
use crate::model::{CheckAnnotation, CheckRun};
use crate::state::{RepoRef, Repository};
use crate::webhook::payload;

/// GitHub takes no more annotations in one request.
const ANNOTATIONS_AT_ONCE: usize = 50;
/// GitHub takes no longer summary or text, in characters.
const LONGEST_TEXT: usize = 65_535;
/// GitHub takes no longer title of an annotation, in characters.
const LONGEST_ANNOTATION_TITLE: usize = 255;
/// GitHub takes no longer message of an annotation, in bytes.
const LONGEST_ANNOTATION: usize = 64 * 1024;

/// What somebody who makes or changes a check run gives; what is missing stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct CheckEdit {
    pub(crate) name: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) details_url: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) conclusion: Option<String>,
    pub(crate) output: Option<OutputEdit>,
}

/// What is to be shown of a check run. Annotations are added to those that are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputEdit {
    pub(crate) title: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) annotations: Vec<CheckAnnotation>,
}

const CONCLUSIONS: [&str; 7] = [
    "success",
    "failure",
    "neutral",
    "cancelled",
    "skipped",
    "timed_out",
    "action_required",
];

fn check_annotation(annotation: &CheckAnnotation) -> Result<(), ForgeError> {
    let refuse = |field: &str, why: &str| {
        Err(ForgeError::Unprocessable(format!(
            "Invalid request.\n\nFor '{field}' of an annotation, {why}."
        )))
    };
    if annotation.start_line == 0 || annotation.end_line < annotation.start_line {
        return refuse(
            "end_line",
            "a line from `start_line` on is needed, counted from 1",
        );
    }
    if !matches!(annotation.level.as_str(), "notice" | "warning" | "failure") {
        return refuse("annotation_level", "`notice`, `warning` or `failure` is needed");
    }
    if annotation.path.is_empty() || annotation.message.is_empty() {
        return refuse("message", "a path and a message are needed");
    }
    if annotation.message.len() > LONGEST_ANNOTATION {
        return refuse("message", "at most 64 KB are allowed");
    }
    if annotation
        .title
        .as_ref()
        .is_some_and(|title| title.chars().count() > LONGEST_ANNOTATION_TITLE)
    {
        return refuse("title", "at most 255 characters are allowed");
    }
    Ok(())
}

fn check_output(output: &OutputEdit) -> Result<(), ForgeError> {
    let refuse = |text: String| Err(ForgeError::Unprocessable(format!("Invalid request.\n\n{text}")));
    if output.title.is_none() || output.summary.is_none() {
        return refuse("\"title\" or \"summary\" wasn't supplied.".into());
    }
    for text in [&output.title, &output.summary, &output.text]
        .into_iter()
        .flatten()
    {
        let count = text.chars().count();
        if count > LONGEST_TEXT {
            return refuse(format!(
                "Only {LONGEST_TEXT} characters are allowed; {count} were supplied."
            ));
        }
    }
    let count = output.annotations.len();
    if count > ANNOTATIONS_AT_ONCE {
        return refuse(format!(
            "No more than {ANNOTATIONS_AT_ONCE} items are allowed; {count} were supplied."
        ));
    }
    output.annotations.iter().try_for_each(check_annotation)
}

fn apply(run: &mut CheckRun, edit: CheckEdit) -> Result<(), ForgeError> {
    let invalid = |field| ForgeError::field(FieldError::coded("CheckRun", field, "invalid"));
    let replace = |old: &mut Option<String>, new: Option<String>| {
        if new.is_some() {
            *old = new;
        }
    };
    if let Some(status) = edit.status {
        if !matches!(status.as_str(), "queued" | "in_progress" | "completed") {
            return Err(invalid("status"));
        }
        run.status = status;
    }
    if let Some(conclusion) = &edit.conclusion {
        if !CONCLUSIONS.contains(&conclusion.as_str()) {
            return Err(invalid("conclusion"));
        }
        run.status = "completed".into();
    }
    replace(&mut run.conclusion, edit.conclusion);
    if run.status == "completed" {
        if run.conclusion.is_none() {
            return Err(invalid("conclusion"));
        }
        run.completed_at = Some(Timestamp::now());
    } else {
        run.conclusion = None;
        run.completed_at = None;
    }
    if let Some(name) = edit.name {
        run.name = name;
    }
    replace(&mut run.external_id, edit.external_id);
    replace(&mut run.details_url, edit.details_url);
    if let Some(output) = edit.output {
        check_output(&output)?;
        replace(&mut run.title, output.title);
        replace(&mut run.summary, output.summary);
        replace(&mut run.text, output.text);
        run.annotations.extend(output.annotations);
    }
    Ok(())
}

/// Makes a check run on a commit and gives it.
pub(crate) async fn create_check(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    head_sha: &str,
    edit: CheckEdit,
) -> Result<CheckRun, ForgeError> {
    let found = if crate::git::is_oid(head_sha) {
        inner.git.resolve(&repo.dir, head_sha).await?
    } else {
        None
    };
    let head_sha =
        found.ok_or_else(|| ForgeError::Unprocessable(format!("No commit found for SHA: {head_sha}")))?;
    if edit.name.as_deref().is_none_or(str::is_empty) {
        return Err(ForgeError::field(FieldError::coded(
            "CheckRun",
            "name",
            "missing_field",
        )));
    }
    let run = {
        let mut state = inner.state();
        let mut run = CheckRun {
            id: state.fresh_id(),
            head_sha,
            name: String::new(),
            external_id: None,
            details_url: None,
            status: "queued".into(),
            conclusion: None,
            title: None,
            summary: None,
            text: None,
            annotations: Vec::new(),
            started_at: Timestamp::now(),
            completed_at: None,
            app: actor.app(),
        };
        apply(&mut run, edit)?;
        state
            .repository_mut(&repo.key)?
            .check_runs
            .insert(run.id, run.clone());
        run
    };
    announce_check(inner, repo, actor, &run, "created")?;
    Ok(run)
}

/// Changes a check run and gives it. Only who made it may.
pub(crate) async fn update_check(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    id: u64,
    edit: CheckEdit,
) -> Result<CheckRun, ForgeError> {
    let (run, completed) = {
        let mut state = inner.state();
        let repository = state.repository_mut(&repo.key)?;
        let run = repository
            .check_runs
            .get_mut(&id)
            .ok_or_else(ForgeError::not_found)?;
        if run.app != actor.app() {
            return Err(ForgeError::Forbidden(format!(
                "Invalid app_id `{}` - check run can only be modified by the GitHub App that created it.",
                actor.app().unwrap_or_default()
            )));
        }
        let before = run.status.clone();
        let mut changed = run.clone();
        apply(&mut changed, edit)?;
        *run = changed.clone();
        let completed = before != "completed" && changed.status == "completed";
        (changed, completed)
    };
    if completed {
        announce_check(inner, repo, actor, &run, "completed")?;
    }
    Ok(run)
}

/// Returns the check runs of a commit, oldest first.
pub(crate) fn of_commit<'r>(repository: &'r Repository, sha: &'r str) -> impl Iterator<Item = &'r CheckRun> {
    repository
        .check_runs
        .values()
        .filter(move |run| run.head_sha == sha)
}

/// Returns the latest check run of each name and App of a commit, oldest first.
pub(crate) fn latest<'r>(repository: &'r Repository, sha: &'r str) -> impl Iterator<Item = &'r CheckRun> {
    let mut latest: BTreeMap<(Option<u64>, &str), &CheckRun> = BTreeMap::new();
    for run in of_commit(repository, sha) {
        latest.insert((run.app, &run.name), run);
    }
    let by_id: BTreeMap<u64, &CheckRun> = latest.into_values().map(|run| (run.id, run)).collect();
    by_id.into_values()
}

fn announce_check(
    inner: &Arc<Inner>,
    repo: &RepoRef,
    actor: &Actor,
    run: &CheckRun,
    action: &'static str,
) -> Result<(), ForgeError> {
    if payload::is_heard(inner, repo) {
        let mut body = Map::new();
        {
            let state = inner.state();
            let shaper = inner.shaper(&state);
            let repository = state.repository(&repo.key)?;
            body.insert("check_run".into(), shaper.check_run(repository, run));
        }
        payload::send(inner, repo, "check_run", Some(action), actor.login(), body)?;
    }
    inner.tell(Change::CheckRun {
        repository: repo.full_name.clone(),
        id: run.id,
    });
    Ok(())
}
