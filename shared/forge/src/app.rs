//! A GitHub App: its own signed token, and one narrow token per repository.
//!
//! Guarantees: a token can reach one repository only, by its numeric id, with the permissions of the settings; however many
//! ask at the same time, one token is made (`ten_at_once_mint_one_token`); a token is renewed well before it expires. The
//! App's key and the tokens live in this process's memory only. That the installation of a message is the one of the
//! repository is proven by GitHub: it makes no token for a repository outside the installation.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use lockflight_promotion::change::Repository;
use lockflight_promotion::{InstallationId, RepoId, RepoName};
use octocrab::EncodingKey;
use octocrab::models::AppId;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::Instant;

use crate::ForgeError;
use crate::answer::Answer;
use crate::config::Permissions;
use crate::limit::{Gate, text};
use crate::purpose::Purpose;
use crate::route::{APP_TOKEN, REPO_INSTALLATION};
use crate::session::{Bearer, Credential, Session};
use crate::time;
use crate::wire::{Wire, lock};

/// A token is renewed this long before it expires, so that a push that begins with it also ends with it.
const SPARE: Duration = Duration::from_secs(600);
/// How long a permission that an installation does not grant is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// A GitHub App.
pub(crate) struct App {
    id: u64,
    key: EncodingKey,
    permissions: Permissions,
    gate: Arc<Gate>,
    /// GitHub limits each installation by itself.
    gates: Mutex<HashMap<InstallationId, Arc<Gate>>>,
    slots: Mutex<HashMap<(RepoId, Purpose), Arc<Slot>>>,
    serial: AtomicU64,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The token of one repository for one purpose. The lock is held while one is made: that is the single flight.
#[derive(Debug, Default)]
struct Slot(tokio::sync::Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    token: Option<Token>,
    /// Until when it is not asked for again, since the installation does not grant it, and what GitHub said.
    refused: Option<(Instant, String)>,
}

#[derive(Clone, Debug)]
struct Token {
    secret: SecretString,
    serial: u64,
    renew_at: Instant,
    installation: InstallationId,
    name: RepoName,
    gate: Arc<Gate>,
}

impl App {
    pub(crate) fn new(id: u64, pem: &SecretString, permissions: Permissions) -> Result<Self, ForgeError> {
        let key = EncodingKey::from_rsa_pem(pem.expose_secret().as_bytes()).map_err(|error| {
            ForgeError::Signing {
                source: Box::new(error),
            }
        })?;
        let app = Self {
            id,
            key,
            permissions,
            gate: Arc::default(),
            gates: Mutex::default(),
            slots: Mutex::default(),
            serial: AtomicU64::new(1),
        };
        // A key that reads but does not sign is found now, not with the first change.
        app.bearer()?;
        Ok(app)
    }

    /// The App's own token: signed anew each time, valid for some minutes.
    pub(crate) fn bearer(&self) -> Result<Bearer, ForgeError> {
        let token =
            octocrab::auth::create_jwt(AppId(self.id), &self.key).map_err(|error| ForgeError::Signing {
                source: Box::new(error),
            })?;
        Ok(Bearer {
            secret: SecretString::from(token),
            gate: Arc::clone(&self.gate),
            whose: "app".to_owned(),
            serial: 0,
        })
    }

    fn slot(&self, repo: RepoId, purpose: Purpose) -> Arc<Slot> {
        Arc::clone(lock(&self.slots).entry((repo, purpose)).or_default())
    }

    /// Its numeric id.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    fn gate(&self, installation: InstallationId) -> Arc<Gate> {
        Arc::clone(lock(&self.gates).entry(installation).or_default())
    }

    /// What its tokens are narrowed to.
    pub(crate) const fn asked(&self) -> Permissions {
        self.permissions
    }

    fn permissions(&self) -> String {
        let list: Vec<String> = self
            .permissions
            .asked()
            .map(|(name, access)| format!("{name}: {access}"))
            .collect();
        list.join(", ")
    }
}

/// The right of the App to act on one repository.
#[derive(Debug)]
pub(crate) struct Grant {
    app: Arc<App>,
    wire: Arc<Wire>,
    asked: Repository,
    purpose: Purpose,
    slot: Arc<Slot>,
}

#[derive(Serialize)]
struct Narrow<'a> {
    repository_ids: [RepoId; 1],
    permissions: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct Minted {
    #[serde(deserialize_with = "secret")]
    token: SecretString,
    expires_at: String,
    #[serde(default)]
    repositories: Option<Vec<MintedFor>>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

#[derive(Deserialize)]
struct MintedFor {
    id: RepoId,
    full_name: RepoName,
}

#[derive(Deserialize)]
pub(crate) struct Installed {
    pub(crate) id: InstallationId,
}

impl Grant {
    pub(crate) fn new(app: &Arc<App>, wire: &Arc<Wire>, asked: Repository) -> Self {
        Self {
            slot: app.slot(asked.id, Purpose::Usual),
            app: Arc::clone(app),
            wire: Arc::clone(wire),
            asked,
            purpose: Purpose::Usual,
        }
    }

    /// The right on the same repository for another purpose.
    pub(crate) fn with(&self, purpose: Purpose) -> Self {
        Self {
            slot: self.app.slot(self.asked.id, purpose),
            app: Arc::clone(&self.app),
            wire: Arc::clone(&self.wire),
            asked: self.asked.clone(),
            purpose,
        }
    }

    /// The App's numeric id.
    pub(crate) fn app(&self) -> u64 {
        self.app.id()
    }

    /// A token that is good for a while, from memory or made now.
    ///
    /// Boxed, since making one is itself a request with credentials.
    pub(crate) fn bearer(&self) -> Pin<Box<dyn Future<Output = Result<Bearer, ForgeError>> + Send + '_>> {
        Box::pin(async move {
            let token = self.token().await?;
            Ok(Bearer {
                whose: format!("installation {}", token.installation),
                secret: token.secret,
                gate: token.gate,
                serial: token.serial,
            })
        })
    }

    /// The name that the repository has now, as GitHub told it with the token.
    pub(crate) async fn name(&self) -> Result<RepoName, ForgeError> {
        Ok(self.token().await?.name)
    }

    /// Forgets the token with this number, unless another has taken its place.
    pub(crate) async fn forget(&self, serial: u64) {
        let mut held = self.slot.0.lock().await;
        if held.token.as_ref().is_some_and(|token| token.serial == serial) {
            held.token = None;
        }
    }

    async fn token(&self) -> Result<Token, ForgeError> {
        let mut held = self.slot.0.lock().await;
        if let Some(token) = &held.token
            && token.renew_at > Instant::now()
            && self
                .asked
                .installation
                .is_none_or(|asked| asked == token.installation)
        {
            return Ok(token.clone());
        }
        let extra = self.purpose.extra();
        if let (Some(extra), Some((until, message))) = (extra, &held.refused)
            && *until > Instant::now()
        {
            return Err(extra.not_granted(&self.asked.name, message));
        }
        match (self.mint().await, extra) {
            (Ok(token), _) => {
                held.token = Some(token.clone());
                held.refused = None;
                Ok(token)
            }
            (Err(ForgeError::Installation { message, .. }), Some(extra)) => {
                let error = extra.not_granted(&self.asked.name, &message);
                held.refused = Some((Instant::now() + REFUSED_FOR, message));
                Err(error)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn mint(&self) -> Result<Token, ForgeError> {
        let session = Session {
            wire: Arc::clone(&self.wire),
            credential: Credential::App(Arc::clone(&self.app)),
            repo: None,
            sent: Arc::default(),
        };
        let installation = match self.asked.installation {
            Some(installation) => installation,
            None => self.look_up(&session).await?,
        };
        let body = Narrow {
            repository_ids: [self.asked.id],
            permissions: match self.purpose.extra() {
                Some(extra) => BTreeMap::from([(extra.name, extra.access)]),
                None => self.app.permissions.asked().collect(),
            },
        };
        let path = format!("/app/installations/{installation}/access_tokens");
        let answer = session.write(&APP_TOKEN, &path, &body).await?;
        if matches!(
            answer.status(),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY
        ) {
            return Err(self.refused(Some(installation), &answer));
        }
        let asked_at = Instant::now();
        let server_now = text(answer.headers(), "date").and_then(time::parse_http);
        let minted: Minted = answer.json()?;
        let name = self.narrowed_to(&minted)?;
        Ok(Token {
            renew_at: asked_at + good_for(&minted.expires_at, server_now.unwrap_or_else(time::now)),
            secret: minted.token,
            serial: self.app.serial.fetch_add(1, Ordering::Relaxed),
            installation,
            name,
            gate: self.app.gate(installation),
        })
    }

    /// The installation that the repository belongs to.
    async fn look_up(&self, session: &Session) -> Result<InstallationId, ForgeError> {
        let path = format!("/repos/{}/installation", self.asked.name);
        let answer = session.read(&REPO_INSTALLATION, &path).await?;
        if matches!(answer.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            return Err(self.refused(None, &answer));
        }
        Ok(answer.json::<Installed>()?.id)
    }

    /// Checks that the token reaches the one repository that was asked for; the name that it has now.
    fn narrowed_to(&self, minted: &Minted) -> Result<RepoName, ForgeError> {
        // GitHub leaves the list out where a token was not narrowed.
        match minted.repositories.as_deref().unwrap_or_default() {
            [only] if only.id == self.asked.id => Ok(only.full_name.clone()),
            _ => Err(self.unusable(
                self.asked.installation,
                "the token that came does not reach exactly this repository".to_owned(),
            )),
        }
    }

    fn refused(&self, installation: Option<InstallationId>, answer: &Answer) -> ForgeError {
        self.unusable(installation, answer.words().trim_end_matches('.').to_owned())
    }

    fn unusable(&self, installation: Option<InstallationId>, message: String) -> ForgeError {
        ForgeError::Installation {
            repository: self.asked.name.clone(),
            installation,
            message,
            permissions: self.app.permissions(),
        }
    }
}

/// How long a token is used: to ten minutes before its end, or three quarters of a shorter life.
fn good_for(expires_at: &str, server_now: i64) -> Duration {
    let life = time::parse_iso(expires_at).map_or(0, |end| end.saturating_sub(server_now));
    let life = Duration::from_secs(u64::try_from(life).unwrap_or(0));
    life - SPARE.min(life / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_it_expires() {
        assert_eq!(good_for("1970-01-01T01:00:00Z", 0), Duration::from_secs(3_000));
        assert_eq!(good_for("1970-01-01T00:00:08Z", 0), Duration::from_secs(6));
        assert_eq!(good_for("1970-01-01T00:00:08Z", 60), Duration::ZERO);
        assert_eq!(good_for("soon", 0), Duration::ZERO);
    }
}
