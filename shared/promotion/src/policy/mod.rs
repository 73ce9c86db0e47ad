//! Policy: what may go where, compiled from the policy file of a merge commit.
//!
//! [`Policy::compile`] turns a file into [`Flow`]s; nothing behind it knows the file's format. It fails closed: anything that
//! cannot be understood is an error with line and column, and then nothing is promoted. What is odd but clear is a warning.

mod component;
mod error;
mod flow;
mod pattern;
mod protected;
mod read;
mod settings;
mod telefonistka;
mod yaml;

pub use component::ComponentPolicy;
pub use error::{PolicyError, PolicyErrors};
pub use flow::{Conditions, Flow, Group};
pub use pattern::{PatternError, SourceMatch, SourcePattern};
pub use protected::{NATIVE_FILE, TELEFONISTKA_FILE, protected};
pub use settings::{ArgoCdSettings, Settings, WebhookEndpoint};

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

/// What may go where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    file: String,
    flows: Vec<Flow>,
    settings: Settings,
    warnings: Vec<PolicyError>,
}

impl Policy {
    /// The policy of a repository that has none: nothing goes anywhere.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Compiles a policy in Telefonistka's format. `file` is its path, for messages. An empty file is no policy.
    ///
    /// # Errors
    /// When the file is not YAML, over its budget (256 KiB, 32 levels, 40,000 values), or says what can't be done: all such
    /// errors in the order of the file, but only the first where it is not even YAML.
    pub fn compile(file: &str, yaml: &str) -> Result<Self, PolicyErrors> {
        telefonistka::compile(file, yaml)
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
