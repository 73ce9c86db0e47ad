//! Environments and their failure domains: the places that flows lead to and begin at.

use std::collections::HashMap;
use std::ops::Range;

use globset::GlobBuilder;

use super::super::component::Known;
use super::super::protected::protected;
use super::super::read::Findings;
use super::super::yaml::{Mark, Node, Scalar, Value, key_name};
use super::read::nearest;
use crate::values::Format;
use crate::{Base, BranchName, PathInRepo, RepoName};

/// The most places in a file.
const MAX_PLACES: usize = 10_000;
/// How many places may be looked at on behalf of all names and globs of a file: it bounds the time to compile them.
const MAX_WORK: usize = 4_000_000;
/// How many wrong names are compared with all right ones.
const MAX_SUGGESTIONS: usize = 20;
const KEYS: [&str; 4] = ["path", "branch", "repository", "file"];

/// One place: an environment without failure domains, or one failure domain.
#[derive(Debug)]
pub(super) struct Place {
    /// `staging`, or `production/us-west1`.
    pub(super) name: String,
    pub(super) environment: usize,
    pub(super) path: PathInRepo,
    pub(super) base: Base,
    pub(super) file: Option<PathInRepo>,
}

#[derive(Debug)]
struct Environment {
    name: String,
    places: Range<usize>,
    has_domains: bool,
}

/// All places of a policy.
#[derive(Debug, Default)]
pub(super) struct Places {
    environments: Vec<Environment>,
    all: Vec<Place>,
    by_name: HashMap<String, Name>,
    work: usize,
    suggestions: usize,
}

#[derive(Clone, Copy, Debug)]
enum Name {
    Place(usize),
    Environment(usize),
}

/// What a name or glob means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// Exactly this place.
    One(usize),
    /// What of these is not taken yet.
    Rest(Vec<usize>),
}

impl Places {
    pub(super) fn get(&self, place: usize) -> Option<&Place> {
        self.all.get(place)
    }

    /// What the policies of components may name.
    pub(super) fn known(&self) -> Known {
        let environments = self
            .environments
            .iter()
            .map(|environment| environment.name.clone());
        let places = self.all.iter().map(|place| place.name.clone());
        Known {
            names: environments.chain(places).collect(),
            paths: self.all.iter().map(|place| place.path.clone()).collect(),
        }
    }

    /// The name of an environment, and how many places it has.
    pub(super) fn environment(&self, environment: usize) -> Option<(&str, usize)> {
        let environment = self.environments.get(environment)?;
        Some((&environment.name, environment.places.len()))
    }

    /// What `text` means: the name of a place, of an environment, or a glob of places. None is an error that has been said.
    pub(super) fn find(&mut self, findings: &mut Findings<'_>, mark: Mark, text: &str) -> Option<Meant> {
        let named = self.by_name.get(text).copied();
        let cost = match named {
            Some(Name::Place(place)) => return Some(Meant::One(place)),
            Some(Name::Environment(environment)) => self.environments.get(environment)?.places.len(),
            // Matching costs more than counting.
            None if text.contains(['*', '?', '[', '{']) => 4 * self.all.len(),
            None => {
                let near = self.suggestion(text);
                findings.error(
                    mark,
                    format!(
                        "no environment has this name; expected one of `environments`, one of its domains as \
                         `environment/domain`, or a glob of those{near}"
                    ),
                );
                return None;
            }
        };
        self.work = self.work.saturating_add(cost);
        if self.work > MAX_WORK {
            findings.error(
                mark,
                "the names and globs up to here mean too many places; expected fewer waves, globs or places",
            );
            return None;
        }
        let meant = match named {
            Some(Name::Environment(environment)) => {
                self.environments.get(environment)?.places.clone().collect()
            }
            _ => self.matching(findings, mark, text)?,
        };
        Some(Meant::Rest(meant))
    }

    fn matching(&self, findings: &mut Findings<'_>, mark: Mark, glob: &str) -> Option<Vec<usize>> {
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .empty_alternates(true)
            .build();
        let matcher = match matcher {
            Ok(glob) => glob.compile_matcher(),
            Err(error) => {
                findings.error(
                    mark,
                    format!(
                        "this is not a glob: {}; expected one such as `production/us-*`",
                        error.kind()
                    ),
                );
                return None;
            }
        };
        let meant: Vec<usize> = self
            .all
            .iter()
            .enumerate()
            .filter(|(_, place)| matcher.is_match(&place.name))
            .map(|(index, _)| index)
            .collect();
        if meant.is_empty() {
            findings.error(
                mark,
                "this glob means no place; expected one such as `production/us-*`, in which `*` stops at the slash",
            );
            return None;
        }
        Some(meant)
    }

    fn suggestion(&mut self, text: &str) -> String {
        self.suggestions += 1;
        if self.suggestions > MAX_SUGGESTIONS {
            return String::new();
        }
        let environments = self
            .environments
            .iter()
            .map(|environment| environment.name.as_str());
        let places = self.all.iter().map(|place| place.name.as_str());
        // A domain without its environment is a slip, too.
        let domain = || {
            let is_it = |place: &&Place| {
                place
                    .name
                    .split_once('/')
                    .is_some_and(|(_, domain)| domain == text)
            };
            self.all.iter().find(is_it).map(|place| place.name.as_str())
        };
        match domain().or_else(|| nearest(text, environments.chain(places))) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        }
    }

    fn add(&mut self, findings: &mut Findings<'_>, seen: &mut Seen, mark: Mark, place: Place) {
        let location = (place.base.clone(), place.path.clone(), place.file.clone());
        if let Some((line, other)) = seen.get(&location) {
            findings.error(
                mark,
                format!(
                    "`{}` is the same location as `{other}` (line {line}); expected another path, branch, repository or file",
                    place.name
                ),
            );
        } else {
            seen.insert(location, (mark.line, place.name.clone()));
        }
        self.by_name
            .insert(place.name.clone(), Name::Place(self.all.len()));
        self.all.push(place);
    }
}

/// The places so far, by their location: line and name.
type Seen = HashMap<(Base, PathInRepo, Option<PathInRepo>), (usize, String)>;

/// Where something is, as the policy writes it.
#[derive(Clone, Copy, Default)]
struct Spelled<'n> {
    path: Option<(Mark, &'n str)>,
    branch: Option<(Mark, &'n str)>,
    repository: Option<(Mark, &'n str)>,
    file: Option<(Mark, &'n str)>,
}

impl<'n> Spelled<'n> {
    fn or(self, other: Self) -> Self {
        Self {
            path: self.path.or(other.path),
            branch: self.branch.or(other.branch),
            repository: self.repository.or(other.repository),
            file: self.file.or(other.file),
        }
    }
}

pub(super) fn compile(findings: &mut Findings<'_>, node: Option<&Node>) -> Places {
    let mut places = Places::default();
    let mut seen = Seen::new();
    for (mark, name, node) in entries(findings, node, "environments by their names") {
        let mut known = KEYS.to_vec();
        known.push("domains");
        let expected = "an environment with `path`, `branch`, `repository`, `file` or `domains`";
        let Some(map) = findings.map(node, &known, expected) else {
            continue;
        };
        let whole = spelled(findings, &map);
        let first = places.all.len();
        let index = places.environments.len();
        let domains = map.get("domains");
        match domains {
            None => {
                if let Some(place) = place(findings, mark, (index, name), None, whole) {
                    places.add(findings, &mut seen, mark, place);
                }
            }
            Some(domains) => {
                places.by_name.insert(name.to_owned(), Name::Environment(index));
                if matches!(&domains.value, Value::Map(entries) if entries.is_empty()) {
                    findings.error(
                        domains.mark,
                        "found an empty map; expected at least one failure domain",
                    );
                }
                for (mark, domain, node) in entries(findings, Some(domains), "failure domains by their names")
                {
                    let own = if matches!(node.value, Value::Null) {
                        Spelled::default()
                    } else {
                        let expected = "a failure domain with `path`, `branch`, `repository` or `file`";
                        match findings.map(node, &KEYS, expected) {
                            Some(map) => spelled(findings, &map),
                            None => continue,
                        }
                    };
                    if let Some(place) = place(findings, mark, (index, name), Some(domain), own.or(whole)) {
                        places.add(findings, &mut seen, mark, place);
                    }
                    if places.all.len() > MAX_PLACES {
                        findings.error(mark, format!("too many places; expected at most {MAX_PLACES}"));
                        return places;
                    }
                }
            }
        }
        places.environments.push(Environment {
            name: name.to_owned(),
            places: first..places.all.len(),
            has_domains: domains.is_some(),
        });
        if places.all.len() > MAX_PLACES {
            findings.error(mark, format!("too many places; expected at most {MAX_PLACES}"));
            return places;
        }
    }
    places
}

impl Places {
    /// The one place that is called so; a flow begins there.
    pub(super) fn one(&mut self, findings: &mut Findings<'_>, mark: Mark, text: &str) -> Option<usize> {
        match self.find(findings, mark, text)? {
            Meant::One(place) => Some(place),
            Meant::Rest(places) => {
                let has_domains = matches!(self.by_name.get(text), Some(Name::Environment(environment))
                    if self.environments.get(*environment).is_some_and(|environment| environment.has_domains));
                let what = if has_domains {
                    "this environment has failure domains"
                } else {
                    "this is a glob"
                };
                let example = places.first().and_then(|place| self.all.get(*place));
                let example = example.map_or_else(String::new, |place| format!(" such as `{}`", place.name));
                findings.error(
                    mark,
                    format!(
                        "{what}, and a flow begins at one place; expected one of them{example}, or `pattern`"
                    ),
                );
                None
            }
        }
    }
}

/// The entries of a map whose keys are names.
fn entries<'n>(
    findings: &mut Findings<'_>,
    node: Option<&'n Node>,
    expected: &str,
) -> Vec<(Mark, &'n str, &'n Node)> {
    let Some(node) = node else { return Vec::new() };
    let Value::Map(entries) = &node.value else {
        findings.mismatch(node, &format!("a map of {expected}"));
        return Vec::new();
    };
    let mut named = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        match &key.value {
            Value::Scalar(Scalar { text, .. }) if is_name(text) => {
                named.push((key.mark, text.as_str(), value));
            }
            Value::Null | Value::Scalar(_) | Value::List(_) | Value::Map(_) => findings.error(
                key.mark,
                "this can't be a name; expected a letter or digit, and then at most 63 letters, digits, `.`, `_` or `-`",
            ),
        }
    }
    named
}

/// Whether something may be the name of an environment, a domain or a gate. The schema says the same.
pub(super) fn is_name(text: &str) -> bool {
    key_name(text).is_some() && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn spelled<'n>(findings: &mut Findings<'_>, map: &super::read::Map<'n>) -> Spelled<'n> {
    Spelled {
        path: findings.word(map.get("path"), "a directory such as `clusters/lab`"),
        branch: findings.word(map.get("branch"), "a branch such as `env/staging`"),
        repository: findings.word(map.get("repository"), "a repository as `owner/name`"),
        file: findings.word(map.get("file"), "a file such as `values-{environment}.yaml`"),
    }
}

fn place(
    findings: &mut Findings<'_>,
    mark: Mark,
    (environment, environment_name): (usize, &str),
    domain: Option<&str>,
    spelled: Spelled<'_>,
) -> Option<Place> {
    if matches!(
        spelled,
        Spelled {
            path: None,
            branch: None,
            repository: None,
            file: None
        }
    ) {
        findings.error(
            mark,
            "nothing says where this is, so it would be the whole repository; expected `path`, `branch`, `repository` or `file`",
        );
        return None;
    }
    let names = (environment_name, domain);
    let mut text = |spelled: Option<(Mark, &str)>| match spelled {
        None => Some(None),
        Some((mark, text)) => match expanded(text, names) {
            Ok(text) => Some(Some((mark, text))),
            Err(problem) => {
                findings.error(mark, problem);
                None
            }
        },
    };
    let (path, branch) = (text(spelled.path), text(spelled.branch));
    let (repository, file) = (text(spelled.repository), text(spelled.file));
    let path = match path? {
        None => PathInRepo::root(),
        Some((mark, text)) => directory(findings, mark, &text)?,
    };
    let branch = match branch? {
        None => None,
        Some((mark, text)) => Some(self::branch(findings, mark, text)?),
    };
    let repo = match repository? {
        None => None,
        Some((mark, text)) => match RepoName::parse(&text) {
            Ok(repo) => Some(repo),
            Err(error) => {
                findings.error(mark, format!("this is not {}", error.expected));
                return None;
            }
        },
    };
    let file = match file? {
        None => None,
        Some((mark, text)) => Some(self::file(findings, mark, &text)?),
    };
    Some(Place {
        name: domain.map_or_else(
            || environment_name.to_owned(),
            |domain| format!("{environment_name}/{domain}"),
        ),
        environment,
        path,
        base: Base { repo, branch },
        file,
    })
}

/// A directory that components may go to; the root of a branch is one.
pub(super) fn directory(findings: &mut Findings<'_>, mark: Mark, text: &str) -> Option<PathInRepo> {
    let problem = match PathInRepo::parse(text) {
        Err(error) => error.rule,
        Ok(path) if path.is_root() => return Some(path),
        Ok(path) => match protected(&path) {
            None => return Some(path),
            Some(reason) => reason,
        },
    };
    findings.error(
        mark,
        format!("no promotion may lead here: {problem}; expected a directory such as `clusters/lab`"),
    );
    None
}

pub(super) fn branch(findings: &mut Findings<'_>, mark: Mark, text: String) -> Option<BranchName> {
    match BranchName::parse(text) {
        Ok(branch) => Some(branch),
        Err(error) => {
            findings.error(mark, format!("this is not {}", error.expected));
            None
        }
    }
}

/// A file of each component, in a format whose keys can be set.
pub(super) fn file(findings: &mut Findings<'_>, mark: Mark, text: &str) -> Option<PathInRepo> {
    let problem = match PathInRepo::parse(text) {
        Err(error) => error.rule,
        Ok(path) if path.is_root() => "it is no file",
        Ok(path) => match (protected(&path), Format::of(&path)) {
            (Some(reason), _) => reason,
            (None, None) => "its name does not end with `.yaml`, `.yml`, `.json` or `.toml`",
            (None, Some(_)) => return Some(path),
        },
    };
    findings.error(
        mark,
        format!("keys can't be set in this file: {problem}; expected a path within each component, such as `values-{{environment}}.yaml`"),
    );
    None
}

/// The text with its placeholders filled in.
fn expanded(text: &str, (environment, domain): (&str, Option<&str>)) -> Result<String, &'static str> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, tail) = after
            .split_once('}')
            .ok_or("a `{` is not closed; expected `{environment}` or `{domain}`")?;
        filled.push_str(match name {
            "environment" => environment,
            "domain" => {
                domain.ok_or("`{domain}` has no meaning here; expected it only where there are `domains`")?
            }
            "component" => {
                return Err(
                    "`{component}` can't be used: a component's own path always follows the place's path; \
                            expected `{environment}` or `{domain}`",
                );
            }
            _ => return Err("this placeholder is not known; expected `{environment}` or `{domain}`"),
        });
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled)
}
