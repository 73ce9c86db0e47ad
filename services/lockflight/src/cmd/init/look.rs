//! Looks at a work tree for what seems to be environments. It guesses, and says so in what it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Names of environments in the order in which changes usually go through them.
const ENVIRONMENTS: [&[&str]; 6] = [
    &["sandbox", "lab", "dev", "develop", "development"],
    &["test", "testing", "qa", "ci"],
    &["int", "integration", "uat"],
    &["staging", "stage", "stg"],
    &["preprod", "pre-prod", "preproduction", "pre-production"],
    &["prod", "prd", "production", "live"],
];
/// Directories in which people change things that environments then get.
const SOURCES: [&str; 4] = ["workspace", "source", "src", "base"];
/// What names of regions begin with.
const REGIONS: [&str; 12] = [
    "us",
    "eu",
    "europe",
    "ap",
    "asia",
    "australia",
    "northamerica",
    "southamerica",
    "sa",
    "ca",
    "me",
    "af",
];
/// How far the search goes.
const MAX_DEPTH: usize = 6;
const MAX_ENTRIES: usize = 20_000;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Directories by their path, and files by their name in each.
    directories: BTreeMap<String, BTreeSet<String>>,
    branches: BTreeSet<String>,
    head: Option<String>,
}

/// Reads the names in a work tree; no content.
pub(crate) fn at(root: &Path) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut left = vec![(root.to_owned(), String::new(), 0)];
    let mut seen = 0;
    while let Some((directory, path, depth)) = left.pop() {
        let mut files = BTreeSet::new();
        let entries =
            fs::read_dir(&directory).with_context(|| format!("{} can't be read", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("{} can't be read", directory.display()))?;
            seen += 1;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry
                .file_type()
                .with_context(|| format!("{} can't be read", entry.path().display()))?;
            if kind.is_dir() && depth < MAX_DEPTH && seen < MAX_ENTRIES && !name.starts_with('.') {
                let below = if path.is_empty() {
                    name
                } else {
                    format!("{path}/{name}")
                };
                left.push((entry.path(), below, depth + 1));
            } else if kind.is_file() {
                files.insert(name);
            }
        }
        found.directories.insert(path, files);
    }
    branches(&root.join(".git"), &mut found);
    Ok(found)
}

/// The names of branches, as far as they are written down in the usual places.
fn branches(git: &Path, found: &mut Found) {
    let refs = fs::read_to_string(git.join("packed-refs")).unwrap_or_default();
    let packed = refs
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, name)| name.to_owned()));
    let mut names: Vec<String> = packed.collect();
    for place in ["refs/heads", "refs/remotes/origin"] {
        let mut left = vec![(git.join(place), place.to_owned())];
        while let Some((directory, path)) = left.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && names.len() < MAX_ENTRIES => left.push((entry.path(), path)),
                    _ => names.push(path),
                }
            }
        }
    }
    let branch = |name: &str| {
        let name = name
            .strip_prefix("refs/heads/")
            .or_else(|| name.strip_prefix("refs/remotes/origin/"))?;
        (name != "HEAD").then(|| name.to_owned())
    };
    found.branches = names.iter().filter_map(|name| branch(name)).collect();
    let head = fs::read_to_string(git.join("HEAD")).unwrap_or_default();
    found.head = head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned);
}

/// The first policy for what was found; none if nothing looks like environments.
pub(crate) fn policy(found: &Found) -> Option<String> {
    by_directory(found)
        .or_else(|| by_file(found))
        .or_else(|| by_branch(found))
}

/// Where a name stands among environments; none if it is none.
fn rank(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    ENVIRONMENTS
        .iter()
        .position(|names| names.contains(&name.as_str()))
}

fn is_region(name: &str) -> bool {
    let first = name.split(['-', '_']).next().unwrap_or_default();
    let bare = first.trim_end_matches(|c: char| c.is_ascii_digit());
    REGIONS.contains(&bare) && (name.len() > bare.len() || bare.len() == 2)
}

fn is_cluster(name: &str) -> bool {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit());
    bare.len() < name.len() && ["c", "cell", "cluster", "cluster-", "cell-"].contains(&bare)
}

impl Found {
    /// The names of the directories in one.
    fn below<'f>(&'f self, path: &str) -> impl Iterator<Item = &'f str> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        self.directories
            .range(prefix.clone()..)
            .take_while({
                let prefix = prefix.clone();
                move |(path, _)| path.starts_with(&prefix)
            })
            .filter_map(move |(path, _)| path.get(prefix.len()..))
            .filter(|name| !name.is_empty() && !name.contains('/'))
    }

    /// The failure domains of an environment by their names, with their paths; none if it has none.
    fn domains(&self, path: &str) -> Vec<(String, String)> {
        let below: Vec<&str> = self.below(path).collect();
        if below.is_empty() || !below.iter().all(|name| is_region(name) || is_cluster(name)) {
            return Vec::new();
        }
        let mut domains = Vec::new();
        for name in below {
            let path = format!("{path}/{name}");
            let clusters: Vec<&str> = self.below(&path).collect();
            match clusters.as_slice() {
                [only] if is_cluster(only) => domains.push((name.to_owned(), format!("{path}/{only}"))),
                many if !many.is_empty() && many.iter().all(|name| is_cluster(name)) => {
                    domains.extend(
                        many.iter()
                            .map(|cluster| (format!("{name}-{cluster}"), format!("{path}/{cluster}"))),
                    );
                }
                _ => domains.push((name.to_owned(), path)),
            }
        }
        domains
    }
}

/// Sibling directories that are named like environments.
fn by_directory(found: &Found) -> Option<String> {
    let named = |path: &str| -> Vec<&str> {
        let mut names: Vec<&str> = found.below(path).filter(|name| rank(name).is_some()).collect();
        names.sort_by_key(|name| rank(name));
        names
    };
    let parent = found
        .directories
        .keys()
        .filter(|path| named(path).len() >= 2)
        // The one with the most, and of those the one nearest to the root.
        .min_by_key(|path| {
            (
                std::cmp::Reverse(named(path).len()),
                path.matches('/').count(),
                (*path).clone(),
            )
        })?;
    let names = named(parent);
    let mut text = header("directories that are named like environments");
    text.push_str("environments:\n");
    let mut first_domain = None;
    for (index, name) in names.iter().enumerate() {
        let path = if parent.is_empty() {
            (*name).to_owned()
        } else {
            format!("{parent}/{name}")
        };
        let domains = found.domains(&path);
        if domains.is_empty() {
            line(
                &mut text,
                &format!("  {}: {{ path: {} }}", quoted(name), quoted(&path)),
            );
            continue;
        }
        if index == 0 {
            first_domain = domains
                .first()
                .map(|(domain, _)| domain.clone())
                .zip(Some(domains.len() > 1));
        }
        line(&mut text, &format!("  {}:\n    domains:", quoted(name)));
        for (domain, path) in domains {
            line(
                &mut text,
                &format!("      {}: {{ path: {} }}", quoted(&domain), quoted(&path)),
            );
        }
    }
    let source = found
        .below("")
        .find(|name| SOURCES.contains(name) && parent != name);
    text.push_str(
        "\n# A component is a directory right below each of these.\ncomponents: { depth: 1 }\n\nflows:\n",
    );
    let (first, rest) = names.split_first()?;
    let mut waves: Vec<&str> = rest.to_vec();
    match (source, first_domain) {
        (Some(source), _) => {
            line(&mut text, &format!("  - from: {{ path: {} }}", quoted(source)));
            waves.insert(0, first);
        }
        (None, None) => line(&mut text, &format!("  - from: {}", quoted(first))),
        (None, Some((domain, has_more))) => {
            line(
                &mut text,
                &format!("  - from: {}", quoted(&format!("{first}/{domain}"))),
            );
            if has_more {
                waves.insert(0, first);
            }
        }
    }
    line(&mut text, &self::waves(&waves));
    Some(text)
}

/// Files that are named like environments, such as `values-staging.yaml`.
fn by_file(found: &Found) -> Option<String> {
    let mut families: BTreeMap<(String, String), BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (directory, files) in &found.directories {
        for file in files {
            let Some((stem, end)) = file.rsplit_once('.') else {
                continue;
            };
            if !["yaml", "yml", "json", "toml"].contains(&end) {
                continue;
            }
            let at = stem.rfind(['-', '.', '_']).map_or(0, |at| at + 1);
            let (Some(before), Some(name)) = (stem.get(..at), stem.get(at..)) else {
                continue;
            };
            if rank(name).is_some() {
                let family = families
                    .entry((before.to_owned(), format!(".{end}")))
                    .or_default();
                family.entry(directory).or_default().insert(name);
            }
        }
    }
    families
        .values_mut()
        .for_each(|family| family.retain(|_, names| names.len() >= 2));
    let ((before, end), family) = families.into_iter().max_by_key(|(_, family)| family.len())?;
    let (path, depth) = home(&family.keys().copied().collect::<Vec<_>>())?;
    let names: BTreeSet<&str> = family.values().flatten().copied().collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| (rank(name), *name));
    let mut text = header("files that are named like environments");
    text.push_str("environments:\n");
    let file = quoted(&format!("{before}{{environment}}{end}"));
    for name in &names {
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("path: {}, ", quoted(&path))
        };
        line(
            &mut text,
            &format!("  {}: {{ {path}file: {file} }}", quoted(name)),
        );
    }
    let (first, rest) = names.split_first()?;
    line(
        &mut text,
        &format!(
            "\n# How many directories lie between that path and the files.\ncomponents: {{ depth: {depth} }}\n\nflows:"
        ),
    );
    line(
        &mut text,
        &format!(
            "  - from: {}\n    # The keys that travel; everything else in the files stays as it is.\n    keys: [image.tag]",
            quoted(first)
        ),
    );
    line(&mut text, &waves(rest));
    Some(text)
}

/// The directory above all of these, and how deep below it they lie; none if they lie at different depths.
fn home(directories: &[&str]) -> Option<(String, usize)> {
    let split = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    if let [only] = directories {
        return Some(((*only).to_owned(), 0));
    }
    let depth = split(directories.first()?).len();
    if directories.iter().any(|path| split(path).len() != depth) {
        return None;
    }
    let common = directories
        .iter()
        .map(|path| split(path))
        .reduce(|common, path| {
            let same = common.iter().zip(&path).take_while(|(a, b)| a == b).count();
            common.into_iter().take(same).collect()
        })?;
    Some((common.join("/"), depth - common.len()))
}

/// Branches that are named like environments.
fn by_branch(found: &Found) -> Option<String> {
    let mut environments: BTreeMap<&str, &str> = BTreeMap::new();
    for branch in &found.branches {
        let name = branch.rsplit('/').next().unwrap_or(branch);
        if rank(name).is_some() {
            environments.entry(name).or_insert(branch);
        }
    }
    if environments.len() < 2 {
        return None;
    }
    let mut names: Vec<&str> = environments.keys().copied().collect();
    names.sort_by_key(|name| (rank(name), *name));
    let mut text = header("branches that are named like environments");
    text.push_str("environments:\n");
    for name in &names {
        let branch = environments.get(name).copied().unwrap_or_default();
        line(
            &mut text,
            &format!("  {}: {{ branch: {} }}", quoted(name), quoted(branch)),
        );
    }
    text.push_str("\n# A component is a directory right below the root of each branch.\ncomponents: { depth: 1 }\n\nflows:\n");
    let is_environment = found
        .head
        .as_deref()
        .is_some_and(|head| environments.values().any(|branch| *branch == head));
    let (first, rest) = names.split_first()?;
    if is_environment {
        line(&mut text, &format!("  - from: {}", quoted(first)));
        line(&mut text, &waves(rest));
    } else {
        line(
            &mut text,
            "  # The root of the default branch.\n  - from: { path: . }",
        );
        line(&mut text, &waves(&names));
    }
    Some(text)
}

fn header(what: &str) -> String {
    format!(
        "# Written by `lockflight init` from {what}.\n# It is a guess: read it before you merge it. Every key is explained in docs/policy.md of Lockflight.\nversion: 1\n\n"
    )
}

/// One wave after another.
fn waves(names: &[&str]) -> String {
    let mut text = "    waves:".to_owned();
    for name in names {
        // Writing to a String cannot fail.
        write!(text, "\n      - {{ to: [{}] }}", quoted(name)).unwrap_or_default();
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// JSON's strings are YAML's, too.
fn quoted(text: &str) -> String {
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    if is_bare {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use lockflight_promotion::policy::{NATIVE_FILE, Policy};

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The policy for a work tree with these files, and branches; and what its flows are.
    fn looked(files: &[&str], branches: &[&str]) -> Option<(String, Vec<Vec<Vec<String>>>)> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            write(&directory.path().join(file), "a: 1\n");
        }
        for branch in branches {
            write(&directory.path().join(".git/refs/heads").join(branch), "");
        }
        if let Some(branch) = branches.first() {
            fs::write(
                directory.path().join(".git/HEAD"),
                format!("ref: refs/heads/{branch}\n"),
            )
            .unwrap();
        }
        let text = policy(&at(directory.path()).unwrap())?;
        let policy = Policy::compile(NATIVE_FILE, &text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let names = |wave: &lockflight_promotion::policy::Wave| {
            let targets = wave.groups.iter().flat_map(|group| &group.targets);
            targets
                .filter_map(|target| target.name.clone())
                .collect::<Vec<_>>()
        };
        let flows = policy.flows().iter();
        Some((
            text,
            flows.map(|flow| flow.waves.iter().map(names).collect()).collect(),
        ))
    }

    #[test]
    fn directories_are_environments() {
        let (text, flows) = looked(
            &[
                "workspace/web/x.yaml",
                "clusters/lab/europe-west4/c1/web/x.yaml",
                "clusters/staging/us-central1/c1/web/x.yaml",
                "clusters/staging/europe-west4/c1/web/x.yaml",
                "clusters/prod/us-west1/c1/web/x.yaml",
                "clusters/prod/us-west1/c2/web/x.yaml",
            ],
            &[],
        )
        .unwrap();
        assert!(text.contains("  - from: { path: workspace }\n"), "{text}");
        assert_eq!(
            flows,
            [vec![
                vec!["lab/europe-west4".to_owned()],
                vec![
                    "staging/europe-west4".to_owned(),
                    "staging/us-central1".to_owned()
                ],
                vec!["prod/us-west1-c1".to_owned(), "prod/us-west1-c2".to_owned()],
            ]]
        );
        let (text, flows) = looked(
            &["envs/dev/web/x", "envs/production/web/x", "envs/staging/web/x"],
            &[],
        )
        .unwrap();
        assert!(text.contains("  - from: dev\n"), "{text}");
        assert_eq!(
            flows,
            [vec![vec!["staging".to_owned()], vec!["production".to_owned()]]]
        );
    }

    #[test]
    fn files_are_environments() {
        let (text, flows) = looked(
            &[
                "apps/web/values-staging.yaml",
                "apps/web/values-prod.yaml",
                "apps/db/values-staging.yaml",
                "apps/db/values-prod.yaml",
            ],
            &[],
        )
        .unwrap();
        assert!(
            text.contains("  prod: { path: apps, file: \"values-{environment}.yaml\" }\n"),
            "{text}"
        );
        assert_eq!(flows, [vec![vec!["prod".to_owned()]]]);
        let (text, _) = looked(&["staging.json", "prod.json"], &[]).unwrap();
        assert!(
            text.contains("  staging: { file: \"{environment}.json\" }\n") && text.contains("depth: 0"),
            "{text}"
        );
    }

    #[test]
    fn branches_are_environments() {
        let (text, flows) = looked(&["web/x.yaml"], &["main", "env/staging", "env/production"]).unwrap();
        assert!(text.contains("  staging: { branch: env/staging }\n"), "{text}");
        assert_eq!(
            flows,
            [vec![vec!["staging".to_owned()], vec!["production".to_owned()]]]
        );
        let (text, flows) = looked(&["web/x.yaml"], &["dev", "prod"]).unwrap();
        assert!(text.contains("  - from: dev\n"), "{text}");
        assert_eq!(flows, [vec![vec!["prod".to_owned()]]]);
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(looked(&["src/main.rs", "docs/staging/x"], &["main"]), None);
    }
}
