//! The reference of the configuration file, made from its types.

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::Document;

/// The JSON schema, for editors.
#[must_use]
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Document>();
    // A schema is JSON already.
    let mut text = serde_json::to_string_pretty(&Json::from(schema)).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference as a Markdown page.
#[must_use]
pub fn reference() -> String {
    String::new()
}
