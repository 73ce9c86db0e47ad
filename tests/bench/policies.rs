//! Repositories to measure with.

use std::fmt::Write as _;

type Files = Vec<(String, String)>;

/// From `workspace` to so many targets, a pull request each.
pub(crate) fn chain(targets: usize) -> Files {
    let mut policy = "promotionPaths:\n  - sourcePath: \"workspace/\"\n    promotionPrs:\n".to_owned();
    for number in 0..targets {
        writeln!(
            policy,
            "      - targetDescription: \"Lab {number}\"\n        targetPaths: [\"clusters/lab-{number}/\"]"
        )
        .expect("a string can be written to");
    }
    vec![("telefonistka.yaml".to_owned(), policy)]
}

/// A change of one component.
pub(crate) fn change(component: usize) -> Files {
    vec![(
        format!("workspace/c{component}/values.yaml"),
        "image:\n  tag: 1.8.2\nreplicas: 3\n".to_owned(),
    )]
}
