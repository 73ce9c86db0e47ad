//! Tells on stderr what happens while it happens.

use std::io::Write as _;
use std::time::Instant;

use lockflight_promotion::message::{Body, Envelope, Outcome};
use lockflight_sandbox::Forge;

use crate::sandbox::change::FirstChange;

/// What is told to the person who watches.
#[derive(Debug)]
pub(crate) struct Story {
    started: Instant,
    web: String,
}

impl Story {
    /// Says where to look, and begins to count the time.
    pub(crate) fn begin(forge: &Forge, change: &FirstChange, once: bool) -> Self {
        let web = format!("{}/{}", forge.url(), change.repository);
        let story = Self {
            started: Instant::now(),
            web,
        };
        story.say(
            "forge",
            &format!(
                "{}  (repositories, pull requests, webhook deliveries)",
                forge.url()
            ),
        );
        story.say("repository", &story.web);
        if !once {
            story.say(
                "",
                "press Merge on each promotion pull request and watch the change travel; Ctrl-C ends it",
            );
        }
        story
    }

    /// How long it has gone on.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// A person merged a pull request.
    pub(crate) fn merged(&self, number: u64, title: &str) {
        self.say("merged", &format!("#{number}  {title}"));
    }

    /// Something stands in the journal.
    pub(crate) fn happened(&self, envelope: &Envelope) {
        let Body::Outcome(outcome) = &envelope.body else {
            return;
        };
        match outcome {
            Outcome::Planned { number, steps, .. } => {
                let steps = match steps.len() {
                    0 => "nothing to promote: the end of the way".to_owned(),
                    1 => "1 promotion pull request".to_owned(),
                    more => format!("{more} promotion pull requests"),
                };
                self.say("planned", &format!("#{number}  {steps}"));
            }
            Outcome::PullRequestOpened {
                number, source, url, ..
            } => {
                self.say("opened", &format!("#{number}  {url}  (promotes #{source})"));
            }
            Outcome::Reported {
                number,
                state,
                description,
            } => {
                self.say("status", &format!("#{number}  {state}: {description}"));
            }
            Outcome::Merged { number, .. } => self.say("merged", &format!("#{number}  by policy")),
            Outcome::Declined { number, .. } => {
                self.say("declined", &format!("#{number}  was closed by a person"));
            }
            Outcome::Superseded { number, by, .. } => {
                let what =
                    number.map_or_else(|| "what it would bring".to_owned(), |number| format!("#{number}"));
                self.say("superseded", &format!("{what}  by #{by}"));
            }
            Outcome::Commanded {
                number,
                command,
                by,
                done,
            } => {
                let refused = if *done { "" } else { " (refused)" };
                self.say("commanded", &format!("#{number}  {by}: {command}{refused}"));
            }
            Outcome::Forwarded { to, .. } => self.say("forwarded", &format!("a push to {to}")),
            Outcome::NotForwarded { reason, .. } => self.say("not passed on", reason),
            Outcome::Stopped { number, reason } => self.say("STOPPED", &format!("#{number}  {reason}")),
            Outcome::Retried { reason, .. } => self.say("retrying", reason),
            Outcome::Parked { reason } => self.say("PARKED", reason),
            Outcome::Ignored { .. }
            | Outcome::BranchPushed { .. }
            | Outcome::Forwarding { .. }
            | Outcome::NoChange { .. } => {}
        }
    }

    /// One line: the time, what, and the rest.
    pub(crate) fn say(&self, what: &str, rest: &str) {
        let seconds = self.elapsed().as_secs_f32();
        // A closed stderr is no reason to stop.
        writeln!(std::io::stderr(), "{seconds:7.2}s  {what:<10} {rest}").unwrap_or_default();
    }
}
