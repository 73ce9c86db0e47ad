//! Policy: what may go where, compiled from the policy file of a merge commit.
//!
//! [`Policy::compile`] turns a file into [`Flow`]s; nothing behind it knows the file's format. It fails closed: anything that
//! cannot be understood is an error with line and column, and then nothing is promoted. What is odd but clear is a warning.

mod component;
mod endpoints;
mod error;
mod flow;
mod migrate;
mod native;
mod pattern;
mod protected;
mod read;
pub mod schema;
mod settings;
mod telefonistka;
mod yaml;

pub use component::ComponentPolicy;
pub use endpoints::{Endpoints, MAX_ENDPOINTS};
pub use error::{PolicyError, PolicyErrors};
pub use flow::{After, Conditions, Directories, Flow, Group, Source, Target, Wave};
pub use migrate::{Unmigratable, migrate, migrate_component};
pub use pattern::{PatternError, SourceMatch, SourcePattern};
pub(crate) use protected::{AT_THE_ROOT, protected_in};
pub use protected::{NATIVE_FILE, TELEFONISTKA_FILE, protected};
pub use settings::{ArgoCdSettings, Settings, Supersede, WebhookEndpoint};

use crate::RepoName;
use crate::change::Change;

/// The most bytes that a policy file may have.
pub const MAX_BYTES: u64 = yaml::MAX_BYTES as u64;

/// The text of a policy file.
///
/// # Errors
/// When the file is too large, or not UTF-8.
pub fn decode(file: &str, bytes: Vec<u8>) -> Result<String, PolicyErrors> {
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; a policy may have {MAX_BYTES}",
            bytes.len()
        );
        return Err(PolicyErrors::whole(file, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let message = format!(
            "the file is not UTF-8 text: byte {} is none",
            error.utf8_error().valid_up_to() + 1
        );
        PolicyErrors::whole(file, message)
    })
}

/// Whether a policy file, by its name, is Lockflight's own.
fn is_native(file: &str) -> bool {
    file.rsplit('/').next() == Some(NATIVE_FILE)
}

/// What may go where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    file: String,
    flows: Vec<Flow>,
    settings: Settings,
    /// What its environments and places are called, and where they are. None where names mean nothing, as in Telefonistka's format.
    known: Option<component::Known>,
    warnings: Vec<PolicyError>,
}

impl Policy {
    /// The policy of a repository that has none: nothing goes anywhere.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Compiles a policy. `file` is its path: by its name the file is Lockflight's own, or else in Telefonistka's format. An empty
    /// file of Telefonistka's is no policy, and an empty one of ours an error.
    ///
    /// # Errors
    /// When the file is not YAML, over its budget (256 KiB, 32 levels, 40,000 values), or says what can't be done: all such
    /// errors in the order of the file, but only the first where it is not even YAML.
    pub fn compile(file: &str, yaml: &str) -> Result<Self, PolicyErrors> {
        if is_native(file) {
            native::compile(file, yaml)
        } else {
            telefonistka::compile(file, yaml)
        }
    }

    /// Compiles the policy file of a component that this policy is about.
    ///
    /// # Errors
    /// As [`ComponentPolicy::compile`], and when a list names what is no place of this policy: whoever wrote it meant something
    /// else, and the component goes nowhere until it is clear what.
    pub fn component(&self, file: &str, yaml: &str) -> Result<ComponentPolicy, PolicyErrors> {
        component::compile(file, yaml, self.known.as_ref())
    }

    /// The file that it was compiled from; empty if there was none.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The flows, in the order of the file: the first that matches a path and holds for a change is the path's flow.
    #[must_use]
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Whether some flow begins where a change was merged.
    #[must_use]
    pub fn has_flows_from(&self, change: &Change) -> bool {
        change.default_branch.is_none()
            || self
                .flows
                .iter()
                .any(|flow| flow.source.branch.as_ref() == Some(&change.branch))
    }

    /// Whether the repository of this policy takes promotions from another one.
    #[must_use]
    pub fn accepts_from(&self, repo: &RepoName) -> bool {
        let from = &self.settings.accept_from;
        !from.is_empty()
            && crate::location::globs(from).is_ok_and(|globs| globs.is_match(repo.to_string().to_lowercase()))
    }

    /// Whether some flow has more than one wave, or one that waits for something.
    #[must_use]
    pub fn has_waves(&self) -> bool {
        let waits = |wave: &Wave| !wave.gates.are_none() || !wave.freezes.is_empty();
        let has_waves = |flow: &Flow| flow.waves.len() > 1 || flow.waves.iter().any(waits);
        self.flows.iter().any(has_waves)
    }

    /// The name of the file in which a component narrows its own policy.
    #[must_use]
    pub fn component_file(&self) -> &'static str {
        if is_native(&self.file) {
            NATIVE_FILE
        } else {
            TELEFONISTKA_FILE
        }
    }

    /// What the file says beside its flows.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is odd in the file, though clear, in the order of the file.
    #[must_use]
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }
}
