//! That a name belongs to the repository that is meant.
//!
//! A personal token reaches whatever has a name now: when a repository was renamed and another took its name, a write by name
//! would go to the other. So before the first write somebody must have seen the repository's id behind the name. Each pull
//! request that is read proves it; only where none was, GitHub is asked, once per name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lockflight_promotion::{RepoId, RepoName};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::client::RepoClient;
use crate::error::ForgeError;
use crate::route::{REPO, Route};
use crate::session::Credential;
use crate::wire::lock;

/// Which repository each name belongs to, as GitHub told it last.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    proven: Mutex<HashMap<RepoName, RepoId>>,
    /// Held while GitHub is asked about a name: ten at once ask once.
    asking: Mutex<HashMap<RepoName, Arc<tokio::sync::Mutex<()>>>>,
}

impl Proofs {
    /// Takes note of what GitHub told. A repository has one name, and a name one repository.
    pub(crate) fn note(&self, name: &RepoName, found: RepoId) {
        let mut proven = lock(&self.proven);
        if proven.get(name) != Some(&found) {
            proven.retain(|_, id| *id != found);
            proven.insert(name.clone(), found);
        }
    }

    fn has(&self, name: &RepoName, id: RepoId) -> bool {
        lock(&self.proven).get(name) == Some(&id)
    }

    fn turn(&self, name: &RepoName) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(lock(&self.asking).entry(name.clone()).or_default())
    }
}

#[derive(Deserialize)]
struct Found {
    id: RepoId,
}

impl RepoClient {
    /// Checks that `found`, which GitHub showed behind this repository's name, is the one that is meant.
    pub(crate) fn expect(&self, found: RepoId) -> Result<(), ForgeError> {
        self.proofs.note(self.name(), found);
        if found == self.id() {
            Ok(())
        } else {
            Err(ForgeError::OtherRepository {
                name: self.name().clone(),
                expected: self.id(),
                found,
            })
        }
    }

    /// Sees that the name belongs to the repository that is meant. An App's token reaches no other in any case.
    pub(crate) async fn prove(&self) -> Result<(), ForgeError> {
        let is_proven = || self.proofs.has(self.name(), self.id());
        if !matches!(self.session.credential, Credential::Token { .. }) || is_proven() {
            return Ok(());
        }
        let turn = self.proofs.turn(self.name());
        let _turn = turn.lock().await;
        if is_proven() {
            return Ok(());
        }
        let found: Found = self.session.read(&REPO, &self.path("")).await?.json()?;
        self.expect(found.id)
    }

    /// Sends a write, once, to the repository that is meant.
    pub(crate) async fn write<B: Serialize + Sync>(
        &self,
        route: &Route,
        path: &str,
        body: &B,
    ) -> Result<Answer, ForgeError> {
        self.prove().await?;
        self.session.write(route, path, body).await
    }
}
