//! A value that fits a JSON schema, for arguments of tools and structured answers.

use serde_json::{Map, Value, json};

/// How deep a schema is followed; what is deeper is null.
const DEEPEST: usize = 16;

/// Words for strings; they have characters of one to four bytes.
const WORDS: [&str; 3] = ["Zürich", "東京", "São \"Paulo\" 🚀"];

/// A value for `schema`; `which` varies it.
pub(crate) fn sample(schema: &Value, which: usize) -> Value {
    fit(schema, schema, which, 0)
}

fn fit(root: &Value, schema: &Value, which: usize, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')).and_then(|r| root.pointer(r)) {
        return fit(root, target, which, depth + 1);
    }
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    if let Some(choices) = schema["enum"].as_array().filter(|c| !c.is_empty()) {
        return choices.get(which % choices.len()).cloned().unwrap_or_default();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[key].as_array().and_then(|c| c.first()) {
            return fit(root, first, which, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.to_lowercase(),
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or("null").to_lowercase(),
        _ if schema.get("properties").is_some() => "object".to_owned(),
        _ => String::new(),
    };
    match kind.as_str() {
        "object" => object(root, schema, which, depth),
        "array" => json!([fit(root, &schema["items"], which, depth + 1)]),
        "integer" => json!(schema["minimum"].as_i64().unwrap_or(40) + which as i64),
        "number" => json!(schema["minimum"].as_f64().unwrap_or(20.5) + which as f64),
        "boolean" => json!(which.is_multiple_of(2)),
        "null" => Value::Null,
        _ => json!(WORDS[which % WORDS.len()]),
    }
}

fn object(root: &Value, schema: &Value, which: usize, depth: usize) -> Value {
    let Some(properties) = schema["properties"].as_object() else { return json!({}) };
    let all: Map<_, _> =
        properties.iter().map(|(name, inner)| (name.clone(), fit(root, inner, which, depth + 1))).collect();
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_fits() {
        let schema = json!({"type": "object", "$defs": {"u": {"enum": ["C", "F"]}}, "properties": {
            "city": {"type": "string"}, "unit": {"$ref": "#/$defs/u"}, "days": {"type": "array", "items": {"type": "integer"}},
            "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]}}});
        assert_eq!(sample(&schema, 1), json!({"city": "東京", "unit": "F", "days": [41], "maybe": 21.5}));
    }

    #[test]
    fn a_schema_that_names_itself_ends() {
        let schema = json!({"properties": {"child": {"$ref": "#"}}});
        assert!(sample(&schema, 0).is_object());
    }
}
