//! Where a message ends (RFC 9112 §6.3).
