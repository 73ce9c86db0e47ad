//! What is wrong with a policy file, and where.

use std::fmt;

use crate::ErrorClass;

/// One thing that is wrong (or odd) in a policy file.
///
/// The message never repeats text of the file, except the name of a key: the file may hold a secret by mistake, and the
/// message goes to a pull request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyError {
    /// The file, as a path in the repository.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

impl std::error::Error for PolicyError {}

/// All that is wrong with a policy file: at least one error, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors {
    first: PolicyError,
    rest: Vec<PolicyError>,
}

impl PolicyErrors {
    /// The errors, or none if the list is empty.
    #[must_use]
    pub fn of(mut errors: Vec<PolicyError>) -> Option<Self> {
        errors.sort();
        errors.dedup();
        let mut errors = errors.into_iter();
        errors.next().map(|first| Self {
            first,
            rest: errors.collect(),
        })
    }

    /// One error that is about the file as a whole.
    #[must_use]
    pub fn whole(file: impl Into<String>, message: impl Into<String>) -> Self {
        let (file, message) = (file.into(), message.into());
        Self::from(PolicyError {
            file,
            line: 1,
            column: 1,
            message,
        })
    }

    /// The first error in the file.
    #[must_use]
    pub const fn first(&self) -> &PolicyError {
        &self.first
    }

    /// The errors in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyError> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// A person has to mend the file.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::User
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.rest.iter().try_for_each(|error| write!(f, "\n{error}"))
    }
}

impl std::error::Error for PolicyErrors {}

impl From<PolicyError> for PolicyErrors {
    fn from(first: PolicyError) -> Self {
        Self {
            first,
            rest: Vec::new(),
        }
    }
}
