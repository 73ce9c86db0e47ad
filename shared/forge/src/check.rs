//! What others say of a commit: its check runs and its commit statuses, taken together.

use std::collections::BTreeMap;

use lockflight_promotion::CommitOid;
use serde::Deserialize;

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::page::Pages;
use crate::purpose::Purpose;
use crate::route::CHECK_RUNS;
use crate::status::StatusState;

/// What is said of a commit under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The name of a check run, or the context of a status.
    pub name: String,
    /// What it says.
    pub state: CheckState,
    /// What it says in a sentence: the title of a check run, or the description of a status.
    pub title: Option<String>,
    /// The page behind it.
    pub details_url: Option<String>,
}

/// What a check says. The worse is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckState {
    /// It is good; or it was skipped, or is neutral, which GitHub lets pass as well.
    Success,
    /// Not known yet.
    Pending,
    /// It is not good, or it will never be known.
    Failure,
}

/// All that is said of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// One entry per name, in the order of the names: the worst of the check runs that are the latest of their App and suite, and of
    /// the latest status.
    pub list: Vec<Check>,
    /// Why the check runs could not be read and only statuses are listed: a sentence that says which permission is missing.
    pub unreadable: Option<String>,
}

impl Checks {
    /// What is said under a name; none if nothing is, or it cannot be read.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Check> {
        self.list.iter().find(|check| check.name == name)
    }
}

impl From<StatusState> for CheckState {
    fn from(state: StatusState) -> Self {
        match state {
            StatusState::Success => Self::Success,
            StatusState::Pending => Self::Pending,
            StatusState::Error | StatusState::Failure => Self::Failure,
        }
    }
}

/// A check run as far as it is of use here; words that are newer than this program are no success.
#[derive(Deserialize)]
struct Run {
    id: u64,
    name: String,
    status: String,
    conclusion: Option<String>,
    #[serde(default)]
    details_url: Option<String>,
    #[serde(default)]
    output: Output,
    #[serde(default)]
    app: Option<Id>,
    #[serde(default)]
    check_suite: Option<Id>,
}

#[derive(Default, Deserialize)]
struct Output {
    #[serde(default)]
    title: Option<String>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct Runs {
    check_runs: Vec<Run>,
}

impl Run {
    fn state(&self) -> CheckState {
        match (self.status.as_str(), self.conclusion.as_deref()) {
            ("completed", Some("success" | "neutral" | "skipped")) => CheckState::Success,
            ("completed", Some(_)) => CheckState::Failure,
            _ => CheckState::Pending,
        }
    }
}

/// What counts of each name: of the runs that are the latest of their App and suite, the worst one, and of equally bad ones the latest.
/// Two workflows may well have a job of one name each, and the success of one says nothing of the other.
fn worst_of_latest(runs: impl IntoIterator<Item = Run>) -> BTreeMap<String, Run> {
    let mut latest: BTreeMap<(String, Option<u64>, Option<u64>), Run> = BTreeMap::new();
    for run in runs {
        let id = |of: &Option<Id>| of.as_ref().map(|of| of.id);
        let place = (run.name.clone(), id(&run.app), id(&run.check_suite));
        if latest.get(&place).is_none_or(|other| other.id < run.id) {
            latest.insert(place, run);
        }
    }
    let mut worst: BTreeMap<String, Run> = BTreeMap::new();
    for ((name, ..), run) in latest {
        let badness = |run: &Run| (run.state(), run.id);
        if worst
            .get(&name)
            .is_none_or(|other| badness(other) < badness(&run))
        {
            worst.insert(name, run);
        }
    }
    worst
}

impl RepoClient {
    /// Reads the latest check runs of each name and the latest status of each context of a commit.
    ///
    /// Where the check runs cannot be read for lack of a permission, the statuses are given alone, and why.
    ///
    /// # Errors
    /// When they cannot all be read, for another reason than that.
    pub async fn checks(&self, commit: &CommitOid) -> Result<Checks, ForgeError> {
        let (runs, unreadable) = match self.latest_runs(commit).await {
            Ok(runs) => (worst_of_latest(runs), None),
            Err(error @ (ForgeError::NotGranted { .. } | ForgeError::Forbidden { .. })) => {
                (BTreeMap::new(), Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        let mut list: BTreeMap<String, Check> = runs
            .into_iter()
            .map(|(name, run)| {
                let state = run.state();
                let details_url = run.details_url.filter(|url| !url.is_empty());
                let check = Check {
                    name: name.clone(),
                    state,
                    title: run.output.title,
                    details_url,
                };
                (name, check)
            })
            .collect();
        for status in self.statuses(commit).await? {
            let state = CheckState::from(status.state);
            if list.get(&status.context).is_none_or(|check| check.state < state) {
                let check = Check {
                    name: status.context.clone(),
                    state,
                    title: Some(status.description),
                    details_url: status.target_url.filter(|url| !url.is_empty()),
                };
                list.insert(status.context, check);
            }
        }
        Ok(Checks {
            list: list.into_values().collect(),
            unreadable,
        })
    }

    async fn latest_runs(&self, commit: &CommitOid) -> Result<Vec<Run>, ForgeError> {
        let session = self.session_for(Purpose::ReadChecks);
        let path = self.path(&format!(
            "/commits/{commit}/check-runs?filter=latest&per_page=100"
        ));
        let (mut pages, first) = Pages::begin::<Runs>(&session, &CHECK_RUNS, &path).await?;
        let mut latest = Vec::new();
        let mut page = Some(first);
        while let Some(Runs { check_runs }) = page {
            latest.extend(check_runs);
            page = pages.next().await?;
        }
        Ok(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_github_lets_pass_is_a_success() {
        for (status, conclusion, state) in [
            ("queued", None, CheckState::Pending),
            ("in_progress", None, CheckState::Pending),
            ("waiting", None, CheckState::Pending),
            ("completed", None, CheckState::Pending),
            ("completed", Some("success"), CheckState::Success),
            ("completed", Some("neutral"), CheckState::Success),
            ("completed", Some("skipped"), CheckState::Success),
            ("completed", Some("failure"), CheckState::Failure),
            ("completed", Some("cancelled"), CheckState::Failure),
            ("completed", Some("timed_out"), CheckState::Failure),
            ("completed", Some("action_required"), CheckState::Failure),
            ("completed", Some("stale"), CheckState::Failure),
            ("completed", Some("startup_failure"), CheckState::Failure),
            ("completed", Some("something newer"), CheckState::Failure),
        ] {
            let run = Run {
                output: Output::default(),
                id: 1,
                name: "ci".to_owned(),
                status: status.to_owned(),
                conclusion: conclusion.map(str::to_owned),
                details_url: None,
                app: None,
                check_suite: None,
            };
            assert_eq!(run.state(), state, "{status} {conclusion:?}");
        }
    }

    #[test]
    fn a_success_hides_only_what_came_before_it_in_the_same_suite_of_the_same_app() {
        let (good, bad, open) = (Some("success"), Some("failure"), None);
        for (runs, counts) in [
            // Each run: id, App, suite, conclusion.
            (&[(1, Some(1), Some(1), bad), (2, Some(1), Some(1), good)][..], 2),
            (&[(2, Some(1), Some(1), good), (1, Some(1), Some(1), bad)], 2),
            (&[(1, Some(1), Some(1), bad), (2, Some(1), Some(2), good)], 1),
            (&[(2, Some(1), Some(2), good), (1, Some(1), Some(1), bad)], 1),
            (&[(1, Some(1), Some(1), bad), (2, Some(2), Some(1), good)], 1),
            (&[(1, Some(1), Some(1), open), (2, Some(1), Some(2), good)], 1),
            (&[(1, Some(1), Some(1), bad), (2, Some(1), Some(2), open)], 1),
            (&[(1, Some(1), Some(1), good), (2, Some(1), Some(2), good)], 2),
            (&[(1, None, None, bad), (2, None, None, good)], 2),
            (&[(1, None, None, bad), (2, Some(1), Some(1), good)], 1),
        ] {
            let named =
                |name: &str, id: u64, app: Option<u64>, suite: Option<u64>, conclusion: Option<&str>| Run {
                    output: Output::default(),
                    id,
                    name: name.to_owned(),
                    status: "completed".to_owned(),
                    conclusion: conclusion.map(str::to_owned),
                    details_url: None,
                    app: app.map(|id| Id { id }),
                    check_suite: suite.map(|id| Id { id }),
                };
            let runs = runs
                .iter()
                .map(|&(id, app, suite, conclusion)| named("test", id, app, suite, conclusion))
                .chain([named("other", 9, Some(1), Some(1), good)]);
            let ids: Vec<u64> = worst_of_latest(runs).values().map(|run| run.id).collect();
            assert_eq!(ids, [9, counts]);
        }
    }
}
