//! What `cargo metadata` and the file system say, and the rules about members.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize;

/// The part of `cargo metadata --no-deps` that the rules need.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for a normal one.
    pub(crate) kind: Option<String>,
}

impl Dependency {
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// Returns the top of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the members of the workspace.
pub(crate) fn metadata() -> &'static Metadata {
    static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    });
    &METADATA
}

/// Returns the names and texts of all files whose text is UTF-8, without what is built or belongs to git.
pub(crate) fn files() -> &'static [(String, String)] {
    static FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let mut found = Vec::new();
        collect(root(), &mut found);
        found.sort();
        found
    });
    &FILES
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_symlink() || matches!(name, "target" | ".git" | "node_modules" | "__pycache__") {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let relative = path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            found.push((relative, text));
        }
    }
}

pub(crate) fn text_of(name: &str) -> &'static str {
    let found = files().iter().find(|(file, _)| file == name);
    found.map_or_else(|| panic!("there is no {name}"), |(_, text)| text)
}

#[test]
fn members_are_listed_one_by_one_and_none_is_forgotten() {
    let manifest = text_of("Cargo.toml");
    let (_, rest) = manifest.split_once("\nmembers = [").unwrap();
    let (members, _) = rest.split_once(']').unwrap();
    assert!(
        !members.contains('*'),
        "a glob breaks the build as soon as a folder has no Cargo.toml"
    );
    let listed: BTreeSet<String> = members
        .split(',')
        .map(|member| member.trim().trim_matches('"').to_owned())
        .filter(|member| !member.is_empty())
        .collect();
    let present: BTreeSet<String> = files()
        .iter()
        .filter_map(|(file, _)| file.strip_suffix("/Cargo.toml"))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, present);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in &metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        let has_lints = manifest
            .split_once("\n[lints]\n")
            .is_some_and(|(_, section)| section.trim_start().starts_with("workspace = true"));
        assert!(has_lints, "{}: [lints] workspace = true is missing", package.name);
    }
}
