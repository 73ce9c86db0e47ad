//! What people ask for in comments: `/promote <verb>`, and what Telefonistka's users are used to.
//!
//! There is one table of verbs. The parser, the help text, the permissions and "did you mean" all come from it, so that they can't
//! disagree. Only the first line of a comment is looked at, and only if the command begins it: a command in a quote or in a code
//! block never does.

mod parse;
mod when;

use std::fmt;

use crate::text::markdown;

pub(crate) use parse::closest;
pub use parse::{Mistake, Parsed, candidate, parse};
pub use when::{Until, utc};

/// What a command begins with.
pub const PREFIX: &str = "/promote";

/// Telefonistka's word for [`Command::Replan`].
pub const RETRIGGER: &str = "/retrigger";

/// The label that asks for the plan as a comment, as Telefonistka names it.
pub const SHOW_PLAN: &str = "show-plan";

/// The most characters of a line that travel and are shown.
pub const LINE_LIMIT: usize = 300;

/// What somebody may do in a repository, in GitHub's order.
///
/// See <https://docs.github.com/en/organizations/managing-user-access-to-your-organizations-repositories/managing-repository-roles/repository-roles-for-an-organization>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing.
    None,
    /// Look.
    Read,
    /// Also label and close.
    Triage,
    /// Also push and merge.
    Write,
    /// Also some settings.
    Maintain,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Triage => "triage",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        })
    }
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Which commands there are.
    Help,
    /// How the promotion is, and who holds it.
    Status,
    /// Where the change goes, and why a component does not go somewhere.
    Explain {
        /// The component; none for all.
        component: Option<String>,
    },
    /// Plan the change anew.
    Replan,
    /// Try anew what stopped.
    Retry,
    /// Flip a commit status between success and failure (`toggleCommitStatus`).
    Toggle {
        /// Its context.
        context: String,
    },
    /// Something that stands until it is taken back.
    Control(Control),
}

/// What changes [`Controls`](crate::control::Controls).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Not now.
    Hold {
        /// Until when; none until it is released.
        until: Option<Until>,
        /// Why, in the person's words; may be empty.
        reason: String,
    },
    /// Takes back every hold, and an abort, and lets go what was rolled back.
    Release,
    /// Leaves a target out.
    Skip {
        /// The target, by its path or by the name of its environment.
        target: String,
        /// Why; may be empty.
        reason: String,
    },
    /// Never.
    Abort {
        /// Why; may be empty.
        reason: String,
    },
    /// Brings the content back that stood before the change, and keeps it there.
    Rollback {
        /// The target, by its path or by the name of its environment; none for all.
        target: Option<String>,
        /// Which components at which targets that is: [`crate::rollback::part`] of each. What is written in a comment does not say that: who
        /// knows the plan does.
        parts: Vec<String>,
        /// Why; may be empty.
        reason: String,
    },
    /// Lets a gate count as open.
    Override {
        /// Which.
        gate: GateName,
        /// Only before what follows this wave, counted from 1; none for every wave.
        wave: Option<u32>,
        /// Why; never empty.
        reason: String,
    },
}

/// The gates that an override can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateName {
    /// Approvals of the pull requests.
    Approvals,
    /// The time that a wave has to stand.
    Soak,
    /// Commit statuses and check runs.
    Checks,
    /// Answers of servers.
    Http,
    /// Measurements.
    Prometheus,
    /// Freeze windows.
    Freeze,
}

impl GateName {
    /// All of them, in the order in which help lists them.
    pub const ALL: [Self; 6] = [
        Self::Approvals,
        Self::Soak,
        Self::Checks,
        Self::Http,
        Self::Prometheus,
        Self::Freeze,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approvals => "approvals",
            Self::Soak => "soak",
            Self::Checks => "checks",
            Self::Http => "http",
            Self::Prometheus => "prometheus",
            Self::Freeze => "freeze",
        }
    }
}

/// One verb.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// The word.
    pub word: &'static str,
    /// What follows it, as help shows it.
    pub arguments: &'static str,
    /// What one has to be in the repository to use it.
    pub needs: Role,
    /// What it does; completes "This ".
    pub does: &'static str,
    read: parse::Read,
}

/// Every verb, in the order in which help lists them.
pub const VERBS: [Verb; 11] = [
    Verb {
        word: "help",
        arguments: "",
        needs: Role::Read,
        does: "lists the commands",
        read: parse::help,
    },
    Verb {
        word: "status",
        arguments: "",
        needs: Role::Read,
        does: "says how the promotion is, and who holds it",
        read: parse::status,
    },
    Verb {
        word: "explain",
        arguments: "[component]",
        needs: Role::Read,
        does: "says where the change goes, and why a component is left out somewhere",
        read: parse::explain,
    },
    Verb {
        word: "replan",
        arguments: "",
        needs: Role::Write,
        does: "plans the merged change anew",
        read: parse::replan,
    },
    Verb {
        word: "hold",
        arguments: "[until <time or duration>] [reason]",
        needs: Role::Write,
        does: "lets nothing more of the change be opened or merged, until that time or a release",
        read: parse::hold,
    },
    Verb {
        word: "release",
        arguments: "",
        needs: Role::Write,
        does: "takes back every hold and an abort, and lets go what was rolled back",
        read: parse::release,
    },
    Verb {
        word: "skip",
        arguments: "<target> [reason]",
        needs: Role::Write,
        does: "leaves a target out, by its path or the name of its environment",
        read: parse::skip,
    },
    Verb {
        word: "retry",
        arguments: "",
        needs: Role::Write,
        does: "tries anew what stopped",
        read: parse::retry,
    },
    Verb {
        word: "abort",
        arguments: "[reason]",
        needs: Role::Write,
        does: "ends the promotion of the change: nothing more of it is opened or merged",
        read: parse::abort,
    },
    Verb {
        word: "rollback",
        arguments: "<target>|all [reason]",
        needs: Role::Write,
        does: "brings back what stood before the change, by the same waves and gates, and keeps it there until a release",
        read: parse::rollback,
    },
    Verb {
        word: "override",
        arguments: "<gate> [wave <number>] <reason>",
        needs: Role::Maintain,
        does: "lets a gate count as open: approvals, soak, checks, http, prometheus or freeze",
        read: parse::overriding,
    },
];

impl Command {
    /// What one has to be in the repository to have it done.
    #[must_use]
    pub fn needs(&self) -> Role {
        let word = match self {
            Self::Help => "help",
            Self::Status => "status",
            Self::Explain { .. } => "explain",
            Self::Replan => "replan",
            Self::Retry => "retry",
            Self::Toggle { .. } => return Role::Write,
            Self::Control(Control::Hold { .. }) => "hold",
            Self::Control(Control::Release) => "release",
            Self::Control(Control::Skip { .. }) => "skip",
            Self::Control(Control::Abort { .. }) => "abort",
            Self::Control(Control::Rollback { .. }) => "rollback",
            Self::Control(Control::Override { .. }) => "override",
        };
        VERBS
            .iter()
            .find(|verb| verb.word == word)
            .map_or(Role::Admin, |verb| verb.needs)
    }

    /// Whether it only asks, so that it may be answered for any head.
    #[must_use]
    pub const fn only_asks(&self) -> bool {
        matches!(self, Self::Help | Self::Status | Self::Explain { .. })
    }
}

/// The answer to `/promote help`, in Markdown. `toggles` are the lines that the policy has flip commit statuses, each with the context.
#[must_use]
pub fn help<'t>(toggles: impl IntoIterator<Item = (&'t str, &'t str)>) -> String {
    let mut text = "**Commands** stand at the very beginning of a new comment, one in a comment.\n\n\
                    | Command | Needs the role | This |\n|---|---|---|\n"
        .to_owned();
    let mut row = |command: &str, needs: Role, does: &str| {
        text.push_str(&format!("| {} | {needs} | {does} |\n", markdown::code(command)));
    };
    for verb in &VERBS {
        let command = format!("{PREFIX} {} {}", verb.word, verb.arguments);
        row(command.trim_end(), verb.needs, verb.does);
    }
    row(RETRIGGER, Role::Write, "is the same as replan");
    for (line, context) in toggles {
        let does = format!("flips the commit status {}", markdown::code(context));
        row(line, Role::Write, &does);
    }
    text.push_str(
        "\nA time is written as `2026-11-24`, `2026-11-24T09:00` (UTC) or with a zone as `2026-11-24T09:00+01:00`; a duration as \
         `90m`, `4h`, `3d` or `1w`. A command is done to the head that the pull request had when it was written, and to no later one.\n",
    );
    text
}

#[cfg(test)]
mod tests;
