//! Who asks, and what they may do: personal tokens, App JWTs and installation tokens with scope and expiry.

use std::collections::BTreeSet;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;

use crate::clock::Timestamp;
use crate::error::ForgeError;
use crate::model::{Access, Level, Permissions};
use crate::state::{Repository, State, TokenOwner};

/// The public half of an App's key. The private half is given to the caller once and not kept.
pub(crate) struct AppKey {
    public_pkcs1: Vec<u8>,
}

impl std::fmt::Debug for AppKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppKey")
    }
}

/// Makes a 2,048-bit RSA key, and gives the private half in the form GitHub hands it out (PKCS#1 in PEM).
pub(crate) fn generate_app_key() -> Result<(AppKey, String), ForgeError> {
    let key = KeyPair::generate(KeySize::Rsa2048)
        .map_err(|_unspecified| ForgeError::Crypto("could not make an RSA key"))?;
    let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&key)
        .map_err(|_unspecified| ForgeError::Crypto("could not write an RSA key"))?;
    // PKCS#8 for RSA is a fixed head of 26 bytes around the PKCS#1 key: a sequence, version 0, the algorithm, and the
    // head of an octet string, the two lengths taking three bytes each for a key of this size.
    const HEAD: usize = 26;
    let pkcs1 = pkcs8
        .as_ref()
        .get(HEAD..)
        .filter(|body| body.starts_with(&[0x30, 0x82]))
        .ok_or(ForgeError::Crypto("could not write an RSA key"))?;
    let encoded = STANDARD.encode(pkcs1);
    let lines: Vec<String> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let (begin, end) = ("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----");
    let pem = format!("{begin}\n{}\n{end}\n", lines.join("\n"));
    Ok((
        AppKey {
            public_pkcs1: key.public_key().as_ref().to_vec(),
        },
        pem,
    ))
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    Anonymous,
    User(String),
    App(u64),
    Installation {
        installation: u64,
        app: u64,
        /// The login of the App's bot.
        bot: String,
        permissions: Permissions,
        repositories: BTreeSet<u64>,
    },
}

impl Actor {
    /// Returns the login that effects are written down under.
    pub(crate) fn login(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::App(_) => "app",
            Self::User(login) | Self::Installation { bot: login, .. } => login,
        }
    }

    /// Returns the App behind it.
    pub(crate) const fn app(&self) -> Option<u64> {
        match self {
            Self::Anonymous | Self::User(_) => None,
            Self::App(app) | Self::Installation { app, .. } => Some(*app),
        }
    }

    /// Returns the JWT's App, or refuses anything else.
    pub(crate) fn as_app(&self) -> Result<u64, ForgeError> {
        match self {
            Self::App(app) => Ok(*app),
            _ => Err(ForgeError::Unauthorized(
                "A JSON web token could not be decoded".into(),
            )),
        }
    }
}

/// What a request needs: one of these permissions at this level.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    any: &'static [&'static str],
    level: Level,
}

impl Need {
    pub(crate) const fn read(any: &'static [&'static str]) -> Self {
        Self {
            any,
            level: Level::Read,
        }
    }

    pub(crate) const fn write(any: &'static [&'static str]) -> Self {
        Self {
            any,
            level: Level::Write,
        }
    }

    pub(crate) const METADATA: Self = Self::read(&["metadata"]);
    pub(crate) const READ_CONTENTS: Self = Self::read(&["contents"]);
    pub(crate) const WRITE_CONTENTS: Self = Self::write(&["contents"]);
    pub(crate) const READ_PULLS: Self = Self::read(&["pull_requests"]);
    pub(crate) const WRITE_PULLS: Self = Self::write(&["pull_requests"]);
    /// Conversation is open to whoever may work on issues or on pull requests.
    pub(crate) const READ_ISSUES: Self = Self::read(&["issues", "pull_requests"]);
    pub(crate) const WRITE_ISSUES: Self = Self::write(&["issues", "pull_requests"]);
    pub(crate) const READ_STATUSES: Self = Self::read(&["statuses"]);
    pub(crate) const WRITE_STATUSES: Self = Self::write(&["statuses"]);
    pub(crate) const READ_CHECKS: Self = Self::read(&["checks"]);
    pub(crate) const WRITE_CHECKS: Self = Self::write(&["checks"]);
    pub(crate) const READ_HOOKS: Self = Self::read(&["repository_hooks"]);
    pub(crate) const WRITE_HOOKS: Self = Self::write(&["repository_hooks"]);
    pub(crate) const READ_ADMINISTRATION: Self = Self::read(&["administration"]);
}

/// Refuses what the one who asks may not do. A repository that may not be seen is not found.
pub(crate) fn authorize(actor: &Actor, repository: &Repository, need: Need) -> Result<(), ForgeError> {
    match actor {
        Actor::Anonymous => Err(ForgeError::not_found()),
        Actor::App(_) => Err(ForgeError::Forbidden(
            "Resource not accessible by integration".into(),
        )),
        Actor::User(login) => match (repository.access_of(login), need.level) {
            (Access::None, _) => Err(ForgeError::not_found()),
            (Access::Read, Level::Write | Level::Admin) => Err(ForgeError::Forbidden(
                "Must have write access to the repository.".into(),
            )),
            _ => Ok(()),
        },
        Actor::Installation {
            permissions,
            repositories,
            ..
        } => {
            if !repositories.contains(&repository.id) {
                return Err(ForgeError::not_found());
            }
            let granted = need.any.iter().any(|name| {
                permissions.get(*name).is_some_and(|level| *level >= need.level)
                    || (*name == "metadata" && need.level == Level::Read)
            });
            if granted {
                Ok(())
            } else {
                Err(ForgeError::Forbidden(
                    "Resource not accessible by integration".into(),
                ))
            }
        }
    }
}

fn bad_credentials() -> ForgeError {
    ForgeError::Unauthorized("Bad credentials".into())
}

/// Finds out who asks from the `Authorization` header. No header is anonymous; a wrong one is refused.
pub(crate) fn authenticate(state: &State, headers: &HeaderMap) -> Result<Actor, ForgeError> {
    let Some(value) = headers.get(http::header::AUTHORIZATION) else {
        return Ok(Actor::Anonymous);
    };
    let value = value.to_str().map_err(|_not_text| bad_credentials())?;
    let (scheme, secret) = value.split_once(' ').ok_or_else(bad_credentials)?;
    let secret = secret.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" if secret.matches('.').count() == 2 => jwt_app(state, secret).map(Actor::App),
        "bearer" | "token" => token_actor(state, secret),
        "basic" => {
            let decoded = STANDARD.decode(secret).map_err(|_not_base64| bad_credentials())?;
            let decoded = String::from_utf8(decoded).map_err(|_not_text| bad_credentials())?;
            let (user, password) = decoded.split_once(':').ok_or_else(bad_credentials)?;
            // Git sends the token as the password; a token as the user name is accepted, too.
            let token = if password.is_empty() || password == "x-oauth-basic" {
                user
            } else {
                password
            };
            token_actor(state, token)
        }
        _ => Err(bad_credentials()),
    }
}

fn token_actor(state: &State, token: &str) -> Result<Actor, ForgeError> {
    match state.tokens.get(token).ok_or_else(bad_credentials)? {
        TokenOwner::User(login) => Ok(Actor::User(login.clone())),
        TokenOwner::Installation {
            installation,
            expires_at,
            permissions,
            repositories,
        } => {
            let found = state
                .installations
                .get(installation)
                .ok_or_else(bad_credentials)?;
            if *expires_at <= Timestamp::now() {
                return Err(bad_credentials());
            }
            if found.suspended_at.is_some() {
                return Err(ForgeError::Forbidden(
                    "This installation has been suspended".into(),
                ));
            }
            let app = state.apps.get(&found.app).ok_or_else(bad_credentials)?;
            let repositories = match repositories {
                // A repository that left the installation leaves its tokens, too.
                Some(narrowed) => narrowed.intersection(&found.repositories).copied().collect(),
                None => found.repositories.clone(),
            };
            Ok(Actor::Installation {
                installation: found.id,
                app: found.app,
                bot: app.bot(),
                permissions: permissions.clone(),
                repositories,
            })
        }
    }
}

/// GitHub refuses a JWT that lives longer than this.
const LONGEST_JWT_SECONDS: i64 = 600;
/// A clock may be this far ahead of the forge's.
const JWT_SKEW_SECONDS: i64 = 5;

/// Verifies an App's JWT and gives the App's id.
///
/// The rules are those of GitHub's "Generating a JSON Web Token (JWT) for a GitHub App".
fn jwt_app(state: &State, jwt: &str) -> Result<u64, ForgeError> {
    let refuse = |message: &str| ForgeError::Unauthorized(message.to_owned());
    let undecodable = || refuse("A JSON web token could not be decoded");
    let (signed, signature) = jwt.rsplit_once('.').ok_or_else(undecodable)?;
    let (header, claims) = signed.split_once('.').ok_or_else(undecodable)?;
    let decode = |part: &str| -> Result<Vec<u8>, ForgeError> {
        URL_SAFE_NO_PAD.decode(part).map_err(|_not_base64| undecodable())
    };
    let json = |bytes: Vec<u8>| -> Result<serde_json::Value, ForgeError> {
        serde_json::from_slice(&bytes).map_err(|_not_json| undecodable())
    };
    let header = json(decode(header)?)?;
    if header.get("alg").and_then(serde_json::Value::as_str) != Some("RS256") {
        return Err(undecodable());
    }
    let claims = json(decode(claims)?)?;
    let app = match claims.get("iss") {
        Some(serde_json::Value::Number(id)) => id.as_u64().and_then(|id| state.apps.get(&id)),
        Some(serde_json::Value::String(text)) => match text.parse::<u64>() {
            Ok(id) => state.apps.get(&id),
            Err(_client_id) => state.apps.values().find(|app| app.client_id == *text),
        },
        _ => return Err(refuse("'Issuer' claim ('iss') must be an Integer")),
    }
    .ok_or_else(|| ForgeError::NotFound("Integration not found".into()))?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &app.key.public_pkcs1)
        .verify(signed.as_bytes(), &decode(signature)?)
        .map_err(|_wrong| undecodable())?;
    let now = Timestamp::now().unix();
    let claim = |name: &str| claims.get(name).and_then(serde_json::Value::as_i64);
    let issued = claim("iat").ok_or_else(|| {
        refuse("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
    })?;
    let expires = claim("exp").ok_or_else(|| {
        refuse("'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
    })?;
    if issued > now + JWT_SKEW_SECONDS {
        return Err(refuse("'Issued at' claim ('iat') must not be in the future"));
    }
    if expires <= now {
        return Err(refuse(
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
        ));
    }
    if expires > now + LONGEST_JWT_SECONDS + JWT_SKEW_SECONDS {
        return Err(refuse("'Expiration time' claim ('exp') is too far in the future"));
    }
    Ok(app.id)
}
