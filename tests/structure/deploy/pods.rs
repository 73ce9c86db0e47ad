//! Every pod: confined, bounded, watched, and ended gently.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Document, SPARE_SECONDS, drain_seconds, list, manifests, texts, version};

/// The user of the image.
pub(super) const USER: u64 = 10_001;

/// The folders that a container may write to.
const WRITABLE: [&str; 2] = ["/var/lib/lockflight", "/tmp"];

/// A pod, as a workload makes it.
#[derive(Debug)]
pub(super) struct Pod {
    /// The workload.
    pub(super) owner: Document,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) spec: Value,
}

impl Pod {
    pub(super) fn component(&self) -> &str {
        self.labels
            .get("app.kubernetes.io/component")
            .map_or("", String::as_str)
    }

    /// Whether it goes on for as long as it is not ended.
    fn serves(&self) -> bool {
        self.owner.kind() != "Job"
    }

    pub(super) fn containers(&self) -> &[Value] {
        list(&self.spec["containers"])
    }
}

/// The pods of the base.
pub(super) fn pods() -> Vec<Pod> {
    let pods: Vec<Pod> = manifests::base().into_iter().filter_map(pod).collect();
    assert_eq!(pods.len(), 4, "ingress, planner, executor, topology");
    pods
}

fn pod(owner: Document) -> Option<Pod> {
    let template = match owner.kind() {
        "Deployment" | "StatefulSet" | "Job" => owner.at("/spec/template").clone(),
        _ => return None,
    };
    Some(Pod {
        labels: labels(&template["metadata"]["labels"]),
        spec: template["spec"].clone(),
        owner,
    })
}

pub(super) fn labels(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn no_pod_can_do_more_than_it_needs() {
    for pod in pods() {
        let name = pod.owner.name();
        let context = &pod.spec["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{name}");
        assert_eq!(context["runAsUser"], USER, "{name}");
        assert_eq!(context["fsGroup"], USER, "{name}: its group reads the secrets");
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert_eq!(pod.spec["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod.spec["serviceAccountName"], "lockflight", "{name}");
        assert_eq!(pod.spec["enableServiceLinks"], false, "{name}");
        assert_eq!(
            pod.spec["initContainers"],
            Value::Null,
            "{name}: these would need the same looks"
        );
        for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(pod.spec[forbidden], Value::Null, "{name}");
        }
        for container in pod.containers() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{name}");
            assert_eq!(context["privileged"], Value::Null, "{name}");
            for mount in list(&container["volumeMounts"]) {
                let path = mount["mountPath"].as_str().unwrap();
                assert!(
                    mount["readOnly"] == true || WRITABLE.contains(&path),
                    "{name} can write to {path}"
                );
            }
        }
    }
    let account = manifests::base()
        .into_iter()
        .find(|document| document.kind() == "ServiceAccount")
        .unwrap();
    assert_eq!(account.at("/automountServiceAccountToken"), false);
}

#[test]
fn every_container_is_bounded_and_runs_the_one_image() {
    for pod in pods() {
        for container in pod.containers() {
            let name = pod.owner.name();
            assert_eq!(container["image"], format!("lockflight:{}", version()), "{name}");
            let resources = &container["resources"];
            for pointer in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                assert!(
                    resources.pointer(pointer).is_some(),
                    "{name}: no resources{pointer}"
                );
            }
            // A limit of it makes processes wait that would have had an idle processor.
            assert_eq!(resources["limits"]["cpu"], Value::Null, "{name}");
        }
        for volume in list(&pod.spec["volumes"]) {
            let is_bounded = volume["emptyDir"] == Value::Null || volume["emptyDir"]["sizeLimit"].is_string();
            assert!(is_bounded, "{}: {volume}", pod.owner.name());
        }
    }
}

#[test]
fn every_process_is_asked_whether_it_lives_and_whether_it_is_ready() {
    for pod in pods().into_iter().filter(Pod::serves) {
        for container in pod.containers() {
            let name = pod.owner.name();
            let ports = &container["ports"];
            assert_eq!(ports[0]["name"], "http", "{name}");
            for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
                assert_eq!(
                    container[probe]["httpGet"],
                    json!({"path": path, "port": "http"}),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn every_pod_has_time_to_drain() {
    for pod in pods().into_iter().filter(Pod::serves) {
        let before: u64 = pod
            .containers()
            .iter()
            .map(|container| texts(&container["lifecycle"]["preStop"]["exec"]["command"]))
            .filter_map(|command| command.last()?.parse::<u64>().ok())
            .sum();
        let grace = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        let needed = before + drain_seconds() + SPARE_SECONDS;
        assert!(grace >= needed, "{}: {grace} s of {needed} s", pod.owner.name());
    }
}

#[test]
fn no_disruption_takes_all_pods_of_a_role_at_once() {
    let base = manifests::base();
    for pod in pods().into_iter().filter(Pod::serves) {
        let name = pod.owner.name();
        let selector = pod.owner.at("/spec/selector/matchLabels");
        assert_eq!(
            &labels(selector),
            &pod.labels,
            "{name} does not select its own pods"
        );
        let replicas = pod.owner.at("/spec/replicas").as_u64().unwrap_or(1);
        assert!(replicas >= 2, "{name}: one alone can't be moved");
        let budget = base.iter().find(|document| {
            document.kind() == "PodDisruptionBudget" && document.at("/spec/selector/matchLabels") == selector
        });
        let budget = budget.unwrap_or_else(|| panic!("{name} has no PodDisruptionBudget"));
        let bounds = (
            budget.at("/spec/minAvailable").as_u64(),
            budget.at("/spec/maxUnavailable").as_u64(),
        );
        assert!(
            matches!(bounds, (Some(1), None) | (None, Some(1))),
            "{name}: {bounds:?}"
        );
        // When the broker is down no pod is ready, and no node could be emptied.
        assert_eq!(
            budget.at("/spec/unhealthyPodEvictionPolicy"),
            "AlwaysAllow",
            "{name}"
        );
    }
}

#[test]
fn each_role_finds_its_secrets_where_they_are_mounted() {
    for pod in pods() {
        for container in pod.containers() {
            let secrets = list(&container["volumeMounts"])
                .iter()
                .find(|mount| mount["name"] == "secrets");
            let folder = secrets.and_then(|mount| mount["mountPath"].as_str()).unwrap();
            let variables: BTreeMap<&str, &str> = list(&container["env"])
                .iter()
                .map(|variable| {
                    (
                        variable["name"].as_str().unwrap(),
                        variable["value"].as_str().unwrap(),
                    )
                })
                .collect();
            for (variable, value) in &variables {
                let is_there = !variable.ends_with("_FILE") || value.starts_with(&format!("{folder}/"));
                assert!(is_there, "{}: {variable} is not below {folder}", pod.owner.name());
            }
            let has = |key: &str| variables.contains_key(key);
            assert!(has("LOCKFLIGHT_QUEUE__URL_FILE"), "{}", pod.owner.name());
            let works = matches!(pod.component(), "planner" | "executor");
            assert_eq!(
                has("LOCKFLIGHT_GITHUB__APP_PRIVATE_KEY_FILE"),
                works,
                "{}",
                pod.owner.name()
            );
            assert_eq!(
                has("LOCKFLIGHT_PROMOTION__MARKER_SECRET_FILE"),
                works,
                "{}",
                pod.owner.name()
            );
            assert_eq!(has("LOCKFLIGHT_LOCKS__URL_FILE"), works, "{}", pod.owner.name());
            assert_eq!(
                has("LOCKFLIGHT_WEBHOOK__SECRET_FILE"),
                pod.component() == "ingress",
                "{}",
                pod.owner.name()
            );
        }
        let secret = list(&pod.spec["volumes"])
            .iter()
            .find(|volume| volume["name"] == "secrets")
            .unwrap();
        assert_eq!(
            secret["secret"]["secretName"],
            format!("lockflight-{}", pod.component()),
            "each role has a Secret of its own"
        );
        assert_eq!(secret["secret"]["defaultMode"], 0o440, "{}", pod.owner.name());
    }
}
