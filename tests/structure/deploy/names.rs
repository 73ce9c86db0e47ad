//! Names that the recipes share with the binary: commands, keys, queues, metrics. One that is renamed there is renamed here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::workspace::{files, text_of};
use super::pods::pods;
use super::{Document, compose, documents, list, manifests, number_after, texts};

const TOMLS: [&str; 3] = [
    "deploy/kustomize/base/lockflight.toml",
    "deploy/kustomize/overlays/example/lockflight.toml",
    "deploy/compose/lockflight.toml",
];

/// Where the names of exchanges and queues are made.
const QUEUES: &str = "shared/fleet/src/amqp/names.rs";

/// Where the names of metrics are.
const TELEMETRY: &str = "shared/promotion/src/telemetry.rs";

/// Where, name and value of each variable of ours.
pub(super) fn environments() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for pod in pods() {
        for variable in pod
            .containers()
            .iter()
            .flat_map(|container| list(&container["env"]))
        {
            found.push((
                pod.owner.name().to_owned(),
                text(&variable["name"]),
                text(&variable["value"]),
            ));
        }
    }
    for (name, service) in compose::services() {
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            found.push((name.clone(), variable.clone(), text(value)));
        }
    }
    let unit = text_of("deploy/systemd/lockflight.service").lines();
    for (variable, value) in unit.filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')) {
        found.push(("systemd".to_owned(), variable.to_owned(), value.to_owned()));
    }
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether `docs/configuration.md` has a key: a row or a text with its last part, in the section of its first.
fn is_documented(key: &str) -> bool {
    let (section, rest) = key.split_once('.').unwrap();
    let page = text_of("docs/configuration.md");
    let Some((_, after)) = page.split_once(&format!("## `[{section}]`")) else {
        return false;
    };
    let body = after.split("\n## ").next().unwrap_or(after);
    body.contains(&format!("`{rest}`"))
}

#[test]
fn every_key_that_is_set_is_documented() {
    let mut keys = BTreeSet::new();
    for file in TOMLS {
        let table: toml::Table =
            toml::from_str(text_of(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for (section, entries) in table {
            for key in entries.as_table().unwrap().keys() {
                keys.insert(format!("{section}.{key}"));
            }
        }
    }
    for (place, variable, _) in environments() {
        let key = variable
            .strip_prefix("LOCKFLIGHT_")
            .unwrap_or_else(|| panic!("{place}: {variable}"));
        keys.insert(key.to_lowercase().replace("__", "."));
    }
    let unknown: Vec<&String> = keys.iter().filter(|key| !is_documented(key)).collect();
    assert!(
        unknown.is_empty(),
        "docs/configuration.md does not have {unknown:?}"
    );
}

#[test]
fn every_command_that_is_run_is_one() {
    let mut commands: BTreeSet<String> = BTreeSet::from(["health".to_owned()]);
    for pod in pods() {
        for container in pod.containers() {
            let args = texts(&container["args"]);
            commands.insert(args[0].to_owned());
            assert_eq!(
                args[1..],
                ["--config", "/etc/lockflight/lockflight.toml"],
                "{}",
                pod.owner.name()
            );
        }
    }
    for (_, service) in compose::services() {
        if text(&service["image"]).starts_with("lockflight:") {
            commands.insert(text(&service["command"][0]));
        }
    }
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        let page = text_of("docs/cli.md");
        assert!(
            page.contains(&format!("`lockflight {command}")) || page.contains(&format!("`{command}`")),
            "docs/cli.md does not have `lockflight {command}`"
        );
        let (first, rest) = command.split_at(1);
        let variant = format!("{}{rest}", first.to_ascii_uppercase());
        assert!(
            text_of("services/lockflight/src/cli.rs").contains(&format!("\n    {variant}(")),
            "the binary does not have `lockflight {command}`"
        );
    }
}

fn scaled_by() -> Vec<(String, Document, Value)> {
    let documents = manifests::component("keda");
    documents
        .into_iter()
        .filter(|document| document.kind() == "ScaledObject")
        .map(|document| {
            let metadata = document.at("/spec/triggers/0/metadata").clone();
            (text(&metadata["queueName"]), document, metadata)
        })
        .collect()
}

#[test]
fn what_is_scaled_by_is_a_queue_of_the_topology() {
    let scaled = scaled_by();
    let queues: Vec<&str> = scaled.iter().map(|(queue, _, _)| queue.as_str()).collect();
    assert_eq!(queues, ["lockflight.plan", r"^lockflight\.steps\.[0-9]{2}$"]);
    assert!(
        text_of(QUEUES).contains(r#"named("plan")"#)
            && text_of(QUEUES).contains(r#"format!("steps.{partition:02}")"#)
    );
    for (queue, _, metadata) in &scaled {
        // Over AMQP it would not see what workers have fetched, which is nearly everything.
        assert_eq!(metadata["protocol"], "http", "{queue}");
        assert_eq!(metadata["useRegex"] == "true", queue.starts_with('^'), "{queue}");
    }
}

#[test]
fn the_number_of_partitions_is_the_same_everywhere() {
    let default = number_after(text_of("services/lockflight/src/config.rs"), "partitions: ");
    for file in TOMLS {
        assert_eq!(number_after(text_of(file), "partitions = "), default, "{file}");
    }
    let rules = text_of("deploy/kustomize/components/monitoring/rules.yaml");
    assert_eq!(
        number_after(rules, "(sum(lockflight_partitions_owned) or vector(0)) < "),
        default
    );
    for (queue, document, _) in scaled_by() {
        let at = |key: &str| document.at(&format!("/spec/{key}")).as_u64().unwrap();
        assert!(
            (1..=at("maxReplicaCount")).contains(&at("minReplicaCount")),
            "{queue}"
        );
        let is_executor = document.text("/spec/scaleTargetRef/name") == "lockflight-executor";
        assert!(
            !is_executor || at("maxReplicaCount") <= default,
            "an executor without a partition does nothing"
        );
    }
}

#[test]
fn permissions_are_about_exchanges_and_queues_of_the_topology() {
    let script = text_of("deploy/compose/make-secrets");
    let page = text_of("docs/operations.md");
    for name in ["events", "work", "plan", "dead"] {
        assert!(
            text_of(QUEUES).contains(&format!(r#"named("{name}")"#)),
            "the topology has no {name}"
        );
        assert!(script.contains(name), "make-secrets grants nothing on {name}");
    }
    // What the script writes and what the page says are the same, but for the slashes that JSON needs.
    for pattern in script
        .split('\'')
        .filter(|part| part.starts_with('^') || part.starts_with(r"amq\\"))
    {
        let plain = pattern.replace(r"\\", r"\");
        assert!(page.contains(&plain), "docs/operations.md does not have {plain}");
    }
}

/// Names as Prometheus has them: a dot is an underscore, a unit is appended, and `_total` to a counter.
#[derive(Debug, Default)]
struct Telemetry {
    /// With the constant that each stands in.
    metrics: BTreeMap<String, String>,
    labels: BTreeSet<String>,
}

fn telemetry() -> Telemetry {
    let source = text_of(TELEMETRY);
    let mut telemetry = Telemetry::default();
    let mut module = "";
    let mut comment = String::new();
    for line in source.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub mod ") {
            module = name.trim_end_matches(" {");
            comment.clear();
        } else if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if let Some((constant, rest)) = line.split_once(": &str = \"") {
            let constant = constant.trim_start_matches("pub const ");
            let name = rest.split('"').next().unwrap().replace('.', "_");
            match module {
                "metric" => {
                    let unit = if comment.contains("`s`:") { "_seconds" } else { "" };
                    let comment = comment.trim();
                    let ends: &[&str] = if comment.starts_with("Counter") {
                        &["_total"]
                    } else if comment.starts_with("Histogram") {
                        &["_bucket", "_sum", "_count"]
                    } else {
                        assert!(
                            comment.starts_with("Gauge"),
                            "{name} is no kind of metric: {comment}"
                        );
                        &[""]
                    };
                    telemetry.metrics.extend(
                        ends.iter()
                            .map(|end| (format!("{name}{unit}{end}"), constant.to_owned())),
                    );
                }
                "attribute" => {
                    telemetry.labels.insert(name);
                }
                _ => {}
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
    telemetry
}

/// The words of an expression that could be names of ours.
fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
        .filter(|word| word.starts_with("lockflight_"))
}

fn alerts() -> Vec<Value> {
    let rules = documents("deploy/kustomize/components/monitoring/rules.yaml").remove(0);
    let groups = list(rules.at("/spec/groups"));
    groups
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .cloned()
        .collect()
}

#[test]
fn every_alert_is_about_something_that_is_measured() {
    let Telemetry { metrics, labels } = telemetry();
    assert!(
        metrics.len() > 20 && labels.len() > 10,
        "telemetry.rs is not read as meant"
    );
    for alert in alerts() {
        let expression = text(&alert["expr"]);
        for word in words(&expression) {
            let is_label = labels.contains(word);
            assert!(
                is_label || metrics.contains_key(word),
                "{}: nothing is named {word}",
                alert["alert"]
            );
        }
        let is_measured =
            words(&expression).any(|word| metrics.contains_key(word)) || expression.contains("rabbitmq_");
        assert!(is_measured, "{}", alert["alert"]);
        for constant in words(&expression).filter_map(|word| metrics.get(word)) {
            let is_recorded = files().iter().any(|(name, text)| {
                let has_code = name.starts_with("shared/") || name.starts_with("services/");
                has_code && name != TELEMETRY && text.contains(&format!("metric::{constant}"))
            });
            assert!(is_recorded, "{}: nobody records {constant}", alert["alert"]);
        }
    }
}

#[test]
fn every_alert_is_in_the_book_for_the_night() {
    let page = text_of("docs/operations.md");
    assert!(alerts().len() > 10);
    for alert in alerts() {
        let name = text(&alert["alert"]);
        let severity = text(&alert["labels"]["severity"]);
        assert!(
            matches!(severity.as_str(), "critical" | "warning" | "info"),
            "{name}: {severity:?}"
        );
        for annotation in ["summary", "description"] {
            assert!(
                alert["annotations"][annotation].is_string(),
                "{name} has no {annotation}"
            );
        }
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/operations.md does not say what to do about {name}"
        );
    }
}
