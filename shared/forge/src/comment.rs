//! Comments in the conversation of a pull request.

use http::StatusCode;
use lockflight_promotion::{Login, PrNumber};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, shorten};
use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::pull::{Account, AccountType, account};
use crate::route::{COMMENT, COMMENTS, CREATE_COMMENT, GRAPHQL, UPDATE_COMMENT};
use crate::{page, time};

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The numeric id.
    pub id: u64,
    /// GitHub's id for GraphQL.
    pub node_id: String,
    /// Who wrote it; `ghost` if the account is gone.
    pub author: Login,
    /// The numeric id of that account; none if it is gone.
    pub author_id: Option<u64>,
    /// What kind of account that is.
    pub author_type: AccountType,
    /// The text; at most 65,536 characters.
    pub body: String,
    /// Its page.
    pub html_url: String,
    /// The number of the pull request, or issue, that it is on; none if GitHub does not say.
    pub number: Option<PrNumber>,
    /// When it was written, in seconds since 1970 UTC.
    pub created_at: i64,
}

#[derive(Deserialize)]
struct Wire {
    id: u64,
    node_id: String,
    user: Option<Account>,
    #[serde(default)]
    body: Option<String>,
    html_url: String,
    #[serde(default)]
    issue_url: String,
    #[serde(deserialize_with = "time::iso")]
    created_at: i64,
}

impl<'de> Deserialize<'de> for Comment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let author_id = wire.user.as_ref().and_then(|user| user.id);
        let (author, author_type) = account(wire.user)?;
        Ok(Self {
            id: wire.id,
            node_id: wire.node_id,
            author,
            author_id,
            author_type,
            body: wire.body.unwrap_or_default(),
            html_url: wire.html_url,
            number: number_in(&wire.issue_url),
            created_at: wire.created_at,
        })
    }
}

/// The number at the end of an issue's address.
fn number_in(address: &str) -> Option<PrNumber> {
    let (_, number) = address.rsplit_once('/')?;
    number.parse().ok().map(PrNumber::new)
}

#[derive(Serialize)]
struct Body<'a> {
    body: &'a str,
}

const MINIMIZE: &str = "mutation($id: ID!) { minimizeComment(input: {subjectId: $id, classifier: OUTDATED}) \
                        { minimizedComment { isMinimized } } }";

#[derive(Serialize)]
struct Query<'a> {
    query: &'static str,
    variables: Variables<'a>,
}

#[derive(Serialize)]
struct Variables<'a> {
    id: &'a str,
}

/// What GraphQL answers; the data itself is of no interest.
#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    errors: Vec<GraphqlError>,
}

#[derive(Deserialize)]
struct GraphqlError {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    message: String,
}

impl RepoClient {
    /// Reads all comments of a pull request, oldest first.
    ///
    /// # Errors
    /// When they cannot all be read.
    pub async fn comments(&self, number: PrNumber) -> Result<Vec<Comment>, ForgeError> {
        let path = self.path(&format!("/issues/{number}/comments?per_page=100"));
        page::all(&self.session, &COMMENTS, &path).await
    }

    /// Reads one comment that an event told of; none if somebody has deleted it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn comment(&self, id: u64) -> Result<Option<Comment>, ForgeError> {
        let path = self.path(&format!("/issues/comments/{id}"));
        match self
            .session
            .read_new(&COMMENT, &path)
            .await
            .and_then(Answer::json)
        {
            Err(ForgeError::NotFound { .. }) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Writes a comment of at most 65,536 characters.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`]: then look for it before writing it again.
    pub async fn create_comment(&self, number: PrNumber, body: &str) -> Result<Comment, ForgeError> {
        let path = self.path(&format!("/issues/{number}/comments"));
        self.write(&CREATE_COMMENT, &path, &Body { body }).await?.json()
    }

    /// Writes a comment anew; none if somebody has deleted it.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn update_comment(&self, id: u64, body: &str) -> Result<Option<Comment>, ForgeError> {
        let path = self.path(&format!("/issues/comments/{id}"));
        let answer = self.write(&UPDATE_COMMENT, &path, &Body { body }).await?;
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        answer.json().map(Some)
    }

    /// Folds a comment away as outdated. Folding it again changes nothing.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn minimize_comment(&self, node_id: &str) -> Result<(), ForgeError> {
        let query = Query {
            query: MINIMIZE,
            variables: Variables { id: node_id },
        };
        let path = self.session.wire.addresses.graphql.clone();
        self.prove().await?;
        let answer = self.session.write_at(&GRAPHQL, &path, &query).await?;
        let call = answer.call.clone();
        let outcome: Outcome = answer.json()?;
        match outcome.errors.first() {
            None => Ok(()),
            // GraphQL's limit comes with a 200, and without a wait.
            Some(error) if error.kind.as_deref() == Some("RATE_LIMITED") => Err(ForgeError::RateLimited {
                call,
                wait: std::time::Duration::from_secs(60),
            }),
            Some(error) => Err(ForgeError::Graphql {
                call,
                message: shorten(&error.message),
            }),
        }
    }
}
