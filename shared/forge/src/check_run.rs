//! Our own check runs: one per commit and external id, updated in place.
//!
//! Guarantees: a run is looked for before it is written, so that one that was made without an answer is found and not made
//! twice; a run that says the same already is left alone. GitHub appends the annotations of each request to those that are
//! there, so only what is missing is sent, and where others are there than wanted, a new run takes the place of the old.

use http::StatusCode;
use lockflight_promotion::CommitOid;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::client::{RepoClient, encoded};
use crate::error::ForgeError;
use crate::page::{self, Pages};
use crate::purpose::Purpose;
use crate::route::{ANNOTATIONS, CHECK_RUNS, CREATE_CHECK_RUN, UPDATE_CHECK_RUN};
use crate::session::{Credential, Session};

/// What GitHub takes of a title and a summary, in characters; kept to in bytes, which is never more.
const LONGEST_TEXT: usize = 65_535;
/// What GitHub takes of the title of an annotation, in characters.
const LONGEST_ANNOTATION_TITLE: usize = 255;
/// What GitHub takes of the message of an annotation, in bytes.
const LONGEST_ANNOTATION: usize = 64 * 1024;
/// How many annotations go into one request.
const ANNOTATIONS_AT_ONCE: usize = 50;

/// A check run of ours, as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRun {
    /// Its name, under which people see it and branch protection may require it.
    pub name: String,
    /// Which of our runs of this name on the commit it is.
    pub external_id: String,
    /// How far it is.
    pub state: CheckRunState,
    /// Its headline: one sentence. Sent with at most 65,535 bytes.
    pub title: String,
    /// What there is to say, in Markdown. Sent with at most 65,535 bytes.
    pub summary: String,
    /// Remarks on lines of files of the commit. Any number; GitHub shows them as they come.
    pub annotations: Vec<Annotation>,
    /// The page behind it.
    pub details_url: Option<String>,
}

/// How far a check run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckRunState {
    /// It has not begun.
    Queued,
    /// It is under way.
    InProgress,
    /// It is over.
    Completed(Conclusion),
}

/// How a check run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Good.
    Success,
    /// Not good.
    Failure,
    /// Neither, and nothing is kept from being merged.
    Neutral,
    /// There was nothing to do.
    Skipped,
    /// Somebody ended it.
    Cancelled,
    /// It took too long.
    TimedOut,
    /// Somebody has to do something.
    ActionRequired,
}

impl CheckRunState {
    const fn status(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed(_) => "completed",
        }
    }

    const fn conclusion(self) -> Option<&'static str> {
        match self {
            Self::Queued | Self::InProgress => None,
            Self::Completed(conclusion) => Some(match conclusion {
                Conclusion::Success => "success",
                Conclusion::Failure => "failure",
                Conclusion::Neutral => "neutral",
                Conclusion::Skipped => "skipped",
                Conclusion::Cancelled => "cancelled",
                Conclusion::TimedOut => "timed_out",
                Conclusion::ActionRequired => "action_required",
            }),
        }
    }
}

/// A remark on lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The path of the file.
    pub path: String,
    /// The first line, from 1.
    pub start_line: u32,
    /// The last line.
    pub end_line: u32,
    /// How grave it is.
    pub level: AnnotationLevel,
    /// Its headline; sent with at most 255 characters.
    pub title: Option<String>,
    /// The remark, in plain text; sent with at most 64 KiB.
    pub message: String,
}

/// How grave a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnnotationLevel {
    /// Good to know.
    Notice,
    /// Probably wrong.
    Warning,
    /// Wrong.
    Failure,
}

/// What came of writing a check run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum CheckOutcome {
    /// It is as it should be from now on. This is its numeric id.
    Set(u64),
    /// It was so already. This is its numeric id.
    Stands(u64),
    /// We may not write check runs here, and this is why: only a GitHub App with the permission `Checks: write` may. A commit status
    /// says the same to more people.
    NotAllowed(String),
}

/// A check run on the wire, to be sent.
#[derive(Serialize)]
struct Sent<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_sha: Option<&'a CommitOid>,
    external_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conclusion: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details_url: Option<&'a str>,
    output: SentOutput<'a>,
}

#[derive(Serialize)]
struct SentOutput<'a> {
    title: &'a str,
    summary: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    annotations: &'a [SentAnnotation<'a>],
}

#[derive(Serialize)]
struct SentAnnotation<'a> {
    path: &'a str,
    start_line: u32,
    end_line: u32,
    annotation_level: AnnotationLevel,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    message: &'a str,
}

impl<'a> From<&'a Annotation> for SentAnnotation<'a> {
    fn from(annotation: &'a Annotation) -> Self {
        let title = annotation.title.as_deref().filter(|title| !title.is_empty());
        Self {
            path: &annotation.path,
            start_line: annotation.start_line,
            end_line: annotation.end_line.max(annotation.start_line),
            annotation_level: annotation.level,
            title: title.map(|title| title.chars().take(LONGEST_ANNOTATION_TITLE).collect()),
            message: fitting(&annotation.message, LONGEST_ANNOTATION),
        }
    }
}

/// A check run on the wire, as it is.
#[derive(Deserialize)]
struct Found {
    id: u64,
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    conclusion: Option<String>,
    #[serde(default)]
    details_url: Option<String>,
    #[serde(default)]
    output: FoundOutput,
    #[serde(default)]
    app: Option<FoundApp>,
}

#[derive(Default, Deserialize)]
struct FoundOutput {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    annotations_count: u64,
}

#[derive(Deserialize)]
struct FoundApp {
    id: u64,
}

#[derive(Deserialize)]
struct FoundRuns {
    check_runs: Vec<Found>,
}

#[derive(Deserialize)]
struct FoundAnnotation {
    path: String,
    start_line: u32,
    end_line: u32,
    annotation_level: Option<String>,
    title: Option<String>,
    message: Option<String>,
}

impl Found {
    /// Whether it says all of this already, its annotations left aside.
    fn says(&self, sent: &Sent<'_>) -> bool {
        self.status == sent.status
            && self.conclusion.as_deref() == sent.conclusion
            && self.output.title.as_deref() == Some(sent.output.title)
            && self.output.summary.as_deref() == Some(sent.output.summary)
            && sent
                .details_url
                .is_none_or(|url| self.details_url.as_deref() == Some(url))
    }
}

impl FoundAnnotation {
    fn is(&self, sent: &SentAnnotation<'_>) -> bool {
        let level = match sent.annotation_level {
            AnnotationLevel::Notice => "notice",
            AnnotationLevel::Warning => "warning",
            AnnotationLevel::Failure => "failure",
        };
        self.path == sent.path
            && self.start_line == sent.start_line
            && self.end_line == sent.end_line
            && self.annotation_level.as_deref() == Some(level)
            && self.title.as_deref().filter(|title| !title.is_empty()) == sent.title.as_deref()
            && self.message.as_deref() == Some(sent.message)
    }
}

impl RepoClient {
    /// Makes the check run of this name and external id on a commit be as `run` says: made new, updated in place, or left as
    /// it is. It may take several requests where there are more than 50 annotations.
    ///
    /// # Errors
    /// When GitHub refuses what is sent, or [`ForgeError::Unknown`]: then call it again. That we may write no check runs is no
    /// error but an outcome.
    pub async fn set_check(&self, commit: &CommitOid, run: &CheckRun) -> Result<CheckOutcome, ForgeError> {
        let app = match &self.session.credential {
            Credential::Grant(grant) => Some(grant.app()),
            Credential::Token { secret, .. } if !is_of_installation(secret) => {
                return Ok(CheckOutcome::NotAllowed(
                    "GitHub lets only Apps write check runs".to_owned(),
                ));
            }
            Credential::Token { .. } | Credential::App(_) => None,
        };
        match self.bring_about(commit, run, app).await {
            Err(error @ (ForgeError::NotGranted { .. } | ForgeError::Forbidden { .. })) => {
                Ok(CheckOutcome::NotAllowed(error.to_string()))
            }
            done => done,
        }
    }

    /// Writes the run, unless it stands.
    async fn bring_about(
        &self,
        commit: &CommitOid,
        run: &CheckRun,
        app: Option<u64>,
    ) -> Result<CheckOutcome, ForgeError> {
        let session = self.session_for(Purpose::WriteChecks);
        self.prove().await?;
        let annotations: Vec<SentAnnotation<'_>> = run.annotations.iter().map(SentAnnotation::from).collect();
        let sent = |new: bool, annotations| Sent {
            name: &run.name,
            head_sha: new.then_some(commit),
            external_id: &run.external_id,
            status: run.state.status(),
            conclusion: run.state.conclusion(),
            details_url: run.details_url.as_deref(),
            output: SentOutput {
                title: fitting(&run.title, LONGEST_TEXT),
                summary: fitting(&run.summary, LONGEST_TEXT),
                annotations,
            },
        };
        let found = self.own_run(&session, commit, run, app).await?;
        let placed = match &found {
            Some(found) => self.placed(&session, found, &annotations).await?,
            None => None,
        };
        let (id, mut missing) = match (found, placed) {
            (Some(found), Some(placed)) => {
                let missing = annotations.get(placed..).unwrap_or_default();
                if missing.is_empty() && found.says(&sent(false, &[])) {
                    return Ok(CheckOutcome::Stands(found.id));
                }
                let (now, later) = split(missing);
                self.send_update(&session, found.id, &sent(false, now)).await?;
                (found.id, later)
            }
            _ => {
                let (now, later) = split(&annotations);
                let path = self.path("/check-runs");
                let answer = session.write(&CREATE_CHECK_RUN, &path, &sent(true, now)).await?;
                (allowed(answer)?.json::<Found>()?.id, later)
            }
        };
        while !missing.is_empty() {
            let (now, later) = split(missing);
            self.send_update(&session, id, &sent(false, now)).await?;
            missing = later;
        }
        Ok(CheckOutcome::Set(id))
    }

    async fn send_update(&self, session: &Session, id: u64, sent: &Sent<'_>) -> Result<(), ForgeError> {
        let path = self.path(&format!("/check-runs/{id}"));
        let answer = session.write(&UPDATE_CHECK_RUN, &path, sent).await?;
        allowed(answer)?.success()?;
        Ok(())
    }

    /// The newest of our runs of this name and external id on the commit.
    async fn own_run(
        &self,
        session: &Session,
        commit: &CommitOid,
        run: &CheckRun,
        app: Option<u64>,
    ) -> Result<Option<Found>, ForgeError> {
        let of_app = app.map_or_else(String::new, |app| format!("&app_id={app}"));
        let path = self.path(&format!(
            "/commits/{commit}/check-runs?check_name={}&filter=all&per_page=100{of_app}",
            encoded(&run.name)
        ));
        let (mut pages, first) = Pages::begin::<FoundRuns>(session, &CHECK_RUNS, &path).await?;
        let mut own: Option<Found> = None;
        let mut page = Some(first);
        while let Some(FoundRuns { check_runs }) = page {
            own = check_runs
                .into_iter()
                .filter(|found| found.external_id.as_deref() == Some(run.external_id.as_str()))
                .filter(|found| app.is_none() || found.app.as_ref().map(|app| app.id) == app)
                .chain(own)
                .max_by_key(|found| found.id);
            page = pages.next().await?;
        }
        Ok(own)
    }

    /// How many of the annotations are there already; none if there are others, which cannot be taken back.
    async fn placed(
        &self,
        session: &Session,
        found: &Found,
        wanted: &[SentAnnotation<'_>],
    ) -> Result<Option<usize>, ForgeError> {
        if found.output.annotations_count == 0 {
            return Ok(Some(0));
        }
        let path = self.path(&format!("/check-runs/{}/annotations?per_page=100", found.id));
        let there: Vec<FoundAnnotation> = page::all(session, &ANNOTATIONS, &path).await?;
        let is_beginning =
            there.len() <= wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| there.is(wanted));
        Ok(is_beginning.then_some(there.len()))
    }
}

/// Whether a token is that of an installation, such as a workflow has: those write check runs, too
/// (<https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats>).
fn is_of_installation(secret: &secrecy::SecretString) -> bool {
    use secrecy::ExposeSecret as _;
    secret.expose_secret().starts_with("ghs_")
}

/// GitHub hides what a token may not touch behind a 404. The run or its commit was just read.
fn allowed(answer: Answer) -> Result<Answer, ForgeError> {
    if answer.status() == StatusCode::NOT_FOUND {
        let words = answer.words();
        return Err(ForgeError::forbidden(answer.call, words, None, false));
    }
    Ok(answer)
}

/// What goes into one request, and what into later ones.
fn split<'s, 'a>(
    annotations: &'s [SentAnnotation<'a>],
) -> (&'s [SentAnnotation<'a>], &'s [SentAnnotation<'a>]) {
    annotations
        .split_at_checked(ANNOTATIONS_AT_ONCE)
        .unwrap_or((annotations, &[]))
}

/// Cut to at most `most` bytes, between two characters.
fn fitting(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters() {
        assert_eq!(fitting("äöü", 6), "äöü");
        assert_eq!(fitting("äöü", 5), "äö");
        assert_eq!(fitting(&"x".repeat(70_000), LONGEST_TEXT).len(), 65_535);
    }
}
