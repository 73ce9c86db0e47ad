//! Finding a repository by its name, whoever owns it.
//!
//! A policy names repositories; everything else goes by their numeric ids. Guarantees: what was found is remembered for a few
//! minutes, what was not is looked for again each time, so that an App that was installed just now is seen at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use lockflight_promotion::change::Repository;
use lockflight_promotion::{BranchName, InstallationId, RepoId, RepoName};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::app::Installed;
use crate::client::Forge;
use crate::error::ForgeError;
use crate::route::{APP_TOKEN, REPO, REPO_INSTALLATION};
use crate::session::{Credential, Session};
use crate::wire::lock;

/// How long a repository that was found is not looked for again.
const KEPT: Duration = Duration::from_secs(300);
/// All that a token needs to see what a repository is called. Every installation has it.
const LEAST: (&str, &str) = ("metadata", "read");

/// A repository that was found by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRepository {
    /// Its id, the name that it has now, and the installation that reaches it.
    pub repository: Repository,
    /// The branch that people's changes are merged into.
    pub default_branch: BranchName,
}

/// The repositories that were found lately, by the name that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Finds(Mutex<HashMap<RepoName, (FoundRepository, Instant)>>);

impl Finds {
    fn get(&self, name: &RepoName, now: Instant) -> Option<FoundRepository> {
        lock(&self.0)
            .get(name)
            .filter(|(_, until)| *until > now)
            .map(|(found, _)| found.clone())
    }

    fn keep(&self, name: &RepoName, found: &FoundRepository, now: Instant) {
        let mut kept = lock(&self.0);
        kept.retain(|_, (_, until)| *until > now);
        kept.insert(name.clone(), (found.clone(), now + KEPT));
    }
}

/// A repository as GitHub shows it.
#[derive(Deserialize)]
struct Shown {
    id: RepoId,
    full_name: RepoName,
    default_branch: BranchName,
}

impl Shown {
    fn found(self, installation: Option<InstallationId>) -> FoundRepository {
        FoundRepository {
            repository: Repository {
                id: self.id,
                name: self.full_name,
                installation,
            },
            default_branch: self.default_branch,
        }
    }
}

/// What a token is narrowed to when only a name is known; by the id where a redirect told it.
#[derive(Serialize)]
struct Narrow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    repositories: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_ids: Option<[RepoId; 1]>,
    permissions: BTreeMap<&'a str, &'a str>,
}

/// What comes with a token. The token itself is left unread: nothing is done with it.
#[derive(Deserialize)]
struct Minted {
    #[serde(default)]
    repositories: Vec<Shown>,
}

impl Forge {
    /// Finds a repository by its name, possibly of another owner and in another installation. None when there is none that
    /// we can see: it does not exist, or as an App, the App is not installed on it.
    ///
    /// # Errors
    /// When GitHub can't be asked, or the App is installed there and yet gets no token.
    pub async fn find(&self, name: &RepoName) -> Result<Option<FoundRepository>, ForgeError> {
        let now = Instant::now();
        if let Some(found) = self.inner.finds.get(name, now) {
            return Ok(Some(found));
        }
        let session = self.session();
        let found = match &session.credential {
            Credential::App(_) => find_as_app(&session, name).await?,
            Credential::Token { .. } | Credential::Grant(_) => {
                let found = find_with_token(&session, name).await?;
                if let Some(found) = &found {
                    self.inner
                        .proofs
                        .note(&found.repository.name, found.repository.id);
                }
                found
            }
        };
        if let Some(found) = &found {
            self.inner.finds.keep(name, found, now);
        }
        Ok(found)
    }
}

const fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

async fn find_with_token(session: &Session, name: &RepoName) -> Result<Option<FoundRepository>, ForgeError> {
    let answer = session.read(&REPO, &format!("/repos/{name}")).await?;
    if is_missing(answer.status()) {
        return Ok(None);
    }
    Ok(Some(answer.json::<Shown>()?.found(None)))
}

/// An App sees a repository only through a token of its installation. GitHub shows the repositories that a token was narrowed
/// to together with it, so nothing further has to be asked.
async fn find_as_app(session: &Session, name: &RepoName) -> Result<Option<FoundRepository>, ForgeError> {
    let path = format!("/repos/{name}/installation");
    let answer = session.read(&REPO_INSTALLATION, &path).await?;
    if is_missing(answer.status()) {
        return Ok(None);
    }
    let moved_to = id_in(answer.call.path());
    let installation = answer.json::<Installed>()?.id;
    let body = Narrow {
        repositories: moved_to.is_none().then_some([name.name()]),
        repository_ids: moved_to.map(|id| [id]),
        permissions: BTreeMap::from([LEAST]),
    };
    let path = format!("/app/installations/{installation}/access_tokens");
    let answer = session.write(&APP_TOKEN, &path, &body).await?;
    let unusable = |message: String| ForgeError::Installation {
        repository: name.clone(),
        installation: Some(installation),
        message,
        permissions: format!("{}: {}", LEAST.0, LEAST.1),
    };
    match answer.status() {
        // The App was taken off the repository between the two calls.
        status if is_missing(status) => return Ok(None),
        StatusCode::UNPROCESSABLE_ENTITY if answer.words().contains("not accessible") => return Ok(None),
        StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => {
            return Err(unusable(answer.words().trim_end_matches('.').to_owned()));
        }
        _ => {}
    }
    let minted: Minted = answer.json()?;
    match <[Shown; 1]>::try_from(minted.repositories) {
        Ok([only]) if moved_to.map_or(only.full_name == *name, |id| only.id == id) => {
            Ok(Some(only.found(Some(installation))))
        }
        _ => Err(unusable(
            "the token that came does not reach exactly this repository".to_owned(),
        )),
    }
}

/// The id in `/repositories/123/installation`, where GitHub leads whoever asks by a former name.
fn id_in(path: &str) -> Option<RepoId> {
    let (id, rest) = path.strip_prefix("/repositories/")?.split_once('/')?;
    (rest == "installation")
        .then(|| id.parse().ok().map(RepoId::new))
        .flatten()
}
