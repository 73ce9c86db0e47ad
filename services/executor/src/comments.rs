//! Comments that stand once: written anew, or brought up to date, under the lock of the repository.

use lockflight_fleet::worker::Failure;
use lockflight_fleet::{LockGuard as _, RepoLock, failpoint};
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::{ErrorClass, Login, PrNumber};

use crate::Executor;

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// Writes a comment, unless it stands there: which of ours it is, if it is there already, and what it says is told by `wanted`.
    ///
    /// Nothing but the lock keeps another worker from writing it as well between our look and our writing.
    pub(crate) async fn comment_once(
        &self,
        client: &F::Repository,
        number: PrNumber,
        wanted: impl Fn(&[&str]) -> (Option<usize>, String) + Send,
    ) -> Result<(), Failure> {
        let us = self.forge.identity().await?.login;
        let guard = self.lock.acquire(client.id()).await?;
        let written = self
            .comment_once_locked(client, &guard, &us, number, wanted)
            .await;
        crate::release(guard).await;
        written
    }

    /// The same where the lock is held.
    pub(crate) async fn comment_once_locked(
        &self,
        client: &F::Repository,
        guard: &L::Guard,
        us: &Login,
        number: PrNumber,
        wanted: impl Fn(&[&str]) -> (Option<usize>, String) + Send,
    ) -> Result<(), Failure> {
        let mut ours = client.comments(number).await?;
        ours.retain(|comment| comment.author == *us);
        let bodies: Vec<&str> = ours.iter().map(|comment| comment.body.as_str()).collect();
        let (place, body) = wanted(&bodies);
        let found = place.and_then(|place| ours.get(place));
        if found.is_some_and(|comment| comment.body == body) {
            return Ok(());
        }
        failpoint::reached("executor.commenting");
        // What was looked at under a lock that is gone may have changed.
        guard
            .lease()
            .check(client.id(), self.clock.instant())
            .map_err(|error| Failure::of(ErrorClass::Retry, &error))?;
        match found {
            Some(comment) => {
                if client.update_comment(comment.id, &body).await?.is_none() {
                    let reason = "our comment was deleted while it was being updated";
                    return Err(Failure::new(ErrorClass::Retry, reason));
                }
            }
            None => {
                client.create_comment(number, &body).await?;
            }
        }
        failpoint::reached("executor.commented");
        Ok(())
    }
}
