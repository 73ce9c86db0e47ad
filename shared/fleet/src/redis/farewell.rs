//! Goodbyes: what is given back to Redis by those who don't wait for it.

use std::time::{Duration, Instant};

use lockflight_promotion::RepoId;
use tokio::sync::{mpsc, oneshot};

use super::keys::Keys;
use super::link::{Link, Session};
use super::scripts::Scripts;
use super::trouble::Trouble;

/// What is to be said.
#[derive(Debug)]
pub(super) enum Farewell {
    /// Gives up a ticket's lock, or its place in the line. After `until` Redis knows by itself.
    Leave {
        repo: RepoId,
        ticket: String,
        until: Instant,
    },
    /// Answers once everything before it was said.
    Flush(oneshot::Sender<()>),
}

/// Says goodbyes in the order in which they came. While Redis is away they wait, as long as they are of use.
pub(super) async fn say(
    link: Link,
    keys: Keys,
    scripts: std::sync::Arc<Scripts>,
    mut farewells: mpsc::UnboundedReceiver<Farewell>,
) {
    while let Some(farewell) = farewells.recv().await {
        match farewell {
            Farewell::Leave { repo, ticket, until } => {
                let said = leave_somehow(&link, &keys, &scripts, repo, &ticket);
                // It runs out by itself, so there is nobody to tell.
                drop(tokio::time::timeout_at(until.into(), said).await);
            }
            Farewell::Flush(done) => {
                // Whoever asked may have gone.
                done.send(()).ok();
            }
        }
    }
}

/// Gives up a ticket's lock, or its place in the line.
pub(super) async fn leave(
    session: &Session,
    keys: &Keys,
    scripts: &Scripts,
    repo: RepoId,
    ticket: &str,
) -> Result<(), Trouble> {
    let names = [keys.lock(repo), keys.line(repo), keys.seen(repo)];
    let arguments = [ticket.to_owned(), keys.wakes()];
    let freed: i64 = session.run(&scripts.leave, names, arguments).await?;
    tracing::trace!(%repo, freed = freed == 1, "a ticket was given up");
    Ok(())
}

async fn leave_somehow(link: &Link, keys: &Keys, scripts: &Scripts, repo: RepoId, ticket: &str) {
    while let Some(session) = link.up().await {
        match leave(&session, keys, scripts, repo, ticket).await {
            Ok(()) => return,
            // The session is over: the next one has to do it. It does no harm if it was done already.
            Err(trouble) => tracing::debug!(%repo, error = %trouble, "a lock could not be given back yet"),
        }
        // A Redis that can be dialled and refuses just this must not be asked without a pause.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
