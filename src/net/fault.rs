//! Faults on demand, in debug builds only: how a test shows that a panic costs one connection, and that a
//! dead worker stops the process.
//!
//! With `RINGRESS_FAULTS=on`, a request for [`PANIC`] panics in its connection, one for [`DIE`] panics in the worker, and
//! one for [`HANG`] stops the worker for good. Release builds have none of them.

/// Target of a request that panics in its connection.
pub const PANIC: &[u8] = b"/.fault/panic";
/// Target of a request that kills its worker.
pub const DIE: &[u8] = b"/.fault/die";
/// Target of a request that its worker never comes back from.
pub const HANG: &[u8] = b"/.fault/hang";

/// Provokes what `target` asks for.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "it is the purpose")]
pub fn provoke(target: &[u8]) {
    static ON: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("RINGRESS_FAULTS").is_some_and(|value| value == "on"));
    if target == PANIC && *ON {
        panic!("provoked");
    }
    if target == DIE && *ON {
        monoio::spawn(async { panic!("provoked") });
    }
    if target == HANG && *ON {
        std::thread::sleep(std::time::Duration::MAX);
    }
}

/// Nothing: this is a release build.
#[cfg(not(debug_assertions))]
pub fn provoke(_target: &[u8]) {}
