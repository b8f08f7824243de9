//! Whether a connection survives a message (RFC 9112 §9.3).
