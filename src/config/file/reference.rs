//! The reference of the configuration file and its JSON schema, both made from the types of [`super::document`]: their
//! fields are the keys, their documentation is what is said about them. Defaults come from a small file that is resolved
//! and printed, so they are those of the program.

use std::fmt::{self, Write};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};

use super::{Document, effective, read, resolve};

/// The least file in which every table with defaults occurs.
const SAMPLE: &str = r#"
[groups.app]
upstreams = ["127.0.0.1:3000"]
sticky = { cookie = "endpoint" }
check = { http = "/" }
[[route]]
group = "app"
limit = [{ key = "client", requests = 1 }]
[[route]]
path = "/redirect"
redirect = { to = "/" }
[[route]]
path = "/respond"
respond = { body = "text" }
"#;

/// Where the tables of the schema are in it.
const PLACES: [(&str, &str); 16] = [
    ("Server", "/server"),
    ("Listener", "/listener/0"),
    ("Timeouts", "/timeouts"),
    ("Limits", "/limits"),
    ("Forwarding", "/forwarding"),
    ("Pool", "/pool"),
    ("Log", "/log"),
    ("Retry", "/retry"),
    ("Group", "/groups/app"),
    ("Sticky", "/groups/app/sticky"),
    ("Queue", "/groups/app/queue"),
    ("Ejection", "/groups/app/ejection"),
    ("Check", "/groups/app/check"),
    ("Route", "/route/0"),
    ("Redirect", "/route/1/redirect"),
    ("Respond", "/route/2/respond"),
];

/// Place of [`super::document::Limit`] in it.
const LIMIT: (&str, &str) = ("Limit", "/route/0/limit/0");

/// Keys whose value in the sample follows from other keys, and is no default.
const DERIVED: [(&str, &str); 3] = [("Route", "name"), ("Limit", "burst"), ("Respond", "content-type")];

/// Tables that differ from another one, and that one.
const COMMON: [(&str, &str); 3] =
    [("groups.NAME.pool", "pool"), ("route.retry", "retry"), ("route.timeouts", "timeouts")];

/// What stands above the tables of the page.
const INTRODUCTION: &str = "\
# The configuration file

<!-- Made by `ringress config --reference > docs/config.md`; the text is in the types of src/config/file. -->

`ringress --config FILE` reads a file in [TOML](https://toml.io). `ringress check --config FILE` says whether it is right,
and prints the configuration that it amounts to, as a file again. What is wrong is said with its line, and the exit code is
2. [examples/two-applications.toml](examples/two-applications.toml) is a file to start from; editors complete and check
files with [config.schema.json](config.schema.json).

```toml
[groups.app]
upstreams = [\"127.0.0.1:3000\"]

[[route]]
group = \"app\"
```

- A flag wins over its `RINGRESS_*` variable, which wins over the file, which wins over the default. `--listen`,
  `--tls-listen` and `--http-redirect` replace the listeners of their kind; `--upstream` and `--demo` need a file without
  groups and routes.
- Durations are texts: `\"250ms\"`, `\"10s\"`, `\"5m\"`, `\"1h30m\"`; `\"off\"` disables where the table says so.
- Sizes are texts or numbers of bytes: `\"64KiB\"`, `\"1MiB\"` (powers of 1024), `\"10MB\"` (powers of 1000), `32768`.
- Files are looked for in the directory that the program was started in, unless they begin with `/`.
- A table may be written with its own header, `[groups.app.queue]`, or within a line, `queue = { max = 10 }`.
";

/// The JSON schema, for editors.
#[must_use]
pub fn schema() -> String {
    // A schema is JSON already.
    let mut text = serde_json::to_string_pretty(&with_defaults()).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference as a Markdown page.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for table in tables() {
        // Writing to a `String` cannot fail.
        let _ = table.write(&mut page);
    }
    page
}

/// A table of the file, with its keys.
pub(super) struct Table {
    /// `route.limit`; names that are the operator's own are `NAME`. For the tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests look keys up by it"))]
    pub path: String,
    /// `[[route.limit]]`
    header: String,
    text: String,
    /// Keys that have a value rather than a table of their own, and those with one.
    pub keys: Vec<Key>,
}

/// A key, as a line of the reference.
pub(super) struct Key {
    /// Its name.
    pub name: String,
    kind: String,
    default: String,
    text: String,
}

impl Table {
    fn write(&self, page: &mut String) -> fmt::Result {
        write!(page, "\n## `{}`\n\n{}\n", self.header, self.text)?;
        writeln!(page, "\n| key | value | default | |\n| --- | --- | --- | --- |")?;
        for Key { name, kind, default, text } in &self.keys {
            writeln!(page, "| `{name}` | {kind} | {default} | {} |", text.replace('|', "\\|"))?;
        }
        Ok(())
    }
}

/// Every table of the file, in the order of the types.
pub(super) fn tables() -> Vec<Table> {
    let schema = with_defaults();
    let mut tables = Vec::new();
    gather(&schema, &schema, "", &mut tables);
    tables
}

/// Adds the tables below the one that `schema` describes. Types are a tree: there is no way round in circles.
fn gather(root: &Json, schema: &Json, path: &str, tables: &mut Vec<Table>) {
    for (name, property) in properties(schema) {
        let Some((target, shape)) = table_of(root, property) else { continue };
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (path, header) = match shape {
            Shape::One => (key.clone(), format!("[{key}]")),
            Shape::List => (key.clone(), format!("[[{key}]]")),
            Shape::Named => (format!("{key}.NAME"), format!("[{key}.NAME]")),
        };
        let text = text(property).or_else(|| text(target)).unwrap_or_default();
        let common = COMMON.into_iter().find(|(own, _)| *own == path).map(|(_, common)| common);
        tables.push(Table { path: path.clone(), header, text, keys: keys(root, target, common) });
        gather(root, target, &path, tables);
    }
}

/// The keys of a table; those of a table that differs from a `common` one have their defaults from it.
fn keys(root: &Json, schema: &Json, common: Option<&str>) -> Vec<Key> {
    let required = |name: &str| list(schema, "required").iter().any(|it| it.as_str() == Some(name));
    let key = |(name, property): (&String, &Json)| {
        let default = match (common, property.get("default")) {
            (Some(common), _) => format!("that of `[{common}]`"),
            (None, Some(default)) => format!("`{default}`"),
            (None, None) if required(name) => "required".to_owned(),
            (None, None) => String::new(),
        };
        Key {
            name: name.clone(),
            kind: kind(root, property),
            default,
            text: text(property).unwrap_or_default(),
        }
    };
    properties(schema).map(key).collect()
}

/// How a table is written.
#[derive(Clone, Copy)]
enum Shape {
    /// Once.
    One,
    /// As often as one likes.
    List,
    /// Once for each name.
    Named,
}

/// The table that a key has, if it has one.
fn table_of<'a>(root: &'a Json, schema: &'a Json) -> Option<(&'a Json, Shape)> {
    if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
        let target = root.pointer(name.strip_prefix('#')?)?;
        return Some((target, Shape::One));
    }
    if let Some(items) = schema.get("items") {
        return table_of(root, items).map(|(target, _)| (target, Shape::List));
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        return table_of(root, values).map(|(target, _)| (target, Shape::Named));
    }
    ["anyOf", "allOf"].iter().flat_map(|of| list(schema, of)).find_map(|part| table_of(root, part))
}

/// The kind of value that a key has.
fn kind(root: &Json, schema: &Json) -> String {
    if let Some(title) = schema.get("title").and_then(Json::as_str) {
        return match (schema.get("enum").and_then(Json::as_array), schema.get("additionalProperties")) {
            (Some(words), _) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            (None, Some(values)) if table_of(root, values).is_none() => {
                format!("{title}: {}", kind(root, values))
            }
            (None, _) => title.to_owned(),
        };
    }
    match (schema.get("items"), table_of(root, schema)) {
        (Some(items), None) => format!("list of {}", kind(root, items)),
        (Some(items), Some(_)) if items.get("title").is_some() => format!("list of {}", kind(root, items)),
        (Some(_), Some(_)) => "tables".to_owned(),
        (None, _) => "table".to_owned(),
    }
}

/// The schema, without what TOML does not have and with the defaults of the program.
fn with_defaults() -> Json {
    let mut schema =
        Json::from(SchemaSettings::draft07().into_generator().into_root_schema_for::<Document>());
    strip_null(&mut schema);
    let (written, printed) = sample();
    for (name, place) in PLACES.into_iter().chain([LIMIT]) {
        let (written, printed) = (written.pointer(place), printed.pointer(place));
        if let (Some(definition), Some(printed)) =
            (schema.pointer_mut(&format!("/definitions/{name}")), printed.and_then(Json::as_object))
        {
            put_defaults(definition, name, written, printed);
        }
    }
    schema
}

/// The sample as it is written and as it is printed.
fn sample() -> (Json, Json) {
    let json = |text: &str| toml::from_str(text).unwrap_or(Json::Null);
    let printed = read(SAMPLE).and_then(|document| resolve(&document)).map(|config| effective(&config));
    (json(SAMPLE), json(&printed.unwrap_or_default()))
}

/// Writes those values of `printed` into a definition that nobody has `written`.
fn put_defaults(definition: &mut Json, name: &str, written: Option<&Json>, printed: &Map<String, Json>) {
    let required = list(definition, "required").to_vec();
    let Some(properties) = definition.get_mut("properties").and_then(Json::as_object_mut) else { return };
    for (key, property) in properties {
        let is_written = written.is_some_and(|written| written.get(key).is_some());
        let is_required = required.iter().any(|it| it.as_str() == Some(key));
        let is_table = |value: &&Json| {
            value.is_object() || value.as_array().is_some_and(|list| list.iter().any(Json::is_object))
        };
        let default = printed.get(key).filter(|value| !is_table(value));
        if let (Some(default), false, Some(property)) =
            (default, is_written || is_required || DERIVED.contains(&(name, key)), property.as_object_mut())
        {
            property.insert("default".to_owned(), default.clone());
        }
    }
}

/// Takes `null` out of a schema: TOML leaves a key out instead.
fn strip_null(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            if let Some(Json::Array(types)) = map.get_mut("type") {
                types.retain(|it| it.as_str() != Some("null"));
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".to_owned(), one);
                }
            }
            for of in ["anyOf", "enum"] {
                if let Some(Json::Array(parts)) = map.get_mut(of) {
                    parts.retain(|it| !it.is_null() && it.get("type").and_then(Json::as_str) != Some("null"));
                }
            }
            map.retain(|key, value| !(key == "default" && (value.is_null() || value.is_object())));
            map.values_mut().for_each(strip_null);
        }
        Json::Array(list) => list.iter_mut().for_each(strip_null),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn properties(schema: &Json) -> impl Iterator<Item = (&String, &Json)> {
    schema.get("properties").and_then(Json::as_object).into_iter().flatten()
}

fn list<'a>(schema: &'a Json, key: &str) -> &'a [Json] {
    schema.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What is said about a key or a table, on one line.
fn text(schema: &Json) -> Option<String> {
    let text = schema.get("description").and_then(Json::as_str)?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}
