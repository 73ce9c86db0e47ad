//! One directory for each component, with a file for each environment.

use super::{COMPONENTS, Files, Repository, Scene, file};

const POLICY: &str = r#"# Where a new version goes: from staging's file into those of production.
version: 1
environments:
  staging: { path: apps, file: "values-{environment}.yaml" }
  production:
    path: apps
    file: "values-{domain}.yaml"
    domains:
      us:
      eu:
flows:
  - from: staging
    keys: [image.tag]
    waves:
      - { to: [production/us], gates: { soak: 3s } }
      - { to: [production] }
"#;

const README: &str = "# The infrastructure of Acme\n\nSet `image.tag` in `values-staging.yaml` of a component. Lockflight carries it into its files for production,\n\
     and leaves all else in them as it is.\n";

pub(super) fn scene() -> Scene {
    let mut files: Files = vec![file("README.md", README), file("lockflight.yaml", POLICY)];
    for name in COMPONENTS {
        let at = |rest: &str| format!("apps/{name}/{rest}");
        files.push(file(
            at("Chart.yaml"),
            &format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n"),
        ));
        files.push(file(at("values-staging.yaml"), &values("1.8.1", "staging", 1)));
        files.push(file(at("values-us.yaml"), &values("1.8.1", "us", 6)));
        files.push(file(at("values-eu.yaml"), &values("1.8.1", "eu", 9)));
    }
    Scene {
        title: "checkout 1.8.2 in staging",
        repositories: vec![Repository::new("acme/apps", files)],
        change: vec![file(
            "apps/checkout/values-staging.yaml",
            &values("1.8.2", "staging", 1),
        )],
    }
}

fn values(version: &str, region: &str, replicas: u32) -> String {
    format!(
        "# {region}\nimage:\n  tag: \"{version}\"  # set by Lockflight\nregion: {region}\nreplicas: {replicas}\n"
    )
}
