//! Paths that no promotion may touch (rule 7 of a plan).

use crate::PathInRepo;

/// The name of Telefonistka's policy, at the root of a repository and in a component.
pub const TELEFONISTKA_FILE: &str = "telefonistka.yaml";
/// The name of Lockflight's own policy.
pub const NATIVE_FILE: &str = "lockflight.yaml";

/// Why no promotion may write to `path`; none if it may.
///
/// What lies inside a component (a `.gitignore`, its policy file) travels with it; this is about the component itself and the
/// directories above it.
#[must_use]
pub fn protected(path: &PathInRepo) -> Option<&'static str> {
    if path.is_root() {
        return Some("it is the root of the repository, which holds the policy");
    }
    path.components().find_map(|component| {
        let component = component.to_lowercase();
        if component.starts_with(".git") {
            Some("`.git*` and `.github` steer the forge, so no promotion may touch them")
        } else if component == "codeowners" {
            Some("CODEOWNERS says who approves, so no promotion may touch it")
        } else if [TELEFONISTKA_FILE, NATIVE_FILE].contains(&component.as_str()) {
            Some("it is a policy file, which no promotion may touch")
        } else {
            None
        }
    })
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
            ("clusters/lab", false),
            ("github", false),
            ("a/git", false),
        ] {
            let path = PathInRepo::parse(path).unwrap();
            assert_eq!(protected(&path).is_some(), is_protected, "{path:?}");
        }
    }
}
