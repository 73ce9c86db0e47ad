//! Who is there: the live processes of each role, by their heartbeats.
//!
//! Guarantees, as long as Redis can be reached: whoever joins is seen by the others within a heartbeat, and at once if hints
//! arrive; so is whoever leaves; whoever dies is gone after the expiry. Nothing here is needed for what is right: two members may
//! see different memberships for a while.
//!
//! When Redis is away the last known membership stays. When it is back, or has lost its memory, nobody is counted out before the
//! expiry has passed: others may not have come to their heartbeat yet. Moments are Redis' own; a jump of its clock is noticed and
//! followed (`clock.lua`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::Gauge;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::hints::Hints;
use super::keys::Keys;
use super::link::{Link, Session, Standing};
use super::lock::millis;
use super::metrics;
use super::options::RedisOptions;
use super::scripts::Scripts;
use super::tasks::Tasks;
use super::trouble::Trouble;
use crate::{BackendError, MemberId, Membership, Role};

/// Hints that come shortly after one another are one.
const GATHER: Duration = Duration::from_millis(10);

/// Why the members can't be told.
#[derive(Debug, thiserror::Error)]
#[error("the members of the fleet can't be asked for: Redis can't be used")]
pub struct MembersError(#[source] BackendError);

/// Membership, kept in Redis. Clones are the same.
#[derive(Clone)]
pub struct Members {
    pub(super) inner: Arc<Inner>,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("redis", &self.inner.options.uri)
            .finish_non_exhaustive()
    }
}

/// What everything about members shares.
pub(super) struct Inner {
    pub(super) options: RedisOptions,
    pub(super) link: Link,
    pub(super) keys: Keys,
    pub(super) scripts: Arc<Scripts>,
    pub(super) hints: Arc<Hints>,
    /// They run for as long as anybody may need them.
    pub(super) _tasks: Arc<Tasks>,
}

impl Members {
    /// Joins a role. From then on this process is one of its members, until it leaves or is not heard of for the expiry.
    ///
    /// It needs a tokio runtime.
    #[must_use]
    pub fn join(&self, role: Role, me: MemberId) -> Member {
        let (sender, membership) = watch::channel(Membership::Unknown);
        let heart = Heart {
            inner: Arc::clone(&self.inner),
            role,
            me: me.clone(),
            membership: sender,
            count: metrics::members(),
        };
        Member {
            inner: Arc::clone(&self.inner),
            role,
            me,
            membership,
            heart: tokio::spawn(heart.beat()).abort_handle(),
        }
    }

    /// The live members of a role, as Redis knows them now. For those who are none themselves.
    ///
    /// # Errors
    /// When Redis can't be asked.
    pub async fn list(&self, role: Role) -> Result<BTreeSet<MemberId>, MembersError> {
        let failed = |trouble: Trouble| MembersError(BackendError::new(trouble));
        let session = match self.inner.link.standing().await {
            Standing::Up(session) => session,
            Standing::Down(trouble) => return Err(failed(trouble)),
            Standing::Closed => return Err(failed(Trouble::Away)),
        };
        let expiry = millis(self.inner.options.member_expiry).to_string();
        let key = self.inner.keys.members(role);
        let roll = session.run(&self.inner.scripts.roll, [key], [expiry]);
        Ok(named(roll.await.map_err(failed)?))
    }
}

/// A membership. Dropping it stops its heartbeats, so that it expires.
pub struct Member {
    inner: Arc<Inner>,
    role: Role,
    me: MemberId,
    membership: watch::Receiver<Membership>,
    heart: AbortHandle,
}

impl Member {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &MemberId {
        &self.me
    }

    /// The live members of its role, as they come and go.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Membership> {
        self.membership.clone()
    }

    /// Leaves, so that others take over at once.
    ///
    /// # Errors
    /// When Redis can't be told: the membership then expires by itself.
    pub async fn leave(self) -> Result<(), MembersError> {
        // No heartbeat may come after the goodbye.
        self.heart.abort();
        let failed = |trouble: Trouble| MembersError(BackendError::new(trouble));
        let session = match self.inner.link.standing().await {
            Standing::Up(session) => session,
            Standing::Down(trouble) => return Err(failed(trouble)),
            Standing::Closed => return Err(failed(Trouble::Away)),
        };
        let keys = &self.inner.keys;
        let key = keys.members(self.role);
        let arguments = [self.me.to_string(), keys.members_changed(), self.role.to_string()];
        let was: i64 = session
            .run(&self.inner.scripts.depart, [key], arguments)
            .await
            .map_err(failed)?;
        tracing::debug!(role = %self.role, member = %self.me, known = was == 1, "left");
        Ok(())
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("role", &self.role)
            .field("me", &self.me)
            .field("membership", &*self.membership.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

/// Says from time to time that a member lives, and hears who else does.
struct Heart {
    inner: Arc<Inner>,
    role: Role,
    me: MemberId,
    membership: watch::Sender<Membership>,
    count: Gauge<u64>,
}

impl Heart {
    async fn beat(self) {
        let options = &self.inner.options;
        let mut hints = self.inner.hints.members();
        let mut last: Option<(Session, Instant)> = None;
        // Until then nobody is counted out.
        let mut patient_until = None;
        while let Some(session) = self.inner.link.up().await {
            hints.mark_unchanged();
            let now = Instant::now();
            let same = last.as_ref().filter(|(before, _)| before.is(&session));
            let since = same.map(|(_, at)| now - *at);
            let Ok((was_known, live)) = self.tell(&session, since).await else {
                // The session is over.
                continue;
            };
            if last.is_some() && (since.is_none() || !was_known) {
                patient_until = Some(now + options.member_expiry);
            }
            last = Some((session.clone(), now));
            if patient_until.is_some_and(|until| until <= now) {
                patient_until = None;
            }
            self.publish(live, patient_until.is_some());
            tokio::select! {
                () = tokio::time::sleep_until((now + options.heartbeat).into()) => {}
                _ = hints.changed() => tokio::time::sleep(GATHER).await,
                _ = session.gone() => {}
            }
        }
    }

    /// A heartbeat: whether Redis knew of this member, and who lives.
    async fn tell(&self, session: &Session, since: Option<Duration>) -> Result<(bool, Vec<String>), Trouble> {
        let Inner {
            options,
            keys,
            scripts,
            ..
        } = &*self.inner;
        let expiry = options.member_expiry;
        let arguments = [
            self.me.to_string(),
            since.map_or_else(|| "-1".to_owned(), |since| millis(since).to_string()),
            millis(expiry).to_string(),
            // More than what a slow answer can explain.
            millis((expiry / 2).max(options.command_timeout * 2)).to_string(),
            keys.members_changed(),
            self.role.to_string(),
        ];
        session
            .run(&scripts.beat, [keys.members(self.role)], arguments)
            .await
    }

    fn publish(&self, live: Vec<String>, patient: bool) {
        self.membership.send_if_modified(|membership| {
            let known = membership.members();
            let members = merged(known, named(live), &self.me, patient);
            if known == Some(&members) {
                return false;
            }
            tracing::info!(role = %self.role, members = members.len(), "the {} members have changed", self.role);
            *membership = Membership::Known(Arc::new(members));
            true
        });
        if self.role == Role::Executor {
            let members = self.membership.borrow();
            let count = members.members().map_or(0, BTreeSet::len);
            self.count.record(u64::try_from(count).unwrap_or(u64::MAX), &[]);
        }
    }
}

/// The names among what Redis has.
fn named(names: Vec<String>) -> BTreeSet<MemberId> {
    names
        .into_iter()
        .filter_map(|name| MemberId::parse(name).ok())
        .collect()
}

/// The members to believe in: those alive and oneself, and when there is reason for patience also those known before.
fn merged(
    known: Option<&BTreeSet<MemberId>>,
    mut live: BTreeSet<MemberId>,
    me: &MemberId,
    patient: bool,
) -> BTreeSet<MemberId> {
    live.insert(me.clone());
    if let (Some(known), true) = (known, patient) {
        live.extend(known.iter().cloned());
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &str) -> BTreeSet<MemberId> {
        names
            .split_whitespace()
            .map(|name| MemberId::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn who_went_silent_is_gone_unless_there_is_reason_for_patience() {
        let me = MemberId::parse("b").unwrap();
        let cases = [
            ("", "b", false, "b"),
            ("a b c", "c b", false, "b c"),
            ("a b c", "b", true, "a b c"),
            ("a b", "c d b", true, "a b c d"),
            // One's own heartbeat may have been taken away in the meantime.
            ("a b", "a", false, "a b"),
        ];
        for (known, live, patient, expected) in cases {
            assert_eq!(
                merged(Some(&ids(known)), ids(live), &me, patient),
                ids(expected),
                "{known} | {live}"
            );
        }
    }

    #[test]
    fn what_is_no_name_is_nobody() {
        let names = ["b", "not a name", "a", ""].map(str::to_owned).to_vec();
        assert_eq!(named(names), ids("a b"));
    }
}
