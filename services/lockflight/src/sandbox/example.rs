//! The example repository: one lab, two staging and five production failure domains, and three components.

/// The repository's name on the sandbox forge.
pub(crate) const NAME: &str = "acme/gitops";

/// Where people write. Everything else is filled by promotion.
const WORKSPACE: &str = "workspace";

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

const COMPONENTS: [&str; 3] = ["checkout", "payments", "search"];

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

/// All files of the example, as it is before the first change.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("README.md".to_owned(), readme().into_bytes()),
        ("telefonistka.yaml".to_owned(), POLICY.as_bytes().to_vec()),
    ];
    for place in std::iter::once(WORKSPACE).chain(CLUSTERS) {
        for component in COMPONENTS {
            files.push((
                format!("{place}/{component}/deployment.yaml"),
                deployment(component).into_bytes(),
            ));
            files.push((
                format!("{place}/{component}/values.yaml"),
                values("1.8.1", 2).into_bytes(),
            ));
        }
    }
    files
}

/// The first change: a new version of one component, with a file of its own.
pub(crate) fn first_change() -> Vec<(String, Vec<u8>)> {
    vec![
        (
            format!("{WORKSPACE}/checkout/values.yaml"),
            values("1.8.2", 3).into_bytes(),
        ),
        (
            format!("{WORKSPACE}/checkout/budget.yaml"),
            BUDGET.as_bytes().to_vec(),
        ),
    ]
}

fn readme() -> String {
    "# The infrastructure of Acme\n\nChange what is in `workspace/`. When your pull request is merged, Lockflight carries it through\n\
     the lab, staging and production, one pull request after another.\n"
        .to_owned()
}

fn deployment(component: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {component}\nspec:\n  selector:\n    matchLabels:\n      app: {component}\n"
    )
}

fn values(version: &str, replicas: u32) -> String {
    format!("image:\n  tag: {version}\nreplicas: {replicas}\n")
}

const BUDGET: &str = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: checkout\nspec:\n  minAvailable: 1\n";
