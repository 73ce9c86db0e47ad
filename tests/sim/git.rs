//! Git in memory, behind its port: mirrors that know what they have fetched, and a remote that swaps only what it has compared.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_git::{
    BringError, Brought, ChangedPaths, ChangedPathsError, CommitError, CommitInfo, CommitSpec, Committed,
    FetchError, Fetched, InspectError, MergedPullRequest, PushError, PushOutcome, ReadError, RefUpdate,
    Remote, TransportError,
};
use lockflight_promotion::plan::{Edit, Entry, File, Listing};
use lockflight_promotion::{BranchName, CommitOid, Lease, PathInRepo, RepoId, TreeOid};

use crate::objects::replace;
use crate::process::{Fault, Hand, Kind, ProcessId};
use crate::weather::Sabotage;
use crate::world::World;

/// What the mirrors of all processes hold.
#[derive(Debug, Default)]
pub(crate) struct Held {
    all: BTreeMap<(ProcessId, RepoId), Mirrored>,
}

#[derive(Debug, Default)]
struct Mirrored {
    commits: BTreeSet<CommitOid>,
    tracking: BTreeMap<BranchName, CommitOid>,
}

#[derive(Clone, Debug)]
pub(crate) struct SimMirrors(pub(crate) Hand);

#[derive(Clone, Debug)]
pub(crate) struct SimMirror {
    hand: Hand,
    repo: RepoId,
}

impl MirrorsPort for SimMirrors {
    type Mirror = SimMirror;

    fn open(&self, repo: RepoId, _remote: Remote) -> SimMirror {
        SimMirror {
            hand: self.0.clone(),
            repo,
        }
    }
}

fn network(fault: Fault) -> TransportError {
    TransportError::Network {
        detail: format!("simulated: {fault:?}"),
    }
}

impl SimMirror {
    fn key(&self) -> (ProcessId, RepoId) {
        (self.hand.process, self.repo)
    }

    /// Reads what this machine has of a commit.
    async fn look<T>(&self, commit: &CommitOid, look: impl FnOnce(&mut World) -> T) -> Result<T, ReadError> {
        self.hand.alive().await;
        let mut world = self.hand.sim.world();
        let fails = world.weather.refuse / 8;
        let is_here = world.witness.mirrors.has(self.key(), commit);
        if !is_here || world.dice.chance(fails) {
            return Err(ReadError::NotFetched(commit.clone()));
        }
        Ok(look(&mut world))
    }

    async fn bring(&self, branch: &BranchName) -> Result<Option<CommitOid>, FetchError> {
        let (key, repo, name) = (self.key(), self.repo, branch.clone());
        self.hand
            .call(Kind::Read, &format!("fetches {branch}"), move |world| {
                let head = world.repo(repo).branches.get(&name).cloned()?;
                let history = world.objects.history(&head);
                if name == world.repo(repo).main {
                    world.witness.heads.insert(key, head.clone());
                }
                let mirrored = world.witness.mirrors.all.entry(key).or_default();
                mirrored.commits.extend(history);
                mirrored.tracking.insert(name, head.clone());
                Some(head)
            })
            .await
            .map_err(|fault| FetchError::Transport {
                branch: branch.clone(),
                source: network(fault),
            })
    }

    fn holds(&self, branch: &BranchName, need: &CommitOid) -> bool {
        let world = self.hand.sim.world();
        let Some(mirrored) = world.witness.mirrors.all.get(&self.key()) else {
            return false;
        };
        let head = mirrored.tracking.get(branch);
        head.is_some_and(|head| mirrored.commits.contains(need) && world.objects.is_descendant(head, need))
    }
}

impl Held {
    fn has(&self, key: (ProcessId, RepoId), commit: &CommitOid) -> bool {
        self.all
            .get(&key)
            .is_some_and(|mirrored| mirrored.commits.contains(commit))
    }

    /// Another process goes on with the directory of one that died.
    pub(crate) fn inherit(&mut self, old: ProcessId, new: ProcessId) {
        let of_old: Vec<RepoId> = self
            .all
            .keys()
            .filter(|(of, _)| *of == old)
            .map(|(_, repo)| *repo)
            .collect();
        for repo in of_old {
            if let Some(mirrored) = self.all.remove(&(old, repo)) {
                self.all.insert((new, repo), mirrored);
            }
        }
    }
}

const fn fetched(skipped: bool) -> Fetched {
    Fetched {
        millis: 0,
        bytes: 0,
        skipped,
    }
}

impl MirrorPort for SimMirror {
    async fn fetch(&self, branch: &BranchName, need: &CommitOid) -> Result<Fetched, FetchError> {
        self.hand.alive().await;
        if self.holds(branch, need) {
            return Ok(fetched(true));
        }
        let Some(head) = self.bring(branch).await? else {
            return Err(FetchError::NoSuchBranch(branch.clone()));
        };
        if self.holds(branch, need) {
            return Ok(fetched(false));
        }
        Err(FetchError::NotOnBranch {
            need: need.clone(),
            branch: branch.clone(),
            head,
        })
    }

    async fn fetch_branch(&self, branch: &BranchName) -> Result<Option<CommitOid>, FetchError> {
        self.bring(branch).await
    }

    async fn entries(
        &self,
        commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Entry>, ReadError> {
        self.look(commit, |world| {
            let mut entries = BTreeMap::new();
            for path in paths {
                let unread = world.weather.sabotage == Some(Sabotage::EmptyReads) && world.dice.chance(100);
                let entry = if unread {
                    Entry::Absent
                } else {
                    world.entry(commit, path)
                };
                entries.insert(path.clone(), entry);
            }
            entries
        })
        .await
    }

    async fn blob(
        &self,
        commit: &CommitOid,
        path: &PathInRepo,
        _max: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        self.look(commit, |world| {
            let file = world.objects.get(commit).files.get(path.as_str());
            file.map(|content| content.as_bytes().to_vec())
        })
        .await
    }

    async fn listings(
        &self,
        _commit: &CommitOid,
        paths: &[PathInRepo],
    ) -> Result<BTreeMap<PathInRepo, Listing>, ReadError> {
        assert!(paths.is_empty(), "no policy of the simulation selects files");
        Ok(BTreeMap::new())
    }

    async fn files(
        &self,
        _commit: &CommitOid,
        paths: &[PathInRepo],
        _max: u64,
    ) -> Result<BTreeMap<PathInRepo, File>, ReadError> {
        assert!(paths.is_empty(), "no policy of the simulation promotes keys");
        Ok(BTreeMap::new())
    }

    async fn would_change(
        &self,
        at: &CommitOid,
        edits: &[(PathInRepo, Edit)],
    ) -> Result<Vec<bool>, ReadError> {
        let paths: Vec<PathInRepo> = edits.iter().map(|(path, _)| path.clone()).collect();
        let now = self.entries(at, &paths).await?;
        let wanted = |edit| whole(edit).clone().map_or(Entry::Absent, Entry::Tree);
        Ok(edits
            .iter()
            .map(|(path, edit)| now.get(path) != Some(&wanted(edit)))
            .collect())
    }

    async fn bring_from(
        &self,
        _other: &Self,
        _commit: &CommitOid,
        _paths: &[PathInRepo],
    ) -> Result<Brought, BringError> {
        panic!("no policy of the simulation leads to another repository")
    }

    async fn parent(&self, commit: &CommitOid) -> Result<Option<CommitOid>, ReadError> {
        self.look(commit, |world| world.objects.get(commit).parents.first().cloned())
            .await
    }

    async fn is_descendant(&self, commit: &CommitOid, of: &CommitOid) -> Result<bool, ReadError> {
        self.look(commit, |world| world.objects.is_descendant(commit, of))
            .await
    }

    async fn commit_info(&self, commit: &CommitOid) -> Result<CommitInfo, ReadError> {
        self.look(commit, |world| {
            let commit = world.objects.get(commit);
            CommitInfo {
                tree: commit.root.clone(),
                parents: commit.parents.clone(),
                committed_at: commit.when,
            }
        })
        .await
    }

    async fn changed_paths(&self, request: MergedPullRequest) -> Result<ChangedPaths, ChangedPathsError> {
        let repo = self.repo;
        self.look(&request.merged_as, |world| {
            // Whether git alone can tell is up to the history; a squash of several commits looks like the last of a rebase.
            let changes = &world.repo(repo).changes;
            let merged = changes
                .iter()
                .find(|merged| merged.merged_as == request.merged_as)
                .unwrap()
                .clone();
            if request.files.is_none() && request.commits > 1 && world.repo(repo).squashes {
                return ChangedPaths::NeedsFileList;
            }
            ChangedPaths::Known {
                paths: world.touched(&merged).into_iter().collect(),
                before: Some(merged.before),
            }
        })
        .await
        .map_err(ChangedPathsError::Read)
    }

    async fn inspect(
        &self,
        commit: &CommitOid,
        sync: &[(PathInRepo, Option<TreeOid>)],
    ) -> Result<(), InspectError> {
        let mismatch = self
            .look(commit, |world| {
                sync.iter().find_map(|(path, tree)| {
                    let tree = tree.clone()?;
                    (world.entry(commit, path) != Entry::Tree(tree.clone())).then(|| (path.clone(), tree))
                })
            })
            .await?;
        match mismatch {
            None => Ok(()),
            Some((path, tree)) => Err(InspectError::Mismatch {
                path,
                tree,
                commit: commit.clone(),
            }),
        }
    }

    async fn commit(&self, spec: CommitSpec) -> Result<Committed, CommitError> {
        let key = self.key();
        let parent = spec.parent.clone();
        let made = self.look(&parent, move |world| {
            let mut files = (*world.objects.get(&spec.parent).files).clone();
            for (path, edit) in &spec.edits {
                let with = whole(edit)
                    .as_ref()
                    .map(|tree| world.objects.files_of(tree).unwrap());
                replace(&mut files, path.as_str(), with.as_deref());
            }
            let before = world.objects.get(&spec.parent);
            if *before.files == files {
                return Committed {
                    oid: spec.parent.clone(),
                    tree: before.root.clone(),
                    changed: false,
                    paths: Vec::new(),
                };
            }
            let mut message = spec.message.clone();
            if world.weather.sabotage == Some(Sabotage::RestlessCommits) {
                message.push_str(&world.dice.below(1_000).to_string());
            }
            let author = format!("{} <{}>", spec.author.name, spec.author.email);
            let oid = world
                .objects
                .commit(files, vec![spec.parent.clone()], &message, &author, spec.when);
            world
                .witness
                .mirrors
                .all
                .entry(key)
                .or_default()
                .commits
                .insert(oid.clone());
            world.witness_committed(&oid);
            Committed {
                tree: world.objects.get(&oid).root.clone(),
                paths: world.objects.differing(&spec.parent, &oid).into_iter().collect(),
                changed: true,
                oid,
            }
        });
        made.await.map_err(CommitError::Read)
    }

    async fn push(&self, lease: &Lease, updates: &[RefUpdate]) -> Result<Vec<PushOutcome>, PushError> {
        self.hand.alive().await;
        {
            let world = self.hand.sim.world();
            lease.check(self.repo, world.clock.instant())?;
            for commit in updates.iter().filter_map(|update| update.new.as_ref()) {
                if !world.witness.mirrors.has(self.key(), commit) {
                    return Err(PushError::Read(ReadError::NotFetched(commit.clone())));
                }
            }
        }
        // Between the check and the landing there is all the time in the world.
        let (repo, updates) = (self.repo, updates.to_vec());
        let branches: Vec<&str> = updates.iter().map(|update| update.branch.as_str()).collect();
        let name = format!("pushes {}", branches.join(", "));
        self.hand
            .call(Kind::Push, &name, move |world| {
                updates.iter().map(|update| world.land(repo, update)).collect()
            })
            .await
            .map_err(|fault| PushError::Transport(network(fault)))
    }
}

/// The directory that a path becomes: in the simulation all of a component travels.
fn whole(edit: &Edit) -> &Option<TreeOid> {
    match edit {
        Edit::Whole(tree) => tree,
        other => panic!("the simulation knows no {other:?}"),
    }
}

impl World {
    /// The remote's side of a push: one branch, compared and swapped.
    fn land(&mut self, repo: RepoId, update: &RefUpdate) -> PushOutcome {
        let actual = self.repo(repo).branches.get(&update.branch).cloned();
        if actual == update.new {
            return PushOutcome::AlreadyThere;
        }
        if actual != update.expected && self.weather.sabotage != Some(Sabotage::BlindPush) {
            return PushOutcome::Moved { actual };
        }
        match &update.new {
            Some(new) => {
                self.witness_pushed(repo, &update.branch, actual.as_ref(), new);
                self.move_branch(repo, &update.branch, new);
            }
            None => {
                self.repo_mut(repo).branches.remove(&update.branch);
            }
        }
        PushOutcome::Pushed
    }
}
