//! JSON schemas, as far as providers differ in what they take.

use crate::ir::Json;
use serde_json::{Map, Value};

/// Whether OpenAI takes a schema with `strict`: every object is closed and requires all its properties.
pub(crate) fn is_strict(schema: &Json) -> bool {
    let Ok(mut value) = serde_json::from_str::<Value>(schema.get()) else { return false };
    let mut is_strict = true;
    visit(&mut value, &mut |object| {
        let required: Vec<&str> =
            object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = object.get("properties").and_then(Value::as_object);
        let has_all = properties.is_none_or(|p| p.keys().all(|name| required.contains(&name.as_str())));
        is_strict &= has_all && object.get("additionalProperties") == Some(&Value::Bool(false));
    });
    is_strict
}

/// The schema with every object closed that does not say whether it is, as Anthropic requires; none if nothing changed.
pub(crate) fn closed(schema: &Json) -> Option<Json> {
    let mut value = serde_json::from_str::<Value>(schema.get()).ok()?;
    let mut changed = false;
    visit(&mut value, &mut |object| {
        if !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".into(), Value::Bool(false));
            changed = true;
        }
    });
    changed.then(|| Json::of(&value))
}

/// Visits every schema of an object. The parser bounds the depth.
fn visit(schema: &mut Value, found: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(schema) = schema else { return };
    let is_object = schema.get("type").is_some_and(|t| match t {
        Value::Array(types) => types.iter().any(|t| t == "object"),
        other => other == "object",
    });
    if is_object || schema.contains_key("properties") {
        found(schema);
    }
    for (key, value) in schema.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "definitions" | "patternProperties", Value::Object(schemas)) => {
                schemas.values_mut().for_each(|s| visit(s, found));
            }
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(|s| visit(s, found));
            }
            ("items" | "additionalProperties" | "not" | "if" | "then" | "else", value) => visit(value, found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_at_every_depth() {
        let open = Json::parse(
            r##"{"type":"object","properties":{"properties":{"type":["object","null"],"properties":{}},
            "b":{"anyOf":[{"$ref":"#/$defs/c"},{"type":"array","items":{"properties":{"x":{}}}}]}},
            "required":["properties","b"],"$defs":{"c":{"type":"object","additionalProperties":false}}}"##,
        )
        .unwrap();
        assert!(!is_strict(&open));
        let done = closed(&open).unwrap();
        assert_eq!(done.get().matches("\"additionalProperties\":false").count(), 4, "{}", done.get());
        assert_eq!(closed(&done), None);
        assert!(!is_strict(&done), "the property x is not required");
        let strict = r#"{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":false}"#;
        assert!(is_strict(&Json::parse(strict).unwrap()));
    }
}
