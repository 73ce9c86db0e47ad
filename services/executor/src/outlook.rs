//! What one look at all waves of a change comes to: what follows, what is awaited, and the one sentence that says so.

use std::time::Duration;

use lockflight_forge::StatusState;
use lockflight_promotion::message::Envelope;
use lockflight_promotion::text::status;
use lockflight_promotion::text::waves::Wave;

/// The longest that a promotion which waits for people is left alone. Merges and commands are told at once; this is for what gets lost.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The longest until somebody looks what has become of a step that was sent.
const LONGEST_AFTER_SENDING: Duration = Duration::from_mins(10);

/// What a promotion waits for.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    /// What, as a part of a sentence that begins with it.
    pub(crate) what: String,
    /// When it is over, in seconds since 1970 UTC; none if nobody knows.
    pub(crate) until_s: Option<i64>,
    /// How often it has to be looked at, in seconds; none if the end of it is told, or known.
    pub(crate) every_s: Option<u64>,
}

impl Wait {
    pub(crate) const fn for_people(what: String) -> Self {
        Self {
            what,
            until_s: None,
            every_s: None,
        }
    }
}

/// What one look at all waves comes to.
#[derive(Default)]
pub(crate) struct Outlook {
    pub(crate) follow: Vec<Envelope>,
    pub(crate) waits: Vec<Wait>,
    /// What only people can bring on again.
    pub(crate) stuck: Vec<String>,
    /// The waves that have not begun.
    pub(crate) later: Vec<String>,
    /// The waves that are done and that something went to.
    pub(crate) reached: Vec<String>,
    /// What newer changes carry on, and so what comes after that.
    pub(crate) superseded: Vec<String>,
    /// How each wave is, for people.
    pub(crate) waves: Vec<Wave>,
    /// Whether a step was sent just now.
    pub(crate) sent: bool,
}

impl Outlook {
    /// The state of the change, and the one sentence on who or what is awaited.
    pub(crate) fn sentence(&self, is_way_back: bool) -> (StatusState, String) {
        let then = match self.later.as_slice() {
            [] => String::new(),
            later => format!("; then {}", later.join(", ")),
        };
        if let Some(stuck) = self.stuck.first() {
            return (StatusState::Failure, format!("Stopped at {stuck}"));
        }
        let waits: Vec<&str> = self.waits.iter().map(|wait| wait.what.as_str()).collect();
        match waits.as_slice() {
            [] if !self.superseded.is_empty() && self.later.is_empty() => {
                let by = self.superseded.join(", ");
                let sentence = match self.reached.as_slice() {
                    [] => format!("Superseded by {by}"),
                    reached => format!("Promoted to {}; then superseded by {by}", reached.join(", ")),
                };
                (StatusState::Success, sentence)
            }
            [] if self.later.is_empty() => {
                let sentence = match self.reached.as_slice() {
                    reached if is_way_back => status::taken_back(reached),
                    [] => status::nothing("every target already has this content"),
                    reached => format!("Promoted to {}", reached.join(", ")),
                };
                (StatusState::Success, sentence)
            }
            [] => (StatusState::Pending, format!("On its way{then}")),
            waits => {
                let sentence = format!("Waiting for {}{then}", waits.join("; "));
                (StatusState::Pending, sentence)
            }
        }
    }

    /// Whether it waits for nothing but time and servers.
    pub(crate) fn is_timed(&self) -> bool {
        let is_told = |wait: &Wait| wait.until_s.is_none() && wait.every_s.is_none();
        !self.sent && !self.waits.is_empty() && !self.waits.iter().any(is_told)
    }

    /// How long to wait until the next look, at `now_s` and of a change of `begun_s`, both in seconds since 1970 UTC; none if there is nothing to
    /// look for any more.
    pub(crate) fn wait(&self, now_s: i64, begun_s: i64, shortest: Duration) -> Option<Duration> {
        if self.waits.is_empty() && !self.sent {
            return None;
        }
        let shortest = shortest.max(Duration::from_millis(100));
        let age = now_s.saturating_sub(begun_s);
        let patience = seconds(age / 10).clamp(shortest, LONGEST_WAIT.max(shortest));
        if self.sent {
            // What was sent may be refused each time, so that it is not sent without end.
            return Some(patience.min(shortest.max(LONGEST_AFTER_SENDING)));
        }
        let of_waits = self.waits.iter().filter_map(|wait| {
            let until = wait.until_s.map(|until| seconds(until.saturating_sub(now_s) + 1));
            let every = wait.every_s.map(Duration::from_secs);
            until.into_iter().chain(every).min()
        });
        let known = of_waits.min();
        // Where all that is waited for has an end that is known, nobody looks before that.
        let all_known = self.waits.iter().all(|wait| wait.until_s.is_some());
        Some(match known {
            Some(known) if all_known => known.clamp(Duration::from_secs(1), LONGEST_WAIT),
            Some(known) => known.min(patience).max(Duration::from_secs(1)),
            None => patience,
        })
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
