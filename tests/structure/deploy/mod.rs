//! What `deploy` promises. No container engine and no cluster is needed for this: it reads the recipes.
//!
//! It does not replace the tools that know each format; `docs/operations.md` names those, and what they said.

mod compose;
mod manifests;
mod names;
mod pods;
mod policies;

use std::collections::BTreeSet;

use serde_json::Value;

use super::workspace::{files, text_of};

/// A document of a YAML file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Where it stands, for messages.
    pub(super) file: String,
    pub(super) value: Value,
}

impl Document {
    pub(super) fn at(&self, pointer: &str) -> &Value {
        self.value.pointer(pointer).unwrap_or(&Value::Null)
    }

    pub(super) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    pub(super) fn kind(&self) -> &str {
        self.text("/kind")
    }

    pub(super) fn name(&self) -> &str {
        self.text("/metadata/name")
    }
}

/// Returns all documents of a YAML file.
pub(super) fn documents(file: &str) -> Vec<Document> {
    let parsed: Vec<Value> = serde_saphyr::from_multiple(text_of(file))
        .unwrap_or_else(|error| panic!("{file} is no YAML: {error}"));
    let named = |value| Document {
        file: file.to_owned(),
        value,
    };
    parsed.into_iter().map(named).collect()
}

/// The elements of a list; none if it is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

/// The version of the workspace.
pub(super) fn version() -> &'static str {
    quoted_after(text_of("Cargo.toml"), "\nversion = ")
}

/// The text in quotation marks that follows `marker`.
pub(super) fn quoted_after<'a>(text: &'a str, marker: &str) -> &'a str {
    let found = text
        .split_once(marker)
        .and_then(|(_, rest)| rest.split('"').nth(1));
    found.unwrap_or_else(|| panic!("nothing in quotation marks follows {marker:?}"))
}

/// The first number that follows a `marker`.
pub(super) fn number_after(text: &str, marker: &str) -> u64 {
    text.split(marker)
        .skip(1)
        .find_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
        .unwrap_or_else(|| panic!("no number follows {marker:?}"))
}

/// The seconds of a shutdown, at most, as the binary has them.
pub(super) fn drain_seconds() -> u64 {
    const MARKER: &str = "DRAIN: Duration = Duration::from_secs(";
    let source = files()
        .iter()
        .find(|(name, text)| name.starts_with("services/lockflight/src/") && text.contains(MARKER));
    let (_, text) = source.unwrap_or_else(|| panic!("no source says {MARKER:?}"));
    number_after(text, MARKER)
}

/// What has to be left between the end of the drain and the kill.
const SPARE_SECONDS: u64 = 5;

#[test]
fn the_image_is_built_with_the_toolchain_of_the_workspace() {
    let recipe = text_of("deploy/Dockerfile");
    let channel = quoted_after(text_of("rust-toolchain.toml"), "channel = ");
    assert!(
        recipe.contains(&format!("\nFROM rust:{channel}-")),
        "another base than {channel}"
    );
    assert!(
        recipe.contains(&format!("RUSTUP_TOOLCHAIN={channel}")),
        "another toolchain than {channel}"
    );
    assert!(
        recipe.contains(&format!("\nARG VERSION={}\n", version())),
        "the label has another version than the workspace"
    );
    assert!(
        recipe.contains("cargo build --release --locked "),
        "the lock file is not held"
    );
}

#[test]
fn the_image_runs_as_a_numbered_user_and_checks_itself() {
    let recipe = text_of("deploy/Dockerfile");
    let last = recipe.rsplit("\nFROM ").next().unwrap();
    let user: Vec<&str> = last
        .lines()
        .filter_map(|line| line.strip_prefix("USER "))
        .collect();
    assert_eq!(user, [format!("{0}:{0}", pods::USER)], "who runs it");
    assert!(
        last.contains(r#"CMD ["/usr/local/bin/lockflight", "health"]"#),
        "no health check of our own"
    );
    for (number, line) in recipe.lines().enumerate() {
        let has_tag = line.strip_prefix("FROM ").is_none_or(|base| {
            let image = base.split_whitespace().next().unwrap();
            image
                .split_once(':')
                .is_some_and(|(_, tag)| tag.contains(|char: char| char.is_ascii_digit()))
        });
        assert!(
            has_tag,
            "deploy/Dockerfile:{}: a base without a version",
            number + 1
        );
    }
}

#[test]
fn a_service_of_systemd_outlives_its_drain() {
    let unit = text_of("deploy/systemd/lockflight.service");
    let seconds = number_after(unit, "TimeoutStopSec=");
    assert!(seconds >= drain_seconds() + SPARE_SECONDS, "{seconds} s");
}

#[test]
fn no_secret_is_in_the_recipes() {
    let secrets: Vec<_> = manifests::all()
        .into_iter()
        .filter(|document| document.kind() == "Secret")
        .collect();
    assert!(secrets.is_empty(), "secrets are made by people: {secrets:?}");
    // `make-secrets` writes there, and git has to leave it alone.
    assert!(
        text_of("deploy/compose/.gitignore")
            .lines()
            .any(|line| line == "/secrets")
    );
}

#[test]
fn every_file_of_a_secret_is_explained() {
    let files: BTreeSet<String> = names::environments()
        .into_iter()
        .filter(|(_, key, _)| key.ends_with("_FILE"))
        .filter_map(|(_, _, path)| path.rsplit('/').next().map(str::to_owned))
        .collect();
    assert!(files.len() >= 5, "too few to be all: {files:?}");
    for file in files {
        // systemd's `%d` and the compose file's role at the end of a name are told by their own recipes.
        let file = file.rsplit_once("url-").map_or(file.as_str(), |(head, _)| head);
        assert!(
            text_of("docs/operations.md").contains(file),
            "docs/operations.md does not say what {file} is"
        );
    }
}
