//! Holds a value against a JSON schema, as far as `docs/report.schema.json` uses the language of schemas, and more
//! strictly: here an object may have no property that its schema does not name.

use serde_json::Value;

/// What is wrong with `value`, each with its path; empty where nothing is.
pub fn wrong(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    hold(root, root, value, "", &mut found);
    found
}

fn hold(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").expect("a definition of this file");
        let definition = &root["$defs"][name];
        assert!(definition.is_object(), "`{name}` is not defined");
        return hold(root, definition, value, at, found);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let faults = |schema: &Value| {
            let mut faults = Vec::new();
            hold(root, schema, value, at, &mut faults);
            faults
        };
        if any.iter().all(|schema| !faults(schema).is_empty()) {
            found.extend(faults(&any[0]));
        }
        return;
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        found.push(format!("{at}: {value} is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        found.push(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type `{other}` is unknown"),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name)) {
        found.push(format!("{at}: {value} is no {}", types.join(" or ")));
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        hold(root, &schema["items"], item, &format!("{at}/{i}"), found);
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}: `{name}` is missing"));
        }
    }
    for (name, item) in object {
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => hold(root, schema, item, &format!("{at}/{name}"), found),
            (None, None) => found.push(format!("{at}: the schema does not name `{name}`")),
        }
    }
}
