//! Flows: from one place to others, under conditions.

use std::collections::{BTreeSet, HashMap};

use super::super::flow::{Conditions, Directories, Flow, Source, Wave};
use super::super::pattern::SourcePattern;
use super::super::read::Findings;
use super::super::yaml::{Mark, Node, Value};
use super::places::{branch, directory, file};
use super::read::Map;
use super::{Shared, waves};
use crate::location::InvalidGlob;
use crate::plan::FlowRef;
use crate::values::{Format, KeyPath, MAX_KEYS};
use crate::{Base, BranchName, Login, PathInRepo, Selection};

/// The most flows in a file: it bounds the time to compile their patterns and globs.
const MAX_FLOWS: usize = 250;
/// The most waves in a flow.
const MAX_WAVES: usize = 1000;
/// The most globs in one list.
const MAX_GLOBS: usize = 250;
/// How deep components may lie below a location.
const MAX_DEPTH: usize = 31;

pub(super) fn compile(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    node: Option<&Node>,
) -> Vec<Flow> {
    let Some(node) = node else { return Vec::new() };
    let items = findings.items(Some(node), "a list of flows, each with `from` and `waves`");
    if let Some(beyond) = items.get(MAX_FLOWS) {
        findings.error(
            beyond.mark,
            format!("too many flows; expected at most {MAX_FLOWS}"),
        );
        return Vec::new();
    }
    let mut names: HashMap<&str, Mark> = HashMap::new();
    let mut flows = Vec::new();
    for (index, item) in items.iter().enumerate() {
        flows.extend(flow(findings, shared, &mut names, index, item));
        if shared.budget.is_spent() {
            break;
        }
    }
    flows
}

fn flow<'n>(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    names: &mut HashMap<&'n str, Mark>,
    index: usize,
    node: &'n Node,
) -> Option<Flow> {
    let known = ["name", "from", "when", "components", "select", "keys", "waves"];
    let map = findings.map(node, &known, "a flow with `from` and `waves`")?;
    let name = findings.word(map.get("name"), "what people call the flow");
    if let Some((mark, name)) = name
        && let Some(other) = names.insert(name, mark)
    {
        findings.error(
            mark,
            format!(
                "the flow of line {} has this name, too; expected each name once",
                other.line
            ),
        );
    }
    let depth = depth(findings, map.get("components")).unwrap_or(shared.depth);
    let expected = "`from`, the name of a place, or a map with `path` or `pattern`";
    let from = findings.required(&map, "from", expected);
    let source = from.and_then(|from| source(findings, shared, from, depth));
    let conditions = map
        .get("when")
        .map_or_else(Conditions::default, |node| conditions(findings, node));
    let is_of_files = source.as_ref().is_some_and(|(source, _)| source.file.is_some());
    let selection = match map.get("select") {
        Some(node) if is_of_files => {
            findings.error(
                node.mark,
                "this flow is about one file of each component, so there is nothing to select from; expected `keys` alone",
            );
            Selection::default()
        }
        Some(node) => selection(findings, node),
        None if is_of_files => Selection::default(),
        None => shared.selection.clone(),
    };
    let keys = keys(findings, &map, source.as_ref().map(|_| is_of_files));
    let expected = "a list of waves, each with `to`; an empty one leads nowhere";
    let waves_node = findings.required(&map, "waves", expected);
    let items = match waves_node.map(|node| (node.mark, &node.value)) {
        Some((mark, Value::List(items))) => {
            if items.is_empty() {
                findings.warn(mark, "this flow leads nowhere: what it takes goes no further");
            }
            items.as_slice()
        }
        Some(_) => findings.items(waves_node, expected),
        None => &[],
    };
    if let Some(beyond) = items.get(MAX_WAVES) {
        findings.error(
            beyond.mark,
            format!("too many waves; expected at most {MAX_WAVES} in a flow"),
        );
        return None;
    }
    let place = source.as_ref().and_then(|(_, place)| *place);
    let waves = waves::compile(findings, shared, items, place);
    let (source, _) = source?;
    fits(findings, node.mark, &source, &waves);
    Some(Flow {
        reference: FlowRef {
            file: findings.file.to_owned(),
            index,
            line: node.mark.line,
        },
        name: name.map(|(_, name)| name.to_owned()),
        source,
        conditions,
        selection,
        keys,
        waves,
    })
}

/// Whether what a flow takes can come to where it leads.
fn fits(findings: &mut Findings<'_>, mark: Mark, source: &Source, waves: &[Wave]) {
    let own = Base {
        repo: None,
        branch: source.branch.clone(),
    };
    let depth = source.directories.depth();
    let format = source.file.as_ref().and_then(Format::of);
    let mut said = BTreeSet::new();
    for (group, target) in waves
        .iter()
        .flat_map(|wave| &wave.groups)
        .flat_map(|group| group.targets.iter().map(move |target| (group, target)))
    {
        let name = target.name.as_deref().unwrap_or_default();
        let problem = match (&source.file, &target.file) {
            (Some(_), None) => Some(
                "the flow begins at a file of each component, and this place has no `file`; expected both or neither",
            ),
            (None, Some(_)) => Some(
                "this place is a file of each component, and the flow does not begin at one; expected `file` at the flow's \
                 source, too, and `keys`",
            ),
            (Some(_), Some(file)) if Format::of(file) != format => Some(
                "its file is of another format than the source's; expected both in YAML, in JSON or in TOML",
            ),
            (Some(_), Some(_)) => None,
            (None, None) if depth == 0 && target.path.is_root() => Some(
                "with `depth: 0` the whole branch would be the component, and its root holds what steers the forge, such as \
                 `.github`, CODEOWNERS and this policy; expected a `path`, or a depth of at least 1",
            ),
            (None, None) => None,
        };
        let place = if target.path.is_root() {
            "the root"
        } else {
            target.path.as_str()
        };
        let overlap = match &source.directories {
            Directories::One { path, .. } if own == group.base && source.file.is_none() => {
                if path == &target.path {
                    Some("it is where the flow begins")
                } else if path.is_within(&target.path) {
                    Some("the flow's source lies in it")
                } else if target.path.is_within(path) {
                    Some("it lies in the flow's source")
                } else {
                    None
                }
            }
            Directories::One { path, .. }
                if own == group.base && *path == target.path && source.file == target.file =>
            {
                Some("it is where the flow begins")
            }
            Directories::One { .. } | Directories::Pattern(_) => None,
        };
        let overlap = overlap.map(|why| {
            format!("the flow can't lead to `{name}` ({place}): {why}; expected places apart from each other")
        });
        // Each kind of problem once: with a hundred domains it would be the same a hundred times.
        for problem in problem
            .map(|problem| format!("the flow can't lead to `{name}`: {problem}"))
            .into_iter()
            .chain(overlap)
        {
            let kind = problem.split_once(':').map(|(_, kind)| kind.to_owned());
            if said.insert(kind) {
                findings.error(mark, problem);
            }
        }
    }
}

/// `components`: how deep they lie.
pub(super) fn depth(findings: &mut Findings<'_>, node: Option<&Node>) -> Option<usize> {
    let map = findings.map(node?, &["depth"], "a map with `depth`")?;
    findings.whole(map.get("depth"), 0, MAX_DEPTH)
}

/// The source of a flow, and the place that it is.
fn source(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    node: &Node,
    depth: usize,
) -> Option<(Source, Option<usize>)> {
    let expected = "the name of a place, or a map with `path` or `pattern`";
    if !matches!(node.value, Value::Map(_)) {
        let (mark, text) = findings.word(Some(node), expected)?;
        let index = shared.places.one(findings, mark, text)?;
        let place = shared.places.get(index)?;
        if place.base.repo.is_some() {
            findings.error(
                mark,
                "this place is in another repository, and a flow begins in the repository of its policy; \
                 expected the flow in a `lockflight.yaml` over there",
            );
            return None;
        }
        let (path, file, branch) = (place.path.clone(), place.file.clone(), place.base.branch.clone());
        let source = one(findings, mark, path, depth, file, branch)?;
        return Some((source, Some(index)));
    }
    let map = findings.map(node, &["path", "pattern", "branch", "file"], expected)?;
    let branch = match findings.word(map.get("branch"), "a branch such as `env/staging`") {
        None => None,
        Some((mark, text)) => Some(branch(findings, mark, text.to_owned())?),
    };
    let file = match findings.word(map.get("file"), "a file such as `values-staging.yaml`") {
        None => None,
        Some((mark, text)) => Some(file(findings, mark, text)?),
    };
    let source = match (map.get("path"), map.get("pattern")) {
        (None, Some(node)) => {
            let (mark, text) = findings.word(
                Some(node),
                "a regular expression of directories that hold components",
            )?;
            Source {
                branch,
                directories: Directories::Pattern(pattern(findings, shared, mark, text, depth)?),
                file,
            }
        }
        (Some(node), None) => {
            let (mark, text) = findings.word(Some(node), "a directory that holds components")?;
            let path = directory(findings, mark, text)?;
            one(findings, mark, path, depth, file, branch)?
        }
        (None, None) if branch.is_some() => one(findings, map.mark, PathInRepo::root(), depth, file, branch)?,
        _ => {
            findings.error(
                map.mark,
                "expected exactly one of `path` and `pattern`; only with a `branch` neither, for its root",
            );
            return None;
        }
    };
    Some((source, None))
}

fn one(
    findings: &mut Findings<'_>,
    mark: Mark,
    path: PathInRepo,
    depth: usize,
    file: Option<PathInRepo>,
    branch: Option<BranchName>,
) -> Option<Source> {
    if depth == 0 && path.is_root() && file.is_none() {
        findings.error(
            mark,
            "with `depth: 0` the whole branch would be the component, and its root holds what steers the forge, such as \
             `.github`, CODEOWNERS and this policy; expected a `path`, or a depth of at least 1",
        );
        return None;
    }
    Some(Source {
        branch,
        directories: Directories::One { path, depth },
        file,
    })
}

fn pattern(
    findings: &mut Findings<'_>,
    shared: &mut Shared<'_>,
    mark: Mark,
    text: &str,
    depth: usize,
) -> Option<SourcePattern> {
    if depth == 0 {
        findings.error(
            mark,
            "a `pattern` means directories that hold components, so those lie at least one level below; \
             expected a depth of at least 1, or `path`",
        );
        return None;
    }
    if text.starts_with('/') || text.starts_with("./") {
        findings.error(
            mark,
            "paths in a repository begin with neither `/` nor `./`, so this flow would never match; expected it without",
        );
        return None;
    }
    match SourcePattern::compile_within(text, depth, shared.budget) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            findings.error(
                mark,
                format!("expected a regular expression in Go's syntax: {error}"),
            );
            None
        }
    }
}

fn conditions(findings: &mut Findings<'_>, node: &Node) -> Conditions {
    let known = ["labels", "authors", "paths", "components"];
    let expected = "conditions such as `labels`, `authors`, `paths` or `components`";
    let Some(map) = findings.map(node, &known, expected) else {
        return Conditions::default();
    };
    let labels = findings.words(map.get("labels"), "a list of labels");
    let mut any_author = BTreeSet::new();
    for (mark, author) in findings.words(map.get("authors"), "a list of people, by login") {
        match Login::parse(author.strip_prefix('@').unwrap_or(author)) {
            Ok(login) => {
                any_author.insert(login.as_str().to_lowercase());
            }
            Err(error) => findings.error(mark, format!("this is not {}", error.expected)),
        }
    }
    let bare = Conditions {
        any_label: labels.into_iter().map(|(_, label)| label.to_owned()).collect(),
        any_author,
        ..Conditions::default()
    };
    let paths = globs(findings, map.get("paths"), "a list of globs of changed files");
    let components = globs(findings, map.get("components"), "a list of globs of components");
    // Each was read by itself, so that together they are right, too.
    let whole = bare
        .on_paths(paths)
        .and_then(|conditions| conditions.on_components(components));
    whole.unwrap_or_else(|error: InvalidGlob| {
        findings.error(
            map.mark,
            format!("these globs can't be read together: {}", error.problem),
        );
        Conditions::default()
    })
}

/// `select`: which files of a component travel.
pub(super) fn selection(findings: &mut Findings<'_>, node: &Node) -> Selection {
    let expected = "a map with `include` or `exclude`";
    let Some(map) = findings.map(node, &["include", "exclude"], expected) else {
        return Selection::default();
    };
    Selection {
        include: globs(
            findings,
            map.get("include"),
            "a list of globs of files that travel",
        ),
        exclude: globs(findings, map.get("exclude"), "a list of globs of files that stay"),
    }
}

/// Globs that are known to compile.
fn globs(findings: &mut Findings<'_>, node: Option<&Node>, expected: &str) -> Vec<String> {
    let texts = findings.words(node, expected);
    if let Some((mark, _)) = texts.get(MAX_GLOBS) {
        findings.error(
            *mark,
            format!("too many globs; expected at most {MAX_GLOBS} in a list"),
        );
        return Vec::new();
    }
    let mut globs = Vec::with_capacity(texts.len());
    for (mark, text) in texts {
        let alone = Selection {
            include: vec![text.to_owned()],
            exclude: Vec::new(),
        };
        match alone.compile() {
            Ok(_) => globs.push(text.to_owned()),
            Err(error) => findings.error(
                mark,
                format!(
                    "this is not a glob: {}; expected one such as `values-*.yaml` or `overlays/**`",
                    error.problem
                ),
            ),
        }
    }
    globs
}

/// `keys`. They are there where the flow begins at a file, and only there.
fn keys(findings: &mut Findings<'_>, map: &Map<'_>, is_of_files: Option<bool>) -> Vec<KeyPath> {
    let expected = "a list of keys such as `image.tag`";
    let Some(node) = map.get("keys") else {
        if is_of_files == Some(true) {
            findings.error(
                map.mark,
                format!(
                    "this flow is about a file of each component, so `keys` is missing; expected {expected}"
                ),
            );
        }
        return Vec::new();
    };
    if is_of_files == Some(false) {
        findings.error(
            node.mark,
            "keys travel only between files, and this flow does not begin at one; expected `file` at its source and targets, or no `keys`",
        );
    }
    let texts = findings.words(Some(node), expected);
    if let Some((mark, _)) = texts.get(MAX_KEYS) {
        findings.error(
            *mark,
            format!("too many keys; expected at most {MAX_KEYS}, such as the key above them"),
        );
        return Vec::new();
    }
    let mut keys: Vec<KeyPath> = Vec::with_capacity(texts.len());
    for (mark, text) in texts {
        match KeyPath::parse(text) {
            Err(error) => findings.error(
                mark,
                format!("this is not the way to a key: {}; expected one such as `image.tag` or `containers[name=app].image`", error.rule),
            ),
            Ok(key) if keys.iter().any(|other| key.is_within(other) || other.is_within(&key)) => {
                findings.error(mark, "this key is the same as another one, above it or below it; expected each key once");
            }
            Ok(key) => keys.push(key),
        }
    }
    keys
}
