//! Files as people have them.

use super::*;

/// The target with parts of it replaced, which is what a transfer must give, byte for byte.
fn replaced(target: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(target.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old:?}");
        text.replace(old, new)
    })
}

const HELM_STAGING: &str = r#"replicaCount: 1
image:
  repository: ghcr.io/acme/checkout
  tag: "2.14.0-rc.3"   # from CI
  pullPolicy: Always
env:
  - name: LOG_LEVEL
    value: debug
  - name: FEATURE_FLAGS
    value: "a,b"
sidecars:
- name: envoy
  image: envoyproxy/envoy:v1.33.0
  args:
  - --config-path
  - /etc/envoy.yaml
  - --log-level debug
- name: agent
  image: agent:7
config: |
  [server]
  workers = 4

  [cache]
  ttl = "5m"
resources:
  limits: {cpu: "2", memory: 2Gi}
ingress:
  annotations:
    nginx.ingress.kubernetes.io/proxy-body-size: 8m
"#;

const HELM_PRODUCTION: &str = r#"# Checkout, production.
# Owners: team-payments

replicaCount: 12   # see INC-1042

image:
    repository: ghcr.io/acme/checkout
    tag: '2.13.7'       # promoted, do not edit
    pullPolicy: IfNotPresent

# Environment of the container.
env:
    - name: FEATURE_FLAGS   # keep in step with the flag service
      value: a
    - {name: LOG_LEVEL, value: warn}

sidecars:
    - name: envoy
      image: "envoyproxy/envoy:v1.32.1"
      args: [--config-path, /etc/envoy.yaml]
    # The agent is pinned.
    - name: agent
      image: agent:6

config: |
    [server]
    workers = 16

resources: &resources
    limits:
        cpu: "8"
        memory: 8Gi
    requests:
        cpu: "4"
migration:
    resources: *resources
ingress:
    host: pay.acme.example
"#;

#[test]
fn a_helm_values_file_keeps_what_is_its_own() {
    let chosen = keys(&[
        "image.tag",
        "env[name=FEATURE_FLAGS].value",
        "sidecars[name=envoy]",
        "config",
        "ingress.annotations.\"nginx.ingress.kubernetes.io/proxy-body-size\"",
        "autoscaling.enabled",
    ]);
    let edited = transfer(Format::Yaml, HELM_STAGING, HELM_PRODUCTION, &chosen).unwrap();
    let expected = replaced(
        HELM_PRODUCTION,
        &[
            ("'2.13.7'", "\"2.14.0-rc.3\""),
            ("      value: a\n", "      value: \"a,b\"\n"),
            ("\"envoyproxy/envoy:v1.32.1\"", "envoyproxy/envoy:v1.33.0"),
            (
                "args: [--config-path, /etc/envoy.yaml]\n",
                "args:\n          - --config-path\n          - /etc/envoy.yaml\n          - --log-level debug\n",
            ),
            (
                "    workers = 16\n",
                "    workers = 4\n\n    [cache]\n    ttl = \"5m\"\n",
            ),
            (
                "    host: pay.acme.example\n",
                "    host: pay.acme.example\n    annotations:\n        nginx.ingress.kubernetes.io/proxy-body-size: 8m\n",
            ),
        ],
    );
    assert_eq!(edited, expected, "--- got\n{edited}");
    assert_eq!(
        transfer(Format::Yaml, HELM_STAGING, &edited, &chosen).unwrap(),
        edited
    );
    // What the migration refers to is left alone, and nothing else is changed on the way.
    let error = transfer(
        Format::Yaml,
        HELM_STAGING,
        HELM_PRODUCTION,
        &keys(&["image", "resources.limits.cpu"]),
    )
    .unwrap_err();
    assert_eq!(
        (error.side, error.line, error.problem),
        (Side::Target, 29, Problem::Anchor)
    );
}

#[test]
fn a_kustomization_takes_new_tags() {
    let staging = "images:\n- name: ghcr.io/acme/checkout\n  newTag: v2.14.0\n- name: ghcr.io/acme/cart\n  newTag: '7'\n";
    let production = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- ../base\nimages:\n  # order of importance\n- name: ghcr.io/acme/cart\n  newTag: \"6\" # hotfix\n- newTag: v2.13.7\n  name: ghcr.io/acme/checkout\npatches:\n- path: replicas.yaml\n";
    let chosen = keys(&[
        "images[name=ghcr.io/acme/checkout].newTag",
        "images[name=ghcr.io/acme/cart].newTag",
    ]);
    let edited = transfer(Format::Yaml, staging, production, &chosen).unwrap();
    assert_eq!(
        edited,
        replaced(production, &[("v2.13.7", "v2.14.0"), ("\"6\"", "'7'")])
    );
}

#[test]
fn an_argo_cd_application_takes_a_revision() {
    let staging = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec:\n  source:\n    targetRevision: 1.42.0\n    helm:\n      parameters:\n      - name: image.tag\n        value: v9\n      valuesObject:\n        a: {b: [c, d]}\n";
    let production = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: checkout\n  finalizers:\n    - resources-finalizer.argocd.argoproj.io\nspec:\n  project: default\n  source:\n    chart: checkout\n    targetRevision: 1.41.3 # keep exact\n    helm:\n      parameters:\n        - name: image.tag\n          value: v8 # v8\n          forceString: true\n      valuesObject:\n        a:\n          b:\n            - c # first\n            - e\n  syncPolicy:\n    automated: {prune: true}";
    let chosen = keys(&[
        "spec.source.targetRevision",
        "spec.source.helm.parameters[name=image.tag].value",
        "spec.source.helm.valuesObject",
    ]);
    let edited = transfer(Format::Yaml, staging, production, &chosen).unwrap();
    let expected = replaced(
        production,
        &[
            ("1.41.3", "1.42.0"),
            ("value: v8", "value: v9"),
            ("- e\n", "- d\n"),
        ],
    );
    assert_eq!(edited, expected);
}

#[test]
fn a_package_json_takes_versions() {
    let staging = "{\"version\": \"2.0.0\", \"dependencies\": {\"left-pad\": \"^1.3.0\", \"zod\": \"~4.0.1\"}, \"config\": {\"port\": 8080}}";
    let production = "{\n  \"name\": \"checkout\",\n  \"version\": \"1.9.9\",\n  \"private\": true,\n  \"scripts\": { \"test\": \"node --test\" },\n  \"dependencies\": {\n    \"left-pad\": \"1.2.0\"\n  },\n  \"config\": {}\n}\n";
    let chosen = keys(&["version", "dependencies", "config.port"]);
    let edited = transfer(Format::Json, staging, production, &chosen).unwrap();
    let expected = replaced(
        production,
        &[
            ("1.9.9", "2.0.0"),
            ("\"1.2.0\"\n", "\"^1.3.0\",\n    \"zod\": \"~4.0.1\"\n"),
            ("\"config\": {}", "\"config\": {\n    \"port\": 8080\n  }"),
        ],
    );
    assert_eq!(edited, expected);
}

#[test]
fn a_cargo_toml_takes_versions() {
    let staging = "[package]\nname = \"checkout\"\nversion = \"2.0.0\"\n\n[dependencies]\nserde = { version = \"1.0.229\", features = [\"derive\"] }\ntokio = \"1.54\"\n\n[profile.release]\nlto = \"fat\"\n";
    let production = "# Production pins.\n[package]\nname = \"checkout\"      # the crate\nversion = \"1.9.9\"\nedition = \"2024\"\n\n[dependencies]\nserde = { version = \"1.0.100\", features = [\"derive\"] } # pinned\nregex = '1'\n\n[[bin]]\nname = \"checkout\"\n";
    let chosen = keys(&[
        "package.version",
        "dependencies.serde.version",
        "dependencies.tokio",
        "profile",
    ]);
    let edited = transfer(Format::Toml, staging, production, &chosen).unwrap();
    let expected = replaced(
        production,
        &[
            ("1.9.9", "2.0.0"),
            ("1.0.100", "1.0.229"),
            ("regex = '1'\n", "regex = '1'\ntokio = \"1.54\"\n"),
            (
                "[[bin]]\nname = \"checkout\"\n",
                "[[bin]]\nname = \"checkout\"\n\n[profile.release]\nlto = \"fat\"\n",
            ),
        ],
    );
    assert_eq!(edited, expected);
}

#[test]
fn a_bumped_tag_keeps_everything_else() {
    let key = KeyPath::parse("image.tag").unwrap();
    let edited = set(Format::Yaml, HELM_PRODUCTION, &key, &Scalar::Text("2.20".into())).unwrap();
    assert_eq!(edited, replaced(HELM_PRODUCTION, &[("'2.13.7'", "'2.20'")]));
}
