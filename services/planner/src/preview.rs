//! Where a pull request that is open will go: advice, by which nothing is done.
//!
//! It is looked at as if it were merged now. What it touches is read at its head, and everything else at the branch that it goes into, so that a
//! head that is behind does not make targets look as they were. The policy is that of the default branch, or its own where it changes that.
//!
//! One call to the forge reads the pull request, and one more for each hundred of its files; content comes from git alone. What is said goes to
//! an executor, which says it only as long as the pull request is still as it was.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_fleet::worker::Failure;
use lockflight_forge::PullRequest;
use lockflight_forge::PullRequestState;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_git::port::{MirrorPort, MirrorsPort};
use lockflight_promotion::change::{Change, Lineage};
use lockflight_promotion::message::{Body, DeliveryV1, Envelope, Outcome, Preview, Report, ReportV1};
use lockflight_promotion::plan::{BRANCHES, Content, Facts, Found, Plan, ReadsAt, reads};
use lockflight_promotion::policy::{
    ComponentPolicy, MAX_BYTES, NATIVE_FILE, Policy, PolicyError, PolicyErrors, TELEFONISTKA_FILE,
};
use lockflight_promotion::text::drift::DriftReport;
use lockflight_promotion::text::preview::{self, Planned};
use lockflight_promotion::text::{self, Links};
use lockflight_promotion::{Base, CommitOid, ErrorClass, MessageId, PathInRepo, PrNumber};

use crate::facts::{self, Read};
use crate::{Planner, decide, reply};

/// The actions of `pull_request` after which it may go elsewhere than before.
const ACTIONS: [&str; 6] = [
    "opened",
    "synchronize",
    "reopened",
    "edited",
    "labeled",
    "unlabeled",
];
/// The most policy files of a pull request that are checked.
const MOST_FILES: usize = 100;

/// The pull request that a delivery asks for a preview of.
pub(crate) fn asked_by(delivery: &DeliveryV1) -> Option<PrNumber> {
    let hint = delivery.pull_request.as_ref()?;
    let asks = delivery.event == "pull_request"
        && !hint.merged
        && delivery
            .action
            .as_deref()
            .is_some_and(|action| ACTIONS.contains(&action));
    asks.then_some(hint.number)
}

/// What came of a look.
enum Seen {
    /// Nothing is to be said, and why.
    Nothing(String),
    /// This is.
    Said(Box<Preview>),
}

impl<F: ForgePort, G: MirrorsPort> Planner<F, G> {
    /// What is to be said on a pull request that is open.
    pub(crate) async fn preview(
        &self,
        envelope: &Envelope,
        delivery: &DeliveryV1,
        number: PrNumber,
    ) -> Result<Vec<Envelope>, Failure> {
        let ignored = |reason: String| Ok(vec![reply::outcome(envelope, Outcome::Ignored { reason })]);
        let client = self.forge.repository(&envelope.repo).await?;
        let pull_request = client.pull_request(number).await?;
        if pull_request.merged || pull_request.state != PullRequestState::Open {
            return ignored(format!("pull request {number} is not open any more"));
        }
        if pull_request.head_branch.starts_with(BRANCHES) {
            return ignored("a promotion says itself where it goes".to_owned());
        }
        if pull_request
            .head_repo
            .as_ref()
            .is_none_or(|head| head.id != envelope.repo.id)
        {
            return ignored("it comes from a fork, whose content is not read before it is merged".to_owned());
        }
        let change = facts::change(
            &envelope.repo,
            &pull_request,
            pull_request.head.clone(),
            Lineage::default(),
        )?;
        let by_label = matches!(delivery.action.as_deref(), Some("labeled" | "unlabeled"));
        let seen = match self.seen(&client, &pull_request, change.clone(), by_label).await {
            Err(Failure {
                class: ErrorClass::User,
                reason,
            }) => Seen::Said(Box::new(preview::unknown(&reason))),
            seen => seen?,
        };
        let preview = match seen {
            Seen::Nothing(reason) => return ignored(reason),
            Seen::Said(preview) => preview,
        };
        tracing::info!(
            pr.number = %number,
            "pull request {number} of {}, were it merged: {}", change.repo.name, preview.title,
        );
        // One delivery says one thing of one state; a later delivery may say again what was said before another one came in between.
        let said = format!("{preview:?}");
        let id = MessageId::of(&[
            "preview",
            &change.repo.id.to_string(),
            &number.to_string(),
            change.head.as_str(),
            envelope.id.as_str(),
            &said,
        ]);
        let report = Report::Preview(preview);
        let body = Body::Report(Box::new(ReportV1 { change, report }));
        Ok(vec![envelope.follow(id, body)])
    }

    async fn seen(
        &self,
        client: &F::Repository,
        pull_request: &PullRequest,
        mut change: Change,
        by_label: bool,
    ) -> Result<Seen, Failure> {
        let mirror = facts::open(&self.mirrors, client, change.repo.id).await?;
        let gone = |what: &str| Failure::new(ErrorClass::User, format!("the branch {what} is gone"));
        let default_branch = change.default_branch().clone();
        let Some(default_tip) = mirror.fetch_branch(&default_branch).await? else {
            return Err(gone(default_branch.as_str()));
        };
        let standing = facts::policy(&mirror, &default_tip).await?;
        if by_label
            && !standing
                .as_ref()
                .is_ok_and(|policy| heeds_labels(policy.as_ref()))
        {
            return Ok(Seen::Nothing("no flow asks for a label".to_owned()));
        }
        let changed: Vec<String> = client
            .files(pull_request.number)
            .await?
            .into_iter()
            .flat_map(|file| [Some(file.path), file.previous_path])
            .flatten()
            .collect();
        let touched: BTreeSet<&str> = changed.iter().map(String::as_str).collect();
        let brings_policy = change.default_branch.is_none()
            && [NATIVE_FILE, TELEFONISTKA_FILE]
                .iter()
                .any(|file| touched.contains(file));
        if !brings_policy && matches!(standing, Ok(None)) {
            return Ok(Seen::Nothing("there is no policy".to_owned()));
        }
        let read = Read {
            forge: &self.forge,
            mirrors: &self.mirrors,
            client,
            pull_request,
        };
        read.fetch(&mirror, &change).await?;
        let links = Links::new(self.forge.web_url());
        let warnings = match brought(&mirror, &change, &touched).await? {
            Ok(warnings) => warnings,
            Err(errors) => return Ok(Seen::Said(Box::new(preview::broken(&change, &errors, &links)))),
        };
        let policy = if brings_policy {
            facts::policy(&mirror, &change.head).await?
        } else {
            standing.clone()
        };
        let policy = match policy {
            Ok(Some(policy)) => policy,
            Ok(None) => Policy::none(),
            Err(errors) if brings_policy => {
                return Ok(Seen::Said(Box::new(preview::broken(&change, &errors, &links))));
            }
            Err(errors) => {
                let reason = format!("the policy of {default_branch} can't be used: {}", errors.first());
                return Ok(Seen::Said(Box::new(preview::unknown(&reason))));
            }
        };
        if !policy.has_flows_from(&change) {
            return Ok(Seen::Nothing(format!("no flow begins on {}", change.branch)));
        }
        let tip = if change.default_branch.is_none() {
            default_tip
        } else {
            match mirror.fetch_branch(&change.branch).await? {
                Some(tip) => tip,
                None => return Err(gone(change.branch.as_str())),
            }
        };
        change.committed_at = mirror.commit_info(&change.head).await?.committed_at;
        let at = Places {
            head: &change.head,
            tip: &tip,
            touched: &touched,
        };
        let planned = match planned(&read, &mirror, &policy, &change, &changed, at).await? {
            Ok((plan, _)) => plan,
            Err(errors) => return Ok(Seen::Said(Box::new(preview::broken(&change, &errors, &links)))),
        };
        let drift = match &standing {
            Ok(Some(standing)) => {
                self.drift(&read, &mirror, standing, &change, &changed, &tip)
                    .await?
            }
            Ok(None) | Err(_) => None,
        };
        let drift = drift.unwrap_or_else(|| DriftReport {
            repo: change.repo.name.clone(),
            commit: tip.clone(),
            drifts: Vec::new(),
        });
        let nothing = reply::why_nothing(&change, &planned);
        let own_policy = brings_policy.then(|| {
            if policy.file().is_empty() {
                NATIVE_FILE
            } else {
                policy.file()
            }
        });
        Ok(Seen::Said(Box::new(text::preview(
            &Planned {
                change: &change,
                plan: &planned,
                nothing: &nothing,
                own_policy,
                drift: &drift,
                warnings: &warnings,
                heeds_labels: heeds_labels(Some(&policy)),
            },
            &links,
        ))))
    }

    /// Where targets of the touched components differ, at the tip, from what their sources there make of them.
    async fn drift(
        &self,
        read: &Read<'_, F, F::Repository, G>,
        mirror: &G::Mirror,
        policy: &Policy,
        change: &Change,
        changed: &[String],
        tip: &CommitOid,
    ) -> Result<Option<DriftReport>, Failure> {
        let nothing = BTreeSet::new();
        let at = Places {
            head: tip,
            tip,
            touched: &nothing,
        };
        let before = Change {
            merged_as: tip.clone(),
            head: tip.clone(),
            ..change.clone()
        };
        match planned(read, mirror, policy, &before, changed, at).await? {
            Ok((plan, facts)) => crate::drift::of(mirror, &before, &plan, &facts).await.map(Some),
            // What stands there is wrong already, which is not the fault of this change.
            Err(_) => Ok(None),
        }
    }
}

fn heeds_labels(policy: Option<&Policy>) -> bool {
    policy.is_some_and(|policy| {
        policy
            .flows()
            .iter()
            .any(|flow| !flow.conditions.any_label.is_empty())
    })
}

/// Where a pull request is read: what it touches at its head, everything else at the tip of the branch that it goes into.
#[derive(Clone, Copy)]
struct Places<'p> {
    head: &'p CommitOid,
    tip: &'p CommitOid,
    touched: &'p BTreeSet<&'p str>,
}

impl Places<'_> {
    fn is_touched(&self, path: &PathInRepo) -> bool {
        let path = path.as_str();
        if path.is_empty() {
            return !self.touched.is_empty();
        }
        let below = format!("{path}/");
        self.touched.contains(path)
            || self
                .touched
                .range(below.as_str()..)
                .next()
                .is_some_and(|first| first.starts_with(&below))
    }

    fn split(&self, paths: BTreeSet<PathInRepo>) -> (BTreeSet<PathInRepo>, BTreeSet<PathInRepo>) {
        paths.into_iter().partition(|path| self.is_touched(path))
    }

    async fn content(&self, mirror: &impl MirrorPort, wanted: ReadsAt) -> Result<Content, Failure> {
        let (entries, other_entries) = self.split(wanted.entries);
        let (listings, other_listings) = self.split(wanted.listings);
        let (files, other_files) = self.split(wanted.files);
        let mut content = Content::default();
        for (commit, reads) in [
            (
                self.head,
                ReadsAt {
                    entries,
                    listings,
                    files,
                },
            ),
            (
                self.tip,
                ReadsAt {
                    entries: other_entries,
                    listings: other_listings,
                    files: other_files,
                },
            ),
        ] {
            if reads == ReadsAt::default() {
                continue;
            }
            let found = facts::content(mirror, commit, &reads).await?;
            content.entries.extend(found.entries);
            content.listings.extend(found.listings);
            content.files.extend(found.files);
        }
        Ok(content)
    }
}

/// The plan of a change, and what it was made of; or what is wrong in the policies of its components.
async fn planned<F: ForgePort, G: MirrorsPort>(
    read: &Read<'_, F, F::Repository, G>,
    mirror: &G::Mirror,
    policy: &Policy,
    change: &Change,
    changed: &[String],
    at: Places<'_>,
) -> Result<Result<(Plan, Facts), PolicyErrors>, Failure> {
    let wanted = reads(policy, change, changed);
    let mut found = BTreeMap::new();
    for (base, reads) in wanted.at {
        let content = if base.is_own() {
            Found::Content(at.content(mirror, reads).await?)
        } else {
            read.elsewhere(change, mirror, &base, &reads).await?
        };
        found.insert(base, content);
    }
    let none = BTreeMap::new();
    let own = match found.get(&Base::default()) {
        Some(Found::Content(content)) => &content.entries,
        Some(Found::Unreachable(_)) | None => &none,
    };
    let component_policies = match facts::read_component_policies(
        mirror,
        policy,
        at.head,
        Some(at.tip),
        wanted.component_policies,
        own,
    )
    .await?
    {
        Ok(policies) => policies,
        Err(errors) => return Ok(Err(errors)),
    };
    let facts = Facts {
        change: change.clone(),
        changed: changed.to_vec(),
        at: found,
        component_policies,
    };
    let plan = decide(policy, &facts)?;
    Ok(Ok((plan, facts)))
}

/// Checks the policy files that a pull request brings: what is odd in them, or what is wrong.
async fn brought(
    mirror: &impl MirrorPort,
    change: &Change,
    touched: &BTreeSet<&str>,
) -> Result<Result<Vec<PolicyError>, PolicyErrors>, Failure> {
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let files: Vec<PathInRepo> = touched
        .iter()
        .filter(|path| matches!(name(path).as_deref(), Some(NATIVE_FILE | TELEFONISTKA_FILE)))
        .filter_map(|path| PathInRepo::parse(*path).ok())
        .take(MOST_FILES)
        .collect();
    if files.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let mut texts = mirror.blobs(&change.head, &files, MAX_BYTES).await?;
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        let read = texts.remove(&file).unwrap_or(Ok(None));
        let checked = match facts::text(&file, read)? {
            Ok(None) => continue,
            Ok(Some(text)) if file.as_str().contains('/') => {
                ComponentPolicy::compile(file.as_str(), &text).map(|policy| policy.warnings().to_vec())
            }
            Ok(Some(text)) => Policy::compile(file.as_str(), &text).map(|policy| policy.warnings().to_vec()),
            Err(errors) => Err(errors),
        };
        match checked {
            Ok(odd) => warnings.extend(odd),
            Err(wrong) => errors.extend(wrong.iter().cloned()),
        }
    }
    Ok(match PolicyErrors::of(errors) {
        Some(errors) => Err(errors),
        None => Ok(warnings),
    })
}
