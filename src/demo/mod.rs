//! The built-in origin of `ringress --demo`.
