//! What people ask for on a pull request: a command in a comment, or the label `show-plan`.
//!
//! The webhook only says where to look. What is asked, and by whom, is read from the forge: the comment as it stands now, by the account
//! that wrote it. A planner only reads, so it also answers what only needs reading (where a change goes); whether the person may, and the
//! doing, are for the executor.

use std::collections::BTreeMap;

use lockflight_fleet::worker::Failure;
use lockflight_forge::port::{ForgePort, RepositoryPort as _};
use lockflight_forge::{AccountType, PullRequest};
use lockflight_git::port::MirrorsPort;
use lockflight_promotion::command::{self, Command, Control, Parsed, SHOW_PLAN};
use lockflight_promotion::message::{Body, CommandV1, DeliveryV1, Envelope, Outcome, Sender};
use lockflight_promotion::text::{self, Links, markdown};
use lockflight_promotion::{ErrorClass, MessageId, PrNumber};

use crate::facts::{self, Reading};
use crate::{Planner, decide, reply};

impl<F: ForgePort, G: MirrorsPort> Planner<F, G> {
    /// What follows from a delivery by which a person asks for something; none if it is another one.
    pub(crate) async fn asked(
        &self,
        envelope: &Envelope,
        delivery: &DeliveryV1,
    ) -> Result<Option<Vec<Envelope>>, Failure> {
        let Some(number) = delivery.pull_request.as_ref().map(|hint| hint.number) else {
            return Ok(None);
        };
        let asked = match (delivery.event.as_str(), delivery.comment, &delivery.label) {
            ("issue_comment", Some(comment), _) => self.commented(envelope, number, comment).await?,
            ("pull_request", _, Some(label)) if label == SHOW_PLAN => {
                self.labelled(envelope, number, delivery.sender.clone()).await?
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![match asked {
            Ok(message) => message,
            Err(reason) => reply::outcome(
                envelope,
                Outcome::Ignored {
                    reason: reason.to_owned(),
                },
            ),
        }]))
    }

    /// The command of a comment, or why there is none.
    async fn commented(
        &self,
        envelope: &Envelope,
        number: PrNumber,
        id: u64,
    ) -> Result<Result<Envelope, &'static str>, Failure> {
        let client = self.forge.repository(&envelope.repo).await?;
        let Some(comment) = client.comment(id).await? else {
            return Ok(Err("the comment was deleted"));
        };
        let us = self.forge.identity().await?.login;
        let is_person = comment.author_type == AccountType::User && comment.author != us;
        let Some(by) = comment.author_id.filter(|_| is_person) else {
            return Ok(Err("the comment is not a person's"));
        };
        if comment.number != Some(number) {
            return Ok(Err("the comment is on another pull request"));
        }
        let Some(line) = command::candidate(&comment.body) else {
            return Ok(Err("the comment is no command"));
        };
        // The lines of the policy itself are looked up only where the line is none of ours.
        let parsed = command::parse(line, None);
        let needs_policy = matches!(parsed, Parsed::Nothing | Parsed::Command(Command::Help));
        let pull_request = client.pull_request(number).await?;
        let toggles = if needs_policy {
            self.toggles(&client, &pull_request).await?
        } else {
            BTreeMap::new()
        };
        let toggle = toggles.get(line).cloned();
        if parsed == Parsed::Nothing && toggle.is_none() {
            return Ok(Err("the comment is no command"));
        }
        let answer = match &parsed {
            Parsed::Command(Command::Help) => {
                let lines = toggles
                    .iter()
                    .map(|(line, context)| (line.as_str(), context.as_str()));
                Some(command::help(lines))
            }
            Parsed::Command(Command::Explain { component }) => Some(
                self.where_to(envelope, &pull_request, component.as_deref())
                    .await?,
            ),
            _ => None,
        };
        let (parts, answer) = match &parsed {
            Parsed::Command(Command::Control(Control::Rollback { target, .. })) => {
                match self
                    .parts_named(envelope, &pull_request, target.as_deref())
                    .await?
                {
                    Ok(parts) => (parts, None),
                    Err(why) => (Vec::new(), Some(why)),
                }
            }
            _ => (Vec::new(), answer),
        };
        let command = CommandV1 {
            number,
            head: pull_request.head,
            comment: Some(id),
            by: Sender {
                id: by,
                login: comment.author,
            },
            at_s: comment.created_at,
            line: markdown::cut(line, 4 * command::LINE_LIMIT).into_owned(),
            toggle,
            answer,
            parts,
        };
        let id = MessageId::of(&[
            "command",
            &envelope.repo.id.to_string(),
            &number.to_string(),
            &id.to_string(),
        ]);
        Ok(Ok(envelope.follow(id, Body::Command(Box::new(command)))))
    }

    /// The plan that a label asks for, or why there is none.
    async fn labelled(
        &self,
        envelope: &Envelope,
        number: PrNumber,
        by: Option<Sender>,
    ) -> Result<Result<Envelope, &'static str>, Failure> {
        let Some(by) = by else {
            return Ok(Err("nobody put the label on"));
        };
        let client = self.forge.repository(&envelope.repo).await?;
        let pull_request = client.pull_request(number).await?;
        if !pull_request.labels.contains(SHOW_PLAN) {
            return Ok(Err("the label was taken off again"));
        }
        let answer = self.where_to(envelope, &pull_request, None).await?;
        let command = CommandV1 {
            number,
            head: pull_request.head,
            comment: None,
            by,
            at_s: pull_request.updated_at,
            line: SHOW_PLAN.to_owned(),
            toggle: None,
            answer: Some(answer),
            parts: Vec::new(),
        };
        // Each time that the label is put on is a question of its own.
        let id = MessageId::of(&[SHOW_PLAN, envelope.id.as_str()]);
        Ok(Ok(envelope.follow(id, Body::Command(Box::new(command)))))
    }

    /// The lines that the policy has flip commit statuses, each with the context.
    async fn toggles(
        &self,
        client: &F::Repository,
        pull_request: &PullRequest,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let policy = facts::current_policy(&self.mirrors, client, pull_request).await?;
        let settings = policy
            .as_ref()
            .map(|policy| &policy.settings().toggle_commit_status);
        Ok(settings
            .into_iter()
            .flatten()
            .map(|(key, context)| (format!("/{key}"), context.clone()))
            .collect())
    }

    /// Where a pull request goes, in Markdown.
    async fn where_to(
        &self,
        envelope: &Envelope,
        pull_request: &PullRequest,
        component: Option<&str>,
    ) -> Result<String, Failure> {
        let reading = facts::preview(
            &self.forge,
            &self.mirrors,
            &self.marker_keys,
            &envelope.repo,
            pull_request,
        );
        let reading = match reading.await {
            Err(Failure {
                class: ErrorClass::User,
                reason,
            }) => Reading::Nothing { reason },
            reading => reading?,
        };
        let nowhere =
            |reason: &str| format!("**Plan:** this change goes nowhere: {}.", markdown::text(reason));
        Ok(match reading {
            Reading::Nothing { reason } | Reading::Unreadable { reason, .. } => nowhere(&reason),
            Reading::BrokenPolicy { change, errors } => {
                let links = Links::new(self.forge.web_url());
                text::failure::policy(&change, &errors, &links).comment
            }
            Reading::Facts { policy, facts, .. } => {
                text::plan(&decide(&policy, &facts)?, pull_request.merged, component)
            }
        })
    }
}
