//! Gemini's own form of schemas, a part of OpenAPI's, as JSON schema.

use crate::ir::Json;
use serde_json::{Map, Value};

/// A schema in the form of `parameters` and `responseSchema`: types in capitals, `nullable` beside them, and the order
/// of properties, which JSON schema has no word for. A schema that is none stays as it is.
pub(super) fn to_json_schema(schema: &Json) -> Json {
    match serde_json::from_str::<Value>(schema.get()) {
        Ok(value) => Json::of(&convert(value)),
        Err(_) => schema.clone(),
    }
}

fn convert(value: Value) -> Value {
    let Value::Object(mut schema) = value else { return value };
    let nullable = schema.remove("nullable") == Some(Value::Bool(true));
    schema.remove("propertyOrdering");
    let mut out = Map::new();
    for (key, value) in schema {
        let value = match (key.as_str(), value) {
            ("type", Value::String(name)) if nullable => {
                Value::Array(vec![Value::String(name.to_lowercase()), Value::String("null".into())])
            }
            ("type", Value::String(name)) => Value::String(name.to_lowercase()),
            ("properties", Value::Object(properties)) => {
                Value::Object(properties.into_iter().map(|(name, schema)| (name, convert(schema))).collect())
            }
            ("items", schema) => convert(schema),
            ("anyOf", Value::Array(schemas)) => Value::Array(schemas.into_iter().map(convert).collect()),
            // Numbers of 64 bits are written as texts there.
            (
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties",
                Value::String(n),
            ) => n.parse::<u64>().map_or(Value::String(n), Value::from),
            (_, value) => value,
        };
        out.insert(key, value);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_nullable_become_json_schema() {
        let schema = Json::parse(
            r#"{"type":"OBJECT","propertyOrdering":["b"],"properties":{"type":{"type":"STRING","nullable":true},
            "b":{"type":"ARRAY","minItems":"2","items":{"type":"INTEGER"}}},"required":["type"]}"#,
        );
        let expected: Value = serde_json::from_str(
            r#"{"type":"object","properties":{"type":{"type":["string","null"]},
            "b":{"type":"array","minItems":2,"items":{"type":"integer"}}},"required":["type"]}"#,
        )
        .unwrap();
        let found: Value = serde_json::from_str(to_json_schema(&schema.unwrap()).get()).unwrap();
        assert_eq!(found, expected);
    }
}
