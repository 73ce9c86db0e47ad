//! Check runs that come from outside, as a CI server makes them.

use crate::error::ForgeError;
use crate::forge::Forge;
use crate::model::CheckRun;
use crate::operations::checks::{self, CheckEdit};
use crate::verbs::repositories::user;

impl Forge {
    /// Sets the check run of a name on a commit, as somebody who is no App of this forge: it is under way without a
    /// `conclusion`, and over with one (`success`, `failure`, `neutral`, `cancelled`, `skipped`, `timed_out`,
    /// `action_required`). The latest such run of the name is changed; one that is over is followed by a new one, as
    /// when a check runs again.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Unprocessable`] for an unknown commit, [`ForgeError::Validation`] for an unknown conclusion.
    pub async fn set_check_run(
        &self,
        name: &str,
        sha: &str,
        check: &str,
        conclusion: Option<&str>,
        actor: &str,
    ) -> Result<CheckRun, ForgeError> {
        let repo = self.repo(name)?;
        let edit = CheckEdit {
            name: Some(check.to_owned()),
            status: conclusion.is_none().then(|| "in_progress".to_owned()),
            conclusion: conclusion.map(str::to_owned),
            ..CheckEdit::default()
        };
        let open = {
            let state = self.inner.state();
            let repository = state.repository(&repo.key)?;
            checks::of_commit(repository, sha)
                .filter(|run| run.name == check && run.app.is_none())
                .last()
                .filter(|run| run.status != "completed")
                .map(|run| run.id)
        };
        match open {
            Some(id) => checks::update_check(&self.inner, &repo, &user(actor), id, edit).await,
            None => checks::create_check(&self.inner, &repo, &user(actor), sha, edit).await,
        }
    }
}
