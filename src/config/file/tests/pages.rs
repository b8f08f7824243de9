//! The reference and the schema: they are what is in `docs/`, and no key is missing from either or untested.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::super::reference;
use super::*;

/// A file with every key.
const EVERY_KEY: &str = include_str!("every-key.toml");

/// Goal: whoever changes a key or its documentation also commits its page.
#[test]
fn the_pages_of_the_documentation_are_made_from_the_types() {
    for (page, made, command) in [
        (include_str!("../../../../docs/config.md"), reference::reference(), "--reference > docs/config.md"),
        (
            include_str!("../../../../docs/config.schema.json"),
            reference::schema(),
            "--schema > docs/config.schema.json",
        ),
    ] {
        assert!(page == made, "behind the types: run `ringress config {command}`");
    }
}

/// The keys of a file, with `NAME` for the names of groups: `groups.NAME.upstreams.weight`.
fn keys_of(value: &Json, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Json::Object(table) => {
            for (key, value) in table {
                let key = if path == "groups" { "NAME" } else { key };
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                keys.insert(path.clone());
                keys_of(value, &path, keys);
            }
        }
        Json::Array(list) => list.iter().for_each(|value| keys_of(value, path, keys)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[test]
fn every_key_of_the_reference_is_in_a_file_that_is_read() {
    let config = good(EVERY_KEY);
    assert_eq!(good(&effective(&config)), config, "and printed");
    let mut used = BTreeSet::new();
    keys_of(&toml::from_str(EVERY_KEY).unwrap(), "", &mut used);
    let known = reference::tables()
        .into_iter()
        .flat_map(|table| table.keys.into_iter().map(move |key| format!("{}.{}", table.path, key.name)));
    let known: Vec<String> = known.collect();
    assert!(known.len() > 120, "{}", known.len());
    let missing: Vec<&String> = known.iter().filter(|key| !used.contains(*key)).collect();
    assert!(missing.is_empty(), "in no file: {missing:?}");
}

/// Every default of the reference, written into a file, changes nothing: they are those of the program.
#[test]
fn every_table_has_its_place_in_the_sample() {
    let schema: Json = serde_json::from_str(&reference::schema()).unwrap();
    let text = schema.to_string();
    assert!(!text.contains("null"), "TOML has none");
    let default = |pointer: &str| schema.pointer(&format!("/definitions/{pointer}/default")).cloned();
    for (pointer, value) in [
        ("Timeouts/properties/request", Json::from("60s")),
        ("Server/properties/normalize-paths", Json::from(true)),
        ("Limit/properties/per", Json::from("1s")),
        ("Check/properties/expect", Json::from("200-399")),
        ("Redirect/properties/status", Json::from(308)),
        ("Respond/properties/status", Json::from(200)),
        ("Queue/properties/max", Json::from(128)),
    ] {
        assert_eq!(default(pointer), Some(value), "{pointer}");
    }
    assert_eq!(default("Route/properties/name"), None);
}

/// Goal: what editors check is what the program reads, as far as a schema goes: each table closed, each type right.
#[test]
fn the_schema_takes_the_files_of_the_tests() {
    let schema: Json = serde_json::from_str(&reference::schema()).unwrap();
    let example = include_str!("../../../../docs/examples/two-applications.toml");
    for text in [EVERY_KEY, example, &effective(&good(EVERY_KEY))] {
        let file: Json = toml::from_str(text).unwrap();
        assert_eq!(refused(&schema, &schema, &file, ""), None);
    }
    for bad in ["pni = 1", "[server]\npin = \"on\"", "[log]\nformat = \"xml\"", "[[listener]]\ntls = true"] {
        let file: Json = toml::from_str(bad).unwrap();
        assert!(refused(&schema, &schema, &file, "").is_some(), "{bad}");
    }
}

/// Where `value` is not what `schema` says: as much of JSON schema as ours uses.
fn refused(root: &Json, schema: &Json, value: &Json, path: &str) -> Option<String> {
    if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
        return refused(root, root.pointer(&name[1..]).unwrap(), value, path);
    }
    for part in schema.get("allOf").and_then(Json::as_array).into_iter().flatten() {
        if let Some(why) = refused(root, part, value, path) {
            return Some(why);
        }
    }
    if let Some(parts) = schema.get("anyOf").and_then(Json::as_array) {
        let mut whys = parts.iter().map(|part| refused(root, part, value, path));
        return whys.by_ref().all(|why| why.is_some()).then(|| format!("{path}: none of {parts:?}"));
    }
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return (!words.contains(value)).then(|| format!("{path}: not a word"));
    }
    if let Some(only) = schema.get("const") {
        return (only != value).then(|| format!("{path}: not {only}"));
    }
    let name = match value {
        Json::Object(_) => "object",
        Json::Array(_) => "array",
        Json::String(_) => "string",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "integer",
        Json::Null => "null",
    };
    let types = schema.get("type")?;
    if types != name && !types.as_array().is_some_and(|types| types.iter().any(|it| it == name)) {
        return Some(format!("{path}: {name} is not {types}"));
    }
    match value {
        Json::Object(table) => refused_table(root, schema, table, path),
        Json::Array(list) => list.iter().find_map(|value| refused(root, schema.get("items")?, value, path)),
        _ => None,
    }
}

fn refused_table(
    root: &Json,
    schema: &Json,
    table: &serde_json::Map<String, Json>,
    path: &str,
) -> Option<String> {
    let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
    for key in required.filter_map(Json::as_str) {
        if !table.contains_key(key) {
            return Some(format!("{path}: no {key}"));
        }
    }
    table.iter().find_map(|(key, value)| {
        let path = format!("{path}.{key}");
        match (schema.pointer(&format!("/properties/{key}")), schema.get("additionalProperties")) {
            (Some(schema), _) => refused(root, schema, value, &path),
            (None, Some(schema)) if schema.is_object() => refused(root, schema, value, &path),
            (None, _) => Some(format!("{path}: unknown")),
        }
    })
}
