use jsonschema::Validator;
use serde_json::json;

use super::super::native::read::{is_number, is_truth};
use super::super::native::tests::broken::{BROKEN, BROKEN_TOPS, BROKEN_WAVES, with_top, with_waves};
use super::super::native::tests::{SKETCH, WHOLE};
use super::super::yaml::{Node, Scalar, Value as Yaml, parse};
use super::super::{ComponentPolicy, Policy};
use super::*;

/// What an editor makes of YAML 1.2.
fn json(yaml: &str) -> Value {
    fn value(node: &Node) -> Value {
        match &node.value {
            Yaml::Null => Value::Null,
            Yaml::List(items) => items.iter().map(value).collect(),
            Yaml::Map(entries) => {
                let key = |key: &Node| match &key.value {
                    Yaml::Scalar(scalar) => scalar.text.clone(),
                    _ => panic!("a key is text"),
                };
                Value::Object(
                    entries
                        .iter()
                        .map(|(name, node)| (key(name), value(node)))
                        .collect(),
                )
            }
            Yaml::Scalar(Scalar { text, plain: true }) if is_truth(text) => {
                json!(text.eq_ignore_ascii_case("true"))
            }
            Yaml::Scalar(Scalar { text, plain: true }) if is_number(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| json!(0.5))
            }
            Yaml::Scalar(Scalar { text, .. }) => json!(text),
        }
    }
    parse("test.yaml", yaml)
        .unwrap()
        .as_ref()
        .map_or(Value::Null, value)
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().build(schema).unwrap()
}

fn complaints(validator: &Validator, value: &Value) -> Vec<String> {
    validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect()
}

#[test]
fn what_compiles_is_valid_by_the_schema() {
    let validator = validator(&repository());
    for yaml in [
        SKETCH,
        WHOLE,
        "version: 1",
        "version: 1\nflows: [{ from: a, waves: [{ pull_requests: [[b]] }] }]\nenvironments: { a: { path: a }, b: { path: b } }",
    ] {
        assert!(Policy::compile("lockflight.yaml", yaml).is_ok(), "{yaml}");
        assert_eq!(
            complaints(&validator, &json(yaml)),
            Vec::<String>::new(),
            "{yaml}"
        );
    }
}

#[test]
fn what_the_schema_can_see_is_wrong_for_it_too() {
    let validator = validator(&repository());
    let files = BROKEN.iter().map(|(yaml, _, seen)| ((*yaml).to_owned(), *seen));
    let waves = BROKEN_WAVES
        .iter()
        .map(|(yaml, _, seen)| (with_waves(yaml), *seen));
    let tops = BROKEN_TOPS.iter().map(|(yaml, _, seen)| (with_top(yaml), *seen));
    for (yaml, seen) in files.chain(waves).chain(tops) {
        assert!(Policy::compile("lockflight.yaml", &yaml).is_err(), "{yaml}");
        let complaints = complaints(&validator, &json(&yaml));
        assert_eq!(!complaints.is_empty(), seen, "{yaml}\n{complaints:?}");
    }
}

#[test]
fn a_component_has_a_schema_of_its_own() {
    let validator = validator(&component());
    for (yaml, is_right) in [
        (
            "version: 1\ntargets: { allow: [lab, { pattern: 'x' }], block: ['production/*'] }",
            true,
        ),
        ("targets: {}", true),
        ("targets: { allow: [] }", false),
        ("targets: { alow: [a] }", false),
        ("targets: { allow: [1] }", false),
        ("version: 1", false),
        ("version: 2\ntargets: {}", false),
    ] {
        assert_eq!(
            ComponentPolicy::compile("lockflight.yaml", yaml).is_ok(),
            is_right,
            "{yaml}"
        );
        assert_eq!(complaints(&validator, &json(yaml)).is_empty(), is_right, "{yaml}");
    }
}

/// Every example stands where it is valid, and every key has a description.
#[test]
fn every_key_is_described_and_every_example_is_valid() {
    fn walk(root: &Value, schema: &Value, at: &str, examples: &mut usize) {
        let Value::Object(fields) = schema else { return };
        if let Some(Value::Array(found)) = fields.get("examples") {
            let mut alone = schema.clone();
            alone["$defs"] = root["$defs"].clone();
            let validator = validator(&alone);
            for example in found {
                assert_eq!(
                    complaints(&validator, example),
                    Vec::<String>::new(),
                    "{at} {example}"
                );
                *examples += 1;
            }
        }
        if let Some(Value::Object(properties)) = fields.get("properties") {
            for (name, property) in properties {
                let reference = property.get("$ref").or_else(|| property.pointer("/anyOf/0/$ref"));
                let referred = reference
                    .and_then(Value::as_str)
                    .and_then(|path| root.pointer(path.trim_start_matches('#')));
                let described = |schema: &Value| schema.get("description").is_some();
                let is_rule = at.ends_with("anyOf/1");
                assert!(
                    is_rule || described(property) || referred.is_some_and(described),
                    "{at}/{name} has no description"
                );
            }
        }
        for (name, below) in fields {
            match below {
                Value::Array(items) if name != "examples" => {
                    for (index, item) in items.iter().enumerate() {
                        walk(root, item, &format!("{at}/{name}/{index}"), examples);
                    }
                }
                Value::Object(_) => walk(root, below, &format!("{at}/{name}"), examples),
                _ => {}
            }
        }
    }
    for schema in [repository(), component()] {
        let mut examples = 0;
        walk(&schema, &schema, "", &mut examples);
        assert!(examples > 10 || schema["title"] == "Lockflight component policy");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}
