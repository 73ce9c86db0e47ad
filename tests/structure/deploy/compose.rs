//! The fleet on one machine.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::workspace::{root, text_of};
use super::pods::USER;
use super::{Document, SPARE_SECONDS, documents, drain_seconds, list, texts, version};

fn compose() -> Document {
    documents("deploy/compose.yaml").remove(0)
}

/// The services by name.
pub(super) fn services() -> BTreeMap<String, Value> {
    let compose = compose();
    let services = compose.at("/services").as_object().unwrap();
    services
        .iter()
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect()
}

fn is_role(name: &str) -> bool {
    matches!(name, "ingress" | "planner" | "executor")
}

#[test]
fn no_service_can_do_more_than_it_needs() {
    for (name, service) in services() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["cap_add"], Value::Null, "{name}");
        assert_eq!(service["privileged"], Value::Null, "{name}");
        assert_eq!(
            service["security_opt"],
            json!(["no-new-privileges:true"]),
            "{name}"
        );
        assert!(service["mem_limit"].is_string(), "{name} has no limit of memory");
        assert!(service["restart"].is_string(), "{name} is not started again");
        let (user, _) = service["user"]
            .as_str()
            .unwrap_or_default()
            .split_once(':')
            .unwrap();
        assert!(user.parse::<u64>().unwrap() > 0, "{name} is root");
        let (_, tag) = service["image"].as_str().unwrap().split_once(':').unwrap();
        assert!(
            tag.starts_with(|char: char| char.is_ascii_digit()),
            "{name}: {tag} moves"
        );
    }
}

#[test]
fn the_roles_run_the_one_image_and_have_time_to_drain() {
    for (name, service) in services()
        .into_iter()
        .filter(|(name, _)| is_role(name) || name == "topology")
    {
        assert_eq!(service["image"], format!("lockflight:{}", version()), "{name}");
        assert_eq!(service["user"], format!("{USER}:{USER}"), "{name}");
        assert_eq!(service["command"][0], name.as_str());
        let grace = service["stop_grace_period"]
            .as_str()
            .unwrap()
            .trim_end_matches('s');
        assert!(
            grace.parse::<u64>().unwrap() >= drain_seconds() + SPARE_SECONDS,
            "{name}: {grace} s"
        );
    }
}

#[test]
fn roles_wait_for_the_topology_and_that_for_the_broker() {
    for (name, service) in services() {
        let waits_for = &service["depends_on"];
        match name.as_str() {
            "topology" => assert_eq!(waits_for["rabbitmq"]["condition"], "service_healthy"),
            name if is_role(name) => {
                assert_eq!(
                    waits_for["topology"]["condition"], "service_completed_successfully",
                    "{name}"
                );
            }
            _ => assert!(service["healthcheck"]["test"].is_array(), "{name} is not checked"),
        }
    }
}

#[test]
fn replicas_share_no_volume() {
    for (name, service) in services().into_iter().filter(|(name, _)| is_role(name)) {
        for volume in list(&service["volumes"]) {
            assert_eq!(
                volume["source"],
                Value::Null,
                "{name}: every replica would get the same one"
            );
        }
    }
}

#[test]
fn servers_can_be_reached_from_the_roles_alone() {
    assert_eq!(compose().at("/networks/servers/internal"), true);
    for name in ["rabbitmq", "redis"] {
        let service = &services()[name];
        assert_eq!(service["networks"], json!(["servers"]), "{name}");
        assert_eq!(service["ports"], Value::Null, "{name}");
    }
    for port in texts(&services()["ingress"]["ports"]) {
        assert!(
            port.starts_with("127.0.0.1:"),
            "{port}: what comes from outside goes through a proxy with TLS"
        );
    }
}

#[test]
fn every_secret_and_configuration_that_a_service_names_is_there() {
    let compose = compose();
    let defined = compose.at("/secrets").as_object().unwrap();
    for (name, service) in services() {
        for secret in texts(&service["secrets"]) {
            assert!(defined.contains_key(secret), "{name} wants {secret}");
        }
        for (variable, path) in service["environment"].as_object().into_iter().flatten() {
            let path = path.as_str().unwrap();
            let is_there = !variable.ends_with("_FILE")
                || path
                    .strip_prefix("/run/secrets/")
                    .is_some_and(|file| texts(&service["secrets"]).contains(&file));
            assert!(is_there, "{name}: {variable} names {path}, which it is not given");
        }
    }
    for (name, secret) in defined {
        // All but the App's key are made by the script, whose loop makes those of the queue.
        let is_made = name == "app.pem"
            || name.starts_with("queue-url-")
            || text_of("deploy/compose/make-secrets").contains(name.as_str());
        assert!(is_made, "nobody makes {name}");
        assert_eq!(secret["file"], format!("compose/secrets/{name}"));
    }
    for (name, config) in compose.at("/configs").as_object().unwrap() {
        let file = config["file"].as_str().unwrap();
        assert!(
            root().join("deploy").join(file).is_file(),
            "{name}: {file} is not there"
        );
    }
}
