//! What Telefonistka hid in the bodies of its promotion pull requests.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::change::{Hop, Lineage, Origin};
use crate::{Login, PathInRepo, PrNumber};

/// The longest body, and the longest base64 in it, that is looked at. GitHub's own bound is 65,536 characters.
const BODY_LIMIT: usize = 4 * 65_536;
const DATA_LIMIT: usize = 65_536;
const HOPS_LIMIT: usize = 100;
const TARGETS_LIMIT: usize = 200;
const SOURCE_LIMIT: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    original_pr_author: Option<String>,
    original_pr_number: Option<u64>,
    previous_promotion_paths: Option<BTreeMap<String, Promotion>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promotion {
    source_path: Option<String>,
    target_paths: Option<Vec<String>>,
}

/// The way of a change that Telefonistka had begun to promote; none if the body has no such data or it is not well formed.
///
/// The data is not signed and anyone with write access can change it. It may be shown to people; nothing may be decided by it.
/// What in it is not a login, a number or a path is left out.
#[must_use]
pub fn read_legacy(body: &str) -> Option<Lineage> {
    if body.len() > BODY_LIMIT {
        return None;
    }
    let data = body.lines().find_map(hidden)?;
    if data.len() > DATA_LIMIT {
        return None;
    }
    let data: Data = serde_json::from_slice(&STANDARD.decode(data).ok()?).ok()?;
    let mut hops: Vec<Hop> = data
        .previous_promotion_paths
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(number, promotion)| hop(&number, promotion))
        .collect();
    hops.sort_by_key(|hop| hop.number);
    hops.truncate(HOPS_LIMIT);
    // Telefonistka leaves the original number at 0; the earliest hop began with that pull request.
    let number = data
        .original_pr_number
        .filter(|&number| number > 0)
        .map(PrNumber::new)
        .or_else(|| hops.first().map(|hop| hop.number));
    let author = data
        .original_pr_author
        .and_then(|author| Login::parse(author).ok());
    let origin = number.zip(author).map(|(number, author)| Origin {
        number,
        author,
        repo: None,
    });
    Some(Lineage { origin, hops })
}

/// The group of `<!--\|.*\|(.*)\|-->`, by which Telefonistka finds its data.
fn hidden(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("<!--|")?;
    let (rest, _) = rest.rsplit_once("|-->")?;
    let (_, data) = rest.rsplit_once('|')?;
    Some(data)
}

fn hop(number: &str, promotion: Promotion) -> Option<Hop> {
    let number = number.parse().ok().filter(|&number: &u64| number > 0)?;
    let source = promotion.source_path?;
    if source.len() > SOURCE_LIMIT || source.chars().any(char::is_control) {
        return None;
    }
    let targets = promotion
        .target_paths
        .unwrap_or_default()
        .iter()
        .take(TARGETS_LIMIT)
        .filter_map(|path| PathInRepo::parse(path).ok())
        .collect();
    Some(Hop {
        repo: None,
        number: PrNumber::new(number),
        source: source.trim_end_matches('/').to_owned(),
        targets,
        rollback: false,
    })
}
