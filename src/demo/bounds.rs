//! Every bound of the demo origin, with its unit in its name or type. Those it shares with the proxy are in
//! [`crate::limits`].

use std::time::Duration;

/// Connections served at once; the next one gets a 503.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Connections being told 503 at once; beyond that they are closed without a word.
pub(super) const REFUSALS_MAX: usize = 32;
/// Stack of a connection's thread in bytes: buffers are on the heap, debug builds included this is ample.
pub(super) const STACK_BYTES: usize = 512 * 1024;

/// Silence that ends an idle connection, announced as `Keep-Alive: timeout`.
pub(super) const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(75);
/// First byte of a head to its last.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence of a client whose request body is due.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes no byte for so long is cut.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence that ends a WebSocket: longer than any tunnel timeout one would try out in front of it.
pub(super) const WEBSOCKET_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// The receive buffer of a connection in bytes; a whole head fits.
pub(super) const RECEIVE_BYTES: usize = 64 * 1024;
/// Request body bytes thrown away to keep a connection; a longer one costs the connection.
pub(super) const DISCARD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Largest WebSocket message in bytes.
pub(super) const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest `N` of `/bytes/N` and `/chunked/N`.
pub(super) const CONTENT_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// Bytes that `/bytes/N` and `/chunked/N` write at once.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// Longest wait of `/slow` in seconds.
pub(super) const SLOW_SECONDS_MAX: f64 = 3600.0;
/// Most bytes of `/drip`.
pub(super) const DRIP_BYTES_MAX: u64 = 1_000_000;
/// Longest interval in milliseconds between two bytes of `/drip` or two events of `/sse`.
pub(super) const INTERVAL_MS_MAX: u64 = 60_000;
/// Shortest interval in milliseconds between two events of `/sse`.
pub(super) const SSE_INTERVAL_MS_MIN: u64 = 10;

const _: () = assert!(crate::limits::HEAD_BYTES_MAX <= RECEIVE_BYTES);
