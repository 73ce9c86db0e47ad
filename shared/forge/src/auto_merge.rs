//! Asking GitHub to merge a pull request by itself, once everything that is required is there.
//!
//! Only GraphQL can do this
//! (<https://docs.github.com/en/graphql/reference/mutations#enablepullrequestautomerge>).

use lockflight_promotion::CommitOid;
use serde::{Deserialize, Serialize};

use crate::answer::shorten;
use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::pull::PullRequest;
use crate::route::GRAPHQL;

const ENABLE: &str = "mutation($id: ID!, $method: PullRequestMergeMethod!, $head: GitObjectID!) \
                      { enablePullRequestAutoMerge(input: \
                      {pullRequestId: $id, mergeMethod: $method, expectedHeadOid: $head}) \
                      { clientMutationId } }";

/// What came of asking for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum AutoMerge {
    /// GitHub will merge it.
    Enabled,
    /// GitHub will not: why, in its own words.
    Refused(String),
}

#[derive(Serialize)]
struct Query<'a> {
    query: &'static str,
    variables: Variables<'a>,
}

#[derive(Serialize)]
struct Variables<'a> {
    id: &'a str,
    method: &'static str,
    head: &'a CommitOid,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    message: String,
}

impl RepoClient {
    /// Asks GitHub to merge a pull request as soon as its checks and reviews allow, by the first of merge, squash and rebase
    /// that the repository allows. GitHub refuses if the branch is not at `head`.
    ///
    /// # Errors
    /// When GitHub cannot be asked, or [`ForgeError::Unknown`]: asking again does no harm.
    pub async fn enable_auto_merge(
        &self,
        pull: &PullRequest,
        head: &CommitOid,
    ) -> Result<AutoMerge, ForgeError> {
        let mut refused = String::new();
        let path = self.session.wire.addresses.graphql.clone();
        self.prove().await?;
        for method in ["MERGE", "SQUASH", "REBASE"] {
            let query = Query {
                query: ENABLE,
                variables: Variables {
                    id: &pull.node_id,
                    method,
                    head,
                },
            };
            let answer = self.session.write_at(&GRAPHQL, &path, &query).await?;
            let call = answer.call.clone();
            let outcome: Outcome = answer.json()?;
            let Some(problem) = outcome.errors.into_iter().next() else {
                return Ok(AutoMerge::Enabled);
            };
            // GraphQL's limit comes with a 200, and without a wait.
            if problem.kind.as_deref() == Some("RATE_LIMITED") {
                return Err(ForgeError::RateLimited {
                    call,
                    wait: std::time::Duration::from_secs(60),
                });
            }
            refused = shorten(&problem.message);
            let words = refused.to_ascii_lowercase();
            let is_about_the_method = words.contains("merge method") || words.contains("not allowed on this");
            if !is_about_the_method || words.contains("auto merge") {
                break;
            }
        }
        Ok(AutoMerge::Refused(refused))
    }
}
