//! OpenAPI 3.0 schemas as JSON Schema 2020-12.
//!
//! OpenAPI 3.0 is nearly JSON Schema. What differs and occurs in GitHub's description is `nullable` and the boolean
//! `exclusiveMinimum`/`exclusiveMaximum`; `example`, `discriminator` and the like are unknown keywords, which a
//! validator skips.

use serde_json::{Map, Value, json};

/// Turns every schema inside an OpenAPI 3.0 document into JSON Schema 2020-12, in place.
pub(super) fn to_json_schema(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object.iter_mut() {
                match key.as_str() {
                    // The keys of `properties` are names, whatever they look like.
                    "properties" => {
                        if let Value::Object(properties) = inner {
                            properties.values_mut().for_each(to_json_schema);
                        }
                    }
                    "enum" | "const" | "default" | "example" | "examples" => {}
                    _ => to_json_schema(inner),
                }
            }
            exclusive_bound(object, "exclusiveMinimum", "minimum");
            exclusive_bound(object, "exclusiveMaximum", "maximum");
            if object.remove("nullable") == Some(Value::Bool(true)) {
                allow_null(object);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(to_json_schema),
        _ => {}
    }
}

fn exclusive_bound(schema: &mut Map<String, Value>, exclusive: &str, inclusive: &str) {
    match schema.get(exclusive) {
        Some(Value::Bool(true)) => {
            schema.remove(exclusive);
            if let Some(bound) = schema.remove(inclusive) {
                schema.insert(exclusive.to_owned(), bound);
            }
        }
        Some(Value::Bool(false)) => {
            schema.remove(exclusive);
        }
        _ => {}
    }
}

/// A plain type gains `"null"` in place, which keeps error messages short; everything else is wrapped in `anyOf`.
fn allow_null(schema: &mut Map<String, Value>) {
    let is_combined = ["allOf", "anyOf", "oneOf", "$ref", "not"]
        .iter()
        .any(|keyword| schema.contains_key(*keyword));
    if !is_combined && let Some(Value::String(plain)) = schema.get("type").cloned() {
        schema.insert("type".to_owned(), json!([plain, "null"]));
        if let Some(Value::Array(options)) = schema.get_mut("enum")
            && !options.contains(&Value::Null)
        {
            options.push(Value::Null);
        }
        return;
    }
    let inner = Value::Object(std::mem::take(schema));
    schema.insert("anyOf".to_owned(), json!([{ "type": "null" }, inner]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(mut value: Value) -> Value {
        to_json_schema(&mut value);
        value
    }

    #[test]
    fn nullable_becomes_a_second_type() {
        assert_eq!(
            converted(json!({"type": "string", "nullable": true, "enum": ["a"]})),
            json!({"type": ["string", "null"], "enum": ["a", null]})
        );
    }

    #[test]
    fn a_nullable_combination_is_wrapped() {
        assert_eq!(
            converted(json!({"nullable": true, "allOf": [{"type": "object"}]})),
            json!({"anyOf": [{"type": "null"}, {"allOf": [{"type": "object"}]}]})
        );
    }

    #[test]
    fn a_property_called_nullable_stays_a_property() {
        let schema = json!({"type": "object", "properties": {"nullable": {"type": "boolean"}}});
        assert_eq!(converted(schema.clone()), schema);
    }

    #[test]
    fn a_boolean_exclusive_bound_becomes_a_number() {
        assert_eq!(
            converted(json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true})),
            json!({"type": "integer", "exclusiveMinimum": 0})
        );
    }
}
