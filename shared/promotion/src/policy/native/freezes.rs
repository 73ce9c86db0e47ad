//! Freezes: when nothing may go into an environment.

use std::collections::HashSet;

use super::super::read::Findings;
use super::super::yaml::Node;
use super::places::{Meant, Places};
use super::read::nearest;
use crate::gate::freeze::{MAX_DURATION_S, zone};
use crate::gate::{Cron, Freeze};

/// The most freezes in a file.
const MAX_FREEZES: usize = 100;
/// Zones that people reach for first, for "did you mean".
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Paris",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Sydney",
];

/// A freeze and the places that it is about.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) freeze: Freeze,
    pub(super) places: HashSet<usize>,
}

pub(super) fn compile(findings: &mut Findings<'_>, places: &mut Places, node: Option<&Node>) -> Vec<Placed> {
    let items = match node {
        None => &[],
        some => findings.items(
            some,
            "a list of freezes, each with `environments`, `cron` and `duration`",
        ),
    };
    if let Some(beyond) = items.get(MAX_FREEZES) {
        findings.error(
            beyond.mark,
            format!("too many freezes; expected at most {MAX_FREEZES}"),
        );
        return Vec::new();
    }
    items
        .iter()
        .filter_map(|item| freeze(findings, places, item))
        .collect()
}

fn freeze(findings: &mut Findings<'_>, places: &mut Places, node: &Node) -> Option<Placed> {
    let known = ["environments", "cron", "duration", "time_zone", "reason"];
    let map = findings.map(
        node,
        &known,
        "a freeze with `environments`, `cron`, `duration` and `reason`",
    )?;
    let expected = "a list of environments, places such as `production/us-west1`, or globs";
    let named = findings.required(&map, "environments", expected);
    let mut frozen = HashSet::new();
    for (mark, text) in findings.words(named, expected) {
        match places.find(findings, mark, text) {
            Some(Meant::One(place)) => {
                frozen.insert(place);
            }
            Some(Meant::Rest(meant)) => frozen.extend(meant),
            None => {}
        }
    }
    let expected = "five fields of cron, such as `0 16 * * FRI` in quotes";
    let cron = findings.required(&map, "cron", expected);
    let cron = findings
        .word(cron, expected)
        .and_then(|(mark, text)| match Cron::parse(text) {
            Ok(_) => Some(text.to_owned()),
            Err(error) => {
                findings.error(mark, format!("this is not cron: {error}; expected {expected}"));
                None
            }
        });
    let duration = findings.required(&map, "duration", "how long it lasts, such as `64h`");
    let duration_s = findings.duration(duration, 60, MAX_DURATION_S);
    let time_zone = match findings.word(map.get("time_zone"), "an IANA time zone such as `Europe/Berlin`") {
        None => "UTC".to_owned(),
        Some((_, text)) if zone(text).is_some() => text.to_owned(),
        Some((mark, text)) => {
            let near = nearest(text, ZONES.into_iter());
            let near = near
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            findings.error(
                mark,
                format!("no time zone has this name; expected one of IANA, such as `Europe/Berlin`{near}"),
            );
            return None;
        }
    };
    let reason = findings.required(&map, "reason", "why, for people");
    let (_, reason) = findings.word(reason, "why, for people")?;
    Some(Placed {
        freeze: Freeze {
            cron: cron?,
            duration_s: duration_s?,
            time_zone,
            reason: reason.to_owned(),
        },
        places: frozen,
    })
}
