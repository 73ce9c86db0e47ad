//! Gates of waves, and the servers that they ask.

use std::collections::HashMap;

use super::super::read::Findings;
use super::super::yaml::{Mark, Node, Scalar, Value};
use super::places::is_name;
use super::read::{Map, is_number, is_truth, nearest};
use crate::gate::{Approvals, Expectation, Gates, HttpGate, PrometheusGate};

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;
const COMPARISONS: [&str; 5] = ["equals", "below", "at_most", "above", "at_least"];
const MAX_TEXT: usize = 4000;

/// The gates under top-level `gates`, by their names.
#[derive(Debug, Default)]
pub(super) struct Servers(HashMap<String, Server>);

#[derive(Clone, Debug)]
enum Server {
    Http(HttpGate),
    Prometheus(PrometheusGate),
}

/// Top-level `gates`.
pub(super) fn servers(findings: &mut Findings<'_>, node: Option<&Node>) -> Servers {
    let mut servers = Servers::default();
    let Some(node) = node else { return servers };
    let Value::Map(entries) = &node.value else {
        findings.mismatch(node, "a map of gates by their names");
        return servers;
    };
    for (key, node) in entries {
        let Value::Scalar(Scalar { text: name, .. }) = &key.value else {
            findings.mismatch(key, "the name of a gate");
            continue;
        };
        if !is_name(name) {
            findings.error(
                key.mark,
                "this can't be a name; expected a letter or digit, and then at most 63 letters, digits, `.`, `_` or `-`",
            );
            continue;
        }
        let Some(map) = findings.map(
            node,
            &["http", "prometheus"],
            "a gate with `http` or `prometheus`",
        ) else {
            continue;
        };
        let server = match (map.get("http"), map.get("prometheus")) {
            (Some(node), None) => http(findings, name, node).map(Server::Http),
            (None, Some(node)) => prometheus(findings, name, node).map(Server::Prometheus),
            _ => {
                findings.error(map.mark, "expected exactly one of `http` and `prometheus`");
                None
            }
        };
        if let Some(server) = server {
            servers.0.insert(name.clone(), server);
        }
    }
    servers
}

fn http(findings: &mut Findings<'_>, name: &str, node: &Node) -> Option<HttpGate> {
    let mut known = vec!["url", "pointer", "every"];
    known.extend(COMPARISONS);
    let map = findings.map(
        node,
        &known,
        "a map with `url`, `pointer` and a comparison such as `equals`",
    )?;
    let url = url(findings, &map);
    let pointer = match findings.word(map.get("pointer"), "a JSON pointer such as `/status/health`") {
        None => Some(String::new()),
        Some((mark, text)) => pointer(findings, mark, text),
    };
    let expect = expectation(findings, &map, true);
    let every_s = findings.duration(map.get("every"), 10, DAY).unwrap_or(30);
    Some(HttpGate {
        name: name.to_owned(),
        url: url?,
        pointer: pointer?,
        expect: expect?,
        every_s,
    })
}

fn prometheus(findings: &mut Findings<'_>, name: &str, node: &Node) -> Option<PrometheusGate> {
    let mut known = vec!["url", "query", "window", "every"];
    known.extend(COMPARISONS);
    let map = findings.map(
        node,
        &known,
        "a map with `url`, `query` and a comparison such as `below`",
    )?;
    let url = url(findings, &map);
    let expected = "a PromQL query, in which `$window` stands for the window";
    let query = findings.required(&map, "query", expected);
    let query = findings.word(query, expected).and_then(|(mark, text)| {
        if text.len() > MAX_TEXT {
            findings.error(
                mark,
                format!("the query is too long; expected at most {MAX_TEXT} bytes"),
            );
            return None;
        }
        Some(text.to_owned())
    });
    let expect = expectation(findings, &map, false);
    let window_s = findings
        .duration(map.get("window"), MINUTE, 30 * DAY)
        .unwrap_or(5 * MINUTE);
    let every_s = findings.duration(map.get("every"), 10, DAY).unwrap_or(MINUTE);
    Some(PrometheusGate {
        name: name.to_owned(),
        url: url?,
        query: query?,
        expect: expect?,
        window_s,
        every_s,
    })
}

fn url(findings: &mut Findings<'_>, map: &Map<'_>) -> Option<String> {
    let expected = "an address that begins with `https://` or `http://`";
    let node = findings.required(map, "url", expected);
    let (mark, text) = findings.word(node, expected)?;
    let problem = match url::Url::parse(text) {
        Err(_) => "it can't be read",
        Ok(_) if text.len() > 2000 => "it is longer than 2000 bytes",
        Ok(url) if !matches!(url.scheme(), "https" | "http") => "it has another scheme",
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "it holds a name or a password, which everybody who reads the policy would see"
        }
        Ok(url) if url.fragment().is_some() => "it has a `#` part, which is never sent",
        Ok(_) => return Some(text.to_owned()),
    };
    findings.error(
        mark,
        format!("this address can't be asked: {problem}; expected {expected}"),
    );
    None
}

/// RFC 6901.
fn pointer(findings: &mut Findings<'_>, mark: Mark, text: &str) -> Option<String> {
    let escapes = text
        .match_indices('~')
        .all(|(at, _)| matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1')));
    if !text.starts_with('/') || !escapes || text.len() > 1000 {
        findings.error(
            mark,
            "this is not a JSON pointer; expected one such as `/status/health`, in which `~1` is a slash and `~0` a `~`",
        );
        return None;
    }
    Some(text.to_owned())
}

/// The one comparison of a gate.
fn expectation(findings: &mut Findings<'_>, map: &Map<'_>, any_value: bool) -> Option<Expectation> {
    let given: Vec<(&str, &Node)> = COMPARISONS
        .into_iter()
        .filter_map(|key| Some((key, map.get(key)?)))
        .collect();
    let [(key, node)] = given.as_slice() else {
        let mark = given.get(1).map_or(map.mark, |(_, node)| node.mark);
        findings.error(
            mark,
            "expected exactly one of `equals`, `below`, `at_most`, `above` and `at_least`",
        );
        return None;
    };
    if *key == "equals" && any_value {
        return value(findings, node).map(Expectation::Equals);
    }
    let number = number(node);
    let Some(number) = number else {
        findings.mismatch(node, "a number without quotes");
        return None;
    };
    Some(match *key {
        "below" => Expectation::Below(number),
        "at_most" => Expectation::AtMost(number),
        "above" => Expectation::Above(number),
        "at_least" => Expectation::AtLeast(number),
        _ => Expectation::Equals(serde_json::Value::Number(number)),
    })
}

fn value(findings: &mut Findings<'_>, node: &Node) -> Option<serde_json::Value> {
    match &node.value {
        Value::Scalar(Scalar { text, plain: true }) if is_truth(text) => {
            Some(serde_json::Value::Bool(text.eq_ignore_ascii_case("true")))
        }
        Value::Scalar(Scalar { text, plain: true }) if is_number(text) => {
            let number = number(node);
            if number.is_none() {
                findings.error(
                    node.mark,
                    "expected a number in the way of JSON, or text in quotes",
                );
            }
            number.map(serde_json::Value::Number)
        }
        Value::Scalar(Scalar { text, .. }) => Some(serde_json::Value::String(text.clone())),
        Value::Null | Value::List(_) | Value::Map(_) => {
            findings.mismatch(node, "a text, a number, or `true` or `false`");
            None
        }
    }
}

/// A number in the way of JSON.
fn number(node: &Node) -> Option<serde_json::Number> {
    match &node.value {
        Value::Scalar(Scalar { text, plain: true }) => serde_json::from_str(text).ok(),
        Value::Null | Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// `gates` of a wave.
pub(super) fn of_wave(findings: &mut Findings<'_>, servers: &Servers, node: Option<&Node>) -> Gates {
    let mut gates = Gates::default();
    let Some(node) = node else { return gates };
    let known = ["approval", "soak", "checks", "healthy"];
    let Some(map) = findings.map(
        node,
        &known,
        "gates such as `approval`, `soak`, `checks` or `healthy`",
    ) else {
        return gates;
    };
    gates.approvals = map.get("approval").and_then(|node| approvals(findings, node));
    gates.soak_s = findings.duration(map.get("soak"), 1, 90 * DAY);
    let checks = findings.words(
        map.get("checks"),
        "a list of the names of commit statuses or check runs",
    );
    for (mark, name) in checks {
        if gates.checks.iter().any(|other| other == name) {
            findings.error(mark, "this check stands here a second time; expected each once");
        } else {
            gates.checks.push(name.to_owned());
        }
    }
    if let Some(node) = map.get("healthy") {
        let expected = "the name of a gate under top-level `gates`, or a list of such names";
        let names = if matches!(node.value, Value::Scalar(_)) {
            findings.word(Some(node), expected).into_iter().collect()
        } else {
            findings.words(Some(node), expected)
        };
        let mut seen = Vec::new();
        for (mark, name) in names {
            if seen.contains(&name) {
                findings.error(mark, "this gate stands here a second time; expected each once");
                continue;
            }
            seen.push(name);
            match servers.0.get(name) {
                Some(Server::Http(gate)) => gates.http.push(gate.clone()),
                Some(Server::Prometheus(gate)) => gates.prometheus.push(gate.clone()),
                None => {
                    let near = nearest(name, servers.0.keys().map(String::as_str));
                    let near = near
                        .map(|near| format!("; did you mean `{near}`?"))
                        .unwrap_or_default();
                    findings.error(mark, format!("no gate has this name; expected {expected}{near}"));
                }
            }
        }
    }
    gates
}

fn approvals(findings: &mut Findings<'_>, node: &Node) -> Option<Approvals> {
    if matches!(node.value, Value::Scalar(_)) {
        let wanted = findings.flag(Some(node))?;
        return wanted.then_some(Approvals {
            count: 1,
            teams: Vec::new(),
            code_owners: false,
        });
    }
    let expected = "`true`, or a map with `count`, `teams` or `code_owners`";
    let map = findings.map(node, &["count", "teams", "code_owners"], expected)?;
    let count = findings.whole(map.get("count"), 1, 100).unwrap_or(1);
    let mut teams = Vec::new();
    for (mark, team) in findings.words(map.get("teams"), "a list of teams of the organisation, by slug") {
        let is_slug = team.len() <= 100
            && team
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if is_slug {
            teams.push(team.to_owned());
        } else {
            findings.error(
                mark,
                "this is not the slug of a team; expected what stands in its address, such as `platform-owners`, without the organisation",
            );
        }
    }
    Some(Approvals {
        count: u32::try_from(count).unwrap_or(1),
        teams,
        code_owners: findings.flag(map.get("code_owners")).unwrap_or_default(),
    })
}
