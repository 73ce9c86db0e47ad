//! Reads the facts of a merged pull request: from the forge what the pull request was, from git what its merge commit holds.
//!
//! Every read of git is pinned to the merge commit. A read that fails is an error and is tried again; it is never taken for
//! an empty answer, since absence decides about deletions.

use std::collections::BTreeMap;
use std::time::Instant;

use lockflight_fleet::worker::Failure;
use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{AccountType, PullRequest};
use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_git::{ChangedPaths, Credentials, MergedPullRequest, ReadError, Remote};
use lockflight_promotion::change::{Change, Lineage, Repository};
use lockflight_promotion::message::Phase;
use lockflight_promotion::plan::{Entry, Facts, reads};
use lockflight_promotion::policy::{
    ComponentPolicy, MAX_BYTES, Policy, PolicyErrors, TELEFONISTKA_FILE, decode,
};
use lockflight_promotion::text::marker::{self, MarkerKey, MarkerRead};
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo, PrNumber};

use crate::reply::millis;

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

/// Reads pull request `number`.
pub(crate) async fn read(
    forge: &impl ForgePort,
    mirrors: &impl MirrorsPort,
    marker_keys: &[MarkerKey],
    repo: &Repository,
    number: PrNumber,
) -> Result<Reading, Failure> {
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
    if !pull_request.merged {
        return Ok(Reading::Nothing {
            reason: format!("pull request {number} is not merged"),
        });
    }
    let default_branch = &pull_request.base_repo.default_branch;
    if pull_request.base_branch.as_str() != default_branch {
        let reason = format!(
            "pull request {number} was merged into {}, not into {default_branch}",
            pull_request.base_branch
        );
        return Ok(Reading::Nothing { reason });
    }
    let Some(merged_as) = pull_request.merge_commit.clone() else {
        let reason = format!("GitHub does not say yet as which commit pull request {number} was merged");
        return Err(Failure::new(ErrorClass::Retry, reason));
    };

    let change = change(marker_keys, repo, &pull_request, merged_as);
    match read_git(mirrors, &client, &pull_request, change.clone(), phases).await {
        // From here on there is a pull request to say it on.
        Err(Failure {
            class: ErrorClass::User,
            reason,
        }) => Ok(Reading::Unreadable {
            change: Box::new(change),
            reason,
        }),
        read => read,
    }
}

/// Reads what git has of a merged pull request.
async fn read_git(
    mirrors: &impl MirrorsPort,
    client: &impl RepositoryPort,
    pull_request: &PullRequest,
    mut change: Change,
    mut phases: Phases,
) -> Result<Reading, Failure> {
    let merged_as = change.merged_as.clone();
    let token = client.git_credentials().await?;
    let remote = Remote {
        url: client.git_url(),
        credentials: Some(Credentials::token(token)),
    };
    let mirror = mirrors.open(change.repo.id, remote);
    mirror.fetch(&change.branch, &merged_as).await?;
    phases.end("fetch");

    change.committed_at = mirror.commit_info(&merged_as).await?.committed_at;
    let path = path(TELEFONISTKA_FILE)?;
    let policy = match read_text(&mirror, &merged_as, &path).await? {
        Ok(Some(text)) => Policy::compile(TELEFONISTKA_FILE, &text),
        Ok(None) => {
            let reason = format!("there is no {TELEFONISTKA_FILE} at {merged_as}");
            return Ok(Reading::Nothing { reason });
        }
        Err(errors) => Err(errors),
    };
    let policy = match policy {
        Ok(policy) => policy,
        Err(errors) => {
            return Ok(Reading::BrokenPolicy {
                change: Box::new(change),
                errors,
            });
        }
    };

    let (changed, before) = changed_paths(&mirror, client, pull_request, &merged_as).await?;
    let wanted = reads(&policy, &change, &changed);
    let entries: Vec<PathInRepo> = wanted.entries.into_iter().collect();
    let entries = mirror.entries(&merged_as, &entries).await?;
    let component_policies = match read_component_policies(
        &mirror,
        &merged_as,
        before.as_ref(),
        wanted.component_policies,
        &entries,
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
        entries,
        component_policies,
    });
    Ok(Reading::Facts {
        policy,
        facts,
        phases: phases.done,
    })
}

/// The change, with a date that git has yet to tell.
fn change(
    marker_keys: &[MarkerKey],
    repo: &Repository,
    pull_request: &PullRequest,
    merged_as: CommitOid,
) -> Change {
    Change {
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
        lineage: lineage(marker_keys, repo, pull_request),
    }
}

/// The way that the change has come so far. A marker is believed only if we signed it for this very branch. The unsigned one of Telefonistka
/// decides nothing of what is promoted where: it tells whom to assign, and which promotion this belongs to.
fn lineage(marker_keys: &[MarkerKey], repo: &Repository, pull_request: &PullRequest) -> Lineage {
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
                && pull_request.head_branch.starts_with("promotions/") =>
        {
            marker::read_legacy(&pull_request.body).unwrap_or_default()
        }
        MarkerRead::Absent => Lineage::default(),
    }
}

/// The policy files of components: at the merge commit, or, where the change removed the component, at the commit before, so
/// that removing a component does not also remove what keeps it from places.
async fn read_component_policies(
    mirror: &impl MirrorPort,
    at: &CommitOid,
    before: Option<&CommitOid>,
    components: impl IntoIterator<Item = PathInRepo>,
    entries: &BTreeMap<PathInRepo, Entry>,
) -> Result<Result<BTreeMap<PathInRepo, ComponentPolicy>, PolicyErrors>, Failure> {
    let name = path(TELEFONISTKA_FILE)?;
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
            let policy = match text(&file, read)? {
                Ok(Some(text)) => ComponentPolicy::compile(file.as_str(), &text),
                Ok(None) => continue,
                Err(errors) => Err(errors),
            };
            match policy {
                Ok(policy) => found.insert(component, policy),
                Err(errors) => return Ok(Err(errors)),
            };
        }
    }
    Ok(Ok(found))
}

/// A policy file's text; none if it is proven absent. What is no readable text is an error of the policy.
async fn read_text(
    mirror: &impl MirrorPort,
    at: &CommitOid,
    path: &PathInRepo,
) -> Result<Result<Option<String>, PolicyErrors>, Failure> {
    text(path, mirror.blob(at, path, MAX_BYTES).await)
}

fn text(
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

/// The paths that the pull request changed, and the commit that stood before it. Git alone tells for most; where its history can be read
/// in more than one way, the forge's complete list of files decides.
async fn changed_paths(
    mirror: &impl MirrorPort,
    client: &impl RepositoryPort,
    pull_request: &PullRequest,
    merged_as: &CommitOid,
) -> Result<(Vec<String>, Option<CommitOid>), Failure> {
    let (Some(commits), Some(changed_files)) = (pull_request.commits, pull_request.changed_files) else {
        let reason = "GitHub did not say how many commits and files the pull request has";
        return Err(Failure::new(ErrorClass::Retry, reason));
    };
    let mut question = MergedPullRequest {
        merged_as: merged_as.clone(),
        commits,
        changed_files,
        files: None,
    };
    let mut answer = ask(mirror, question.clone()).await?;
    if answer == ChangedPaths::NeedsFileList {
        let files = client.files(pull_request.number).await?;
        question.files = Some(
            files
                .into_iter()
                .map(|file| (file.path, file.previous_path))
                .collect(),
        );
        answer = ask(mirror, question).await?;
    }
    match answer {
        ChangedPaths::Known { paths, before } => Ok((paths, before)),
        ChangedPaths::NeedsFileList => Err(Failure::new(
            ErrorClass::Bug,
            "the list of files was given and is asked for again",
        )),
    }
}

async fn ask(mirror: &impl MirrorPort, question: MergedPullRequest) -> Result<ChangedPaths, Failure> {
    Ok(mirror.changed_paths(question).await?)
}

fn path(file: &str) -> Result<PathInRepo, Failure> {
    PathInRepo::parse(file).map_err(|error| Failure::of(ErrorClass::Bug, &error))
}

/// Measures one phase after another.
struct Phases {
    since: Instant,
    done: Vec<Phase>,
}

impl Phases {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            done: Vec::new(),
        }
    }

    fn end(&mut self, name: &str) {
        self.done.push(Phase {
            name: name.to_owned(),
            ms: millis(self.since),
        });
        self.since = Instant::now();
    }
}
