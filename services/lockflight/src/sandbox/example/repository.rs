//! Production is a repository of its own.

use super::{Repository, Scene, WORKSPACE, components, file, first_change};

const POLICY: &str = r#"# Where a merged change goes: staging is here, production in a repository of its own.
version: 1
environments:
  staging: { path: clusters/staging }
  production: { repository: acme/production, path: live }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging], merge: auto }
      - { to: [production] }
"#;

const PRODUCTION: &str = "# Who may open pull requests here.\nversion: 1\naccept_from: [acme/deploy]\n";

const README: &str = "# The infrastructure of Acme\n\nChange what is in `workspace/`. Lockflight carries it into `clusters/staging/` and then into `live/` of\n\
     the repository `acme/production`, whose own people merge it.\n";

pub(super) fn scene() -> Scene {
    let mut files = components(WORKSPACE);
    files.extend(components("clusters/staging"));
    files.push(file("README.md", README));
    files.push(file("lockflight.yaml", POLICY));
    let mut production = components("live");
    production.push(file("lockflight.yaml", PRODUCTION));
    Scene {
        title: "checkout 1.8.2",
        repositories: vec![
            Repository::new("acme/deploy", files),
            Repository::new("acme/production", production),
        ],
        change: first_change(),
    }
}
