//! Which crate may know which.

use super::workspace::{Dependency, Package, metadata};

/// Each crate of the workspace and what it may depend on, in one direction:
/// promotion <- {fleet, git, forge, outbound, runtime} <- roles <- lockflight <- tests.
///
/// Adapters do not see each other, nor do roles. The ingress knows no git and no GitHub key. The sandbox plays GitHub, so
/// it shares nothing with the code that it is played to: a shared mistake would cancel out.
const EDGES: &[(&str, &[&str])] = &[
    ("lockflight-promotion", &[]),
    ("lockflight-fleet", &["lockflight-promotion"]),
    ("lockflight-forge", &["lockflight-promotion"]),
    ("lockflight-git", &["lockflight-promotion"]),
    ("lockflight-outbound", &["lockflight-promotion"]),
    ("lockflight-runtime", &["lockflight-promotion"]),
    ("lockflight-sandbox", &[]),
    (
        "lockflight-ingress",
        &["lockflight-promotion", "lockflight-fleet", "lockflight-runtime"],
    ),
    (
        "lockflight-planner",
        &[
            "lockflight-promotion",
            "lockflight-fleet",
            "lockflight-forge",
            "lockflight-git",
            "lockflight-runtime",
        ],
    ),
    (
        "lockflight-executor",
        &[
            "lockflight-promotion",
            "lockflight-fleet",
            "lockflight-forge",
            "lockflight-git",
            "lockflight-outbound",
            "lockflight-runtime",
        ],
    ),
    (
        "lockflight",
        &[
            "lockflight-promotion",
            "lockflight-fleet",
            "lockflight-forge",
            "lockflight-git",
            "lockflight-outbound",
            "lockflight-runtime",
            "lockflight-sandbox",
            "lockflight-ingress",
            "lockflight-planner",
            "lockflight-executor",
        ],
    ),
    (
        "lockflight-tests",
        &[
            "lockflight-promotion",
            "lockflight-fleet",
            "lockflight-forge",
            "lockflight-git",
            "lockflight-outbound",
            "lockflight-runtime",
            "lockflight-sandbox",
            "lockflight-ingress",
            "lockflight-planner",
            "lockflight-executor",
            "lockflight",
        ],
    ),
];

/// The end-to-end tests are tests of the binary's crate, because cargo tells only those where the binary is.
const DEV_EDGES: &[(&str, &str)] = &[("lockflight", "lockflight-tests")];

/// The domain is pure: no runtime, no clock, no file system, no environment.
const PROMOTION_MAY_USE: &[&str] = &[
    "base64",
    "chrono",
    "globset",
    "granit-parser",
    "hmac",
    "jiff",
    "regex",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "sha2",
    "similar",
    "strsim",
    "subtle",
    "thiserror",
    "toml_edit",
    "url",
];

/// Heavy or privileged crates, and the one crate of ours that may name each.
const KEPT_IN_ONE_ROOM: &[(&str, &str)] = &[
    ("backoff", "lockflight-fleet"),
    ("git2", "lockflight-git"),
    ("jsonschema", "lockflight-tests"),
    ("lapin", "lockflight-fleet"),
    ("octocrab", "lockflight-forge"),
    // Who measures knows the API of OpenTelemetry (`opentelemetry`, `tracing-opentelemetry`); how it gets out is the runtime's matter.
    ("opentelemetry-appender-tracing", "lockflight-runtime"),
    ("opentelemetry-http", "lockflight-runtime"),
    ("opentelemetry-otlp", "lockflight-runtime"),
    ("opentelemetry-prometheus", "lockflight-runtime"),
    ("opentelemetry-proto", "lockflight-tests"),
    ("opentelemetry_sdk", "lockflight-runtime"),
    ("prometheus", "lockflight-runtime"),
    ("prost", "lockflight-tests"),
    ("redis", "lockflight-fleet"),
    ("rusqlite", "lockflight-fleet"),
];

/// The contract tests ask the sandbox with octocrab, because it has to understand the sandbox. Those of the fleet look at the servers
/// themselves, past the adapters.
const KEPT_BUT_FOR_TESTS: &[(&str, &str)] = &[
    ("lapin", "lockflight"),
    ("lapin", "lockflight-tests"),
    ("octocrab", "lockflight-tests"),
    ("redis", "lockflight"),
    ("redis", "lockflight-tests"),
    ("jsonschema", "lockflight-promotion"),
];

fn is_ours(dependency: &Dependency) -> bool {
    dependency.name == "lockflight" || dependency.name.starts_with("lockflight-")
}

fn allowed(package: &Package) -> &'static [&'static str] {
    EDGES.iter().find(|(name, _)| *name == package.name).map_or_else(
        || panic!("{} is new: say in EDGES what it may depend on", package.name),
        |(_, allowed)| *allowed,
    )
}

#[test]
fn arrows_between_crates_point_one_way() {
    for package in &metadata().packages {
        let allowed = allowed(package);
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| is_ours(dependency))
        {
            let edge = (package.name.as_str(), dependency.name.as_str());
            let is_allowed = allowed.contains(&edge.1) || (dependency.is_dev() && DEV_EDGES.contains(&edge));
            assert!(is_allowed, "{} may not depend on {}", edge.0, edge.1);
        }
    }
}

#[test]
fn every_rule_is_about_a_crate_that_exists() {
    for (name, _) in EDGES {
        assert!(
            metadata().packages.iter().any(|package| package.name == *name),
            "there is no crate {name}"
        );
    }
}

#[test]
fn the_domain_uses_nothing_that_touches_the_world() {
    let promotion = metadata()
        .packages
        .iter()
        .find(|package| package.name == "lockflight-promotion")
        .unwrap();
    for dependency in promotion
        .dependencies
        .iter()
        .filter(|dependency| !dependency.is_dev())
    {
        assert!(
            PROMOTION_MAY_USE.contains(&dependency.name.as_str()),
            "lockflight-promotion is pure and may not use {}",
            dependency.name
        );
    }
}

#[test]
fn heavy_crates_stay_in_their_rooms() {
    for package in &metadata().packages {
        for dependency in &package.dependencies {
            let Some((_, room)) = KEPT_IN_ONE_ROOM.iter().find(|(kept, _)| *kept == dependency.name) else {
                continue;
            };
            let is_excused = dependency.is_dev()
                && KEPT_BUT_FOR_TESTS.contains(&(dependency.name.as_str(), package.name.as_str()));
            assert!(
                package.name == *room || is_excused,
                "{} is kept in {room}; {} may not name it",
                dependency.name,
                package.name
            );
        }
    }
}
