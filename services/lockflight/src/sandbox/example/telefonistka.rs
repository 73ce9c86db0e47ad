//! Telefonistka's policy: one lab, two staging and five production failure domains, each promotion a change of its own.

use super::{Files, Repository, Scene, WORKSPACE, components, file, first_change};

/// Every place that a change has to reach, in order.
const CLUSTERS: [&str; 8] = [
    "clusters/lab/europe-west4/c1",
    "clusters/staging/europe-west4/c1",
    "clusters/staging/us-central1/c1",
    "clusters/prod/us-west1/c2",
    "clusters/prod/us-central1/c2",
    "clusters/prod/us-east4/c2",
    "clusters/prod/europe-west4/c2",
    "clusters/prod/asia-east1/c2",
];

const POLICY: &str = r#"# Where a merged change goes next. Lockflight reads Telefonistka's policy file as it is.
promotionPaths:
  # People change workspace/; the lab follows.
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths:
          - "clusters/lab/europe-west4/c1/"
  # From the lab to both staging clusters, in one pull request.
  - sourcePath: "clusters/lab/europe-west4/c1/"
    promotionPrs:
      - targetDescription: "Staging"
        targetPaths:
          - "clusters/staging/europe-west4/c1/"
          - "clusters/staging/us-central1/c1/"
  # One region of production goes first ...
  - sourcePath: "clusters/staging/[^/]*/c1/"
    promotionPrs:
      - targetDescription: "Production, first region"
        targetPaths:
          - "clusters/prod/us-west1/c2/"
  # ... and the rest of it in two groups.
  - sourcePath: "clusters/prod/us-west1/c2/"
    promotionPrs:
      - targetDescription: "Production, Americas"
        targetPaths:
          - "clusters/prod/us-central1/c2/"
          - "clusters/prod/us-east4/c2/"
      - targetDescription: "Production, Europe and Asia"
        targetPaths:
          - "clusters/prod/europe-west4/c2/"
          - "clusters/prod/asia-east1/c2/"
"#;

pub(super) fn scene() -> Scene {
    let mut files: Files = vec![
        file("README.md", super::README),
        file("telefonistka.yaml", POLICY),
    ];
    for place in std::iter::once(WORKSPACE).chain(CLUSTERS) {
        files.extend(components(place));
    }
    Scene {
        title: "checkout 1.8.2",
        repositories: vec![Repository::new("acme/gitops", files)],
        change: first_change(),
    }
}
