//! What Redis runs for us, each script atomic.

use std::fmt;

use redis::Script;

const CLOCK: &str = include_str!("scripts/clock.lua");
const LINE: &str = include_str!("scripts/line.lua");

/// The scripts. Redis keeps them by their hash; the client sends one again when it was forgotten.
pub(super) struct Scripts {
    /// Asks for a lock.
    pub(super) ask: Script,
    /// Renews a lease.
    pub(super) renew: Script,
    /// Gives up a lock or a place in its line.
    pub(super) leave: Script,
    /// A member's heartbeat.
    pub(super) beat: Script,
    /// A member's goodbye.
    pub(super) depart: Script,
    /// The live members.
    pub(super) roll: Script,
    /// Whether this Redis can be worked with.
    pub(super) probe: Script,
}

impl fmt::Debug for Scripts {
    /// Without their text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").finish_non_exhaustive()
    }
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |parts: &[&str]| Script::new(&parts.join("\n"));
        Self {
            ask: script(&[CLOCK, LINE, include_str!("scripts/ask.lua")]),
            renew: script(&[include_str!("scripts/renew.lua")]),
            leave: script(&[CLOCK, LINE, include_str!("scripts/leave.lua")]),
            beat: script(&[CLOCK, include_str!("scripts/beat.lua")]),
            depart: script(&[CLOCK, include_str!("scripts/depart.lua")]),
            roll: script(&[CLOCK, include_str!("scripts/roll.lua")]),
            probe: script(&[CLOCK, include_str!("scripts/probe.lua")]),
        }
    }
}
