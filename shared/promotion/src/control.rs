//! What people have decided about the promotion of a change: who holds it, what is skipped, which gates are overridden.
//!
//! It stands, signed, in one comment of ours on the pull request of the change ([`crate::text::controls`]), and nowhere else: the loss of
//! every message and of Redis takes nothing from it. Where that comment can't be believed, the change counts as held.

use serde::{Deserialize, Serialize};

use crate::Login;
use crate::command::{Control, GateName, utc};
use crate::message::Sender;
use crate::rollback::Rollback;
use crate::text::markdown;

/// The most holds, each of another person.
const HOLDS_LIMIT: usize = 8;
/// The most skips, and the most overrides.
const LIMIT: usize = 32;
/// How many comments are remembered as handled. What is older can't come again: GitHub keeps deliveries for three days.
const HANDLED_LIMIT: usize = 128;
/// The most characters of a reason that are kept.
const REASON_LIMIT: usize = 200;
/// The most bytes of all of it as JSON.
pub(crate) const SIZE_LIMIT: usize = 24 * 1024;

/// What people have decided about a change. The newest of two has the higher revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controls {
    /// How often it has been changed.
    pub revision: u64,
    /// Who says "not now"; also holds whose time is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// What is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skips: Vec<Skip>,
    /// Who has ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<Abort>,
    /// What was taken back, oldest first; also what is let go again. None of it is ever removed: each is known by its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollbacks: Vec<Rollback>,
    /// Which gates count as open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// The comments whose commands are part of this, by their numeric ids, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<u64>,
}

/// A person's "not now".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub by: Login,
    /// Whose account that is.
    pub user_id: u64,
    /// Why; may be empty.
    pub reason: String,
    /// Since when, in seconds since 1970 UTC.
    pub since_s: i64,
    /// Until when, in seconds since 1970 UTC; none until it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<i64>,
}

/// A target that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// Its path, or the name of its environment.
    pub target: String,
    /// Who said so.
    pub by: Login,
    /// Whose account that is.
    pub user_id: u64,
    /// Why; may be empty.
    pub reason: String,
    /// When, in seconds since 1970 UTC.
    pub at_s: i64,
}

/// A person's "never".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Who.
    pub by: Login,
    /// Whose account that is.
    pub user_id: u64,
    /// Why; may be empty.
    pub reason: String,
    /// When, in seconds since 1970 UTC.
    pub at_s: i64,
}

/// A gate that counts as open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Which.
    pub gate: GateName,
    /// Only after this wave, counted from 1; none after every wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    /// Who said so.
    pub by: Login,
    /// Whose account that is.
    pub user_id: u64,
    /// Why.
    pub reason: String,
    /// When, in seconds since 1970 UTC.
    pub at_s: i64,
}

/// Why a control can't be changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The time of the hold is over already.
    #[error("{} is over already", utc(*.0))]
    Over(i64),
    /// There is nothing to take back.
    #[error("nothing is held or rolled back, and the promotion was not aborted")]
    NothingToRelease,
    /// All of it was rolled back before, and is held since.
    #[error("that is rolled back already; `/promote release` lets it go")]
    RolledBack,
    /// A rollback would have too many parts.
    #[error(
        "it would bring back more components at their targets than the {} that one change can; `/promote rollback <target>` names one \
         target at a time",
        crate::rollback::PARTS_LIMIT
    )]
    TooManyParts,
    /// It would grow without bound.
    #[error(
        "there are too many {0} on this change already; a new pull request of its own is the better place for what they say"
    )]
    TooMany(&'static str),
    /// What stands can't be believed, so that it can only be held, aborted or released.
    #[error(
        "the comment in which Lockflight keeps what people decided was edited, so that it can't be believed; `/promote release` \
         begins it anew, without its skips and overrides"
    )]
    Forged,
}

/// Why nothing more of a change is opened or merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance<'c> {
    /// A person has ended it.
    Aborted(&'c Abort),
    /// A person holds it.
    Held(&'c Hold),
    /// What people decided can't be read, so that it might be held.
    Forged,
}

impl Hindrance<'_> {
    /// When it is over, in seconds since 1970 UTC; none if only people end it.
    #[must_use]
    pub const fn until_s(&self) -> Option<i64> {
        match self {
            Self::Held(hold) => hold.until_s,
            Self::Aborted(_) | Self::Forged => None,
        }
    }

    /// A sentence in plain text on who or what is awaited, and until when.
    #[must_use]
    pub fn sentence(&self) -> String {
        let because = |reason: &str| {
            if reason.is_empty() {
                String::new()
            } else {
                format!(": {}", markdown::one_line(reason))
            }
        };
        match self {
            Self::Aborted(abort) => format!("Aborted by {}{}", abort.by, because(&abort.reason)),
            Self::Held(hold) => {
                let until = hold.until_s.map_or_else(
                    || "until released".to_owned(),
                    |until| format!("until {}", utc(until)),
                );
                format!("Held by {} {until}{}", hold.by, because(&hold.reason))
            }
            Self::Forged => {
                "Held: the comment with what people decided was edited; /promote release begins it anew"
                    .to_owned()
            }
        }
    }
}

/// What was found of a change's controls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ControlsRead {
    /// Nobody has ever decided anything.
    Absent,
    /// What people have decided.
    Valid(Box<Controls>),
    /// Something that was not written by us as it stands: it counts as held.
    Forged,
}

impl ControlsRead {
    /// Why nothing more of the change is opened or merged at `now_s`, in seconds since 1970 UTC; none if nothing hinders it.
    #[must_use]
    pub fn hindrance(&self, now_s: i64) -> Option<Hindrance<'_>> {
        match self {
            Self::Absent => None,
            Self::Valid(controls) => controls.hindrance(now_s),
            Self::Forged => Some(Hindrance::Forged),
        }
    }

    /// The skip that leaves out a target of these names, each a path or the name of an environment or domain.
    #[must_use]
    pub fn skip_of<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&Skip> {
        match self {
            Self::Valid(controls) => controls.skip_of(names),
            Self::Absent | Self::Forged => None,
        }
    }

    /// The override of a gate after a wave, counted from 1.
    #[must_use]
    pub fn override_of(&self, gate: GateName, wave: u32) -> Option<&Override> {
        match self {
            Self::Valid(controls) => controls.override_of(gate, wave),
            Self::Absent | Self::Forged => None,
        }
    }
}

impl Controls {
    /// The hold that stands at `now_s`, in seconds since 1970 UTC; the one that lasts longest if there are several.
    #[must_use]
    pub fn is_held(&self, now_s: i64) -> Option<&Hold> {
        self.holds
            .iter()
            .filter(|hold| hold.until_s.is_none_or(|until| until > now_s))
            .max_by_key(|hold| hold.until_s.unwrap_or(i64::MAX))
    }

    /// Why nothing more of the change is opened or merged at `now_s`; none if nothing hinders it.
    #[must_use]
    pub fn hindrance(&self, now_s: i64) -> Option<Hindrance<'_>> {
        let aborted = self.aborted.as_ref().map(Hindrance::Aborted);
        aborted.or_else(|| self.is_held(now_s).map(Hindrance::Held))
    }

    /// The skip that leaves out a target of these names: one of them, or a directory above it, is what was named.
    #[must_use]
    pub fn skip_of<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&Skip> {
        names.into_iter().find_map(|name| {
            let is_within = |skip: &&Skip| {
                name.strip_prefix(skip.target.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            self.skips.iter().find(is_within)
        })
    }

    /// The override of a gate after a wave, counted from 1.
    #[must_use]
    pub fn override_of(&self, gate: GateName, wave: u32) -> Option<&Override> {
        let is_meant = |one: &&Override| one.gate == gate && one.wave.is_none_or(|of| of == wave);
        self.overrides.iter().find(is_meant)
    }

    /// Whether the command of this comment is part of it already.
    #[must_use]
    pub fn has_handled(&self, comment: u64) -> bool {
        self.handled.contains(&comment)
    }

    /// The controls once `who` has given a command in `comment` at `at_s`, in seconds since 1970 UTC. The same command twice changes
    /// nothing the second time.
    ///
    /// # Errors
    /// When what is asked makes no sense as things stand.
    pub fn apply(&self, control: &Control, comment: u64, who: &Sender, at_s: i64) -> Result<Self, Refused> {
        if self.has_handled(comment) {
            return Ok(self.clone());
        }
        let mut next = self.clone();
        next.revision = self.revision.saturating_add(1);
        next.holds
            .retain(|hold| hold.until_s.is_none_or(|until| until > at_s));
        let (by, user_id) = (who.login.clone(), who.id);
        let cut = |reason: &str| markdown::cut(&markdown::one_line(reason), REASON_LIMIT).into_owned();
        match control {
            Control::Hold { until, reason } => {
                let until_s = until.map(|until| until.from(at_s));
                if let Some(until) = until_s.filter(|until| *until <= at_s) {
                    return Err(Refused::Over(until));
                }
                next.holds.retain(|hold| hold.user_id != user_id);
                if next.holds.len() >= HOLDS_LIMIT {
                    return Err(Refused::TooMany("holds"));
                }
                next.holds.push(Hold {
                    by,
                    user_id,
                    reason: cut(reason),
                    since_s: at_s,
                    until_s,
                });
            }
            Control::Release => {
                let mut rollbacks = next
                    .rollbacks
                    .iter_mut()
                    .filter(|rollback| rollback.holds())
                    .peekable();
                if next.holds.is_empty() && next.aborted.is_none() && rollbacks.peek().is_none() {
                    return Err(Refused::NothingToRelease);
                }
                rollbacks.for_each(|rollback| rollback.released_s = Some(at_s));
                next.holds.clear();
                next.aborted = None;
            }
            Control::Rollback {
                target,
                parts,
                reason,
            } => {
                let rollback = Rollback {
                    target: target.as_deref().map(cut),
                    parts: parts.clone(),
                    by,
                    user_id,
                    reason: cut(reason),
                    at_s,
                    released_s: None,
                };
                next.rollbacks.push(rollback.beside(&next.rollbacks)?);
            }
            Control::Skip { target, reason } => {
                next.skips.retain(|skip| skip.target != *target);
                if next.skips.len() >= LIMIT {
                    return Err(Refused::TooMany("skips"));
                }
                next.skips.push(Skip {
                    target: cut(target),
                    by,
                    user_id,
                    reason: cut(reason),
                    at_s,
                });
            }
            Control::Abort { reason } => {
                next.aborted = Some(Abort {
                    by,
                    user_id,
                    reason: cut(reason),
                    at_s,
                });
            }
            Control::Override { gate, wave, reason } => {
                next.overrides
                    .retain(|one| (one.gate, one.wave) != (*gate, *wave));
                if next.overrides.len() >= LIMIT {
                    return Err(Refused::TooMany("overrides"));
                }
                next.overrides.push(Override {
                    gate: *gate,
                    wave: *wave,
                    by,
                    user_id,
                    reason: cut(reason),
                    at_s,
                });
            }
        }
        next.handled.push(comment);
        let surplus = next.handled.len().saturating_sub(HANDLED_LIMIT);
        next.handled.drain(..surplus);
        if next.json().len() > SIZE_LIMIT {
            return Err(Refused::TooMany("decisions"));
        }
        Ok(next)
    }

    /// The same for controls that can't be believed: a hold or an abort stands all the same, and a release begins anew.
    ///
    /// # Errors
    /// When it is another command, or makes no sense.
    pub fn apply_to_forged(
        control: &Control,
        comment: u64,
        who: &Sender,
        at_s: i64,
    ) -> Result<Self, Refused> {
        let empty = Self::default();
        match control {
            Control::Release => Ok(Self {
                revision: 1,
                handled: vec![comment],
                ..empty
            }),
            Control::Hold { .. } | Control::Abort { .. } => empty.apply(control, comment, who, at_s),
            Control::Skip { .. } | Control::Rollback { .. } | Control::Override { .. } => {
                Err(Refused::Forged)
            }
        }
    }

    pub(crate) fn json(&self) -> Vec<u8> {
        // All of it is strings and numbers, so it is always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
