//! The reference and the schema.
