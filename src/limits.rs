//! Every bound of the program, with its unit in its name.
//!
//! A number that limits a loop, a queue, a buffer or a retry is written here and nowhere else. Those an
//! operator may move are defaults of a flag; the others are fixed, and say why they are what they are.

/// Largest request or response head in bytes, default of `--max-head-bytes`.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most fields in one head or trailer section, default of `--max-fields`.
pub const FIELDS_MAX: usize = 100;
/// Hard ceiling of `--max-fields`: the size of the parser's table on the stack.
pub const FIELDS_CEILING: usize = 256;
/// Longest request target in bytes, default of `--max-target-bytes`.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Empty lines tolerated before a request line (RFC 9112 §2.2), in bytes: more is an endless drip of CRLF.
pub const LEADING_CRLF_BYTES_MAX: usize = 8;
/// Longest chunk-size line in bytes, extensions included. Extensions are dropped, and a peer that sends
/// kilobytes of them per chunk is attacking (CVE-2023-39326).
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Hexadecimal digits in a chunk size: 16 hold every 64-bit size.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;
/// Largest trailer section in bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Interim (1xx) responses relayed for one request; a peer that sends more is looping.
pub const INTERIM_RESPONSES_MAX: u8 = 16;

/// The worker's one receive buffer in bytes: the most one read brings. Room for 64 KiB of body behind its head:
/// with 64 KiB in all, such a response took two reads and two sends, 34.5 µs instead of 28.4.
pub const SCRATCH_BYTES: usize = 80 * 1024;
/// Capacity in bytes of a pooled buffer when it is new.
pub const POOLED_BUFFER_BYTES: usize = 16 * 1024;
/// Capacity in bytes of a small pooled buffer when it is new: most request heads as forwarded.
pub const POOLED_HEAD_BYTES: usize = 1024;
/// A buffer that grew beyond this many bytes is freed on return, not pooled.
pub const POOLED_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// Free buffers of one size that a worker keeps; of those that were not needed it frees half each [`MEMORY_PAUSE_MS`].
pub const POOLED_BUFFERS_MAX: usize = 256;
/// Milliseconds between two looks for memory that can go back to the system.
pub const MEMORY_PAUSE_MS: u64 = 1_000;
/// Cells for exchanges that a worker keeps while nobody uses them.
pub const POOLED_TRANSACTIONS_MAX: usize = 256;
/// Bytes that one direction of one exchange may move before its task lets its neighbours run. Measured with 32
/// uploads of 1 MiB at once: 260 µs each and a p99 of 16 ms; with four times as much 320 µs and up to 63 ms.
pub const TURN_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a refused head that are looked at for its request line, for the log.
pub const REFUSED_LINE_BYTES_MAX: usize = 2 * 1024;
/// Bytes of pipelined requests kept while an earlier request is being answered.
pub const PIPELINE_BYTES_MAX: usize = HEAD_BYTES_MAX;

/// Longest PROXY header of version 1 in bytes, its CRLF included: two IPv6 addresses and two ports fit ("a 108-byte
/// buffer is always enough").
pub const PROXY_V1_BYTES_MAX: usize = 107;
/// Longest PROXY header of version 2 in bytes: the smallest datagram that every host takes, less the headers of IP and
/// TCP ("if the sender stays below 536 bytes"), and ten times what addresses alone need. The rest is for TLVs.
pub const PROXY_HEADER_BYTES_MAX: usize = 536;

/// Known remainder of a body in bytes from which splicing is cheaper than copying, default of `--splice-min`.
/// Measured: of 1 MiB, 187-195 µs with 64 or 128 KiB, 248 with 256 KiB, 310 without; of 128 KiB 37 and 45; of
/// 64 KiB no difference. One byte cost twice as much again: small tails must not be spliced.
pub const SPLICE_BYTES_MIN: u64 = 64 * 1024;
/// Size asked for a pipe, in bytes: the most one splice moves.
pub const PIPE_BYTES: usize = 256 * 1024;
/// Pipes of a worker in use at once; beyond that bodies are copied. Two descriptors each.
pub const PIPES_LENT_MAX: usize = 128;
/// Unused pipes that a worker keeps.
pub const PIPES_FREE_MAX: usize = 32;

/// Plaintext bytes encrypted for one send: four full records. Measured 20-25 % cheaper on 1 MiB bodies than a
/// send per record.
pub const TLS_SEND_BYTES: usize = SCRATCH_BYTES;
/// A rest of so many bytes goes with them: the head or the framing of what one read brought.
pub const TLS_SEND_REST_BYTES: usize = 4 * 1024;
/// Payload bytes of the first records after idleness: the receiver can decrypt the first byte once three segments
/// are there, instead of twelve.
pub const TLS_SMALL_RECORD_BYTES: usize = 4 * 1024;
/// Bytes sent in small records before full ones pay.
pub const TLS_RAMP_BYTES: usize = 32 * 1024;
/// Silence in milliseconds of our side after which records are small again.
pub const TLS_RAMP_IDLE_MS: u64 = 1_000;
/// Ciphertext bytes of the largest record: payload, header and what RFC 8446 §5.2 allows for expansion.
pub const TLS_RECORD_BYTES_MAX: usize = 16 * 1024 + 256 + 5;
/// Bytes handed to rustls where it must take them all in one step: during handshakes, and for a small buffer. Its own
/// buffer has 18 437 bytes, and up to [`TLS_RECORD_BYTES_MAX`] of them may hold an incomplete record already, so
/// that the 4096 it takes at other times may be too many.
pub const TLS_READ_BYTES: usize = 1536;
/// Reads of session tickets and the like that an idle upstream connection may cause at once.
pub const TLS_QUIET_READS_MAX: usize = 16;
/// TLS sessions of origins that a worker remembers for resumption.
pub const TLS_UPSTREAM_SESSIONS: usize = 256;
/// Bytes of a client certificate's subject as forwarded. A longer one refuses the connection.
pub const TLS_SUBJECT_BYTES_MAX: usize = 4096;
/// Seconds between looks at the certificate files.
pub const CERTIFICATE_LOOK_S: u64 = 1;
/// Largest certificate, key or CA file in bytes: a bundle of all public CAs is a quarter of a megabyte.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Certificates that end within this many days are warned about.
pub const CERTIFICATE_WARN_DAYS: u64 = 7;

/// Milliseconds in which other tasks run between two batches of a queue that a drain empties.
pub const DRAIN_ACCEPT_PAUSE_MS: u64 = 1;
/// Connections taken from a listener's queue before other tasks run.
pub const ACCEPT_BATCH_MAX: usize = 64;
/// Connections that a worker may have more than the least loaded one and still keep what it accepts.
pub const STEER_MARGIN_MIN: usize = 4;
/// The same as a share of what the least loaded one has, one in so many, when that is more.
pub const STEER_MARGIN_SHARE: usize = 16;
/// How long in milliseconds a worker keeps what it accepts though it has more than that. Of connections of one request, 64
/// at once, 29 % were handed over without this and 0.1 % with it; of 256 at once 46 % and 3 to 6 %.
pub const STEER_LASTING_MS: u64 = 20;
/// From so many connections more than twice what the least loaded one has, a worker does not wait: chance makes no such
/// difference, and a batch taken while the neighbour has not woken up yet is no larger.
pub const STEER_AT_ONCE: usize = ACCEPT_BATCH_MAX;
/// Connections that wait until a worker takes what others handed to it; whoever has one more serves it itself. A few
/// batches of several workers: one that does not come round for longer needs no more of them.
pub const STEER_WAITING_MAX: usize = 256;
/// Backlog given to listen(2); the kernel clamps it to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;
/// How long, in milliseconds, workers may take to cut what still runs and to log it.
pub const CUT_GRACE_MS: u64 = 2_000;
/// How long, in milliseconds, a start waits for an address that is in use.
pub const BIND_PATIENCE_MS: u64 = 1_000;
/// Pause in milliseconds between attempts to bind.
pub const BIND_RETRY_MS: u64 = 20;
/// Milliseconds that a new process has to come up in an upgrade, before the old one goes on without it.
pub const HANDOVER_MS: u64 = 30_000;
/// Milliseconds that a new process that has failed has to end by itself.
pub const HANDOVER_END_MS: u64 = 1_000;
/// Milliseconds that the new process waits for the next sockets.
pub const HANDOVER_READ_MS: u64 = 5_000;
/// Sockets in one message of a handover: fewer than the kernel's 253 (`SCM_MAX_FD`).
pub const HANDOVER_SOCKETS: usize = 64;
/// Bytes of one message of a handover: two addresses and a word, or the reason of a failure.
pub const HANDOVER_MESSAGE_BYTES: usize = 4096;
/// Sockets that a process takes over at most: a thousand workers with a dozen addresses.
pub const HANDOVER_SOCKETS_MAX: usize = 16 * 1024;
/// Milliseconds without a sign of life after which a worker counts as hung. It gives one each [`MEMORY_PAUSE_MS`].
pub const PULSE_MS: u64 = 3_000;
/// Pause in milliseconds after accept(2) failed for want of descriptors or memory.
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// Pause in milliseconds between looks at a full `--max-connections`.
pub const CONNECTIONS_FULL_PAUSE_MS: u64 = 20;
/// Descriptors of the process itself: standard streams, log, signals, and some spare.
pub const DESCRIPTORS_RESERVED: usize = 32;
/// Descriptors that one client connection may need: itself and its upstream.
pub const DESCRIPTORS_PER_CONNECTION: usize = 2;
/// Share of the descriptors, in percent, for idle upstream connections.
pub const DESCRIPTORS_IDLE_PERCENT: usize = 20;
/// Share of the descriptors, in percent, for pipes to splice through.
pub const DESCRIPTORS_PIPES_PERCENT: usize = 10;
/// Share of the descriptors, in percent, for connections that are being closed: the ring does that a moment later.
pub const DESCRIPTORS_CLOSING_PERCENT: usize = 10;
/// Idle upstream connections closed at once when descriptors run out.
pub const EVICT_BATCH: usize = 8;
/// Pause in milliseconds after that, until their descriptors are free.
pub const EVICT_PAUSE_MS: u64 = 5;
/// At most one warning about the same trouble in this time, in milliseconds.
pub const WARNING_PAUSE_MS: u64 = 10_000;

/// Longest lingering read in milliseconds after a response that ends the connection early.
pub const LINGER_MS: u64 = 5_000;
/// Silence in milliseconds that ends a lingering read.
pub const LINGER_SILENCE_MS: u64 = 1_000;
/// Bytes a lingering read throws away before it gives up.
pub const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Idle upstream connections kept per endpoint and worker, default of `--upstream-idle-max`; the descriptor budget
/// bounds them too. 512 clients over 128 of them paid 3 to 4 µs a request for connecting anew (docs/floor.md).
pub const UPSTREAM_IDLE_MAX: usize = 1024;
/// Orders to load the configuration again that may wait.
pub const RELOADS_WAITING_MAX: usize = 8;
/// Seconds that an admin call waits for a reload: names have to be resolved.
pub const RELOAD_S: u64 = 30;
/// Milliseconds between two looks of a request in line for room that another worker has made.
pub const QUEUE_LOOK_MS: u64 = 5;
/// Requests that may wait for one endpoint, unless the configuration says otherwise.
pub const QUEUE_MAX: u32 = 128;
/// Bytes of a request body that are kept so that the request can be sent again, unless the configuration says otherwise.
pub const KEPT_BODY_BYTES: usize = 16 * 1024;
/// Bytes that a worker keeps of request bodies, all of them together; beyond that a request is sent once.
pub const KEPT_BODIES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Free buffers for them that a worker keeps, of [`KEPT_BODY_BYTES`] at most.
pub const KEPT_BODIES_FREE_MAX: usize = 32;
/// Seconds over which a budget of retries is taken: one place of its ring each.
pub const RETRY_WINDOW_S: usize = 10;
/// Retries in that time that are free, however few requests there are.
pub const RETRIES_FREE: u32 = 10;

/// Keys that one limit of a route tells apart at the same time: 2 MiB in words of 8 bytes, for all workers together.
pub const LIMIT_SLOTS: usize = 256 * 1024;
/// Slots that a key may be in: a cache line.
pub const LIMIT_NEIGHBOURS: usize = 8;
/// Bits that tell neighbours apart: one newcomer in 2^15 finds itself in a full neighbourhood taken for somebody else.
pub const LIMIT_TAG_BITS: u32 = 18;
/// How long a process can run until its limits on rates run out of time, in seconds, and let everybody pass: five
/// years. It bounds a rate to 446 000 a second and key.
pub const LIMIT_LIFETIME_S: u64 = 5 * 365 * 24 * 3600;

/// Seconds of grace taken off an origin's `Keep-Alive: timeout`.
pub const KEEP_ALIVE_GRACE_S: u64 = 1;
/// Addresses kept of one resolved name.
pub const ADDRESSES_PER_NAME_MAX: usize = 16;

/// Seconds between attempts while no upstream name has resolved.
pub const DNS_RETRY_S: u64 = 2;
/// Seconds between two looks whether names are to be resolved again.
pub const DNS_LOOK_S: u64 = 1;

/// Probes under way at once, over all groups; others wait for a place. At the worst, 64 endpoints that hang for the default
/// timeout of 2 s, that is 32 probes a second.
pub const PROBES_MAX: usize = 64;
/// Milliseconds until a probe that waits for a place looks again.
pub const PROBE_PLACE_LOOK_MS: u64 = 10;
/// Milliseconds between two looks for another configuration, or other addresses.
pub const PROBE_LOOK_MS: u64 = 100;
/// The same while nothing is probed: who has no checks is not to pay for them.
pub const PROBE_IDLE_LOOK_MS: u64 = 1000;
/// Least pause in milliseconds between two probes of one endpoint, however short the interval.
pub const PROBE_PAUSE_MIN_MS: u64 = 10;
/// Milliseconds until probing begins anew after an accident.
pub const PROBE_RESTART_MS: u64 = 1_000;
/// Bytes that one read of a probe brings.
pub const PROBE_READ_BYTES: usize = 4096;
/// Reads of what follows the head of a probe's response, and milliseconds for them and for parting with the origin.
pub const PROBE_BODY_READS_MAX: usize = 16;
/// See [`PROBE_BODY_READS_MAX`].
pub const PROBE_CLOSE_MS: u64 = 250;
/// Bytes of a body that an origin of HTTP/2 may send a probe unasked.
pub const PROBE_H2_WINDOW_BYTES: u32 = 16 * 1024;
/// Bytes of fields, as HTTP/2 counts them, that a probe takes.
pub const PROBE_H2_HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Clients of `--admin` served at once; others wait. One client costs a thread and a descriptor.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Largest request head in bytes that `--admin` takes: browsers with cookies stay below it.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Milliseconds that a client of `--admin` has for its request head, and again for taking the response: where all
/// places are taken by clients that do neither, a probe waits no longer than this for one.
pub const ADMIN_DEADLINE_MS: u64 = 5_000;

/// Milliseconds that clients of `--admin` have to be served by a process that has handed over and has nothing else to do.
pub const ADMIN_GRACE_MS: u64 = 2_000;
/// Viewers of the status page at once: each holds a thread of `--admin`.
pub const ADMIN_VIEWERS_MAX: usize = 8;
/// Milliseconds between two events of the status page.
pub const ADMIN_EVENT_MS: u64 = 1_000;
/// Milliseconds between two beats of the heart of a worker that has something to do.
pub const BEAT_BUSY_MS: u64 = 10;
/// Milliseconds between two beats of the heart of a worker that has nothing to do.
pub const BEAT_IDLE_MS: u64 = 1_000;

/// Log batches in flight between one worker and the log writer.
pub const LOG_BATCHES_MAX: usize = 64;
/// Bytes at which a worker hands its batch of log lines over.
pub const LOG_BATCH_BYTES: usize = 32 * 1024;

/// Bytes of log lines that a worker keeps while the queue is full; beyond that it drops lines.
pub const LOG_BACKLOG_BYTES_MAX: usize = 1024 * 1024;
/// Pause in milliseconds before a worker offers its backlog again.
pub const LOG_RETRY_MS: u64 = 20;
/// Attempts of a worker that ends to hand its last lines over, and the pause between them in milliseconds.
pub const LOG_LAST_ATTEMPTS: u32 = 50;
/// See [`LOG_LAST_ATTEMPTS`].
pub const LOG_LAST_PAUSE_MS: u64 = 20;

/// Length of one tick of the timer wheel in microseconds.
pub const TICK_US: u64 = 4_000;
/// Entries of the io_uring submission queue of a worker.
pub const RING_ENTRIES: u32 = 4096;
/// Entries of the completion queue: one poll per side of every connection may complete at once.
pub const RING_COMPLETIONS: u32 = 16 * 1024;

/// Bounds on what a peer may send. Heads of both sides obey the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of a head (431).
    pub head_bytes_max: usize,
    /// Fields of a head (431).
    pub fields_max: usize,
    /// Bytes of a request target (414).
    pub target_bytes_max: usize,
    /// Bytes of a request body (413); `None` is no limit.
    pub body_bytes_max: Option<u64>,
    /// Pass field names with `_`, which many origins cannot tell from `-`; otherwise such fields are dropped.
    pub allow_underscores: bool,
}

impl Default for MessageLimits {
    fn default() -> Self {
        MessageLimits {
            head_bytes_max: HEAD_BYTES_MAX,
            fields_max: FIELDS_MAX,
            target_bytes_max: TARGET_BYTES_MAX,
            body_bytes_max: None,
            allow_underscores: false,
        }
    }
}

/// Lines of the process's own log that wait for standard error; beyond that they are lost.
pub const LOG_LINES_WAITING_MAX: usize = 1024;

/// Streams that a client of HTTP/2 may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS).
pub const H2_STREAMS_MAX: u32 = 100;
/// Bytes of a request body that a client may send ahead on one stream.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same over all streams of a connection: what a connection that is not read can make us hold.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of a response that wait inside one stream for the client's window or socket.
pub const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that a client of HTTP/2 must take within `--write-timeout` while more wait for it.
pub const H2_PROGRESS_BYTES_MIN: u32 = 16 * 1024;
/// Streams reset by us that are remembered, for frames that are still on their way.
pub const H2_OWN_RESETS_MAX: usize = 32;
/// Streams that a client has opened and reset before they were looked at; beyond that it floods (CVE-2023-44487).
pub const H2_PENDING_RESETS_MAX: usize = 20;
/// What `h2` may hold of small frames of one client, before it takes them for a flood and ends the connection: it counts
/// 256 for each, less its payload. Streams take theirs at the end of a turn, so twice what one turn can bring, in
/// frames of one byte, is never a flood.
pub const H2_SMALL_FRAMES_BYTES_MAX: usize = 16 * 1024 * 256;
/// Bytes of frames that are gathered for one send.
pub const H2_GATHER_BYTES: usize = 64 * 1024;
/// Bytes that the proxy itself may add to a head, on top of what a peer may send.
pub const OWN_HEAD_BYTES: usize = 8 * 1024;
/// Streams at once on one HTTP/2 connection to an origin, if the origin allows as many; then another connection is made.
pub const H2_ORIGIN_STREAMS_MAX: usize = 100;
/// Window of a stream of an origin: bytes that one slow client can make the proxy hold, on top of its outbox.
pub const H2_ORIGIN_STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Window of a connection to an origin: all of its streams together, so that slow clients cannot take it from the others.
#[expect(clippy::cast_possible_truncation, reason = "a hundred")]
pub const H2_ORIGIN_WINDOW_BYTES: u32 = H2_ORIGIN_STREAM_WINDOW_BYTES * H2_ORIGIN_STREAMS_MAX as u32;
/// How long the last frames of streams that were cut may take to leave, in milliseconds: a client that does not read would
/// hold up the end of the process.
pub const H2_CUT_MS: u64 = 200;
/// How long an origin has to answer a PING at most, in milliseconds.
pub const H2_PONG_MS: u64 = 20_000;
/// What a client of HTTP/2 may spend on frames that move nothing before it counts as a flood. WINDOW_UPDATE costs 1, PING,
/// SETTINGS, PRIORITY and the like 2, and RST_STREAM [`H2_RESET_COST`], so this is 1 024 resets in a row.
pub const H2_IDLE_COST_MAX: u64 = 8 * 1024;
/// What is forgiven of that in each second: 32 resets, 128 pings.
pub const H2_IDLE_COST_PER_S: u64 = 256;
/// Bytes sent to a client for which it is forgiven 1: a client that takes its responses may open its window, and lose
/// interest, as often as it likes. Fewer than 9 would let the answers to PING pay for it.
pub const H2_BYTES_PER_COST: u64 = 16;
/// Cost of RST_STREAM: an exchange was begun in vain, and a connection to the origin with it.
pub const H2_RESET_COST: u64 = 8;
/// Bytes of framing around one chunk: 16 digits and two line ends.
pub const CHUNK_FRAME_BYTES_MAX: usize = 20;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
const _: () =
    assert!(H2_SMALL_FRAMES_BYTES_MAX / 256 >= 2 * TURN_BYTES_MAX / 10, "a frame of one byte is ten");
const _: () = assert!(TARGET_BYTES_MAX <= ADMIN_HEAD_BYTES_MAX && ADMIN_HEAD_BYTES_MAX <= HEAD_BYTES_MAX);
const _: () =
    assert!(ADMIN_VIEWERS_MAX * 2 <= ADMIN_CONNECTIONS_MAX, "places are left for scrapes and probes");
const _: () = assert!(PROXY_V1_BYTES_MAX <= PROXY_HEADER_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX <= SCRATCH_BYTES, "a whole head fits one read");
const _: () = assert!(FIELDS_MAX <= FIELDS_CEILING);
const _: () = assert!(TRAILER_BYTES_MAX <= HEAD_BYTES_MAX);
const _: () =
    assert!(SCRATCH_BYTES + 64 <= POOLED_BUFFER_BYTES_MAX, "a read that could not be sent is pooled whole");
const _: () = assert!(KEPT_BODY_BYTES * KEPT_BODIES_FREE_MAX <= KEPT_BODIES_BYTES_MAX / 4, "most are in use");
const _: () = assert!(LIMIT_NEIGHBOURS * 8 == 64 && LIMIT_SLOTS.is_multiple_of(LIMIT_NEIGHBOURS));
const _: () = assert!((LIMIT_SLOTS / LIMIT_NEIGHBOURS).ilog2() + LIMIT_TAG_BITS <= u64::BITS);
const _: () = assert!(RING_COMPLETIONS >= 2 * RING_ENTRIES);
const _: () = assert!(LINGER_SILENCE_MS <= LINGER_MS);
const _: () = assert!(
    DESCRIPTORS_IDLE_PERCENT + DESCRIPTORS_PIPES_PERCENT + DESCRIPTORS_CLOSING_PERCENT < 50,
    "most are for connections"
);
const _: () = assert!(TLS_SMALL_RECORD_BYTES <= TLS_RAMP_BYTES && TLS_RAMP_BYTES <= TLS_SEND_BYTES);
const _: () = assert!(TLS_READ_BYTES + TLS_RECORD_BYTES_MAX <= 18_437, "rustls takes it whole");
const _: () = assert!(
    SCRATCH_BYTES >= TLS_RECORD_BYTES_MAX + TLS_READ_BYTES,
    "a read decrypts to no more than its buffer"
);
