//! Each environment is a branch.

use super::{Repository, Scene, WORKSPACE, components, file, first_change};

const POLICY: &str = r#"# Where a merged change goes: people change main, and each environment is a branch.
version: 1
environments:
  staging: { branch: "env/{environment}", path: apps }
  production: { branch: "env/{environment}", path: apps }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging], merge: auto }
      - { to: [production] }
"#;

const README: &str = "# The infrastructure of Acme\n\nChange what is in `workspace/` of `main`. Lockflight carries it into `apps/` of the branches\n\
     `env/staging` and `env/production`.\n";

pub(super) fn scene() -> Scene {
    let mut files = components(WORKSPACE);
    files.push(file("README.md", README));
    files.push(file("lockflight.yaml", POLICY));
    Scene {
        title: "checkout 1.8.2",
        repositories: vec![Repository {
            name: "acme/gitops",
            branches: vec![
                ("main", files),
                ("env/staging", components("apps")),
                ("env/production", components("apps")),
            ],
        }],
        change: first_change(),
    }
}
