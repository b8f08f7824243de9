//! Every bound of the origin and of the load generator.

/// Bytes one read takes at most.
pub const READ_BYTES_MAX: usize = 256 << 10;
/// Bytes of the largest TLS record (RFC 8446 §5.2), which may have been read before but for its last one.
pub const RECORD_BYTES_MAX: usize = (16 << 10) + 261;
/// Bytes a head may have.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of the largest body that the origin makes.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Different body sizes the origin keeps ready.
pub const BODIES_MAX: usize = 16;
/// Connections of one process; the descriptor limit is 20 000.
pub const LINKS_MAX: usize = 19_000;
/// Connections that are being established at once: below every peer's accept queue.
pub const OPENING_MAX: usize = 128;
/// Length of our own accept queue.
pub const BACKLOG: i32 = 4096;
/// Connections accepted, or events taken, in one turn.
pub const TURN_MAX: usize = 256;
/// Writes that may wait on one connection; more are a bug of ours or a receiver that stopped.
pub const QUEUE_MAX: usize = 64;
/// Bytes of a frame's payload: what RFC 9113 §4.2 lets both sides send unasked.
pub const FRAME_BYTES_MAX: usize = 16 << 10;
/// What an HTTP/2 stream may receive ahead, as Chromium has it: a body of 1 MiB never waits for the client.
pub const STREAM_WINDOW: u32 = 6 << 20;
/// The same for a whole connection.
pub const CONNECTION_WINDOW: u32 = 15 << 20;
/// Requests under way on one HTTP/2 connection; every peer allows 100.
pub const STREAMS_MAX: usize = 100;
/// Seconds until every connection must have done its first exchange.
pub const READY_SECONDS_MAX: u64 = 60;
/// Failures after which a measurement is given up.
pub const ERRORS_MAX: u64 = 10_000;
/// Seconds one measurement may take.
pub const MEASURE_SECONDS_MAX: f64 = 600.0;
/// Requests of a fixed rate that wait for a free connection.
pub const OVERDUE_MAX: usize = 1 << 20;
/// What a slow reader takes per tick, bytes, and how long a tick is: 10 KiB/s.
pub const SLOW_BYTES: usize = 1024;
/// See [`SLOW_BYTES`]; nanoseconds.
pub const SLOW_TICK_NS: u64 = 100_000_000;
/// Receive buffer of a slow reader, bytes: a large one would hide its slowness for a long time.
pub const SLOW_BUFFER_BYTES: usize = 16 << 10;
