//! Reads the facts of a merged pull request: from the forge what the pull request was, from git what its merge commit holds.
//!
//! Every read of git is pinned to the merge commit. A read that fails is an error and is tried again; it is never taken for
//! an empty answer, since absence decides about deletions.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_fleet::worker::Failure;
use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{AccountType, PullRequest};
use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_git::{Credentials, ReadError, Remote};
use lockflight_promotion::change::{Change, Lineage, Repository};
use lockflight_promotion::message::Phase;
use lockflight_promotion::plan::{BRANCHES, Content, Entry, Facts, Found, ReadsAt, reads};
use lockflight_promotion::policy::{
    ComponentPolicy, MAX_BYTES, NATIVE_FILE, Policy, PolicyErrors, TELEFONISTKA_FILE, decode,
};
use lockflight_promotion::text::marker::{self, MarkerKey, MarkerRead};
use lockflight_promotion::{Base, BranchName, CommitOid, ErrorClass, PathInRepo, PrNumber, RepoId, values};

use crate::changed::changed_paths;
use crate::phases::Phases;
use crate::rollback;

/// What there is to know of a merged pull request.
pub(crate) enum Reading {
    /// It is not one that Lockflight has to do with; nobody is told.
    Nothing { reason: String },
    /// The policy can't be used.
    BrokenPolicy {
        change: Box<Change>,
        errors: PolicyErrors,
    },
    /// It can't be read, for a reason that people can mend.
    Unreadable { change: Box<Change>, reason: String },
    /// All that a plan is made of.
    Facts {
        policy: Policy,
        facts: Box<Facts>,
        phases: Vec<Phase>,
    },
}

/// Whether a change is carried on or taken back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    On,
    Back,
}

/// A change whose promotion a pull request is a step of.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Where it was merged.
    pub(crate) repo: Repository,
    /// Its pull request.
    pub(crate) number: PrNumber,
    /// Whether it is a step of the way back.
    pub(crate) rollback: bool,
}

/// Reads pull request `number`, and tells of the change that it promotes, if it is a promotion. On the `way`, the change is taken back.
pub(crate) async fn read(
    forge: &impl ForgePort,
    mirrors: &impl MirrorsPort,
    marker_keys: &[MarkerKey],
    repo: &Repository,
    number: PrNumber,
    way: Way,
) -> Result<(Reading, Option<Source>), Failure> {
    let mut phases = Phases::start();
    let mut client = forge.repository(repo).await?;
    let pull_request = client.pull_request(number).await?;
    phases.end("read_pull_request");
    if pull_request.base_repo.name != repo.name {
        // It was renamed after the message was sent.
        let renamed = Repository {
            name: pull_request.base_repo.name.clone(),
            ..repo.clone()
        };
        client = forge.repository(&renamed).await?;
    }
    let lineage = lineage(marker_keys, repo, &pull_request);
    let source = lineage.hops.last().map(|hop| Source {
        repo: hop.repo.clone().unwrap_or_else(|| repo.clone()),
        number: hop.number,
        rollback: hop.rollback,
    });
    if !pull_request.merged {
        let reason = format!("pull request {number} is not merged");
        return Ok((Reading::Nothing { reason }, source));
    }
    let Some(merged_as) = pull_request.merge_commit.clone() else {
        let reason = format!("GitHub does not say yet as which commit pull request {number} was merged");
        return Err(Failure::new(ErrorClass::Retry, reason));
    };

    let mut change = change(repo, &pull_request, merged_as, lineage)?;
    if way == Way::Back {
        change.rollback = Some(Box::new(rollback::unmarked(&change)));
    }
    let read = Read {
        forge,
        mirrors,
        client: &client,
        pull_request: &pull_request,
    };
    let reading = match read.git(change.clone(), phases).await {
        // From here on there is a pull request to say it on.
        Err(Failure {
            class: ErrorClass::User,
            reason,
        }) => Reading::Unreadable {
            change: Box::new(change),
            reason,
        },
        read => read?,
    };
    Ok((reading, source))
}

/// Reads a pull request as it is now: merged, or as if its head were merged. It decides nothing; it is for people who ask where the
/// change goes.
pub(crate) async fn preview(
    forge: &impl ForgePort,
    mirrors: &impl MirrorsPort,
    marker_keys: &[MarkerKey],
    repo: &Repository,
    pull_request: &PullRequest,
) -> Result<Reading, Failure> {
    if pull_request.merged {
        let (reading, _) = read(forge, mirrors, marker_keys, repo, pull_request.number, Way::On).await?;
        return Ok(reading);
    }
    let client = forge.repository(repo).await?;
    if pull_request
        .head_repo
        .as_ref()
        .is_none_or(|head| head.id != repo.id)
    {
        let reason = "it comes from a fork, whose content is not read before it is merged".to_owned();
        return Ok(Reading::Nothing { reason });
    }
    let lineage = lineage(marker_keys, repo, pull_request);
    let change = change(repo, pull_request, pull_request.head.clone(), lineage)?;
    let read = Read {
        forge,
        mirrors,
        client: &client,
        pull_request,
    };
    read.git(change, Phases::start()).await
}

/// The policy that the default branch has now; none if there is none, or it can't be used.
pub(crate) async fn current_policy(
    mirrors: &impl MirrorsPort,
    client: &impl RepositoryPort,
    pull_request: &PullRequest,
) -> Result<Option<Policy>, Failure> {
    let branch = BranchName::parse(pull_request.base_repo.default_branch.as_str());
    let branch = branch.map_err(|error| Failure::of(ErrorClass::Bug, &error))?;
    Ok(policy_of(mirrors, client, &branch).await?.ok().flatten())
}

/// The policy that a branch has now; none if there is none.
pub(crate) async fn policy_of(
    mirrors: &impl MirrorsPort,
    client: &impl RepositoryPort,
    branch: &BranchName,
) -> Result<Result<Option<Policy>, PolicyErrors>, Failure> {
    let mirror = open(mirrors, client, client.id()).await?;
    match mirror.fetch_branch(branch).await? {
        Some(head) => policy(&mirror, &head).await,
        None => Ok(Ok(None)),
    }
}

/// What a pull request is read with.
pub(crate) struct Read<'r, F, R, G> {
    pub(crate) forge: &'r F,
    pub(crate) mirrors: &'r G,
    pub(crate) client: &'r R,
    pub(crate) pull_request: &'r PullRequest,
}

impl<F: ForgePort, G: MirrorsPort> Read<'_, F, F::Repository, G> {
    /// Reads what git has of it.
    async fn git(&self, mut change: Change, mut phases: Phases) -> Result<Reading, Failure> {
        let merged_as = change.merged_as.clone();
        let mirror = open(self.mirrors, self.client, change.repo.id).await?;
        // The policy is that of the change itself, or, where the change went to another branch, that which the default branch has now.
        let policy_at = match &change.default_branch {
            None => {
                self.fetch(&mirror, &change).await?;
                merged_as.clone()
            }
            Some(branch) => match mirror.fetch_branch(branch).await? {
                Some(head) => head,
                None => {
                    let reason = format!("the default branch {branch} is gone");
                    return Err(Failure::new(ErrorClass::Retry, reason));
                }
            },
        };
        phases.end("fetch");

        let policy = match policy(&mirror, &policy_at).await? {
            Ok(Some(policy)) => policy,
            Ok(None) => {
                let reason = format!("there is neither {NATIVE_FILE} nor {TELEFONISTKA_FILE} at {policy_at}");
                return Ok(Reading::Nothing { reason });
            }
            // What goes on in a branch that no flow may be about is told to nobody.
            Err(errors) if change.default_branch.is_some() => {
                return Ok(Reading::Nothing {
                    reason: format!(
                        "the policy of the default branch can't be used: {}",
                        errors.first()
                    ),
                });
            }
            Err(errors) => {
                return Ok(Reading::BrokenPolicy {
                    change: Box::new(change),
                    errors,
                });
            }
        };
        if !policy.has_flows_from(&change) {
            let reason = format!(
                "pull request {} was merged into {}, where no flow begins",
                change.number, change.branch
            );
            return Ok(Reading::Nothing { reason });
        }
        if change.default_branch.is_some() {
            // A branch that nothing is promoted from may well be gone by now, so it is not asked for before.
            self.fetch(&mirror, &change).await?;
        }
        change.committed_at = mirror.commit_info(&merged_as).await?.committed_at;

        let (changed, before) = changed_paths(&mirror, self.client, self.pull_request, &merged_as).await?;
        if change.rollback.is_some() {
            change.merged_as = rollback::before(&change, before.as_ref())?;
        }
        let wanted = reads(&policy, &change, &changed);
        let mut at = BTreeMap::new();
        for (base, reads) in wanted.at {
            let found = if base.is_own() {
                Found::Content(content(&mirror, &change.merged_as, &reads).await?)
            } else {
                self.elsewhere(&change, &mirror, &base, &reads).await?
            };
            at.insert(base, found);
        }
        let own = match at.get(&Base::default()) {
            Some(Found::Content(content)) => &content.entries,
            Some(Found::Unreachable(_)) | None => &BTreeMap::new(),
        };
        let after;
        let own = if change.rollback.is_some() {
            // What keeps a component from places is what kept it on its way there.
            let components: Vec<_> = wanted.component_policies.iter().cloned().collect();
            after = mirror.entries(&merged_as, &components).await?;
            &after
        } else {
            own
        };
        let component_policies = match read_component_policies(
            &mirror,
            &policy,
            &merged_as,
            before.as_ref(),
            wanted.component_policies,
            own,
        )
        .await?
        {
            Ok(policies) => policies,
            Err(errors) => {
                return Ok(Reading::BrokenPolicy {
                    change: Box::new(change),
                    errors,
                });
            }
        };
        phases.end("read_trees");
        let facts = Box::new(Facts {
            change,
            changed,
            at,
            component_policies,
        });
        Ok(Reading::Facts {
            policy,
            facts,
            phases: phases.done,
        })
    }

    /// Has the commit of the change here.
    pub(crate) async fn fetch(&self, mirror: &G::Mirror, change: &Change) -> Result<(), Failure> {
        if self.pull_request.merged {
            mirror.fetch(&change.branch, &change.merged_as).await?;
        } else {
            let branch = BranchName::parse(self.pull_request.head_branch.as_str());
            let branch = branch.map_err(|error| Failure::of(ErrorClass::User, &error))?;
            mirror.fetch(&branch, &change.merged_as).await?;
        }
        Ok(())
    }

    /// Reads another branch, or another repository, as it is now.
    pub(crate) async fn elsewhere(
        &self,
        change: &Change,
        own: &G::Mirror,
        base: &Base,
        reads: &ReadsAt,
    ) -> Result<Found, Failure> {
        let (repo, mirror, branch) = match &base.repo {
            None => {
                let branch = base.branch.as_ref().unwrap_or_else(|| change.default_branch());
                (None, own.clone(), branch.clone())
            }
            Some(name) => {
                let Some(found) = self.forge.find(name).await? else {
                    let reason = "there is no such repository, or Lockflight is not installed there";
                    return Ok(Found::Unreachable(reason.to_owned()));
                };
                // Each of these would be another name for a place that can be named as it is, and be written to twice.
                if found.repository.id == change.repo.id {
                    let reason = "this is a former name of the repository itself; leave out `repository`";
                    return Ok(Found::Unreachable(reason.to_owned()));
                }
                if base.branch.as_ref() == Some(&found.default_branch) {
                    let reason = "this is the default branch of that repository; leave out `branch`";
                    return Ok(Found::Unreachable(reason.to_owned()));
                }
                let client = self.forge.repository(&found.repository).await?;
                let mirror = open(self.mirrors, &client, found.repository.id).await?;
                if let Some(reason) = unwelcome(&mirror, &found.default_branch, change).await? {
                    return Ok(Found::Unreachable(reason));
                }
                let branch = base.branch.clone().unwrap_or(found.default_branch);
                (Some(found.repository), mirror, branch)
            }
        };
        let Some(head) = mirror.fetch_branch(&branch).await? else {
            return Ok(Found::Unreachable(format!("there is no branch {branch}")));
        };
        Ok(Found::Content(Content {
            repo,
            branch: Some(branch),
            ..content(&mirror, &head, reads).await?
        }))
    }
}

/// Why another repository takes nothing from that of the change; none if it does. It says so itself: whoever may change the policy of one
/// repository is not thereby allowed to have anything opened, or merged, in another.
async fn unwelcome(
    mirror: &impl MirrorPort,
    default_branch: &BranchName,
    change: &Change,
) -> Result<Option<String>, Failure> {
    let from = &change.repo.name;
    let accepts = match mirror.fetch_branch(default_branch).await? {
        Some(head) => match policy(mirror, &head).await? {
            Ok(policy) => policy.is_some_and(|policy| policy.accepts_from(from)),
            Err(errors) => {
                return Ok(Some(format!("its policy can't be used: {}", errors.first())));
            }
        },
        None => false,
    };
    Ok((!accepts).then(|| {
        format!(
            "it does not take promotions from {from}; its own people allow that with `accept_from: [{from}]` in the \
             {NATIVE_FILE} of its default branch"
        )
    }))
}

/// The mirror of the repository that `client` talks about.
pub(crate) async fn open<G: MirrorsPort>(
    mirrors: &G,
    client: &impl RepositoryPort,
    repo: RepoId,
) -> Result<G::Mirror, Failure> {
    let credentials = Credentials::token(client.git_credentials().await?);
    let remote = Remote {
        url: client.git_url(),
        credentials: Some(credentials),
    };
    Ok(mirrors.open(repo, remote))
}

/// What stands in a commit, as far as a plan needs it.
pub(crate) async fn content(
    mirror: &impl MirrorPort,
    commit: &CommitOid,
    reads: &ReadsAt,
) -> Result<Content, Failure> {
    let list = |paths: &BTreeSet<PathInRepo>| paths.iter().cloned().collect::<Vec<_>>();
    let mut content = Content {
        entries: mirror.entries(commit, &list(&reads.entries)).await?,
        ..Content::default()
    };
    if !reads.listings.is_empty() {
        content.listings = mirror.listings(commit, &list(&reads.listings)).await?;
    }
    if !reads.files.is_empty() {
        content.files = mirror
            .files(commit, &list(&reads.files), values::MAX_BYTES as u64)
            .await?;
    }
    Ok(content)
}

/// The policy at a commit; none if there is no file. Lockflight's own file goes before Telefonistka's.
pub(crate) async fn policy(
    mirror: &impl MirrorPort,
    at: &CommitOid,
) -> Result<Result<Option<Policy>, PolicyErrors>, Failure> {
    let files = [NATIVE_FILE, TELEFONISTKA_FILE];
    let paths = files.map(path).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut texts = mirror.blobs(at, &paths, MAX_BYTES).await?;
    for path in paths {
        let read = texts.remove(&path).unwrap_or(Ok(None));
        match text(&path, read)? {
            Ok(Some(text)) => return Ok(Policy::compile(path.as_str(), &text).map(Some)),
            Ok(None) => {}
            Err(errors) => return Ok(Err(errors)),
        }
    }
    Ok(Ok(None))
}

/// The change, with a date that git has yet to tell.
pub(crate) fn change(
    repo: &Repository,
    pull_request: &PullRequest,
    merged_as: CommitOid,
    lineage: Lineage,
) -> Result<Change, Failure> {
    let default_branch = &pull_request.base_repo.default_branch;
    let default_branch = if pull_request.base_branch.as_str() == default_branch {
        None
    } else {
        let parsed = BranchName::parse(default_branch.as_str());
        Some(parsed.map_err(|error| Failure::of(ErrorClass::Bug, &error))?)
    };
    Ok(Change {
        // The name as the forge has it now: a message may be older than a rename.
        repo: Repository {
            name: pull_request.base_repo.name.clone(),
            ..repo.clone()
        },
        branch: pull_request.base_branch.clone(),
        number: pull_request.number,
        title: pull_request.title.clone(),
        author: pull_request.author.clone(),
        head_branch: pull_request.head_branch.clone(),
        head: pull_request.head.clone(),
        merged_as,
        committed_at: 0,
        labels: pull_request.labels.clone(),
        default_branch,
        lineage,
        rollback: None,
    })
}

/// The way that the change has come so far. A marker is believed only if we signed it for this very branch. The unsigned one of Telefonistka
/// decides nothing of what is promoted where: it tells whom to assign, and which promotion this belongs to.
pub(crate) fn lineage(marker_keys: &[MarkerKey], repo: &Repository, pull_request: &PullRequest) -> Lineage {
    // A fork's branch may bear the name of one of ours, and its body may hold a copy of a marker.
    if pull_request
        .head_repo
        .as_ref()
        .is_none_or(|head| head.id != repo.id)
    {
        return Lineage::default();
    }
    match marker::read(
        marker_keys,
        repo.id,
        &pull_request.head_branch,
        &pull_request.body,
    ) {
        MarkerRead::Valid(marker) => marker.lineage,
        MarkerRead::Forged => {
            tracing::warn!(
                pr.number = %pull_request.number,
                "the lineage marker of pull request {} of {} is not one that we signed; its promotion starts anew",
                pull_request.number, repo.name,
            );
            Lineage::default()
        }
        // Nobody signed it, so it has to stand in a pull request that an App opened: people can't edit those unnoticed.
        MarkerRead::Absent
            if pull_request.author_type == AccountType::Bot
                && pull_request.head_branch.starts_with(BRANCHES) =>
        {
            marker::read_legacy(&pull_request.body).unwrap_or_default()
        }
        MarkerRead::Absent => Lineage::default(),
    }
}

/// The policy files of components: at the merge commit, or, where the change removed the component, at the commit before, so
/// that removing a component does not also remove what keeps it from places.
pub(crate) async fn read_component_policies(
    mirror: &impl MirrorPort,
    policy: &Policy,
    at: &CommitOid,
    before: Option<&CommitOid>,
    components: impl IntoIterator<Item = PathInRepo>,
    entries: &BTreeMap<PathInRepo, Entry>,
) -> Result<Result<BTreeMap<PathInRepo, ComponentPolicy>, PolicyErrors>, Failure> {
    let name = path(policy.component_file())?;
    let mut standing = BTreeMap::new();
    let mut removed = BTreeMap::new();
    for component in components {
        let file = component.join(&name);
        if entries.get(&component) == Some(&Entry::Absent) {
            removed.insert(file, component);
        } else {
            standing.insert(file, component);
        }
    }
    let mut found = BTreeMap::new();
    for (commit, files) in [(Some(at), standing), (before, removed)] {
        let Some(commit) = commit.filter(|_| !files.is_empty()) else {
            continue;
        };
        // All at once, since each look may have to ask the remote.
        let paths: Vec<PathInRepo> = files.keys().cloned().collect();
        let mut texts = mirror.blobs(commit, &paths, MAX_BYTES).await?;
        for (file, component) in files {
            let read = texts.remove(&file).unwrap_or(Ok(None));
            let own = match text(&file, read)? {
                Ok(Some(text)) => policy.component(file.as_str(), &text),
                Ok(None) => continue,
                Err(errors) => Err(errors),
            };
            match own {
                Ok(own) => found.insert(component, own),
                Err(errors) => return Ok(Err(errors)),
            };
        }
    }
    Ok(Ok(found))
}

/// A policy file's text; none if it is proven absent. What is no readable text is an error of the policy.
pub(crate) fn text(
    path: &PathInRepo,
    read: Result<Option<Vec<u8>>, ReadError>,
) -> Result<Result<Option<String>, PolicyErrors>, Failure> {
    match read {
        Ok(None) => Ok(Ok(None)),
        Ok(Some(bytes)) => Ok(decode(path.as_str(), bytes).map(Some)),
        Err(error) if error.is_about_the_file() => {
            Ok(Err(PolicyErrors::whole(path.as_str(), error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}

fn path(file: &str) -> Result<PathInRepo, Failure> {
    PathInRepo::parse(file).map_err(|error| Failure::of(ErrorClass::Bug, &error))
}
