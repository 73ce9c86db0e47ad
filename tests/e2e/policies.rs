//! The policies that several stories share.

/// From `workspace` to one lab.
pub(crate) const LAB: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
"#;

/// From `workspace` to one lab, merged as soon as it may be.
pub(crate) const LAB_BY_ITSELF: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    conditions:
      autoMerge: true
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
"#;

/// The same, and approved by the second identity.
pub(crate) const LAB_APPROVED: &str = r#"
autoApprovePromotionPrs: true
promotionPaths:
  - sourcePath: "workspace/"
    conditions:
      autoMerge: true
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
"#;

/// Two flows that have nothing to do with each other.
pub(crate) const LAB_AND_TOOLS: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
  - sourcePath: "tools/"
    promotionPrs:
      - targetDescription: "Lab's tools"
        targetPaths: ["clusters/lab-tools/"]
"#;

/// Tells what it would do.
pub(crate) const DRY_RUN: &str = r#"
dryRunMode: true
promotionPaths:
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
"#;

/// All the way: the lab, two staging clusters in one pull request, one region of production, the rest of it in two groups.
pub(crate) const CHAIN: &str = r#"
promotionPaths:
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/europe-west4/c1/"]
  - sourcePath: "clusters/lab/europe-west4/c1/"
    promotionPrs:
      - targetDescription: "Staging"
        targetPaths: ["clusters/staging/europe-west4/c1/", "clusters/staging/us-central1/c1/"]
  - sourcePath: "clusters/staging/[^/]*/c1/"
    promotionPrs:
      - targetDescription: "Production, first region"
        targetPaths: ["clusters/prod/us-west1/c2/"]
  - sourcePath: "clusters/prod/us-west1/c2/"
    promotionPrs:
      - targetDescription: "Production, Americas"
        targetPaths: ["clusters/prod/us-central1/c2/", "clusters/prod/us-east4/c2/"]
      - targetDescription: "Production, Europe and Asia"
        targetPaths: ["clusters/prod/europe-west4/c2/", "clusters/prod/asia-east1/c2/"]
"#;

/// Every target of [`CHAIN`].
pub(crate) const CHAIN_TARGETS: [&str; 8] = [
    "clusters/lab/europe-west4/c1",
    "clusters/staging/europe-west4/c1",
    "clusters/staging/us-central1/c1",
    "clusters/prod/us-west1/c2",
    "clusters/prod/us-central1/c2",
    "clusters/prod/us-east4/c2",
    "clusters/prod/europe-west4/c2",
    "clusters/prod/asia-east1/c2",
];
