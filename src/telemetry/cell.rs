//! A number that one thread counts in and any thread reads: what every metric is made of.

use std::sync::atomic::{AtomicU64, Ordering};

/// Adds `n` to `cell`: with one writer a load and a store count the same as `fetch_add`, without a locked instruction.
#[inline]
pub(super) fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
