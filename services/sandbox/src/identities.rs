//! People, bots, Apps and their secrets.

use std::collections::BTreeSet;

use crate::auth;
use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::forge::Forge;
use crate::ids;
use crate::model::{Access, User, UserKind};
use crate::options::AppOptions;
use crate::state::{AppRecord, Installation, TokenOwner};
use crate::webhook::{Hook, HookTarget, check_url, payload};

/// A GitHub App, as its owner sees it after registering it.
#[derive(Clone)]
pub struct App {
    /// The numeric id: the issuer of its JWTs.
    pub id: u64,
    /// The name in URLs.
    pub slug: String,
    /// The login of its bot, `slug[bot]`.
    pub bot: String,
    /// The client id, which is a valid issuer, too.
    pub client_id: String,
    /// The private key, PKCS#1 in PEM.
    pub private_key_pem: String,
    /// A secret for its webhook that nobody else knows.
    pub webhook_secret: String,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("id", &self.id)
            .field("slug", &self.slug)
            .finish_non_exhaustive()
    }
}

impl Forge {
    /// Makes an account, or gives the one that exists. People may write to every repository unless
    /// [`Forge::set_access`] says otherwise.
    pub fn add_user(&self, login: &str, kind: UserKind) -> User {
        self.inner.state().user_or_new(login, kind)
    }

    /// Sets what a person may do in a repository.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such repository.
    pub fn set_access(&self, name: &str, login: &str, access: Access) -> Result<(), ForgeError> {
        let mut state = self.inner.state();
        state
            .repository_mut(name)?
            .access
            .insert(login.to_lowercase(), access);
        Ok(())
    }

    /// Gives a new personal access token of an account. The account is made where it is missing.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Crypto`] where the system gives no random numbers.
    pub fn personal_token(&self, login: &str) -> Result<String, ForgeError> {
        let token = ids::token("ghp")?;
        let mut state = self.inner.state();
        let user = state.user_or_new(login, UserKind::User);
        state.tokens.insert(token.clone(), TokenOwner::User(user.login));
        Ok(token)
    }

    /// Makes a token useless.
    pub fn revoke_token(&self, token: &str) {
        self.inner.state().tokens.remove(token);
    }

    /// Registers a GitHub App with a fresh key.
    ///
    /// # Errors
    ///
    /// [`ForgeError::Crypto`] where no key can be made, [`ForgeError::Unprocessable`] where the slug is taken.
    pub async fn add_app(&self, options: AppOptions) -> Result<App, ForgeError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this crate knows no other one, and makes a key once per App"
        )]
        let made = tokio::task::spawn_blocking(auth::generate_app_key).await;
        let (key, private_key_pem) =
            made.map_err(|_panicked| ForgeError::Crypto("could not make an RSA key"))??;
        let webhook_secret = ids::token("whs")?;
        let client_id = format!("Iv23{}", ids::hex(&ids::random::<8>()?));
        let mut state = self.inner.state();
        if state.apps.values().any(|app| app.slug == options.slug) {
            return Err(ForgeError::Unprocessable(format!(
                "the slug `{}` is taken",
                options.slug
            )));
        }
        state.user_or_new(&options.owner, UserKind::Organization);
        let record = AppRecord {
            id: state.fresh_id(),
            slug: options.slug,
            owner: options.owner,
            client_id: client_id.clone(),
            permissions: options.permissions,
            events: options.events,
            key,
            created_at: Timestamp::now(),
        };
        let bot = state.user_or_new(&record.bot(), UserKind::Bot).login;
        let (id, slug) = (record.id, record.slug.clone());
        state.apps.insert(id, record);
        Ok(App {
            id,
            slug,
            bot,
            client_id,
            private_key_pem,
            webhook_secret,
        })
    }

    /// Installs an App on repositories (`owner/name`) of one owner and gives the installation's id. Installing it
    /// again on the same account adds the repositories to the installation.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] for an unknown App or repository; [`ForgeError::Unprocessable`] where no repository
    /// is given or where they have different owners.
    pub fn install(&self, app: u64, repositories: &[&str]) -> Result<u64, ForgeError> {
        let mut state = self.inner.state();
        if !state.apps.contains_key(&app) {
            return Err(ForgeError::not_found());
        }
        let mut ids = BTreeSet::new();
        let mut owners = BTreeSet::new();
        for name in repositories {
            let repository = state.repository(name)?;
            ids.insert(repository.id);
            owners.insert(repository.owner.clone());
        }
        let mut owners = owners.into_iter();
        let (Some(account), None) = (owners.next(), owners.next()) else {
            return Err(ForgeError::Unprocessable(
                "an App is installed on one or more repositories of one owner".into(),
            ));
        };
        let present = state
            .installations
            .values_mut()
            .find(|installation| installation.app == app && installation.account == account);
        if let Some(installation) = present {
            installation.repositories.extend(ids);
            return Ok(installation.id);
        }
        let id = state.fresh_id();
        let installation = Installation {
            id,
            app,
            account,
            repositories: ids,
            suspended_at: None,
            created_at: Timestamp::now(),
        };
        state.installations.insert(id, installation);
        Ok(id)
    }

    /// Removes an installation: its tokens are refused from now on.
    pub fn uninstall(&self, installation: u64) {
        self.inner.state().installations.remove(&installation);
    }

    /// Suspends an installation, or lets it work again.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where there is no such installation.
    pub fn suspend(&self, installation: u64, suspended: bool) -> Result<(), ForgeError> {
        let mut state = self.inner.state();
        let found = state
            .installations
            .get_mut(&installation)
            .ok_or_else(ForgeError::not_found)?;
        found.suspended_at = suspended.then(Timestamp::now);
        Ok(())
    }

    /// Returns the installation tokens that are good now: what somebody who listens could have.
    #[must_use]
    pub fn installation_tokens(&self) -> Vec<String> {
        let now = Timestamp::now();
        let state = self.inner.state();
        let good = state.tokens.iter().filter(
            |(_, owner)| matches!(owner, TokenOwner::Installation { expires_at, .. } if *expires_at > now),
        );
        good.map(|(token, _)| token.clone()).collect()
    }

    /// Makes every installation token expire at once.
    pub fn expire_installation_tokens(&self) {
        let past = Timestamp::from_unix(0);
        for owner in self.inner.state().tokens.values_mut() {
            if let TokenOwner::Installation { expires_at, .. } = owner {
                *expires_at = past;
            }
        }
    }

    /// Sets up a webhook and sends it a `ping`; gives its id. An App has one webhook, which this replaces.
    ///
    /// # Errors
    ///
    /// [`ForgeError::WebhookNotLoopback`] for another machine, [`ForgeError::NotFound`] for an unknown target.
    pub fn set_webhook(
        &self,
        target: impl Into<HookTarget>,
        url: &str,
        secret: &str,
    ) -> Result<u64, ForgeError> {
        check_url(url)?;
        let target = target.into();
        let hook = {
            let mut state = self.inner.state();
            let events = match &target {
                HookTarget::Repository(name) => {
                    state.repository(name)?;
                    vec!["*".to_owned()]
                }
                HookTarget::App(app) => state
                    .apps
                    .get(app)
                    .ok_or_else(ForgeError::not_found)?
                    .events
                    .clone(),
            };
            if matches!(target, HookTarget::App(_)) {
                state.hooks.retain(|_, hook| hook.target != target);
            }
            let hook = Hook {
                id: state.fresh_id(),
                target,
                url: url.to_owned(),
                secret: secret.to_owned(),
                events,
                created_at: Timestamp::now(),
            };
            state.hooks.insert(hook.id, hook.clone());
            hook
        };
        payload::ping(&self.inner, &hook)?;
        Ok(hook.id)
    }

    /// Removes a webhook.
    pub fn remove_webhook(&self, id: u64) {
        self.inner.state().hooks.remove(&id);
    }

    /// Sends a logged delivery again, as the API's `attempts` does.
    ///
    /// # Errors
    ///
    /// [`ForgeError::NotFound`] where the delivery or its webhook is not known any more.
    pub fn redeliver(&self, delivery: u64) -> Result<(), ForgeError> {
        crate::webhook::redeliver(&self.inner, delivery)
    }
}
