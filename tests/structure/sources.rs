//! What the sources may say, and where.

use std::path::Path;

use super::workspace::files;

/// Longer files hold more than one concept.
const MOST_LINES: usize = 600;

/// Returns the names and texts of the Rust files.
fn rust_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    files()
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .filter(|(name, _)| name.ends_with(".rs"))
}

/// Returns the Rust files that run in production, without their comments and their test modules.
fn production_files() -> impl Iterator<Item = (&'static str, String)> {
    rust_files()
        .filter(|(name, _)| {
            let is_test = |part: &str| matches!(part, "tests" | "tests.rs" | "testing" | "testing.rs");
            !name.split('/').any(is_test)
        })
        .map(|(name, text)| (name, production_text(text)))
}

/// By custom the tests of a file are its last module.
fn production_text(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text.get(..end)
        .unwrap_or(text)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Returns the production files in which `wanted` is said.
fn production_files_where(wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    production_files()
        .filter(|(_, text)| wanted(text))
        .map(|(name, _)| name)
        .collect()
}

/// Says whether a path begins with this crate, and not with a module of ours that has the same name.
fn uses_crate(text: &str, name: &str) -> bool {
    let wanted = format!("{name}::");
    text.match_indices(&wanted).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        !before.ends_with(|char: char| char.is_alphanumeric() || char == '_')
            && (!before.ends_with("::") || before.ends_with(" ::"))
    })
}

#[test]
fn no_rust_file_is_too_long() {
    let long: Vec<String> = rust_files()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert!(
        long.is_empty(),
        "split by concept at {MOST_LINES} lines: {long:?}"
    );
}

#[test]
fn no_rust_file_is_forgotten() {
    for (name, _) in rust_files() {
        let path = Path::new(name);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().unwrap();
        let is_root = matches!(stem, "main" | "lib" | "build")
            || folder
                .components()
                .any(|part| matches!(part.as_os_str().to_str(), Some("bin" | "examples" | "benches")));
        if is_root {
            continue;
        }
        // `a/b.rs` is declared in `a/mod.rs`, `a.rs` or the root in `a`; `a/mod.rs` one level up.
        let (module, home) = if stem == "mod" {
            (
                folder.file_name().unwrap().to_str().unwrap(),
                folder.parent().unwrap(),
            )
        } else {
            (stem, folder)
        };
        let home_text = home.to_str().unwrap();
        let candidates = ["mod.rs", "lib.rs", "main.rs"].map(|file| format!("{home_text}/{file}"));
        let sibling = format!("{home_text}.rs");
        let declaration = format!("mod {module};");
        let is_declared = rust_files()
            .filter(|(other, _)| *other == sibling || candidates.iter().any(|candidate| candidate == other))
            .any(|(_, text)| text.contains(&declaration));
        let is_integration_test = home_text.ends_with("/tests");
        assert!(
            is_declared || is_integration_test,
            "{name} is compiled by nobody: no `{declaration}` above it"
        );
    }
}

#[test]
fn a_lease_is_issued_by_the_lock_alone() {
    let issuers = production_files_where(|text| text.contains("Lease::issue"));
    assert!(
        !issuers.is_empty(),
        "nobody issues a lease: this rule looks for the wrong words"
    );
    let strangers: Vec<_> = issuers
        .iter()
        .filter(|name| !name.starts_with("shared/fleet/src/lock"))
        .collect();
    assert!(
        strangers.is_empty(),
        "only the lock may say that a repository is locked: {strangers:?}"
    );
}

#[test]
fn backoff_is_used_in_one_module() {
    // It is unmaintained (see deny.toml): a swap has to stay one file.
    let users = production_files_where(|text| uses_crate(text, "backoff"));
    assert_eq!(users.len(), 1, "backoff is used in {users:?}");
    assert!(
        users.iter().all(|name| name.starts_with("shared/fleet/")),
        "{users:?}"
    );
}

#[test]
fn git_is_spawned_in_one_file() {
    let rooms = [
        "shared/",
        "services/ingress/",
        "services/planner/",
        "services/executor/",
    ];
    let spawners: Vec<_> = production_files_where(|text| text.contains("Command::new("))
        .into_iter()
        .filter(|name| rooms.iter().any(|room| name.starts_with(room)))
        .collect();
    assert_eq!(spawners.len(), 1, "processes are spawned in {spawners:?}");
    assert!(
        spawners.iter().all(|name| name.starts_with("shared/git/")),
        "{spawners:?}"
    );
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    // Taken apart, so that this file does not name them itself.
    let machine_paths = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/t", "mp/"),
        concat!("C:", "\\Users"),
        concat!("/Us", "ers/"),
    ];
    let mut found = Vec::new();
    for (name, text) in files() {
        for (number, line) in text.lines().enumerate() {
            let at = machine_paths.iter().find(|path| {
                line.match_indices(*path).any(|(at, _)| {
                    // `https://host/tmp/` and `example.org/work/` are no paths of a machine.
                    !line
                        .get(..at)
                        .is_some_and(|before| before.ends_with(|char: char| char.is_alphanumeric()))
                })
            });
            if let Some(path) = at {
                found.push(format!("{name}:{}: {path}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_rules_read_sources_as_meant() {
    assert!(uses_crate("use backoff::Backoff;", "backoff"));
    assert!(uses_crate("let x = ::backoff::a();", "backoff"));
    assert!(!uses_crate("use crate::backoff::Schedule;", "backoff"));
    assert!(!uses_crate("use my_backoff::Schedule;", "backoff"));
    assert_eq!(
        production_text("a\n// Lease::issue\n#[cfg(test)]\nmod tests {\nLease::issue\n}"),
        "a\n"
    );
}
