//! Moving branches of the remote, each under a compare-and-swap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use git2::Oid;
use lockflight_promotion::{BranchName, CommitOid, ErrorClass, Lease, LeaseExpired};

use crate::mirror::Mirror;
use crate::objects::Objects;
use crate::partial::Way;
use crate::push_report::{Report, Verdict, reason, verdict};
use crate::read::{Found, KIND, ReadError, SUBMODULE, oid};
use crate::transport_error::TransportError;

/// So many commits of one line are looked through for what a server may lack.
const MOST_COMMITS: usize = 256;

/// One branch to move, and where it has to be for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// The branch.
    pub branch: BranchName,
    /// Where the branch has to be; `None`: it must not exist.
    pub expected: Option<CommitOid>,
    /// Where it shall be; `None`: it shall be gone.
    pub new: Option<CommitOid>,
}

/// What became of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum PushOutcome {
    /// It was where it was expected and is now where it shall be.
    Pushed,
    /// It was where it shall be already, whatever was expected.
    AlreadyThere,
    /// It was not where it was expected, and was left as it is.
    Moved {
        /// Where it is; `None`: it does not exist.
        actual: Option<CommitOid>,
    },
    /// The server's rules do not allow it.
    Refused {
        /// What the server said.
        reason: String,
    },
}

/// A push of which it is not known what became. Doing it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The lock of the repository is not held. Nothing was pushed.
    #[error("nothing was pushed, because the repository's lock is not held")]
    Lease(#[from] LeaseExpired),
    /// Two updates name one branch. Nothing was pushed.
    #[error("branch {0} is named twice in one push")]
    NamedTwice(BranchName),
    /// A commit to push is not here. Nothing was pushed.
    #[error("a commit that was to be pushed cannot be read")]
    Read(#[from] ReadError),
    /// The remote could not be talked to.
    #[error("the push failed; whether the server took it is not known")]
    Transport(#[from] TransportError),
    /// The server did not take an update although the branch was where it was expected: another push was under way, or its disk failed.
    #[error("the server did not move branch {branch}, though it is where it was expected: {reason}")]
    NotTaken {
        /// The branch.
        branch: BranchName,
        /// What was said.
        reason: String,
    },
}

impl PushError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Lease(LeaseExpired::Late { .. }) | Self::NotTaken { .. } => ErrorClass::Retry,
            Self::Lease(LeaseExpired::OtherRepository { .. }) | Self::NamedTwice(_) => ErrorClass::Bug,
            Self::Read(error) => error.class(),
            Self::Transport(error) => error.class(),
        }
    }
}

impl Mirror {
    /// Moves branches of the remote, each only from where it is expected. The outcomes are in the order of `updates`.
    ///
    /// It is one push, which the server carries out as a whole or not at all. Where one of the branches can't be moved, the others
    /// are pushed again without it, so that each has an outcome of its own.
    ///
    /// Killing or dropping this may leave a push under way at the server, so "it was not there when I looked" proves nothing; the
    /// next compare-and-swap does.
    ///
    /// # Errors
    /// When the lease is not of this repository or over, a commit is not here, or the server cannot be reached. Some of the branches
    /// may have been moved then.
    #[tracing::instrument(skip_all, fields(repo = %self.repo(), lock.fence = lease.fence().0))]
    pub async fn push(&self, lease: &Lease, updates: &[RefUpdate]) -> Result<Vec<PushOutcome>, PushError> {
        let mut seen = BTreeSet::new();
        for update in updates {
            if !seen.insert(&update.branch) {
                return Err(PushError::NamedTwice(update.branch.clone()));
            }
        }
        let commits: Vec<CommitOid> = updates.iter().filter_map(|update| update.new.clone()).collect();
        if !commits.is_empty() {
            self.read(move |objects| {
                for commit in &commits {
                    let commit = objects.asked(commit)?;
                    // A partial mirror may well push a commit of which it has nothing else.
                    if !objects.is_partial() {
                        objects.tree(commit.tree)?;
                    }
                }
                Ok::<_, ReadError>(())
            })
            .await?;
        }
        let mut outcomes = BTreeMap::new();
        let mut rounds = vec![updates.to_vec()];
        while let Some(round) = rounds.pop() {
            if round.is_empty() {
                continue;
            }
            let report = self.push_round(lease, &round).await?;
            let mut judged = Vec::new();
            let mut again = Vec::new();
            for update in round {
                match verdict(&update, &report)? {
                    Verdict::HeldUp => again.push(update),
                    verdict => judged.push((update, verdict)),
                }
            }
            let is_refused =
                |verdict: &Verdict| matches!(verdict, Verdict::Done(PushOutcome::Refused { .. }));
            if again.is_empty() && judged.len() > 1 && judged.iter().all(|(_, verdict)| is_refused(verdict)) {
                // A rule that looks at the whole push refuses all of its branches for the sake of one.
                again.extend(judged.drain(..).map(|(update, _)| update));
            }
            if judged.is_empty() {
                // Which one holds up the others is not told: look for it in either half. One alone is held up by nobody.
                if let [update] = again.as_slice() {
                    return Err(held_up(update));
                }
                let second = again.split_off(again.len() / 2);
                rounds.push(second);
            } else {
                for (branch, outcome) in self.settle(judged, &report).await? {
                    outcomes.insert(branch, outcome);
                }
            }
            rounds.push(again);
        }
        updates
            .iter()
            .map(|update| outcomes.remove(&update.branch).ok_or_else(|| held_up(update)))
            .collect()
    }

    async fn push_round(&self, lease: &Lease, updates: &[RefUpdate]) -> Result<Report, PushError> {
        let _turn = self.slot.turn.lock().await;
        let pushed = match self.way().await? {
            Way::Child => {
                let transport = &self.shared.transport;
                transport
                    .push(&self.slot.dir, &self.remote, lease, self.repo(), updates)
                    .await
            }
            Way::Wire { .. } => self.push_on_wire(lease, updates).await,
        };
        if !matches!(pushed, Err(PushError::Lease(_))) {
            self.slot.usage.pushes.fetch_add(1, Ordering::Relaxed);
        }
        pushed
    }

    /// Sends the objects that the commits were made of, or, if that is not known or not enough, all that the server may lack.
    async fn push_on_wire(&self, lease: &Lease, updates: &[RefUpdate]) -> Result<Report, PushError> {
        let mut all = false;
        loop {
            let new = self.new_objects(updates, all).await?;
            let (dir, wire) = (&self.slot.dir, &self.shared.wire);
            let pushed = wire
                .push(&self.remote, dir, lease, self.repo(), updates, &new)
                .await;
            match pushed {
                Err(PushError::Transport(TransportError::LacksObjects { detail })) if !all => {
                    tracing::info!(
                        detail,
                        "the server lacks objects of a push; all that it may lack are sent"
                    );
                    all = true;
                }
                pushed => return pushed,
            }
        }
    }

    /// What the server may lack of the commits that the branches are to have.
    async fn new_objects(&self, updates: &[RefUpdate], all: bool) -> Result<Vec<Oid>, ReadError> {
        let mut new = BTreeSet::new();
        let mut unknown = Vec::new();
        for update in updates {
            let Some(commit) = &update.new else {
                continue;
            };
            let commit = oid(commit.as_str())?;
            match self.slot.remembered(commit) {
                Some(made) if !all => new.extend(made),
                _ => unknown.push(commit),
            }
        }
        if !unknown.is_empty() {
            let most = if all { MOST_COMMITS } else { 1 };
            let found = self
                .read(move |objects| {
                    let mut found = BTreeSet::new();
                    for commit in &unknown {
                        made_of(objects, *commit, most, &mut found)?;
                    }
                    Ok::<_, ReadError>(found)
                })
                .await?;
            new.extend(found);
        }
        Ok(new.into_iter().collect())
    }

    /// Looks where the branches are that were not where they were expected.
    async fn settle(
        &self,
        judged: Vec<(RefUpdate, Verdict)>,
        report: &Report,
    ) -> Result<Vec<(BranchName, PushOutcome)>, PushError> {
        let unclear: Vec<BranchName> = judged
            .iter()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Elsewhere(_)))
            .map(|(update, _)| update.branch.clone())
            .collect();
        let heads = if unclear.is_empty() {
            BTreeMap::new()
        } else {
            self.remote_branches(&unclear).await?
        };
        judged
            .into_iter()
            .map(|(update, verdict)| {
                let outcome = match verdict {
                    Verdict::Done(outcome) => outcome,
                    Verdict::Elsewhere(summary) => {
                        let actual = heads.get(update.branch.as_str()).cloned();
                        outcome_at(&update, actual, reason(&summary, &report.server))?
                    }
                    Verdict::HeldUp => return Err(held_up(&update)),
                };
                Ok((update.branch, outcome))
            })
            .collect()
    }
}

/// A branch that stays where it is for no reason that was told.
fn held_up(update: &RefUpdate) -> PushError {
    PushError::NotTaken {
        branch: update.branch.clone(),
        reason: "it was held up by another branch of the push, and which one was not told".to_owned(),
    }
}

/// What became of a branch that the server did not move, given where it is.
fn outcome_at(
    update: &RefUpdate,
    actual: Option<CommitOid>,
    reason: String,
) -> Result<PushOutcome, PushError> {
    if actual == update.new {
        return Ok(PushOutcome::AlreadyThere);
    }
    if actual != update.expected {
        return Ok(PushOutcome::Moved { actual });
    }
    // Such as a branch `a` that leaves no room for `a/b`.
    if reason.contains("cannot create") {
        return Ok(PushOutcome::Refused { reason });
    }
    Err(PushError::NotTaken {
        branch: update.branch.clone(),
        reason,
    })
}

/// Collects what is here of a commit and its tree and was not in its first parent at the same place, and so on for `most` commits back. That
/// is too much rather than too little, and never something that is not here, which cannot have been made here.
fn made_of(
    objects: &Objects<'_>,
    commit: Oid,
    most: usize,
    found: &mut BTreeSet<Oid>,
) -> Result<(), ReadError> {
    let mut next = Some(commit);
    for _ in 0..most {
        let Some(id) = next else {
            break;
        };
        let Some(commit) = objects.find_commit(id)? else {
            break;
        };
        found.insert(id);
        next = commit.parents.first().copied();
        let before = match next {
            Some(parent) => objects.find_commit(parent)?.map(|parent| parent.tree),
            None => None,
        };
        differing(objects, commit.tree, before, found)?;
    }
    Ok(())
}

fn differing(
    objects: &Objects<'_>,
    new: Oid,
    old: Option<Oid>,
    found: &mut BTreeSet<Oid>,
) -> Result<(), ReadError> {
    if Some(new) == old || !objects.has(new) || !found.insert(new) {
        return Ok(());
    }
    let old = match old {
        Some(old) if objects.has(old) => Some(objects.tree(old)?),
        _ => None,
    };
    for entry in &objects.tree(new)? {
        let before = old
            .as_ref()
            .and_then(|old| old.get_name_bytes(entry.name_bytes()))
            .map(|entry| Found::of(&entry));
        let entry = Found::of(&entry);
        match entry.mode & KIND {
            SUBMODULE => {}
            _ if entry.is_directory() => {
                // What was a file there has nothing in it.
                let before = before.filter(Found::is_directory).map(|before| before.id);
                differing(objects, entry.id, before, found)?;
            }
            _ if before.is_none_or(|before| before.id != entry.id) && objects.has(entry.id) => {
                found.insert(entry.id);
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Edit, Upstream};

    #[test]
    fn what_was_a_file_and_is_a_directory_now_is_sent_and_no_damage() {
        let upstream = Upstream::new();
        let before = upstream.push(
            "main",
            "one",
            &[
                Edit::File("a", "1"),
                Edit::Symlink("b", "a"),
                Edit::Submodule("c", &"1".repeat(40)),
                Edit::File("d/f", "2"),
            ],
        );
        let blob = upstream.blob("3");
        let leaf = format!("100644 blob {blob}\tf\n");
        let leaf = upstream.git_with(&["mktree"], &[], leaf.as_bytes());
        let root = format!(
            "040000 tree {leaf}\ta\n040000 tree {leaf}\tb\n040000 tree {leaf}\tc\n100644 blob {blob}\td\n"
        );
        let root = upstream.git_with(&["mktree"], &[], root.as_bytes());
        let after = upstream.commit_tree(&[&before], "two", &root);
        let repo = git2::Repository::open_bare(upstream.path()).unwrap();
        let objects = Objects::complete(&repo).unwrap();
        let mut found = BTreeSet::new();
        made_of(&objects, oid(after.as_str()).unwrap(), 1, &mut found).unwrap();
        let expected = [after.as_str(), &root, &leaf, &blob].map(|id| oid(id).unwrap());
        assert_eq!(found, BTreeSet::from(expected));
    }
}
