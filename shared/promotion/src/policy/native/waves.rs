//! Waves: where a flow leads, in which order, and in how many pull requests.

use std::collections::HashMap;

use super::super::flow::{After, Group, Target, Wave};
use super::super::read::Findings;
use super::super::yaml::{Mark, Node, Value};
use super::places::{Meant, Place};
use super::read::nearest;
use super::{Shared, gates};
use crate::Base;

/// The most targets in a file, as in Telefonistka's policy.
const MAX_TARGETS: usize = 10_000;
/// How many places are named where a pull request leads to many.
const MAX_NAMED: usize = 6;

/// How the places of a wave are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Together {
    Wave,
    Environment,
    Domain,
}

pub(super) const TOGETHER: [(&str, Together); 3] = [
    ("per-wave", Together::Wave),
    ("per-environment", Together::Environment),
    ("per-domain", Together::Domain),
];

pub(super) const MERGE: [(&str, bool); 2] = [("manual", false), ("auto", true)];

/// The places that a flow has gone to already.
#[derive(Debug, Default)]
struct Taken {
    source: Option<usize>,
    /// Which wave took a place.
    by: HashMap<usize, usize>,
}

/// `waves` of a flow that begins at `source`, where that is a place.
pub(super) fn compile(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    items: &[Node],
    source: Option<usize>,
) -> Vec<Wave> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut taken = Taken {
        source,
        ..Taken::default()
    };
    let mut waves = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let known = ["name", "to", "pull_requests", "merge", "gates", "after"];
        let Some(map) = findings.map(item, &known, "a wave with `to`") else {
            continue;
        };
        let after = match map.get("after") {
            None => After::All(index.checked_sub(1).into_iter().collect()),
            Some(node) => after(findings, node, &names).unwrap_or_default(),
        };
        let name = findings.word(map.get("name"), "what people call the wave");
        if let Some((mark, name)) = name {
            // A name is known to the waves after it alone, so that no two can wait for each other.
            if names.insert(name, index).is_some() {
                findings.error(
                    mark,
                    "another wave of this flow has this name; expected each name once",
                );
            }
        }
        let name = name.map(|(_, name)| name.to_owned());
        let groups = groups(findings, shared, &mut taken, index, &map, name.as_deref());
        let auto_merge = findings
            .choice(map.get("merge"), &MERGE)
            .unwrap_or(shared.defaults.auto_merge);
        let gates = gates::of_wave(findings, shared.servers, map.get("gates"));
        let freezes = shared
            .freezes
            .iter()
            .filter(|placed| {
                groups
                    .iter()
                    .flatten_places()
                    .any(|place| placed.places.contains(&place))
            })
            .map(|placed| placed.freeze.clone())
            .collect();
        waves.push(Wave {
            name,
            after,
            gates,
            freezes,
            auto_merge,
            groups: groups.into_iter().map(|(group, _)| group).collect(),
        });
    }
    waves
}

/// A pull request and the places that it leads to.
type Placed = (Group, Vec<usize>);

trait FlattenPlaces {
    fn flatten_places(self) -> impl Iterator<Item = usize>;
}

impl<'p, I: Iterator<Item = &'p Placed>> FlattenPlaces for I {
    fn flatten_places(self) -> impl Iterator<Item = usize> {
        self.flat_map(|(_, places)| places.iter().copied())
    }
}

fn groups(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    taken: &mut Taken,
    wave: usize,
    map: &super::read::Map<'_>,
    name: Option<&str>,
) -> Vec<Placed> {
    let expected = "a list of environments, places such as `production/us-west1`, or globs";
    let split = map.get("pull_requests");
    let explicit = split.filter(|node| !matches!(node.value, Value::Scalar(_)));
    let to = map.get("to");
    if to.is_none() && explicit.is_none() {
        findings.error(
            map.mark,
            format!("this wave leads nowhere; expected `to`, {expected}"),
        );
        return Vec::new();
    }
    let places = match to {
        None => None,
        Some(node) => {
            let texts = findings.words(Some(node), expected);
            let Some(places) = resolve(findings, shared, taken, wave, &texts) else {
                return Vec::new();
            };
            Some((node.mark, places))
        }
    };
    match (explicit, places) {
        (None, None) => Vec::new(),
        (None, Some((_, places))) => {
            let together = findings
                .choice(split, &TOGETHER)
                .unwrap_or(shared.defaults.together);
            divided(shared, &places, together, name)
        }
        (Some(node), places) => {
            let expected = "`per-wave`, `per-environment`, `per-domain`, or a list of pull requests, each a list of places";
            let items = findings.items(Some(node), expected);
            // Without `to` the groups say where the wave leads; with it they only divide what it says.
            let mut left = places.as_ref().map(|(_, places)| places.clone());
            let mut groups = Vec::new();
            for item in items {
                groups.extend(explicit_group(findings, shared, taken, (wave, &mut left), item));
            }
            if let (Some(left), Some((mark, _))) = (left, places)
                && let Some(first) = left.first().and_then(|place| shared.places.get(*place))
                && !groups.is_empty()
            {
                let more = match left.len() - 1 {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                findings.error(
                    mark,
                    format!("`{}`{more} of `to` is in no pull request; expected each place in one of `pull_requests`", first.name),
                );
            }
            groups
        }
    }
}

/// The places that texts mean, each once; none if one of them is wrong.
fn resolve(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    taken: &mut Taken,
    wave: usize,
    texts: &[(Mark, &str)],
) -> Option<Vec<usize>> {
    let mut places = Vec::new();
    let mut is_wrong = texts.is_empty();
    // Places first, so that `[production, production/us]` is told of like `[production/us, production/us]`.
    for (mark, text) in texts {
        let Some(meant) = shared.places.find(findings, *mark, text) else {
            is_wrong = true;
            continue;
        };
        match meant {
            Meant::One(place) if taken.source == Some(place) => {
                findings.error(
                    *mark,
                    "the flow begins here, so it can't lead here; expected another place",
                );
                is_wrong = true;
            }
            Meant::One(place) => match taken.by.insert(place, wave) {
                None => places.push(place),
                Some(before) => {
                    let which = if before == wave {
                        "this wave leads here already".to_owned()
                    } else {
                        format!("wave {} of this flow leads here already", before + 1)
                    };
                    findings.error(*mark, format!("{which}; expected each place once in a flow"));
                    is_wrong = true;
                }
            },
            Meant::Rest(meant) => {
                let before = places.len();
                for place in meant {
                    if taken.source != Some(place) && !taken.by.contains_key(&place) {
                        taken.by.insert(place, wave);
                        places.push(place);
                    }
                }
                if places.len() == before {
                    findings.error(
                        *mark,
                        "all places that this means are taken by what stands before it in the flow, so it leads nowhere; \
                         expected one that is left",
                    );
                    is_wrong = true;
                }
            }
        }
    }
    shared.targets += places.len();
    if shared.targets > MAX_TARGETS {
        if let Some((mark, _)) = texts.first() {
            findings.error(
                *mark,
                format!("too many targets; expected at most {MAX_TARGETS} in a file"),
            );
        }
        return None;
    }
    (!is_wrong).then_some(places)
}

/// One item of `pull_requests`: a list of places, or a map with `name` and `to`.
fn explicit_group(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    taken: &mut Taken,
    (wave, left): (usize, &mut Option<Vec<usize>>),
    item: &Node,
) -> Option<Placed> {
    let expected = "a list of places";
    let (texts, name) = match &item.value {
        Value::Map(_) => {
            let map = findings.map(
                item,
                &["name", "to"],
                "a pull request with `to` and perhaps `name`",
            )?;
            let to = findings.required(&map, "to", expected);
            let texts = findings.words(to, expected);
            (
                texts,
                findings.word(map.get("name"), "what people call its targets"),
            )
        }
        Value::Null | Value::Scalar(_) | Value::List(_) => (findings.words(Some(item), expected), None),
    };
    let name = name.map(|(_, name)| name.to_owned());
    let places = match left {
        None => resolve(findings, shared, taken, wave, &texts)?,
        Some(left) => {
            let mut places = Vec::new();
            for (mark, text) in texts {
                let meant = match shared.places.find(findings, mark, text)? {
                    Meant::One(place) => vec![place],
                    Meant::Rest(meant) => meant,
                };
                let before = places.len();
                let here: std::collections::HashSet<usize> = meant.into_iter().collect();
                left.retain(|place| {
                    let is_here = here.contains(place);
                    if is_here {
                        places.push(*place);
                    }
                    !is_here
                });
                if places.len() == before {
                    findings.error(
                        mark,
                        "this is not among the places of `to`, or another pull request of the wave leads there; \
                         expected each place of `to` in one",
                    );
                    return None;
                }
            }
            places
        }
    };
    let mut bases = by_base(shared, &places);
    if bases.len() > 1 {
        findings.error(
            item.mark,
            "these places are in different branches or repositories, which one pull request can't change; \
             expected a pull request for each",
        );
        return None;
    }
    let (base, places) = bases.pop()?;
    let description = name.or_else(|| described(shared, &places));
    Some((group(shared, base, &places, description), places))
}

/// The groups that `pull_requests` asks for in a word.
fn divided(shared: &Shared<'_>, places: &[usize], together: Together, name: Option<&str>) -> Vec<Placed> {
    let parts: Vec<Vec<usize>> = match together {
        Together::Wave => vec![places.to_vec()],
        Together::Domain => places.iter().map(|place| vec![*place]).collect(),
        Together::Environment => {
            let mut order: Vec<usize> = Vec::new();
            let mut parts: HashMap<usize, Vec<usize>> = HashMap::new();
            for place in places {
                let Some(Place { environment, .. }) = shared.places.get(*place) else {
                    continue;
                };
                let part = parts.entry(*environment).or_insert_with(|| {
                    order.push(*environment);
                    Vec::new()
                });
                part.push(*place);
            }
            order
                .iter()
                .filter_map(|environment| parts.remove(environment))
                .collect()
        }
    };
    let parts: Vec<_> = parts.iter().flat_map(|part| by_base(shared, part)).collect();
    let is_one = parts.len() == 1;
    let groups = parts.into_iter().map(|(base, places)| {
        let named = name.filter(|_| is_one).map(str::to_owned);
        let description = named.or_else(|| described(shared, &places));
        (group(shared, base, &places, description), places)
    });
    groups.collect()
}

/// The places of each branch, in the order of the policy: one pull request changes one branch.
fn by_base(shared: &Shared<'_>, places: &[usize]) -> Vec<(Base, Vec<usize>)> {
    let mut bases: Vec<(Base, Vec<usize>)> = Vec::new();
    let mut known: HashMap<Base, usize> = HashMap::new();
    for place in places {
        let Some(Place { base, .. }) = shared.places.get(*place) else {
            continue;
        };
        let at = *known.entry(base.clone()).or_insert_with(|| {
            bases.push((base.clone(), Vec::new()));
            bases.len() - 1
        });
        if let Some((_, places)) = bases.get_mut(at) {
            places.push(*place);
        }
    }
    bases
}

fn group(shared: &Shared<'_>, base: Base, places: &[usize], description: Option<String>) -> Group {
    let targets = places
        .iter()
        .filter_map(|place| shared.places.get(*place))
        .map(|place| Target {
            path: place.path.clone(),
            file: place.file.clone(),
            name: Some(place.name.clone()),
        });
    Group {
        description,
        base,
        targets: targets.collect(),
    }
}

/// What places are called together: environments that are all there by their name, the others by their own.
fn described(shared: &Shared<'_>, places: &[usize]) -> Option<String> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for place in places.iter().filter_map(|place| shared.places.get(*place)) {
        *counts.entry(place.environment).or_default() += 1;
    }
    let mut names: Vec<&str> = Vec::new();
    for place in places.iter().filter_map(|place| shared.places.get(*place)) {
        let (environment, size) = shared.places.environment(place.environment)?;
        if size > 1 && counts.get(&place.environment) == Some(&size) {
            if !names.contains(&environment) {
                names.push(environment);
            }
        } else {
            names.push(&place.name);
        }
        if names.len() > 2 * MAX_NAMED + places.len().min(MAX_NAMED) {
            break;
        }
    }
    if names.len() <= MAX_NAMED {
        return Some(names.join(", "));
    }
    let named = names.get(..MAX_NAMED)?.join(", ");
    // Places, not names: how much the pull request touches is what counts.
    Some(format!("{named} and others, {} places in all", places.len()))
}

fn after(findings: &mut Findings<'_>, node: &Node, names: &HashMap<&str, usize>) -> Option<After> {
    let expected = "`all` or `any`, each a list of names of waves";
    let map = findings.map(node, &["all", "any"], expected)?;
    let (list, is_all) = match (map.get("all"), map.get("any")) {
        (Some(list), None) => (list, true),
        (None, Some(list)) => (list, false),
        _ => {
            findings.error(map.mark, format!("expected exactly one of {expected}"));
            return None;
        }
    };
    let expected = "a list of names of earlier waves of this flow";
    let texts = match &list.value {
        // A wave that waits for nothing begins at once.
        Value::List(items) if items.is_empty() && is_all => Vec::new(),
        Value::Null | Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
            findings.words(Some(list), expected)
        }
    };
    let mut waves = Vec::new();
    for (mark, text) in texts {
        match names.get(text) {
            Some(wave) if waves.contains(wave) => {
                findings.error(mark, "this wave stands here a second time; expected each once");
            }
            Some(wave) => waves.push(*wave),
            None => {
                let near = nearest(text, names.keys().copied());
                let near = near
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                findings.error(
                    mark,
                    format!("no earlier wave has this name; expected {expected}{near}"),
                );
            }
        }
    }
    Some(if is_all {
        After::All(waves)
    } else {
        After::Any(waves)
    })
}
