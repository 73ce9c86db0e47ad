//! The signed line that stands first in the body of a promotion pull request.
//!
//! It tells the planner, once that pull request is merged, which promotion it is part of and which way the change has come.
//! Anyone with write access can edit a body, so the line is bound by its signature to the repository and the branch: what was
//! edited, or copied from elsewhere, is [`MarkerRead::Forged`] and has no effect.

mod legacy;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

pub use super::seal::MarkerKey;
pub use legacy::read_legacy;

use super::seal::is_sealed;
use crate::change::{Change, Hop, Lineage, Origin};
use crate::plan::Step;
use crate::track::Standing;
use crate::{BranchName, PlanId, PromotionId, RepoId, StepId, TraceParent};

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;

/// The most bytes of JSON in a marker.
const PAYLOAD_LIMIT: usize = 8 * 1024;
/// The longest first line that is looked at: a marker at its limit in base64, the signature, and some air.
const LINE_LIMIT: usize = 12 * 1024;
/// The most hops kept on either side of a cut, and the most targets of a hop.
const HOPS_EACH_SIDE: usize = 32;
const TARGETS_LIMIT: usize = 64;

const DOMAIN: &str = "lockflight:marker:v1";
const OPEN: &str = "<!-- lockflight:v";
const CLOSE: &str = " -->";

/// What a promotion pull request says about itself to Lockflight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// [`VERSION`].
    pub version: u8,
    /// The promotion.
    pub promotion: PromotionId,
    /// The step that the pull request carries out.
    pub step: StepId,
    /// The plan that the step was part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanId>,
    /// Where the change began, and its hops up to and with this one.
    pub lineage: Lineage,
    /// The trace context of the step.
    pub traceparent: TraceParent,
    /// Where the pull request is on its track, if it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Box<Standing>>,
}

impl Marker {
    /// The marker of the pull request that carries out `step` of `change`.
    #[must_use]
    pub fn of(change: &Change, plan: Option<PlanId>, step: &Step) -> Self {
        let promotion = change.promotion();
        Self {
            version: VERSION,
            step: step.id.clone(),
            plan,
            lineage: lineage_through(change, step),
            traceparent: promotion.traceparent(step.id.as_str()),
            promotion,
            standing: None,
        }
    }
}

/// The way of `change` including the hop that `step` is.
fn lineage_through(change: &Change, step: &Step) -> Lineage {
    // What is about this repository has to be told from another one that the step leads to.
    let here = step.repo.as_ref().map(|_| &change.repo);
    let mut origin = change.lineage.origin.clone().unwrap_or_else(|| Origin {
        number: change.number,
        author: change.author.clone(),
        repo: None,
    });
    origin.repo = origin.repo.or_else(|| here.cloned());
    let mut hops = change.lineage.hops.clone();
    for hop in &mut hops {
        hop.repo = hop.repo.take().or_else(|| here.cloned());
    }
    hops.push(Hop {
        repo: here.cloned(),
        number: change.number,
        source: step.source.clone(),
        targets: step.targets.iter().map(|target| target.path.clone()).collect(),
        rollback: change.rollback.is_some(),
    });
    Lineage {
        origin: Some(origin),
        hops,
    }
}

/// What stands first in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum MarkerRead {
    /// A marker that we wrote for this repository and branch, unchanged.
    Valid(Box<Marker>),
    /// Something that looks like a marker and was not written by us for this repository and branch: edited, copied, signed with a
    /// key that is no longer accepted, or of a version that this program does not know.
    Forged,
    /// No marker.
    Absent,
}

/// The marker as one line of HTML that GitHub does not show, without a line end. It is to stand first in the body.
///
/// A lineage that would make the marker longer than 8 KiB loses hops from its middle: the hop before the gap then has no
/// targets.
#[must_use]
pub fn write(key: &MarkerKey, repo: RepoId, branch: &BranchName, marker: &Marker) -> String {
    let payload = URL_SAFE_NO_PAD.encode(fitted(marker));
    let seal = key.seal(
        DOMAIN,
        &[
            &repo.get().to_be_bytes(),
            branch.as_str().as_bytes(),
            payload.as_bytes(),
        ],
    );
    format!("{OPEN}{VERSION} {payload} {seal}{CLOSE}")
}

/// The same body with another marker.
#[must_use]
pub fn rewrite(key: &MarkerKey, repo: RepoId, branch: &BranchName, marker: &Marker, body: &str) -> String {
    let rest = body.split_once('\n').map_or("", |(_, rest)| rest);
    format!("{}\n{rest}", write(key, repo, branch, marker))
}

/// Reads the first line of a pull request's body. `branch` is the head branch that the forge names for the pull request.
///
/// Each of `keys` is accepted, so that a secret can be replaced while pull requests are open.
pub fn read(keys: &[MarkerKey], repo: RepoId, branch: &str, body: &str) -> MarkerRead {
    let line = body.lines().next().unwrap_or_default().trim_end();
    let Some(rest) = line.strip_prefix(OPEN) else {
        return MarkerRead::Absent;
    };
    read_line(keys, repo, branch, rest)
        .map_or(MarkerRead::Forged, |marker| MarkerRead::Valid(Box::new(marker)))
}

fn read_line(keys: &[MarkerKey], repo: RepoId, branch: &str, rest: &str) -> Option<Marker> {
    if rest.len() > LINE_LIMIT {
        return None;
    }
    let mut parts = rest.strip_suffix(CLOSE)?.split(' ');
    let (version, payload, seal) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || version != VERSION.to_string() {
        return None;
    }
    let fields: [&[u8]; 3] = [&repo.get().to_be_bytes(), branch.as_bytes(), payload.as_bytes()];
    if !is_sealed(keys, DOMAIN, &fields, seal) {
        return None;
    }
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let marker: Marker = serde_json::from_slice(&json).ok()?;
    (marker.version == VERSION).then_some(marker)
}

/// The marker's JSON, with as much of the lineage as fits.
fn fitted(marker: &Marker) -> Vec<u8> {
    // All of it is strings and numbers, so it is always JSON.
    let json = |marker: &Marker| serde_json::to_vec(marker).unwrap_or_default();
    let mut all = json(marker);
    if all.len() <= PAYLOAD_LIMIT {
        return all;
    }
    let mut short = marker.clone();
    let hops = &mut short.lineage.hops;
    if hops.len() > 2 * HOPS_EACH_SIDE {
        hops.drain(HOPS_EACH_SIDE..hops.len() - HOPS_EACH_SIDE);
        open_gap_before(hops, HOPS_EACH_SIDE);
    }
    for hop in hops {
        hop.targets.truncate(TARGETS_LIMIT);
        hop.source = super::markdown::cut(&hop.source, 1_000).into_owned();
    }
    loop {
        all = json(&short);
        if all.len() <= PAYLOAD_LIMIT {
            return all;
        }
        let hops = &mut short.lineage.hops;
        if hops.len() > 2 {
            let middle = hops.len() / 2;
            hops.remove(middle);
            open_gap_before(hops, middle);
        } else if let Some(hop) = hops.iter_mut().max_by_key(|hop| hop.targets.len())
            && !hop.targets.is_empty()
        {
            hop.targets.truncate(hop.targets.len() / 2);
        } else {
            hops.clear();
        }
    }
}

/// A hop's pull request is told by the hop after it. When that one is gone, the hop must not claim another's targets.
fn open_gap_before(hops: &mut [Hop], index: usize) {
    if let Some(hop) = index.checked_sub(1).and_then(|before| hops.get_mut(before)) {
        hop.targets.clear();
    }
}

#[cfg(test)]
mod tests;
