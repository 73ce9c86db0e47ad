//! Who may talk to whom.

use serde_json::{Value, json};

use super::pods::{Pod, labels, pods};
use super::{Document, list, manifests, texts};

fn policies() -> Vec<Document> {
    manifests::base()
        .into_iter()
        .filter(|document| document.kind() == "NetworkPolicy")
        .collect()
}

/// Whether a policy is about a pod.
fn selects(policy: &Document, pod: &Pod) -> bool {
    let wanted = labels(policy.at("/spec/podSelector/matchLabels"));
    let expressions = list(policy.at("/spec/podSelector/matchExpressions"));
    wanted
        .iter()
        .all(|(key, value)| pod.labels.get(key) == Some(value))
        && expressions.iter().all(|expression| {
            assert_eq!(expression["operator"], "In", "{}", policy.name());
            let value = pod.labels.get(expression["key"].as_str().unwrap());
            value.is_some_and(|value| texts(&expression["values"]).contains(&value.as_str()))
        })
}

fn denies_all(policy: &Document) -> bool {
    policy.at("/spec/policyTypes") == &json!(["Ingress", "Egress"])
        && policy.at("/spec/ingress").is_null()
        && policy.at("/spec/egress").is_null()
}

/// The rules for what a pod may call.
fn egress(pod: &Pod) -> Vec<Value> {
    let mut rules = Vec::new();
    for policy in policies().iter().filter(|policy| selects(policy, pod)) {
        rules.extend_from_slice(list(policy.at("/spec/egress")));
    }
    rules
}

fn ports(rule: &Value) -> Vec<u64> {
    list(&rule["ports"])
        .iter()
        .filter_map(|port| port["port"].as_u64())
        .collect()
}

fn may_reach(pod: &Pod, port: u64) -> bool {
    egress(pod).iter().any(|rule| ports(rule).contains(&port))
}

#[test]
fn nothing_goes_in_or_out_but_what_is_named() {
    for pod in pods() {
        let name = pod.owner.name();
        assert!(
            policies()
                .iter()
                .any(|policy| denies_all(policy) && selects(policy, &pod)),
            "{name} is open"
        );
        for rule in egress(&pod) {
            assert!(!list(&rule["to"]).is_empty(), "{name} may go anywhere: {rule}");
            assert!(!ports(&rule).is_empty(), "{name} may use any port: {rule}");
        }
    }
}

#[test]
fn each_role_reaches_what_it_works_with_and_nothing_else() {
    for pod in pods() {
        let name = pod.owner.name();
        let works = matches!(pod.component(), "planner" | "executor");
        assert!(may_reach(&pod, 53), "{name}: names");
        assert!(
            may_reach(&pod, 5671) && may_reach(&pod, 5672),
            "{name}: the broker"
        );
        assert_eq!(may_reach(&pod, 6379), works, "{name}: Redis");
        assert_eq!(may_reach(&pod, 443), works, "{name}: GitHub");
        let goes_outside = egress(&pod)
            .iter()
            .flat_map(|rule| list(&rule["to"]).to_vec())
            .any(|peer| peer["ipBlock"] != Value::Null);
        assert_eq!(goes_outside, works, "{name}: the internet");
    }
}

#[test]
fn what_goes_outside_goes_nowhere_private() {
    for pod in pods() {
        for rule in egress(&pod) {
            for peer in list(&rule["to"])
                .iter()
                .filter(|peer| peer["ipBlock"]["cidr"] == "0.0.0.0/0")
            {
                let except = texts(&peer["ipBlock"]["except"]);
                // The last is where clouds answer with the credentials of a node.
                for private in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"] {
                    assert!(except.contains(&private), "{}: {private}", pod.owner.name());
                }
            }
        }
    }
}

#[test]
fn webhooks_reach_the_ingress_alone() {
    for pod in pods() {
        let reached = policies()
            .iter()
            .filter(|policy| selects(policy, &pod))
            .any(|policy| !list(policy.at("/spec/ingress")).is_empty());
        assert_eq!(reached, pod.component() == "ingress", "{}", pod.owner.name());
    }
}
