//! Whether a file has changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What tells one content of a file from the next: device, inode, length, time of change.
pub type Stamp = (u64, u64, u64, i64, i64);

/// The stamp of `file`; `None` if it cannot be looked at.
#[must_use]
pub fn stamp(file: &Path) -> Option<Stamp> {
    let data = fs::metadata(file).ok()?;
    Some((data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}
