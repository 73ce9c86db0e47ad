//! Paths that no promotion may touch (rule 7 of a plan).

use crate::PathInRepo;

/// The name of Telefonistka's policy, at the root of a repository and in a component.
pub const TELEFONISTKA_FILE: &str = "telefonistka.yaml";
/// The name of Lockflight's own policy.
pub const NATIVE_FILE: &str = "lockflight.yaml";

/// Why no promotion may write to the root of a repository.
pub(crate) const AT_THE_ROOT: &str = "it is the root of the repository, which holds the policy";

/// Why no promotion may write to `path`; none if it may.
///
/// What lies inside a component (a `.gitignore`, its policy file) travels with it; this is about the component itself and the
/// directories above it.
#[must_use]
pub fn protected(path: &PathInRepo) -> Option<&'static str> {
    if path.is_root() {
        return Some(AT_THE_ROOT);
    }
    protected_in(path)
}

/// The same for a part of a path: whether some name in it is protected.
pub(crate) fn protected_in(part: &PathInRepo) -> Option<&'static str> {
    part.components().find_map(|component| {
        // A few letters that are not ASCII become one of those that are.
        if component.is_ascii() {
            named(component)
        } else {
            named(&component.to_lowercase())
        }
    })
}

/// The same for one component: its case does not matter, as on the file systems of many.
fn named(component: &str) -> Option<&'static str> {
    let is = |name: &str| component.eq_ignore_ascii_case(name);
    if component
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(".git"))
    {
        Some("`.git*` and `.github` steer the forge, so no promotion may touch them")
    } else if is("codeowners") {
        Some("CODEOWNERS says who approves, so no promotion may touch it")
    } else if is(TELEFONISTKA_FILE) || is(NATIVE_FILE) {
        Some("it is a policy file, which no promotion may touch")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_the_forge_or_the_policy_is_protected() {
        for (path, is_protected) in [
            ("", true),
            (".github/workflows", true),
            (".GitHub", true),
            ("a/.gitlab", true),
            ("docs/CODEOWNERS", true),
            ("Telefonistka.yaml", true),
            ("a/lockflight.yaml", true),
            ("a/loc\u{212a}flight.yaml", true),
            ("clusters/lab", false),
            ("github", false),
            ("a/git", false),
        ] {
            let path = PathInRepo::parse(path).unwrap();
            assert_eq!(protected(&path).is_some(), is_protected, "{path:?}");
        }
    }
}
