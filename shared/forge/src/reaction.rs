//! Reactions: the shortest answer to a comment.

use http::StatusCode;
use lockflight_promotion::Login;
use serde::{Deserialize, Serialize};

use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::page;
use crate::pull::{Account, account};
use crate::route::{CREATE_REACTION, REACTIONS};

/// A reaction to a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Who reacted; `ghost` if the account is gone.
    pub author: Login,
    /// How.
    pub kind: ReactionKind,
}

/// How one reacts: <https://docs.github.com/en/rest/reactions/reactions#about-reactions>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReactionKind {
    /// It was seen.
    Eyes,
    /// It was done.
    Rocket,
    /// It was not done.
    Confused,
    /// Any that we never give.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Wire {
    user: Option<Account>,
    content: ReactionKind,
}

impl<'de> Deserialize<'de> for Reaction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            author: account(wire.user)?.0,
            kind: wire.content,
        })
    }
}

#[derive(Serialize)]
struct React {
    content: ReactionKind,
}

impl RepoClient {
    /// Reads all reactions to a comment, oldest first; none if somebody has deleted it.
    ///
    /// # Errors
    /// When they cannot all be read.
    pub async fn reactions(&self, comment: u64) -> Result<Vec<Reaction>, ForgeError> {
        let path = self.path(&format!("/issues/comments/{comment}/reactions?per_page=100"));
        match page::all(&self.session, &REACTIONS, &path).await {
            Err(ForgeError::NotFound { .. }) => Ok(Vec::new()),
            read => read,
        }
    }

    /// Reacts to a comment. Reacting alike again changes nothing, nor does a reaction to a comment that was deleted.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn react(&self, comment: u64, kind: ReactionKind) -> Result<(), ForgeError> {
        let path = self.path(&format!("/issues/comments/{comment}/reactions"));
        let answer = self
            .write(&CREATE_REACTION, &path, &React { content: kind })
            .await?;
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(());
        }
        answer.success().map(drop)
    }
}
