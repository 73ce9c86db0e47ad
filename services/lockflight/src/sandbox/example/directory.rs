//! Environments and failure domains are directories.

use super::{Files, README, Repository, Scene, WORKSPACE, components, file, first_change};

const POLICY: &str = r#"# Where a merged change goes, wave by wave.
version: 1
environments:
  lab: { path: clusters/lab }
  staging:
    path: "clusters/staging/{domain}"
    domains:
      us-central1:
      europe-west4:
  production:
    path: "clusters/prod/{domain}"
    domains:
      us-west1:
      europe-west4:
      us-east4:
# What belongs to a region stays there.
select: { exclude: ["values-region-*.yaml"] }
flows:
  - from: { path: workspace }
    waves:
      # The lab and staging at once, merged as soon as that is possible.
      - { to: [lab, staging], merge: auto }
      # One region of production goes first. Nothing follows it for three seconds; take hours in real life.
      - { to: [production/us-west1], gates: { soak: 3s } }
      # The rest of production, a pull request for each region.
      - { to: [production], pull_requests: per-domain }
"#;

const PLACES: [&str; 6] = [
    "clusters/lab",
    "clusters/staging/us-central1",
    "clusters/staging/europe-west4",
    "clusters/prod/us-west1",
    "clusters/prod/europe-west4",
    "clusters/prod/us-east4",
];

pub(super) fn scene() -> Scene {
    let mut files: Files = vec![file("README.md", README), file("lockflight.yaml", POLICY)];
    for place in std::iter::once(WORKSPACE).chain(PLACES) {
        files.extend(components(place));
    }
    for place in PLACES.into_iter().skip(1) {
        let (_, region) = place.rsplit_once('/').unwrap_or_default();
        let name = format!("{place}/checkout/values-region-{region}.yaml");
        files.push(file(name, &format!("region: {region}\n")));
    }
    Scene {
        title: "checkout 1.8.2",
        repositories: vec![Repository::new("acme/gitops", files)],
        change: first_change(),
    }
}
