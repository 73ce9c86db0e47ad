//! Reads the gates of a wave. One that can't be read is closed, and says why.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_fleet::RepoLock;
use lockflight_fleet::worker::Failure;
use lockflight_forge::port::{ForgePort, RepositoryPort};
use lockflight_forge::{CheckState, PullRequest, ReviewState};
use lockflight_git::port::{MirrorPort as _, MirrorsPort};
use lockflight_outbound::{Reading, read_http, read_prometheus};
use lockflight_promotion::change::Change;
use lockflight_promotion::code_owners::{CodeOwners, LOCATIONS, MAX_BYTES, Owner};
use lockflight_promotion::command::{GateName, Role, utc};
use lockflight_promotion::control::ControlsRead;
use lockflight_promotion::gate::Approvals;
use lockflight_promotion::plan::{PlannedWave, Step};
use lockflight_promotion::progress::Seen;
use lockflight_promotion::{ErrorClass, Login, PathInRepo};

use crate::Executor;
use crate::look::{Look, Sight};
use crate::outlook::Wait;

/// How often a gate is looked at whose change nobody tells, in seconds.
const CHECKS_EVERY_S: u64 = 60;

impl<L: RepoLock, F: ForgePort, G: MirrorsPort> Executor<L, F, G> {
    /// The gates after a wave, all of whose steps are over, that are closed.
    pub(crate) async fn closed_gates(
        &self,
        change: &Change,
        look: &mut Look<'_, L, F, G>,
        (number, wave): (u32, &PlannedWave),
        sights: &[(&Step, Sight)],
        (controls, now_s): (&ControlsRead, i64),
    ) -> Result<Vec<Wait>, Failure> {
        let mut waits = Vec::new();
        let gates = &wave.gates;
        let is_open = |gate| controls.override_of(gate, number).is_some();
        let seen: Vec<Seen> = sights.iter().map(|(_, sight)| sight.seen).collect();
        if let Some(until_s) = wave.soaked_at(&seen)
            && until_s > now_s
            && !is_open(GateName::Soak)
        {
            waits.push(Wait {
                what: format!("{} to stand until {}", wave.name, utc(until_s)),
                until_s: Some(until_s),
                every_s: None,
            });
        }
        for (step, sight) in sights {
            let Some(pull_request) = sight.pull_request.as_ref().filter(|one| one.merged) else {
                continue;
            };
            let client = look.client(step).await?;
            let missing = self
                .missing_approvals(change, &client, pull_request, (number, wave), controls)
                .await?;
            waits.extend(missing);
            if !gates.checks.is_empty() && !is_open(GateName::Checks) {
                waits.extend(unfinished_checks(&client, change, pull_request, &gates.checks).await?);
            }
        }
        if !is_open(GateName::Http) {
            for http in &gates.http {
                let reading = match &self.outbound {
                    Some(outbound) => read_http(outbound, http).await,
                    None => no_outbound(),
                };
                waits.extend(closed(&http.name, reading, http.every_s));
            }
        }
        if !is_open(GateName::Prometheus) {
            for prometheus in &gates.prometheus {
                let reading = match &self.outbound {
                    Some(outbound) => read_prometheus(outbound, prometheus).await,
                    None => no_outbound(),
                };
                waits.extend(closed(&prometheus.name, reading, prometheus.every_s));
            }
        }
        Ok(waits)
    }

    /// Who has yet to approve the pull request of a step; none if nobody has to.
    pub(crate) async fn missing_approvals(
        &self,
        change: &Change,
        client: &F::Repository,
        pull_request: &PullRequest,
        (number, wave): (u32, &PlannedWave),
        controls: &ControlsRead,
    ) -> Result<Option<Wait>, Failure> {
        let Some(wanted) = &wave.gates.approvals else {
            return Ok(None);
        };
        if controls.override_of(GateName::Approvals, number).is_some() {
            return Ok(None);
        }
        let missing = match self.lacking(change, client, pull_request, wanted).await {
            Ok(missing) => missing,
            // Only people can mend it, and until then the gate is closed.
            Err(Failure {
                class: ErrorClass::User,
                reason,
            }) => {
                let called = change.name_of(&pull_request.base_repo.name, pull_request.number);
                Some(format!("whether {called} is approved can't be read: {reason}"))
            }
            Err(failure) => return Err(failure),
        };
        Ok(missing.map(|what| Wait {
            what,
            until_s: None,
            every_s: Some(CHECKS_EVERY_S),
        }))
    }

    async fn lacking(
        &self,
        change: &Change,
        client: &F::Repository,
        pull_request: &PullRequest,
        wanted: &Approvals,
    ) -> Result<Option<String>, Failure> {
        let called = change.name_of(&pull_request.base_repo.name, pull_request.number);
        let mut approvers = self.approvers(change, client, pull_request).await?;
        let mut teams = Teams {
            client,
            organisation: pull_request.base_repo.name.owner().to_owned(),
            members: BTreeMap::new(),
        };
        if wanted.code_owners
            && let Some(path) = self.unowned(client, pull_request, &approvers, &mut teams).await?
        {
            return Ok(Some(format!("an owner of {path} to approve {called}")));
        }
        if !wanted.teams.is_empty() {
            let mut members = BTreeSet::new();
            for team in &wanted.teams {
                members.extend(teams.of(team).await?.iter().cloned());
            }
            approvers.retain(|approver| members.contains(approver));
        }
        let have = u32::try_from(approvers.len()).unwrap_or(u32::MAX);
        if have >= wanted.count {
            return Ok(None);
        }
        let of = match wanted.teams.as_slice() {
            [] => String::new(),
            teams => format!(" of {}", teams.join(" or ")),
        };
        let lacking = wanted.count - have;
        let approvals = if lacking == 1 { "approval" } else { "approvals" };
        Ok(Some(format!("{lacking} {approvals}{of} of {called}")))
    }

    /// Who approves the head of a pull request, and counts: neither its author, nor the author of the change, nor Lockflight, nor who may not write.
    async fn approvers(
        &self,
        change: &Change,
        client: &F::Repository,
        pull_request: &PullRequest,
    ) -> Result<BTreeSet<Login>, Failure> {
        let mut ours = vec![self.forge.identity().await?.login];
        if let Some(approver) = &self.approver {
            ours.push(approver.identity().await?.login);
        }
        let mut latest: BTreeMap<Login, bool> = BTreeMap::new();
        for review in client.reviews(pull_request.number).await? {
            match review.state {
                ReviewState::Approved => {
                    let of_head = review.commit.as_ref() == Some(&pull_request.head);
                    latest.insert(review.author, of_head);
                }
                ReviewState::ChangesRequested | ReviewState::Dismissed => {
                    latest.insert(review.author, false);
                }
                ReviewState::Commented | ReviewState::Pending | ReviewState::Other => {}
            }
        }
        let counts = |who: &Login| {
            !ours.contains(who) && who != change.original_author() && *who != pull_request.author
        };
        let mut approvers = BTreeSet::new();
        for (who, approves) in latest {
            // Anybody may review what anybody can see. As GitHub has it, those count who may write.
            if approves
                && counts(&who)
                && client
                    .collaborator(&who)
                    .await?
                    .is_some_and(|collaborator| collaborator.role >= Role::Write)
            {
                approvers.insert(who);
            }
        }
        Ok(approvers)
    }

    /// A changed file none of whose owners is among the approvers.
    async fn unowned(
        &self,
        client: &F::Repository,
        pull_request: &PullRequest,
        approvers: &BTreeSet<Login>,
        teams: &mut Teams<'_, F::Repository>,
    ) -> Result<Option<String>, Failure> {
        let mirror = self.mirror(client).await?;
        let Some(head) = mirror.fetch_branch(&pull_request.base_branch).await? else {
            let reason = format!(
                "the branch {} is gone, and CODEOWNERS with it",
                pull_request.base_branch
            );
            return Err(Failure::new(ErrorClass::User, reason));
        };
        // A promotion that changes CODEOWNERS is judged by what stood there before it.
        let at = match &pull_request.merge_commit {
            Some(merged) => mirror.parent(merged).await?.unwrap_or(head),
            None => head,
        };
        let mut owners = CodeOwners::default();
        for file in LOCATIONS {
            let path = PathInRepo::parse(file).map_err(|error| Failure::of(ErrorClass::Bug, &error))?;
            if let Some(text) = mirror.blob(&at, &path, MAX_BYTES as u64).await? {
                owners = CodeOwners::parse(&String::from_utf8_lossy(&text))
                    .map_err(|error| Failure::of(ErrorClass::User, &error))?;
                break;
            }
        }
        let files = client.files(pull_request.number).await?;
        // What was moved away was changed where it was, too.
        let paths = files
            .into_iter()
            .flat_map(|file| std::iter::once(file.path).chain(file.previous_path));
        for path in paths {
            let of_file = owners.owners(&path);
            if of_file.is_empty() {
                continue;
            }
            let mut approved = false;
            for owner in of_file {
                approved |= match owner {
                    Owner::User(login) => approvers.contains(login),
                    // GitHub knows no owners of another organization.
                    Owner::Team { org, .. } if !org.as_str().eq_ignore_ascii_case(&teams.organisation) => {
                        false
                    }
                    Owner::Team { slug, .. } => {
                        let slug = slug.clone();
                        teams
                            .of(&slug)
                            .await?
                            .iter()
                            .any(|member| approvers.contains(member))
                    }
                    Owner::Email(_) => false,
                };
            }
            if !approved {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// The members of teams, each asked for once.
struct Teams<'t, R> {
    client: &'t R,
    organisation: String,
    members: BTreeMap<String, Vec<Login>>,
}

impl<R: RepositoryPort> Teams<'_, R> {
    async fn of(&mut self, slug: &str) -> Result<&[Login], Failure> {
        if !self.members.contains_key(slug) {
            let members = self.client.team_members(&self.organisation, slug).await?;
            self.members.insert(slug.to_owned(), members);
        }
        Ok(self.members.get(slug).map_or(&[], Vec::as_slice))
    }
}

/// The checks of a merged step's commit that do not succeed yet.
async fn unfinished_checks(
    client: &impl RepositoryPort,
    change: &Change,
    pull_request: &PullRequest,
    names: &[String],
) -> Result<Option<Wait>, Failure> {
    let called = change.name_of(&pull_request.base_repo.name, pull_request.number);
    let wait = |what: String| {
        Some(Wait {
            what,
            until_s: None,
            every_s: Some(CHECKS_EVERY_S),
        })
    };
    let Some(commit) = &pull_request.merge_commit else {
        return Ok(wait(format!("GitHub to say as which commit {called} was merged")));
    };
    let checks = client.checks(commit).await?;
    let missing = names.iter().find_map(|name| match checks.named(name) {
        // A status may bear the name of a check run that we are not shown.
        Some(check) if check.state == CheckState::Success && checks.unreadable.is_none() => None,
        Some(check) if check.state == CheckState::Failure => Some(format!("{name}, which failed")),
        Some(_) | None => Some(match &checks.unreadable {
            Some(reason) => format!("{name}, which can't be read: {reason}"),
            None => name.clone(),
        }),
    });
    Ok(missing.and_then(|what| wait(format!("the check {what} on the merge of {called}"))))
}

fn no_outbound() -> Reading {
    Reading::Unreadable {
        reason: "whoever runs Lockflight has allowed no addresses ([outbound] allowed_hosts)".to_owned(),
    }
}

fn closed(name: &str, reading: Reading, every_s: u64) -> Option<Wait> {
    let what = match reading {
        Reading::Holds { .. } => return None,
        Reading::DoesNotHold { detail } => format!("the gate {name}: {detail}"),
        Reading::Unreadable { reason } => format!("the gate {name}, which can't be read: {reason}"),
    };
    Some(Wait {
        what,
        until_s: None,
        every_s: Some(every_s),
    })
}
